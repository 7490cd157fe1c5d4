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
"""Turns to heal are bounded, and nobody waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from os_brick_healer.engine import slots as slots_lib
from os_brick_healer.tests import base

STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from('abcdefgh')),
                 max_size=60)


class SlotsTest(base.TestCase):
    @given(st.integers(1, 4), STEPS)
    def test_never_more_than_allowed_and_a_free_turn_is_given(
            self, size: int, steps: list[tuple[bool, str]]) -> None:
        slots = slots_lib.Slots(size)
        for take, key in steps:
            if take:
                slots.take(key)
            else:
                for next_ in slots.give_back(key):
                    slots.take(next_)
            self.assertLessEqual(slots.busy, size)
        # Whoever heals gives back; whoever is told takes: all get a turn.
        left = {key for take, key in steps if take}
        for _ in range(9):
            for key in sorted(left):
                if slots.take(key):
                    left.discard(key)
                    slots.give_back(key)
        self.assertLessEqual(len(left), max(0, slots.busy * 8))

    def test_first_come_first_served(self) -> None:
        slots = slots_lib.Slots(1)
        self.assertTrue(slots.take('a'))
        self.assertTrue(slots.take('a'))
        self.assertFalse(slots.take('b'))
        self.assertFalse(slots.take('c'))
        self.assertEqual(('b',), slots.give_back('a'))
        self.assertFalse(slots.take('c'))
        self.assertTrue(slots.take('b'))
        self.assertEqual((), slots.give_back('a'))
        self.assertEqual(('c',), slots.give_back('b'))

    def test_who_no_longer_waits_keeps_nobody_waiting(self) -> None:
        slots = slots_lib.Slots(1)
        slots.take('a')
        slots.take('b')
        slots.take('c')
        slots.give_back('b')
        slots.give_back('a')
        self.assertTrue(slots.take('c'))

    def test_a_turn_that_is_given_back_is_one_turn(self) -> None:
        turns = slots_lib.Slots(2)
        self.assertEqual([True, True, False, False],
                         [turns.take(k) for k in 'abcd'])
        self.assertEqual(('c',), turns.give_back('a'))
        self.assertEqual([False, True], [turns.take(k) for k in 'dc'])

    def test_fewer_turns_than_are_held_are_none_to_give(self) -> None:
        turns = slots_lib.Slots(3)
        self.assertTrue(all(turns.take(k) for k in 'abc'))
        turns.size = 1
        self.assertFalse(turns.take('d'))
        self.assertEqual((), turns.give_back('a'))
        self.assertEqual((), turns.give_back('b'))
        self.assertEqual(('d',), turns.give_back('c'))
