# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Laws of the repository itself, read from its source.

What ruff, mypy and import-linter can hold, they hold; here is the rest. An
exception is a line in a table below, with the reason; a table may not name
what no longer needs it.
"""

import ast
from collections.abc import Iterator
import pathlib
import re
import tomllib
import unittest

from os_brick_healer.tests import base

ROOT = pathlib.Path(__file__).parents[3]
TREES = ('os_brick_healer', 'os_brick', 'bed', 'tools', 'examples', 'doc')
SUFFIXES = frozenset(
    ('.cfg', '.conf', '.filters', '.ini', '.md', '.py', '.rst', '.service',
     '.sh', '.toml', '.txt', '.yaml', ''))
LICENCE = 'Licensed under the Apache License, Version 2.0'

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

#: Files allowed to be longer: path -> why.
LONG_FILES: dict[str, str] = {
    'os_brick_healer/engine/journal.py':
        'one schema, and all that reads and writes it',
    'os_brick_healer/replica/model.py':
        'the vocabulary of a wing is read, and changed, as one',
    'os_brick_healer/provisioner/kumoscale.py':
        'the plugin: each method beside what KumoScale really does',
    'os_brick_healer/replica/observe.py':
        'what a look reads must be read in one order, seen as one',
    'os_brick_healer/replica/pulse.py':
        'the hot path: descriptors, turns and stalls share their state',
    'os_brick_healer/testing/conformance.py':
        'a vendor reads, and runs, one suite',
    'os_brick_healer/testing/synthetic.py':
        'one host of files, with all that may change in it',
    'os_brick_healer/replica/act.py':
        'one pair of hands: every action, each short, under one set of rules',
    'os_brick_healer/tests/unit/engine/test_loop.py':
        'one engine, one clock, one law a test',
    'os_brick_healer/tests/unit/replica/test_decide.py':
        'the whole flow, replayed in one host',
    'os_brick_healer/tests/unit/replica/test_laws.py':
        'the laws, and that decide and they agree',
    'os_brick_healer/tests/unit/replica/test_observe.py':
        'one reader over every captured state',
    'os_brick_healer/tests/unit/replica/world.py':
        'one small host in which every action takes effect',
    'bed/guest/kumoscale.py': 'one API, every path of it',
    'bed/guest/provisioner.py': "the vendor's rules, as one set",
}
#: Functions allowed to be longer: path:name -> why.
LONG_FUNCTIONS: dict[str, str] = {
    'bed/guest/kumoscale.py:_dispatch': 'a table of the API, one line a path',
    'bed/scenarios/foreign_array.py:foreign': 'one story, told in order',
    'bed/scenarios/operator_cli.py:operator': 'one visit of an operator',
}

#: Libraries that one file of the package may import, so that what they do,
#: and how they fail, is translated in one place.
ONE_OWNER = ('keystoneauth1', 'os_brick', 'requests', 'sqlite3',
             'stevedore')

UNFINISHED = re.compile(r'\b(TODO|FIXME|XXX)\b')
SOMEBODYS_HOME = re.compile(r'/(home|Users)/\w')
FORBIDDEN_ARGUMENTS = (('shell', True), ('verify', False))


def sources() -> Iterator[pathlib.Path]:
    yield ROOT / 'setup.py'
    for tree in TREES:
        yield from sorted((ROOT / tree).rglob('*.py'))


def texts() -> Iterator[pathlib.Path]:
    """Every file a person wrote: no build products, no binary captures."""
    for path in ROOT.iterdir():
        # Below the root a file without a suffix is a script; here it may be
        # what a tool left.
        if path.is_file() and path.suffix and path.suffix in SUFFIXES:
            yield path
    yield ROOT / 'Makefile'
    for tree in (*TREES, 'etc', '.ci', 'releasenotes'):
        for path in (ROOT / tree).rglob('*'):
            product = 'build' in path.parts or '__pycache__' in path.parts
            if path.is_file() and path.suffix in SUFFIXES and not product:
                yield path


def named(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=named(path))


def imported(tree: ast.AST) -> Iterator[str]:
    """The top-level packages that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f'{node.module}.{a.name}' for a in node.names)


def is_test(path: pathlib.Path) -> bool:
    return 'tests' in path.parts


def long_functions(path: pathlib.Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f'{named(path)}:{node.name}', lines


def forbidden_arguments(path: pathlib.Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        match node:
            case ast.keyword(arg=name, value=ast.Constant(value=value)) if (
                    name, value) in FORBIDDEN_ARGUMENTS:
                yield f'{named(path)}:{node.lineno} {name}={value!r}'


def promised() -> Iterator[tuple[str, str]]:
    """Module and attribute of each entry point of pyproject.toml."""
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    for group in (project['scripts'], *project['entry-points'].values()):
        for target in group.values():
            module, _, attribute = target.partition(':')
            yield module, attribute


def defines(module: str, attribute: str) -> bool:
    path = ROOT / f'{module.replace(".", "/")}.py'
    return path.exists() and any(
        isinstance(node, ast.FunctionDef | ast.ClassDef)
        and node.name == attribute for node in parsed(path).body)


@unittest.skipUnless((ROOT / 'pyproject.toml').exists(),
                     'not run from a source tree')
class RepositoryTest(base.TestCase):
    def test_every_source_states_its_licence(self) -> None:
        bare = [named(p) for p in sources()
                if p.read_text().strip()
                and LICENCE not in p.read_text()[:1200]]
        self.assertEqual([], bare)

    def test_files_stay_short(self) -> None:
        lines = {named(p): len(p.read_text().splitlines()) for p in sources()}
        found = {n: c for n, c in lines.items() if c > FILE_LINES_MAX}
        self.assertEqual(set(LONG_FILES), set(found), str(found))

    def test_functions_stay_short(self) -> None:
        found = dict(f for p in sources() for f in long_functions(p))
        self.assertEqual(set(LONG_FUNCTIONS), set(found), str(found))

    def test_nothing_is_left_for_later(self) -> None:
        here = named(pathlib.Path(__file__))
        found = [named(p) for p in texts() if named(p) != here
                 and UNFINISHED.search(p.read_text(errors='replace'))]
        self.assertEqual([], found)

    def test_no_file_knows_the_machine_it_was_written_on(self) -> None:
        # A checkout right below / would match paths that mean something else.
        checkout = re.compile(
            re.escape(str(ROOT)) + r'\b' if len(ROOT.parts) > 2 else r'(?!)')
        found = [
            f'{named(path)}:{number}'
            for path in texts() if path != pathlib.Path(__file__)
            for number, line in enumerate(
                path.read_text(errors='replace').splitlines(), 1)
            if checkout.search(line) or SOMEBODYS_HOME.search(line)]
        self.assertEqual([], found)

    def test_no_shell_and_no_unverified_tls(self) -> None:
        found = [f for p in sources() for f in forbidden_arguments(p)]
        self.assertEqual([], found)

    def test_a_foreign_library_has_one_owner(self) -> None:
        owners: dict[str, set[str]] = {name: set() for name in ONE_OWNER}
        for path in (ROOT / 'os_brick_healer').rglob('*.py'):
            if not is_test(path):
                tops = {n.split('.')[0] for n in imported(parsed(path))}
                for name in tops & set(ONE_OWNER):
                    owners[name].add(named(path))
        shared = {n: sorted(o) for n, o in owners.items() if len(o) > 1}
        self.assertEqual({}, shared)

    def test_tests_pass_fakes_in_instead_of_patching(self) -> None:
        found = [named(p) for p in sources()
                 if 'unittest.mock' in set(imported(parsed(p)))]
        self.assertEqual([], found)

    def test_every_entry_point_leads_somewhere(self) -> None:
        broken = [f'{module}:{attribute}' for module, attribute in promised()
                  if not defines(module, attribute)]
        self.assertEqual([], broken)

    def test_os_brick_is_never_shadowed(self) -> None:
        inits = [named(p) for p in (ROOT / 'os_brick').rglob('__init__.py')]
        self.assertEqual([], inits)
