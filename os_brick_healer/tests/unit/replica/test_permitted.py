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

"""The second look: each law, with what it says, and just where it ends."""

import dataclasses
from typing import Any

from os_brick_healer.engine import verdict
from os_brick_healer.replica import laws, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import test_learned as actions
from os_brick_healer.tests.unit.replica import world

A, B, C = (model.ReplicaId(n) for n in 'abc')
State = model.AttachState
TELLING = (actions.REPORT, actions.PUBLISH, actions.CLEAR)
ON_THE_ARRAY = (actions.CLEAR, actions.CUT, actions.BREAK, actions.DROP,
                actions.EXAMINE, actions.READD, actions.ADD, actions.CONFIRM)
WITH_TRUTH = (actions.CONNECT, actions.EXAMINE, actions.READD, actions.ADD,
              actions.REQUEST, actions.CONFIRM, actions.DISCONNECT)
WORD = "the provisioner's word is missing (law 6)"


def attached(state: State, *, alive: bool) -> model.Attachment:
    return model.Attachment(volume=world.KEY, alias='vol', state=state,
                            owner_alive=alive)


class PermittedTest(base.TestCase):

    def says(self, action: model.Action, *legs: world.Leg,
             **changes: Any) -> str | None:
        seen = world.seen(*(legs or (world.leg('a'), world.leg('b'))),
                          **changes)
        return laws.permits(action, seen)

    def on(self, action: Any, device: str = 'nvme-a') -> Any:
        return dataclasses.replace(action, device=device)

    def test_paused_is_paused_for_all(self) -> None:
        for action in (*TELLING, *ON_THE_ARRAY, *WITH_TRUTH):
            self.assertEqual('healing is paused (by me)',
                             self.says(action, paused='by me'))

    def test_law_5_another_host(self) -> None:
        for action in (*TELLING, *ON_THE_ARRAY, *WITH_TRUTH):
            self.assertEqual(
                'the volume is also on x, y (law 5)',
                self.says(action, peers_hold=frozenset('yx')))
        self.assertIsNone(self.says(actions.REPORT, peers_hold=None))

    def test_law_5_os_brick_at_work(self) -> None:
        for state, alive, held in (
                (State.DISCONNECTING, True, True),
                (State.DISCONNECTING, False, True),
                (State.CONNECTING, True, True),
                (State.CONNECTING, False, False),
                (State.EXTENDING, True, True),
                (State.EXTENDING, False, False),
                (State.ATTACHED, True, False),
                (State.ATTACHED, False, False)):
            self.assertEqual(
                f'os-brick is {state.value} the volume (law 5)'
                if held else None, self.says(
                    actions.REPORT, attachment=attached(state, alive=alive)))

    def test_law_4_the_array_is_the_one_that_was_meant(self) -> None:
        for action in (*TELLING, *ON_THE_ARRAY, *WITH_TRUTH):
            self.assertEqual('the array is no longer on this host (law 4)',
                             self.says(action, array=None))
        for action in ON_THE_ARRAY:
            other = dataclasses.replace(action, array_uuid='other')
            self.assertEqual('array other is no longer there (law 4)',
                             self.says(other))

    def test_law_6_without_the_truth(self) -> None:
        for action in WITH_TRUTH:
            for changes in ({'volume': None}, {'volume_age_s': None},
                            {'provisioner_error': 'it is off'}):
                self.assertEqual(WORD, self.says(action, **changes))
            self.assertEqual(
                'the provisioner contradicts itself (law 6)',
                self.says(action, volume=world.volume(
                    world.leg('a'), nonsense='odd')))
        for telling in TELLING:
            self.assertIsNone(self.says(telling, volume=None))

    def test_law_7_what_would_hurt_another(self) -> None:
        dead = world.leg('a', path='connecting', answers=False)
        for hurt, says in (({A: 'md5'},
                            'its controllers also lead to md5 (law 7)'),
                           ({B: 'md5'}, None)):
            self.assertEqual(says, self.says(
                actions.BREAK, dead, world.leg('b'), endangered=hurt))

    def test_law_1_one_that_is_live_again_is_kept(self) -> None:
        self.assertEqual('nvme-ctl-a0 is live again (law 1)',
                         self.says(actions.BREAK))
        self.assertIsNone(self.says(actions.CUT))

    def test_laws_1_and_7_the_last_leg(self) -> None:
        dead = world.leg('a', path='connecting', answers=False)
        last = 'no other in-sync leg is live now (laws 1 and 7)'
        for other, says in (
                (world.leg('b'), None), (world.leg('b', 'spare'), last),
                (world.leg('b', None), last),
                (world.leg('b', path=None), last),
                (world.leg('b', path='connecting'), last),
                (world.leg('c'), last)):
            for action in (actions.CUT, actions.BREAK):
                self.assertEqual(says, self.says(action, dead, other))
        # Itself is nobody's survivor; and one that counts is enough.
        own = dataclasses.replace(actions.CUT, survivors=(A,))
        self.assertEqual(last, self.says(own))
        several = dataclasses.replace(actions.CUT, survivors=(A, C, B))
        self.assertIsNone(self.says(several))

    def test_law_1_only_what_is_faulty_is_dropped(self) -> None:
        drop = self.on(actions.DROP)
        self.assertEqual('nvme-a is not faulty (law 1)', self.says(drop))
        self.assertIsNone(self.says(
            drop, world.leg('b'), world.leg('a', 'faulty')))
        self.assertEqual('nvme-a is no longer a member (law 4)',
                         self.says(drop, world.leg('b')))

    def test_law_2_only_what_is_named_now(self) -> None:
        for action in (actions.CONNECT, actions.REQUEST):
            self.assertEqual('replica a is no longer named (law 2)',
                             self.says(action, world.leg('b')))
        self.assertIsNone(self.says(
            actions.CONNECT, world.leg('b'), world.leg('a', None)))
        for adding in (actions.EXAMINE, actions.READD, actions.ADD):
            self.assertEqual('replica a is no longer named (law 2)',
                             self.says(self.on(adding), world.leg('b')))

    def test_law_3_what_is_taken_away_is_not_brought_in(self) -> None:
        gone = world.leg('a', None, state=model.ReplicaState.TERMINATING)
        for action in (actions.CONNECT, actions.REQUEST,
                       self.on(actions.EXAMINE), self.on(actions.ADD)):
            self.assertEqual('replica a is terminating (law 3)',
                             self.says(action, gone))
            kept = world.leg('a', None, state=model.ReplicaState.MISSING)
            self.assertIsNone(self.says(action, world.leg('b'), kept))

    def test_law_2_the_device_is_the_replica_and_free(self) -> None:
        out = world.leg('a', None)
        for action in (actions.EXAMINE, actions.READD, actions.ADD):
            self.assertIsNone(self.says(self.on(action), out))
            self.assertEqual(
                'nvme-x is not replica a now (law 2)',
                self.says(self.on(action, 'nvme-x'), out))
            self.assertEqual(
                'nvme-a is not replica a now (law 2)',
                self.says(self.on(action), world.leg(
                    'a', None, device=False)))
            self.assertEqual(
                'nvme-a is in use by dm-1, dm-2 (law 2)',
                self.says(self.on(action), world.leg(
                    'a', None, holders=('dm-1', 'dm-2'))))

    def test_law_2_it_is_large_enough(self) -> None:
        for action in (actions.READD, actions.ADD):
            for size, fits in ((63 * world.MIB, True),
                               (63 * world.MIB - 1, False)):
                self.assertEqual(
                    None if fits else 'nvme-a is smaller than the component '
                    'of md127 (law 2)', self.says(self.on(action), world.leg(
                        'a', None, size=size)))
        seen = world.seen(world.leg('a', None))
        unknown = dataclasses.replace(seen.namespaces[A], size_bytes=None)
        self.assertIsNone(laws.permits(
            self.on(actions.ADD),
            dataclasses.replace(seen, namespaces={A: unknown})))

    def test_law_4_a_controller_is_its_alone(self) -> None:
        out = world.leg('a', None)
        for changes, says in (
                ({}, None), ({'shared': {A: ()}}, None),
                ({'shared': {B: ('nvme7n1',)}}, None),
                ({'shared': {A: ('nvme7n1', 'nvme8n1')}},
                 'its controllers also lead to nvme7n1, nvme8n1 (law 4)'),
                ({'claimed': frozenset((B,))}, None),
                ({'claimed': frozenset((A,))},
                 'another volume has a replica behind its target (law 4)'),
                ({'paths': {}},
                 'what is connected of replica a is not its alone (law 4)'),
                ({'paths': {}, 'former': {A: None}}, None)):
            self.assertEqual(says, self.says(
                actions.DISCONNECT, out, **changes), f'{changes}')

    def test_law_1_what_is_in_use_is_not_let_go(self) -> None:
        for action in (actions.CONFIRM, actions.DISCONNECT):
            self.assertEqual('nvme-a is in use by md127 (law 1)',
                             self.says(action))
            self.assertEqual('nvme-a is in use by md127, dm-1 (law 1)',
                             self.says(action, world.leg(
                                 'a', holders=('dm-1',))))

    def test_law_3_only_after_the_successor(self) -> None:
        out = world.leg('a', None)
        away = world.leg('c', path='connecting')
        silent = world.leg('c', silent_s=1.0)
        for legs, successor, permitted in (
                ((out, world.leg('b'), world.leg('c')), None, True),
                ((out, world.leg('b'), world.leg('c', 'spare')), None, False),
                ((out, world.leg('b'), world.leg('c', 'spare')), C, False),
                ((out, world.leg('b'), world.leg('c', None)), B, False),
                ((out, world.leg('b')), None, False),
                # It is away, and MD has not noticed yet.
                ((out, world.leg('b'), away), None, False),
                ((out, world.leg('b'), away), C, False),
                ((out, world.leg('b'), away), B, False),
                ((out, world.leg('b'), silent), C, False)):
            action = dataclasses.replace(actions.CONFIRM, successor=successor)
            self.assertEqual(None if permitted else 'not every leg of md127 '
                             'is in sync and live (law 3)',
                             self.says(action, *legs), f'{legs} {successor}')

    def test_law_3_of_three_legs_two_whole_copies_are_enough(self) -> None:
        legs = (world.leg('a', None), world.leg('b'), world.leg('c'))
        confirm = dataclasses.replace(actions.CONFIRM, successor=C)
        self.assertIsNone(self.says(confirm, *legs, raid_disks=3))
        for successor in (None, A, model.ReplicaId('x')):
            confirm = dataclasses.replace(confirm, successor=successor)
            self.assertIsNotNone(self.says(confirm, *legs, raid_disks=3))

    def test_law_3_a_degraded_array_is_not_whole(self) -> None:
        seen = world.seen(world.leg('a', None), world.leg('b'),
                          world.leg('c'))
        assert seen.array is not None
        degraded = dataclasses.replace(seen.array, degraded=1)
        self.assertIsNotNone(laws.permits(
            actions.CONFIRM, dataclasses.replace(seen, array=degraded)))

    def test_a_member_again_is_not_replaced(self) -> None:
        again = 'replica a is a member again'
        for flags, says in ((None, None), ('faulty', None),
                            ('in_sync', again), ('spare', again)):
            self.assertEqual(says, self.says(
                actions.REQUEST, world.leg('a', flags), world.leg('b')))

    def test_every_risk_was_looked_at(self) -> None:
        every = {a.risk for a in (*TELLING, *ON_THE_ARRAY, *WITH_TRUTH)}
        self.assertEqual(set(verdict.Risk) - {verdict.Risk.NOTHING}, every)
