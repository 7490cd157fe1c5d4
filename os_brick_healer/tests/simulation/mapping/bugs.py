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
"""Seeding bugs into the mapping wing, and catching them again."""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import dataclasses
import json
import pathlib

from os_brick_healer.tests.simulation import bugs as shared
from os_brick_healer.tests.simulation.mapping import (
    catalogue,
    families,
    lawbook,
)
from os_brick_healer.tests.simulation.mapping import plan as plan_lib
from os_brick_healer.tests.simulation.mapping import run as run_lib

RECORD = pathlib.Path(__file__).parent / 'caught.json'
TABLE = shared.DOCS / 'seeded-mapping-bugs.inc'
LAW_TABLE = shared.DOCS / 'watched-mapping-laws.inc'

BUGS = catalogue.BUGS
#: More than the other wing's: one bug needs twenty.
SEEDS_MAX = 24
Bug = catalogue.Bug
Result = shared.Result


def named(name: str) -> Bug:
    return next(b for b in BUGS if b.name == name)


@contextlib.contextmanager
def seeded(bug: Bug | None) -> Iterator[None]:
    """With a bug in the product, or without (None)."""
    with contextlib.ExitStack() as stack:
        for where, patches in shared._by_function(bug).items() if (
                bug is not None) else ():
            stack.enter_context(shared._patched(where, patches))
        yield


def fitted(bug: Bug, made: plan_lib.Plan) -> plan_lib.Plan:
    """A plan in the world in which the bug can show."""
    return dataclasses.replace(made, setup=dataclasses.replace(
        made.setup, **dict(bug.setup)))


def plan(bug: Bug, seed: str) -> plan_lib.Plan:
    """A seed's plan, in such a world."""
    return fitted(bug, plan_lib.make(seed))


def seeds(bug: Bug) -> list[str]:
    """What is tried, in this order."""
    return [families.seed_of(bug.family, n)
            for n in range(SEEDS_MAX)]


def catch(bug: Bug, tried: Sequence[str], *, blame: bool = True) -> Result:
    """Run seeds with the bug until one of its laws is broken.

    :param blame: the same run must break no such law without the bug.
    """
    for count, seed in enumerate(tried, 1):
        with seeded(bug):
            report = run_lib.play(plan(bug, seed), bug.laws)
        found = [x for x in report.laws if x in bug.laws]
        if found and not (blame and found[0] in run_lib.play(
                plan(bug, seed), (found[0],)).laws):
            return Result(bug=bug.name, caught=found[0], seeds=count,
                          seed=seed)
    return Result(bug=bug.name, caught=None, seeds=len(tried), seed='')


def proof(bug: Bug) -> plan_lib.Plan | None:
    """The plan that is on record as catching a bug."""
    known = record().get(bug.name)
    return None if known is None or not known.seed else plan(
        bug, known.seed)


def catch_again(name: str) -> Result:
    """With the seed that is on record, then with the others.

    Whoever calls this plays the plans on record without bugs, too.
    """
    bug, known = named(name), record().get(name)
    first = [] if known is None or not known.seed else [known.seed]
    return catch(bug, first + [s for s in seeds(bug) if s not in first],
                 blame=False)


def catch_anew(name: str) -> Result:
    """As if nothing were known of it."""
    return catch(named(name), seeds(named(name)))


# The record ----------

def record() -> dict[str, Result]:
    """What caught each bug when that was last written down."""
    told = json.loads(RECORD.read_text() if RECORD.exists() else '{}')
    return {name: Result(bug=name, **one) for name, one in told.items()}


def write_record(results: Iterable[Result]) -> None:
    """Write it down, and the tables of the documentation."""
    known = {**record(), **{r.bug: r for r in results}}
    lines = ',\n'.join(
        f' {json.dumps(b.name)}: ' + json.dumps(
            {'caught': known[b.name].caught, 'seed': known[b.name].seed,
             'seeds': known[b.name].seeds})
        for b in BUGS if b.name in known)
    RECORD.write_text(f'{{\n{lines}\n}}\n')
    TABLE.write_text(table())
    LAW_TABLE.write_text(law_table())


def table() -> str:
    """The record as reStructuredText."""
    return shared._listed((50, 20, 20, 10), [
        ('Bug', 'Law', 'Seed', 'Seeds needed'),
        *((f'``{r.bug}``', f'``{r.caught}``' if r.caught else 'not caught',
           f'``{r.seed}``' if r.seed else '-', str(r.seeds))
          for r in record().values())])


def law_table() -> str:
    """The laws, and the bugs that break them."""
    def _broken_by(law: str) -> str:
        return ', '.join(
            f'``{r.bug}``' for r in record().values()
            if r.caught == law) or ', '.join(
            f'``{b.name}``' for b in BUGS if law in b.laws) or (
            'no seeded bug')

    return shared._listed((20, 40, 40), [
        ('Law', 'Broken when', 'Broken by'),
        *((f'``{law}``', sentence, _broken_by(law))
          for law, sentence in lawbook.LAWS.items())])
