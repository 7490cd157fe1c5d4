# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Who is told of a leg that is stale, and what is said while it is out."""

import dataclasses
from typing import Any

from os_brick_healer.engine import verdict
from os_brick_healer.replica import model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

AVAILABLE = model.ReplicaState.AVAILABLE
MISSING = model.ReplicaState.MISSING


class ToldTest(base.TestCase):
    def test_a_stale_leg_on_its_way_back_is_told_of_until_that_is_heard(
            self) -> None:
        """Another host would read from it, should this one die now."""
        at = world.seen(world.leg('a', state=AVAILABLE),
                        world.leg('b', 'spare', state=AVAILABLE))
        tried = world.remembers(at, b={
            'belongs': True, 'reported': MISSING, 'report_next_s': 900.0})
        found = world.decide(at, tried)
        self.assertIsInstance(found.action, model.ReportState)
        assert isinstance(found.action, model.ReportState)
        self.assertEqual(('b', MISSING),
                         (found.action.replica, found.action.state))

    def test_a_leg_that_was_never_called_missing_fills_in_peace(
            self) -> None:
        at = world.seen(world.leg('a', state=AVAILABLE),
                        world.leg('b', 'spare', state=AVAILABLE))
        found = world.decide(at, world.remembers(at, b={'belongs': True}))
        self.assertNotIsInstance(found.action, model.ReportState)

    def test_while_the_guest_waits_a_stale_leg_is_still_told_of(
            self) -> None:
        """No in-sync leg is live: b, which is out, must not be read."""
        at = world.seen(
            world.leg('a', path='connecting', answers=False), stuck_s=9.0)
        gone = world.leg('b', None, path=None)
        at = dataclasses.replace(at, volume=world.volume(
            world.leg('a'), gone))
        belongs = world.remembers(at, b={'belongs': True})
        found = world.decide(at, belongs)
        self.assertIs(verdict.Phase.STALLED, found.phase)
        assert isinstance(found.action, model.ReportState)
        self.assertEqual(('b', MISSING),
                         (found.action.replica, found.action.state))

        self.assertIsNone(world.decide(
            dataclasses.replace(at, volume_age_s=1e6), belongs).action)
        assert at.volume is not None
        muddle = dataclasses.replace(at.volume, nonsense='twice')
        self.assertIsNone(world.decide(
            dataclasses.replace(at, volume=muddle), belongs).action)


class HiddenTest(base.TestCase):
    """Behind the dead controller of a is something that nobody knows."""

    def setUp(self) -> None:
        super().setUp()
        self.new = world.leg('c', None, path=None, device=False,
                             published=False,
                             state=model.ReplicaState.SYNCHRONIZING)
        self.at = world.seen(
            world.leg('a', 'spare', path='connecting', answers=False,
                      state=MISSING), world.leg('b'), self.new, stuck_s=9.0,
            endangered={world.leg('a').replica.id: 'nvme-c'})
        self.known = world.remembers(self.at, a={
            'belongs': True, 'reported': MISSING, 'report_next_s': 1e9})

    def found(self, at: model.Seen | None = None,
              **one: Any) -> model.Verdict:
        at = at or self.at
        return world.decide(at, world.remembers(at, self.known, c=one))

    def test_while_the_guest_waits_a_new_replica_is_published(self) -> None:
        """Then it is known whose that is, and the controller may go."""
        found = self.found()
        self.assertIs(verdict.Phase.STALLED, found.phase)
        self.assertIn('also leads to nvme-c', found.sentence)
        assert isinstance(found.action, model.Publish)
        self.assertEqual('c', found.action.replica)

    def test_once_in_a_while(self) -> None:
        for name in ('publish_next_s', 'next_try_s'):
            later: dict[str, Any] = {name: 1001.0}
            self.assertIsNone(self.found(**later).action)

    def test_not_if_that_is_of_no_use(self) -> None:
        named = world.leg('c', None, path=None, device=False)
        going = world.leg('c', None, path=None, device=False,
                          published=False,
                          state=model.ReplicaState.TERMINATING)
        for other in (named, going):
            self.assertIsNone(self.found(dataclasses.replace(
                self.at, volume=world.volume(
                    world.leg('a', state=MISSING), world.leg('b'),
                    other))).action)
        away = world.seen(
            *(world.leg(n, path='connecting', answers=False) for n in 'ab'),
            self.new, stuck_s=9.0)
        self.assertIs(verdict.Phase.STALLED, self.found(away).phase)
        self.assertIsNone(self.found(away).action)


class KeptOutTest(base.TestCase):
    def test_a_leg_whose_successor_is_alone_in_sync_is_brought_back(
            self) -> None:
        """It is not let go then, and it is the nearest second copy."""
        request = model.Request(
            id='q', asked_s=1.0, tries=1, known=frozenset(),
            state=model.RequestState.ARRIVED, arrived=world.leg(
                'b').replica.id)
        for others, back in (((), True), ((world.leg('c'),), False)):
            at = world.seen(world.leg('a', None, state=MISSING),
                            world.leg('b'), *others, raid_disks=3)
            found = world.decide(at, world.remembers(
                at, a={'belongs': True, 'request': request}))
            self.assertIs(back, isinstance(found.action, model.Examine),
                          found.sentence)

    def test_what_is_held_back_is_not_said_in_turn_with_what_is_probed(
            self) -> None:
        """Each changed sentence is a line of the history, for ever."""
        out = world.leg('a', None, path=None, answers=None)
        dead = [world.leg(n, None, path=None, state=MISSING)
                for n in 'cd']
        at = world.seen(out, world.leg('b'), *dead)
        lost = world.remembers(at, a={
            'belongs': True, 'lost_s': 1.0, 'unreachable_s': 1.0,
            'reported': MISSING, 'report_next_s': 1e9},
            c={'belongs': True, 'lost_s': 1.0, 'next_try_s': 1e9},
            d={'belongs': True, 'lost_s': 1.0, 'next_try_s': 1e9})
        said = {world.decide(
            dataclasses.replace(at, answers={
                **at.answers, **dict.fromkeys(out.replica.portals, told)}
                if told is not None else at.answers), lost).sentence
            for told in (None, False)}
        self.assertEqual(1, len(said), str(said))
        self.assertIn('pile up', said.pop())
