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
"""One run: what it takes for mapped volumes to be well again."""

import os
import random
from typing import TypeAlias

from os_brick_healer.tests.simulation import process, runs
from os_brick_healer.tests.simulation.mapping import (
    agent as agent_lib,
)
from os_brick_healer.tests.simulation.mapping import (
    faults,
)
from os_brick_healer.tests.simulation.mapping import (
    nova as nova_lib,
)
from os_brick_healer.tests.simulation.mapping import (
    plan as plan_lib,
)
from os_brick_healer.tests.simulation.mapping import (
    world as world_lib,
)

#: Once all faults are over the volumes must be well within this time: data
#: that was gone is looked at again after 300 s, a lock that a dead client
#: holds is free after 30 s, tries are 30 s apart.
BUDGET_S = 600.0
#: The agent starts once the first volumes are mapped.
BEGIN_S = 3.0

Report: TypeAlias = runs.Report[world_lib.Setup]
story = runs.story


class Run(runs.Run[world_lib.Setup]):
    """Plays a plan."""

    calm_s = agent_lib.CALM_S
    world: world_lib.World
    fate: faults.Faults

    def __init__(self, plan: plan_lib.Plan, directory: str) -> None:
        self.path = os.path.join(directory, 'journal.sqlite')
        world = world_lib.World(plan.seed, plan.setup, directory)
        self.danger = process.Danger(random.Random(f'{plan.seed}/danger'))
        self.nova = nova_lib.Nova(world, self.path)
        super().__init__(plan, world,
                         faults.Faults(world, self.danger, self.nova),
                         plan.safety_s + BUDGET_S)
        self.nova.settle()

    def agent(self) -> agent_lib.Agent:
        """See :class:`runs.Run`."""
        return agent_lib.Agent(self.world, self.path, self.danger,
                               self.wall, self.end_s)

    def settle(self) -> None:
        """See :class:`runs.Run`."""
        for key in self.world.volumes:
            self.nova.wanted[key] = True
        self.nova.settle()

    def well(self) -> bool:
        """All are served, nothing leaked, and the agent says so."""
        agent = self.fate.agent
        if agent is None or agent.dead:
            return False
        return (self.world.calm() and self.nova.idle
                and not self.world.leaked() and all(
                    p in agent_lib.CALM for p in agent.engine.phases()))

    def play(self) -> Report:
        """See :class:`runs.Run`."""
        self.world.time.advance(BEGIN_S)
        try:
            return super().play()
        finally:
            self.world.close()

    def not_well(self) -> None:
        """See :class:`runs.Run`."""
        world, agent = self.world, self.fate.agent
        told = [f'{key[:8]}: {agent and agent.said(key)} '
                f'[{world.describe(key)}]' for key in world.volumes]
        world.court.broke('21.converge', (
            f'{told} leaked={world.leaked()} calm={world.calm()} '
            f'nova={self.nova.idle}'))


def play(plan: plan_lib.Plan, stop_at: tuple[str, ...] = ()) -> Report:
    """Play a plan. See :func:`runs.play`."""
    return runs.play(Run, plan, stop_at)
