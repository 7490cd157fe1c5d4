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
"""Makes the faults of a plan happen, and takes them back in the end."""

from collections.abc import Callable
import functools
import os

from os_brick_healer.tests.simulation import (
    cloud as cloud_lib,
)
from os_brick_healer.tests.simulation import (
    fabric as fabric_lib,
)
from os_brick_healer.tests.simulation import nova as nova_lib
from os_brick_healer.tests.simulation import (
    parts,
    process,
)
from os_brick_healer.tests.simulation import (
    plan as plan_lib,
)
from os_brick_healer.tests.simulation import world as world_lib


class Misfortune:
    """All that can go wrong.

    :ivar agent: the agent that lives now, None while there is none.
    :ivar wall_offset_s: how wrong the wall clock is.
    :ivar taken: targets whose replica an operator has taken away.
    :ivar tear: the journal is damaged while the agent is dead next.
    """

    def __init__(self, world: world_lib.World, danger: process.Danger,
                 nova: nova_lib.Nova) -> None:
        self.world = world
        self.danger = danger
        self.nova = nova
        self.agent: process.Agent | None = None
        self.wall_offset_s = 0.0
        self.tear = False
        self.taken: set[str] = set()
        self.operated: set[str] = set()
        self._undo: list[Callable[[], None]] = []

    def happen(self, fault: plan_lib.Fault) -> None:
        """One fault, now."""
        getattr(self, f'_{fault.kind}')(fault)

    def end(self) -> None:
        """The safety phase is over: all is mended that can be mended."""
        self.world.tell('--- no more faults from here on ---')
        for undo in self._undo:
            undo()
        self.world.cloud.weather = cloud_lib.Weather()
        self.world.commands = world_lib.Commands()
        self.danger.armed, self.danger.full = None, False
        self.danger.wanted = None
        self.world.events_lost = False
        self.world.md.udev_delay = lambda: 0.1
        for volume in self.world.cloud.volumes.values():
            volume.hosts = {cloud_lib.HERE}
            volume.two_hosts_s = None
        self._operate_all()

    def _operate_all(self) -> None:
        for volume in self.world.cloud.volumes.values():
            self._operate(volume)
            if volume.key in self.operated:
                self._tidy(volume)
        self.world.time.after(300.0, self._operate_all)

    def _tidy(self, volume: cloud_lib.Volume) -> None:
        """What came in place of what was taken away is nobody's."""
        array = self.world.arrays[volume.key]
        inside = {m.disk.id for m in array.members}
        if array.whole and not array.stopped:
            for name, replica in list(volume.replicas.items()):
                if name not in inside and replica.disk.array_uuid is None:
                    self._take(volume, name)

    def _take(self, volume: cloud_lib.Volume, name: str) -> None:
        self.world.tell(f'the operator takes {name} away')
        self.taken.add(volume.replicas[name].disk.nqn)
        del volume.replicas[name]
        volume.asked.clear()

    def _operate(self, volume: cloud_lib.Volume) -> None:
        """An operator takes away new replicas that nobody can use."""
        for name, replica in list(volume.replicas.items()):
            disk = replica.disk
            if (disk.foreign or self.world.holders.get(name)
                    or disk.size_bytes < volume.size_bytes
                    or str(disk.array_uuid).startswith('ffff')):
                # The agent no longer knows whose its controllers are; nova
                # disconnects them with the volume.
                self._take(volume, name)
                self.operated.add(volume.key)

    def _for_a_while(self, fault: plan_lib.Fault,
                     undo: Callable[[], None]) -> None:
        self._undo.append(undo)
        self.world.time.after(fault.arg('last_s'), undo)

    def _key(self, fault: plan_lib.Fault) -> str:
        number: int = fault.arg('volume')
        return list(self.world.cloud.volumes)[number]

    def _replica(self, fault: plan_lib.Fault) -> cloud_lib.Replica:
        volume = self.world.cloud.volumes[self._key(fault)]
        every = list(volume.replicas.values())
        return every[int(fault.arg('pick') * len(every))]

    # The network -----------

    def _cut(self, fault: plan_lib.Fault, cut: fabric_lib.Cut,
             what: str) -> None:
        self.world.fault(f'{what}: {cut.how} for {fault.arg("last_s"):.1f} s')
        self.world.fabric.cut(cut)
        self._for_a_while(fault, lambda: self.world.fabric.mend(cut))

    def _leg(self, fault: plan_lib.Fault) -> None:
        replica = self._replica(fault)
        if fault.arg('how') == 'closed' and fault.arg('pick') < 0.5:
            cut = fabric_lib.Cut('closed', nqns=(replica.target.nqn,))
        else:
            cut = fabric_lib.Cut(fault.arg('how'), replica.target.portals)
        self._cut(fault, cut, f'{replica.disk.id} is cut off')

    def _flap(self, fault: plan_lib.Fault) -> None:
        replica = self._replica(fault)
        self.world.fault(f'{replica.disk.id} flaps')
        for n in range(6):
            cut = fabric_lib.Cut(fault.arg('how'), replica.target.portals)
            self.world.time.after(
                n * 12.0, functools.partial(self.world.fabric.cut, cut))
            self.world.time.after(
                n * 12.0 + 6.0,
                functools.partial(self.world.fabric.mend, cut))

    def _backend(self, fault: plan_lib.Fault) -> None:
        backend = fault.arg('backend')
        portals = self.world.portals(backend)
        if len(portals) > 1 and fault.arg('pick') < 0.4:
            portals = portals[:1]
        self._cut(fault, fabric_lib.Cut(fault.arg('how'), portals),
                  f'{", ".join(p.address for p in portals)} is cut off')

    def _rack(self, fault: plan_lib.Fault) -> None:
        """All storage servers but one."""
        portals = [p for b in range(self.world.setup.backends)
                   if b != fault.arg('backend')
                   for p in self.world.portals(b)]
        self._cut(fault, fabric_lib.Cut(fault.arg('how'), portals),
                  'all storage servers but one are cut off')

    def _all_legs(self, fault: plan_lib.Fault) -> None:
        volume = self.world.cloud.volumes[self._key(fault)]
        for at, replica in enumerate(list(volume.replicas.values())):
            cut = fabric_lib.Cut(fault.arg('how'), replica.target.portals)
            self.world.fault(f'{replica.disk.id} is cut off ({cut.how})')
            self.world.fabric.cut(cut)
            # They come back one after the other.
            last_s = fault.arg('last_s') * (1 + at * fault.arg('pick'))

            def _mend(c: fabric_lib.Cut = cut) -> None:
                self.world.fabric.mend(c)

            self._undo.append(_mend)
            self.world.time.after(last_s, _mend)

    def _host(self, fault: plan_lib.Fault) -> None:
        every = [p for b in range(self.world.setup.backends)
                 for p in self.world.portals(b)]
        self._cut(fault, fabric_lib.Cut(fault.arg('how'), every),
                  'the host is cut off')

    def _dead(self, fault: plan_lib.Fault) -> None:
        """A replica is lost for good, if its volume can spare it."""
        world = self.world
        array = world.arrays[self._key(fault)]
        member = next((m for m in array.members), None)
        if member is None or world.setup.shared:
            return
        legs = array.members
        member = legs[int(fault.arg('pick') * len(legs))]
        rest = [m for m in array.in_sync if m is not member
                and world.fabric.targets[m.disk.nqn].exported
                and not m.disk.sick]
        if self.world.fabric.cuts or not any(
                world.md.flow(m) == parts.OK for m in rest):
            return
        if fault.arg('how') == 'closed':
            world.fault(f'{member.disk.id} dies: its target is gone')
            world.fabric.unexport(member.disk.nqn)
        else:
            world.fault(f'{member.disk.id} dies: reads and writes fail')
            member.disk.sick = True
            world.md.changed(member.disk.nqn)

    # The agent -----------

    def _kill(self, fault: plan_lib.Fault) -> None:
        self.danger.armed = fault.arg('count')

    def _kill_in(self, fault: plan_lib.Fault) -> None:
        """Killed the next time that something is done."""
        names = ('request', 'request', 'confirm', 'add', 're-add', 'delete',
                 'connect', 'report', 'publish', 'remove')
        when = 'before' if fault.arg('how') == 'closed' else 'after'
        name = names[int(fault.arg('pick') * len(names))]
        self.danger.wanted = f'{when} {name}'

    def _freeze(self, fault: plan_lib.Fault) -> None:
        if self.agent is not None:
            last_s = min(fault.arg('last_s'), 30.0)
            self.world.fault(f'the agent is frozen for {last_s:.0f} s')
            self.agent.frozen_until_s = self.world.time.now_s + last_s
            self.world.court.excused_until_s = (
                self.world.time.now_s + last_s)

    def _wall(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the wall clock jumps')
        self.wall_offset_s += (fault.arg('pick') - 0.5) * 1e7

    def _full(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the disk of the journal is full')
        self.danger.full = True

        def _room() -> None:
            self.danger.full = False

        self._for_a_while(fault, _room)

    def _torn(self, fault: plan_lib.Fault) -> None:
        self.tear = True
        self.danger.armed = fault.arg('count')

    def damage(self, path: str) -> None:
        """What a crash of the whole host may do to a file."""
        if self.tear and os.path.exists(path):
            self.tear = False
            self.world.fault('the journal is damaged')
            self.world.court.journal_lost = True
            with open(path, 'r+b') as f:
                f.write(b'not a database any more')

    # The provisioner -----------

    def _down(self, fault: plan_lib.Fault) -> None:
        self.world.fault(f'the provisioner is down for '
                         f'{fault.arg("last_s"):.0f} s')
        weather = self.world.cloud.weather
        weather.down = True
        self._for_a_while(fault, lambda: setattr(weather, 'down', False))

    def _slow(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the provisioner is slow')
        weather = self.world.cloud.weather
        weather.slow_s = 8.0 * fault.arg('pick')
        self._for_a_while(fault, lambda: setattr(weather, 'slow_s', 0.0))

    def _nonsense(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the provisioner contradicts itself')
        key, weather = self._key(fault), self.world.cloud.weather
        weather.nonsense.add(key)
        self._for_a_while(fault, lambda: weather.nonsense.discard(key))

    def _omit(self, fault: plan_lib.Fault) -> None:
        replica, weather = self._replica(fault), self.world.cloud.weather
        self.world.fault(f'the provisioner leaves out {replica.disk.id}')
        weather.omit.add(replica.disk.id)
        self._for_a_while(
            fault, lambda: weather.omit.discard(replica.disk.id))

    def _forget(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the provisioner names no volume')
        weather = self.world.cloud.weather
        weather.forget = True
        self._for_a_while(fault, lambda: setattr(weather, 'forget', False))

    def _lag(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the provisioner tells old news')
        weather = self.world.cloud.weather
        weather.lag_s = 10.0 * fault.arg('pick')
        self._for_a_while(fault, lambda: setattr(weather, 'lag_s', 0.0))

    def _lose(self, fault: plan_lib.Fault) -> None:
        self.world.cloud.weather.lose += 1

    def _refuse(self, fault: plan_lib.Fault) -> None:
        self.world.cloud.weather.refuse += 1 + fault.arg('count') % 3

    def _arrives(self, fault: plan_lib.Fault) -> None:
        kinds = ('small', 'foreign', 'other-array', 'in-use')
        kind = kinds[int(fault.arg('pick') * 4)]
        self.world.fault(f'the next new replica is {kind}')
        self.world.cloud.weather.arrives.append(kind)

    def _two_hosts(self, fault: plan_lib.Fault) -> None:
        volume = self.world.cloud.volumes[self._key(fault)]
        self.world.fault(f'{volume.key[:8]} is published to a second host')
        volume.hosts.add(cloud_lib.THERE)
        volume.two_hosts_s = self.world.time.now_s

        def _one() -> None:
            volume.hosts.discard(cloud_lib.THERE)
            volume.two_hosts_s = None

        self._for_a_while(fault, _one)

    # nova -----------

    def _detach(self, fault: plan_lib.Fault) -> None:
        key = self._key(fault)
        self.world.fault()
        self.nova.do('detach', key)
        self.world.time.after(
            5.0 + fault.arg('last_s'), lambda: self.nova.do('attach', key))

    def _extend(self, fault: plan_lib.Fault) -> None:
        self.world.fault()
        self.nova.do('extend', self._key(fault))

    def _hold(self, fault: plan_lib.Fault) -> None:
        self.world.fault('os-brick holds its locks')
        self.nova.do('hold', self._key(fault),
                     seconds=min(40.0, fault.arg('last_s')))

    def _kill_nova(self, fault: plan_lib.Fault) -> None:
        self.world.fault('nova-compute is killed')
        self.nova.kill(min(30.0, fault.arg('last_s')))

    # The host -----------

    def _hang(self, fault: plan_lib.Fault) -> None:
        self.world.commands.hang += 1

    def _fail(self, fault: plan_lib.Fault) -> None:
        self.world.commands.fail += 1 + fault.arg('count') % 3

    def _commands_slow(self, fault: plan_lib.Fault) -> None:
        self.world.fault('commands are slow')
        commands = self.world.commands
        commands.slow_s = 5.0 * fault.arg('pick')
        self._for_a_while(fault, lambda: setattr(commands, 'slow_s', 0.0))

    def _udev(self, fault: plan_lib.Fault) -> None:
        self.world.fault('udev is slow, or not there')
        delay_s = None if fault.arg('pick') < 0.5 else 20.0
        md = self.world.md
        md.udev_delay = lambda: delay_s

        def _back() -> None:
            md.udev_delay = lambda: 0.1

        self._for_a_while(fault, _back)

    def _events(self, fault: plan_lib.Fault) -> None:
        self.world.fault('kernel events are lost')
        self.world.events_lost = True

    def _unreadable(self, fault: plan_lib.Fault) -> None:
        """The kernel says something about a volume that nobody knows."""
        key, unreadable = self._key(fault), self.world.unreadable
        self.world.fault(f'{key[:8]} cannot be read')
        unreadable.add(key)
        self._for_a_while(fault, lambda: unreadable.discard(key))

    def _failfast(self, fault: plan_lib.Fault) -> None:
        """The legs come back from the next attach with the flag set."""
        key = self._key(fault)
        array = self.world.arrays[key]
        self.world.fault(f'the legs of {array.name} carry the failfast flag')
        for member in array.members:
            member.disk.failfast = True
        self.nova.do('detach', key)
        self.world.time.after(10.0, lambda: self.nova.do('attach', key))
        # A minute after that there is an outage of all legs.
        self.world.time.after(100.0, functools.partial(
            self._all_legs, fault))
