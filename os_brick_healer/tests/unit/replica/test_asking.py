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

"""A replacement is asked for once, not too soon, and not for ever."""

import dataclasses
from typing import Any

from os_brick_healer.engine import limits, verdict
from os_brick_healer.replica import asking, model
from os_brick_healer.replica import case as case_lib
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A, B, C = (model.ReplicaId(n) for n in 'abc')
Phase = verdict.Phase
State = model.RequestState
NOW_S = 1000.0


def a_request(**changes: Any) -> model.Request:
    return dataclasses.replace(
        model.Request(id='q', asked_s=NOW_S, tries=0, state=State.ASKED,
                      known=frozenset((A, B))), **changes)


class _Lost(base.TestCase):
    """b is lost, and has been out of reach for longer than its grace."""

    def case(self, *more: world.Leg, around: case_lib.Around | None = None,
             b: world.Leg | None = None, raid_disks: int = 2,
             others: dict[model.ReplicaId, model.ReplicaMemory] | None = None,
             **memory: Any) -> case_lib.Case:
        lost = model.ReplicaMemory(
            belongs=True, lost_s=900.0, unreachable_s=900.0)
        seen = world.seen(
            world.leg('a'),
            b or world.leg('b', None, path=None, answers=False), *more,
            raid_disks=raid_disks, now_s=NOW_S)
        return case_lib.Case(
            seen=seen, policy=world.POLICY,
            around=around or case_lib.Around(),
            memory=model.Memory(replicas={
                A: model.ReplicaMemory(belongs=True, in_sync_s=1.0),
                B: dataclasses.replace(lost, **memory), **(others or {})}))

    def said(self, case: case_lib.Case) -> model.Verdict:
        found = asking.request(case)
        assert found is not None
        return found

    def held(self, case: case_lib.Case) -> str:
        found = self.said(case)
        self.assertEqual((None, Phase.HELD), (found.action, found.phase))
        return found.sentence


class AskingTest(_Lost):
    def test_after_the_grace_another_is_asked_for(self) -> None:
        # What one answer leaves out is no news when it is named again.
        found = self.said(self.case(others={C: model.ReplicaMemory()}))
        self.assertEqual(model.RequestReplacement(
            volume=world.KEY, law='everything-is-bounded', replica=B,
            request_id=f'{world.KEY}:b:1000000', known=frozenset((A, B, C))),
            found.action)
        self.assertEqual('replica b has been lost for more than 60 s: request '
                         'a replacement', found.sentence)

    def test_before_that_it_may_come_back(self) -> None:
        found = self.said(self.case(unreachable_s=NOW_S - 59.0))
        self.assertEqual((None, Phase.DEGRADED, 1.0), (
            found.action, found.phase, found.look_again_s))
        self.assertIsNotNone(
            self.said(self.case(unreachable_s=NOW_S - 60.0)).action)

    def test_one_that_can_be_reached_is_not_replaced(self) -> None:
        self.assertIsNone(asking.request(self.case(unreachable_s=None)))

    def test_unless_it_cannot_be_brought_back(self) -> None:
        most = limits.READD_TRIES_MAX
        self.assertIsNone(asking.request(
            self.case(unreachable_s=None, tries=most - 1)))
        self.assertIsNotNone(self.said(
            self.case(unreachable_s=None, tries=most)).action)
        # Its grace runs from its loss then.
        self.assertEqual(10.0, self.said(self.case(
            unreachable_s=None, tries=most, lost_s=950.0)).look_again_s)

    def test_what_is_not_lost_is_not_asked_for(self) -> None:
        self.assertIsNone(asking.request(self.case(lost_s=None)))
        self.assertIsNone(asking.request(self.case(
            b=world.leg('b', 'spare'))))

    def test_beside_a_whole_array_nothing_is_asked_for(self) -> None:
        back = model.ReplicaMemory(belongs=True, in_sync_s=1.0,
                                   request=a_request(arrived=B))
        for flags, request, asks in (
                ('in_sync', None, False), ('spare', None, True),
                ('in_sync', a_request(state=State.ACCEPTED, asked_s=1.0),
                 False)):
            found = asking.request(self.case(
                world.leg('c', flags), others={C: back}, request=request))
            self.assertIs(asks, found is not None, flags)

    def test_a_new_replica_for_the_slot_is_enough(self) -> None:
        self.assertIsNone(asking.request(self.case(
            world.leg('c', None, path=None))))
        # One that is taken away again is none.
        gone = world.leg('c', None, path=None,
                         state=model.ReplicaState.TERMINATING)
        self.assertIsNotNone(self.said(self.case(gone)).action)

    def test_another_lost_leg_is_not_enough(self) -> None:
        lost = model.ReplicaMemory(belongs=True, lost_s=990.0)
        other = world.leg('c', None, path=None)
        self.assertIsNotNone(self.said(self.case(
            other, others={C: lost})).action)
        for changes in ({'belongs': False}, {'lost_s': None}):
            self.assertIsNone(asking.request(self.case(
                other, others={C: dataclasses.replace(lost, **changes)})))
        # A member is one, whatever is remembered of it.
        self.assertIsNone(asking.request(self.case(
            world.leg('c', 'spare'), others={C: lost})))
        # One that is to be replaced itself is not.
        self.assertIsNotNone(self.said(self.case(
            world.leg('c', 'spare'), others={C: model.ReplicaMemory(
                request=a_request(state=State.ACCEPTED))})).action)

    def test_one_that_is_taken_away_by_itself_needs_no_request(self) -> None:
        found = self.said(self.case(b=world.leg(
            'b', None, path=None, state=model.ReplicaState.TERMINATING)))
        self.assertEqual((None, Phase.HEALING), (found.action, found.phase))

    def test_it_is_probed_once_more_before_that(self) -> None:
        found = self.said(self.case(
            b=world.leg('b', None, path='connecting', answers=None)))
        self.assertEqual((None, 1.0), (found.action, found.look_again_s))
        # What cannot be probed is not waited for; nor what is live.
        for leg in (world.leg('b', None, path=None, answers=None,
                              transport='rdma'),
                    world.leg('b', None, answers=None, device=False)):
            self.assertIsNotNone(self.said(self.case(b=leg)).action)

    def test_a_target_without_its_namespace_is_told(self) -> None:
        for leg, told in (
                (world.leg('b', None, device=False), True),
                (world.leg('b', None), False),
                (world.leg('b', None, path='connecting', device=False),
                 False)):
            found = self.said(self.case(b=leg, unreachable_s=NOW_S - 1.0))
            self.assertIs(told, 'does not show its namespace' in
                          found.sentence, found.sentence)

    def test_without_a_source_nothing_is_asked_for(self) -> None:
        case = self.case()
        for changes in ({'path': 'connecting'}, {'silent_s': 1.0},
                        {'flags': 'spare'}):
            leg = world.leg('a', **changes)
            seen = world.seen(leg, world.leg('b', None, path=None,
                                             answers=False), now_s=NOW_S)
            self.assertIn('nothing to copy from', self.held(
                dataclasses.replace(case, seen=seen)))

    def test_against_its_own_words_nothing_is_asked_for(self) -> None:
        seen = world.seen(
            world.leg('a', state=model.ReplicaState.MISSING),
            world.leg('b', None, path=None, answers=False), now_s=NOW_S)
        self.assertIn('missing, too', self.held(
            dataclasses.replace(self.case(), seen=seen)))

    def test_a_host_in_doubt_asks_for_nothing(self) -> None:
        self.assertIn('but all is lost: nothing', self.held(self.case(
            around=case_lib.Around(brake='all is lost'))))

    def test_the_budget_of_an_hour_is_kept(self) -> None:
        self.assertIn('this hour', self.held(self.case(
            around=case_lib.Around(requests_left=0))))
        self.assertIsNotNone(self.said(self.case(
            around=case_lib.Around(requests_left=1))).action)

    def test_replicas_do_not_pile_up(self) -> None:
        def dead(count: int) -> case_lib.Case:
            names = 'cdef'[:count]
            return self.case(
                *(world.leg(n, None, path=None, answers=False)
                  for n in names),
                others={model.ReplicaId(n): model.ReplicaMemory(
                    belongs=True, lost_s=990.0) for n in names})

        self.assertIsNotNone(self.said(dead(1)).action)
        self.assertIn('already has 4 replicas', self.held(dead(2)))

    def test_the_one_that_is_under_way_comes_first(self) -> None:
        lost = model.ReplicaMemory(belongs=True, lost_s=990.0,
                                   request=a_request(state=State.ARRIVED))
        case = self.case(
            world.leg('c', None, path=None, answers=False),
            world.leg('d', 'spare'), raid_disks=3, others={
                C: lost, model.ReplicaId('d'): model.ReplicaMemory(
                    belongs=True)})
        self.assertIn('its turn comes', self.held(case))
        # One that is being taken away is not under way.
        for state, words in ((model.ReplicaState.SYNCHRONIZING, 'turn comes'),
                             (model.ReplicaState.TERMINATING, 'remove the')):
            case = self.case(
                world.leg('c', None, path=None, answers=False),
                world.leg('d', None, path=None, state=state),
                raid_disks=3, others={
                    C: dataclasses.replace(lost, request=None)})
            self.assertIn(words, self.held(case))


class AgainTest(_Lost):
    """b has been asked for before."""

    def test_what_has_arrived_is_not_asked_for_again(self) -> None:
        self.assertIsNone(asking.request(self.case(
            request=a_request(state=State.ARRIVED))))

    def test_what_is_accepted_is_waited_for_ever_longer(self) -> None:
        wait_s = world.POLICY.arrival_s
        for tries, factor in ((0, 1), (1, 2), (3, 8), (16, 65536),
                              (99, 65536)):
            old = a_request(state=State.ACCEPTED, tries=tries,
                            asked_s=NOW_S - wait_s * factor)
            found = self.said(self.case(request=old))
            if tries < limits.REQUEST_TRIES_MAX:
                assert isinstance(found.action, model.RequestReplacement)
                self.assertEqual(('q', frozenset((A, B))), (
                    found.action.request_id, found.action.known))
            old = dataclasses.replace(old, asked_s=old.asked_s + 1.0)
            found = self.said(self.case(request=old))
            self.assertEqual((None, Phase.HEALING, 1.0), (
                found.action, found.phase, found.look_again_s))
        # It is looked for often enough meanwhile.
        found = self.said(self.case(request=a_request(state=State.ACCEPTED)))
        self.assertEqual(world.POLICY.provisioner_interval_s / 5,
                         found.look_again_s)

    def test_a_repeat_is_bound_by_all_that_binds_a_request(self) -> None:
        """Its leg was back meanwhile, and has just been lost again."""
        old = a_request(state=State.ACCEPTED, asked_s=1.0)
        found = self.said(self.case(request=old, unreachable_s=NOW_S - 59.0))
        self.assertEqual((None, Phase.DEGRADED, 1.0), (
            found.action, found.phase, found.look_again_s))
        for changes in ({'unreachable_s': None},
                        {'b': world.leg('b', 'spare'), 'lost_s': None}):
            self.assertIsNone(asking.request(
                self.case(request=old, **changes)))
        self.assertIsNone(asking.request(self.case(
            world.leg('c', None, path=None), request=old)))

    def test_one_request_at_a_time_is_in_doubt(self) -> None:
        """Else a new replica could be taken for the other one's."""
        wait_s = 2 * world.POLICY.arrival_s
        for state, asked_s, asks in (
                (State.ASKED, NOW_S, False),
                (State.ASKED, NOW_S - wait_s + 1.0, False),
                (State.ASKED, NOW_S - wait_s, True),
                (State.ACCEPTED, NOW_S, True),
                (State.ARRIVED, NOW_S, True)):
            doubted = model.ReplicaMemory(
                belongs=True, lost_s=990.0,
                request=a_request(state=state, asked_s=asked_s))
            other = world.leg('c', None, path=None, answers=False)
            wanted = self.case(other, raid_disks=3, others={C: doubted})
            found = asking._request_one(wanted, wanted.legs[1])
            assert found is not None
            self.assertIs(asks, found.action is not None, found.sentence)
            self.assertIs(not asks, found.look_again_s == 1.0)
            self.assertIs(not asks, 'too; its replacement is requested once '
                          'it is known whether the request for replica c'
                          in found.sentence)
            # What was asked for already is repeated all the same.
            again = self.case(other, raid_disks=3, others={C: doubted},
                              request=a_request(asked_s=1.0))
            found = asking._request_one(again, again.legs[1])
            assert found is not None
            self.assertIsNotNone(found.action)

    def test_a_request_in_doubt_outlives_an_answer_without_its_leg(
            self) -> None:
        for one, asks in ((a_request(asked_s=NOW_S), False), (None, True)):
            doubted = model.ReplicaMemory(
                belongs=True, lost_s=990.0, unnamed_s=NOW_S, request=one)
            case = self.case(raid_disks=3, others={C: doubted})
            self.assertNotIn(C, {leg.id for leg in case.legs})
            found = asking._request_one(case, case.legs[1])
            assert found is not None
            self.assertIs(asks, found.action is not None, found.sentence)

    def test_what_may_have_been_taken_for_anothers_is_asked_for_anew(
            self) -> None:
        came = world.leg('c')
        long_s = 1e6
        for legs, changes, anew in (
                ((came,), {}, True),
                ((came,), {'state': State.ASKED}, False),
                # Its new replica may be slow: it is repeated first.
                ((came,), {'tries': 2}, False),
                ((came,), {'asked_s': NOW_S - 1.0}, None),
                ((came,), {'known': frozenset((A, B, C))}, False),
                ((), {}, False)):
            old = a_request(**{'tries': 3, 'asked_s': NOW_S - long_s,
                               'state': State.ACCEPTED, **changes})
            case = self.case(*legs, raid_disks=3, request=old,
                             others={C: model.ReplicaMemory(belongs=True)})
            action: Any = self.said(case).action
            first, second = (old.id, old.known), (
                f'{world.KEY}:b:1000000', frozenset((A, B, C)))
            self.assertEqual(
                None if anew is None else second if anew else first,
                action and (action.request_id, action.known))

    def test_a_repeat_that_is_put_off_is_waited_for(self) -> None:
        # Its leg fails whenever it is tried, and each time it is put off.
        wait_s = world.POLICY.arrival_s
        for tries, share, next_s, asks in (
                (2, 3, NOW_S + 1.0, False),
                (2, 5, NOW_S + 1.0, True),
                (2, 3, 0.0, True),
                # It has the time to be repeated once in any case.
                (2, 2, 0.0, True), (2, 1.9, 0.0, False),
                (limits.REQUEST_TRIES_MAX, 3, NOW_S + 1.0, True),
                (limits.REQUEST_TRIES_MAX, 2, NOW_S + 1.0, True),
                (limits.REQUEST_TRIES_MAX, 1.9, NOW_S + 1.0, False)):
            doubted = model.ReplicaMemory(
                belongs=True, lost_s=990.0, last_error='sick',
                next_try_s=next_s, request=a_request(
                    state=State.ASKED, tries=tries, failed=True,
                    asked_s=NOW_S - share * wait_s))
            other = world.leg('c', None, path=None, answers=False)
            wanted = self.case(other, raid_disks=3, others={C: doubted})
            found = asking._request_one(wanted, wanted.legs[1])
            assert found is not None
            self.assertIs(asks, found.action is not None, found.sentence)

    def test_what_is_held_is_not_asked_for_again_either(self) -> None:
        old = a_request(state=State.ACCEPTED, asked_s=0.0)
        self.assertIn('this hour', self.held(self.case(
            request=old, around=case_lib.Around(requests_left=0))))

    def test_of_an_unheard_request_the_replica_is_looked_for_first(
            self) -> None:
        wait_s = world.POLICY.arrival_s
        found = self.said(self.case(
            request=a_request(asked_s=NOW_S - wait_s + 1.0)))
        self.assertEqual((None, Phase.HEALING, 1.0), (
            found.action, found.phase, found.look_again_s))
        self.assertIsNotNone(self.said(self.case(
            request=a_request(asked_s=NOW_S - wait_s))).action)

    def test_after_a_clear_failure_its_back_off_counts(self) -> None:
        interval_s = world.POLICY.provisioner_interval_s
        for asked_s, next_s, asks in (
                (NOW_S - 2 * interval_s, 0.0, True),
                (NOW_S - 2 * interval_s + 1.0, 0.0, False),
                (NOW_S - 2 * interval_s, NOW_S + 1.0, False),
                (NOW_S - 2 * interval_s, NOW_S, True),
                # Put off by another's failures, but not for ever.
                (NOW_S - 2 * world.POLICY.arrival_s, NOW_S + 99.0, True)):
            found = self.said(self.case(
                last_error='no', next_try_s=next_s,
                request=a_request(asked_s=asked_s, tries=1, failed=True)))
            self.assertIs(asks, found.action is not None,
                          f'{asked_s} {next_s}')

    def test_another_failure_does_not_make_it_a_clear_one(self) -> None:
        wait_s = world.POLICY.arrival_s
        for ago_s, asks in ((wait_s - 1.0, False), (wait_s, True)):
            found = self.said(self.case(
                last_error='no', next_try_s=NOW_S - 1.0,
                request=a_request(asked_s=NOW_S - ago_s, tries=2)))
            self.assertIs(asks, found.action is not None, f'{ago_s}')

    def test_in_the_end_a_person_is_needed(self) -> None:
        most = limits.REQUEST_TRIES_MAX
        found = self.said(self.case(last_error='no room', request=a_request(
            asked_s=-1e9, tries=most)))
        self.assertEqual((None, Phase.HELD), (found.action, found.phase))
        self.assertIn(f'{most} requests for a replacement have failed: no '
                      'room', found.sentence)
        self.assertIsNotNone(self.said(self.case(request=a_request(
            asked_s=-1e9, tries=most - 1))).action)

    def test_of_several_that_wait_the_first_is_told(self) -> None:
        case = self.case(
            world.leg('c', None, path=None, answers=False), raid_disks=3,
            unreachable_s=NOW_S - 50.0, others={C: model.ReplicaMemory(
                belongs=True, lost_s=990.0, unreachable_s=NOW_S - 55.0)})
        self.assertEqual(5.0, self.said(case).look_again_s)
