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
"""Laws of the pause: a person's word holds, whatever happens to the agent."""

import pathlib
import sqlite3

from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import pausing
from os_brick_healer.tests.unit.engine import test_loop


class PausedLoopTest(test_loop.LoopTestCase):
    """Agents one after the other, over one journal."""

    def agent(self, *, configured: bool = False,
              then: str | None = None) -> str | None:
        """One agent's life. :returns: why it was paused at its start.

        :param then: pause or resume, while it runs.
        """
        self.make('a', paused=configured)
        seen: list[str | None] = []
        self.at(1, lambda: seen.append(self.engine.paused))
        if then == 'pause':
            self.at(2, lambda: self.engine.pause('by me'))
        if then == 'resume':
            self.at(2, self.engine.resume)
        self.run_for(4)
        return seen[0]

    def test_a_configured_pause_holds_until_a_person_resumes(self) -> None:
        for then in (None, 'resume'):
            self.assertEqual(pausing.CONFIGURED,
                             self.agent(configured=True, then=then))
        self.assertIsNone(self.agent(configured=True))
        self.assertIsNone(self.agent(configured=True))

    def test_the_history_has_who_paused_and_who_resumed(self) -> None:
        self.agent(then='pause')
        self.agent(then='resume')
        said = [row.text for row in self.reopened().history(pausing.KEY)]
        self.assertEqual(['healing is paused: by me'] * 2
                         + ['healing is no longer paused'], said)

    def test_configured_anew_it_holds_again(self) -> None:
        self.agent(configured=True, then='resume')
        self.assertIsNone(self.agent())
        self.assertIsNotNone(self.agent(configured=True))

    def test_a_persons_reason_stands_before_the_configurations(self) -> None:
        self.agent(then='pause')
        self.assertEqual('by me', self.agent(configured=True))
        self.assertEqual('by me', self.agent())

    def test_on_a_full_disk_it_holds_and_is_written_once_there_is_room(
            self) -> None:
        said: list[str | None] = []
        self.journal.full = True
        self.at(1, lambda: said.append(self.engine.pause('by me')))
        self.at(2, lambda: said.append(self.engine.paused))
        self.at(2, lambda: said.append(
            self.engine.status()['agent']['journal_error']))
        self.at(3, lambda: setattr(self.journal, 'full', False))
        self.at(5, lambda: said.append(
            self.engine.status()['agent']['journal_error']))
        self.at(5, lambda: said.append(pausing.reason(self.reopened())))
        self.run_for(6)
        why, paused, during, after, kept = said
        self.assertIn('full', why or '')
        self.assertEqual('by me', paused)
        self.assertIn('full', during or '')
        self.assertIsNone(after)
        self.assertEqual('by me', kept)

    def test_a_configured_pause_holds_on_a_full_disk_too(self) -> None:
        self.make('a', paused=True)
        self.journal.full = True
        self.run_for(2)
        self.assertEqual(pausing.CONFIGURED, self.engine.paused)

    def test_a_reason_cannot_write_lines_into_the_log(self) -> None:
        with self.assertLogs(pausing.LOG.logger) as logs:
            self.engine.pause('a\nERROR \x1b[2J b')
        self.assertEqual(r'healing is paused: a\nERROR \x1b[2J b',
                         logs.records[0].getMessage())

    def test_an_agent_that_starts_paused_says_so_in_its_log(self) -> None:
        self.agent(then='pause')
        with self.assertLogs(pausing.LOG.logger, 'WARNING') as logs:
            self.agent()
        self.assertEqual(['healing is paused: by me'],
                         [r.getMessage() for r in logs.records])


class DamagedTest(test_loop.LoopTestCase):
    """The journal that held the pause is damaged."""

    def reopen(self) -> str | None:
        self.journal.close()
        journal, problem = journal_lib.open_or_set_aside(self.path,
                                                         boot_id='boot')
        journal.close()
        return problem

    def told(self, *, configured: bool = False,
             ) -> tuple[str | None, str | None]:
        """What an agent says of its pause and of its journal."""
        self.make('a', paused=configured)
        self.run_for(1)
        about = self.engine.status()['agent']
        return about['paused'], about['journal_error']

    def test_that_it_may_have_been_paused_is_said_until_confirmed(
            self) -> None:
        self.journal.set_setting(journal_lib.PAUSED, 'by me')
        self.journal.close()
        pathlib.Path(self.path).write_bytes(b'\xff' * 8192)
        self.assertIsNotNone(self.reopen())
        for _ in range(2):
            paused, error = self.told()
            self.assertIsNone(paused)
            self.assertIn('may have been paused', error or '')
        self.make('a')
        self.assertIsNone(self.engine.pause('still by me'))
        self.assertEqual(('still by me', None), self.told())

    def test_a_pause_that_can_still_be_read_is_taken_over(self) -> None:
        self.journal.set_setting(journal_lib.PAUSED, 'by me')
        self.tear()
        self.assertIsNotNone(self.reopen())
        paused, error = self.told()
        self.assertEqual('by me', paused)
        self.assertIn('say pause or resume', error or '')

    def tear(self) -> None:
        """Damage what is not needed to read the settings."""
        for n in range(50):
            self.journal.save_memory('replica', str(n), {'x': 'y' * 500})
        self.journal.close()
        with sqlite3.connect(self.path) as db:
            (root,) = db.execute('SELECT rootpage FROM sqlite_master WHERE '
                                 "name='memory'").fetchone()
            (size,) = db.execute('PRAGMA page_size').fetchone()
        db.close()
        with open(self.path, 'r+b') as f:
            f.seek((root - 1) * size)
            f.write(b'\xff' * size)

    def test_the_configuration_confirms_nothing(self) -> None:
        self.journal.set_setting(journal_lib.DAMAGED, 'was damaged')
        for _ in range(2):
            self.assertEqual((pausing.CONFIGURED, 'was damaged'),
                             self.told(configured=True))

    def test_a_sound_journal_says_nothing(self) -> None:
        self.assertIsNone(self.reopen())
        self.assertEqual((None, None), self.told())


class TakenAwayTest(test_loop.LoopTestCase):
    """The journal that holds the pause is removed under the agent."""

    def next_one(self) -> tuple[str | None, str | None]:
        journal, _ = journal_lib.open_or_set_aside(self.path, boot_id='boot')
        journal.close()
        self.make('a')
        self.run_for(1)
        about = self.engine.status()['agent']
        return about['paused'], about['journal_error']

    def remove(self) -> None:
        pathlib.Path(self.path).unlink()

    def test_the_next_agent_is_paused_as_this_one_was(self) -> None:
        self.at(1, lambda: self.engine.pause('by me'))
        self.at(2, self.remove)
        self.run_for(4)
        paused, error = self.next_one()
        self.assertEqual('by me', paused)
        self.assertIn('to confirm that', error or '')

    def test_what_was_said_after_it_was_removed_is_kept_too(self) -> None:
        said: list[str | None] = []
        for what in (lambda: said.append(self.engine.pause('by me')),
                     lambda: said.append(self.engine.resume())):
            self.at(1, self.remove)
            self.at(2, what)
            self.run_for(4)
            said.append(self.next_one()[0])
            self.make('a')
        refused, paused, again, resumed = said
        for why in (refused, again):
            self.assertIn('removed or replaced', why or '')
        self.assertEqual('by me', paused)
        self.assertIsNone(resumed)

    def test_a_pause_that_may_be_lost_is_told(self) -> None:
        self.at(2, self.remove)
        self.run_for(4)
        paused, error = self.next_one()
        self.assertIsNone(paused)
        self.assertIn('may have been paused', error or '')

    def test_where_there_is_no_place_for_a_new_one_it_ends_all_the_same(
            self) -> None:
        place = pathlib.Path(self.path).parent
        elsewhere = self.temp_dir() / 'moved'

        def _bar() -> None:
            place.rename(elsewhere)
            place.touch()

        self.at(2, _bar)
        self.run_for(4)
        self.assertIn('cannot tell the next agent', self.log.output)
        place.unlink()
        elsewhere.rename(place)
