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
"""Bugs, seeded on purpose: each must break a law within a few seeds.

A bug is a patch of a few lines: text of one function replaced by other
text. The function's code is exchanged in place, so every reference to it
has the bug, and given back afterwards.
"""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import dataclasses
import importlib
import inspect
import json
import math
import pathlib
import textwrap
import types
from typing import Any

from os_brick_healer.tests.simulation import (
    catalogue,
    defects,
    frozen,
    lawbook,
)
from os_brick_healer.tests.simulation import plan as plan_lib
from os_brick_healer.tests.simulation import run as run_lib
from os_brick_healer.tests.simulation.http import bugs as http_bugs

#: A bug must be caught within so many seeds of its family.
SEEDS_MAX = 12
#: A plan on record that is not well with its bug so long after it was without,
#: seconds, has caught it: nobody waits for the end of the budget.
PATIENCE_S = 120.0
PACKAGE = 'os_brick_healer'
HERE = pathlib.Path(__file__).parent
RECORD = HERE / 'caught.json'
DOCS = HERE.parents[2] / 'doc/source/contributor'
TABLE, LAW_TABLE = DOCS / 'seeded-bugs.inc', DOCS / 'watched-laws.inc'

BUGS = catalogue.BUGS + http_bugs.BUGS
Bug = defects.Bug
Patch = defects.Patch


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a bug was caught: by which law, after how many seeds."""

    bug: str
    caught: str | None
    seeds: int
    seed: str


@contextlib.contextmanager
def seeded(name: str | None) -> Iterator[None]:
    """With a bug in the product, or without (None)."""
    bug = next((b for b in BUGS if b.name == name), None)
    assert name is None or bug is not None, name
    with contextlib.ExitStack() as stack:
        for where, patches in _by_function(bug).items():
            stack.enter_context(_patched(where, patches))
        yield


def _by_function(bug: Bug | None) -> dict[str, list[Patch]]:
    found: dict[str, list[Patch]] = {}
    for patch in () if bug is None else bug.patches:
        found.setdefault(patch.where, []).append(patch)
    return found


@contextlib.contextmanager
def _patched(where: str, patches: list[Patch]) -> Iterator[None]:
    module_name, _, path = where.partition(':')
    module = importlib.import_module(f'{PACKAGE}.{module_name}')
    function: Any = module
    for word in path.split('.'):
        function = inspect.getattr_static(function, word)
    function = getattr(function, 'fget', None) or getattr(
        function, 'func', None) or getattr(
        function, '__wrapped__', None) or getattr(
        function, '__func__', None) or function
    before = function.__code__
    function.__code__ = _compile(module, function, patches)
    try:
        yield
    finally:
        function.__code__ = before


def _compile(module: types.ModuleType, function: Any,
             patches: list[Patch]) -> types.CodeType:
    source = textwrap.dedent(inspect.getsource(function))
    for patch in patches:
        assert source.count(patch.old) == 1, (
            f'{patch.where}: {patch.old!r} is there '
            f'{source.count(patch.old)} times')
        source = source.replace(patch.old, patch.new)
    lines = source.splitlines()
    while lines[0].startswith('@'):
        del lines[0]
    names: dict[str, Any] = {}
    code = compile('from __future__ import annotations\n' + '\n'.join(lines),
                   f'<bug in {patches[0].where}>', 'exec')
    exec(code, vars(module), names)
    made = names[function.__name__]
    assert isinstance(made, types.FunctionType)
    return made.__code__


def plan(bug: Bug, seed: str) -> plan_lib.Plan:
    """A seed's plan, in a world in which the bug can show; or a frozen
    one, as it is.
    """
    if seed in frozen.names():
        return frozen.read(seed)
    return fitted(bug, plan_lib.make(seed))


def fitted(bug: Bug, made: plan_lib.Plan) -> plan_lib.Plan:
    """A plan in the world in which the bug can show."""
    return dataclasses.replace(made, setup=dataclasses.replace(
        made.setup, **dict(bug.setup)))


def seeds(bug: Bug) -> list[str]:
    """What is tried, in this order; a frozen plan is the last resort."""
    kept = [bug.name] if bug.name in frozen.names() else []
    return [f'{bug.family}/{n}' for n in range(SEEDS_MAX)] + kept


def catch(bug: Bug, tried: Sequence[str], *, blame: bool = True,
          until_s: float = math.inf) -> Result:
    """Run seeds with the bug until one of its laws is broken.

    :param blame: the same run must break no such law without the bug.
    :param until_s: see :func:`runs.play`.
    """
    for count, seed in enumerate(tried, 1):
        with seeded(bug.name):
            report = run_lib.play(plan(bug, seed), bug.laws, until_s)
        found = [x for x in report.laws if x in bug.laws]
        if found and not (blame and _blamed(bug, seed, found[0])):
            return Result(bug=bug.name, caught=found[0], seeds=count,
                          seed=seed)
    return Result(bug=bug.name, caught=None, seeds=len(tried), seed='')


def _blamed(bug: Bug, seed: str, law: str) -> bool:
    """Whether the law is broken without the bug, too."""
    return law in run_lib.play(plan(bug, seed), (law,)).laws


def proof(bug: Bug) -> plan_lib.Plan | None:
    """The plan that is on record as catching a bug."""
    if bug.name in frozen.names():
        return frozen.read(bug.name)
    known = record().get(bug.name)
    return (plan(bug, known.seed) if known is not None and known.caught
            else None)


def by_plan() -> list[list[str]]:
    """The bugs, those together whose plan on record is the same."""
    found: dict[str, list[str]] = {}
    for bug in BUGS:
        made = proof(bug)
        found.setdefault(bug.name if made is None else plan_lib.dump(made),
                         []).append(bug.name)
    return list(found.values())


def prove(names: Sequence[str]) -> tuple[run_lib.Report | None,
                                         list[Result]]:
    """Play a plan on record as it is, and with each bug that it has caught.

    :param names: bugs with the same plan, or one without any.
    :returns: the run without a bug, which is to break no law.
    """
    made = proof(named(names[0]))
    well = None if made is None else dataclasses.replace(
        run_lib.play(made), story=())
    until_s = math.inf if well is None else well.simulated_s + PATIENCE_S
    return well, [_caught_again(named(name), until_s) for name in names]


def catch_again(name: str) -> Result:
    """With the plan that is on record, or else with others."""
    return prove([name])[1][0]


def _caught_again(bug: Bug, until_s: float) -> Result:
    """A frozen plan has to catch its bug itself."""
    known = record().get(bug.name)
    first = [known.seed] if known is not None and known.caught else []
    if bug.name in frozen.names():
        first = [bug.name]
    found = catch(bug, first, blame=False, until_s=until_s)
    if found.caught or bug.name in frozen.names():
        return found
    return catch(bug, [s for s in seeds(bug) if s not in first])


def catch_anew(name: str) -> Result:
    """As if nothing were known of it."""
    bug = named(name)
    return catch(bug, seeds(bug))


def named(name: str) -> Bug:
    return next(b for b in BUGS if b.name == name)


# The record ----------

def record() -> dict[str, Result]:
    """What caught each bug when that was last written down."""
    told = json.loads(RECORD.read_text() if RECORD.exists() else '{}')
    return {name: Result(bug=name, **one) for name, one in told.items()}


def write_record(results: Iterable[Result]) -> None:
    """Write it down, and the tables of the documentation."""
    RECORD.write_text(recorded(results))
    TABLE.write_text(table())
    LAW_TABLE.write_text(law_table())


def recorded(results: Iterable[Result]) -> str:
    """The record with these results; what is known of others stays."""
    known = {**record(), **{r.bug: r for r in results}}
    lines = ',\n'.join(
        f' {json.dumps(r.bug)}: ' + json.dumps(
            {'caught': r.caught, 'seed': r.seed, 'seeds': r.seeds})
        for bug in BUGS if (r := known.get(bug.name)) is not None)
    return f'{{\n{lines}\n}}\n'


def table() -> str:
    """The record as reStructuredText."""
    return _listed((50, 20, 20, 10), [
        ('Bug', 'Law', 'Seed', 'Seeds needed'),
        *((f'``{r.bug}``', f'``{r.caught}``' if r.caught else 'not caught',
           _shown(r), str(r.seeds)) for r in record().values())])


def _shown(result: Result) -> str:
    if result.seed == result.bug:
        return 'its frozen plan'
    return f'``{result.seed}``' if result.seed else '-'


def law_table() -> str:
    """The laws, and the bugs that break them."""
    def _broken_by(law: str) -> str:
        return ', '.join(f'``{r.bug}``' for r in record().values()
                         if r.caught == law) or (
            'may be broken by ' + ', '.join(
                f'``{b.name}``' for b in BUGS if law in b.laws))

    return _listed((20, 40, 40), [
        ('Law', 'Broken when', 'Broken by'),
        *((f'``{law}``', sentence, _broken_by(law))
          for law, sentence in lawbook.LAWS.items())])


def _listed(widths: Sequence[int], rows: Sequence[Sequence[str]]) -> str:
    lines = ['.. Written by "python -m os_brick_healer.tests.simulation '
             'bugs --write".', '', '.. list-table::', '   :header-rows: 1',
             f'   :widths: {" ".join(map(str, widths))}', '']
    for row in rows:
        lines += [f'   {"*" if at == 0 else " "} - {text}'
                  for at, text in enumerate(row)]
    return '\n'.join(lines) + '\n'
