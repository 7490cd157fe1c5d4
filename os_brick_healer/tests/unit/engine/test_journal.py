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
"""The journal survives what may happen to a file and to a process."""

import contextlib
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.tests import base

BOOT = 'boot-1'

WRITER = """
import sys
from os_brick_healer.engine import journal
j = journal.Journal(sys.argv[1], boot_id='boot-1')
print('ready', flush=True)
for n in range(int(sys.argv[2])):
    i = j.intend('replica', 'v', f'step {n}', {}, memory={'n': n})
    print(n, flush=True)
    j.conclude(i, 'done', True)
"""

FULL = """
import resource, signal, sys
from os_brick_healer import exception
from os_brick_healer.engine import journal
j = journal.Journal(sys.argv[1], boot_id='boot-1')
j.save_memory('replica', 'v', {'n': 1})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
try:
    for n in range(1000):
        j.intend('replica', 'v', 'x' * 4000, {})
    print('written')
except exception.JournalError as e:
    print('refused')
resource.setrlimit(resource.RLIMIT_FSIZE,
                   (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(j.load_memory('replica')['v'].value['n'])
j.intend('replica', 'v', 'there is room again', {})
print(j.damage())
"""


class JournalTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = str(self.temp_dir() / 'a ?#%journal.sqlite')
        self.journal = self.open()

    def open(self, **kwargs: Any) -> journal_lib.Journal:
        kwargs.setdefault('boot_id', BOOT)
        journal = journal_lib.Journal(self.path, **kwargs)
        self.addCleanup(journal.close)
        return journal

    def spawn(self, code: str, *args: str) -> 'subprocess.Popen[str]':
        return subprocess.Popen([sys.executable, '-c', code, self.path,
                                 *args], stdout=subprocess.PIPE, text=True)

    def states(self) -> list[tuple[str, str]]:
        return [(r.volume, r.state) for r in self.journal.attachments()]

    def test_a_failed_attach_leaves_what_was_before(self) -> None:
        self.journal.attach_begin('v', 'alias', {'x': 1}, 1, '2')
        self.assertEqual([('v', 'connecting')], self.states())
        self.journal.attach_undo('v')
        self.assertEqual([], self.states())
        self.journal.attach_begin('v', 'alias', {}, 1, '2')
        self.journal.attach_done('v')
        for _ in range(2):      # the second dies and is repeated
            self.journal.attach_begin('v', 'alias', {}, 1, '2')
        self.journal.attach_undo('v')
        self.assertEqual([('v', 'attached')], self.states())

    def test_an_attachment_walks_through_its_states(self) -> None:
        self.journal.attach_begin('v', 'alias', {'x': [1]}, 1, '2')
        self.journal.attach_done('v')
        self.journal.extend_begin('v')
        self.assertEqual([('v', 'extending')], self.states())
        self.journal.extend_done('v')
        self.assertEqual([('v', 'attached')], self.states())
        self.journal.detach_begin('v')
        one = self.journal.attachment('v')
        assert one is not None
        self.assertEqual('disconnecting', one.state)
        self.assertEqual(os.getpid(), one.pid)
        self.assertEqual({'x': [1]}, one.connection)
        self.journal.detach_done('v')
        self.assertIsNone(self.journal.attachment('v'))

    def test_memory_knows_whether_it_is_from_this_boot(self) -> None:
        self.journal.save_memories('replica', {'v': {'n': 1}, 'w': {}})
        self.journal.forget('replica', 'w')
        later = self.open(boot_id='boot-2').load_memory('replica')
        self.assertEqual({'v': (1, False)}, {
            k: (m.value['n'], m.same_boot) for k, m in later.items()})
        self.assertTrue(self.journal.load_memory('replica')['v'].same_boot)

    def test_an_intent_stays_open_until_its_result(self) -> None:
        one = self.journal.intend('replica', 'v', 'act', {'a': 1},
                                  memory={'m': 1})
        self.assertEqual([one], [i.id for i in self.open().open_intents()])
        self.journal.conclude(one, 'done', True)
        self.journal.conclude('unknown', 'done', True)
        self.assertEqual((), self.journal.open_intents())
        self.assertEqual(
            [('intent', None), ('result', True)],
            [(h.what, h.ok) for h in self.journal.history('v')])

    def test_a_writer_killed_anywhere_leaves_whole_steps(self) -> None:
        for pause_s in (0.0, 0.003, 0.011, 0.02, 0.05):
            child = self.spawn(WRITER, '100000')
            assert child.stdout is not None
            self.assertEqual('ready\n', child.stdout.readline())
            time.sleep(pause_s)
            os.kill(child.pid, signal.SIGKILL)
            told = [int(line) for line in child.stdout.read().split()]
            child.stdout.close()
            child.wait()
            again = self.open()
            self.assertIsNone(again.damage())
            self.assertLessEqual(len(again.open_intents()), 1)
            kept = again.load_memory('replica')
            if told:
                # What was told as written is written: at most one more is.
                self.assertIn(kept['v'].value['n'] - told[-1], (0, 1))
            for intent in again.open_intents():
                self.assertEqual(f"step {kept['v'].value['n']}", intent.text)
                again.conclude(intent.id, 'unknown', False)

    def test_two_processes_write_and_neither_loses_a_line(self) -> None:
        children = [self.spawn(WRITER, '40') for _ in range(2)]
        before = self.journal.data_version()
        for child in children:
            child.communicate()
            self.assertEqual(0, child.returncode)
        self.assertNotEqual(before, self.journal.data_version())
        self.assertEqual(160, len(self.journal.history(limit=1000)))

    def test_a_full_disk_is_said_and_damages_nothing(self) -> None:
        child = self.spawn(FULL)
        out, _ = child.communicate()
        self.assertEqual(['refused', '1', 'None'], out.split())

    def test_history_is_bounded(self) -> None:
        journal = self.open(history_max=5)
        for n in range(20):
            journal.tell('replica', 'v', f'{n}' + 'x' * 9999)
        journal.settle()
        lines = journal.history(limit=100)
        self.assertEqual(['15', '16', '17', '18', '19'],
                         [h.text[:2] for h in lines])
        self.assertLessEqual(len(lines[0].text), journal_lib.TEXT_MAX)
        self.assertEqual(2, len(journal.history(limit=2)))
        self.assertEqual((), journal.history('another'))

    def test_settings_can_be_taken_back(self) -> None:
        self.journal.set_setting('paused', 'me')
        self.assertEqual('me', self.open().setting('paused'))
        self.journal.set_setting('paused', None)
        self.assertIsNone(self.journal.setting('paused'))

    def test_a_reader_neither_writes_nor_creates(self) -> None:
        reader = self.open(read_only=True)
        self.assertRaises(exception.JournalError, reader.forget, 'a', 'b')
        self.assertRaises(exception.JournalError, journal_lib.Journal,
                          self.path + 'x', boot_id=BOOT, read_only=True)
        self.assertFalse(os.path.exists(self.path + 'x'))

    def test_a_newer_version_is_refused_and_left_alone(self) -> None:
        self.journal.close()
        db = sqlite3.connect(self.path)
        db.execute(f'PRAGMA user_version={journal_lib.VERSION + 1}')
        db.close()
        e = self.assertRaises(exception.JournalError,
                              journal_lib.open_or_set_aside, self.path)
        self.assertFalse(e.transient)
        self.assertEqual([], list(pathlib.Path(self.path).parent.glob(
            '*damaged*')))

    def test_a_damaged_file_is_set_aside_whole(self) -> None:
        self.journal.close()
        rubbish = b'no database' * 999
        for text in (rubbish, self._torn()):
            pathlib.Path(self.path).write_bytes(text)
            journal, problem = journal_lib.open_or_set_aside(
                self.path, boot_id=BOOT)
            journal.forget('replica', 'v')
            journal.close()
            self.assertIn('set aside', problem or '')
            aside = list(pathlib.Path(self.path).parent.glob(
                '*damaged-*[0-9]'))
            self.assertEqual(text, aside[0].read_bytes())
            aside[0].unlink()

    def test_an_empty_file_is_told_of_unless_it_is_being_made(self) -> None:
        self.journal.close()
        for age_s, told in ((journal_lib.NEW_S + 5.0, True), (5.0, False)):
            for old in pathlib.Path(self.path).parent.glob('*.sqlite*'):
                old.unlink()
            pathlib.Path(self.path).touch()
            made_s = time.time() - age_s
            os.utime(self.path, (made_s, made_s))
            journal, problem = journal_lib.open_or_set_aside(
                self.path, boot_id=BOOT)
            self.addCleanup(journal.close)
            self.assertIs(told, problem is not None)
            self.assertEqual(problem, journal.setting(journal_lib.DAMAGED))
        journal.close()
        self.assertIsNone(journal_lib.open_or_set_aside(
            self.path, boot_id=BOOT)[1])

    def test_whoever_begins_an_empty_file_anew_notes_it(self) -> None:
        """A connector may come before the agent."""
        self.journal.close()
        for old in pathlib.Path(self.path).parent.glob('*.sqlite*'):
            old.unlink()
        pathlib.Path(self.path).touch()
        os.utime(self.path, (1.0, 1.0))
        journal_lib.Journal(self.path, boot_id=BOOT).close()
        journal, problem = journal_lib.open_or_set_aside(
            self.path, boot_id=BOOT)
        self.addCleanup(journal.close)
        self.assertIsNone(problem)
        self.assertIn('was empty', journal.setting(
            journal_lib.DAMAGED) or '')

    def test_what_nobody_would_see_is_not_written(self) -> None:
        self.journal.set_setting('name', 'value')
        self.assertFalse(self.journal.gone)
        os.unlink(self.path)
        for _ in range(2):
            self.assertTrue(self.journal.gone)
            e = self.assertRaises(
                exception.JournalError, self.journal.set_setting, 'name', '')
            self.assertIn('removed or replaced', str(e))
            pathlib.Path(self.path).touch()
        self.assertEqual('value', self.journal.setting('name'))

    def test_beside_one_that_is_removed_and_open_a_new_one_is_begun(
            self) -> None:
        """nova-compute has it open; SQLite's other files may be left."""
        place = pathlib.Path(self.path).parent
        self.journal.set_setting('name', 'old')
        for left in (('-wal', '-shm'), ('-shm',)):
            for name in {'', '-wal', '-shm'}.difference(left):
                pathlib.Path(self.path + name).unlink()
            if left == ('-shm',):
                # Whoever came before the agent could not open it either.
                pathlib.Path(self.path).touch()
            journal, problem = journal_lib.open_or_set_aside(
                self.path, boot_id=BOOT)
            self.addCleanup(journal.close)
            self.assertIn('was removed: what was left of it was set aside',
                          problem or '')
            self.assertEqual(problem, journal.setting(journal_lib.DAMAGED))
            self.assertIsNone(journal.setting('name'))
            for name in left:
                self.assertEqual(1, len(list(place.glob(
                    f'*damaged-*{name}'))), name)
            for aside in place.glob('*damaged-*'):
                aside.unlink()
        self.assertIsNone(journal.damage())

    def test_whoever_makes_one_in_the_place_of_what_is_left_says_it(
            self) -> None:
        self.journal.close()
        for name in ('-wal', '-shm'):
            os.unlink(self.path)
            pathlib.Path(f'{self.path}{name}').write_bytes(b'left')
            with contextlib.closing(journal_lib.Journal(
                    self.path, boot_id=BOOT)) as journal:
                self.assertIn('was removed: a new one is begun; healing may',
                              journal.setting(journal_lib.DAMAGED) or '')

    def test_the_pause_is_handed_over_unless_there_is_one(self) -> None:
        self.journal.close()
        for there, had, kept in (
                (None, None, None), (None, 'by me', 'by me'),
                (None, '', ''), ('by him', None, 'by him'),
                ('by him', '', 'by him'), ('by him', 'by me', 'by me')):
            os.unlink(self.path)
            if there is not None:
                journal = self.open()
                journal.set_setting(journal_lib.PAUSED, there)
                journal.close()
            journal_lib.hand_over(self.path, had)
            journal = self.open()
            self.assertEqual(kept, journal.setting(journal_lib.PAUSED))
            self.assertIn('removed or replaced', journal.setting(
                journal_lib.DAMAGED) or '')
            journal.close()

    def _torn(self) -> bytes:
        other = self.path + '.other'
        journal = journal_lib.Journal(other, boot_id=BOOT)
        for n in range(50):
            journal.save_memory('replica', str(n), {'x': 'y' * 500})
        journal.close()
        whole = bytearray(pathlib.Path(other).read_bytes())
        whole[4096:12000] = b'\xff' * (12000 - 4096)
        return bytes(whole)

    def test_a_sound_file_is_opened_as_it_is(self) -> None:
        self.journal.tell('replica', 'v', 'old')
        self.journal.settle()
        journal, problem = journal_lib.open_or_set_aside(self.path,
                                                         boot_id=BOOT)
        self.addCleanup(journal.close)
        self.assertIsNone(problem)
        self.assertEqual(1, len(journal.history()))

    def test_a_directory_that_is_not_there_is_said(self) -> None:
        e = self.assertRaises(
            exception.JournalError, journal_lib.open_or_set_aside,
            self.path + '/nowhere/journal')
        self.assertIn('cannot open the journal', str(e))

    def test_a_closed_journal_is_an_expected_error(self) -> None:
        self.journal.close()
        self.assertRaises(exception.JournalError, self.journal.history)
        self.assertRaises(exception.JournalError, self.journal.forget, 'a',
                          'b')

    def test_a_process_is_known_by_its_start(self) -> None:
        mine = journal_lib.process_start(os.getpid())
        assert mine is not None
        self.assertTrue(mine.isdigit())
        self.assertIsNone(journal_lib.process_start(2 ** 22 + 1))
        self.assertTrue(journal_lib.read_boot_id())

    @settings(max_examples=30, deadline=None)
    @given(st.dictionaries(st.text(max_size=9), st.none() | st.integers()
                           | st.text() | st.floats(allow_nan=False)))
    def test_whatever_is_remembered_is_read_back(
            self, value: dict[str, object]) -> None:
        try:
            self.journal.save_memory('replica', 'v', value)
        except (exception.JournalError, UnicodeEncodeError):
            return
        self.assertEqual(value,
                         self.journal.load_memory('replica')['v'].value)

    def test_what_was_only_told_is_read_at_once_and_written_soon(
            self) -> None:
        self.journal.tell('replica', 'v', 'told')
        self.assertTrue(self.journal.waiting)
        self.assertEqual(['told'],
                         [h.text for h in self.journal.history('v')])
        self.assertEqual((), self.journal.history('w'))
        self.journal.save_memory('replica', 'v', {})
        self.assertFalse(self.journal.waiting)
        self.assertEqual(['told'], [h.text for h in self.open().history()])
