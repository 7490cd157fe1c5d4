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
"""The simulator of mapped volumes: its own tests, with a few runs."""

import os
import subprocess
import sys
import unittest

from os_brick_healer.tests import base
from os_brick_healer.tests.simulation import bugs as shared
from os_brick_healer.tests.simulation.mapping import (
    bugs,
    families,
    faults,
    gate,
    lawbook,
    plan,
    run,
)

MODULE = 'os_brick_healer.tests.simulation.mapping'


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', MODULE, *words],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, 'PYTHONHASHSEED': '0'})


class RunTest(base.TestCase):

    def test_no_law_is_broken_in_a_run_of_each_family(self) -> None:
        for family in families.FAMILIES:
            with self.subTest(family=family):
                report = run.play(plan.make(families.seed_of(family, 1)))
                self.assertEqual((), report.broken, run.story(report))
                self.assertGreater(report.faults, 3)
                self.assertGreater(report.checks, 300)

    def test_the_same_seed_is_the_same_run(self) -> None:
        once = _command('seed', 'mapping-deaths/3')
        again = _command('seed', 'mapping-deaths/3')
        self.assertEqual(once.stdout, again.stdout)
        self.assertIn('laws broken: none', once.stdout)

    def test_a_bug_is_caught_and_its_story_shrinks(self) -> None:
        name = 'slow-storage-is-taken-for-death'
        result = bugs.catch_again(name)
        self.assertEqual('12.kill', result.caught)
        small = gate.seed(result.seed, name, '12.kill', shrink=True)
        self.assertIn('12.kill', small.laws)
        self.assertLess(len(small.plan.faults), 4)
        self.assertIn('LAW 12.kill IS BROKEN', run.story(small))


class PlanTest(base.TestCase):

    def test_a_plan_outlives_its_planner_as_data(self) -> None:
        for family in families.FAMILIES:
            with self.subTest(family=family):
                made = plan.make(families.seed_of(family, 7))
                self.assertEqual(made, plan.load(plan.dump(made)))

    def test_what_is_no_plan_is_refused(self) -> None:
        for text in ('{}', '[]', '{"seed": 1}', 'no json'):
            with self.subTest(text=text):
                self.assertRaises(ValueError, plan.load, text)

    def test_every_fault_of_a_family_can_happen(self) -> None:
        known = {name[1:] for name in dir(faults.Faults)}
        wanted = {kind for family in families.FAMILIES.values()
                  for kind in family.kinds} | set(families.STORM)
        wanted |= {part for parts in families.DRAMAS.values()
                   for part, _ in parts}
        self.assertEqual(
            set(), wanted - known - set(families.DRAMAS) - {'storm'})

    def test_every_drama_is_played_by_some_family(self) -> None:
        played = {kind for family in families.FAMILIES.values()
                  for kind in family.kinds}
        self.assertLessEqual(set(families.DRAMAS), played)


class CatalogueTest(base.TestCase):

    def test_every_bug_fits_the_source_it_patches(self) -> None:
        for bug in bugs.BUGS:
            with self.subTest(bug=bug.name), bugs.seeded(bug):
                pass

    def test_every_bug_has_a_name_of_its_own_and_laws_that_exist(
            self) -> None:
        names = [bug.name for bug in bugs.BUGS]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(set(), set(names) & {b.name for b in shared.BUGS})
        for bug in bugs.BUGS:
            self.assertLessEqual(set(bug.laws), set(lawbook.LAWS), bug.name)
            self.assertIn(bug.family, families.FAMILIES, bug.name)

    def test_the_record_has_every_bug_caught(self) -> None:
        record = bugs.record()
        self.assertEqual([bug.name for bug in bugs.BUGS], list(record))
        for bug in bugs.BUGS:
            found = record[bug.name]
            self.assertIn(found.caught, bug.laws)
            self.assertIn(found.seed, bugs.seeds(bug))
            self.assertLessEqual(found.seeds, bugs.SEEDS_MAX)


@unittest.skipUnless(shared.DOCS.is_dir(), 'not run from a source tree')
class TablesTest(base.TestCase):
    """The documentation shows what is so."""

    def test_the_table_of_bugs_is_what_was_recorded(self) -> None:
        self.assertEqual(bugs.table(), bugs.TABLE.read_text())

    def test_the_table_of_laws_has_them_all(self) -> None:
        self.assertEqual(bugs.law_table(), bugs.LAW_TABLE.read_text())
