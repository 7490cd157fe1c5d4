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
"""The laws, watched from outside: the world's truth against what is done.

Each law has a number as in the architecture, and a word. Law 0 is what all
of them are for: the data.
"""

import collections
from typing import TYPE_CHECKING

from os_brick_healer.replica import model
from os_brick_healer.tests.simulation import audit, parts
from os_brick_healer.tests.simulation.lawbook import (
    BLINK_S,
    COMMANDS_MAX,
    SERVED_S,
    SLACK_S,
    STALL_S,
    TOLD_S,
)

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation import (
        world as world_lib,
    )

Broken = audit.Broken


class Court(audit.Audit):
    """Watches a world."""

    def __init__(self, world: 'world_lib.World') -> None:
        super().__init__(world)
        self._versions: dict[str, int] = {}
        self._up: dict[str, float] = {}
        self._serving: dict[str, set[str]] = {}      # array -> disks
        self._served_s: dict[str, float] = {}        # disk -> until when
        self._stale_s: dict[str, float] = {}
        self._commands: dict[str, collections.deque[float]] = {}
        self._serves_s: dict[str, float] = {}
        self._were_inside: set[str] = set()
        self._next_watch_s = 0.0

    # After every event -----------

    def check(self) -> None:
        """What can be seen at any moment."""
        self.checks += 1
        md = self._world.md
        for array in md.arrays.values():
            if self._versions.get(array.uuid) != array.version:
                self._versions[array.uuid] = array.version
                self._data(array)
                self._flows(array)
        if self._world.time.now_s >= self._next_watch_s:
            self._next_watch_s = self._world.time.now_s + 0.5
            self._watch()

    def _data(self, array: parts.Array) -> None:
        for member in array.in_sync:
            for block, acked in enumerate(array.acked):
                if member.disk.blocks[block] < acked:
                    self.broke('0.stale', (
                        f'block {block} of {array.name} has version {acked} '
                        f'and {member.device} would serve version '
                        f'{member.disk.blocks[block]}'))

    def _flows(self, array: parts.Array) -> None:
        """Whose I/O flows, and until when another's did."""
        before = self._serving.get(array.uuid, set())
        now = {m.disk.id for m in array.members
               if self._carries(m)}
        for name in before - now:
            self._served_s[name] = self._world.time.now_s
        self._serving[array.uuid] = now

    def _watch(self) -> None:
        world, now_s = self._world, self._world.time.now_s
        for disk in world.disks.values():
            if world.reachable(disk):
                self._up.setdefault(disk.id, now_s)
            else:
                self._went_down(disk.id, now_s)
        inside: set[str] = set()
        for array in world.md.arrays.values():
            for member in array.members:
                if member.works:
                    self._inside_s[member.disk.id] = now_s
                if member.in_sync:
                    inside.add(member.disk.id)
                    self._synced_s[member.disk.id] = now_s
        self._back_s.update(dict.fromkeys(inside - self._were_inside, now_s))
        self._were_inside = inside
        unseen = self._unseen()
        for portal in world.every_portal():
            if world.fabric.portal_reach(portal) == parts.UP:
                self._lost_s.pop(portal.address, None)
            elif portal.address not in unseen:
                self._lost_s.setdefault(portal.address, now_s)
        for key, array in world.arrays.items():
            if self._may_wait(key, array):
                self._serves_s.pop(key, None)
            elif (now_s - self._serves_s.setdefault(key, now_s) > STALL_S
                    and world.stuck_s(array) > STALL_S):
                self.broke('7.stall', (
                    f'the guest of {array.name} has waited for '
                    f'{world.stuck_s(array):.0f} s although '
                    f'{world.serving(array)[0].device} serves'))
            self._told(key, now_s)

    def _went_down(self, name: str, now_s: float) -> None:
        up_s = self._up.pop(name, None)
        since_s = self._world.agent_since_s
        if name not in self._down or (
                up_s is not None and now_s - up_s >= BLINK_S
                and since_s is not None and since_s <= up_s):
            self._down[name] = now_s

    def _told(self, key: str, now_s: float) -> None:
        """A leg that lacks writes must not be offered to other hosts."""
        world, array = self._world, self._world.arrays[key]
        volume = world.cloud.volumes[key]
        inside = {m.disk.id for m in array.in_sync}
        for name, replica in volume.replicas.items():
            stale = (not array.stopped and not array.broken
                     and name not in inside and any(
                         has < acked for has, acked in zip(
                             replica.disk.blocks, array.acked, strict=True))
                     and replica.state.value == 'available')
            if not stale or self._excused(key):
                self._stale_s.pop(name, None)
            elif now_s - self._stale_s.setdefault(name, now_s) > TOLD_S:
                self.broke('3.told', f'{name} lacks writes of {array.name}, '
                           f'and has been offered for {TOLD_S:.0f} s')

    def _excused(self, key: str) -> bool:
        """Nobody can tell the provisioner anything now."""
        world = self._world
        weather = world.cloud.weather
        return (world.agent_since_s is None or key in world.busy
                or key in world.unreadable or weather.down
                or weather.slow_s > 0 or weather.refuse > 0
                or world.two_hosts_for_s(key) > 0
                or world.time.now_s < self.excused_until_s
                or not self._known(key))

    def commands(self, name: str) -> None:
        """The agent runs a command, or asks for a change."""
        count = self._count(name)
        if count > COMMANDS_MAX * max(1, len(self._world.arrays)):
            self.broke('8.hammer', f'{name}: {count} times in a minute')

    def _count(self, name: str) -> int:
        now_s = self._world.time.now_s
        found = self._commands.setdefault(name, collections.deque())
        found.append(now_s)
        while now_s - found[0] > 60.0:
            found.popleft()
        return len(found)

    def probes(self, portal: str) -> None:
        """The agent probes a portal."""
        most = 60.0 * 4 * len(self._world.arrays) / self._world.policy.poll_s
        if self._count(f'probe {portal}') > most:
            self.broke('8.hammer', f'{portal} is probed more than '
                                   f'{most:.0f} times in a minute')

    def _may_wait(self, key: str, array: parts.Array) -> bool:
        world = self._world
        return (array.write is None or array.stopped
                or not world.serving(array) or key in world.busy
                or (world.lock == 'nova' and key not in world.recorded)
                or world.agent_since_s is None
                or world.two_hosts_for_s(key) > 0
                or world.commands.hang > 0
                or world.time.now_s < self.excused_until_s
                or not self._known(key) or key in world.unreadable
                or any(self._shared_in_need(m) for m in array.members
                       if world.md.flow(m) == parts.HANG))

    def _known(self, key: str) -> bool:
        """Without knowing whose legs they are the agent cannot act."""
        age_s = self._world.time.now_s - self._world.cloud.good_word_s(key)
        return age_s < self._world.policy.volume_age_max_s

    def _shared_in_need(self, member: parts.Member) -> bool:
        """Others behind the same controllers have no other live leg.

        What is not ours, or cannot be read, nobody can judge, and what
        two hosts hold nobody may change: its controllers stay.
        """
        world = self._world
        for array in world.md.arrays.values():
            if any(m.disk.nqn == member.disk.nqn for m in array.members):
                if (array.key is None or array.key in world.unreadable
                        or world.two_hosts_for_s(array.key) > 0):
                    return True
                others = [m for m in world.serving(array)
                          if m.disk.nqn != member.disk.nqn]
                if not others:
                    return True
        return False

    # What the agent does -----------

    def touches(self, array: parts.Array, what: str, *,
                locked: bool = True) -> None:
        """The agent changes an array, or what it stands on."""
        world = self._world
        if array.key is None:
            self.broke('4.foreign', f'{what} on {array.name}, which is '
                                    'not ours')
            return
        alive = not world.orphan     # a command outlives who began it
        # Without the lock, another's may be over while a command hangs.
        before = not locked and world.begun_s < world.busy_s
        if alive and array.key in world.busy and not before:
            self.broke('5.nova', f'{what} on {array.name} while nova '
                                 f'{world.busy[array.key]} it')
        elif alive and locked and world.lock == 'nova':
            self.broke('5.nova', f'{what} on {array.name} without '
                                 'os-brick\'s lock')
        if world.two_hosts_for_s(array.key) > (
                world.policy.volume_age_max_s + SLACK_S) and (
                locked or self._heard_of_peer(array.key)):
            self.broke('5.two-hosts', f'{what} on {array.name}')

    def _heard_of_peer(self, key: str) -> bool:
        """I/O is kept flowing on old words, too: nobody may have told."""
        since_s = (self._world.time.now_s
                   - self._world.two_hosts_for_s(key))
        return self._world.cloud.good_word_s(key) > since_s

    def joins(self, array: parts.Array, disk: parts.Disk,
              how: str) -> None:
        """A device is about to join an array."""
        self.touches(array, f'{how} of {disk.id}')
        self.destroys(disk.id, f'{how} of {disk.id} to {array.name}')
        volume = self._world.volume_of(array.key or '')
        if volume is None or disk.id not in volume.replicas:
            self.broke('2.add', f'{disk.id} is not a replica of '
                                f'{array.name}')
        if disk.foreign is not None or disk.array_uuid not in (
                None, array.uuid):
            self.broke('2.add', f'{disk.id} carries '
                                f'{disk.foreign or disk.array_uuid}')
        if how == 'addition' and not array.whole and disk.whole and (
                disk.array_uuid == array.uuid
                and disk.events >= array.cleared):
            self.broke('8.copy', f'{disk.id} holds all but '
                                 f'{len(array.missed)} blocks')
        if self._world.holders.get(disk.id):
            self.broke('2.add', f'{disk.id} is in use')
        if disk.size_bytes < array.component_bytes:
            self.broke('2.add', f'{disk.id} is too small')

    def deletes(self, controllers: list[parts.Controller]) -> None:
        """Controllers are about to be deleted by the agent."""
        world = self._world
        for one in controllers:
            left = [c for c in world.fabric.of_nqn(one.nqn)
                    if c is not one and not c.delete_begun]
            if left:
                continue
            for array in list(world.md.arrays.values()):
                mine = [m for m in array.members if m.works and m.present
                        and m.disk.nqn == one.nqn]
                if mine:
                    self._loses(array, mine)

    def _loses(self, array: parts.Array,
               legs: list[parts.Member]) -> None:
        rest = [m for m in array.in_sync if m not in legs and m.present]
        names = ', '.join(m.device for m in legs)
        if any(m.in_sync for m in legs) and not rest:
            self.broke('1.last-leg' if array.key else '4.foreign', (
                f'{names} of {array.name} goes and no other is in sync'))
        elif any(m.in_sync for m in legs) and not any(
                map(self._serves, rest)):
            self.broke('7.break', f'{names} of {array.name} goes and no '
                                  'other leg has served lately')
        if array.key is not None:
            self.touches(array, f'deletion under {names}', locked=False)
        elif not any(self._world.md.flow(m) == parts.OK for m in rest):
            self.broke('4.foreign', f'{names} of {array.name} is taken')

    def _serves(self, member: parts.Member) -> bool:
        """Its I/O flows, or is about to, or a moment ago it did."""
        served_s = self._served_s.get(member.disk.id, -1e9)
        return (self._carries(member)
                or self._world.time.now_s - served_s < SERVED_S)

    def _carries(self, member: parts.Member) -> bool:
        """Its I/O flows, or is about to.

        Of several paths the kernel may wait for one that is silent, until
        that is cut: another that answers carries the I/O then. That a disk
        is sick is known to nobody before it is asked, and MD throws it out.
        """
        fabric = self._world.fabric
        return (self._world.md.flow(member) == parts.OK
                or (member.present and any(
                    c.state is model.PathState.LIVE and not c.delete_begun
                    and fabric.reach(c) == parts.UP
                    for c in fabric.of_nqn(member.disk.nqn))))
