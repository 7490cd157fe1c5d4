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

"""What may still come of a request whose leg came back."""

import dataclasses
from typing import Any

from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import heal, model, recall, remember
from os_brick_healer.tests.unit.replica import test_recalled, world

A, B, C, D = (model.ReplicaId(n) for n in 'abcd')
NOW_S = test_recalled.NOW_S
One = model.ReplicaMemory
State = model.RequestState
a_request = test_recalled.a_request


class LateTest(test_recalled.RecallCase):
    """A request that is over while nothing has come of it."""

    def late(self, *legs: world.Leg, old: model.Request,
             **ones: One) -> model.Request | None:
        """What is remembered of a's after a look at these legs."""
        late = self.after(*legs, ones={A: One(late=(old,)), **{
            model.ReplicaId(k): v for k, v in ones.items()}}
            ).replicas[A].late
        self.assertLessEqual(len(late), 1)
        return late[0] if late else None

    def test_what_is_being_taken_away_answers_no_request(self) -> None:
        """c came for a, which was back; c was marked, and a is lost again."""
        arrived: dict[str, Any] = {'state': State.ARRIVED, 'arrived': C}
        going = model.ReplicaState.TERMINATING
        for c, kept in (
                (world.leg('c', None, state=going), False),
                (world.leg('c', None), True),
                (world.leg('c', state=going), True),
                (world.leg('c', 'spare', state=going), True)):
            request = self.request(
                world.leg('a', None), world.leg('b'), c, **arrived)
            self.assertIs(kept, request is not None, f'{c}')
        # Old words do not say so.
        self.assertIsNotNone(self.request(
            world.leg('a', None), world.leg('c', None, state=going),
            changes={'volume_age_s': 1e6}, **arrived))

    def test_what_it_may_still_yield_is_remembered(self) -> None:
        long_s = 2 * world.POLICY.arrival_s
        old = a_request(asked_s=NOW_S - long_s)
        for since_s, arrived, over in (
                (long_s, None, True), (long_s - 1.0, None, False),
                (long_s, B, False), (long_s, C, False)):
            request = dataclasses.replace(old, arrived=arrived)
            found = self.one(world.leg('a'), One(
                in_sync_s=NOW_S - since_s, request=request))
            self.assertEqual((old,) if over else (), found.late)

    def test_a_leg_that_has_anothers_slot_replaces_it_no_more(self) -> None:
        request = a_request(arrived=C, state=State.ARRIVED)
        a, c, out = world.leg('a'), world.leg('c'), world.leg('b', None)
        spare = world.leg('c', 'spare')
        for legs, belongs, over in (
                ((a, c), False, True),
                # b is still to be let go: that c is here says why.
                ((a, out, c), True, False), ((a, out, c), False, True),
                ((a, spare), False, False),
                ((world.leg('a', 'spare'), c), False, False),
                ((world.leg('a', None), c), False, False)):
            after = self.after(*legs, raid_disks=2, ones={
                A: One(in_sync_s=1.0, belongs=True, request=request),
                B: One(belongs=belongs), C: One(belongs=True)}).replicas[A]
            self.assertEqual((None if over else request, ()),
                             (after.request, after.late), f'{legs}')
        # A third slot is free: what is here may be all that is named now.
        half = self.after(a, c, raid_disks=3, ones={
            A: One(in_sync_s=1.0, belongs=True, request=request)})
        self.assertEqual(request, half.replicas[A].request)

    def handed_on(self, b: One, d: One, raid_disks: int = 2,
                  c: world.Leg | None = None) -> tuple[One, One]:
        """What is remembered of b and d, which are named no more.

        c came for a, which is back.
        """
        request = a_request(arrived=C, state=State.ARRIVED)
        legs = world.leg('a'), c or world.leg('c')
        # In whichever order they are named.
        after, turned = (self.after(*order, raid_disks=raid_disks, ones={
            A: One(in_sync_s=1.0, belongs=True, request=request),
            B: b, C: One(belongs=True), D: d}).replicas
            for order in (legs, legs[::-1]))
        self.assertEqual(after, turned)
        return after[B], after[D]

    def test_who_had_that_slot_is_replaced_by_it(self) -> None:
        came = a_request(arrived=C, state=State.ARRIVED)
        own, other = a_request(id='own'), a_request(
            id='other', arrived=model.ReplicaId('e'), state=State.ARRIVED)
        gone = One(belongs=True, unnamed_s=5.0)
        new = One(unnamed_s=9.0)
        for b, request, late in (
                (gone, came, ()),
                # What is still to come of its own request is waited for.
                (dataclasses.replace(gone, request=own), own, (came,)),
                (dataclasses.replace(gone, request=own, late=(own,) * 4),
                 own, (own, own, own, came)),
                (dataclasses.replace(gone, late=(own,)), came, (own,)),
                (dataclasses.replace(gone, request=other), other, ()),
                # It has one already; what came once and is gone is none.
                (dataclasses.replace(gone, late=(came,)), None, (came,)),
                (dataclasses.replace(gone, late=(other,)), came, (other,)),
                (One(unnamed_s=5.0), None, ())):
            self.assertEqual(
                (dataclasses.replace(b, request=request, late=late), new),
                self.handed_on(b, new), f'{b}')
        # A slot is free, or c has none: whose it is remains to be seen.
        self.assertEqual((gone, new), self.handed_on(gone, new, raid_disks=3))
        self.assertEqual((gone, new), self.handed_on(
            gone, new, c=world.leg('c', 'spare')))

    def test_who_went_last_had_that_slot(self) -> None:
        gone = One(belongs=True, unnamed_s=5.0)
        for d, last in ((4.0, 'b'), (5.0, 'd'), (6.0, 'd'), (None, 'd')):
            b, other = self.handed_on(
                gone, One(belongs=True, unnamed_s=d))
            self.assertEqual((last == 'b', last == 'd'), (
                b.request is not None, other.request is not None), f'{d}')

    def test_what_comes_late_for_who_was_displaced_displaces(self) -> None:
        """c had come for a, which was back, and has the slot of b; c is lost,
        and what b was asked for itself comes, late, and takes it.
        """
        a, out = world.leg('a'), world.leg('c', None, path=None)
        own = a_request(id='own', known=frozenset((A, B, C)))
        ones = {A: One(in_sync_s=1.0, belongs=True, request=a_request(
            arrived=C, state=State.ARRIVED)),
            B: One(belongs=True, unnamed_s=5.0, late=(own,))}
        goes = []
        for legs in ((a, world.leg('c')), (a, out, world.leg('d', 'spare')),
                     (a, out, world.leg('d'))):
            memory = self.after(*legs, ones=ones)
            ones = dict(memory.replicas)
            found = heal.retire(case_lib.Case(
                seen=world.seen(*legs, now_s=NOW_S), memory=memory,
                policy=world.POLICY, around=case_lib.Around()))
            goes.append(found and found.action and found.action.replica)
        self.assertEqual([None, None, C], goes)

    def test_the_newest_are_remembered(self) -> None:
        many = tuple(a_request(id=str(n), asked_s=800.0) for n in range(4))
        found = self.one(world.leg('a'), One(
            in_sync_s=1.0, request=a_request(asked_s=900.0), late=many))
        self.assertEqual((*many[1:], a_request(asked_s=900.0)), found.late)

    def test_it_is_remembered_for_an_hour(self) -> None:
        self.assertEqual(3600.0, recall.LATE_S)
        for ago_s, kept in ((3599.0, True), (3600.0, False)):
            old = a_request(asked_s=NOW_S - ago_s)
            self.assertIs(kept, self.late(
                world.leg('a'), world.leg('b'), old=old) == old)

    def test_what_has_come_is_remembered_while_it_is_named(self) -> None:
        old = a_request(asked_s=0.0, arrived=C)
        new = world.leg('c', None, path=None)
        both = world.leg('a'), world.leg('b')
        self.assertEqual(old, self.late(*both, new, old=old))
        self.assertIsNone(self.late(*both, old=old))
        self.assertEqual(old, self.late(*both, new, old=old,
                                        c=One(belongs=True)))
        # Old words may lack what newer ones name.
        stale = self.after(*both, ones={A: One(late=(old,))},
                           volume_age_s=1e6)
        self.assertEqual((old,), stale.replicas[A].late)

    def test_a_new_name_that_no_request_waits_for_has_come_of_it(
            self) -> None:
        legs = (world.leg('a'), world.leg('b'),
                world.leg('c', None, path=None))
        old = a_request()
        came = dataclasses.replace(old, state=State.ARRIVED, arrived=C)
        self.assertEqual(came, self.late(*legs, old=old))
        knew = a_request(known=frozenset((A, B, C)))
        self.assertEqual(knew, self.late(*legs, old=knew))
        waiting = One(request=a_request(), lost_s=1.0)
        self.assertEqual(old, self.late(*legs, old=old, b=waiting))
        self.assertEqual(old, self.late(*legs, old=old, c=One(belongs=True)))

    def test_it_is_welcome_when_the_leg_has_been_lost_again(self) -> None:
        legs = (world.leg('a', None, path=None), world.leg('b'),
                world.leg('c', None, path=None))
        came = a_request(state=State.ARRIVED, arrived=C)
        other = a_request(id='r')
        found = self.after(*legs, ones={A: One(
            late=(a_request(), other), lost_s=1.0)}).replicas[A]
        self.assertEqual((came, (other,)), (found.request, found.late))
        # Its new request knows the name that has come of the old one.
        asked = a_request(known=frozenset((A, B, C)))
        found = self.after(*legs, ones={A: One(
            late=(a_request(), other), lost_s=1.0,
            request=asked)}).replicas[A]
        self.assertEqual((asked, (came, other)),
                         (found.request, found.late))

    def test_each_new_name_has_come_of_one(self) -> None:
        legs = [world.leg('a'), world.leg('b')] + [
            world.leg(n, None, path=None) for n in 'cd']
        once, again = a_request(), a_request(id='r')
        for count, arrived in ((3, [C, None]), (4, [C, D])):
            for late in ({A: One(late=(once,)), B: One(late=(again,))},
                         {A: One(late=(once, again)), B: One()}):
                ones = self.after(*legs[:count], ones=late).replicas
                self.assertEqual(arrived, [
                    x.arrived for key in (A, B) for x in ones[key].late])
        # What came of one is not taken for what comes of a request.
        taken = self.after(*legs[:3], ones={
            A: One(late=(a_request(arrived=C),)),
            B: One(request=a_request(), lost_s=1.0)}).replicas[B].request
        assert taken is not None
        self.assertIsNone(taken.arrived)

    def test_a_reboot_begins_its_hour_anew(self) -> None:
        memory = model.Memory(replicas={A: One(late=(a_request(),))})
        late = remember.rebase(memory, 7.0).replicas[A].late
        self.assertEqual((a_request(asked_s=7.0),), late)
