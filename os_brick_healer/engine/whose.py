#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.
"""The way out when a file of ours cannot be used: whose it is."""

import contextlib
import os
import pwd
import stat

#: What SQLite calls it (``sqlite_errorname``) -> the way out.
_OF_SQLITE = {
    'SQLITE_NOTADB': 'it is damaged: the agent sets it aside when it starts',
    'SQLITE_CORRUPT': 'it is damaged: the agent sets it aside when it starts',
    'SQLITE_FULL': 'make room on its file system',
    'SQLITE_BUSY': 'another process holds it: try again',
    'SQLITE_LOCKED': 'another process holds it: try again',
    'SQLITE_IOERR': "see whether the disk has room, and the kernel's log",
}


def of_journal(path: str, name: str, read_only: bool) -> str:
    """How to get at a journal.

    :param name: SQLite's name of the error.
    """
    if read_only and name == 'SQLITE_CANTOPEN' and not os.path.exists(
            path) and os.access(os.path.dirname(path), os.X_OK):
        return ('no agent has run with this [os_brick_healer] state_path '
                'yet')
    for start, way_out in _OF_SQLITE.items():
        if name.startswith(start):      # SQLITE_IOERR_WRITE, and so on
            return way_out
    return of_file(path, '[os_brick_healer] state_path')


def of_file(path: str, option: str) -> str:
    """Who owns what keeps this process out, and who this process is.

    :param option: names the directory.
    """
    mine = _user(os.geteuid())
    directory = os.path.dirname(path)
    if os.path.exists(directory) and not os.path.isdir(directory):
        return f'{directory} is no directory: see {option}'
    for place, wanted in ((directory, os.W_OK | os.X_OK),
                          (path, os.R_OK | os.W_OK)):
        try:
            found = os.stat(place)
        except OSError:
            continue
        if os.access(place, wanted, effective_ids=True):
            continue
        owner = _user(found.st_uid)
        if owner == mine:
            return (f'{mine} owns {place}, and cannot write it: see its mode, '
                    f'its file system, and {option}')
        return (f'{place} belongs to {owner} (mode '
                f'{stat.S_IMODE(found.st_mode):04o}), and this process runs '
                f'as {mine}: chown {mine} {place}')
    return f'see {option}'


def give_away(fd: int, directory: str) -> None:
    """Give a file that root has just made to its directory's owner.

    Whoever runs here next is that owner, and must not find the door shut.
    """
    made, owner = os.fstat(fd), os.stat(directory)
    if (os.geteuid() == made.st_uid == 0 != owner.st_uid
            and made.st_size == 0 and made.st_nlink == 1
            and stat.S_ISREG(made.st_mode)):
        os.fchown(fd, owner.st_uid, owner.st_gid)


def make(path: str) -> None:
    """Have root make a file for the owner of its directory, if it is new.

    What keeps it from being made is said by whoever opens it.
    """
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL
                     | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
        try:
            give_away(fd, os.path.dirname(path))
        finally:
            os.close(fd)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
