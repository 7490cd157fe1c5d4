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
"""Logs of servers: bounded in size, and gone some time after the volume.

A server has its log open for as long as it lives, so the file stays the same
one: what is in it is moved to ``VOLUME.log.old``, and it is emptied. It was
opened for appending, so the server goes on at its beginning.

How the newest server began to speak is kept whatever it said since: by that
it is known later which client of the storage it was.
"""

from collections.abc import Collection, Iterator
import contextlib
import fcntl
import os
import stat
import time

from os_brick_healer import exception, privileged
from os_brick_healer.mounter import base
from os_brick_healer.privileged import check, serverlog

#: The line that is written before a server is started.
BEGINS = serverlog.BEGINS.encode()
BEGINNING_BYTES_MAX = 65536
VOLUMES_MAX = 65536
SIZE_BYTES_MIN, SIZE_BYTES_MAX = 1 << 20, 1 << 34
AGE_S_MAX = 3650 * 86400
_CHUNK_BYTES = 1 << 20
_LOG, _OLD = '.log', '.log.old'


@privileged.entrypoint
def tidy_logs(*, volumes: object, size_bytes: int, age_s: int,
              timeout_s: float) -> int:
    """Cut logs that are too long, and remove those of volumes that have
    left; how many files were changed.

    :param volumes: that are on this host: their logs have no age.
    """
    check.timeout(timeout_s)
    if not isinstance(volumes, list | tuple) or len(volumes) > VOLUMES_MAX:
        raise exception.NotOurs('cannot accept these volumes: no list')
    return tidy(
        serverlog.DIRECTORY, frozenset(check.volume(one) for one in volumes),
        check.number(size_bytes, SIZE_BYTES_MIN, SIZE_BYTES_MAX, 'bytes'),
        check.number(age_s, 1, AGE_S_MAX, 'seconds'), time.time())


def tidy(directory: str, volumes: Collection[str], size_bytes: int,
         age_s: float, now_s: float) -> int:
    """The same, in a directory and at a time of the caller's."""
    try:
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY
                        | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        return sum(_one(place, name, volume, volume in volumes, size_bytes,
                        now_s - age_s)
                   for name, volume in _logs(place))
    finally:
        os.close(place)


def _logs(place: int) -> Iterator[tuple[str, str]]:
    """Names of logs, and whose they are; other files are not touched."""
    for name in sorted(os.listdir(place)):
        for suffix in (_OLD, _LOG):
            volume = name.removesuffix(suffix)
            if volume != name:
                if base.is_key(volume):
                    yield name, volume
                break


def _one(place: int, name: str, volume: str, is_here: bool, size_bytes: int,
         oldest_s: float) -> bool:
    """Whether a file was changed."""
    found = os.stat(name, dir_fd=place, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        return False
    if not is_here:
        if found.st_mtime >= oldest_s:
            return False
        os.unlink(name, dir_fd=place)
        return True
    if name.endswith(_OLD) or found.st_size <= size_bytes:
        return False
    _cut(place, name, f'{volume}{_OLD}', size_bytes)
    return True


def _cut(place: int, name: str, old: str, size_bytes: int) -> None:
    with _opened(place, name, os.O_RDWR) as log:
        size = os.fstat(log).st_size
        begin = max(0, size - size_bytes)
        beginning = _beginning(log, begin)
        if beginning is None:       # the server began before the last cut
            beginning = _of_old(place, old)
        fresh = f'{old}.new'
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=place)
        with _opened(place, fresh, os.O_WRONLY | os.O_CREAT
                     | os.O_EXCL) as copy:
            _write(copy, beginning)
            _write(copy, b'\n')
            begin = _copy(log, copy, begin)
            # A line of ours that comes between the last read and the cut
            # would be lost, and what follows it would be another server's.
            fcntl.flock(log, fcntl.LOCK_EX)
            _copy(log, copy, begin)
        os.replace(fresh, old, src_dir_fd=place, dst_dir_fd=place)
        os.ftruncate(log, 0)


def _copy(log: int, copy: int, begin: int) -> int:
    """Copy from an offset to the end; where that was."""
    while chunk := os.pread(log, _CHUNK_BYTES, begin):
        _write(copy, chunk)
        begin += len(chunk)
    return begin


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data):]


def _of_old(place: int, old: str) -> bytes:
    try:
        with _opened(place, old, os.O_RDONLY) as log:
            return _beginning(log, os.fstat(log).st_size) or b''
    except FileNotFoundError:
        return b''


def _beginning(log: int, before: int) -> bytes | None:
    """How the newest server began to speak, None: not in this log; empty:
    it did after an offset, in what is kept anyhow."""
    found, at, carried = None, 0, b''
    while chunk := os.pread(log, _CHUNK_BYTES, at):
        text = carried + chunk
        last = text.rfind(BEGINS)
        if last >= 0:
            found = at - len(carried) + last
        at += len(chunk)
        carried = text[-len(BEGINS):]
    if found is None:
        return None
    if found >= before:
        return b''
    return os.pread(log, min(BEGINNING_BYTES_MAX, before - found), found)


@contextlib.contextmanager
def _opened(place: int, name: str, flags: int) -> Iterator[int]:
    fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640,
                 dir_fd=place)
    try:
        yield fd
    finally:
        os.close(fd)
