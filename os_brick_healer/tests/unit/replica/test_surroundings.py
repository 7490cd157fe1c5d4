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

"""What the host means for a volume, as the agent starts and runs."""

import dataclasses

from os_brick_healer.replica import doubt, model, surroundings
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

POLL_S = world.POLICY.poll_s
PAUSE_S = doubt.START_S + 2 * POLL_S
MOST = world.POLICY.requests_per_hour_max


class SurroundingsTest(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.memories: dict[str, model.Memory] = {}
        self.seen: dict[str, model.Seen] = {}
        self.unread: set[str] = set()
        self.named: dict[str, model.Volume] = {}
        self.silent: set[model.Portal] = set()
        self.all = surroundings.Surroundings(
            self.seen, self.memories, self.unread, self.named.get,
            self.silent.__contains__)
        self.all.start(1000.0)
        self.now_s = 1000.0

    def run_to(self, until_s: float) -> None:
        """The pulse is sampled all the time."""
        while self.now_s < until_s:
            self.now_s += POLL_S
            self.all.run(self.now_s, world.POLICY)

    def read(self, now_s: float) -> tuple[str | None, int]:
        found = self.all.read(now_s, world.POLICY)
        return found.brake, found.requests_left

    def lose(self) -> None:
        """Three of three back ends are lost."""
        legs = [world.leg(n, answers=False) for n in 'abc']
        self.seen['k'] = world.seen(*legs)
        self.memories['k'] = model.Memory(replicas={
            x.replica.id: model.ReplicaMemory(unreachable_s=1.0)
            for x in legs})

    def test_at_the_start_nothing_is_requested(self) -> None:
        self.run_to(1004.9)
        self.assertEqual((doubt.STARTED, 0), self.read(1005.9))
        self.assertEqual((None, MOST), self.read(1006.0))

    def test_nor_after_a_pause(self) -> None:
        self.run_to(1100.0)
        self.assertEqual((None, MOST), self.read(self.now_s))
        self.assertEqual((None, MOST), self.read(self.now_s + PAUSE_S - 0.01))
        woke_s = self.now_s + 2 * PAUSE_S + 0.1
        self.assertEqual((doubt.PAUSED, 0), self.read(woke_s))
        self.now_s = woke_s
        self.run_to(woke_s + doubt.START_S + 0.5)
        self.assertEqual((doubt.PAUSED, 0), self.read(self.now_s))
        self.run_to(woke_s + doubt.START_S + 1.0)
        self.assertEqual((None, MOST), self.read(self.now_s))

    def test_whoever_notices_the_pause_first(self) -> None:
        self.run_to(1100.0)
        self.all.run(self.now_s + PAUSE_S + 0.1, world.POLICY)
        self.assertEqual((doubt.PAUSED, 0),
                         self.read(self.now_s + PAUSE_S + 0.2))

    def test_it_is_read_once_a_second(self) -> None:
        self.run_to(1010.0)
        self.assertEqual((None, MOST), self.read(self.now_s))
        self.lose()
        self.assertEqual((None, MOST), self.read(self.now_s + 0.9))
        brake, left = self.read(self.now_s + 1.0)
        self.assertIn('3 of 3 back ends', brake or '')
        self.assertEqual(MOST, left)

    def test_what_is_asked_for_meanwhile_counts_at_once(self) -> None:
        self.run_to(1010.0)
        self.read(self.now_s)
        self.all.asked()
        self.assertEqual((None, MOST - 1), self.read(self.now_s + 0.9))
        self.assertEqual((None, MOST), self.read(self.now_s + 1.0))

    def test_what_others_found_silent_counts_for_what_cannot_be_read(
            self) -> None:
        legs = [world.leg(n) for n in 'abc']
        self.seen['x'] = world.seen(*legs, key='x')
        self.memories['x'] = model.Memory()
        self.unread.add('x')
        self.silent.update(world.portal(n) for n in 'abc')
        self.run_to(1010.0)
        self.assertIn('3 of 3 back ends', self.read(self.now_s)[0] or '')

    def test_what_cannot_be_read_is_not_called_fine(self) -> None:
        legs = [world.leg(n) for n in 'abc']
        self.lose()
        self.seen['x'] = world.seen(*legs, key='x')
        self.memories['x'] = model.Memory()
        self.run_to(1010.0)
        self.assertIsNone(self.read(self.now_s)[0])
        self.unread.add('x')
        self.assertIsNotNone(self.read(self.now_s + 1.0)[0])

    def test_what_was_lost_before_the_start_is_until_it_is_seen(
            self) -> None:
        """A volume could not be looked at since the agent was started."""
        self.lose()
        seen = self.seen.pop('k')
        self.run_to(1010.0)
        self.assertIsNone(self.read(self.now_s)[0])    # nobody names it
        assert seen.volume is not None
        self.named['k'] = seen.volume
        self.memories['k'] = dataclasses.replace(
            self.memories['k'], array_uuid='uuid')
        self.assertIn('3 of 3 back ends',
                      self.read(self.now_s + 1.0)[0] or '')
        # A look tells more than a memory: two are back.
        self.seen['k'] = world.seen(
            world.leg('a', answers=False), world.leg('b'), world.leg('c'))
        self.assertIsNone(self.read(self.now_s + 2.0)[0])
