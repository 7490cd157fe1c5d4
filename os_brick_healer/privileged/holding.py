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
"""A network block device is held while it is told by its number alone.

NBD_CMD_DISCONNECT names a device by nothing but its number. Between the look
at its cookie and the command somebody else could disconnect it and connect
another volume under the same number. The driver gives no number away whose
device anybody has open (nbd_find_get_unused(), nbd_genl_connect()): so it is
opened first, then looked at, and closed when the command has been done.
"""

from collections.abc import Iterator
import contextlib
import os
import threading

from os_brick_healer.privileged import bounded
from os_brick_healer.privileged import tree as trees

#: open() waits for whoever else opens or closes it: for a dead device, maybe
#: for ever. It has a hold by then, as far as the driver goes.
HOLD_S = 0.5


class _Open:
    """An open() that may come back when nobody waits for it any more."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._late = False
        self._fd: int | None = None

    def begin(self) -> None:
        """In a thread of its own. :raises OSError: it cannot be opened."""
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        with self._lock:
            if not self._late:
                self._fd, fd = fd, -1
        if fd >= 0:
            os.close(fd)

    def end(self) -> None:
        """Close it, now or when it comes back."""
        with self._lock:
            self._late, fd, self._fd = True, self._fd, None
        if fd is not None:
            os.close(fd)


@contextlib.contextmanager
def held(tree: trees.Tree, name: str) -> Iterator[None]:
    """Keep the number of a device from being given to another volume.

    Where it cannot be opened this is done without.
    """
    path = tree.path(f'/dev/{name}')
    opened = _Open(path)
    try:
        with contextlib.suppress(OSError):
            bounded.run(opened.begin, HOLD_S, f'hold {path}')
        yield
    finally:
        opened.end()
