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
"""The simulator's own tests, with a few runs; ``make sim`` has many."""

import functools
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.replica import model
from os_brick_healer.tests import base
from os_brick_healer.tests.simulation import (
    bugs,
    cloud,
    crew,
    fabric,
    families,
    frozen,
    lawbook,
    mended,
    misfortune,
    parts,
    plan,
    run,
    shrink,
    timeline,
    world,
)
from os_brick_healer.tests.simulation.http import bugs as http_bugs

MODULE = 'os_brick_healer.tests.simulation'
DOCS = bugs.TABLE.parent


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', MODULE, *words],
        capture_output=True, text=True, check=False, timeout=100,
        env={**os.environ, 'PYTHONHASHSEED': '0'})


class RunTest(base.TestCase):

    def test_no_law_is_broken_in_a_run(self) -> None:
        report = run.play(plan.make('mixed/2'))

        self.assertEqual((), report.broken, run.story(report))
        self.assertGreater(report.faults, 10)
        self.assertGreater(report.checks, 1000)

    def test_the_same_seed_is_the_same_run(self) -> None:
        once, again = _command('seed', 'host/4'), _command('seed', 'host/4')

        self.assertEqual(once.stdout, again.stdout)
        self.assertIn('laws broken: none', once.stdout)

    def test_a_bug_is_caught_and_its_story_shrinks(self) -> None:
        bug = bugs.named('no-grace')
        result = bugs.catch_again(bug.name)
        self.assertEqual('8.grace', result.caught)

        with bugs.seeded(bug.name):
            report = run.play(bugs.plan(bug, result.seed), bug.laws)
            small = shrink.shrink(report, '8.grace', lambda p: run.play(
                p, bug.laws))

        self.assertIn('8.grace', small.laws)
        self.assertLess(len(small.plan.faults), 4)
        self.assertIn('LAW 8.grace IS BROKEN', run.story(small))

    def test_a_crew_gives_results_in_order(self) -> None:
        for jobs in (1, 3):
            with self.subTest(jobs=jobs):
                self.assertEqual(['A', 'B', 'C', 'D'], list(
                    crew.share(str.upper, 'abcd', jobs)))


class FabricTest(base.TestCase):

    def test_a_second_cut_does_not_put_off_the_end_of_a_silence(
            self) -> None:
        time = timeline.Timeline()
        portal = provisioner.Portal(address='192.0.2.1', port=4420)
        cloth = fabric.Fabric(time, random.Random(0), lambda _nqn: None)
        cloth.targets['nqn.a'] = parts.Target(nqn='nqn.a', portals=(portal,))
        one = cloth.connect('nqn.a', portal, 20)
        assert one is not None
        cloth.cut(fabric.Cut(parts.SILENT, (portal,)))
        for at_s in (15.0, 30.0):
            time.advance(at_s)
            again = fabric.Cut(parts.SILENT, (portal,))
            cloth.cut(again)
            cloth.mend(again)
        time.advance(2 * 20 + 1.0)
        self.assertIs(model.PathState.CONNECTING, one.state)


class FlagTest(base.TestCase):
    """Whether a flag that nobody has cleared makes an outage an error."""

    def _outage(self, *held: tuple[float, float]) -> str:
        """The volume cannot be read from, to; at 280 s all legs go."""
        played = world.World('flag', world.Setup(volumes=1, foreign=False))
        ((key, array),) = played.arrays.items()
        member = array.members[0]
        member.failfast = True
        for number, (begun_s, ended_s) in enumerate(held):
            why = str(number % 2)
            played.time.at(begun_s, functools.partial(played.hold, key, why))
            played.time.at(ended_s, functools.partial(played.free, key, why))
        played.time.advance(280.0)
        for portal in played.every_portal():
            played.fabric.cut(fabric.Cut(parts.CLOSED, (portal,)))
        played.time.advance(300.0)
        return played.md.flow(member)

    def test_it_does_once_there_was_time_to_clear_it(self) -> None:
        for held in ((), ((70.0, 400.0),), ((1.0, 200.0),),
                       ((1.0, 50.0), (70.0, 80.0), (150.0, 400.0))):
            with self.subTest(held=held):
                self.assertEqual(parts.ERROR, self._outage(*held))

    def test_who_can_do_nothing_about_the_volume_is_excused(self) -> None:
        for held in (((1.0, 400.0),), ((50.0, 270.0),),
                       ((1.0, 50.0), (40.0, 250.0), (270.0, 400.0))):
            with self.subTest(held=held):
                self.assertEqual(parts.HANG, self._outage(*held))


class DeletionTest(base.TestCase):
    """Whether a removal is excused whose leg is lost on the way."""

    def _judged(self, *, how: str = '', away_s: float = 0.0,
                sent: bool = True, failed_first: bool = False,
                noticed: bool = True) -> list[str]:
        """A leg goes, the removal of an old replica is sent, MD notices."""
        played = world.World('sent', world.Setup(volumes=1, foreign=False))
        ((key, array),) = played.arrays.items()
        volume, leg = played.cloud.volumes[key], array.members[0]
        played.cloud.arrive(volume)
        old = list(volume.replicas.values())[-1].disk
        leg.disk.sick = not how
        if how:
            played.fabric.cut(fabric.Cut(how, nqns=(leg.disk.nqn,), portals=(
                played.fabric.targets[leg.disk.nqn].portals)))
        played.time.advance(away_s)
        if failed_first:
            played.md.fail(array, leg)
        if sent:
            played.cloud.lets_go(key, old.uuid)
        if noticed:
            played.md.fail(array, leg)
        played.cloud.confirm(key, old.id)
        return [broken.law for broken in played.court.broken]

    def test_what_nobody_could_know_when_it_was_sent_is_excused(self) -> None:
        for how, away_s in (('', 0.1), (parts.CLOSED, 0.01),
                            (parts.SILENT, 0.1)):
            with self.subTest(how=how):
                self.assertEqual([], self._judged(how=how, away_s=away_s))

    def test_what_could_be_known_is_not(self) -> None:
        for how, away_s in ((parts.CLOSED, 0.1), (parts.SILENT, 0.5)):
            with self.subTest(how=how):
                self.assertEqual(['3.early-removal'], self._judged(
                    how=how, away_s=away_s))
                self.assertEqual(['3.early-removal'], self._judged(
                    how=how, away_s=away_s, noticed=False))
        self.assertEqual(['3.early-removal'],
                         self._judged(failed_first=True))
        self.assertEqual(['3.early-removal'], self._judged(sent=False))


class OldNewsTest(base.TestCase):
    """How old the news are that a provisioner tells."""

    def test_they_are_not_from_before_a_silence(self) -> None:
        for silent_s, old in ((15.0, True), (60.0, False)):
            with self.subTest(silent_s=silent_s):
                played = world.World('old', world.Setup(volumes=1))
                ((key, volume),) = played.cloud.volumes.items()
                played.cloud.say()
                volume.hosts.add(cloud.THERE)
                played.time.advance(silent_s)
                played.cloud.weather.lag_s = 10.0
                told = played.cloud.say()[provisioner.VolumeId(key)]
                self.assertIs(
                    old, told.hosts == frozenset({cloud.HERE}))


class PlanTest(base.TestCase):

    def test_a_plan_outlives_its_planner_as_data(self) -> None:
        for family in families.FAMILIES:
            with self.subTest(family=family):
                made = plan.make(f'{family}/7')
                self.assertEqual(made, plan.load(plan.dump(made)))

    def test_what_is_no_plan_is_refused(self) -> None:
        for text in ('{}', '[]', '{"seed": 1}', 'no json'):
            with self.subTest(text=text):
                self.assertRaises(ValueError, plan.load, text)

    def test_every_fault_of_a_family_can_happen(self) -> None:
        known = {name[1:] for name in dir(misfortune.Misfortune)}
        wanted = {kind for family in families.FAMILIES.values()
                  for kind in family.kinds} | set(families.STORM)
        wanted |= {part for parts in families.DRAMAS.values()
                   for part, _ in parts}
        self.assertEqual(
            set(), wanted - known - set(families.DRAMAS) - {'storm'})

    def test_a_seed_without_a_family_mixes_all(self) -> None:
        self.assertIs(families.MIXED, families.of('17'))
        self.assertIs(families.MIXED, families.of('unheard-of/17'))
        self.assertIs(families.FAMILIES['truth'], families.of('truth/17'))


class CatalogueTest(base.TestCase):

    def test_every_bug_fits_the_source_it_patches(self) -> None:
        for bug in bugs.BUGS:
            with self.subTest(bug=bug.name), bugs.seeded(bug.name):
                pass

    def test_every_bug_has_a_name_of_its_own_and_laws_that_exist(
            self) -> None:
        names = [bug.name for bug in bugs.BUGS]
        self.assertEqual(len(names), len(set(names)))
        for bug in bugs.BUGS:
            self.assertLessEqual(set(bug.laws), set(lawbook.LAWS), bug.name)
            self.assertIn(bug.family, families.FAMILIES, bug.name)

    def test_the_record_says_what_caught_every_bug(self) -> None:
        record = bugs.record()
        self.assertEqual([bug.name for bug in bugs.BUGS], list(record))
        for bug in bugs.BUGS:
            found = record[bug.name]
            self.assertIn(found.caught, bug.laws, bug.name)
            self.assertIn(found.seed, bugs.seeds(bug))
            self.assertLessEqual(found.seeds, len(bugs.seeds(bug)))

    def test_what_is_known_of_other_bugs_outlives_a_partial_record(
            self) -> None:
        before = bugs.record()
        self.assertEqual(bugs.recorded(()), bugs.RECORD.read_text())
        one = bugs.Result(bug='no-grace', caught='8.grace', seeds=9,
                          seed='requests/8')
        told = json.loads(bugs.recorded((one,)))
        self.assertEqual(list(before), list(told))
        self.assertEqual(
            {'no-grace'}, {name for name, found in told.items()
                           if found['seeds'] != before[name].seeds})


class FrozenTest(base.TestCase):

    def test_a_frozen_plan_is_the_same_run_as_the_seed_it_came_from(
            self) -> None:
        made = plan.make('nova/0')
        with tempfile.TemporaryDirectory() as name:
            where = pathlib.Path(name) / 'kept'
            frozen.write('one', made, where)
            kept = frozen.read('one', where)
        self.assertEqual(made, kept)
        once, again = run.play(made), run.play(kept)
        self.assertEqual((once.events, once.faults, once.story),
                         (again.events, again.faults, again.story))

    def test_a_frozen_plan_breaks_a_law_with_its_bug_and_only_with_it(
            self) -> None:
        """One of them; ``make sim`` plays them all."""
        name = 'new-request-id-each-time'
        found = bugs.catch_again(name)
        self.assertEqual(('8.twice', name), (found.caught, found.seed))
        report = run.play(frozen.read(name))
        self.assertEqual((), report.broken, run.story(report))

    def test_each_frozen_plan_is_named_for_a_seeded_bug(self) -> None:
        self.assertLessEqual(set(frozen.names()),
                             {bug.name for bug in bugs.BUGS})


@unittest.skipUnless(DOCS.is_dir(), 'not run from a source tree')
class TablesTest(base.TestCase):
    """The documentation shows what is so."""

    def test_the_table_of_bugs_is_what_was_recorded(self) -> None:
        self.assertEqual(bugs.table(), bugs.TABLE.read_text())

    def test_the_table_of_laws_has_them_all(self) -> None:
        self.assertEqual(bugs.law_table(), bugs.LAW_TABLE.read_text())

    def test_every_law_is_broken_by_some_bug(self) -> None:
        broken = {found.caught for found in bugs.record().values()}
        possible = {law for bug in bugs.BUGS for law in bug.laws}
        self.assertEqual(set(lawbook.LAWS), possible)
        self.assertGreaterEqual(len(broken), len(possible) - 4)

    def test_what_was_mended_is_told_with_its_seeded_bug(self) -> None:
        told = (DOCS / 'bugs-found.rst').read_text()
        ours = mended.BUGS + http_bugs.MENDED
        self.assertEqual([], [bug.name for bug in ours
                              if f'``{bug.name}``' not in told])
