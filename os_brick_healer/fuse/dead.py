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
"""A dead mount: looked at, and taken away. A program of its own, as root.

The agent's service has a table of mounts of its own (ProtectSystem=), in
which nothing that is mounted or taken away reaches the host. So this is run
in the host's (``nsenter --target 1 --mount``)::

    python -P -m os_brick_healer.fuse.dead KIND PLACE look
    python -P -m os_brick_healer.fuse.dead KIND PLACE take nosuid,nodev

It prints one word and ends with 0, or ends with 1 and says why.

What is taken away is what was looked at, and nothing else: a descriptor
(O_PATH) is opened first, and proven to lead to the mount; statfs and umount2
are called on it. A dead FUSE mount answers ENOTCONN for ever.
"""

from collections.abc import Callable, Sequence
import ctypes
import errno
import os
import sys

from os_brick_healer.fuse import parse

TABLE = '/proc/self/mountinfo'
#: The words that are printed.
BARE, DEAD, LIVES, OTHER, TAKEN = 'bare', 'dead', 'lives', 'other', 'taken'
_MNT_DETACH = 2

Unmount = Callable[[str], None]


class Refused(Exception):
    """The mount may not be taken away."""


def unmount(path: str) -> None:
    """Lazily: at once for who comes, later for who is in it.

    :raises OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), _MNT_DETACH) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def table(path: str = TABLE) -> tuple[parse.Mount, ...]:
    """The mounts that this process sees."""
    with open(path, encoding='utf-8', errors='surrogateescape',
              newline='\n') as stream:
        return parse.mounts(stream.read())


def look(kind: str, place: str, found: Sequence[parse.Mount]) -> str:
    """What is at a place: one of the words."""
    here = parse.at(found, place)
    if not here:
        return BARE
    if here[-1].kind != kind:
        return OTHER
    fd = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return DEAD if is_dead(fd) else LIVES
    finally:
        os.close(fd)


def is_dead(fd: int) -> bool:
    """Whether nobody will ever answer again.

    :raises OSError: it answers with another error.
    """
    try:
        os.fstatvfs(fd)
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return True
        raise
    return False


def take(kind: str, place: str, options: frozenset[str],
         read: Callable[[], tuple[parse.Mount, ...]] = table,
         dead: Callable[[int], bool] = is_dead,
         number_of: Callable[[int], int] | None = None,
         away: Unmount = unmount) -> str:
    """Take a dead mount away.

    :returns: the word for it; or that there is none.
    :raises Refused: it is not dead, or not what is meant.
    """
    if not parse.at(read(), place):
        return BARE
    # The directory of a dead mount is opened without asking its server.
    fd = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = read()
        why = parse.forbids(found, place, kind, options)
        if why is not None:
            raise Refused(why)
        number = (number_of or number_in)(fd)
        if number != parse.at(found, place)[0].number:
            raise Refused(f'{place} leads to mount {number} by now')
        if not dead(fd):
            raise Refused('it answers: somebody serves it')
        away(f'/proc/self/fd/{fd}')
    finally:
        os.close(fd)
    if parse.at(read(), place):
        raise Refused('something is mounted there still')
    return TAKEN


def number_in(fd: int) -> int:
    """The number of the mount that a descriptor leads to (proc(5))."""
    with open(f'/proc/self/fdinfo/{fd}', encoding='ascii') as stream:
        for line in stream:
            name, _, value = line.partition(':')
            if name == 'mnt_id':
                return int(value)
    raise Refused('the kernel does not tell which mount it is')


def main(arguments: Sequence[str]) -> int:
    """See the module."""
    try:
        match list(arguments):
            case [kind, place, 'look']:
                word = look(kind, place, table())
            case [kind, place, 'take', options]:
                word = take(kind, place, frozenset(options.split(',')))
            case _:
                raise Refused(f'{arguments!r:.80} is nothing to do')
    except (OSError, Refused) as error:
        sys.stderr.write(f'{error}\n')
        return 1
    sys.stdout.write(f'{word}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
