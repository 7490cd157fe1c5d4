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
"""Laws of the way out: it names the file, whose it is, and who we are."""

from collections.abc import Callable
import os
import pathlib
import tempfile
import unittest

from os_brick_healer import exception
from os_brick_healer.agent import lock
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import whose
from os_brick_healer.tests import base

#: A user id that no host has a name for.
SERVICE = 65533
ROOT_ONLY = unittest.skipUnless(os.geteuid() == 0, 'needs root')

class OtherUserTest(base.TestCase):
    """Root was here before the user of the service."""

    def setUp(self) -> None:
        super().setUp()
        place = tempfile.TemporaryDirectory(dir='/tmp')
        self.addCleanup(place.cleanup)
        self.place = pathlib.Path(place.name)
        self.place.chmod(0o755)
        self.journal = self.place / 'journal.sqlite'

    def as_service(self, use: Callable[[], object]) -> str:
        """What the service's user is told when it uses something."""
        groups = os.getgroups()
        os.setgroups([])
        os.setegid(SERVICE)
        os.seteuid(SERVICE)
        try:
            use()
        except exception.HealerError as e:
            return str(e)
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)
        return ''

    def lock(self) -> None:
        lock.AgentLock(str(self.place), launch='process').release()

    def write(self) -> None:
        journal = journal_lib.Journal(str(self.journal), boot_id='b')
        self.addCleanup(journal.close)
        journal.set_setting('made', 'by us')

    @ROOT_ONLY
    def test_an_agent_that_root_ran_once_locks_nobody_out(self) -> None:
        os.chown(self.place, SERVICE, SERVICE)
        self.lock()
        self.assertEqual('', self.as_service(self.lock))
        self.write()
        self.assertEqual('', self.as_service(self.write))

    @ROOT_ONLY
    def test_whose_it_is_and_who_we_are_is_said(self) -> None:
        os.chown(self.place, SERVICE, SERVICE)
        held = self.write_file(self.place / lock.NAME, '')
        held.chmod(0o644)
        self.assertIn(
            f'{held} belongs to root (mode 0644), and this process runs as '
            f'{SERVICE}: chown {SERVICE} {held}',
            self.as_service(self.lock))
        self.write()
        os.chown(self.journal, 0, 0)
        self.assertIn(f'chown {SERVICE} {self.journal}',
                      self.as_service(self.write))

    @ROOT_ONLY
    def test_a_directory_that_keeps_us_out_is_named(self) -> None:
        for use in (self.lock, self.write):
            self.assertIn(f'{self.place} belongs to root (mode 0755)',
                          self.as_service(use))

    @ROOT_ONLY
    def test_what_is_not_new_is_never_given_away(self) -> None:
        os.chown(self.place, SERVICE, SERVICE)
        full = self.write_file(self.place / 'full', 'x')
        linked = self.write_file(self.place / 'linked', '')
        os.link(linked, self.place / 'link')
        for path in (full, linked):
            with path.open('rb') as f:
                whose.give_away(f.fileno(), str(self.place))
            self.assertEqual(0, path.stat().st_uid)


class JournalTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.temp_dir() / 'journal.sqlite'

    def said(self, **more: bool) -> str:
        error = self.assertRaises(
            exception.JournalError, journal_lib.Journal, str(self.path),
            boot_id='b', **more)
        return str(error)

    def test_a_journal_that_nobody_wrote_yet_is_not_a_lack_of_room(
            self) -> None:
        self.assertIn('no agent has run with this', self.said(read_only=True))

    def test_a_damaged_one_is_said_to_be(self) -> None:
        self.write_file(self.path, 'no database' * 999)
        self.assertIn('(it is damaged', self.said(read_only=True))

    def test_a_directory_in_its_place_is_said(self) -> None:
        self.path.mkdir()
        for read_only in (True, False):
            self.assertIn('because it is a directory (move it away)',
                          self.said(read_only=read_only))

    def test_each_kind_of_error_has_its_way_out(self) -> None:
        for name, way_out in (('SQLITE_FULL', 'make room'),
                              ('SQLITE_BUSY_SNAPSHOT', 'another process'),
                              ('SQLITE_IOERR_WRITE', "the kernel's log"),
                              ('', 'state_path')):
            self.assertIn(way_out, whose.of_journal(str(self.path), name,
                                                    False))
