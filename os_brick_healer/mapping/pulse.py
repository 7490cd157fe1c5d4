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

from collections.abc import Callable, Iterable
import contextlib
import dataclasses
import itertools
import os
import zlib

from os_brick_healer.mapping import observe
from os_brick_healer.nbd import parse
from os_brick_healer.sysfs import nbd, reader

#: An idle device is read every so many ticks, each at its own turn.
TURNS = 8
#: So often while any device is not idle, seconds...
TICK_S = 0.5
#: ... and while all are: a waking costs more than what is then read, and
#: however few there are, a device is read as often.
CALM_TICK_S = 4 * TICK_S
#: Seventeen numbers of 64 bits. More than this is no longer taken from
#: Python's own pools, which is most of what reading a short text costs.
_BYTES = 448


@dataclasses.dataclass(slots=True, kw_only=True)
class _File:
    """One device's file, and all that a tick needs of it in one place: what
    is read four seconds apart is in no cache of the processor's.

    :ivar text: what was read last.
    """

    key: str
    device: str
    fd: int
    text: bytes = b''
    uneasy: bool = False


class Pulse:
    """Reads the ``stat`` files. On the loop's thread."""

    def __init__(self, tree: reader.Tree, clock: Callable[[], float],
                 motion: observe.Motion) -> None:
        self._tree = tree
        self._clock = clock
        self._motion = motion
        self._uneasy: dict[str, _File] = {}
        self._turns: tuple[dict[str, _File], ...] = tuple(
            {} for _ in range(TURNS))
        self._tick = 0

    def watch(self, key: str, device: str | None) -> None:
        """From now on sample this device for a volume."""
        known = self._turns[_turn(key)].get(key)
        if known is not None and known.device == device:
            return
        self.forget(key)
        if device is None:
            return
        path = self._tree.path(f'{nbd.BLOCK}/{device}/stat')
        with contextlib.suppress(OSError):
            self._turns[_turn(key)][key] = _File(
                key=key, device=device,
                fd=os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def forget(self, key: str) -> None:
        """Sample it no more."""
        self._uneasy.pop(key, None)
        known = self._turns[_turn(key)].pop(key, None)
        if known is not None:
            os.close(known.fd)

    def interval_s(self) -> float:
        """When the next tick is due."""
        return TICK_S if self._uneasy else CALM_TICK_S

    def sample(self, hang_s: float) -> tuple[list[str], list[str]]:
        """One tick. Most devices are idle most of the time, and a text that
        is the same says so by itself: nothing was under way when it was read
        before, and nothing has been since.

        :returns: volumes whose requests have not moved for too long; and
            those that were busy and have fallen silent, each once.
        """
        stuck: list[str] = []
        silent: list[str] = []
        for file in self._due():
            try:
                text = os.pread(file.fd, _BYTES, 0)
            except OSError:     # the device has gone
                self._be_uneasy(file, False)
                continue
            if file.uneasy or text != file.text:
                file.text = text
                self._weigh(file, hang_s, stuck, silent)
        return stuck, silent

    def _due(self) -> Iterable[_File]:
        """Who is uneasy, and whose turn it is: each comes every so many
        seconds, however often there is a tick.
        """
        turns = []
        for _ in range(round(self.interval_s() / TICK_S)):
            self._tick = (self._tick + 1) % TURNS
            turns.append(self._turns[self._tick])
        if self._uneasy:
            turns = [dict(itertools.chain(
                self._uneasy.items(), *(t.items() for t in turns)))]
        return itertools.chain.from_iterable(t.values() for t in turns)

    def _weigh(self, file: _File, hang_s: float, stuck: list[str],
               silent: list[str]) -> None:
        """Something was under way when it was read, or has been since."""
        key, found = file.key, parse.requests(
            file.text.decode('ascii', 'replace'))
        if found is None:
            return
        moved_s = self._motion.sample(key, file.device, found)
        quiet_s = self._motion.silent_s(key)
        if found.in_flight:
            self._be_uneasy(file, True)
            if self._clock() - moved_s >= hang_s:
                stuck.append(key)
        elif quiet_s is None:
            self._be_uneasy(file, False)
        elif quiet_s < hang_s:
            self._be_uneasy(file, True)
        else:
            self._motion.told(key)
            silent.append(key)

    def _be_uneasy(self, file: _File, uneasy: bool) -> None:
        """Whether to read it in each tick from now on."""
        file.uneasy = uneasy
        if uneasy:
            self._uneasy[file.key] = file
        else:
            self._uneasy.pop(file.key, None)

    def close(self) -> None:
        """Give back the descriptors."""
        for key in [key for turn in self._turns for key in turn]:
            self.forget(key)


def _turn(key: str) -> int:
    return zlib.crc32(key.encode()) % TURNS
