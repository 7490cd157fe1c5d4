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

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import importlib
import inspect
import textwrap
import types
from typing import Any

from os_brick_healer.tests.simulation import catalogue
from os_brick_healer.tests.simulation import plan as plan_lib
from os_brick_healer.tests.simulation import run as run_lib

#: A bug must be caught within so many seeds.
SEEDS_MAX = 12
#: Seeds that found a bug of ours; see bugs-found in the docs.
REGRESSIONS: tuple[str, ...] = ('c-1', 'd-8', 'd-14', 'd-15', 'f-8', 'g-45')
PACKAGE = 'os_brick_healer'


BUGS = catalogue.BUGS
Bug = catalogue.Bug
Patch = catalogue.Patch


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a bug was caught: by which law, after how many seeds."""

    bug: Bug
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
    """A seed's plan, in a world in which the bug can show."""
    made = plan_lib.make(seed)
    return dataclasses.replace(made, setup=dataclasses.replace(
        made.setup, **dict(bug.setup)))


def catch(bug: Bug, seeds: int) -> Result:
    """Run seeds with the bug until one of its laws is broken."""
    tried = (*bug.seeds, *(f'bug-{n}' for n in range(seeds)))[:seeds]
    for count, seed in enumerate(tried, 1):
        with seeded(bug.name):
            report = run_lib.play(plan(bug, seed), bug.laws)
        found = [x for x in report.laws if x in bug.laws]
        if found:
            return Result(bug=bug, caught=found[0], seeds=count, seed=seed)
    return Result(bug=bug, caught=None, seeds=len(tried), seed='')


def catch_all(*, seeds: int, say: Callable[[str], None],
              only: str | None = None) -> list[Result]:
    """All of them, one after the other."""
    results = []
    for bug in BUGS:
        if only is None or only in bug.name:
            result = catch(bug, seeds)
            say(f'bug {bug.name}: ' + (
                'NOT CAUGHT' if result.caught is None else
                f'law {result.caught}')
                + f' after {result.seeds} seeds ({result.seed})')
            results.append(result)
    return results
