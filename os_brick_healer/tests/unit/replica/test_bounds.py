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

"""What only a changed room showed: bounds and orders that no test minded."""

import dataclasses
from typing import Any

from os_brick_healer.engine import limits, verdict
from os_brick_healer.replica import (
    asking,
    flow,
    heal,
    laws,
    learn,
    model,
    recall,
    saying,
)
from os_brick_healer.replica import case as case_lib
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import test_learned as actions
from os_brick_healer.tests.unit.replica import world

A, B, C, D = (model.ReplicaId(n) for n in 'abcd')
NOW_S = 1000.0
One = model.ReplicaMemory
LOST = One(belongs=True, lost_s=900.0, unreachable_s=900.0)


def out(name: str) -> world.Leg:
    return world.leg(name, None, path=None, answers=False)


def case_of(*legs: world.Leg, ones: dict[model.ReplicaId, One] | None = None,
            policy: limits.Policy = world.POLICY,
            **changes: Any) -> case_lib.Case:
    return case_lib.Case(
        seen=world.seen(*legs, **changes), policy=policy,
        memory=model.Memory(array_uuid=world.UUID, replicas=ones or {}),
        around=case_lib.Around())


def a_request(**changes: Any) -> model.Request:
    made = model.Request(id='q', asked_s=1.0, tries=1, known=frozenset((A,)),
                         state=model.RequestState.ASKED)
    return dataclasses.replace(made, **changes)


class CaseTest(base.TestCase):

    def test_one_request_is_left_unless_more_is_said(self) -> None:
        self.assertEqual(1, case_lib.Around().requests_left)

    def test_a_leg_is_dead_while_it_has_paths_and_none_is_live(self) -> None:
        for leg, dead_s in (
                (world.leg('a'), None), (world.leg('a', path=None), None),
                (world.leg('a', path='connecting', for_s=7.0), 7.0)):
            self.assertEqual(dead_s, case_of(leg).legs[0].dead_s)

    def test_a_path_that_is_not_live_hides_no_other(self) -> None:
        (leg,) = case_of(world.leg('a')).legs
        (path,) = leg.paths
        gone = dataclasses.replace(path, state=model.PathState.CONNECTING)
        self.assertTrue(dataclasses.replace(
            leg, paths=(gone, path)).proves_live(1.0))

    def test_more_legs_than_slots_are_whole_too(self) -> None:
        case = case_of(world.leg('a'), world.leg('b'), world.leg('c'))
        assert case.seen.array is not None
        array = dataclasses.replace(case.seen.array, degraded=0)
        self.assertTrue(dataclasses.replace(case, seen=dataclasses.replace(
            case.seen, array=array)).whole)

    def test_a_slot_that_a_stranger_fills_is_no_copy(self) -> None:
        seen = world.seen(world.leg('a', None), world.leg('b'))
        assert seen.array is not None
        array = dataclasses.replace(seen.array, degraded=0)
        self.assertIsNotNone(laws.permits(
            actions.CONFIRM, dataclasses.replace(seen, array=array)))


class RecallTest(base.TestCase):

    def answers(self, *legs: world.Leg,
                **asked: model.Request) -> dict[str, str | None]:
        ones = {model.ReplicaId(k): One(belongs=True, request=r)
                for k, r in asked.items()}
        after = recall.update(case_of(*legs, ones=ones)).replicas
        return {k: one.request.arrived for k, one in after.items()
                if one.request is not None}

    def test_of_two_new_names_the_first_is_the_answer(self) -> None:
        self.assertEqual({'a': C}, self.answers(
            out('a'), out('c'), out('d'), a=a_request()))
        self.assertEqual({'a': C, 'b': D}, self.answers(
            out('a'), out('b'), out('c'), out('d'),
            a=a_request(known=frozenset((A, B))),
            b=a_request(known=frozenset((A, B)))))

    def test_requests_of_one_moment_are_answered_by_name(self) -> None:
        both = frozenset((A, B))
        self.assertEqual({'a': C, 'b': None}, self.answers(
            out('b'), out('a'), out('c'), b=a_request(known=both),
            a=a_request(known=both)))


class AskingTest(base.TestCase):

    def said(self, case: case_lib.Case) -> model.Verdict:
        found = asking.request(case)
        assert found is not None
        return found

    def test_of_two_lost_legs_the_first_is_asked_for(self) -> None:
        found = self.said(case_of(
            world.leg('a'), out('b'), out('c'), raid_disks=3,
            ones={B: LOST, C: LOST}))
        assert isinstance(found.action, model.RequestReplacement)
        self.assertEqual(B, found.action.replica)

    def test_a_large_array_may_have_one_replica_more(self) -> None:
        legs = (world.leg('a'), out('b'), world.leg('c'), world.leg('d'))
        self.assertIsNotNone(self.said(case_of(
            *legs, raid_disks=4, ones={B: LOST})).action)
        self.assertIsNone(self.said(case_of(
            *legs, out('e'), raid_disks=4,
            ones={B: LOST, model.ReplicaId('e'): LOST})).action)

    def test_who_is_lost_and_who_has_not_come_are_told_apart(self) -> None:
        soon = dataclasses.replace(LOST, unreachable_s=NOW_S - 1.0)
        for belongs, says in ((True, 'is lost'), (False, 'has not come yet')):
            one = dataclasses.replace(soon, belongs=belongs)
            self.assertIn(says, self.said(case_of(
                world.leg('a'), out('b'), ones={B: one})).sentence)

    def test_an_error_puts_a_request_off_ever_longer_but_not_for_ever(
            self) -> None:
        for tries, factor in ((0, 1), (1, 2), (3, 8), (16, 65536),
                              (20, 65536)):
            for more_s, waits in ((0.0, False), (1.0, True)):
                request = a_request(
                    tries=tries, failed=True, asked_s=NOW_S + more_s
                    - factor * world.POLICY.arrival_s)
                found = self.said(case_of(
                    world.leg('a'), out('b'), ones={B: dataclasses.replace(
                        LOST, request=request, last_error='no',
                        next_try_s=NOW_S + 99.0)}))
                self.assertIs(waits, found.phase is verdict.Phase.HEALING
                              and found.action is None, f'{tries} {more_s}')


class FlowTest(base.TestCase):

    def test_the_first_survivor_is_named(self) -> None:
        dead = world.leg('a', path='connecting', answers=False)
        silent = world.leg('a', answers=False, silent_s=3.0)
        for leg in (dead, silent):
            found = flow.keep_flowing(case_of(
                leg, world.leg('b'), world.leg('c'), raid_disks=3))
            assert found is not None
            self.assertIn('leg nvme-b', found.sentence)
            self.assertNotIn('leg nvme-c', found.sentence)

    def test_soon_after_the_boot_never_is_not_just_now(self) -> None:
        leg = world.leg('a', path='connecting', for_s=0.1, answers=False)
        for cut_s, breaks in ((0.0, False), (0.5, True)):
            found = flow.keep_flowing(case_of(
                leg, world.leg('b'), stuck_s=1.0, now_s=1.0,
                ones={A: One(cut_next_s=cut_s)}))
            assert found is not None
            self.assertIs(breaks, found.action is not None)

    def paths(self, silence_s: float, *silent_s: float | None,
              ) -> model.Verdict | None:
        case = case_of(
            world.leg('a'), world.leg('b'),
            policy=dataclasses.replace(world.POLICY, silence_s=silence_s))
        (one,) = case.seen.paths[A]
        paths = tuple(dataclasses.replace(
            one, controller=f'c{i}', silent_for_s=s, portal_answers=s is None)
            for i, s in enumerate(silent_s))
        return flow.keep_flowing(dataclasses.replace(
            case, seen=dataclasses.replace(
                case.seen, paths={**case.seen.paths, A: paths})))

    def test_one_path_of_two_is_silent_from_its_bound_on(self) -> None:
        self.assertIsNotNone(self.paths(2.0, None, 2.0))
        self.assertIsNone(self.paths(2.0, None, 1.9))
        self.assertIsNone(self.paths(0.5, None, None))


class HealTest(base.TestCase):

    def test_what_is_half_published_is_published(self) -> None:
        whole = world.leg('b', None, path=None, device=False)
        for changes in ({'nqn': None}, {'portals': ()}):
            leg = world.leg('b', None, path=None, device=False)
            leg.replica = dataclasses.replace(
                whole.replica, **changes)
            found = heal.bring_in(case_of(
                world.leg('a'), leg, ones={B: One(belongs=True)}))
            assert found is not None
            self.assertIsInstance(found.action, model.Publish)

    def test_new_or_back_it_is_told(self) -> None:
        leg = world.leg('b', None, path=None, device=False)
        for belongs, says in ((True, 'answers again'), (False, 'is new and')):
            found = heal.bring_in(case_of(world.leg('a'), leg, ones={
                B: One(belongs=belongs, published=True)}))
            assert found is not None
            self.assertIn(says, found.sentence)

    def test_one_that_may_not_go_yet_keeps_no_other(self) -> None:
        going: dict[str, Any] = {'state': model.ReplicaState.TERMINATING}
        arrived = a_request(state=model.RequestState.ARRIVED, arrived=D)
        for ones in ({B: One(next_try_s=2000.0)},           # not due
                     {B: One(request=dataclasses.replace(   # no successor
                         arrived, arrived=model.ReplicaId('x'))),
                      C: One(request=arrived)}):
            whole = len(ones) == 1
            state = going if whole else {'state': model.ReplicaState.MISSING}
            found = heal.retire(case_of(
                world.leg('a'), world.leg('b', None, path=None, **state),
                world.leg('c', None, path=None, **going), world.leg('d'),
                raid_disks=2 if whole else 3, ones=ones))
            assert found is not None
            assert isinstance(found.action, model.ConfirmRemoval)
            self.assertEqual(C, found.action.replica)


class DecideTest(base.TestCase):

    def test_while_md_copies_all_that_comes_after_waits(self) -> None:
        sync = model.Sync(action='recover', done_sectors=1, total_sectors=2,
                          speed_kib_s=1)
        found = world.decide(world.seen(
            world.leg('a', state=model.ReplicaState.MISSING),
            world.leg('b', 'spare'), sync=sync))
        self.assertEqual((None, verdict.Phase.RESYNCING),
                         (found.action, found.phase))

    def test_who_waits_keeps_nobody_from_acting(self) -> None:
        flapped = One(belongs=True, lost_s=995.0, report_next_s=2000.0,
                      reported=model.ReplicaState.MISSING,
                      losses_s=(980.0, 990.0, 995.0))
        found = world.decide(world.seen(
            world.leg('a', state=model.ReplicaState.MISSING),
            world.leg('b', None)), model.Memory(
                array_uuid=world.UUID, replicas={
                    A: One(belongs=True), B: flapped}))
        assert isinstance(found.action, model.ReportState)
        self.assertEqual((A, model.ReplicaState.AVAILABLE),
                         (found.action.replica, found.action.state))

    def test_no_look_comes_at_once(self) -> None:
        for look_s, again_s in ((0.0, 0.02), (-5.0, 0.02), (7.0, 7.0)):
            self.assertEqual(again_s, saying.say(
                case_of(world.leg('a')), verdict.Phase.HELD, 'x', law='y',
                look_again_s=look_s).look_again_s)

    def test_a_frozen_array_is_looked_at_again_soon(self) -> None:
        seen = world.seen(world.leg('a'), world.leg('b'))
        assert seen.array is not None
        frozen = dataclasses.replace(seen, array=dataclasses.replace(
            seen.array, frozen=True))
        for since_s in (None, 0.0):
            self.assertEqual(1.0, world.decide(frozen, model.Memory(
                frozen_s=since_s)).look_again_s)


class LearnTest(base.TestCase):

    def test_each_publication_is_one_try(self) -> None:
        memory = model.Memory(replicas={A: One()})
        for tries, wait_s in ((1, 0.5), (2, 1.0), (3, 2.0)):
            memory = learn.learn(memory, actions.PUBLISH, actions.DONE, NOW_S,
                                 world.POLICY)
            one = memory.replicas[A]
            self.assertEqual((tries, NOW_S + wait_s),
                             (one.tries, one.publish_next_s))
