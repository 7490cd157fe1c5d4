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
"""What all runs have in common: a safety phase with faults, then a liveness
phase without, in which the world must come to be well.
"""

import abc
import dataclasses
import functools
import logging
import math
import os
import random
import tempfile
from typing import Any, Generic, Protocol, TypeVar

from os_brick_healer.tests.simulation import plans, timeline

#: So long all must have been well.
WELL_S = 20.0

S = TypeVar('S')


class Agent(Protocol):
    """An agent that lives in virtual time."""

    dead: bool
    end_s: float
    jump_to: Any

    def run(self) -> bool: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report(Generic[S]):
    """What came of a run.

    :ivar broken: the breaches, each with a law, a moment and a sentence.
    :ivar simulated_s: how much time has passed in it.
    """

    plan: plans.Plan[S]
    broken: tuple[Any, ...]
    faults: int
    simulated_s: float
    events: int
    checks: int
    story: tuple[tuple[float, str], ...]

    @property
    def laws(self) -> tuple[str, ...]:
        return tuple(b.law for b in self.broken)


class Run(abc.ABC, Generic[S]):
    """Plays a plan.

    :param fate: what makes the faults happen, and knows the agent.
    :param end_s: at the latest then all must be well.
    :cvar calm_s: how long before something happens nothing is skipped.
    """

    calm_s: float

    def __init__(self, plan: plans.Plan[S], world: Any, fate: Any,
                 end_s: float) -> None:
        self.plan = plan
        self.world = world
        self.fate = fate
        self.end_s = end_s
        self._rng = random.Random(f'{plan.seed}/run')
        self._ended_s: float | None = None
        self._well_since_s: float | None = None
        self._marks = [f.at_s for f in plan.faults] + [plan.safety_s]
        for fault in plan.faults:
            world.time.at(fault.at_s, functools.partial(self._happen, fault))
        world.time.at(plan.safety_s, self._mend)

    @abc.abstractmethod
    def agent(self) -> Agent:
        """A new one. :raises timeline.Killed: already while it starts."""

    @abc.abstractmethod
    def settle(self) -> None:
        """nova comes to an end with what it has begun."""

    @abc.abstractmethod
    def well(self) -> bool:
        """All is whole, nothing leaked, and the agent says so."""

    @abc.abstractmethod
    def not_well(self) -> None:
        """Say what is wrong at the end."""

    def wall(self) -> float:
        """The wall clock, which may be wrong."""
        offset_s: float = self.fate.wall_offset_s
        now_s: float = self.world.time.now_s
        return 1.7e9 + now_s + offset_s

    def _happen(self, fault: plans.Fault) -> None:
        self.fate.happen(fault)
        self.world.kick()

    def _mend(self) -> None:
        self.fate.end()
        self.world.kick()
        self.world.time.after(1.0, self._settle)
        self._well_since_s = None
        self.world.time.after(5.0, self._look)

    def _settle(self) -> None:
        self.settle()
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

    def _jump_to(self) -> float:
        """Shortly before something happens again."""
        now_s: float = self.world.time.now_s
        return min((m for m in self._marks if m > now_s),
                   default=now_s) - self.calm_s / 2

    def play(self) -> Report[S]:
        """All of it."""
        world = self.world
        while (world.time.now_s < self.end_s and self._ended_s is None
               and not world.court.stopped):
            try:
                agent = self.agent()
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
            self.not_well()
        for task in list(world.time.tasks):
            task.kill()
        return Report(
            plan=self.plan, broken=tuple(world.court.broken),
            faults=world.faults, simulated_s=world.time.now_s,
            events=world.time.events, checks=world.court.checks,
            story=tuple(world.story))

    def _wait_for_restart(self) -> None:
        """systemd starts it again."""
        wait_s = self._rng.choice((0.2, 1.0, 1.0, 5.0, 40.0))
        self.world.time.advance(self.world.time.now_s + wait_s)


def base_directory() -> str | None:
    """Where files are in memory, if there is such a place."""
    return '/dev/shm' if os.path.isdir('/dev/shm') else None


class Makes(Protocol[S]):
    """Makes a run in a directory of its own."""

    def __call__(self, plan: plans.Plan[S], directory: str) -> Run[S]: ...


def play(made: Makes[S], plan: plans.Plan[S],
         stop_at: tuple[str, ...] = (),
         until_s: float = math.inf) -> Report[S]:
    """Play a plan in a directory of its own, in memory if possible.

    :param stop_at: the run ends when one of these laws is broken.
    :param until_s: all must be well by then, if not sooner.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix='healer-sim-',
                                         dir=base_directory()) as directory:
            run = made(plan, directory)
            run.world.court.stop_at = stop_at
            run.end_s = min(run.end_s, until_s)
            return run.play()
    finally:
        logging.disable(before)     # other tests read the log


def story(report: Report[Any]) -> str:
    """A run in sentences."""
    lines = [f'seed {report.plan.seed}: {report.plan.setup}']
    for fault in report.plan.faults:
        lines.append(f'  fault at {fault.at_s:9.2f} s: {fault.kind}')
    lines += [f'{at_s:10.3f} s  {sentence}' for at_s, sentence
              in report.story]
    return '\n'.join(lines)
