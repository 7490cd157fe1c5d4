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

"""Do the tests of a pure room notice when it is changed?

cosmic-ray makes the changes, one at a time. They are not written to disk: a
process that has everything imported forks for each of them, imports anew what
needs the room, with the change in it, and runs the room's own tests up to the
first that fails. That is some twenty times quicker than a process of its
own for each, and nobody else who works in this tree notices.

    python -m os_brick_healer.tests.mutation engine.pacing engine.slots
"""

import ast
from collections.abc import Collection, Iterator, Sequence
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import pathlib
import signal
import sys
import time
import types
from typing import Any
import unittest

from os_brick_healer.tests import pure

#: A change that is not noticed within so many times of what the tests take
#: unchanged (or so many seconds) hangs, and that is noticed.
SLOW_SHARE, SLOW_S = 10.0, 20.0
REPORT = pathlib.Path('build/mutation')

#: What becomes of a change.
SURVIVES, NOTICED, HANGS = 'survives', 'is noticed', 'hangs'

#: What is changed into what. cosmic-ray would replace every operator by
#: every other: only those that a person could have meant tell anything.
OPERATORS = (
    'AddNot', 'NumberReplacer', 'ReplaceAndWithOr', 'ReplaceOrWithAnd',
    'ReplaceTrueWithFalse', 'ReplaceFalseWithTrue', 'ExceptionReplacer',
    'ReplaceBreakWithContinue', 'ReplaceContinueWithBreak',
    'ZeroIterationForLoop', 'ReplaceUnaryOperator_Delete_Not',
    'ReplaceUnaryOperator_USub_UAdd',
    *(f'ReplaceComparisonOperator_{a}_{b}' for a, b in (
        ('Lt', 'LtE'), ('Lt', 'Gt'), ('LtE', 'Lt'), ('LtE', 'GtE'),
        ('Gt', 'GtE'), ('Gt', 'Lt'), ('GtE', 'Gt'), ('GtE', 'LtE'),
        ('Eq', 'NotEq'), ('NotEq', 'Eq'), ('Is', 'IsNot'), ('IsNot', 'Is'),
        )),
    *(f'ReplaceBinaryOperator_{a}_{b}' for a, b in (
        ('Add', 'Sub'), ('Sub', 'Add'), ('Mul', 'Div'), ('Div', 'Mul'),
        ('FloorDiv', 'Mul'), ('Mod', 'Mul'), ('Pow', 'Mul'),
        ('BitAnd', 'BitXor'), ('RShift', 'LShift'), ('LShift', 'RShift'))))


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from a source that is not the one on disk."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> types.CodeType:
        code: types.CodeType = compile(self._source, self.path, 'exec',
                                       dont_inherit=True)
        return code


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the changed module before anybody finds the one on disk."""

    def __init__(self, name: str, path: str, source: str) -> None:
        self._name = name
        self._loader = _Loader(name, path, source)

    def find_spec(self, fullname: str, _path: object = None,
                  _target: object = None,
                  ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(
            fullname, self._loader.path, loader=self._loader)


def changes(source: str) -> Iterator[tuple[str, str]]:
    """Each change of a source: its name, and the changed source."""
    trees = importlib.import_module('cosmic_ray.ast')
    plugins = importlib.import_module('cosmic_ray.plugins')
    mutating = importlib.import_module('cosmic_ray.mutating')
    nodes = list(trees.ast_nodes(trees.get_ast(source)))
    for name in OPERATORS:
        operator = plugins.get_operator(f'core/{name}')()
        places = sum(len(list(operator.mutation_positions(n))) for n in nodes)
        for number in range(places):
            changed = mutating.mutate_code(source, operator, number)
            # A law of its own (test_pure) holds these words.
            if not difference(source, changed)[1].startswith('@dataclasses'):
                yield f'{name} {number}', changed


def difference(old: str, new: str) -> tuple[int, str, str]:
    """The line that was changed, and what it was and is."""
    pairs = zip(old.split('\n'), new.split('\n'), strict=False)
    for number, (was, now) in enumerate(pairs, 1):
        if was != now:
            return number, was.strip(), now.strip()
    return 0, '', ''


def survives(room: str, source: str, limit_s: float) -> bool:
    """Whether the room's tests pass with this source in its place."""
    return fate(room, source, limit_s) == SURVIVES


def fate(room: str, source: str, limit_s: float) -> str:
    """What becomes of a source in the room's place.

    :returns: that its tests pass, that one fails, or that they hang.
    """
    anew = needing(f'{pure.PACKAGE}.{room}')
    pid = os.fork()
    if pid == 0:
        _child(room, source, anew)
    give_up_s = time.monotonic() + limit_s
    while time.monotonic() < give_up_s:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return NOTICED if status else SURVIVES
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return HANGS


@functools.cache
def needing(name: str) -> frozenset[str]:
    """The module, and those of ours that need it and are imported."""
    needs = {n: _needs(pathlib.Path(m.__file__ or ''))
             for n, m in list(sys.modules.items())
             if n.startswith(pure.PACKAGE)}
    found = {name}
    while more := {n for n, needed in needs.items()
                   if n not in found and needed & found}:
        found |= more
    return frozenset(found)


def _needs(path: pathlib.Path) -> set[str]:
    """What a module imports, anywhere in it, and the packages of that."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f'{node.module}.{one.name}' for one in node.names]
        for name in names:
            parts = name.split('.')
            found |= {'.'.join(parts[:i + 1]) for i in range(len(parts))}
    return found


def _forget(name: str) -> None:
    """Let a module be imported anew."""
    package, _, last = name.rpartition('.')
    sys.modules.pop(name, None)
    vars(sys.modules.get(package, sys)).pop(last, None)


def _child(room: str, source: str, anew: Collection[str]) -> None:
    """Never returns; 0 when no test has failed."""
    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        for loaded in anew:
            _forget(loaded)
        name = f'{pure.PACKAGE}.{room}'
        sys.meta_path.insert(0, _Finder(name, pure.path(room), source))
        suite = unittest.defaultTestLoader.loadTestsFromNames(
            pure.tests(room))
        with open(os.devnull, 'w') as out:
            result = unittest.TextTestRunner(
                stream=out, failfast=True, verbosity=0).run(suite)
        code = 0 if result.wasSuccessful() else 1
    finally:
        os._exit(code)


def judge(room: str, out: Any) -> tuple[int, int]:
    """Change one room in every way; how many changes, how many noticed."""
    source = pathlib.Path(pure.path(room)).read_text()
    begin_s = time.monotonic()
    if not survives(room, source, 600.0):
        raise SystemExit(f'the tests of {room} fail as it is')
    limit_s = max(SLOW_S, SLOW_SHARE * (time.monotonic() - begin_s))
    made = noticed = hung = 0
    for name, changed in changes(source):
        made += 1
        found = fate(room, changed, limit_s)
        noticed += found != SURVIVES
        hung += found == HANGS
        if found != NOTICED:
            line, was, now = difference(source, changed)
            print(f'{pure.path(room)}:{line} {name} {found}\n    {was}\n'
                  f'    {now}', file=out, flush=True)
    print(f'{room:28} {made:5} changes, {made - noticed} not noticed, '
          f'{hung} hang, {time.monotonic() - begin_s:.0f} s', flush=True)
    return made, noticed


def main(argv: Sequence[str]) -> int:
    """Judge the rooms that are named, or all."""
    os.environ['HYPOTHESIS_PROFILE'] = 'quick'
    rooms = list(argv) or list(pure.ROOMS)
    for test in pure.tests(*rooms):     # and with them what they need
        importlib.import_module(test)
    REPORT.mkdir(parents=True, exist_ok=True)
    made = noticed = 0
    for room in rooms:
        with open(REPORT / f'{room}.txt', 'w') as out:
            more = judge(room, out)
        made, noticed = made + more[0], noticed + more[1]
    print(f'changes: {made}')
    print(f'not noticed: {made - noticed} (listed in {REPORT})')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
