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
"""What all faults of arrays have in common: whom they hit."""

from collections.abc import Callable
import dataclasses

from os_brick_healer.tests.simulation import cloud as cloud_lib
from os_brick_healer.tests.simulation import fabric as fabric_lib
from os_brick_healer.tests.simulation import mishaps, process
from os_brick_healer.tests.simulation import nova as nova_lib
from os_brick_healer.tests.simulation import plan as plan_lib
from os_brick_healer.tests.simulation import world as world_lib

LONG_S = 160.0


def lasting(fault: plan_lib.Fault, seconds: float) -> plan_lib.Fault:
    """The same, for so long."""
    return dataclasses.replace(fault, args={
        **fault.args, 'last_s': seconds})


def minutes_s(fault: plan_lib.Fault) -> float:
    """A few minutes."""
    return LONG_S * (0.5 + float(fault.arg('pick')))


class Fate(mishaps.Mishaps):
    """The base of all that can go wrong with arrays."""

    agent: process.Agent | None
    world: world_lib.World

    def __init__(self, world: world_lib.World, danger: process.Danger,
                 nova: nova_lib.Nova) -> None:
        super().__init__(danger)
        self.world = world
        self.nova = nova

    def later(self, seconds: float, worse: Callable[[], None]) -> None:
        """Make it worse in a while, unless all faults are over then."""
        self.world.time.after(seconds,
                              lambda: None if self.over else worse())

    def key(self, fault: plan_lib.Fault) -> str:
        every = list(self.world.cloud.volumes)
        number: int = fault.arg('volume')
        return every[number % len(every)]

    def replica(self, fault: plan_lib.Fault) -> cloud_lib.Replica:
        volume = self.world.cloud.volumes[self.key(fault)]
        every = list(volume.replicas.values())
        return every[int(fault.arg('pick') * len(every))]

    def cut(self, fault: plan_lib.Fault, cut: fabric_lib.Cut,
            what: str) -> None:
        self.world.fault(f'{what}: {cut.how} for {fault.arg("last_s"):.1f} s')
        self.world.fabric.cut(cut)
        self.for_a_while(fault, lambda: self.world.fabric.mend(cut))
