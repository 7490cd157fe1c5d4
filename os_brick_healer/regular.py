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
"""Regular files, and nothing else in their place.

open(2) of a FIFO waits until somebody opens its other end, and a device may
have no end: whoever reads a file that an operator, or anybody who may write
its directory, has put there would wait with it.
"""

import errno
import os
import stat

WHY_NOT = 'it is no regular file'


def opened(path: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """A descriptor of a regular file; never waits for another process.

    :raises OSError: its strerror says why not, as the kernel does.
    """
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY
                     | os.O_CLOEXEC, mode)
    except OSError as e:
        # ENXIO: a socket, or a FIFO with nobody at its other end.
        if e.errno in (errno.ENXIO, errno.EISDIR):
            raise _is_none(path, is_dir=e.errno == errno.EISDIR) from e
        raise
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        return fd
    os.close(fd)
    raise _is_none(path, is_dir=stat.S_ISDIR(found.st_mode))


def read(path: str, bytes_max: int) -> bytes:
    """What a regular file begins with.

    :raises OSError: it cannot be read, or is none.
    """
    with os.fdopen(opened(path), 'rb') as stream:
        return stream.read(bytes_max)


def check(path: str) -> None:
    """For who has it opened by others; what is not there yet is fine.

    :raises OSError: it is something else.
    """
    try:
        found = os.stat(path)
    except OSError:
        return      # whoever opens it says what is wrong
    if not stat.S_ISREG(found.st_mode):
        raise _is_none(path, is_dir=stat.S_ISDIR(found.st_mode))


def _is_none(path: str, *, is_dir: bool) -> OSError:
    if is_dir:
        return OSError(errno.EISDIR, 'it is a directory', path)
    return OSError(errno.EINVAL, WHY_NOT, path)
