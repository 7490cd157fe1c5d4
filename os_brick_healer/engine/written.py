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
"""Hears that a process of this host writes to a file of a directory.

inotify(7), which Python's own library does not have. The directory is
watched, so a file that is made anew is heard of, too. What is written
through mmap(2) is not.
"""

import contextlib
import ctypes
import os

_MODIFY = 0x2           # IN_MODIFY
_AT_ONCE = 65536


class Written:
    """A descriptor that is readable once something was written.

    :param directory: any file in it counts.
    :raises OSError: the kernel does not tell of it.
    """

    def __init__(self, directory: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        # IN_NONBLOCK and IN_CLOEXEC are these (include/uapi/linux/inotify.h).
        self._fd = _checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            _checked(libc.inotify_add_watch(
                self._fd, os.fsencode(directory), _MODIFY))
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._fd

    def take(self) -> None:
        """Take what was told: it is readable with the next write."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, _AT_ONCE):
                continue

    def close(self) -> None:
        """Give back the descriptor."""
        os.close(self._fd)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
