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
"""Pacing never turns back, and bounds hold for whatever is thrown at it."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from os_brick_healer.engine import limits, pacing
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

TIMES = st.lists(st.floats(0, 1e6)).map(lambda ts: tuple(sorted(ts)))


class PacingTest(base.TestCase):
    @given(st.integers(-3, 10 ** 6))
    def test_each_failure_waits_at_least_as_long(self, tries: int) -> None:
        here, next_ = pacing.backoff_s(tries), pacing.backoff_s(tries + 1)
        self.assertTrue(0.0 <= here <= next_ <= limits.RETRY_LAST_S)

    @given(TIMES, st.floats(0, 1e6), st.floats(0, 1e5))
    def test_losses_are_bounded_and_the_newest_is_kept(
            self, losses: tuple[float, ...], more_s: float,
            window_s: float) -> None:
        now_s = max(losses, default=0.0) + more_s
        after = pacing.add_loss(losses, now_s, window_s)
        self.assertLessEqual(len(after), limits.LOSSES_MAX)
        self.assertEqual(now_s, after[-1])

    @given(TIMES, st.floats(0, 100))
    def test_one_more_loss_never_shortens_the_damping(
            self, losses: tuple[float, ...], more_s: float) -> None:
        now_s = max(losses, default=0.0) + more_s
        fewer = pacing.flap_delay_s(losses, now_s, world.POLICY)
        more = pacing.flap_delay_s((*losses, now_s), now_s, world.POLICY)
        self.assertTrue(0 <= fewer <= more <= world.POLICY.flap_delay_max_s)

    def test_the_first_losses_are_not_delayed(self) -> None:
        self.assertEqual(
            [0.0, 0.0, 10.0, 20.0, 40.0],
            [pacing.flap_delay_s((1.0,) * n, 2.0, world.POLICY)
             for n in (1, 2, 3, 4, 5)])

    def test_the_brake_counts_back_ends(self) -> None:
        for lost, known, brakes in (
                ('ab', 'ab', False), ('abc', 'abc', True),
                ('abc', 'abcdef', False), ('abcd', 'abcdef', True),
                ('', '', False)):
            self.assertEqual(brakes, pacing.brake(lost, known, 0.5)
                             is not None, f'{lost} of {known}')

    @given(TIMES, st.integers(0, 5))
    def test_the_budget_is_never_negative_and_comes_back(
            self, asked: tuple[float, ...], most: int) -> None:
        now_s = max(asked, default=0.0)
        left = pacing.budget_left(asked, now_s, most)
        self.assertTrue(0 <= left <= most)
        self.assertEqual(most, pacing.budget_left(asked, now_s + 3601, most))


class LimitsTest(base.TestCase):
    def test_bounds_that_contradict_each_other_are_refused(self) -> None:
        for name, value in (
                ('poll_s', 1e3), ('poll_s', -1.0), ('break_after_s', 1e3),
                ('silence_s', 1e3), ('volume_age_max_s', 0.0),
                ('arrival_s', 0.0), ('heals_max', 0),
                ('flap_losses_max', 99), ('flap_losses_max', 0)):
            e = self.assertRaises(ValueError, dataclasses.replace,
                                  world.POLICY, **{name: value})
            self.assertIn(name, str(e))
