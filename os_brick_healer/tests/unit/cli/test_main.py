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
"""Laws of the command: what it prints, and its exit codes."""

import contextlib
import io
import json
import os
import pathlib
import sqlite3
import tempfile
from typing import Any

from os_brick_healer import assembly
from os_brick_healer.agent import client, control, lock, record, verbs
from os_brick_healer.cli import main, offline
from os_brick_healer.engine import journal
from os_brick_healer.mapping import model
from os_brick_healer.replica import attachments
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.agent import fakes


class CliTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # A socket's path has 108 bytes: a test's directory may be longer.
        place = tempfile.TemporaryDirectory(dir='/tmp')
        self.addCleanup(place.cleanup)
        self.run_path = pathlib.Path(place.name)
        self.state = self.temp_dir()
        self.conf_file = self.write_file(
            self.temp_dir() / 'healer.conf',
            f'[os_brick_healer]\nrun_path = {self.run_path}\n'
            f'state_path = {self.state}\n')
        self.engine = fakes.FakeEngine([fakes.volume(1)])

    def serve(self) -> None:
        server = control.Server(
            client.socket_path(str(self.run_path)),
            verbs.table(self.engine, lambda: {
                'pid': os.getpid(), 'started_wall': 0.0, 'version': '1',
                'launch': 'systemd'}, tuple), lambda _: True)
        server.start()
        self.addCleanup(server.stop)

    def run_it(self, *argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main.main(['--config-file', str(self.conf_file),
                                  *argv])
            except SystemExit as e:
                code = int(e.code or 0)
        return code, out.getvalue(), err.getvalue()

    def run_json(self, *argv: str) -> Any:
        return json.loads(self.run_it(*argv, '--json')[1])


class OnlineTest(CliTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.serve()

    def test_status_has_the_exit_code_of_the_host(self) -> None:
        code, out, _ = self.run_it('status')
        self.assertEqual(0, code)
        self.assertIn('vol-1', out)
        for phase, expected in (('resyncing', 1), ('held', 2)):
            self.engine.volumes[0]['phase'] = phase
            self.assertEqual(expected, self.run_it('status')[0])

    def test_json_is_the_whole_status(self) -> None:
        told = self.run_json('status')
        self.assertEqual(os.getpid(), told['agent']['pid'])
        self.assertEqual(self.engine.volumes, told['volumes'])

    def test_explain_shows_the_volume_and_its_history(self) -> None:
        key = self.engine.volumes[0]['key']
        self.engine.journal.rows = (fakes.row(key, 'the leg is back'),)
        code, out, _ = self.run_it('explain', 'vol-1')
        self.assertEqual(0, code)
        self.assertIn('both legs are in sync', out)
        self.assertIn('the leg is back', out)
        self.assertEqual(key, self.run_json('explain', key)['volume']['key'])

    def test_a_volume_nobody_knows_is_4(self) -> None:
        code, out, err = self.run_it('explain', 'nope')
        self.assertEqual((4, ''), (code, out))
        self.assertIn("cannot find volume 'nope'", err)
        self.assertIn('nope', self.run_json('explain', 'nope')['error'])

    def test_pause_keeps_the_words_of_the_reason(self) -> None:
        self.assertEqual(0, self.run_it('pause', 'new', 'switch')[0])
        self.assertEqual('new switch', self.engine.paused)
        self.assertEqual(1, self.run_it('status')[0])
        self.assertEqual(0, self.run_it('resume')[0])
        self.assertIsNone(self.engine.paused)
        self.run_it('pause')
        self.assertEqual('paused by an operator', self.engine.paused)

    def test_wake_wakes_one_or_all(self) -> None:
        self.run_it('wake', 'vol-1')
        self.run_it('wake')
        self.assertEqual([self.engine.volumes[0]['key'], None],
                         self.engine.woken)

    def test_history_is_in_order_with_its_ids(self) -> None:
        self.engine.journal.rows = (fakes.row('a', 'first'),
                                    fakes.row('b', 'second'))
        code, out, _ = self.run_it('history')
        self.assertEqual(0, code)
        self.assertLess(out.index('first'), out.index('second'))
        self.assertEqual(
            ['second'], [r['text'] for r in self.run_json('history', 'b')])

    def test_version_tells_both(self) -> None:
        code, out, _ = self.run_it('version')
        self.assertEqual(0, code)
        self.assertIn(f'process {os.getpid()}', out)


class OfflineTest(CliTestCase):
    def fill_journal(self) -> None:
        book = journal.Journal(str(self.state / assembly.JOURNAL))
        book.attach_begin('vol-id', 'alias', {}, 1, '2')
        book.intend('replica', 'vol-id', 're-add leg nvme0n1', {})
        book.tell('replica', 'other', 'something else')
        book.close()

    def test_the_journals_name_is_the_agents(self) -> None:
        self.assertEqual(assembly.JOURNAL, offline.JOURNAL)

    def test_without_an_agent_the_journal_is_told_and_the_code_is_3(
            self) -> None:
        self.fill_journal()
        record.failed(str(self.state), 'systemd', 'no such unit')
        code, out, _ = self.run_it('status')
        self.assertEqual(3, code)
        for said in ('NO AGENT RUNS', 'vol-id', 'connecting',
                     're-add leg nvme0n1', 'no such unit', 'failed 1 times'):
            self.assertIn(said, out)
        told = self.run_json('status')
        self.assertIsNone(told['agent'])
        self.assertEqual('vol-id', told['attachments'][0]['volume'])

    def test_odd_rows_are_told_and_move_no_cursor(self) -> None:
        self.fill_journal()
        with contextlib.closing(sqlite3.connect(
                self.state / assembly.JOURNAL)) as db, db:
            db.execute("UPDATE attachment SET state=?, alias=?",
                       ('\x1b[2J', '\x1b[2J'))
            db.execute("UPDATE intent SET id=?, text=?",
                       ('\x1b[2J', '\x1b[2J'))
            db.execute("INSERT INTO attachment VALUES "
                       "('odd', 'a', 'attached', NULL, 'x', '1', '{}', 1.0)")
        for verb in ('status', 'history'):
            code, out, err = self.run_it(verb)
            self.assertEqual(3, code)
            self.assertNotIn('\x1b', out + err)
        self.assertIn('unreadable', self.run_it('status')[1])

    def test_reading_it_makes_no_file(self) -> None:
        self.assertEqual(3, self.run_it('status')[0])
        self.assertEqual(3, self.run_it('history')[0])
        self.assertEqual([], os.listdir(self.state))

    def test_history_comes_from_the_journal(self) -> None:
        self.fill_journal()
        code, out, err = self.run_it('history', 'vol-id')
        self.assertEqual(3, code)
        self.assertIn('re-add leg', out)
        self.assertNotIn('something else', out)
        self.assertIn('from the journal', err)

    def test_a_volume_is_named_as_to_an_agent(self) -> None:
        self.fill_journal()
        with contextlib.closing(journal.Journal(
                str(self.state / assembly.JOURNAL))) as book:
            book.save_memory('replica', 'vol-other', {})
            book.tell('replica', 'vol-other', 'it is remembered')
        for name, said in (('vol-i', 're-add leg'), ('alias', 're-add leg'),
                           ('vol-o', 'it is remembered'),
                           ('other', 'something else')):
            code, out, _ = self.run_it('history', name)
            self.assertEqual(3, code)
            self.assertIn(said, out)
            self.assertEqual(1, len(out.splitlines()))
        for name, said in (('nope', 'none of the 2'), ('vol', '2 of this'),
                           ('', 'key is no text'),
                           ('oth', 'none of the 2')):
            code, out, err = self.run_it('history', name)
            self.assertEqual((4, ''), (code, out))
            self.assertIn(said, err)
            self.assertIn(said, self.run_json('history', name)['error'])

    def test_the_wings_are_called_as_they_call_themselves(self) -> None:
        self.assertEqual((attachments.KIND, model.KIND), offline.WINGS)

    def test_without_a_journal_history_says_why_it_has_none(self) -> None:
        code, _, err = self.run_it('history')
        self.assertEqual(3, code)
        self.assertIn('it does not run', err)
        self.assertIn('no agent has run with this', err)

    def test_systemctl_is_advised_where_systemd_runs(self) -> None:
        _, _, err = self.run_it('wake')
        self.assertEqual(os.path.isdir(client.SYSTEMD_RUNS),
                         'systemctl start' in err)
        self.assertIn('os-brick-healer', err)

    def test_an_agent_that_is_starting_is_said_to_be(self) -> None:
        held = lock.AgentLock(str(self.run_path), launch='systemd')
        self.addCleanup(held.release)
        self.assertIn('does not answer yet', self.run_it('status')[1])

    def test_one_that_is_somewhere_else_is_not_said_to_be_down(self) -> None:
        held = lock.AgentLock(str(self.state), launch='systemd')
        self.addCleanup(held.release)
        code, out, _ = self.run_it('status')
        self.assertEqual(3, code)
        self.assertIn(f'NO AGENT ANSWERS: process {os.getpid()} (systemd) '
                      'has the journal, but is not found in', out)
        (self.run_path / lock.NAME).mkdir()
        self.assertIn('CANNOT TELL WHETHER', self.run_it('status')[1])

    def test_what_needs_an_agent_is_3_without(self) -> None:
        for argv in (['explain', 'x'], ['pause'], ['resume'], ['wake'],
                     ['reload']):
            code, _, err = self.run_it(*argv)
            self.assertEqual(3, code)
            self.assertIn('it does not run', err)
        self.assertIn('it does not run',
                      self.run_json('explain', 'x')['error'])
        self.assertEqual(3, self.run_it('version')[0])

    def test_a_run_path_that_cannot_be_is_said_to_be(self) -> None:
        for path in (self.conf_file, '/' + 'x' * 200):
            self.write_file(self.conf_file, '[os_brick_healer]\n'
                            f'run_path = {path}\n')
            code, _, err = self.run_it('status')
            self.assertEqual(4, code)
            self.assertIn('cannot be a socket', err)
            self.assertIn('set run_path', err)

    def test_wrong_usage_is_4_and_not_a_volume_in_need(self) -> None:
        for argv in ([], ['no-such'], ['explain'],
                     ['history', '--limit', 'x'],
                     *(['history', f'--limit={n}']
                       for n in (0, -1, 10001, 10 ** 30, '1' * 5000))):
            code, out, err = self.run_it(*argv)
            self.assertEqual((4, ''), (code, out))
            self.assertNotIn('Traceback', err)
        self.assertIn('0 is no whole number from 1 to 10000',
                      self.run_it('history', '--limit', '0')[2])

    def test_a_wrong_configuration_is_said_and_does_not_stop_it(self) -> None:
        self.conf_file.write_text('[os_brick_healer]\ngrace_period = soon\n')
        _, _, err = self.run_it('status')
        self.assertIn('grace_period', err)
        code, out, _ = self.run_it('check')
        self.assertEqual(2, code)
        self.assertIn('FAIL  configuration', out)
