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
"""Which mounts root takes away, and where it lets one be mounted."""

from collections.abc import Sequence
import os

from os_brick_healer import exception
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.mounter import ceph_fuse, nbd
from os_brick_healer.privileged import command, mounts, serving
from os_brick_healer.sysfs import reader
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.fuse import test_parse


class PlacesTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = self.temp_dir()
        (self.root / 'proc').mkdir()
        self.place = f'{os.path.realpath(self.temp_dir())}/c'
        self.key = mounter_base.place_key(self.place)
        self.notes = self.temp_dir() / 'notes'
        self.checked: list[str] = []
        self.loose: str | None = None
        self.ran: list[tuple[str, ...]] = []
        self.word, self.error = 'dead', ''
        self.places = mounts.Places(
            tree=reader.Tree(str(self.root)), run=self.run_,
            only_roots=self.only_roots, notes=str(self.notes))
        self.wanted = self.job()
        self.mounted()

    def job(self, **source: str) -> serving.Job:
        return serving.job(
            'ceph-fuse', self.key, {'root': '/', **source},
            f'/run/x/{self.key}.sock',
            lambda _: ceph_fuse.CephFuseMounter(), device=self.place)

    def only_roots(self, path: str) -> None:
        self.checked.append(path)
        if path == self.loose:
            raise exception.NotOurs('others can write it')

    def run_(self, argv: Sequence[str], timeout_s: float) -> command.Result:
        """What ``fuse.dead`` does and says."""
        self.ran.append(tuple(argv))
        if self.error:
            return command.Result(code=1, out='', err=self.error)
        if 'take' in argv and self.word == 'dead':
            self.mounted(False)
            self.word = 'bare'
            return command.Result(code=0, out='taken\n', err='')
        return command.Result(code=0, out=f'{self.word}\n', err='')

    def mounted(self, there: bool = True) -> None:
        self.write_file(self.root / 'proc/1/mountinfo', (
            test_parse.LINE.replace('/mnt/c', self.place) if there else ''))

    def noted(self) -> list[str]:
        return os.listdir(self.notes) if self.notes.exists() else []

    def refused(self, why: str, wanted: serving.Job | None = None) -> None:
        error = self.assertRaises(exception.NotOurs, self.places.take,
                                  wanted or self.wanted, 5.0)
        self.assertIn(why, str(error))

    def test_a_dead_mount_is_taken_away_and_that_is_noted(self) -> None:
        self.assertTrue(self.places.take(self.wanted, 5.0))
        self.assertEqual([self.key], self.noted())
        self.assertEqual(f'{self.place}\n',
                         (self.notes / self.key).read_text())
        (argv,) = self.ran
        self.assertEqual(command.IN_HOST, argv[:len(command.IN_HOST)])
        self.assertEqual(('fuse.ceph-fuse', self.place, 'take',
                          'nodev,nosuid'), argv[-4:])

    def test_what_the_new_one_will_forbid_is_said(self) -> None:
        self.places.take(self.job(options='ro,noatime,noexec'), 5.0)
        self.assertEqual('nodev,noexec,nosuid,ro', self.ran[0][-1])

    def test_it_is_noted_before_it_is_done(self) -> None:
        """Whoever is killed in between has not lost the right to mount."""
        def killed(argv: Sequence[str], timeout_s: float) -> command.Result:
            self.mounted(False)
            raise KeyboardInterrupt
        places = mounts.Places(
            tree=self.places.tree, run=killed, notes=str(self.notes),
            only_roots=self.only_roots)
        self.assertRaises(KeyboardInterrupt, places.take, self.wanted, 5.0)
        self.word = 'bare'
        self.assertFalse(self.places.take(self.wanted, 5.0))
        self.places.may_mount(self.wanted, 5.0)

    def test_what_is_not_dead_is_left_without_a_note(self) -> None:
        self.error = 'it answers: somebody serves it'
        self.refused('it answers')
        self.assertEqual([], self.noted())

    def test_a_place_that_others_made_bare_is_theirs(self) -> None:
        self.mounted(False)
        self.word = 'bare'
        self.refused('nothing is mounted there')
        self.assertEqual([], self.noted())
        self.assertRaises(exception.NotOurs, self.places.may_mount,
                          self.wanted, 5.0)

    def test_while_a_process_serves_it_nothing_is_taken(self) -> None:
        argv = self.wanted.mounter.server(self.wanted.order).argv
        self.write_file(self.root / 'proc/50/cmdline', '\0'.join(argv))
        self.write_file(self.root / 'proc/50/stat',
                        f'50 (ceph-fuse) S {" ".join(["0"] * 18)} 350 0\n')
        self.write_file(self.root / 'proc/50/status', 'Uid:\t0\t0\t0\t0\n')
        self.refused('process 50 serves it')
        self.assertEqual([], self.ran)

    def test_a_place_that_others_could_turn_is_not_touched(self) -> None:
        self.loose = os.path.dirname(self.place)
        self.refused('others can write it')
        self.assertEqual([], self.ran)

    def test_a_place_behind_a_link_is_not_touched(self) -> None:
        link = self.temp_dir() / 'link'
        link.symlink_to(os.path.dirname(self.place))
        self.place = f'{link}/c'
        self.refused('leads somewhere else', self.job())
        self.assertEqual([], self.ran)

    def test_notes_that_others_could_write_are_not_believed(self) -> None:
        self.loose = str(self.notes)
        self.refused('others can write it')
        self.assertEqual([], self.ran)

    def test_only_a_mounter_of_mounts_has_places(self) -> None:
        wanted = serving.job(
            'nbd', self.key, {'file': '/a'}, f'/run/x/{self.key}.sock',
            lambda _: nbd.NbdMounter(), device='nbd3')
        self.refused('the place of no mount', wanted)

    def test_nothing_is_mounted_above_what_is_there(self) -> None:
        self.places.take(self.wanted, 5.0)
        self.places.may_mount(self.wanted, 5.0)
        self.word = 'lives'
        error = self.assertRaises(exception.NotOurs, self.places.may_mount,
                                  self.wanted, 5.0)
        self.assertIn('not bare (lives)', str(error))

    def test_nothing_is_mounted_at_another_place_by_a_note(self) -> None:
        self.places.take(self.wanted, 5.0)
        (self.notes / self.key).write_text('/etc\n')
        self.assertRaises(exception.NotOurs, self.places.may_mount,
                          self.wanted, 5.0)

    def test_the_note_goes_when_the_new_one_answers(self) -> None:
        self.places.take(self.wanted, 5.0)
        for self.word in ('bare', 'dead', 'other'):
            self.assertFalse(self.places.serves(self.wanted, 5.0))
        self.assertEqual([self.key], self.noted())
        self.word = 'lives'
        self.assertTrue(self.places.serves(self.wanted, 5.0))
        self.assertEqual([], self.noted())

    def test_what_cannot_be_told_is_an_error(self) -> None:
        self.error = 'no such program'
        error = self.assertRaises(exception.CommandError, self.places.look,
                                  self.wanted, 5.0)
        self.assertIn('no such program', str(error))
