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
"""A journal of another shape is said to be one, and is left as it is."""

import contextlib
import os
import pathlib
import sqlite3

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.replica import attachments, model
from os_brick_healer.tests import base

GOOD, BAD = ('12345678-1234-4234-8234-123456789abc',
             '22345678-1234-4234-8234-123456789abc')


class ForeignTest(base.TestCase):
    """A sound file of SQLite that is not ours, or not as ours are now."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.temp_dir() / 'journal.sqlite'

    def make(self, *statements: str) -> None:
        self.path.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(self.path)) as db, db:
            for statement in statements:
                db.execute(statement)

    def refused(self) -> str:
        """What is said of it, by whoever opens it."""
        before = self.path.read_bytes()
        for way in (
                lambda: journal_lib.open_or_set_aside(
                    str(self.path), boot_id='b'),
                lambda: journal_lib.Journal(
                    str(self.path), boot_id='b', read_only=True)):
            error = self.assertRaises(exception.JournalError, way)
            self.assertFalse(error.transient)
        self.assertEqual(before, self.path.read_bytes())
        self.assertEqual([self.path.name], os.listdir(self.path.parent))
        self.assertIn(f'cannot use the journal {self.path}: because ',
                      str(error))
        return str(error)

    def test_another_programs_file_is_neither_used_nor_changed(self) -> None:
        for version in (0, 1, -1):
            self.make('CREATE TABLE cookies (host TEXT)',
                      f'PRAGMA user_version={version}')
            self.assertIn('(move it away: the agent begins a new one',
                          self.refused())

    def test_a_journal_without_its_version_is_not_made_anew(self) -> None:
        journal_lib.Journal(str(self.path), boot_id='b').close()
        with contextlib.closing(sqlite3.connect(self.path)) as db, db:
            db.execute('PRAGMA journal_mode=DELETE')
            db.execute('PRAGMA user_version=0')
        self.assertIn('it has version 0', self.refused())

    def test_what_lacks_is_named(self) -> None:
        self.make(*journal_lib._SCHEMA.replace(
            'alias TEXT NOT NULL', 'nickname TEXT').split(';'),
            f'PRAGMA user_version={journal_lib.VERSION}')
        self.assertIn('no such column: alias', self.refused())

    def test_an_empty_one_is_made_by_the_agent_alone(self) -> None:
        self.path.touch()
        error = self.assertRaises(
            exception.JournalError, journal_lib.Journal, str(self.path),
            boot_id='b', read_only=True)
        self.assertIn('it is empty (the agent begins it anew', str(error))
        journal_lib.Journal(str(self.path), boot_id='b').close()
        self.assertGreater(self.path.stat().st_size, 0)

    def test_control_characters_in_its_words_are_shown(self) -> None:
        self.make(f'PRAGMA user_version={journal_lib.VERSION}',
                  'CREATE VIEW attachment AS SELECT "\x1b[2J" FROM "\x1b[2J"')
        self.assertTrue(self.refused().isprintable())


class OddRowTest(base.TestCase):
    """One attachment that cannot be read does not hide the others."""

    def setUp(self) -> None:
        super().setUp()
        self.path = str(pathlib.Path(self.temp_dir()) / 'journal.sqlite')
        self.book = journal_lib.Journal(self.path, boot_id='b')
        self.addCleanup(self.book.close)
        for volume in (GOOD, BAD):
            self.book.attach_begin(volume, 'vol', {}, 1, '1')
            self.book.attach_done(volume)

    def spoil(self, column: str, value: object) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as db, db:
            db.execute(f'UPDATE attachment SET {column}=? '
                       'WHERE volume=?', (value, BAD))

    def test_the_others_are_healed_and_this_one_is_not_guessed_at(
            self) -> None:
        for column in ('state', 'alias', 'pid', 'pid_start'):
            self.spoil(column, b'\xff')
            read = attachments.Attachments(self.book, lambda _pid: None)
            read.refresh(self.book.data_version())
            found = read.of(GOOD)
            assert found is not None
            self.assertIs(model.AttachState.ATTACHED, found.state)
            error = self.assertRaises(exception.JournalError, read.of, BAD)
            self.assertIn(f'the attachment of {BAD} is damaged (detach that '
                          'volume', str(error))

    def test_one_that_is_damaged_later_is_not_taken_as_it_was(self) -> None:
        read = attachments.Attachments(self.book, lambda _pid: None)
        read.refresh(self.book.data_version())
        self.spoil('pid', 'none')
        self.assertRaises(exception.JournalError, read.of, BAD)

    def test_who_must_know_of_all_is_told_that_one_cannot_be_read(
            self) -> None:
        self.spoil('pid', 'none')
        self.assertRaises(exception.JournalError, self.book.attachments)

    def test_attaching_it_again_writes_it_anew(self) -> None:
        self.spoil('state', b'\xff')
        self.book.attach_begin(BAD, 'vol', {}, 1, '1')
        self.book.attach_done(BAD)
        self.assertEqual({GOOD: 'attached', BAD: 'attached'}, {
            r.volume: r.state for r in self.book.attachments()})


class SetAsideTest(base.TestCase):

    def test_what_cannot_be_set_aside_is_said_with_a_way_out(self) -> None:
        # With more at its end, the kernel takes it for no name.
        path = self.temp_dir() / ('j' * 240)
        for name, text in ((path, 'no journal'), (f'{path}-shm', '')):
            pathlib.Path(name).write_text(text)
            error = self.assertRaises(
                exception.JournalError, journal_lib.open_or_set_aside,
                str(path), boot_id='b')
            self.assertIn(f'cannot set {name} aside: because File name too '
                          'long (see [os_brick_healer] state_path)',
                          str(error))
            path.unlink(missing_ok=True)


class MadeMeanwhile(str):
    """A path at which somebody makes a journal while it is looked at."""

    __slots__ = ('makers',)

    def __init__(self, path: str) -> None:
        del path
        self.makers: list[journal_lib.Journal] = []

    def __add__(self, suffix: str) -> str:
        if not os.path.exists(self):
            maker = journal_lib.Journal(str(self), boot_id='b')
            maker.attach_begin(GOOD, 'vol', {}, 1, '1')
            self.makers.append(maker)
        return str(self) + suffix


class ReplacedAsItOpens(journal_lib.Journal):
    """It waits for another process, which puts a new file in its place."""

    def _prepare(self, db: sqlite3.Connection, read_only: bool,
                 lost: str | None) -> None:
        os.rename(self.path, f'{self.path}.aside')
        os.rename(f'{self.path}.new', self.path)
        super()._prepare(db, read_only, lost)


class MeanwhileTest(base.TestCase):
    """nova-compute and the agent open a journal at the same time."""

    def setUp(self) -> None:
        super().setUp()
        self.path = str(self.temp_dir() / 'journal.sqlite')

    def test_one_that_is_being_made_is_not_set_aside(self) -> None:
        path = MadeMeanwhile(self.path)
        journal, problem = journal_lib.open_or_set_aside(path, boot_id='b')
        self.addCleanup(journal.close)
        (maker,) = path.makers
        self.addCleanup(maker.close)
        self.assertIsNone(problem)
        self.assertEqual([GOOD], [r.volume for r in journal.attachments()])

    def test_one_that_is_replaced_as_it_opens_is_gone(self) -> None:
        for path in (self.path, f'{self.path}.new'):
            journal_lib.Journal(path, boot_id='b').close()
        journal = ReplacedAsItOpens(self.path, boot_id='b')
        self.addCleanup(journal.close)
        self.assertTrue(journal.gone)
        self.assertRaises(exception.JournalError, journal.attach_begin,
                          GOOD, 'vol', {}, 1, '1')
