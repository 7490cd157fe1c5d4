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
"""The laws of mapped volumes, watched from outside."""

import collections
import dataclasses
from typing import TYPE_CHECKING

from os_brick_healer.tests.simulation.mapping import parts
from os_brick_healer.tests.simulation.mapping.lawbook import (
    LAWS,
    LOOSE_S,
    PAUSE_S,
    REFUSED_S,
    STALL_S,
    STARTS_MAX,
    TIMER_S,
)

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation.mapping import guest as guest_lib
    from os_brick_healer.tests.simulation.mapping import tools
    from os_brick_healer.tests.simulation.mapping import world as world_lib

_WATCH_S = 0.5
AGENT = 'agent'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A law that was broken."""

    law: str
    at_s: float
    sentence: str


class Court:
    """Watches a world.

    :ivar stop_at: laws with whose breach the run may end.
    :ivar excused_until_s: nobody can be expected to act before.
    """

    def __init__(self, world: 'world_lib.World') -> None:
        self._world = world
        self.broken: list[Broken] = []
        self.checks = 0
        self.stop_at: tuple[str, ...] = ()
        self.stopped = False
        self.excused_until_s = 0.0
        self._next_s = 0.0
        self._served_s: dict[str, float] = {}
        self._timer_s: dict[str, float] = {}
        self._gone_s: dict[str, float] = {}
        self._starts: dict[str, collections.deque[float]] = {}

    def broke(self, law: str, sentence: str) -> None:
        """A law was broken; said once for each law."""
        assert law in LAWS, law
        if any(b.law == law for b in self.broken):
            return
        self.broken.append(Broken(
            law=law, at_s=self._world.time.now_s, sentence=sentence))
        self.stopped = self.stopped or law in self.stop_at
        self._world.tell(f'LAW {law} IS BROKEN ({LAWS[law]}): {sentence}')

    # What happens to the data -----------

    def data(self, key: str, block: int | None = None) -> None:
        """Something was written, or acknowledged."""
        image, guest = self._world.images[key], self._world.guests[key]
        for one in range(parts.BLOCKS) if block is None else (block,):
            if image.blocks[one] < guest.acked[one]:
                self.broke('10.lost', (
                    f'block {one} of {key[:8]} has version '
                    f'{image.blocks[one]}, and {guest.acked[one]} was '
                    'acknowledged'))

    def failed(self, guest: 'guest_lib.Guest',
               request: parts.Request) -> None:
        """The guest got an error."""
        world, now_s = self._world, self._world.time.now_s
        volume = world.volumes[guest.key]
        waited_s = now_s - request.since_s
        if (volume.taken or not volume.attached
                or not world.images[guest.key].exists
                or waited_s >= world.setup.reattach_s):
            return
        self.broke('16.eio', (
            f'a {request.kind} of {guest.key[:8]} failed after '
            f'{waited_s:.1f} s'))

    # What is done -----------

    def _acts(self, life: 'tools.Life', key: str, what: str) -> None:
        """The agent changes something of a volume."""
        world = self._world
        if life.owner != AGENT:
            return
        volume, now_s = world.volumes[key], world.time.now_s
        if volume.disconnecting or (
                key in world.locks and world.locks[key].owner != AGENT
                and world.locks[key].alive):
            self.broke('14.connector', f'{what} for {key[:8]} while nova '
                                       'is at it')
        if (world.held_s is not None and what == 'start'
                and now_s - world.held_s > PAUSE_S):
            self.broke('14.pause', f'{what} for {key[:8]}')

    def touches(self, life: 'tools.Life', name: str, key: str,
                what: str) -> None:
        """Something of a device is about to be changed."""
        device = self._world.nbd.devices[name]
        if device.cookie != key:
            self.broke('11.foreign', f'{what} on {name} for {key[:8]}, and '
                                     f'its cookie is {device.cookie}')
        self._acts(life, key, what)

    def disconnects(self, life: 'tools.Life', name: str, key: str) -> None:
        """A device was disconnected."""
        self._acts(life, key, 'disconnect')
        device = self._world.nbd.devices[name]
        if device.timer_ms != parts.TIMER_MS and not (
                self._world.volumes[key].tampered):
            self.broke('19.leak', f'{name} was left with a timer of '
                                  f'{device.timer_ms} ms')

    def starts(self, life: 'tools.Life', key: str) -> None:
        """A server is about to be started."""
        self._acts(life, key, 'start')
        there = [p for p in self._world.processes.servers(key)
                 if not p.held]
        if there:
            self.broke('13.two', f'a server of {key[:8]} is started beside '
                                 f'process {there[0].pid} '
                                 f'({there[0].state})')
        if life.owner != AGENT:
            return
        now_s = self._world.time.now_s
        found = self._starts.setdefault(key, collections.deque())
        found.append(now_s)
        while now_s - found[0] > 60.0:
            found.popleft()
        if len(found) > STARTS_MAX:
            self.broke('18.hammer', f'{len(found)} servers of {key[:8]} '
                                    'were started in a minute')

    def kills(self, life: 'tools.Life', proc: parts.Proc, key: str,
              asked_s: float) -> None:
        """A process is about to be killed, as was asked for then."""
        self._acts(life, key, 'kill')
        if proc.volume != key:
            self.broke('12.kill', f'process {proc.pid} is not of {key[:8]}')
            return
        if life.owner != AGENT or not proc.linked:
            return
        world = self._world
        now_s, policy = world.time.now_s, world.policy
        if proc.heard_s >= asked_s - LOOSE_S:
            return      # it came loose since that was decided
        if proc.born_s <= world.host.hit_s and (
                now_s - proc.born_s <= 2.0 * policy.attach_s):
            return      # a heal that failed ends what it has started
        if proc.image is not None and not proc.image.exists:
            return      # it serves nothing but errors
        if proc.state == parts.RUNS and not proc.blocked:
            self.broke('12.kill', f'process {proc.pid} of {key[:8]} runs '
                                  'and is connected')
        sent = [r.since_s for d in world.nbd.devices.values()
                if d.server is proc for r in d.requests
                if r.state == parts.SENT]
        if not sent or now_s - min(sent) < policy.hang_s - 0.1:
            self.broke('12.kill', f'process {proc.pid} of {key[:8]} has '
                                  'hung for a moment only')

    def shuts_out(self, owner: parts.Proc) -> None:
        """A client is about to be kept out of its image for good."""
        if owner.state not in (parts.DYING, parts.ENDED):
            self.broke('12.fence', f'client {owner.client}, process '
                                   f'{owner.pid}, lives')

    def bound(self, key: str, image: parts.Image, size_bytes: int) -> None:
        """A device has got a connection."""
        volume = self._world.volumes[key]
        if image is not self._world.images[key]:
            self.broke('15.data', f'{key[:8]} is served from {image.key}')
        elif size_bytes < volume.size_bytes:
            self.broke('15.data', f'{key[:8]} shrank to {size_bytes}')

    # At any moment -----------

    def check(self) -> None:
        """What can be seen at any moment."""
        self.checks += 1
        now_s = self._world.time.now_s
        if now_s < self._next_s:
            return
        self._next_s = now_s + _WATCH_S
        for key in self._world.volumes:
            self._watch(key, now_s)

    def _watch(self, key: str, now_s: float) -> None:
        world, guest = self._world, self._world.guests[key]
        image = world.images[key]
        if not image.exists or image.size_bytes < world.volumes[
                key].size_bytes:
            self._gone_s[key] = now_s
        if self._may_wait(key):
            self._served_s.pop(key, None)
            self._timer_s.pop(key, None)
            return
        since_s = self._served_s.setdefault(key, now_s)
        most_s = STALL_S + (REFUSED_S if now_s - self._gone_s.get(
            key, -1e9) < STALL_S + REFUSED_S else 0.0)
        if min(now_s - since_s, guest.waits_s) > most_s:
            self.broke('17.stall', (
                f'the guest of {key[:8]} has waited for '
                f'{guest.waits_s:.0f} s; {world.describe(key)}'))
        device = world.nbd.with_cookie(key)
        if (device is None or device.server is None
                or device.timer_ms == world.timer_ms):
            self._timer_s.pop(key, None)
        elif now_s - self._timer_s.setdefault(key, now_s) > TIMER_S:
            self.broke('17.timer', f'{device.name} looks after '
                                   f'{device.timer_ms} ms at requests')

    def _may_wait(self, key: str) -> bool:
        """Whether nobody can serve it, or nobody is there to see to it."""
        world = self._world
        volume, image = world.volumes[key], world.images[key]
        now_s = world.time.now_s
        return (world.agent_since_s is None or world.paused_s is not None
                or not volume.attached or volume.taken
                or (key in world.locks and world.locks[key].owner != AGENT)
                or key in world.lent
                or not image.exists or image.size_bytes < volume.size_bytes
                or not world.storage.monitors
                or now_s < max(image.slow_until_s,
                               image.deadly_until_s) + 1.0
                or bool(world.processes.next_start) or world.host.troubled
                or now_s < self.excused_until_s
                or world.waits_for_lock(key))
