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
"""Reading sysfs and writing to one attribute of it, exactly."""

from collections.abc import Iterator
import contextlib
import os

from os_brick_healer import exception
from os_brick_healer.privileged import bounded
from os_brick_healer.sysfs import reader


class Tree(reader.Tree):
    """/sys and /dev, writable; only tests give another root than /."""

    __slots__ = ()

    @contextlib.contextmanager
    def attribute(self, path: str) -> Iterator['Attribute']:
        """Open an attribute for writing, before its identity is verified.

        An open kernfs file stays bound to the object that it was opened
        on: when that object goes, a write fails with ENODEV, even if
        another one has taken its name in between. So open, verify, write:
        the write can never reach a thing that was not verified.
        """
        try:
            fd = os.open(self.path(path), os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise exception.NotOurs(
                f'cannot write {path}: {error.strerror}') from error
        opened = Attribute(path, fd)
        try:
            yield opened
        finally:
            opened.close()


class Attribute:
    """A sysfs attribute that is open for writing."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    def close(self) -> None:
        os.close(self._fd)

    def write(self, text: str, timeout_s: float) -> bool:
        """Write, and wait for the kernel no longer than the deadline.

        :returns: whether the write has returned; when False it is still
            under way, in a thread of its own.
        :raises OSError: the kernel refused.
        """
        # The thread needs a descriptor of its own: it may outlive us.
        fd = os.dup(self._fd)

        def store() -> None:
            try:
                os.write(fd, text.encode('ascii'))
            finally:
                os.close(fd)

        return bounded.run(store, timeout_s, f'write {text} {self.path}',
                           lambda: os.close(fd)).done
