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
"""A few runs of the simulator in the gate; ``make sim`` runs many."""

import os
import subprocess
import sys

from os_brick_healer.tests import base
from os_brick_healer.tests.simulation import bugs, plan, run, shrink

MODULE = 'os_brick_healer.tests.simulation'


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', MODULE, *words],
        capture_output=True, text=True, check=False, timeout=100,
        env={**os.environ, 'PYTHONHASHSEED': '0'})


class SimulationTest(base.TestCase):

    def test_no_law_is_broken_in_a_run(self) -> None:
        report = run.play(plan.make('c-1'))

        self.assertEqual((), report.broken, run.story(report))
        self.assertGreater(report.faults, 10)
        self.assertGreater(report.checks, 1000)

    def test_the_same_seed_is_the_same_run(self) -> None:
        once, again = _command('seed', 'c-4'), _command('seed', 'c-4')

        self.assertEqual(once.stdout, again.stdout)
        self.assertIn('laws broken: none', once.stdout)

    def test_a_bug_is_caught_and_its_story_shrinks(self) -> None:
        bug = next(b for b in bugs.BUGS if b.name == 'no-grace')
        result = bugs.catch(bug, 4)
        self.assertEqual('8.grace', result.caught)

        with bugs.seeded(bug.name):
            report = run.play(bugs.plan(bug, result.seed), bug.laws)
            small = shrink.shrink(report, '8.grace', lambda p: run.play(
                p, bug.laws))

        self.assertIn('8.grace', small.laws)
        self.assertLess(len(small.plan.faults), 4)
        self.assertIn('LAW 8.grace IS BROKEN', run.story(small))

    def test_every_bug_fits_the_source_it_patches(self) -> None:
        for bug in bugs.BUGS:
            with self.subTest(bug=bug.name), bugs.seeded(bug.name):
                pass
