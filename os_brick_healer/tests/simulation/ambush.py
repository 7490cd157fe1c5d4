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
"""Faults that wait for their moment: what is worst just then."""

from collections.abc import Callable
import dataclasses

from os_brick_healer.tests.simulation import cloud as cloud_lib
from os_brick_healer.tests.simulation import fabric as fabric_lib
from os_brick_healer.tests.simulation import fate, parts
from os_brick_healer.tests.simulation import plan as plan_lib

#: After so many graces a leg comes back though nobody asked for another.
BACK_GRACES, BACK_S = 4.0, 90.0
#: How long a replica may be on its way, on a slow day, and on a very slow
#: one: nobody waits for it any more.
LATE_S, VERY_LATE_S = (20.0, 50.0), (200.0, 600.0)


class Ambush(fate.Fate):
    """What lies in wait."""

    def _source(self, fault: plan_lib.Fault) -> None:
        """The next copy loses what it copies from."""
        key = self.key(fault)

        def _begun(array: parts.Array) -> bool:
            if array.key != key:
                return False
            self.later(fault.arg('pick') * array.copy_s,
                       lambda: self._cut_source(fault, array))
            return True

        self._once(self.world.md.on_copy, _begun)

    def _long_source(self, fault: plan_lib.Fault) -> None:
        self._source(fate.lasting(fault, fate.minutes_s(fault)))

    def _cut_source(self, fault: plan_lib.Fault, array: parts.Array) -> None:
        for member in array.in_sync if array.syncing is not None else ():
            self._cut_leg(fault, member, 'which is copied from')

    def _cut_leg(self, fault: plan_lib.Fault, leg: parts.Member,
                 which: str) -> None:
        target = self.world.fabric.targets[leg.disk.nqn]
        self.cut(fault, fabric_lib.Cut(fault.arg('how'), target.portals),
                 f'{leg.disk.id}, {which}, is cut off')

    def _copied(self, fault: plan_lib.Fault) -> None:
        """The next copy is done; now the old leg may go, and a leg does."""
        key = self.key(fault)

        def _done(array: parts.Array) -> bool:
            if array.key != key or not array.whole:
                return False
            leg = array.in_sync[int(fault.arg('pick') * array.raid_disks)]
            self.later(fault.arg('last_s') / 100.0,
                       lambda: self._cut_leg(fault, leg, 'just in sync'))
            return True

        self._once(self.world.md.on_synced, _done)

    def _returns(self, fault: plan_lib.Fault) -> None:
        """A leg is cut off and comes back once it is being replaced."""
        world, replica = self.world, self.replica(fault)
        cut = fabric_lib.Cut(fault.arg('how'), replica.target.portals)
        world.fault(f'{replica.disk.id} is cut off ({cut.how}) until it is '
                    'being replaced')
        world.fabric.cut(cut)

        def _back() -> None:
            world.fabric.mend(cut)

        def _asked(_volume: cloud_lib.Volume, lost: str) -> bool:
            if lost == replica.disk.id:
                world.time.after(fault.arg('pick') * 25.0, _back)
            return lost == replica.disk.id

        self._once(world.cloud.on_request, _asked)
        self.undo.append(_back)
        world.time.after(BACK_GRACES * world.setup.grace_s + BACK_S, _back)

    def _double(self, fault: plan_lib.Fault) -> None:
        """The leg is back, its successor comes, and another leg dies."""
        self._late(fault)
        self._returns(fault)
        key = self.key(fault)

        def _arrived(volume: cloud_lib.Volume) -> bool:
            if volume.key == key:
                self.happen(dataclasses.replace(fault, kind='dead', args={
                    **fault.args, 'how': 'silent',
                    'pick': (fault.arg('pick') + 0.5) % 1.0}))
            return volume.key == key

        self._once(self.world.cloud.on_arrival, _arrived)

    def _once(self, hooks: list[Callable[..., bool]],
              hook: Callable[..., bool]) -> None:
        """Called until it returns True."""
        def _never() -> None:
            if hook in hooks:
                hooks.remove(hook)

        hooks.append(hook)
        self.undo.append(_never)

    def _kill_at_request(self, fault: plan_lib.Fault) -> None:
        when = 'before' if fault.arg('pick') < 0.2 else 'after'
        self.danger.wanted = f'{when} request'

    def _kill_before_request(self, _fault: plan_lib.Fault) -> None:
        self.danger.wanted = 'before request'

    def _lose_request(self, fault: plan_lib.Fault) -> None:
        self.world.cloud.weather.lose_of['request'] = (
            1 + fault.arg('count') % 3)

    def _late(self, fault: plan_lib.Fault) -> None:
        self._arrive_in(LATE_S, fault)

    def _very_late(self, fault: plan_lib.Fault) -> None:
        self._arrive_in(VERY_LATE_S, fault)

    def _arrive_in(self, arrival_s: tuple[float, float],
                   fault: plan_lib.Fault) -> None:
        cloud = self.world.cloud
        self.world.fault('new replicas are long on their way')
        usual, cloud.arrival_s = cloud_lib.ARRIVAL_S, arrival_s

        def _back() -> None:
            cloud.arrival_s = usual

        self.undo.append(_back)
        self.world.time.after(120.0 + fault.arg('last_s'), _back)
