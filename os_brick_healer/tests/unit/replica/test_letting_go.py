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

"""What was replaced goes after its successor has come, and not before."""

import dataclasses
import math
from typing import Any

from os_brick_healer.engine import limits
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import heal, model
from os_brick_healer.tests.unit.replica import healing, world
from os_brick_healer.tests.unit.replica.healing import (
    a_request,
    B,
    C,
    D,
    NOW_S,
    One,
    Phase,
    Prov,
)


class RetireTest(healing.HealCase):

    def retire(self, *legs: world.Leg, raid_disks: int = 2,
               **ones: One) -> model.Action | None:
        found = heal.retire(self.case(
            *legs, raid_disks=raid_disks,
            ones={model.ReplicaId(k): v for k, v in ones.items()}))
        return None if found is None else found.action

    def test_what_was_replaced_goes_once_all_is_in_sync(self) -> None:
        out = world.leg('b', None, path=None)
        self.assertEqual(
            model.ConfirmRemoval(
                volume=world.KEY, replica=B, array='md127',
                law='remove-only-after-the-successor-is-in-sync',
                array_uuid=world.UUID, successor=C),
            self.retire(world.leg('a'), out, world.leg('c'),
                        b=One(request=a_request())))
        self.assertIsNone(self.retire(
            world.leg('a'), out, world.leg('c', 'spare'),
            b=One(request=a_request())))
        self.assertIsNone(self.retire(
            world.leg('a'), out, world.leg('c'),
            b=One(request=a_request(None))))

    def test_what_another_volume_may_need_stays_connected(self) -> None:
        legs = (world.leg('a'), world.leg('b', None), world.leg('c'))
        for changes, action in (
                ({}, model.DisconnectPaths),
                ({'shared': {B: ('nvme7n1',)}}, model.ConfirmRemoval),
                ({'claimed': frozenset((B,))}, model.ConfirmRemoval)):
            found = heal.retire(self.case(
                *legs, ones={B: One(request=a_request())}, **changes))
            assert found is not None
            self.assertIsInstance(found.action, action)

    def test_a_leg_that_is_away_counts_for_none(self) -> None:
        """MD has not noticed it yet, and calls it in sync."""
        out, asked = world.leg('b', None, path=None), One(request=a_request())
        for changes in ({'path': 'connecting'}, {'silent_s': 1.0}):
            away = world.leg('c', **changes)
            for legs, disks in (((world.leg('a'), out, away), 2),
                                ((away, out, world.leg('a')), 2),
                                ((world.leg('a'), out, away), 3)):
                self.assertIsNone(self.retire(
                    *legs, raid_disks=disks, b=asked))
            # Two that are here are enough.
            self.assertIsNotNone(self.retire(
                world.leg('a'), out, world.leg('c'),
                world.leg('d', **changes), raid_disks=3, b=asked))

    def test_what_the_provisioner_takes_away_goes(self) -> None:
        going = world.leg('b', None, path=None, state=Prov.TERMINATING)
        found = self.retire(world.leg('a'), going, world.leg('c'))
        assert isinstance(found, model.ConfirmRemoval)
        self.assertIsNone(found.successor)
        self.assertIsNone(self.retire(
            world.leg('a'), world.leg('b', state=Prov.TERMINATING)))

    def test_of_three_the_first_goes_before_all_is_in_sync(self) -> None:
        out = world.leg('b', None, path=None)
        asked = One(request=a_request())
        self.assertIsInstance(self.retire(
            world.leg('a'), out, world.leg('c'), raid_disks=3, b=asked),
            model.ConfirmRemoval)
        # Alone it is no second copy; and another's successor is not its.
        self.assertIsNone(self.retire(
            out, world.leg('c'), raid_disks=3, b=asked))
        self.assertIsNone(self.retire(
            world.leg('a'), out, world.leg('d'), raid_disks=3, b=asked))
        # One that came in its successor's place is its successor.
        found = self.retire(
            world.leg('a'), out, world.leg('c'), raid_disks=3,
            b=One(request=a_request(D)), d=asked)
        assert isinstance(found, model.ConfirmRemoval)
        self.assertEqual(C, found.successor)

    def test_what_is_being_taken_away_goes_without_its_successor(
            self) -> None:
        """c came for b, which was marked; then c was lost."""
        going = world.leg('b', None, path=None, state=Prov.TERMINATING)
        lost, asked = world.leg('c', None, path=None), One(request=a_request())
        for legs, goes in (((world.leg('a'), world.leg('d')), True),
                           ((world.leg('a'),), False)):
            for leg, b, so in ((going, asked, goes), (going, One(), False),
                               (world.leg('b', None, path=None), asked,
                                False)):
                found = heal.retire(self.case(
                    *legs, leg, lost, raid_disks=3, ones={B: b}))
                self.assertIs(so, found is not None, f'{legs} {b}')
                if found is not None:
                    self.assertEqual(
                        'replica b is no longer needed, it is being taken '
                        'away, and leg nvme-a is in sync: confirm its '
                        'removal', found.sentence)

    def test_what_came_too_late_goes(self) -> None:
        late = world.leg('c', None, path=None)
        both = (world.leg('a'), world.leg('b'))
        for b, c, goes in (
                (One(request=a_request()), One(), True),
                # It was a leg while that one was lost.
                (One(request=a_request()), One(belongs=True), True),
                (One(request=a_request(None)), One(), False),
                (One(late=(a_request(),)), One(), True),
                (One(late=(a_request(None),)), One(), False),
                (One(), One(), False),
                (One(request=a_request()),
                 One(superblock=model.Superblock.FOREIGN), False)):
            found = self.retire(*both, late, b=b, c=c)
            self.assertIs(goes, found is not None, f'{b} {c}')
        # Its leg is named no more; or is still out.
        self.assertIsNotNone(self.retire(
            world.leg('a'), world.leg('d'), late,
            b=One(request=a_request()), c=One()))
        self.assertIsNone(self.retire(
            world.leg('a'), world.leg('d'), late,
            b=One(request=a_request()), c=One(belongs=True)))
        self.assertIsNone(self.retire(
            world.leg('a'), world.leg('b', 'spare'), late,
            b=One(request=a_request()), c=One()))

    def test_what_came_for_what_had_come_too_late_goes(self) -> None:
        """d came for b and was lost, c came for d, and b is back."""
        late, first = world.leg('c', None, path=None), One(
            request=a_request(D))
        for c in (One(), One(belongs=True)):
            self.assertIsNotNone(self.retire(
                world.leg('a'), world.leg('b'), late, b=first,
                d=One(request=a_request()), c=c))
            self.assertIsNone(self.retire(
                world.leg('a'), world.leg('b', 'spare'), late, b=first,
                d=One(request=a_request()), c=c))
            self.assertIsNone(self.retire(
                world.leg('a'), world.leg('b'), late, b=first,
                d=One(request=a_request(None)), c=c))

    def test_what_was_displaced_goes(self) -> None:
        """a came back after c had taken its place; b has lost its slot."""
        legs = (world.leg('a'), world.leg('b', None, path=None),
                world.leg('c'))
        asked, lost = One(request=a_request()), One(belongs=True, lost_s=1.0)
        for a in (asked, One(late=(a_request(),))):
            self.assertIsInstance(self.retire(*legs, a=a, b=lost),
                                  model.ConfirmRemoval)
        for a, b in ((One(), lost), (asked, One(lost_s=1.0)),
                     (asked, One(belongs=True)),
                     (One(request=a_request(D)), lost)):
            self.assertIsNone(self.retire(*legs, a=a, b=b))
        # What had come for a was lost, and replaced by c.
        self.assertIsInstance(self.retire(
            *legs, a=One(request=a_request(D)), b=lost,
            d=One(request=a_request())), model.ConfirmRemoval)
        self.assertIsNone(self.retire(*legs, raid_disks=3, a=asked, b=lost))

    def test_what_came_twice_for_one_leg_displaces_another(self) -> None:
        """d is named no more; b came for it, and c, late: all were legs."""
        a, b, c = (world.leg(n) for n in 'abc')
        out = {n: world.leg(n, None, path=None) for n in 'abc'}
        lost = One(belongs=True, lost_s=1.0)
        d = One(request=a_request(B), late=(a_request(None), a_request()))
        for legs, name in (((a, out['b'], c), 'b'), ((a, b, out['c']), 'c'),
                           ((out['a'], b, c), 'a')):
            found = self.retire(*legs, raid_disks=2, d=d,
                                **{name: lost})
            assert isinstance(found, model.ConfirmRemoval)
            self.assertEqual((name, None), (found.replica, found.successor))
            # c came for what had come for d, when that was back.
            self.assertIsNotNone(self.retire(
                *legs, raid_disks=2, **{
                    'd': One(request=a_request(B)), name: lost,
                    'b': dataclasses.replace(
                        lost if name == 'b' else One(),
                        late=(a_request(),))}))
            # One came for it; one is not named, either; or a slot is free.
            for one, disks in ((One(request=a_request(B)), 2),
                               (One(request=a_request(B), late=(
                                   a_request(model.ReplicaId('e')),)), 2),
                               (d, 3)):
                self.assertIsNone(self.retire(
                    *legs, raid_disks=disks, d=one, **{name: lost}))
        # c came for b while b was back, and had a's slot as b was lost.
        self.assertIsNotNone(self.retire(
            a, out['b'], c, b=dataclasses.replace(
                lost, late=(a_request(),))))
        # It has never been a leg; or one that counts is away.
        self.assertIsNone(self.retire(
            out['a'], b, c, d=d, a=One(lost_s=1.0)))
        self.assertIsNone(self.retire(
            out['a'], b, world.leg('c', silent_s=1.0), d=d, a=lost))

    def test_a_family_is_all_that_came(self) -> None:
        for one, c, family in (
                (One(), One(), 'b'), (One(request=a_request()), One(), 'bc'),
                (One(request=a_request(None)), One(), 'b'),
                (One(request=a_request(), late=(a_request(D),)),
                 One(request=a_request(B)), 'bcd'),
                (One(late=(a_request(),)), One(late=(a_request(D),)),
                 'bcd')):
            self.assertEqual(frozenset(family), self.case(
                ones={B: one, C: c}).family(B))


class WithdrawnTest(healing.HealCase):

    def of(self, one: One | None, **changes: Any) -> case_lib.Case:
        paths = world.seen(world.leg('c')).paths[C]
        former = {C: model.Former(paths=paths, device=None)}
        return self.case(former=former, ones={} if one is None else {C: one},
                         **changes)

    def test_it_is_disconnected_in_its_time(self) -> None:
        wait_s = limits.WITHDRAWN_S
        for one, left_s in (
                (One(unnamed_s=NOW_S - wait_s), 0.0),
                (One(unnamed_s=NOW_S - wait_s + 1.0), 1.0),
                (One(unnamed_s=1.0), 0.0),
                (One(unnamed_s=1.0, next_try_s=NOW_S + 2.0), 2.0),
                (One(), wait_s), (None, math.inf)):
            case = self.of(one)
            self.assertEqual(left_s, heal.withdrawn_in_s(case))
            found = heal.withdrawn(case)
            self.assertIs(left_s == 0.0, found is not None, f'{one}')
        self.assertEqual(math.inf, heal.withdrawn_in_s(self.case()))

    def test_what_is_done_and_said(self) -> None:
        case = self.of(One(unnamed_s=NOW_S - 90.0))
        found = heal.withdrawn(case)
        assert found is not None
        self.assertEqual((Phase.HEALTHY, model.DisconnectPaths(
            volume=world.KEY, law='add-only-what-is-named-now', replica=C,
            paths=case.seen.former[C].paths)), (found.phase, found.action))
        self.assertIn('replica c for 90 s', found.sentence)
        found = heal.withdrawn(dataclasses.replace(
            case, seen=dataclasses.replace(
                case.seen, array=self.case(world.leg('a')).seen.array)))
        assert found is not None
        self.assertEqual(Phase.DEGRADED, found.phase)

    def test_one_that_waits_keeps_no_other(self) -> None:
        case = self.of(One(unnamed_s=NOW_S))
        d = model.ReplicaId('d')
        both = dataclasses.replace(
            case, memory=model.Memory(replicas={
                C: One(unnamed_s=NOW_S), d: One(unnamed_s=1.0)}),
            seen=dataclasses.replace(case.seen, former={
                **case.seen.former, d: case.seen.former[C]}))
        found = heal.withdrawn(both)
        assert found is not None
        assert isinstance(found.action, model.DisconnectPaths)
        self.assertEqual(d, found.action.replica)
