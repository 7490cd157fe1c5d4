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
"""Laws of the hands when a leg is given up."""

import dataclasses
import threading
from typing import Any

from os_brick_healer import exception
from os_brick_healer.replica import act, model
from os_brick_healer.tests.unit.replica.hands_world import (
    HandsTestCase,
    KEY,
    LAW,
    member,
    OTHER_UUID,
    path,
    portal,
    rid,
    SETTINGS,
    UUID,
)


class TestBreakLeg(HandsTestCase):

    def action(self, **more: Any) -> model.BreakLeg:
        return model.BreakLeg(**{
            'volume': KEY, 'law': LAW, 'replica': rid(2),
            'device': 'nvme2n1', 'paths': self.world.seen.paths[rid(2)],
            'survivors': (rid(1),), 'array': 'md127', 'array_uuid': UUID,
            **more})

    def test_the_dead_legs_controllers_are_deleted_under_the_locks(
            self) -> None:
        outcome = self.do(self.action())
        self.assertTrue(outcome.changed)
        self.assertIsNone(outcome.error)
        self.assertEqual([('delete', ('nvme2', 'nvme2n1', False))],
                         self.world.done)
        self.assertEqual([True], self.world.done_locked)

    def test_root_is_told_what_may_go_with_the_leg(self) -> None:
        for spare in ({}, {'nvme7n1': UUID}):
            self.world.done.clear()
            self.change(spare={rid(2): spare})
            self.assertTrue(self.do(self.action()).changed)
            self.assertEqual(spare, self.world.spared)

    def test_the_deletions_of_several_paths_do_not_wait_for_each_other(
            self) -> None:
        self.change_paths(2, path(2, model.PathState.CONNECTING),
                          path(4, model.PathState.CONNECTING))
        together = threading.Barrier(2, timeout=20.0)
        self.world.meet = together.wait
        self.assertTrue(self.do(self.action()).changed)
        self.assertEqual({'nvme2', 'nvme4'},
                         {what[0] for _verb, what in self.world.done})

    def test_a_leg_that_is_live_again_is_kept(self) -> None:
        self.change_paths(2, path(2))
        self.assert_nothing(self.action(), 'live')

    def test_one_live_path_of_several_keeps_the_leg(self) -> None:
        self.change_paths(2, path(2, model.PathState.CONNECTING), path(4))
        self.assert_nothing(self.action(), 'live')

    def test_a_survivor_that_does_not_answer_now_proves_nothing(
            self) -> None:
        self.change_paths(1, path(1, portal_answers=True))
        self.world.answering = set()
        self.assert_nothing(self.action(), 'proven live')

    def test_a_survivor_that_is_not_in_sync_proves_nothing(self) -> None:
        for flags in (('spare',), ('in_sync', 'faulty')):
            self.change_array(members=(member(1, *flags), member(2)))
            self.assert_nothing(self.action())

    def test_a_survivor_that_is_not_live_proves_nothing(self) -> None:
        self.change_paths(1, path(1, model.PathState.CONNECTING))
        self.assert_nothing(self.action())

    def test_the_leg_itself_is_no_survivor(self) -> None:
        self.assert_nothing(self.action(survivors=(rid(2),)))

    def test_without_a_probe_the_survivor_must_outlive_its_keep_alive(
            self) -> None:
        for lost_for_s, kept in ((2.9, True), (3.1, False)):
            self.world.done.clear()
            self.change_paths(2, path(2, model.PathState.CONNECTING,
                                      state_for_s=lost_for_s))
            self.change_paths(1, path(1, portal_answers=None))
            self.change_paths(1, dataclasses.replace(
                path(1), portal=portal(1, 'rdma')))
            if kept:
                self.assert_nothing(self.action(), 'proven live')
            else:
                self.assertTrue(self.do(self.action()).changed)

    def test_who_is_behind_the_same_controller_must_have_an_answer_now(
            self) -> None:
        dead, rdma = portal(7), portal(8, 'rdma')
        for relied_on, kept in (
                ([{dead}], True), ([{dead, portal(3)}], False),
                ([{portal(3)}, {dead}], True), ([{rdma}], False)):
            self.world.done.clear()
            # An answer from before the probe counts for nothing.
            self.change(answers={dead: True}, relied_on={
                rid(2): tuple(map(frozenset, relied_on)),
                rid(3): (frozenset((dead,)),)})
            if kept:
                self.assert_nothing(self.action(), 'another volume')
            else:
                self.assertTrue(self.do(self.action()).changed)

    def test_another_array_of_the_name_is_not_touched(self) -> None:
        self.change_array(uuid=OTHER_UUID)
        self.assert_nothing(self.action())

    def test_a_leg_that_is_out_already_is_no_error(self) -> None:
        self.change_array(members=(member(1),))
        outcome = self.do(self.action())
        self.assertFalse(outcome.changed)
        self.assertIsNone(outcome.error)
        self.assertEqual([], self.world.done)

    def test_anothers_lock_does_not_hang_this_guest(self) -> None:
        self.world.locks.busy = True
        outcome = self.do(self.action())
        self.assertTrue(outcome.changed)
        self.assertIn('without', outcome.detail)
        self.assertEqual(act.FLOW_LOCK_S, self.world.locks.waited_s)

    def test_who_is_not_known_to_be_attached_waits_for_the_lock(
            self) -> None:
        self.world.locks.busy = True
        self.change(attachment=None)
        self.assert_nothing(self.action(), 'lock', transient=True)
        self.assertEqual(SETTINGS.lock_timeout_s,
                         self.world.locks.waited_s)

    def test_a_deletion_that_goes_on_is_said(self) -> None:
        self.world.deleting_hangs = True
        outcome = self.do(self.action())
        self.assertTrue(outcome.changed)
        self.assertIn('nvme2', outcome.error or '')

    def test_what_the_privileged_side_refuses_is_final(self) -> None:
        self.world.error = exception.NotOurs('cannot: it is another one')
        self.assert_nothing(self.action(), 'another one', transient=False)


class TestCutSilent(HandsTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.silent = path(2, portal_answers=False, silent_for_s=1.5)
        self.change_paths(2, self.silent)
        self.action = model.CutSilent(
            volume=KEY, law=LAW, replica=rid(2), paths=(self.silent,),
            survivors=(rid(1),), array='md127', array_uuid=UUID)

    def test_a_silent_connection_is_cut(self) -> None:
        outcome = self.do(self.action)
        self.assertTrue(outcome.changed)
        self.assertEqual([('cut', 'nvme2')], self.world.done)

    def test_one_that_answers_again_is_kept(self) -> None:
        self.change_paths(2, path(2, portal_answers=True, silent_for_s=0.0))
        self.assert_nothing(self.action, 'not silent')

    def test_one_that_was_never_probed_is_kept(self) -> None:
        self.change_paths(2, path(2))
        self.assert_nothing(self.action, 'not silent')

    def test_of_two_paths_only_the_silent_one_is_cut(self) -> None:
        self.change_paths(2, self.silent, path(
            3, portal_answers=True, silent_for_s=0.0))
        self.do(self.action)
        self.assertEqual([('cut', 'nvme2')], self.world.done)

    def test_in_a_silence_of_all_nothing_is_cut(self) -> None:
        self.world.answering = set()
        self.assert_nothing(self.action, 'proven live')
