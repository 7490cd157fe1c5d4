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

"""Each line of a volume's memory follows what is seen, and nothing else."""

import dataclasses
from typing import Any

from os_brick_healer.engine import limits
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model, recall, remember
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A, B, C, D = (model.ReplicaId(n) for n in 'abcd')
NOW_S = 1000.0
State = model.RequestState
One = model.ReplicaMemory


def a_request(**changes: Any) -> model.Request:
    return dataclasses.replace(
        model.Request(id='q', asked_s=NOW_S, tries=1, state=State.ASKED,
                      known=frozenset((A, B))), **changes)


class RecallCase(base.TestCase):

    def after(self, *legs: world.Leg, uuid: str | None = world.UUID,
              ones: dict[model.ReplicaId, One] | None = None,
              **changes: Any) -> model.Memory:
        case = case_lib.Case(
            seen=world.seen(*legs, now_s=NOW_S, **changes),
            memory=model.Memory(array_uuid=uuid, replicas=ones or {}),
            policy=world.POLICY, around=case_lib.Around())
        return recall.update(case)

    def one(self, leg: world.Leg, old: One | None = None,
            **changes: Any) -> One:
        """What is remembered of a after a look at this leg."""
        ones = {} if old is None else {A: old}
        return self.after(leg, world.leg('b'), ones=ones,
                          **changes).replicas[A]

    def request(self, leg: world.Leg, *others: world.Leg,
                ones: dict[model.ReplicaId, One] | None = None,
                in_sync_s: float | None = None, changes: Any = None,
                **request: Any) -> model.Request | None:
        old = One(belongs=True, request=a_request(**request),
                  in_sync_s=in_sync_s)
        return self.after(leg, *others, ones={A: old, **(ones or {})},
                          **(changes or {})).replicas[A].request


class RecalledTest(RecallCase):

    def test_without_words_nothing_is_learned(self) -> None:
        ones = {A: One(lost_s=1.0)}
        for changes in (
                {'volume': None},
                {'volume': world.volume(world.leg('a'), nonsense='odd')}):
            memory = self.after(world.leg('a'), ones=ones, **changes)
            self.assertEqual(ones, memory.replicas)

    def test_another_array_tells_nothing_about_ours(self) -> None:
        ones = {A: One(lost_s=1.0)}
        memory = self.after(world.leg('a'), uuid='another', ones=ones)
        self.assertEqual((ones, 'another'),
                         (memory.replicas, memory.array_uuid))

    def test_the_first_array_that_is_seen_is_ours_for_good(self) -> None:
        self.assertEqual(world.UUID,
                         self.after(world.leg('a'), uuid=None).array_uuid)
        memory = self.after(world.leg('a'), uuid='ours', array=None)
        self.assertEqual('ours', memory.array_uuid)
        memory = self.after(world.leg('a'), uuid=None, array=None)
        self.assertIsNone(memory.array_uuid)

    def test_without_the_array_only_the_name_is_remembered(self) -> None:
        old = One(lost_s=1.0, unnamed_s=2.0, tries=3, belongs=True)
        self.assertEqual(dataclasses.replace(old, unnamed_s=None),
                         self.one(world.leg('a'), old, array=None))

    def test_who_is_in_belongs_and_who_is_named_first_does(self) -> None:
        for leg, first, belongs in (
                (world.leg('a'), False, True),
                (world.leg('a', 'spare'), False, True),
                (world.leg('a', None), True, True),
                (world.leg('a', None), False, False),
                (world.leg('a', 'faulty'), False, False),
                (world.leg('a', None,
                           state=model.ReplicaState.SYNCHRONIZING), True,
                 False)):
            memory = self.after(leg, uuid=None if first else world.UUID)
            self.assertIs(belongs, memory.replicas[A].belongs, f'{leg}')
        self.assertTrue(self.one(world.leg('a', None),
                                 One(belongs=True)).belongs)

    def test_a_loss_begins_when_it_is_first_seen(self) -> None:
        for leg in (world.leg('a', None), world.leg('a', 'faulty')):
            self.assertEqual(NOW_S, self.one(leg).lost_s)
            self.assertEqual(7.0, self.one(leg, One(lost_s=7.0)).lost_s)
        for leg in (world.leg('a'), world.leg('a', 'spare')):
            self.assertIsNone(self.one(leg, One(lost_s=7.0)).lost_s)

    def refused(self, for_s: float) -> world.Leg:
        """The server answers, and has no such replica."""
        return world.leg('a', None, path='connecting', for_s=for_s,
                         answers=True)

    def test_out_of_reach_is_not_the_same_as_not_known(self) -> None:
        for leg, old_s, since_s in (
                (world.leg('a', None, path=None, answers=False), None, NOW_S),
                (world.leg('a', None, path=None, answers=False), 7.0, 7.0),
                (world.leg('a', None, path=None, answers=None), 7.0, 7.0),
                (world.leg('a', None, path=None, answers=None), None, None),
                (world.leg('a', None, path=None, answers=True), 7.0, None),
                (world.leg('a', None, path=None, answers=None,
                           transport='rdma'), None, NOW_S),
                (world.leg('a'), 7.0, None),
                (world.leg('a', silent_s=1.0), None, NOW_S),
                (self.refused(29.0), 7.0, None),
                (self.refused(30.0), 7.0, 7.0),
                (self.refused(30.0), None, NOW_S),
                (world.leg('a', None, device=False), None, NOW_S)):
            self.assertEqual(
                since_s, self.one(leg, One(unreachable_s=old_s)
                                  ).unreachable_s, f'{leg}')

    def test_being_in_sync_begins_when_it_is_first_seen(self) -> None:
        self.assertEqual(NOW_S, self.one(world.leg('a')).in_sync_s)
        old = One(in_sync_s=7.0)
        self.assertEqual(7.0, self.one(world.leg('a'), old).in_sync_s)
        self.assertIsNone(self.one(world.leg('a', 'spare'), old).in_sync_s)

    def test_only_the_loss_of_a_leg_that_was_in_sync_counts(self) -> None:
        lost, inside = world.leg('a', None), world.leg('a', 'spare')
        window_s = world.POLICY.flap_window_s
        old = One(belongs=True, in_sync_s=7.0,
                  losses_s=(NOW_S - window_s - 0.1, NOW_S - window_s))
        self.assertEqual((NOW_S - window_s, NOW_S),
                         self.one(lost, old).losses_s)
        for leg, changes in (
                (inside, {}), (lost, {'belongs': False}),
                (lost, {'lost_s': 5.0}), (lost, {'in_sync_s': None})):
            one = dataclasses.replace(old, **changes)
            self.assertEqual(old.losses_s, self.one(leg, one).losses_s)

    def test_what_was_carried_is_only_known_of_one_that_is_out(self) -> None:
        old = One(superblock=model.Superblock.OURS)
        self.assertIs(model.Superblock.OURS,
                      self.one(world.leg('a', None), old).superblock)
        for leg in (world.leg('a'), world.leg('a', 'spare'),
                    world.leg('a', None, device=False)):
            self.assertIsNone(self.one(leg, old).superblock)

    def test_a_refused_re_add_is_over_once_it_is_in_sync(self) -> None:
        old = One(readd_refused=True)
        self.assertFalse(self.one(world.leg('a'), old).readd_refused)
        for leg in (world.leg('a', 'spare'), world.leg('a', None)):
            self.assertTrue(self.one(leg, old).readd_refused)
        self.assertFalse(self.one(world.leg('a', None)).readd_refused)

    def test_errors_are_about_what_was_tried_last(self) -> None:
        old = One(tries=3, next_try_s=2000.0, last_error='no')
        kept, fresh = (3, 2000.0, 'no'), (0, 0.0, None)
        for leg, in_sync_s, expected in (
                (world.leg('a'), None, fresh), (world.leg('a'), 7.0, kept),
                (world.leg('a', None), 7.0, fresh),
                (world.leg('a', None), None, kept),
                (world.leg('a', 'faulty'), 7.0, fresh),
                (world.leg('a', 'spare'), None, kept),
                (world.leg('a', 'spare'), 7.0, kept)):
            one = self.one(leg, dataclasses.replace(old, in_sync_s=in_sync_s))
            self.assertEqual(
                expected, (one.tries, one.next_try_s, one.last_error),
                f'{leg} {in_sync_s}')

    def test_published_and_let_go_are_as_they_are_seen(self) -> None:
        self.assertTrue(self.one(world.leg('a')).published)
        self.assertFalse(self.one(world.leg('a', None)).published)
        self.assertTrue(self.one(world.leg('a', None),
                                 One(published=True)).published)
        gone = One(let_go=True)
        self.assertTrue(self.one(world.leg('a', None, path=None),
                                 gone).let_go)
        self.assertFalse(self.one(world.leg('a', None), gone).let_go)
        self.assertFalse(self.one(world.leg('a', None, path=None)).let_go)

    def test_its_names_are_kept_when_they_are_not_told(self) -> None:
        one = self.one(world.leg('a'))
        self.assertEqual(('nqn.test:a', 'uuid-a'),
                         (one.nqn, one.namespace_uuid))
        hidden = world.leg('a', None, published=False)
        one = self.one(hidden, One(nqn='nqn.x', namespace_uuid='u'))
        self.assertEqual(('nqn.x', 'u'), (one.nqn, one.namespace_uuid))


class UnnamedTest(RecallCase):

    def test_it_is_remembered_for_its_time(self) -> None:
        kept_s = limits.UNNAMED_KEPT_S
        for since_s, kept in ((None, NOW_S), (7.0, 7.0),
                              (NOW_S - kept_s + 0.1, NOW_S - kept_s + 0.1),
                              (NOW_S - kept_s, None)):
            after = self.after(world.leg('a'), ones={
                C: One(unnamed_s=since_s)}).replicas.get(C)
            self.assertEqual(kept, after and after.unnamed_s)

    def test_letting_it_go_is_not_put_off_by_what_failed_before(
            self) -> None:
        for since_s, next_s in ((None, 0.0), (NOW_S, NOW_S + 99.0)):
            after = self.after(world.leg('a'), ones={
                C: One(unnamed_s=since_s, next_try_s=NOW_S + 99.0)})
            self.assertEqual(next_s, after.replicas[C].next_try_s)

    def test_old_words_take_nobodys_name_away(self) -> None:
        ones = {C: One(), D: One(unnamed_s=-1e9)}
        after = self.after(world.leg('a'), ones=ones, volume_age_s=1e6)
        self.assertEqual((One(), One(unnamed_s=-1e9)),
                         (after.replicas[C], after.replicas[D]))

    def test_the_newest_are_kept(self) -> None:
        many = limits.UNNAMED_MAX
        ones = {model.ReplicaId(f'{n:03}'): One(unnamed_s=float(n))
                for n in range(many + 5)}
        after = self.after(world.leg('a'), ones=ones).replicas
        self.assertEqual({*list(ones)[5:], A}, set(after))
        same = {k: One(unnamed_s=1.0) for k in reversed(ones)}
        after = self.after(world.leg('a'), ones=same).replicas
        self.assertEqual({*list(ones)[:many], A}, set(after))


class RequestTest(RecallCase):

    def test_it_is_kept_while_its_leg_is_out(self) -> None:
        self.assertEqual(a_request(), self.request(world.leg('a', None)))
        self.assertEqual(a_request(), self.request(
            world.leg('a', 'spare'), in_sync_s=1.0))
        self.assertEqual(a_request(), self.request(world.leg('a')))

    def test_it_is_over_when_its_leg_is_back_for_good(self) -> None:
        long_s = 2 * world.POLICY.arrival_s
        for back_s, over in ((NOW_S - long_s, True),
                             (NOW_S - long_s + 0.1, False)):
            request = self.request(world.leg('a'), in_sync_s=back_s)
            self.assertIs(over, request is None)

    def test_what_arrived_is_kept_while_it_is_named(self) -> None:
        arrived: dict[str, Any] = {'state': State.ARRIVED, 'arrived': C}
        long_s = recall.ARRIVED_GONE_SHARE * world.POLICY.arrival_s
        for others, unnamed_s, kept in (
                ((world.leg('c', None),), None, True),
                # One answer that leaves it out does not say that it is gone.
                ((), None, True), ((), NOW_S - long_s, False),
                # Beside a whole array, too: it is no leg of it.
                ((world.leg('b'), world.leg('c', None)), None, True)):
            request = self.request(
                world.leg('a'), *others, in_sync_s=1.0,
                ones={C: One(unnamed_s=unnamed_s)}, **arrived)
            self.assertIs(kept, request is not None)

    def test_what_was_taken_away_again_may_be_asked_for_anew(self) -> None:
        long_s = recall.ARRIVED_GONE_SHARE * world.POLICY.arrival_s
        arrived: dict[str, Any] = {'state': State.ARRIVED, 'arrived': C}
        for ones, kept in (
                ({}, False), ({C: One()}, True),
                ({C: One(unnamed_s=NOW_S - long_s)}, False),
                ({C: One(unnamed_s=NOW_S - long_s + 0.1)}, True)):
            request = self.request(world.leg('a', None), ones=ones, **arrived)
            self.assertIs(kept, request is not None, f'{ones}')
        # Old words do not say so, nor do words that name it.
        self.assertIsNotNone(self.request(
            world.leg('a', None), changes={'volume_age_s': 1e6}, **arrived))
        self.assertIsNotNone(self.request(
            world.leg('a', None), world.leg('c', None), **arrived))
        self.assertEqual(4, recall.ARRIVED_GONE_SHARE)

    def test_what_came_in_its_place_counts_as_what_arrived(self) -> None:
        """c came for a, was lost, and d came for c."""
        arrived: dict[str, Any] = {'state': State.ARRIVED, 'arrived': C}
        heir = a_request(state=State.ARRIVED, arrived=D)
        long_s = recall.ARRIVED_GONE_SHARE * world.POLICY.arrival_s
        gone = One(request=heir, unnamed_s=NOW_S - long_s)
        out = (world.leg('a', None), world.leg('b'))
        back = (world.leg('a'), world.leg('b', None))
        for legs, ones, kept in (
                ((*out, world.leg('d')), {}, True),
                (out, {D: One(unnamed_s=NOW_S)}, True),
                (out, {D: One(unnamed_s=1.0)}, False), (out, {}, False),
                # Another is asked for in the place of c, which is named.
                ((*out, world.leg('c', None)), {}, True),
                # It is back, with the slot of b: that is to go first.
                ((*back, world.leg('d')), {B: One(belongs=True)}, True),
                ((*back, world.leg('d')), {}, False),
                ((*back, world.leg('d', None)), {}, True),
                (back, {D: One(unnamed_s=NOW_S)}, True),
                (back, {D: One(unnamed_s=1.0)}, False)):
            request = self.request(*legs, ones={C: gone, **ones},
                                   in_sync_s=1.0, **arrived)
            self.assertIs(kept, request is not None, f'{legs} {ones}')

    def test_a_new_name_answers_it(self) -> None:
        request = self.request(world.leg('a', None), world.leg('b'),
                               world.leg('c', None))
        self.assertEqual(
            a_request(state=State.ARRIVED, arrived=C), request)
        for others, changes, ones in (
                ((world.leg('b'),), {}, {}),        # it was known before
                ((world.leg('c', None),), {'volume_age_s': 1e6}, {}),
                ((world.leg('c', None),), {}, {C: One(belongs=True)}),
                ((world.leg('c', None),), {}, {B: One(
                    unnamed_s=NOW_S, request=a_request(
                        state=State.ARRIVED, arrived=C))})):
            request = self.request(world.leg('a', None), *others, ones=ones,
                                   changes=changes)
            self.assertEqual(a_request(), request, f'{others} {ones}')

    def answered(self, **both: model.Request) -> str | None:
        """Whose request one new name answers."""
        ones = {model.ReplicaId(k): One(belongs=True, request=r)
                for k, r in both.items()}
        after = self.after(world.leg('a', None), world.leg('b', None),
                           world.leg('c', None), ones=ones).replicas
        found = [k for k, one in after.items() if one.request is not None
                 and one.request.arrived == C]
        self.assertLessEqual(len(found), 1)
        return found[0] if found else None

    def test_one_that_was_heard_comes_before_one_that_may_not_be(
            self) -> None:
        heard = a_request(state=State.ACCEPTED, asked_s=500.0)
        self.assertEqual('b', self.answered(
            a=a_request(asked_s=1.0), b=heard))
        self.assertEqual('a', self.answered(a=heard, b=a_request()))

    def test_the_older_one_comes_first(self) -> None:
        self.assertEqual('b', self.answered(
            a=a_request(asked_s=2.0), b=a_request(asked_s=1.0)))
        self.assertEqual('a', self.answered(
            a=a_request(asked_s=1.0), b=a_request(asked_s=1.0)))

    def test_one_that_was_not_heard_comes_after_one_that_may_be(
            self) -> None:
        self.assertEqual('b', self.answered(
            a=a_request(asked_s=1.0, failed=True), b=a_request()))
        self.assertEqual('a', self.answered(
            a=a_request(asked_s=1.0, failed=True),
            b=a_request(failed=True)))
        heard = a_request(state=State.ACCEPTED)
        self.assertEqual('b', self.answered(
            a=a_request(asked_s=1.0), b=dataclasses.replace(
                heard, failed=True)))

    def test_nobody_waits_for_that_of_a_leg_that_is_named_no_more(
            self) -> None:
        heard = a_request(state=State.ACCEPTED, asked_s=500.0)
        self.assertEqual('a', self.answered(a=a_request(), d=heard))
        self.assertEqual('d', self.answered(d=heard))

    def test_nor_for_that_of_a_leg_that_is_back(self) -> None:
        heard = a_request(state=State.ACCEPTED, asked_s=500.0)
        for flags, whose in (('in_sync', A), ('spare', B)):
            after = self.after(
                world.leg('a', None), world.leg('b', flags),
                world.leg('c', None), ones={
                    A: One(belongs=True, request=a_request()),
                    B: One(belongs=True, request=heard)}).replicas
            self.assertEqual([whose], [
                k for k, one in after.items() if one.request is not None
                and one.request.arrived == C])

    def test_a_reboot_asks_anew_from_now_on(self) -> None:
        old = model.Memory(
            array_uuid='u', tries=3, next_try_s=9.0, replicas={A: One(
                unnamed_s=1.0, report_next_s=1.0, flow_tries=1,
                flow_next_s=1.0, cut_next_s=1.0, lost_s=1.0,
                unreachable_s=1.0, in_sync_s=1.0, losses_s=(1.0,), tries=1,
                next_try_s=1.0, superblock=model.Superblock.OURS,
                published=True, publish_next_s=1.0, let_go=True,
                belongs=True, nqn='nqn.a',
                readd_refused=True, request=a_request(asked_s=1.0)),
                B: One()})
        self.assertEqual(
            model.Memory(array_uuid='u', replicas={A: One(
                unnamed_s=NOW_S, lost_s=NOW_S, unreachable_s=NOW_S,
                belongs=True, nqn='nqn.a', readd_refused=True,
                request=a_request(asked_s=NOW_S)), B: One()}),
            remember.rebase(old, NOW_S))
