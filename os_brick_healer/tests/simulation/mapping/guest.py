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
KINDS = (parts.WRITE, parts.WRITE, parts.WRITE, parts.READ, parts.FLUSH)


class Guest:
    """One guest, with one volume.

    :ivar acked: the newest version of each block that was acknowledged.
    :ivar device: where it reads and writes; None: it has no volume now.
    :ivar only: it does one thing after the other, and waits for each; a
        flush in between, if that is what it is to do.
    :ivar acknowledged_s: when a request of it last ended well.
    :ivar dirty: what it wrote last has not been flushed.
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
        self.only: str | None = None
        self.dirty = False
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
        """It does something, if it is not waiting for too much."""
        device = self._world.nbd.devices.get(self.device or '')
        if device is None or len(self.under_way) >= AT_ONCE:
            return
        if self.only is not None and self.under_way:
            return
        kind = self.only or self._rng.choice(KINDS)
        if kind == parts.FLUSH:     # nobody flushes what nobody wrote
            kind = parts.FLUSH if self.dirty else parts.WRITE
            self.dirty = False
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
            self.acked[request.block], self.dirty = request.value, True
            self._world.court.data(self.key)
        elif request.kind == parts.READ and request.value < least:
            self._world.court.broke('10.lost', (
                f'block {request.block} of {self.key[:8]} is read as '
                f'version {request.value}, and {least} was acknowledged'))
