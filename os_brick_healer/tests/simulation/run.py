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
"""One run: what it takes for a world of arrays to be well again."""

import math
import os
import random
from typing import TypeAlias

from os_brick_healer.tests.simulation import (
    misfortune,
    process,
    runs,
)
from os_brick_healer.tests.simulation import (
    nova as nova_lib,
)
from os_brick_healer.tests.simulation import (
    plan as plan_lib,
)
from os_brick_healer.tests.simulation import world as world_lib

#: Once all faults are over the world must be well within this time: two
#: graces (a leg that is dead for good, a replacement that is unfit), the
#: back-off of a terminal error (300 s), flap damping, the copies, and the
#: settling time of a request whose answer was lost.
BUDGET_S = 3000.0

Report: TypeAlias = runs.Report[world_lib.Setup]
story = runs.story


class Run(runs.Run[world_lib.Setup]):
    """Plays a plan."""

    calm_s = process.CALM_S
    world: world_lib.World
    fate: misfortune.Misfortune

    def __init__(self, plan: plan_lib.Plan, directory: str) -> None:
        self.path = os.path.join(directory, 'journal.sqlite')
        world = world_lib.World(plan.seed, plan.setup)
        self.danger = process.Danger(random.Random(f'{plan.seed}/danger'))
        self.nova = nova_lib.Nova(world, self.path, self._release)
        super().__init__(
            plan, world,
            misfortune.Misfortune(world, self.danger, self.nova),
            plan.safety_s + plan.setup.operator_s + BUDGET_S
            + 3 * plan.setup.grace_s * plan.setup.legs)
        for key in self.world.arrays:
            self.nova.record(key)

    def agent(self) -> process.Agent:
        """See :class:`runs.Run`."""
        self.fate.damage(self.path)
        return process.Agent(self.world, self.path, self.danger, self.wall,
                             self.end_s)

    def _release(self, key: str) -> bool:
        agent = self.fate.agent
        if agent is None or agent.dead:
            return True
        return agent.engine.release(key)

    def settle(self) -> None:
        """See :class:`runs.Run`."""
        for key, array in self.world.arrays.items():
            if not array.served or array.stopped:
                self.nova.do('attach' if array.stopped else 'detach', key)

    def well(self) -> bool:
        """Every volume whole, nothing leaked, and the agent says so."""
        agent = self.fate.agent
        if agent is None or agent.dead:
            return False
        return (self.world.calm() and self._tidy() and all(
            a.served and not a.stopped and not a.broken
            for a in self.world.arrays.values()) and all(
            p in process.CALM for p in agent.engine.phases()))

    def _tidy(self) -> bool:
        """No connection is left over, and no replica is called bad."""
        states = {r.state.value for v in self.world.cloud.volumes.values()
                  for r in v.kept}
        return not self._leaked() and states <= {'available'}

    def _leaked(self) -> set[str]:
        wanted = {r.target.nqn for v in self.world.cloud.volumes.values()
                  for r in v.replicas.values()}
        wanted |= {m.disk.nqn for a in self.world.md.arrays.values()
                   for m in a.members}
        return {c.nqn for c in self.world.fabric.controllers.values()
                } - wanted

    def not_well(self) -> None:
        """See :class:`runs.Run`."""
        world, agent = self.world, self.fate.agent
        said = {} if agent is None else {
            key: agent.said(key) for key in world.arrays}
        world.court.broke('9.converge', (
            f'{said}: {world.describe()} leaked={self._leaked()} '
            f'calm={world.calm()}'))


def play(plan: plan_lib.Plan, stop_at: tuple[str, ...] = (),
         until_s: float = math.inf) -> Report:
    """Play a plan. See :func:`runs.play`."""
    return runs.play(Run, plan, stop_at, until_s)
