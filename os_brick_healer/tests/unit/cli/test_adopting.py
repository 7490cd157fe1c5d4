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
"""What the command adopt says, writes, and leaves alone."""

import argparse

from os_brick_healer import exception
from os_brick_healer.cli import adopting
from os_brick_healer.cli import main as cli
from os_brick_healer.engine import journal
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import test_adopt


class AdoptTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.host = test_adopt.Host(self.temp_dir(), self.temp_dir())
        self.addCleanup(self.host.journal.close)
        self.host.ground.connected('nbd3', test_adopt.HANDLE)
        self.said: list[str] = []
        self.complained: list[str] = []

    def run_(self, *words: str) -> int:
        args: argparse.Namespace = cli.parser().parse_args(
            ['adopt', *words])
        return adopting.work(self.host.adopter, args, self.said.append,
                             self.complained.append)

    def rows(self) -> list[tuple[str, str]]:
        return [(r.volume, r.alias)
                for r in self.host.journal.attachments()]

    def test_one_device_is_named_with_or_without_its_directory(self) -> None:
        self.host.csi()
        self.assertEqual(0, self.run_('/dev/nbd3', '--alias', 'pvc-1'))
        self.assertEqual([(test_adopt.HANDLE, 'pvc-1')], self.rows())
        self.assertIn('adopted: nbd3 is volume', self.said[0])
        self.assertIn('process 50 of rbd-nbd', self.said[0])

    def test_a_dry_run_says_it_and_writes_nothing(self) -> None:
        self.host.csi()
        self.assertEqual(0, self.run_('nbd3', '--dry-run'))
        self.assertIn('would be adopted: nbd3', self.said[0])
        self.assertEqual([], self.rows())

    def test_without_a_device_all_that_can_be_is_adopted(self) -> None:
        self.host.csi()
        self.host.ground.connected('nbd4', 'nobody-s')
        self.assertEqual(4, self.run_())
        self.assertEqual([(test_adopt.HANDLE, 'csi-vol-1')], self.rows())
        self.assertIn('cannot adopt nbd4: because', self.complained[0])
        self.said.clear()
        (self.host.ground.root / 'sys/block/nbd4/pid').unlink()
        self.assertEqual(0, self.run_())
        self.assertEqual(['the journal has every connected device that has '
                          'a cookie'], self.said)

    def test_a_dead_one_is_adopted_by_its_stash(self) -> None:
        path = self.host.stash().path
        self.assertRaises(exception.HealerError, self.run_, 'nbd3')
        self.assertEqual(0, self.run_('nbd3', '--stash', path, '--user',
                                      'csi'))
        self.assertIn('served by no process', self.said[0])
        (row,) = self.host.journal.attachments()
        self.assertEqual('csi', row.connection['source']['user'])

    def test_the_whole_command_writes_the_journal_of_the_configuration(
            self) -> None:
        home = self.temp_dir()
        conf = self.write_file(home / 'c.conf', (
            '[os_brick_healer]\n'
            f'state_path = {home}\nrun_path = {home}\n'))
        # No device of this machine has that number.
        self.assertEqual(4, cli.main(['--config-file', str(conf), 'adopt',
                                      'nbd9999999']))
        self.assertEqual(4, cli.main(['--config-file', str(conf), 'adopt',
                                      '--stash', 'x']))
        self.assertTrue((home / 'journal.sqlite').exists())

    def test_a_dry_run_leaves_all_as_it_is(self) -> None:
        home = self.temp_dir()
        conf = str(self.write_file(home / 'c.conf', (
            '[os_brick_healer]\n'
            f'state_path = {home}/state\nrun_path = {home}\n')))
        state = home / 'state'

        def run() -> list[int]:
            return [cli.main(['--config-file', conf, 'adopt', '--dry-run',
                              *words]) for words in ((), ('nbd9999999',))]

        codes = run()       # no device of this machine has that number
        self.assertEqual(4, codes[1])
        self.assertFalse(state.exists())
        state.mkdir()
        for left in ('journal.sqlite-wal', 'journal.sqlite-shm'):
            (state / left).write_text('what is left of one')
        self.assertEqual(codes, run())
        self.assertEqual(['journal.sqlite-shm', 'journal.sqlite-wal'],
                         sorted(p.name for p in state.iterdir()))
        for path in state.iterdir():
            path.unlink()
        journal.Journal(str(state / 'journal.sqlite')).close()
        self.assertEqual(codes, run())
