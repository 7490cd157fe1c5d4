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
"""One run: a safety phase with faults, then a liveness phase without."""

import dataclasses
import functools
import logging
import os
import random
import tempfile

from os_brick_healer.tests.simulation import process, timeline
from os_brick_healer.tests.simulation.mapping import (
    agent as agent_lib,
)
from os_brick_healer.tests.simulation.mapping import (
    court,
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
WELL_S = 20.0
#: The agent starts once the first volumes are mapped.
BEGIN_S = 3.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a run."""

    plan: plan_lib.Plan
    broken: tuple[court.Broken, ...]
    faults: int
    simulated_s: float
    events: int
    checks: int
    story: tuple[tuple[float, str], ...]

    @property
    def laws(self) -> tuple[str, ...]:
        return tuple(b.law for b in self.broken)


class Run:
    """Plays a plan."""

    def __init__(self, plan: plan_lib.Plan, directory: str) -> None:
        self.plan = plan
        self.path = os.path.join(directory, 'journal.sqlite')
        self.world = world_lib.World(plan.seed, plan.setup, directory)
        self.danger = process.Danger(random.Random(f'{plan.seed}/danger'))
        self.nova = nova_lib.Nova(self.world, self.path)
        self.fate = faults.Faults(self.world, self.danger, self.nova)
        self._rng = random.Random(f'{plan.seed}/run')
        self._ended_s: float | None = None
        self._well_since_s: float | None = None
        self._marks = [f.at_s for f in plan.faults] + [plan.safety_s]
        self.end_s = plan.safety_s + BUDGET_S
        for fault in plan.faults:
            self.world.time.at(
                fault.at_s, functools.partial(self._happen, fault))
        self.world.time.at(plan.safety_s, self._mend)
        self.nova.settle()

    def _happen(self, fault: plan_lib.Fault) -> None:
        self.fate.happen(fault)
        self.world.kick()

    def _wall(self) -> float:
        return 1.7e9 + self.world.time.now_s + self.fate.wall_offset_s

    def _mend(self) -> None:
        self.fate.end()
        self.world.kick()
        self.world.time.after(1.0, self._settle)
        self.world.time.after(5.0, self._look)

    def _settle(self) -> None:
        """nova comes to an end with what it has begun."""
        for key in self.world.volumes:
            self.nova.wanted[key] = True
        self.nova.settle()
        if self._ended_s is None:
            self.world.time.after(15.0, self._settle)

    def _look(self) -> None:
        """Whether all has been well for a while."""
        now_s = self.world.time.now_s
        if not self.well():
            self._well_since_s = None
        elif self._well_since_s is None:
            self._well_since_s = now_s
        elif now_s - self._well_since_s >= WELL_S:
            self._ended_s = now_s
            self.world.tell('all is well')
            if self.fate.agent is not None:
                self.fate.agent.end_s = now_s
            return
        self.world.time.after(5.0, self._look)

    def well(self) -> bool:
        """All are served, nothing leaked, and the agent says so."""
        agent = self.fate.agent
        if agent is None or agent.dead:
            return False
        return (self.world.calm() and self.nova.idle
                and not self.world.leaked() and all(
                    p in agent_lib.CALM for p in agent.engine.phases()))

    def _jump_to(self) -> float:
        """Shortly before something happens again."""
        now_s = self.world.time.now_s
        return min((m for m in self._marks if m > now_s),
                   default=now_s) - agent_lib.CALM_S / 2

    def play(self) -> Report:
        """All of it."""
        world = self.world
        world.time.advance(BEGIN_S)
        while (world.time.now_s < self.end_s and self._ended_s is None
               and not world.court.stopped):
            try:
                agent = agent_lib.Agent(world, self.path, self.danger,
                                        self._wall, self.end_s)
            except timeline.Killed:
                self._wait_for_restart()
                continue
            agent.jump_to = self._jump_to
            self.fate.agent = agent
            world.tell('the agent starts')
            if not agent.run():
                break
            self.fate.agent = None
            self._wait_for_restart()
        if self._ended_s is None and not world.court.stopped:
            self._not_well()
        for task in list(world.time.tasks):
            task.kill()
        world.close()
        return Report(
            plan=self.plan, broken=tuple(world.court.broken),
            faults=world.faults, simulated_s=world.time.now_s,
            events=world.time.events, checks=world.court.checks,
            story=tuple(world.story))

    def _wait_for_restart(self) -> None:
        """systemd starts it again."""
        wait_s = self._rng.choice((0.2, 1.0, 1.0, 5.0, 40.0))
        self.world.time.advance(self.world.time.now_s + wait_s)

    def _not_well(self) -> None:
        world, agent = self.world, self.fate.agent
        told = [f'{key[:8]}: {agent and agent.said(key)} '
                f'[{world.describe(key)}]' for key in world.volumes]
        world.court.broke('21.converge', (
            f'{told} leaked={world.leaked()} calm={world.calm()} '
            f'nova={self.nova.idle}'))


def play(plan: plan_lib.Plan, stop_at: tuple[str, ...] = ()) -> Report:
    """Play a plan in a directory of its own, in memory if possible.

    :param stop_at: the run ends when one of these laws is broken.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(
                prefix='healer-sim-',
                dir=world_lib.base_directory()) as directory:
            run = Run(plan, directory)
            run.world.court.stop_at = stop_at
            return run.play()
    finally:
        logging.disable(before)


def story(report: Report) -> str:
    """A run in sentences."""
    lines = [f'seed {report.plan.seed}: {report.plan.setup}']
    for fault in report.plan.faults:
        lines.append(f'  fault at {fault.at_s:9.2f} s: {fault.kind}')
    lines += [f'{at_s:10.3f} s  {sentence}' for at_s, sentence
              in report.story]
    return '\n'.join(lines)
