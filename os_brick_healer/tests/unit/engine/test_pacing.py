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

    def test_a_back_off_doubles_up_to_its_end(self) -> None:
        self.assertEqual(
            [0.0, 0.0, 1.0, 2.0, 4.0, 256.0, 300.0, 300.0, 300.0],
            [pacing.backoff_s(n) for n in (-1, 0, 1, 2, 3, 9, 10, 33, 99)])
        self.assertEqual([3.0, 6.0, 7.0], [
            pacing.backoff_s(n, first_s=3.0, last_s=7.0) for n in (1, 2, 3)])
        # It does not overflow, nor shrink again.
        self.assertEqual(2.0 ** 32, pacing.backoff_s(
            10 ** 9, first_s=1.0, last_s=1e300))

    @given(st.text(), st.floats(0, 1e6))
    def test_a_look_is_spread_but_never_late(self, key: str,
                                             wait_s: float) -> None:
        spread_s = pacing.spread_s(key, wait_s)
        self.assertEqual(spread_s, pacing.spread_s(key, wait_s))
        self.assertTrue(wait_s / 2 <= spread_s <= wait_s)

    @given(st.floats(0, 1e6), st.sampled_from((0.1, 0.25, 0.5, 1.0)),
           st.floats(0, 1e5))
    def test_tasks_are_in_step_and_leave_time_for_others(
            self, began_s: float, interval_s: float, ran_s: float) -> None:
        now_s = began_s + ran_s
        due_s = pacing.in_step_s(began_s, interval_s, now_s)
        left = (due_s - now_s) / interval_s
        self.assertTrue(0.499 <= left <= 1.501, left)
        steps = (due_s - began_s) / interval_s
        self.assertAlmostEqual(round(steps), steps, places=4)

    def test_who_was_not_late_is_due_one_interval_later(self) -> None:
        now_s = 5.0
        for step in range(1, 100):
            now_s = pacing.in_step_s(5.0, 0.1, now_s)
            self.assertAlmostEqual(5.0 + 0.1 * step, now_s, places=9)

    def test_what_is_late_by_half_is_left_out_once(self) -> None:
        self.assertEqual([10.25, 10.5, 10.5], [
            pacing.in_step_s(10.0, 0.25, at) for at in (10.12, 10.13, 10.24)])

    def test_seldom_tasks_and_those_without_a_pause_keep_no_step(
            self) -> None:
        self.assertEqual([11.0, 8.5, 7.0], [
            pacing.in_step_s(5.0, interval_s, 7.0)
            for interval_s in (4.0, 1.5, 0.0)])
        self.assertEqual(8.0, pacing.in_step_s(5.0, 1.0, 7.3))

    def test_only_what_is_in_no_hurry_is_spread(self) -> None:
        from_s = pacing.SPREAD_FROM_S
        self.assertEqual(20.0, from_s)
        keys = [str(n) for n in range(100)]
        self.assertEqual({from_s - 0.1}, {
            pacing.spread_s(k, from_s - 0.1) for k in keys})
        spread = sorted(pacing.spread_s(k, from_s) for k in keys)
        self.assertGreater(len(set(spread)), 90)
        self.assertLess(spread[10], 0.6 * from_s)
        self.assertGreater(spread[-10], 0.9 * from_s)

    def test_a_loss_out_of_the_window_is_forgotten(self) -> None:
        self.assertEqual((5.0, 10.0, 15.0), pacing.add_loss(
            (1.0, 4.9, 5.0, 10.0), 15.0, 10.0))
        many = tuple(float(n) for n in range(limits.LOSSES_MAX))
        self.assertEqual((*many[1:], 40.0),
                         pacing.add_loss(many, 40.0, 1e6))
        window_s = world.POLICY.flap_window_s
        self.assertEqual(0.0, pacing.flap_delay_s(
            (0.0, 1.0, 1.0), window_s + 0.1, world.POLICY))
        self.assertEqual(10.0, pacing.flap_delay_s(
            (0.0, 1.0, 1.0), window_s, world.POLICY))

    def test_the_brake_says_what_is_lost(self) -> None:
        self.assertEqual(
            "3 of 4 back ends are lost together: this host's own network is "
            'the likelier cause', pacing.brake('abc', 'abcd', 0.5))
        self.assertIsNone(pacing.brake('abc', 'abcd', 0.75))

    def test_a_request_counts_for_an_hour(self) -> None:
        self.assertEqual(1, pacing.budget_left(
            (0.0, 0.1, 3599.0), 3600.0, 3))

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
                ('silence_s', 60.5), ('silence_s', -0.5),
                ('break_after_s', -0.5), ('volume_age_max_s', 0.0),
                ('arrival_s', 0.0), ('heals_max', 0),
                ('flap_losses_max', 99), ('flap_losses_max', 0)):
            e = self.assertRaises(ValueError, dataclasses.replace,
                                  world.POLICY, **{name: value})
            self.assertIn(name, str(e))

    def test_bounds_that_just_fit_are_taken(self) -> None:
        policy = world.POLICY
        for name, value in (
                ('poll_s', policy.idle_break_after_s), ('poll_s', 0.0),
                ('break_after_s', policy.idle_break_after_s),
                ('break_after_s', 0.0), ('silence_s', 0.0),
                ('silence_s', 60.0),
                ('volume_age_max_s', policy.provisioner_interval_s),
                ('arrival_s', policy.provisioner_interval_s),
                ('heals_max', 1), ('flap_losses_max', 1),
                ('flap_losses_max', limits.LOSSES_MAX)):
            changed = dataclasses.replace(
                policy, **{name: value})    # type: ignore[arg-type]
            self.assertEqual(value, getattr(changed, name))

    def test_the_limits_are_what_the_documentation_says(self) -> None:
        self.assertEqual(
            (32, 5, 10, 3, 2, 4, 2, 1.0, 300.0, 30.0, 5.0, 3600.0, 32, 60.0,
             3),
            (limits.LOSSES_MAX, limits.READD_TRIES_MAX,
             limits.REQUEST_TRIES_MAX, limits.MIXED_UP_TRIES,
             limits.EXTRA_REPLICAS_MAX,
             limits.REPLICAS_MAX, limits.COPIES_MIN, limits.RETRY_FIRST_S,
             limits.RETRY_LAST_S, limits.LOOK_REST_LAST_S,
             limits.FLOW_RETRY_LAST_S,
             limits.UNNAMED_KEPT_S, limits.UNNAMED_MAX, limits.WITHDRAWN_S,
             limits.BRAKE_BACKENDS_MIN))
