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

"""The guest's I/O goes on, and what a leg is at any moment."""

import dataclasses
from typing import Any

from os_brick_healer.engine import verdict
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import flow, heal, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A, B = model.ReplicaId('a'), model.ReplicaId('b')
Phase = verdict.Phase


def case_of(*legs: world.Leg, memory: model.Memory | None = None,
            **changes: Any) -> case_lib.Case:
    return case_lib.Case(
        seen=world.seen(*legs, **changes), memory=memory or model.Memory(),
        policy=world.POLICY, around=case_lib.Around())


def remembering(**one: Any) -> model.Memory:
    """What is remembered of a."""
    return model.Memory(replicas={A: model.ReplicaMemory(**one)})


class _Flow(base.TestCase):

    def said(self, *legs: world.Leg, **more: Any) -> model.Verdict | None:
        return flow.keep_flowing(case_of(*legs, **more))


class GivingUpTest(_Flow):

    def dead(self, for_s: float = 9.0, **more: Any) -> world.Leg:
        return world.leg('a', path='connecting', for_s=for_s, answers=False,
                         **more)

    def test_without_an_array_nothing_flows(self) -> None:
        self.assertIsNone(self.said(self.dead(), world.leg('b'), array=None))

    def test_a_dead_leg_is_given_up_for_one_that_is_live(self) -> None:
        found = self.said(self.dead(), world.leg('b'))
        assert found is not None
        self.assertEqual(model.BreakLeg(
            volume=world.KEY, law='prefer-a-queue-to-an-error', replica=A,
            device='nvme-a', survivors=(B,), array='md127',
            paths=case_of(self.dead()).seen.paths[A],
            array_uuid=world.UUID), found.action)
        self.assertEqual((Phase.HEALING, world.POLICY.poll_s), (
            found.phase, found.look_again_s))

    def test_it_has_its_time_to_come_back(self) -> None:
        for stuck_s, wait_s in ((1.0, world.POLICY.break_after_s),
                                (0.0, world.POLICY.idle_break_after_s)):
            found = self.said(self.dead(wait_s), world.leg('b'),
                              stuck_s=stuck_s)
            assert found is not None
            self.assertIsInstance(found.action, model.BreakLeg)
            found = self.said(self.dead(wait_s - 0.25), world.leg('b'),
                              stuck_s=stuck_s)
            assert found is not None
            self.assertEqual((None, Phase.DEGRADED, 0.25), (
                found.action, found.phase, found.look_again_s))

    def test_what_was_cut_for_its_silence_has_none(self) -> None:
        # The tear-down may last twice the keep-alive, and some.
        for cut_s, answers, breaks in (
                (994.01, False, True), (994.0, False, False),
                (999.0, True, False), (0.0, False, False),
                (999.0, None, True)):
            leg = world.leg('a', path='connecting', for_s=0.1,
                            answers=answers)
            found = self.said(leg, world.leg('b'), stuck_s=1.0,
                              memory=remembering(cut_next_s=cut_s))
            assert found is not None
            self.assertIs(breaks, found.action is not None, f'{cut_s}')

    def test_a_tear_down_under_way_is_not_disturbed(self) -> None:
        for state in ('deleting', 'resetting', 'new', 'unknown'):
            self.assertIsNone(self.said(
                world.leg('a', path=state, answers=False), world.leg('b')))
        found = self.said(world.leg('a', path='dead', answers=False),
                          world.leg('b'))
        assert found is not None
        self.assertIsInstance(found.action, model.BreakLeg)

    def test_what_would_hurt_another_is_kept(self) -> None:
        found = self.said(self.dead(), world.leg('b'),
                          endangered={A: 'md5'})
        assert found is not None
        self.assertEqual((None, Phase.STALLED, world.POLICY.poll_s), (
            found.action, found.phase, found.look_again_s))
        self.assertIn('also leads to md5', found.sentence)
        found = self.said(self.dead(), world.leg('b'),
                          endangered={B: 'md5'})
        assert found is not None
        self.assertIsNotNone(found.action)

    def test_it_is_not_tried_again_at_once(self) -> None:
        for next_s, tried in ((1000.0, True), (1000.1, False)):
            found = self.said(self.dead(), world.leg('b'),
                              memory=remembering(flow_next_s=next_s))
            self.assertIs(tried, found is not None)

    def test_a_faulty_member_flows_no_more(self) -> None:
        self.assertIsNone(self.said(
            self.dead(flags='faulty'), world.leg('b')))

    def test_of_two_the_one_that_can_be_given_up_is(self) -> None:
        waits = world.leg('c', path='connecting', for_s=0.1, answers=False)
        found = self.said(waits, self.dead(), world.leg('b'), raid_disks=3)
        assert found is not None
        assert isinstance(found.action, model.BreakLeg)
        self.assertEqual(A, found.action.replica)
        # None can be: the sooner is told.
        sooner = world.leg('d', path='connecting', for_s=4.0, answers=False)
        found = self.said(waits, sooner, world.leg('b'), raid_disks=3)
        assert found is not None
        self.assertEqual((None, 1.0), (found.action, found.look_again_s))


class CuttingTest(_Flow):

    def silent(self, for_s: float = 3.0, **more: Any) -> world.Leg:
        return world.leg('a', answers=False, silent_s=for_s, **more)

    def test_what_is_silent_is_cut(self) -> None:
        found = self.said(self.silent(), world.leg('b'))
        assert found is not None
        self.assertEqual(model.CutSilent(
            volume=world.KEY, law='prefer-a-queue-to-an-error', replica=A,
            paths=case_of(self.silent()).seen.paths[A], survivors=(B,),
            array='md127', array_uuid=world.UUID), found.action)
        self.assertEqual((Phase.HEALING, world.POLICY.poll_s), (
            found.phase, found.look_again_s))
        self.assertTrue(found.sentence.startswith(
            'leg nvme-a of md127 has not answered for 3.0 s while leg '
            'nvme-b does'), found.sentence)

    def test_it_is_not_cut_too_soon_nor_twice(self) -> None:
        limit_s = world.POLICY.silence_s
        self.assertIsNotNone(self.said(self.silent(limit_s), world.leg('b')))
        self.assertIsNone(self.said(
            self.silent(limit_s - 0.1), world.leg('b')))
        for next_s, cut in ((1000.0, True), (1000.1, False)):
            found = self.said(self.silent(), world.leg('b'),
                              memory=remembering(cut_next_s=next_s))
            self.assertIs(cut, found is not None)

    def test_the_last_that_answers_is_not_cut(self) -> None:
        for other in (world.leg('b', answers=False, silent_s=3.0),
                      world.leg('b', 'spare'),
                      world.leg('b', path='connecting', for_s=1.0,
                                answers=False)):
            found = self.said(self.silent(), other)
            self.assertTrue(found is None or found.action is None, other)

    def two_paths(self, *silent_s: float | None) -> case_lib.Case:
        made = case_of(world.leg('a'), world.leg('b'))
        (one,) = made.seen.paths[A]
        paths = tuple(dataclasses.replace(
            one, controller=f'nvme-ctl-a{i}', silent_for_s=s,
            portal_answers=s is None) for i, s in enumerate(silent_s))
        return dataclasses.replace(made, seen=dataclasses.replace(
            made.seen, paths={**made.seen.paths, A: paths}))

    def test_one_silent_path_of_two_is_cut_alone(self) -> None:
        found = flow.keep_flowing(self.two_paths(None, 3.0))
        assert found is not None
        assert isinstance(found.action, model.CutSilent)
        self.assertEqual(['nvme-ctl-a1'],
                         [p.controller for p in found.action.paths])
        self.assertTrue(found.sentence.startswith('a path of leg nvme-a'),
                        found.sentence)
        for quiet in (self.two_paths(None, 1.9), self.two_paths(None, None),
                      self.two_paths(1.0, 9.0)):
            self.assertIsNone(flow.keep_flowing(quiet))
        both = flow.keep_flowing(self.two_paths(2.0, 9.0))
        assert both is not None
        assert isinstance(both.action, model.CutSilent)
        self.assertEqual(2, len(both.action.paths))
        self.assertIn('for 2.0 s', both.sentence)


class StalledTest(base.TestCase):

    def test_a_total_outage_is_waited_for(self) -> None:
        for legs, stalled in (
                ((world.leg('a', path='connecting', answers=False),
                  world.leg('b', 'spare')), True),
                ((world.leg('a', answers=False, silent_s=1.0),), True),
                ((world.leg('a'), world.leg('b', 'spare')), False),
                ((world.leg('b', 'spare'),), False)):
            found = flow.keep_flowing(case_of(*legs))
            self.assertIs(stalled, found is not None, f'{legs}')
            if found is not None:
                self.assertEqual(
                    (None, Phase.STALLED, world.POLICY.poll_s,
                     'keep-the-last-leg'),
                    (found.action, found.phase, found.look_again_s,
                     found.law))
                self.assertIn('(leg nvme-a)', found.sentence)


class CaseTest(base.TestCase):

    def proves(self, leg: world.Leg, dead_s: float = 1.0) -> bool:
        return case_of(leg).legs[0].proves_live(dead_s)

    def test_only_a_live_path_that_answers_proves_it(self) -> None:
        self.assertTrue(self.proves(world.leg('a')))
        for leg in (world.leg('a', answers=False),
                    world.leg('a', answers=None),
                    world.leg('a', path='connecting'),
                    world.leg('a', path=None)):
            self.assertFalse(self.proves(leg, 99.0), leg)

    def test_where_nothing_can_be_probed_the_keep_alive_does(self) -> None:
        leg = world.leg('a', answers=None, transport='rdma')
        self.assertTrue(self.proves(leg, 3.1))      # keep-alive 2 s, and 1
        self.assertFalse(self.proves(leg, 3.0))
        case = case_of(leg)
        (path,) = case.legs[0].paths
        unknown = dataclasses.replace(case.legs[0], paths=(
            dataclasses.replace(path, keep_alive_s=None),))
        self.assertTrue(unknown.proves_live(6.1))
        self.assertFalse(unknown.proves_live(6.0))
        self.assertFalse(self.proves(
            world.leg('a', answers=False, transport='rdma'), 99.0))

    def test_a_volume_may_have_a_grace_of_its_own(self) -> None:
        for volume, grace_s in (
                (world.volume(world.leg('a')), world.POLICY.grace_s),
                (world.volume(world.leg('a'), grace_s=0.0), 0.0),
                (world.volume(world.leg('a'), grace_s=7.0), 7.0),
                (None, world.POLICY.grace_s)):
            self.assertEqual(grace_s, case_of(volume=volume).grace_s)

    def test_words_are_fresh_while_they_are_young_and_undisputed(
            self) -> None:
        age_s = world.POLICY.volume_age_max_s
        for changes, fresh in (
                ({}, True), ({'volume_age_s': age_s}, True),
                ({'volume_age_s': age_s + 0.1}, False),
                ({'volume_age_s': None}, False), ({'volume': None}, False),
                ({'provisioner_error': 'it is off'}, False)):
            self.assertIs(fresh, case_of(world.leg('a'), **changes).fresh,
                          f'{changes}')

    def test_a_member_is_known_by_its_holder_and_its_device(self) -> None:
        seen = world.seen(world.leg('a'), world.leg('b', None))
        member = case_lib.member_of(seen, A)
        assert member is not None
        self.assertEqual('nvme-a', member.device)
        self.assertIsNone(case_lib.member_of(seen, B))
        for none in (dataclasses.replace(seen, array=None),
                     dataclasses.replace(seen, namespaces={})):
            self.assertIsNone(case_lib.member_of(none, A))
        assert seen.array is not None
        other = dataclasses.replace(seen.array, members=())
        self.assertIsNone(case_lib.member_of(
            dataclasses.replace(seen, array=other), A))

    def test_a_volume_is_whole_when_each_slot_is_in_sync(self) -> None:
        for legs, whole in (
                ((world.leg('a'), world.leg('b')), True),
                ((world.leg('a'), world.leg('b', 'spare')), False),
                ((world.leg('a'),), False)):
            self.assertIs(whole, case_of(*legs).whole)
        self.assertIs(False, case_of(world.leg('a'), array=None).whole)
        # A member that no replica explains does not count.
        foreign = model.Member(device='nvme9n1', slot=1,
                               flags=frozenset(('in_sync',)))
        self.assertIs(False, case_of(world.leg('a'), extra=(foreign,)).whole)

    def test_a_leg_answers_when_one_of_its_portals_does(self) -> None:
        for answers, told in (
                ({}, None), ({'x': True}, True), ({'x': False}, None),
                ({'x': False, 'y': False}, False),
                ({'x': False, 'y': True}, True)):
            portals = {n: world.portal(n) for n in 'xy'}
            replica = dataclasses.replace(
                world.replica('a'), portals=tuple(portals.values()))
            case = case_of(
                world.leg('a'),
                volume=world.volume(world.Leg(replica=replica)),
                answers={portals[n]: v for n, v in answers.items()})
            self.assertIs(told, case.legs[0].portal_answers, f'{answers}')
        case = case_of(world.leg('a', answers=True, transport='rdma'))
        self.assertIsNone(case.legs[0].portal_answers)


class HealTest(base.TestCase):

    def lost(self, **one: Any) -> model.Memory:
        return model.Memory(replicas={
            A: model.ReplicaMemory(belongs=True),
            B: model.ReplicaMemory(belongs=True, lost_s=900.0, **one)})

    def test_what_is_not_live_is_not_brought_in(self) -> None:
        for path in ('connecting', None):
            self.assertIsNone(heal.bring_in(case_of(
                world.leg('a'), world.leg('b', None, path=path),
                memory=self.lost())))

    def test_what_is_refused_is_looked_at_again_in_time(self) -> None:
        for next_s, refused in ((1000.1, True), (1000.0, False)):
            found = heal.bring_in(case_of(
                world.leg('a'), world.leg('b', None), memory=self.lost(
                    superblock=model.Superblock.FOREIGN, tries=1,
                    last_error='it carries ext4', next_try_s=next_s)))
            assert found is not None
            self.assertIs(refused, found.sentence.endswith(
                'is refused: it carries ext4'), found.sentence)
            self.assertIs(refused, found.action is None)

    def test_a_member_that_is_sick_is_told_beside_what_waits(self) -> None:
        found = world.decide(world.seen(
            world.leg('a', 'in_sync,write_error'),
            world.leg('b', None, path=None, answers=False)), self.lost(
                unreachable_s=990.0, report_next_s=2000.0,
                reported=model.ReplicaState.MISSING))
        self.assertIsNone(found.action)
        self.assertIn('; and leg nvme-a of md127 is sick', found.sentence)

    def test_of_two_that_wait_the_sooner_says_when_to_look(self) -> None:
        flapped = (980.0, 990.0, 995.0)
        told: dict[str, Any] = {
            'reported': model.ReplicaState.MISSING, 'report_next_s': 2000.0}
        found = world.decide(
            world.seen(world.leg('a'), world.leg('b', None),
                       world.leg('c', None, path=None, answers=False),
                       raid_disks=3),
            model.Memory(array_uuid=world.UUID, replicas={
                A: model.ReplicaMemory(belongs=True),
                B: model.ReplicaMemory(
                    belongs=True, lost_s=995.0, losses_s=flapped, **told),
                model.ReplicaId('c'): model.ReplicaMemory(
                    belongs=True, lost_s=941.0, unreachable_s=941.0,
                    next_try_s=2000.0, **told)}))
        self.assertIsNone(found.action)
        self.assertIn('stays out', found.sentence)
        self.assertEqual(1.0, found.look_again_s)

    def replaced(self, c: world.Leg, *, b: world.Leg | None = None,
                 **more: Any) -> case_lib.Case:
        request = model.Request(
            id='q', asked_s=1.0, tries=1, known=frozenset((A, B)),
            state=model.RequestState.ARRIVED, arrived=model.ReplicaId('c'))
        return case_of(
            world.leg('a'), b or world.leg('b', None, path=None), c,
            memory=self.lost(request=request, **more))

    def test_what_was_replaced_stays_until_its_successor_is_in_sync(
            self) -> None:
        self.assertIsNone(heal.retire(self.replaced(
            world.leg('c', 'spare'))))
        found = heal.retire(self.replaced(world.leg('c')))
        assert found is not None
        self.assertIsInstance(found.action, model.ConfirmRemoval)

    def test_it_is_not_let_go_before_its_next_try(self) -> None:
        self.assertIsNone(heal.retire(self.replaced(
            world.leg('c'), next_try_s=1000.1)))
        self.assertIsNotNone(heal.retire(self.replaced(
            world.leg('c'), next_try_s=1000.0)))

    def test_its_controllers_go_before_its_name_does(self) -> None:
        b = world.leg('b', None, path='connecting')
        found = heal.retire(self.replaced(world.leg('c'), b=b))
        assert found is not None
        assert isinstance(found.action, model.DisconnectPaths)
        self.assertEqual(['nvme-ctl-b0'],
                         [p.controller for p in found.action.paths])
        case = self.replaced(world.leg('c'), b=b)
        shared = dataclasses.replace(case, seen=dataclasses.replace(
            case.seen, shared={B: ('nvme7n1',)}))
        for kept in (shared, self.replaced(world.leg('c'), b=b,
                                           let_go=True)):
            found = heal.retire(kept)
            assert found is not None
            self.assertIsInstance(found.action, model.ConfirmRemoval)
