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
"""The guests: each writes and checks the blocks of its volume."""

import random
from typing import TYPE_CHECKING

from os_brick_healer.tests.simulation.mapping import parts

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation.mapping import world as world_lib

AT_ONCE = 2
TICK_S, CALM_TICK_S = 0.5, 3600.0
KINDS = (parts.WRITE, parts.WRITE, parts.WRITE, parts.READ)
#: So many of its writes are flushed at once.
FLUSHED = 0.3


class Guest:
    """One guest, with one volume.

    :ivar acked: the newest version of each block that was acknowledged.
    :ivar device: where it reads and writes; None: it has no volume now.
    :ivar syncs: it writes a block, flushes, writes the next one, and so on.
    :ivar acknowledged_s: when a request of it last ended well.
    """

    def __init__(self, world: 'world_lib.World', key: str,
                 rng: random.Random) -> None:
        self._world = world
        self.key = key
        self._rng = rng
        self.acked = [0] * parts.BLOCKS
        self._version = 0
        self._asked: dict[int, int] = {}        # reads: id -> acked then
        self.under_way: list[parts.Request] = []
        self.device: str | None = None
        self.syncs = False
        self.acknowledged_s = 0.0
        self.errors = 0

    @property
    def waits_s(self) -> float:
        """For how long its oldest request has waited."""
        if not self.under_way:
            return 0.0
        return self._world.time.now_s - min(
            r.since_s for r in self.under_way)

    def turn(self) -> None:
        """It does something, if it is not waiting for too much; for a
        flush it always waits."""
        if any(r.kind == parts.FLUSH for r in self.under_way):
            return
        if self.syncs and not self.under_way:
            self._ask(parts.WRITE)
        elif not self.syncs and len(self.under_way) < AT_ONCE:
            self._ask(self._rng.choice(KINDS))

    def _ask(self, kind: str) -> None:
        device = self._world.nbd.devices.get(self.device or '')
        if device is None:
            return
        busy = {r.block for r in self.under_way if r.kind != parts.FLUSH}
        block = self._rng.choice([b for b in range(parts.BLOCKS)
                                  if b not in busy])
        self._version += 1
        request = parts.Request(
            kind=kind, block=block, value=self._version,
            since_s=self._world.time.now_s, done=self._done)
        self.under_way.append(request)
        if kind == parts.READ:
            request.value = -1
            self._asked[id(request)] = self.acked[block]
        self._world.nbd.submit(device, request)

    def _done(self, request: parts.Request) -> None:
        self.under_way.remove(request)
        least = self._asked.pop(id(request), 0)
        if not request.error:
            self.acknowledged_s = self._world.time.now_s
        if request.error:
            self.errors += 1
            self._world.court.failed(self, request)
        elif request.kind == parts.WRITE:
            self.acked[request.block] = request.value
            self._world.court.data(self.key)
            if self.syncs or self._rng.random() < FLUSHED:
                self._ask(parts.FLUSH)
        elif request.kind == parts.FLUSH and self.syncs:
            self._ask(parts.WRITE)
        elif request.kind == parts.READ and request.value < least:
            self._world.court.broke('10.lost', (
                f'block {request.block} of {self.key[:8]} is read as '
                f'version {request.value}, and {least} was acknowledged'))
