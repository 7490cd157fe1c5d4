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
"""Memory follows what is seen, and forgets only what it may."""

import dataclasses
from typing import Any

from os_brick_healer.engine import limits, verdict
from os_brick_healer.provisioner import base as prov
from os_brick_healer.replica import learn, model, recall, remember
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A, B = prov.ReplicaId('a'), prov.ReplicaId('b')
FAILED = verdict.Outcome(changed=False, error='no')


def one(at: model.Seen, memory: model.Memory | None = None,
        name: prov.ReplicaId = A) -> model.ReplicaMemory:
    """What is remembered of a replica after a look."""
    return world.decide(at, memory).memory.replicas[name]


def lost() -> model.Seen:
    return world.seen(world.leg('a', None, path=None, device=False,
                                answers=False), world.leg('b'))


class RecallTest(base.TestCase):
    def test_who_is_named_when_the_array_is_first_seen_belongs(self) -> None:
        before = dataclasses.replace(lost(), array=None)
        memory = world.decide(before).memory
        self.assertFalse(memory.replicas[A].belongs)
        self.assertTrue(one(lost(), memory).belongs)

    def test_who_is_named_later_is_new(self) -> None:
        memory = world.decide(world.seen(world.leg('b'))).memory
        self.assertFalse(one(lost(), memory).belongs)

    def test_of_a_volume_that_is_not_seen_who_is_named_is_kept(self) -> None:
        at = world.seen(world.leg('a'), world.leg('c', None))
        known = model.Memory(array_uuid=world.UUID, replicas={
            A: model.ReplicaMemory(lost_s=5.0, unnamed_s=7.0, nqn='nqn.old'),
            B: model.ReplicaMemory(lost_s=6.0, unnamed_s=8.0)})
        memory = recall.unread(known, at.volume)
        self.assertEqual(world.UUID, memory.array_uuid)
        self.assertEqual(known.replicas[B], memory.replicas[B])
        self.assertEqual(
            {A: (5.0, None, 'nqn.test:a', 'uuid-a'),
             prov.ReplicaId('c'): (None, None, 'nqn.test:c', 'uuid-c')},
            {key: (one.lost_s, one.unnamed_s, one.nqn, one.namespace_uuid)
             for key, one in memory.replicas.items() if key != B})

    def test_what_is_not_said_clearly_is_not_kept(self) -> None:
        volume = world.volume(world.leg('a'), nonsense='two of one name')
        for said in (None, volume):
            self.assertEqual(model.Memory(),
                             recall.unread(model.Memory(), said))

    def test_who_is_named_while_it_is_not_seen_is_bounded(self) -> None:
        memory = model.Memory()
        for number in range(limits.UNNAMED_MAX + 9):
            memory = recall.unread(
                memory, world.volume(world.leg(f'r{number}')))
        self.assertEqual(limits.UNNAMED_MAX, len(memory.replicas))

    def test_a_member_that_is_kept_out_of_reach_has_a_pause(self) -> None:
        at = world.seen(world.leg('a', path='connecting'), world.leg('b'))
        found = world.decide(at)
        assert found.action is not None
        after = learn.learn(found.memory, found.action, FAILED, at.now_s,
                            world.POLICY)
        self.assertIsNone(world.decide(at, after).action)
        later = dataclasses.replace(at, now_s=at.now_s + 1.0)
        self.assertEqual(found.action, world.decide(later, after).action)

    def test_a_flag_that_cannot_be_cleared_keeps_no_leg_from_being_given_up(
            self) -> None:
        flagged = world.seen(world.leg('a', 'in_sync,failfast'),
                             world.leg('b'))
        found = world.decide(flagged)
        assert isinstance(found.action, model.ClearFailfast)
        after = learn.learn(found.memory, found.action, FAILED,
                            flagged.now_s, world.POLICY)
        self.assertIsNone(world.decide(flagged, after).action)
        dying = world.seen(world.leg('a', 'in_sync,failfast',
                                     path='connecting'), world.leg('b'))
        self.assertIsInstance(world.decide(dying, after).action,
                              model.BreakLeg)

    def test_a_dead_member_that_nobody_knows_is_dropped_with_pauses(
            self) -> None:
        dead = model.Member(device='nvme9n9', slot=1,
                            flags=frozenset(('faulty',)))
        at = world.seen(world.leg('b'), extra=(dead,))
        found = world.decide(at)
        assert isinstance(found.action, model.DropFaulty)
        after = learn.learn(found.memory, found.action, FAILED, at.now_s,
                            world.POLICY)
        self.assertIsNone(world.decide(at, after).action)
        fine = learn.learn(after, found.action,
                           verdict.Outcome(changed=True), at.now_s,
                           world.POLICY)
        self.assertEqual((0, 0.0), (fine.tries, fine.next_try_s))

    def test_what_is_not_named_is_remembered_for_an_hour(self) -> None:
        memory = world.remembers(lost(), a={'last_error': 'kept'})
        none = dataclasses.replace(lost(), volume=world.volume())
        for after_s, known in ((0, True), (3599, True), (3601, False)):
            memory = world.decide(dataclasses.replace(
                none, now_s=1000.0 + after_s), memory).memory
            self.assertEqual(known, A in memory.replicas)

    def test_replicas_that_are_not_named_are_bounded(self) -> None:
        memory = model.Memory(array_uuid=world.UUID, replicas={
            prov.ReplicaId(f'r{n}'): model.ReplicaMemory()
            for n in range(999)})
        after = world.decide(lost(), memory).memory
        self.assertLessEqual(len(after.replicas), limits.UNNAMED_MAX + 2)

    def test_an_unknown_probe_is_not_a_silent_portal(self) -> None:
        at = world.seen(world.leg('a', None, path=None, device=False,
                                  answers=None), world.leg('b'))
        self.assertIsNone(one(at).unreachable_s)
        self.assertEqual(1000.0, one(lost()).unreachable_s)
        known = world.decide(lost()).memory
        later = dataclasses.replace(at, now_s=2000.0)
        self.assertEqual(1000.0, one(later, known).unreachable_s)
        back = dataclasses.replace(later, answers={
            world.portal('a'): True, world.portal('b'): True})
        self.assertIsNone(one(back, known).unreachable_s)

    def test_what_a_former_member_carried_is_looked_at_again(self) -> None:
        outside = world.seen(world.leg('a', None), world.leg('b'))
        memory = world.remembers(outside, a={
            'superblock': model.Superblock.BLANK})
        inside = world.seen(world.leg('a'), world.leg('b'))
        memory = world.decide(inside, memory).memory
        self.assertIsNone(one(outside, memory).superblock)

    def test_after_a_reboot_no_old_time_means_anything(self) -> None:
        memory = world.remembers(lost(), a={
            'lost_s': 9e9, 'unreachable_s': 9e9, 'unnamed_s': 9e9,
            'next_try_s': 9e9, 'flow_next_s': 9e9, 'report_next_s': 9e9,
            'losses_s': (9e9,), 'in_sync_s': 9e9,
            'request': model.Request(
                id='r', asked_s=9e9, tries=1, known=frozenset(),
                state=model.RequestState.ACCEPTED)})
        after = remember.rebase(memory, 5.0)
        text = str(remember.dump(after))
        self.assertNotIn('9000000000', text)
        request = after.replicas[A].request
        assert request is not None
        self.assertEqual('r', request.id)

    def test_each_new_name_answers_one_request(self) -> None:
        asked = model.Request(
            id='r', asked_s=1.0, tries=1, state=model.RequestState.ACCEPTED,
            known=frozenset((A, B)))
        legs = [world.leg(n, None, path=None, device=False, answers=False)
                for n in ('a', 'b', 'n')]
        at = world.seen(*legs, world.leg('c'), raid_disks=3)
        memory = world.remembers(at, n={'belongs': False}, a={
            'request': asked}, b={
            'request': dataclasses.replace(asked, asked_s=2.0, id='s',
                                           known=frozenset(
                                               (A, B, prov.ReplicaId('c'))))})
        after = world.decide(at, memory).memory
        arrived = [after.replicas[r].request for r in (A, B)]
        names = [r.arrived for r in arrived if r is not None]
        self.assertEqual(2, len(names))
        self.assertEqual(1 + (names[1] is not None), len(set(names) - {None}))

    def test_a_replica_that_was_a_leg_before_answers_no_request(
            self) -> None:
        asked = model.Request(
            id='r', asked_s=1.0, tries=1, state=model.RequestState.ACCEPTED,
            known=frozenset((A,)))
        at = world.seen(world.leg('a', None, path=None, device=False,
                                  answers=False), world.leg('b'))
        for belongs, arrived in ((True, None), (False, B)):
            memory = world.remembers(at, a={'request': asked},
                                     b={'belongs': belongs,
                                        'in_sync_s': None})
            request = world.decide(at, memory).memory.replicas[A].request
            assert request is not None
            self.assertEqual(arrived, request.arrived)

    def test_a_newer_versions_memory_is_read_and_rubbish_is_not(self) -> None:
        value = remember.dump(world.decide(lost()).memory)
        value['replicas']['a']['of_a_later_version'] = 1
        self.assertEqual(world.decide(lost()).memory, remember.load(value))
        cases: tuple[dict[str, Any], ...] = (
            {}, {'replicas': 3}, {'replicas': {'a': 7}},
            {'replicas': {'a': {'reported': 'so-so'}}})
        for rubbish in cases:
            self.assertRaises(ValueError, remember.load, rubbish)
