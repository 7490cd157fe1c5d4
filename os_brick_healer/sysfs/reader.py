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
"""The only place that reads files of the kernel.

Reading is kept apart from parsing, so that a captured tree stands in for a
host. A thing that is not there (any more) is None; a thing that is there and
cannot be read is an error: the two must never be mixed up, because "the array
is gone" leads to other decisions than "too many open files".
"""

import errno
import os

from os_brick_healer import exception

#: One sysfs attribute is at most a page (Documentation/filesystems/sysfs.rst).
ATTRIBUTE_BYTES_MAX = 65536

#: sysfs answers ENODEV (ENXIO, EINVAL) when the object behind an open
#: directory has been removed meanwhile; md does so for a member that left.
#: /proc answers ESRCH for a process that ends while its file is read.
_GONE = frozenset((errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR,
                   errno.EINVAL, errno.ELOOP, errno.ESRCH))


class ReadError(exception.HealerError):
    """A file of the kernel is there, but it cannot be read."""


class Tree:
    """The files under /proc, /sys, /dev and /run, or a copy of them.

    Paths are written as on the host; a leading slash makes no difference.

    :param root: the directory that stands for ``/``.
    """

    __slots__ = ('_prefix',)

    def __init__(self, root: str = '/') -> None:
        self._prefix = root.rstrip('/') + '/'

    def path(self, path: str) -> str:
        """The real path, for those who must open a file themselves."""
        return self._prefix + path.lstrip('/')

    def read(self, path: str, limit: int = ATTRIBUTE_BYTES_MAX) -> str | None:
        """The stripped text of a file, None when it is not there.

        :param limit: bytes; longer files are cut there. An attribute of
            sysfs comes whole in one read; more is for files of /proc, /run.
        :raises ReadError: it is there and cannot be read.
        """
        real = self._prefix + path.lstrip('/')
        try:
            fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC)
            try:
                raw = os.read(fd, min(limit, ATTRIBUTE_BYTES_MAX))
                if limit > ATTRIBUTE_BYTES_MAX and raw:
                    raw = _read_on(fd, raw, limit)
            finally:
                os.close(fd)
        except OSError as e:
            if e.errno in _GONE:
                return None
            raise _read_error(path, e) from e
        return raw.decode('ascii', 'backslashreplace').strip()

    def first_line(self, path: str) -> str | None:
        """No more of it: what follows may be long in coming.

        The kernel makes a file of /proc piece by piece, as it is asked for.

        :raises ReadError: it is there and cannot be read.
        """
        try:
            with open(self.path(path), 'rb', buffering=0) as file:
                line = bytearray()
                while len(line) < ATTRIBUTE_BYTES_MAX and (
                        byte := file.read(1)) not in (b'', b'\n', None):
                    line += byte
        except OSError as e:
            if e.errno in _GONE:
                return None
            raise _read_error(path, e) from e
        return line.decode('utf-8', 'replace').strip()

    def listdir(self, path: str) -> tuple[str, ...]:
        """Names in a directory, sorted; none when it is not there."""
        try:
            return tuple(sorted(os.listdir(self.path(path))))
        except OSError as e:
            if e.errno in _GONE:
                return ()
            raise _read_error(path, e) from e

    def entries(self, path: str) -> frozenset[tuple[str, int]]:
        """Names in a directory with their inode numbers.

        The kernel gives a new object of an old name a new inode number, so
        two equal answers mean the same objects, not only the same names.
        """
        try:
            with os.scandir(self.path(path)) as found:
                return frozenset((e.name, e.inode()) for e in found)
        except OSError as e:
            if e.errno in _GONE:
                return frozenset()
            raise _read_error(path, e) from e

    def readlink(self, path: str) -> str | None:
        """Where a symbolic link points, as written; None without one."""
        try:
            return os.readlink(self.path(path))
        except OSError as e:
            if e.errno in _GONE:
                return None
            raise _read_error(path, e) from e

    def exists(self, path: str) -> bool:
        """Whether it is there (a dangling link is not)."""
        return self.birth(path) is not None

    def birth(self, path: str) -> int | None:
        """A number that another object of the same name does not have."""
        try:
            return os.stat(self.path(path)).st_ino
        except OSError as e:
            if e.errno in _GONE:
                return None
            raise _read_error(path, e) from e


def _read_on(fd: int, raw: bytes, limit: int) -> bytes:
    parts, size = [raw], len(raw)
    while size < limit:
        more = os.read(fd, min(limit - size, ATTRIBUTE_BYTES_MAX))
        if not more:
            break
        parts.append(more)
        size += len(more)
    return b''.join(parts)


def _read_error(path: str, error: OSError) -> ReadError:
    return ReadError(f'cannot read {path}: because {error.strerror}')
