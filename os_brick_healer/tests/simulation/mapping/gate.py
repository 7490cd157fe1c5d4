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
"""The mapping wing's part of ``make sim`` and ``make soak``."""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import sys
from typing import Any

from os_brick_healer.tests.simulation import crew
from os_brick_healer.tests.simulation import shrink as shrink_lib
from os_brick_healer.tests.simulation.mapping import bugs, families
from os_brick_healer.tests.simulation.mapping import plan as plan_lib
from os_brick_healer.tests.simulation.mapping import run as run_lib

#: The seeds of ``make sim``: some of each family, the same each time.
FIXED = tuple(families.seed_of(family, n) for family in families.FAMILIES
              for n in range(100, 104))


def is_mine(seed: str) -> bool:
    """Whether a seed is one of mapped volumes."""
    return seed.startswith(families.PREFIX)


def kinds() -> list[str]:
    """What seeds begin with."""
    return [families.seed_of(family, '')[:-1]
            for family in families.FAMILIES]


def replay(plan: plan_lib.Plan) -> run_lib.Report:
    """In a process of the crew; the story stays there."""
    return dataclasses.replace(run_lib.play(plan), story=())


def play(seed: str) -> run_lib.Report:
    """A seed, without its story."""
    return replay(plan_lib.make(seed))


def plans() -> list[plan_lib.Plan]:
    """The plans on record, each once, and the fixed seeds: no law breaks."""
    found = [bugs.proof(bug) for bug in bugs.BUGS]
    found += [plan_lib.make(seed) for seed in FIXED]
    return list({plan_lib.dump(p): p for p in found if p is not None
                 }.values())


def sim(add: Callable[[Any], None], jobs: int) -> list[bugs.Result]:
    """Everything.

    :param add: takes each report without a bug.
    :returns: how each seeded bug was caught.
    """
    for report in crew.share(replay, plans(), jobs):
        add(report)
    return list(tell(crew.share(
        bugs.catch_again, [b.name for b in bugs.BUGS], jobs)))


def tell(results: Iterable[bugs.Result]) -> Iterator[bugs.Result]:
    """Say how each bug was caught."""
    for result in results:
        sys.stdout.write(
            f'bug {result.bug}: ' + (
                'NOT CAUGHT' if result.caught is None
                else f'law {result.caught}')
            + f' after {result.seeds} seeds ({result.seed})\n')
        sys.stdout.flush()
        yield result


def seed(name: str, bug: str | None, law: str | None,
         shrink: bool) -> run_lib.Report:
    """One seed, with its story; with a bug, and made smaller, if wished."""
    chosen = None if bug is None else bugs.named(bug)
    with bugs.seeded(chosen):
        plan = plan_lib.make(name)
        if chosen is not None:
            plan = bugs.fitted(chosen, plan)
        report = run_lib.play(plan)
        if report.broken and shrink:
            report = shrink_lib.shrink(report, law or report.laws[0],
                                       run_lib.play)
    return report
