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
"""Samples whether requests move: the hot path of this wing.

One open file for each device, one read of it every few seconds, more often
while requests come and go. Who is dead is not found here (the kernel tells),
only who lives and does not serve.
"""

from collections.abc import Callable
import contextlib
import os
import zlib

from os_brick_healer.mapping import observe
from os_brick_healer.nbd import parse
from os_brick_healer.sysfs import nbd, reader

#: An idle device is read every so many ticks, each at its own turn.
TURNS = 8
TICK_S = 0.5
_BYTES = 512


class Pulse:
    """Reads the ``stat`` files. On the loop's thread."""

    def __init__(self, tree: reader.Tree, clock: Callable[[], float],
                 motion: observe.Motion) -> None:
        self._tree = tree
        self._clock = clock
        self._motion = motion
        self._files: dict[str, tuple[str, int]] = {}
        self._uneasy: set[str] = set()
        self._texts: dict[str, bytes] = {}
        self._turns: tuple[set[str], ...] = tuple(
            set() for _ in range(TURNS))
        self._tick = 0

    def watch(self, key: str, device: str | None) -> None:
        """From now on sample this device for a volume."""
        known = self._files.get(key)
        if known is not None and known[0] == device:
            return
        self.forget(key)
        if device is None:
            return
        path = self._tree.path(f'{nbd.BLOCK}/{device}/stat')
        with contextlib.suppress(OSError):
            self._files[key] = (device, os.open(
                path, os.O_RDONLY | os.O_CLOEXEC))
            self._turns[_turn(key)].add(key)

    def forget(self, key: str) -> None:
        """Sample it no more."""
        known = self._files.pop(key, None)
        self._uneasy.discard(key)
        self._texts.pop(key, None)
        self._turns[_turn(key)].discard(key)
        if known is not None:
            os.close(known[1])

    def sample(self, hang_s: float) -> tuple[list[str], list[str]]:
        """One tick.

        :returns: volumes whose requests have not moved for too long; and
            those that were busy and have fallen silent, each once.
        """
        self._tick = (self._tick + 1) % TURNS
        stuck, silent = [], []
        for key in self._turns[self._tick] | self._uneasy:
            found = self._read(key)
            if found is None:
                continue
            moved_s = self._motion.sample(key, self._files[key][0], found)
            quiet_s = self._motion.silent_s(key)
            if found.in_flight:
                self._uneasy.add(key)
                if self._clock() - moved_s >= hang_s:
                    stuck.append(key)
            elif quiet_s is None:
                self._uneasy.discard(key)
            elif quiet_s < hang_s:
                self._uneasy.add(key)
            else:
                self._motion.told(key)
                silent.append(key)
        return stuck, silent

    def _read(self, key: str) -> parse.Requests | None:
        """None: there is nothing to be learned. Most devices are idle most
        of the time, and a text that is the same says so by itself: nothing
        was under way when it was read before, and nothing has been since.
        """
        device_fd = self._files.get(key)
        if device_fd is None:
            return None
        try:
            text = os.pread(device_fd[1], _BYTES, 0)
        except OSError:     # the device has gone
            self._uneasy.discard(key)
            return None
        if key not in self._uneasy and self._texts.get(key) == text:
            return None
        self._texts[key] = text
        return parse.requests(text.decode('ascii', 'replace'))

    def close(self) -> None:
        """Give back the descriptors."""
        for key in tuple(self._files):
            self.forget(key)


def _turn(key: str) -> int:
    return zlib.crc32(key.encode()) % TURNS
