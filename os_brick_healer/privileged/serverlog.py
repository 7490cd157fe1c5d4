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
"""The logs of servers: who said what, and the end of it.

One file for each volume, which all of its servers append to, one after the
other. Before a server is started and when it is known a line of ours is
written: what stands between two such beginnings was said by that process.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import stat

from os_brick_healer import exception
from os_brick_healer.nbd import parse
from os_brick_healer.privileged import check

DIRECTORY = '/var/log/os-brick-healer'
#: A log that is longer when a server starts is set aside once.
BYTES_MAX = 16777216
WORDS_BYTES_MAX, WORDS_LINES = 1000, 2
_OURS = 'os-brick-healer: '
#: The line before a server is started.
BEGINS = f'{_OURS}a server is started'
_KNOWN = re.compile(
    re.escape(_OURS) + r'it is process ([0-9]{1,7}), since ([0-9]{1,20})'
    r'(?:, in ([0-9]{1,20}))?')
_ABOUT = re.compile(re.escape(_OURS) + r'it is about ([0-9a-f]{16})$')

#: What a line says of who wrote it, None: nothing.
NameIn = Callable[[str], str | None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one server said of itself.

    :ivar server: None: nobody knows which process it was.
    :ivar names: every name that it gave itself.
    :ivar about: the data that it served, see :func:`about`; empty: nobody
        wrote it down.
    """

    server: parse.Process | None
    names: frozenset[str]
    about: str = ''


def path(volume: object, directory: str = DIRECTORY) -> str:
    """Where the servers of a volume write."""
    return os.path.join(directory, f'{check.volume(volume)}.log')


def about(source: Mapping[str, str]) -> str:
    """Some data, and the way to it, in one word.

    A volume may move to another cluster, which gives its own names: one that
    a server said there means somebody else here.
    """
    text = json.dumps(dict(source), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def begin(volume: object, directory: str = DIRECTORY,
          data: str = '') -> str:
    """A new section, before a server is started; the path of the log.

    :param data: that it is about, see :func:`about`.
    """
    os.makedirs(directory, mode=0o750, exist_ok=True)
    place = path(volume, directory)
    with contextlib.suppress(FileNotFoundError):
        if os.stat(place).st_size > BYTES_MAX:
            os.replace(place, f'{place}.old')
    _append(place, f'{BEGINS}\n{_OURS}it is about {data}' if data
            else BEGINS)
    return place


def namespace() -> str:
    """Of the processes that we see; empty: it cannot be told.

    The connector and the agent may be in containers of their own: there a
    process that the other one started looks as if it had ended.
    """
    try:
        return str(os.stat('/proc/self/ns/pid').st_ino)
    except OSError:
        return ''


def known(place: str, server: parse.Running) -> None:
    """Write down which process the newest section is of."""
    _append(place, f'{_OURS}it is process {server.pid}, since '
                   f'{server.start}, in {namespace() or 0}')


def _append(place: str, line: str) -> None:
    # privsep's process has umask 0, and what is written here is believed.
    fd = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT
                 | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    # Another server may have left half a line.
    with open(fd, 'ab') as log:
        fcntl.flock(fd, fcntl.LOCK_EX)      # who cuts it is almost done
        log.write(f'\n{line}\n'.encode())


def only_ours(volume: object, directory: str = DIRECTORY) -> None:
    """Refuse to believe what others than we could have written.

    :raises NotOurs: they could.
    """
    place = path(volume, directory)
    for name in (directory, place, f'{place}.old'):
        try:
            found = os.lstat(name)
        except FileNotFoundError:
            continue
        if found.st_uid != os.geteuid() or found.st_mode & (
                stat.S_IWGRP | stat.S_IWOTH):
            raise exception.NotOurs(
                f'cannot believe {name}: others than root can write it',
                hint='chown root and chmod go-w')


def sections(lines: Iterable[str], name_in: NameIn,
             space: str = '') -> Iterator[Section]:
    """Each server's section, the oldest first. Pure.

    What stands before the first beginning is nobody's.

    :param space: the namespace of the processes that the reader sees: one of
        another is known to nobody here. Empty: there is but one.
    """
    names: set[str] | None = None
    server: parse.Process | None = None
    data = ''
    for line in lines:
        if line.startswith(BEGINS):
            if names is not None:
                yield Section(server=server, names=frozenset(names),
                              about=data)
            names, server, data = set(), None, ''
        elif names is not None:
            found = _KNOWN.match(line)
            told = _ABOUT.match(line)
            if told is not None:
                data = told[1]
            elif found is not None:
                seen = not space or found[3] in (None, space)
                server = parse.Process(
                    pid=int(found[1]), start=found[2]) if seen else None
            elif (name := name_in(line)) is not None:
                names.add(name)
    if names is not None:
        yield Section(server=server, names=frozenset(names), about=data)


def read(volume: object, name_in: NameIn,
         directory: str = DIRECTORY) -> Iterator[Section]:
    """All sections of a volume, also of the log that was set aside."""
    place = path(volume, directory)
    for name in (f'{place}.old', place):
        with contextlib.suppress(FileNotFoundError), open(
                name, encoding='utf-8', errors='backslashreplace') as log:
            yield from sections(log, name_in, namespace())


def last_words(volume: object, directory: str = DIRECTORY) -> str:
    """The end of what a volume's newest server said, on one line."""
    try:
        with open(path(volume, directory), 'rb') as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - WORDS_BYTES_MAX))
            data = log.read()
    except OSError:
        return ''
    text = data.decode('utf-8', 'backslashreplace').rpartition(BEGINS)[2]
    lines = [line.strip() for line in text.splitlines()
             if line.strip() and not line.startswith(_OURS)]
    return '; '.join(lines[-WORDS_LINES:])
