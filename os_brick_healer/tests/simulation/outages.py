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
"""Outages: of the network, of legs, of the agent itself."""

import functools
import os

from os_brick_healer.tests.simulation import fabric as fabric_lib
from os_brick_healer.tests.simulation import fate, parts
from os_brick_healer.tests.simulation import plan as plan_lib


class Outages(fate.Fate):
    """What breaks down."""

    # The network -----------

    def _leg(self, fault: plan_lib.Fault) -> None:
        replica = self.replica(fault)
        if fault.arg('how') == 'closed' and fault.arg('pick') < 0.5:
            cut = fabric_lib.Cut('closed', nqns=(replica.target.nqn,))
        else:
            cut = fabric_lib.Cut(fault.arg('how'), replica.target.portals)
        self.cut(fault, cut, f'{replica.disk.id} is cut off')

    def _blip(self, fault: plan_lib.Fault) -> None:
        self._leg(fate.lasting(fault, 1.5 + 3.0 * fault.arg('pick')))

    def _lost_leg(self, fault: plan_lib.Fault) -> None:
        self._leg(fate.lasting(fault, 300.0))

    def _two_minutes_leg(self, fault: plan_lib.Fault) -> None:
        self._leg(fate.lasting(fault, 130.0))

    def _long_leg(self, fault: plan_lib.Fault) -> None:
        self._leg(fate.lasting(fault, fate.minutes_s(fault)))

    def _flap(self, fault: plan_lib.Fault) -> None:
        replica = self.replica(fault)
        self.world.fault(f'{replica.disk.id} flaps')
        for n in range(6):
            cut = fabric_lib.Cut(fault.arg('how'), replica.target.portals)
            mend = functools.partial(self.world.fabric.mend, cut)
            self.later(n * 12.0, functools.partial(
                self.world.fabric.cut, cut))
            self.world.time.after(n * 12.0 + 6.0, mend)
            self.undo.append(mend)

    def _backend(self, fault: plan_lib.Fault) -> None:
        backend = fault.arg('backend')
        portals = self.world.portals(backend)
        if len(portals) > 1 and fault.arg('pick') < 0.4:
            portals = portals[:1]
        self.cut(fault, fabric_lib.Cut(fault.arg('how'), portals),
                  f'{", ".join(p.address for p in portals)} is cut off')

    def _rack(self, fault: plan_lib.Fault) -> None:
        """All storage servers but one."""
        portals = [p for b in range(self.world.setup.backends)
                   if b != fault.arg('backend')
                   for p in self.world.portals(b)]
        self.cut(fault, fabric_lib.Cut(fault.arg('how'), portals),
                  'all storage servers but one are cut off')

    def _all_legs(self, fault: plan_lib.Fault) -> None:
        volume = self.world.cloud.volumes[self.key(fault)]
        hows = ['closed', 'silent']
        mixed = fault.arg('pick') < 0.5     # else all in the same way
        for at, replica in enumerate(list(volume.replicas.values())):
            how = hows[at % 2] if mixed else fault.arg('how')
            cut = fabric_lib.Cut(how, replica.target.portals)
            self.world.fault(f'{replica.disk.id} is cut off ({cut.how})')
            self.world.fabric.cut(cut)
            # They come back one after the other.
            last_s = fault.arg('last_s') * (1 + at * fault.arg('pick'))

            def _mend(c: fabric_lib.Cut = cut) -> None:
                self.world.fabric.mend(c)

            self.undo.append(_mend)
            self.world.time.after(last_s, _mend)

    def _host(self, fault: plan_lib.Fault) -> None:
        every = [p for b in range(self.world.setup.backends)
                 for p in self.world.portals(b)]
        self.cut(fault, fabric_lib.Cut(fault.arg('how'), every),
                  'the host is cut off')

    def _dead(self, fault: plan_lib.Fault) -> None:
        """A replica is lost for good, if its volume can spare it."""
        world = self.world
        array = world.arrays[self.key(fault)]
        if not array.members:
            return
        member = array.members[int(fault.arg('pick') * len(array.members))]
        if not any(world.md.flow(m) == parts.OK and not
                   world.is_doomed(m.disk.nqn) for m in array.in_sync
                   if m is not member):
            return
        if fault.arg('how') == 'closed' and world.setup.shared:
            world.fault(f'{member.disk.id} dies: its namespace is gone')
            member.disk.deleted = True
            world.fabric.lost_devices(member.disk)
        elif fault.arg('how') == 'closed':
            world.fault(f'{member.disk.id} dies: its target is gone')
            world.fabric.unexport(member.disk.nqn)
        else:
            world.fault(f'{member.disk.id} dies: reads and writes fail')
            member.disk.sick = True
            world.md.changed(member.disk.nqn)
            if array.write is not None and member.in_sync:
                # A guest that waits for a write reads on meanwhile.
                world.md.fail(array, member)

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

    def _reboot(self, fault: plan_lib.Fault) -> None:
        """Processes, arrays and connections are gone; nova resumes."""
        world = self.world
        world.fault('the host reboots')
        world.boots, world.booted_s = world.boots + 1, world.time.now_s
        if self.agent is not None:
            self.agent.dead = True
        self.nova.kill(restart_s=5.0)
        others = [(a, [m.disk for m in a.in_sync])
                  for a in world.md.arrays.values() if a.key is None]
        for array in list(world.md.arrays.values()):
            world.md.stop(array)
        for one in list(world.fabric.controllers.values()):
            world.fabric.remove(one)
        for array, disks in others:
            world.start(array, disks)
        world.time.after(10.0 + 20.0 * fault.arg('pick'), self._resume)

    def _resume(self) -> None:
        """nova starts its guests again, one after the other."""
        stopped = [key for key, array in self.world.arrays.items()
                   if array.stopped and array.served]
        if stopped and not self.over:
            self.nova.do('attach', stopped[0])
            self.world.time.after(5.0, self._resume)

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

        self.for_a_while(fault, _room)

    def _torn(self, fault: plan_lib.Fault) -> None:
        self.tear = True
        self.danger.armed = fault.arg('count')

    def damage(self, path: str) -> None:
        """What a crash of the whole host may do to a file."""
        if self.tear and os.path.exists(path):
            self.tear = False
            self.world.fault('the journal is damaged')
            self.world.court.journal_lost = True
            self.world.recorded.clear()
            with open(path, 'r+b') as f:
                f.write(b'not a database any more')
