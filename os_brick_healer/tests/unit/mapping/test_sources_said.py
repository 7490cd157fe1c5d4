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
"""What an answer leads to, and what silence does not."""

import contextlib
import sqlite3
from typing import Any

from os_brick_healer import exception
from os_brick_healer.attachments import base as source_base
from os_brick_healer.attachments import journal as journal_source
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.mapping import adopt, locks, model
from os_brick_healer.testing.attachments import HERE
from os_brick_healer.tests.unit.attachments import worlds
from os_brick_healer.tests.unit.mapping import (
    test_sources,
    test_wing,
    world,
)


class Scripted(source_base.AttachmentSource):
    """Answers what a test says."""

    guarantees = source_base.Guarantees(
        authoritative=False, knows_hosts=True, knows_images=True)
    answer: Any = source_base.Listing(here={})
    closed = 0

    def probe(self) -> str:
        return 'scripted'

    def listing(self, about: frozenset[str]) -> source_base.Listing:
        del about
        if isinstance(self.answer, Exception):
            raise self.answer
        found: source_base.Listing = self.answer
        return found

    def concerns(self, volume: str, mounter: str) -> bool:
        return True

    def close(self) -> None:
        self.closed += 1


class SourcesTest(test_sources.ChainTest):
    def setUp(self) -> None:
        super().setUp()
        self.begin()
        self.source = Scripted(worlds.new_conf(), HERE)
        self.written(world.KEY)
        self.mapped(world.KEY, f'volume-{world.KEY}', ours=True)

    def scripted(self) -> test_wing.Agent:
        return self.agent(lambda _name: self.source)

    def test_a_row_that_was_written_since_is_not_contradicted(self) -> None:
        agent = self.scripted()
        written: list[float] = []

        def story() -> bool:
            # Between any two answers a connector has been at work.
            if agent.time.now_s - (written or [0.0])[-1] > 4.0:
                written.append(agent.time.now_s)
                agent.journal.attach_note(world.KEY, {
                    **agent.journal_rows()[0].connection,
                    'note': len(written)})
                agent.wing._rows.outdated()
            return False

        agent.run(60.0, story)
        self.assertNotIn('doubt', self.volume_of(agent))

    def test_what_holds_a_heal_back_is_said_before_there_is_one(
            self) -> None:
        """It may be that the source knows this host by another name."""
        agent = self.scripted()
        self.source.answer = source_base.Listing(here={}, elsewhere={
            world.KEY: ('node-7.example',)})
        agent.run(30.0)
        self.assertEqual('healthy', agent.phase())
        self.assertIn('not replaced', self.volume_of(agent)['doubt'])
        self.assertEqual(1, self.told(agent)['elsewhere'])
        lines = [line for line in self.log.output.splitlines()
                 if 'not replaced' in line]
        self.assertEqual(1, len(lines))
        self.assertIn('attached to node-7.example', lines[0])
        self.assertIn('nothing at all attached', lines[0])

    def test_what_was_said_last_stands_while_it_is_silent(self) -> None:
        agent = self.scripted()

        def story() -> bool:
            if agent.time.now_s > 1030.0:
                self.source.answer = exception.SourceError('cannot reach it')
            return False

        agent.run(80.0, story)
        self.assertIn('nowhere', self.volume_of(agent)['doubt'])
        self.assertEqual('cannot reach it', self.told(agent)['error'])
        self.assertGreater(self.source.closed, 0)

    def test_since_when_one_is_down_is_told_until_it_answers(self) -> None:
        agent = self.scripted()
        good = self.source.answer
        self.source.answer = exception.SourceError('cannot reach it')
        down: list[float] = []

        def story() -> bool:
            told = self.told(agent)
            if told.get('down_s') is not None:
                down.append(told['down_s'])
            if agent.time.now_s > 1050.0:
                self.source.answer = good
            return False

        agent.run(80.0, story)
        self.assertEqual(sorted(down), down)
        self.assertGreater(down[-1], 40.0)
        self.assertEqual((None, None), (self.told(agent)['down_s'],
                                        self.told(agent)['error']))

    def test_what_it_takes_back_is_not_said_any_more(self) -> None:
        agent = self.scripted()

        def story() -> bool:
            if agent.time.now_s > 1030.0:
                self.source.answer = source_base.Listing(here={
                    world.KEY: source_base.Attached(
                        volume=world.KEY, alias='v', names={},
                        state=source_base.State.ATTACHED)})
            return False

        agent.run(80.0, story)
        self.assertNotIn('doubt', self.volume_of(agent))

    def test_a_bug_in_a_plugin_is_told_and_ends_nothing(self) -> None:
        self.source.answer = KeyError('a bug')
        agent = self.scripted()
        agent.run(40.0)
        self.assertEqual('healthy', agent.phase())
        self.assertIn('because of a bug (KeyError)',
                      self.told(agent)['error'])

    def test_one_that_does_not_load_is_told(self) -> None:
        def load(name: str) -> source_base.AttachmentSource:
            raise exception.ConfigError(f'cannot load {name}')

        agent = self.agent(load)
        agent.run(5.0)
        self.assertEqual('cannot load it', self.told(agent)['error'])

    def test_the_journal_is_not_asked_about_itself(self) -> None:
        agent = self.agent(lambda _name: journal_source.JournalSource(
            worlds.new_conf(state_path='/nowhere'), HERE))
        agent.run(40.0)
        self.assertEqual({}, self.told(agent))
        self.assertEqual('healthy', agent.phase())

    def test_a_connectors_row_is_never_let_go_for_it(self) -> None:
        agent = self.scripted()
        base = self.ground.root / 'sys/block/nbd3'

        def story() -> bool:
            if agent.phase() == 'healthy':
                (base / 'pid').unlink(missing_ok=True)
            return False

        agent.run(60.0, story)
        self.assertEqual(1, len(agent.journal_rows()))
        self.assertEqual('broken', agent.phase())

    def adopted(self) -> test_wing.Agent:
        """An adopted mapping whose device has gone."""
        agent = self.scripted()
        agent.journal.attach_note(world.KEY, {
            **agent.journal_rows()[0].connection, adopt.MARK: True})
        for name in ('pid', 'backend'):
            (self.ground.root / 'sys/block/nbd3' / name).unlink()
        return agent

    def test_a_damaged_row_does_not_keep_others_from_being_let_go(
            self) -> None:
        agent = self.adopted()
        row = agent.journal_rows()[0]
        for volume in ('bad', 'worse'):
            agent.journal.adopt(volume, 'v', row.connection)
        with contextlib.closing(sqlite3.connect(self.path)) as db, db:
            db.execute("UPDATE attachment SET pid='none' WHERE volume != ?",
                       (world.KEY,))
        agent.run(30.0)
        self.assertEqual((), agent.journal_rows())

    def test_what_somebody_is_at_work_on_is_not_let_go(self) -> None:
        agent = self.adopted()
        with locks.VolumeLocks(self.home).hold(world.KEY, 0.0):
            agent.run(30.0)
            rows = agent.journal_rows()
        self.assertEqual([world.KEY], [row.volume for row in rows])

    def test_a_row_that_was_written_since_is_not_let_go(self) -> None:
        agent = self.adopted()
        looked = agent.journal.attachment

        def attached_meanwhile(volume: str, *, whole: bool = True,
                               ) -> journal_lib.AttachRow | None:
            if agent.time.now_s > 1004.0:     # it was found gone once
                book = journal_lib.Journal(self.path, boot_id='boot')
                book.attach_begin(volume, 'v', {'kind': model.KIND}, 1, '1')
                book.close()
            return looked(volume, whole=whole)

        agent.journal.attachment = (    # type: ignore[method-assign]
            attached_meanwhile)
        agent.run(30.0)
        book = journal_lib.Journal(self.path, boot_id='boot')
        self.addCleanup(book.close)
        self.assertEqual('connecting', book.attachments()[0].state)
        self.assertEqual([], [row.text for row in book.history()
                              if row.text.startswith('let go')])

    def test_after_a_reload_it_is_made_anew(self) -> None:
        made: list[int] = []

        def load(_name: str) -> source_base.AttachmentSource:
            made.append(1)
            return self.source

        agent = self.agent(load)

        def story() -> bool:
            assert agent.wing.sources is not None
            if agent.time.now_s > 1005.0 and not self.source.closed:
                agent.wing.sources.reload()
            return False

        agent.run(10.0, story)
        self.assertEqual(2, len(made))
        self.assertEqual(2, self.source.closed)      # and at the end
