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
"""What tells that a server has died: the kernel's word, and a process's end.

Neither carries a decision: both name the device, and the volume is looked
at. A death that is not heard of is found by the next regular look.
"""

from collections.abc import Callable, Iterable
import os
from typing import Protocol

from os_brick_healer import exception
from os_brick_healer.mapping import model
from os_brick_healer.nbd import kernel

#: Between two tries to hear the kernel, while the module is not loaded.
RETRY_S = 2.0


class Listener(Protocol):
    """Who waits for descriptors (``engine.wake.Waker``)."""

    def listen(self, fd: int, take: Callable[[], Iterable[str]]) -> None: ...

    def unlisten(self, fd: int) -> None: ...


class Hears(Protocol):
    """The kernel's deaths (``nbd.kernel.Deaths``)."""

    def fileno(self) -> int: ...

    def take(self) -> frozenset[str] | None: ...

    def close(self) -> None: ...


class Events:
    """Descriptors of the kernel's deaths and of servers. Loop's thread.

    :param hear: makes the listener; raises while there is no driver.
    :param pidfd: of a process; raises OSError when it has ended.
    """

    def __init__(self, listener: Listener, clock: Callable[[], float],
                 hear: Callable[[], Hears] = kernel.Deaths,
                 pidfd: Callable[[int], int] = os.pidfd_open) -> None:
        self._listener = listener
        self._clock = clock
        self._hear = hear
        self._pidfd = pidfd
        self._deaths: Hears | None = None
        self._next_s = 0.0
        self._servers: dict[str, tuple[model.Process, int]] = {}
        #: When a connection of a device last died, by the kernel's word: it
        #: was heard then, and may have died since the time after it.
        self.link_dead_s: dict[str, tuple[float, float]] = {}
        self._heard_s = self._before_s = clock()
        self.problem: str | None = None
        #: The kernel had to drop some words: every volume is looked at.
        self.lost: Callable[[], Iterable[str]] = tuple

    def hear(self) -> bool:
        """Begin to hear the kernel, if that is not so yet; whether it is."""
        now_s = self._clock()
        if self._deaths is not None:
            # All that was told before the last call was taken before this.
            self._before_s, self._heard_s = self._heard_s, now_s
            return True
        if now_s < self._next_s:
            return False
        self._next_s = now_s + RETRY_S
        try:
            self._deaths = self._hear()
        except (OSError, exception.HealerError) as e:
            self.problem = str(e)
            return False
        self.problem = None
        self._before_s = self._heard_s = now_s
        self._listener.listen(self._deaths.fileno(), self._died)
        return True

    def _died(self) -> Iterable[str]:
        assert self._deaths is not None
        found = self._deaths.take()
        if found is None:
            return self.lost()
        for name in found:
            self.link_dead_s[name] = self._clock(), self._before_s
        return found

    def watch(self, device: str, server: model.Process | None) -> bool:
        """Hear of the end of a device's server, and of no other one.

        :returns: False: it has ended already.
        """
        known = self._servers.get(device)
        if known is not None and known[0] == server:
            return True
        self.forget(device)
        if server is None:
            return True
        try:
            fd = self._pidfd(server.pid)
        except OSError:
            return False
        self._servers[device] = (server, fd)
        self._listener.listen(fd, lambda: self._ended(device, fd))
        return True

    def _ended(self, device: str, fd: int) -> Iterable[str]:
        known = self._servers.get(device)
        if known is not None and known[1] == fd:
            self.forget(device)
        return (device,)

    def forget(self, device: str) -> None:
        """Hear no more of a device's server."""
        known = self._servers.pop(device, None)
        if known is not None:
            self._listener.unlisten(known[1])
            os.close(known[1])

    def close(self) -> None:
        """Give back the descriptors."""
        for device in tuple(self._servers):
            self.forget(device)
        if self._deaths is not None:
            self._listener.unlisten(self._deaths.fileno())
            self._deaths.close()
            self._deaths = None
