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

"""Who says that it is pure is held to it."""

import ast
import importlib.util
import pathlib
import re
import tomllib
import unittest

from os_brick_healer.engine import slots
from os_brick_healer.tests import base, mutation, pure

ROOT = pathlib.Path(__file__).parents[3]
PYPROJECT = ROOT / 'pyproject.toml'
MUTATION = ROOT / 'doc/source/contributor/mutation.rst'
#: A row of its table: room, day or never, changes, not noticed. Where a word
#: stands for these, figures of this room alone are not known.
RUN = re.compile(r'   \* - ``([a-z_.]+)``\n     - (\d{4}-\d\d-\d\d|never)\n'
                 r'     - (\d+|[a-z]+)\n     - (\d+|[a-z]+)\n')


def said_pure() -> set[str]:
    """Modules whose docstring says so."""
    found = set()
    for path in (ROOT / pure.PACKAGE).rglob('*.py'):
        named = path.relative_to(ROOT / pure.PACKAGE)
        text = ast.get_docstring(ast.parse(path.read_text())) or ''
        if named.parts[0] != 'tests' and 'Pure.' in text.split():
            found.add('.'.join(named.with_suffix('').parts))
    return found


@unittest.skipUnless(PYPROJECT.exists(), 'not run from a source tree')
class PureTest(base.TestCase):

    def test_who_says_pure_is_measured_and_who_is_measured_says_so(
            self) -> None:
        self.assertEqual(said_pure(), set(pure.ROOMS))

    def test_what_it_holds_is_never_changed(self) -> None:
        for room in pure.ROOMS:
            tree = ast.parse((ROOT / pure.path(room)).read_text())
            for node in ast.walk(tree):
                if not isinstance(node, ast.ClassDef):
                    continue
                for decorator in node.decorator_list:
                    words = ast.unparse(decorator)
                    if words.startswith('dataclasses.dataclass'):
                        self.assertIn('frozen=True', words, node.name)

    def test_what_the_contracts_call_pure_says_so(self) -> None:
        contracts = tomllib.loads(PYPROJECT.read_text())['tool'][
            'importlinter']['contracts']
        (named,) = (c['source_modules'] for c in contracts
                    if c['name'].startswith('Pure rooms'))
        kinds = {name.rpartition('.')[2] for name in named}
        rooms = {path.stem for path in (ROOT / pure.PACKAGE).rglob('*.py')
                 if 'tests' not in path.parts} & kinds
        self.assertEqual(rooms, kinds)
        self.assertEqual(
            set(), {r for r in rooms if not any(
                room.rpartition('.')[2] == r for room in pure.ROOMS)})

    def test_its_tests_notice_a_change(self) -> None:
        room = 'engine.slots'
        source = (ROOT / pure.path(room)).read_text()
        self.assertTrue(mutation.survives(room, source, 60.0))
        self.assertTrue(mutation.survives(room, source + '# said', 60.0))
        changed = source.replace('return True', 'return False')
        self.assertNotEqual(source, changed)
        self.assertFalse(mutation.survives(room, changed, 60.0))
        self.assertFalse(mutation.survives(room, 'while True: pass', 0.5))
        # This process has seen nothing of it.
        self.assertTrue(slots.Slots(1).take('v'))

    def test_of_each_room_it_is_told_when_it_was_changed(self) -> None:
        text = MUTATION.read_text()
        rows = RUN.findall(text)
        self.assertEqual(list(pure.ROOMS), [room for room, *_ in rows])
        ran = [row for row in rows if row[2].isdigit()]
        made, left = (sum(int(row[i]) for row in ran) for i in (2, 3))
        self.assertIn(f'{made:,} changes in {len(ran)} rooms,\n{left} of '
                      'them not noticed', text)
        reasons = text.partition('What is left, and why')[2]
        for room, _day, _made, some in ran:
            self.assertEqual(some != '0', f'``{room}``' in reasons, room)

    def test_the_tests_of_a_room_are_there(self) -> None:
        for name in pure.tests(*pure.ROOMS):
            self.assertIsNotNone(importlib.util.find_spec(name), name)
