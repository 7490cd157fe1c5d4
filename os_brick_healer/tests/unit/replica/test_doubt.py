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

"""Who is doubted: a portal that may be silent, or this whole host."""

import dataclasses
import math
from typing import NamedTuple

from os_brick_healer.provisioner import base as prov
from os_brick_healer.replica import doubt, model, recall
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A, B = model.ReplicaId('a'), model.ReplicaId('b')
POLL_S = 0.2


class Result(NamedTuple):
    """What a probe came to."""

    answers: bool | None
    age_s: float | None
    silent_for_s: float | None = None


class PortalTest(base.TestCase):

    def asked(self, seen: model.Seen, memory: model.Memory | None = None,
              age_s: float | None = None) -> tuple[list[str], float]:
        wanted, again_s = doubt.portals(
            seen, memory or model.Memory(), POLL_S, lambda _portal: age_s)
        return [p.address for p in wanted], again_s

    def lost(self, since_s: float) -> model.Memory:
        return model.Memory(replicas={
            B: model.ReplicaMemory(lost_s=since_s)})

    def test_nobody_is_doubted_without_a_reason(self) -> None:
        whole = world.seen(world.leg('a'), world.leg('b'))
        self.assertEqual(([], math.inf), self.asked(whole))
        seen = world.seen(world.leg('a'), stuck_s=5.0)
        for none in (dataclasses.replace(seen, array=None),
                     dataclasses.replace(seen, volume=None)):
            self.assertEqual(([], math.inf),
                             self.asked(none, self.lost(1.0)))

    def test_all_members_are_doubted_while_anything_waits(self) -> None:
        both = [world.portal(n).address for n in 'ab']
        for seen in (
                world.seen(world.leg('a'), world.leg('b'), stuck_s=0.1),
                world.seen(world.leg('a', path='connecting'),
                           world.leg('b')),
                world.seen(world.leg('a'), world.leg('b', answers=False))):
            self.assertEqual((both, POLL_S), self.asked(seen))

    def test_nobody_is_asked_again_at_once(self) -> None:
        seen = world.seen(world.leg('a'), world.leg('b'), stuck_s=0.1)
        self.assertEqual(([], POLL_S),
                         self.asked(seen, age_s=POLL_S / 2 - 0.01))
        self.assertEqual(2, len(self.asked(seen, age_s=POLL_S / 2)[0]))

    def test_a_lost_leg_is_asked_the_less_often_the_longer_it_is_lost(
            self) -> None:
        seen = world.seen(world.leg('a'), world.leg('b', None, path=None))
        at = [world.portal('b').address]
        for lost_s, wait_s in ((999.0, doubt.PROBE_FIRST_S),
                               (980.0, 2.0), (0.0, doubt.PROBE_LAST_S)):
            self.assertEqual((at, wait_s), self.asked(seen, self.lost(lost_s)))
            self.assertEqual((at, wait_s), self.asked(
                seen, self.lost(lost_s), wait_s))
            self.assertEqual(([], wait_s), self.asked(
                seen, self.lost(lost_s), wait_s - 0.01))
        self.assertEqual(
            (1.0, 15.0, 5.0),
            (doubt.PROBE_FIRST_S, doubt.PROBE_LAST_S, doubt.START_S))

    def test_doubt_and_loss_are_both_looked_after(self) -> None:
        seen = world.seen(world.leg('a'), world.leg('b', None, path=None),
                          stuck_s=1.0)
        self.assertEqual(
            ([world.portal('a').address, world.portal('b').address], POLL_S),
            self.asked(seen, self.lost(0.0)))

    def test_only_fresh_answers_count(self) -> None:
        volume = world.volume(world.leg('a'), world.leg('b'),
                              world.leg('c'), world.leg('d'))
        told = {world.portal('a'): Result(True, 0.9),
                world.portal('b'): Result(False, 0.0),
                world.portal('c'): Result(True, 1.0),
                world.portal('d'): Result(None, None)}
        self.assertEqual(
            {world.portal('a'): True, world.portal('b'): False},
            doubt.answers(volume, told, 1.0))   # type: ignore[arg-type]
        self.assertEqual({}, doubt.answers(None, {}, 1.0))
        told = {world.portal('a'): Result(True, None)}
        self.assertEqual({}, doubt.answers(
            world.volume(world.leg('a')), told,     # type: ignore[arg-type]
            1.0))


class HostTest(base.TestCase):

    def test_the_others_are_all_that_are_named_but_us(self) -> None:
        volume = world.volume(world.leg('a'), hosts=frozenset(('x', 'us')))
        self.assertEqual(frozenset('x'), doubt.peers(volume, 'us'))
        self.assertIsNone(doubt.peers(None, 'us'))
        self.assertIsNone(doubt.peers(
            dataclasses.replace(volume, hosts=None), 'us'))

    def known(self, *names: str, lost: str = '', answers: bool = False,
              array: bool = True) -> tuple[model.Seen, model.Memory]:
        seen = world.seen(*(world.leg(
            n, answers=answers or n not in lost) for n in names))
        if not array:
            seen = dataclasses.replace(seen, array=None)
        return seen, model.Memory(replicas={
            model.ReplicaId(n): model.ReplicaMemory(
                unreachable_s=1.0 if n in lost else None)
            for n in names if n != 'z'})

    def test_many_lost_back_ends_are_this_hosts_own_fault(self) -> None:
        self.assertIn('3 of 4 back ends', doubt.brake((
            self.known('a', 'b', lost='ab'),
            self.known('c', 'z', lost='c')), 0.5) or '')
        self.assertIsNone(doubt.brake((
            self.known('a', 'b', lost='a'), self.known('c', 'z')), 0.5))

    def test_a_back_end_that_serves_another_volume_is_not_lost(self) -> None:
        self.assertIsNone(doubt.brake((
            self.known('a', 'b', 'c', lost='abc'), self.known('a')), 0.5))

    def test_a_volume_that_cannot_be_read_does_not_say_what_is_fine(
            self) -> None:
        lost, fine = self.known('a', 'b', 'c', lost='abc'), self.known('a')
        fine = (dataclasses.replace(fine[0], key=prov.VolumeId('unread')),
                fine[1])
        self.assertIsNone(doubt.brake((lost, fine), 0.5, {'another'}))
        self.assertIn('3 of 3 back ends', doubt.brake(
            (lost, fine), 0.5, {'unread'}) or '')
        # Another volume has found one silent, and is rid of it by now.
        fewer = self.known('x', 'y', 'z', lost='xy'), fine
        self.assertIsNone(doubt.brake(fewer, 0.5, {'unread'}))
        self.assertIn('3 of 4 back ends', doubt.brake(
            fewer, 0.5, {'unread'},
            silent=lambda portal: portal == world.portal('a')) or '')
        # What it had lost it says as ever.
        self.assertIn('3 of 3 back ends', doubt.brake(
            (lost,), 0.5, {lost[0].key}) or '')

    def test_what_was_not_seen_yet_is_as_it_is_remembered(self) -> None:
        lost = self.known('a', 'b', 'z', lost='a')
        named, memory = self.known('b', 'c', 'd', 'z', lost='bc')
        assert named.volume is not None
        memory = dataclasses.replace(memory, array_uuid='uuid')
        self.assertIsNone(doubt.brake((lost,), 0.5))
        # What serves another volume now is not lost, whatever was.
        self.assertIsNone(doubt.brake(
            (lost,), 0.3, unseen=((named.volume, memory),)))
        lost = self.known('a', 'z', lost='a')
        self.assertIn('3 of 5 back ends', doubt.brake(
            (lost,), 0.5, unseen=((named.volume, memory),)) or '')
        # Nor one that another volume has found silent.
        self.assertIn('4 of 5 back ends', doubt.brake(
            (lost,), 0.7, unseen=((named.volume, memory),),
            silent=lambda portal: portal == world.portal('d')) or '')
        # It was no array of this host, and hides no other that was.
        none = named.volume, dataclasses.replace(memory, array_uuid=None)
        self.assertIsNone(doubt.brake((lost,), 0.5, unseen=(none,)))
        self.assertIn('3 of 5 back ends', doubt.brake(
            (lost,), 0.5, unseen=(none, (named.volume, memory))) or '')

    def test_a_leg_that_is_not_connected_now_is_not_fine(self) -> None:
        """Its portal is still to be probed, after a while without a look."""
        for path, answers, brakes in (
                ('connecting', None, True), ('connecting', True, False),
                ('live', None, False), (None, None, False)):
            seen = world.seen(
                world.leg('a', answers=False, path=None),
                world.leg('b', answers=False, path=None),
                world.leg('c', path=path, answers=answers))
            memory = model.Memory(replicas={
                model.ReplicaId(n): model.ReplicaMemory(
                    unreachable_s=1.0 if n in 'ab' else None)
                for n in 'abc'})
            self.assertIs(brakes, doubt.brake(
                ((seen, memory),), 0.7) is not None, f'{path} {answers}')

    def test_a_server_that_answers_is_not_lost_with_its_replica(
            self) -> None:
        self.assertIsNone(doubt.brake((
            self.known('a', 'b', 'c', lost='abc', answers=True),), 0.5))
        self.assertIsNotNone(doubt.brake((
            self.known('a', 'b', 'c', lost='abc'),), 0.5))

    def test_what_has_no_array_tells_nothing(self) -> None:
        self.assertIsNone(doubt.brake((
            self.known('a', 'b', 'c', lost='abc', array=False),), 0.5))
        seen, memory = self.known('a', 'b', 'c', lost='abc')
        self.assertIsNone(doubt.brake(
            ((dataclasses.replace(seen, volume=None), memory),), 0.5))
        # The next one still does.
        self.assertIsNotNone(doubt.brake(
            ((dataclasses.replace(seen, volume=None), memory),
             (seen, memory)), 0.5))

    def test_requests_of_this_hour_use_up_the_budget(self) -> None:
        def asked(at_s: float) -> model.Memory:
            return model.Memory(replicas={A: model.ReplicaMemory(
                request=model.Request(
                    id='q', asked_s=at_s, tries=0, known=frozenset(),
                    state=model.RequestState.ASKED)),
                B: model.ReplicaMemory()})

        policy = dataclasses.replace(world.POLICY, requests_per_hour_max=3)
        self.assertEqual(1, doubt.requests_left(
            (asked(9000.0), asked(6401.0), asked(6400.0)), 10000.0, policy))

    def test_a_leg_can_be_spared_while_another_in_sync_answers(self) -> None:
        for other, spared in (
                (world.leg('b'), True),
                (world.leg('b', answers=None), False),
                (world.leg('b', answers=False), False),
                (world.leg('b', path='connecting'), False),
                (world.leg('b', path=None), False),
                (world.leg('b', 'spare'), False),
                (world.leg('b', None), False)):
            seen = world.seen(world.leg('a'), other)
            self.assertEqual(spared, doubt.spares(seen, 'nvme-a'),
                             f'{other}')

    def test_only_what_is_known_and_not_named_was_former(self) -> None:
        memory = model.Memory(replicas={
            A: model.ReplicaMemory(nqn='nqn.test:a'),
            B: model.ReplicaMemory(nqn='nqn.test:b', namespace_uuid='uuid-b'),
            model.ReplicaId('c'): model.ReplicaMemory()})
        self.assertEqual(
            (model.Replica(id=B, nqn='nqn.test:b', portals=(),
                           namespace_uuid='uuid-b',
                           state=model.ReplicaState.UNKNOWN),),
            recall.former(memory, world.volume(world.leg('a'))))
        self.assertEqual((), recall.former(memory, None))
