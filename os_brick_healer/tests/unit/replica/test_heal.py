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

"""Each healer does its one thing, when it is due, and not before."""

import dataclasses
from typing import Any

from os_brick_healer.replica import heal, model, reporting
from os_brick_healer.tests.unit.replica import healing, world
from os_brick_healer.tests.unit.replica.healing import (
    A,
    a_request,
    B,
    C,
    D,
    One,
    Phase,
    Prov,
)


class ReportTest(healing.HealCase):

    def lost(self, leg: world.Leg, **one: Any) -> model.Verdict | None:
        return reporting.report_lost(self.case(
            world.leg('b'), leg, ones={A: One(**{'belongs': True, **one})}))

    def test_a_leg_that_is_out_is_called_stale(self) -> None:
        for leg in (world.leg('a', None), world.leg('a', 'faulty'),
                    world.leg('a', None, state=Prov.UNKNOWN)):
            found = self.lost(leg)
            assert found is not None
            self.assertEqual((Phase.HEALING, model.ReportState(
                volume=world.KEY, law='tell-what-is-lost', replica=A,
                state=Prov.MISSING)), (found.phase, found.action))

    def test_what_is_in_or_was_never_in_is_not(self) -> None:
        for leg in (world.leg('a'), world.leg('a', 'spare'),
                    world.leg('a', None, state=Prov.MISSING),
                    world.leg('a', None, state=Prov.TERMINATING),
                    world.leg('a', None, state=Prov.SYNCHRONIZING)):
            self.assertIsNone(self.lost(leg), f'{leg}')
        self.assertIsNone(self.lost(world.leg('a', None), belongs=False))

    def test_it_is_told_again_only_if_it_stays_unheard(self) -> None:
        for reported, next_s, told in (
                (None, 2000.0, True), (Prov.AVAILABLE, 2000.0, True),
                (Prov.MISSING, 1000.1, False), (Prov.MISSING, 1000.0, True)):
            found = self.lost(world.leg('a', None), reported=reported,
                              report_next_s=next_s)
            self.assertIs(told, found is not None)

    def test_a_leg_that_is_in_sync_is_called_good(self) -> None:
        for state, told in ((Prov.MISSING, True), (Prov.SYNCHRONIZING, True),
                            (Prov.AVAILABLE, False), (Prov.UNKNOWN, False),
                            (Prov.TERMINATING, False)):
            found = reporting.report_back(self.case(
                world.leg('b'), world.leg('a', state=state)))
            self.assertIs(told, found is not None, state.value)
            if found is not None:
                self.assertEqual((Phase.HEALING, model.ReportState(
                    volume=world.KEY, law='tell-what-is-lost', replica=A,
                    state=Prov.AVAILABLE)), (found.phase, found.action))
        missing = world.leg('a', 'spare', state=Prov.MISSING)
        self.assertIsNone(reporting.report_back(self.case(missing)))
        told_already = {A: One(reported=Prov.AVAILABLE, report_next_s=2e3)}
        self.assertIsNone(reporting.report_back(self.case(
            world.leg('a', state=Prov.MISSING), ones=told_already)))


class ClearTest(healing.HealCase):

    def test_a_faulty_member_is_taken_out(self) -> None:
        for next_s, done in ((1000.0, True), (1000.1, False)):
            found = heal.drop_faulty(self.case(
                world.leg('b'), world.leg('a', 'faulty'),
                ones={A: One(next_try_s=next_s)},
                memory={'next_try_s': 2000.0}))
            self.assertIs(done, found is not None)
            if found is not None:
                self.assertEqual((Phase.HEALING, model.DropFaulty(
                    volume=world.KEY, law='keep-the-last-leg', array='md127',
                    array_uuid=world.UUID, replica=A, device='nvme-a')),
                    (found.phase, found.action))
        self.assertIsNone(heal.drop_faulty(self.case()))

    def test_one_that_nobody_knows_is_too(self) -> None:
        foreign = model.Member(device='nvme9n1', slot=None,
                               flags=frozenset(('faulty',)))
        for next_s, done in ((1000.0, True), (1000.1, False)):
            found = heal.drop_faulty(self.case(
                extra=(foreign,), memory={'next_try_s': next_s}))
            self.assertIs(done, found is not None)
            if found is not None:
                assert isinstance(found.action, model.DropFaulty)
                self.assertEqual(('nvme9n1', None), (
                    found.action.device, found.action.replica))

    def test_one_that_waits_keeps_no_other_from_going(self) -> None:
        found = heal.drop_faulty(self.case(
            world.leg('a', 'faulty'), world.leg('b', 'faulty'),
            ones={A: One(next_try_s=2000.0)}))
        assert found is not None
        assert isinstance(found.action, model.DropFaulty)
        self.assertEqual(B, found.action.replica)

    def test_while_md_copies_it_is_waited_for(self) -> None:
        for sync, says in (
                (model.Sync(action='recover', done_sectors=None,
                            total_sectors=None, speed_kib_s=None),
                 'the copy to the new leg of md127 has begun'),
                (model.Sync(action='resync', done_sectors=5120,
                            total_sectors=20480, speed_kib_s=256),
                 'the copy to the new leg of md127 is at 25.0 %, about 30 s '
                 'left'),
                (model.Sync(action='recover', done_sectors=5120,
                            total_sectors=20480, speed_kib_s=None),
                 'the copy to the new leg of md127 is at 25.0 %')):
            found = heal.wait_for_resync(self.case(sync=sync))
            assert found is not None
            self.assertEqual(
                (None, Phase.RESYNCING, says, world.POLICY.resync_check_s),
                (found.action, found.phase, found.sentence,
                 found.look_again_s))
        for action in ('check', 'repair', 'reshape'):
            self.assertIsNone(heal.wait_for_resync(self.case(sync=model.Sync(
                action=action, done_sectors=1, total_sectors=2,
                speed_kib_s=1))))
        self.assertIsNone(heal.wait_for_resync(self.case()))


class BringInTest(healing.HealCase):
    """b is out; what is done about it depends on how it is."""

    def bring(self, leg: world.Leg, *more: world.Leg,
              ones: dict[model.ReplicaId, One] | None = None,
              changes: dict[str, Any] | None = None,
              **one: Any) -> model.Verdict | None:
        old = One(**{'belongs': True, 'lost_s': 900.0, **one})
        return heal.bring_in(self.case(
            world.leg('a'), leg, *more, ones={B: old, **(ones or {})},
            **(changes or {})))

    def done(self, leg: world.Leg, **one: Any) -> model.Action:
        found = self.bring(leg, **one)
        assert found is not None
        assert found.action is not None, found.sentence
        self.assertEqual(Phase.HEALING, found.phase)
        return found.action

    def test_only_a_free_slot_is_filled(self) -> None:
        out = world.leg('b', None)
        self.assertIsNotNone(self.bring(out))
        self.assertIsNone(self.bring(out, world.leg('c')))
        self.assertIsNone(self.bring(out, world.leg('c', 'spare')))
        self.assertIsNotNone(self.bring(out, world.leg('c', 'faulty')))
        self.assertIsNone(self.bring(
            world.leg('b', None, state=Prov.TERMINATING)))

    def test_the_leg_itself_comes_before_a_new_one(self) -> None:
        new = world.leg('aa', None)
        found = self.bring(world.leg('b', None), new)
        assert found is not None
        assert isinstance(found.action, model.Examine)
        self.assertEqual(B, found.action.replica.id)
        # But who only waits keeps nobody out.
        found = self.bring(world.leg('b', None), new, next_try_s=2000.0)
        assert found is not None
        assert isinstance(found.action, model.Examine)
        self.assertEqual('aa', found.action.replica.id)

    def test_what_it_carries_is_looked_at_first(self) -> None:
        out = world.leg('b', None)
        self.assertEqual(model.Examine(
            volume=world.KEY, law='add-only-what-is-named-now',
            replica=out.replica, device='nvme-b', array_uuid=world.UUID),
            self.done(out))
        self.assertIsInstance(
            self.done(out, superblock=model.Superblock.FOREIGN),
            model.Examine)

    def test_ours_is_re_added_and_the_rest_is_copied(self) -> None:
        out, ours = world.leg('b', None), model.Superblock.OURS
        same: dict[str, Any] = {
            'volume': world.KEY, 'law': 'add-only-what-is-named-now',
            'array': 'md127', 'array_uuid': world.UUID,
            'replica': out.replica, 'device': 'nvme-b',
            'component_bytes': 63 * world.MIB}
        self.assertEqual(model.ReAdd(**same), self.done(out, superblock=ours))
        self.assertEqual(
            model.AddSpare(former=True, **same),
            self.done(out, superblock=ours, readd_refused=True))
        self.assertEqual(
            model.AddSpare(**same),
            self.done(out, superblock=model.Superblock.BLANK))

    def test_a_new_one_that_is_called_missing_is_not_filled(self) -> None:
        missing = world.leg('b', None, state=Prov.MISSING)
        blank = model.Superblock.BLANK
        one: dict[str, Any] = {'superblock': blank, 'belongs': False,
                               'published': True}
        found = self.bring(missing, **one)
        assert found is not None
        self.assertEqual((None, Phase.HELD), (found.action, found.phase))
        # Unless it was we who called it that: then it is told otherwise.
        for more in ({'request': a_request(None)},
                     {'reported': Prov.MISSING}):
            self.assertEqual(model.ReportState(
                volume=world.KEY, law='tell-what-is-lost', replica=B,
                state=Prov.SYNCHRONIZING), self.done(missing, **one, **more))
        found = self.bring(missing, reported=Prov.SYNCHRONIZING,
                           report_next_s=2000.0, request=a_request(None),
                           **one)
        assert found is not None
        self.assertIsNone(found.action)
        # A leg that was lost is called missing, too, and is filled.
        self.assertIsInstance(self.done(missing, superblock=blank),
                              model.AddSpare)

    def test_it_waits_for_its_next_try(self) -> None:
        self.assertIsNone(self.bring(world.leg('b', None), next_try_s=1000.1))
        self.assertIsNotNone(self.bring(world.leg('b', None),
                                        next_try_s=1000.0))

    def test_what_is_refused_says_so(self) -> None:
        for leg, why in (
                (world.leg('b', None, holders=('dm-1', 'dm-2')),
                 'is in use by dm-1, dm-2'),
                (world.leg('b', None, size=63 * world.MIB - 1),
                 'has 66060287 bytes and md127 needs 66060288')):
            found = self.bring(leg)
            assert found is not None
            self.assertEqual(
                (None, Phase.HELD,
                 f'replica b is refused: nvme-b {why}'),
                (found.action, found.phase, found.sentence))
        self.assertIsInstance(
            self.done(world.leg('b', None, size=63 * world.MIB)),
            model.Examine)
        found = self.bring(
            world.leg('b', None), superblock=model.Superblock.FOREIGN,
            next_try_s=1007.0, last_error='it carries ext4')
        assert found is not None
        self.assertEqual((None, Phase.HELD, 7.0), (
            found.action, found.phase, found.look_again_s))

    def test_of_two_that_wait_the_sooner_is_told(self) -> None:
        foreign = model.Superblock.FOREIGN
        found = self.bring(
            world.leg('b', None), world.leg('c', None), superblock=foreign,
            next_try_s=1007.0, ones={C: One(
                superblock=foreign, next_try_s=1003.0)},
            changes={'raid_disks': 3})
        assert found is not None
        self.assertEqual(3.0, found.look_again_s)

    def test_a_flapping_leg_stays_out_for_a_while(self) -> None:
        for last_s, wait_s in ((995.0, 5.0), (990.5, 0.5), (990.0, None)):
            found = self.bring(world.leg('b', None), losses_s=(
                last_s, last_s, last_s))
            assert found is not None
            self.assertIs(wait_s is None, found.action is not None)
            if wait_s is not None:
                self.assertEqual((Phase.DEGRADED, wait_s), (
                    found.phase, found.look_again_s))
                self.assertIn('lost 3 times', found.sentence)

    def test_what_is_not_connected_is_connected(self) -> None:
        gone = world.leg('b', None, path=None, device=False)
        self.assertEqual(model.ConnectReplica(
            volume=world.KEY, law='add-only-what-is-named-now', replica=B,
            nqn='nqn.test:b', portals=(world.portal('b'),)), self.done(gone))
        for leg in (
                world.leg('b', None, path='connecting', device=False),
                world.leg('b', None, path=None, device=False, answers=False),
                world.leg('b', None, path=None, device=False, answers=None),
                world.leg('b', None, device=False)):    # it is to appear
            self.assertIsNone(self.bring(leg), f'{leg}')
        unprobed = world.leg('b', None, path=None, device=False,
                             answers=None, transport='rdma')
        self.assertIsInstance(self.done(unprobed), model.ConnectReplica)

    def test_only_the_portals_that_lack_are_connected(self) -> None:
        leg = world.leg('b', None, device=False)
        more = model.Portal(address='198.51.100.1', port=4420)
        replica = dataclasses.replace(
            leg.replica, portals=(*leg.replica.portals, more))
        case = self.case(world.leg('a'), leg, ones={B: One(belongs=True)})
        volume = world.volume(world.leg('a'), world.Leg(replica=replica))
        found = heal.bring_in(dataclasses.replace(
            case, seen=dataclasses.replace(case.seen, volume=volume)))
        assert found is not None
        assert isinstance(found.action, model.ConnectReplica)
        self.assertEqual((more,), found.action.portals)

    def test_a_new_one_is_published_first(self) -> None:
        hidden = world.leg('b', None, path=None, device=False,
                           published=False)
        publish = model.Publish(volume=world.KEY, replica=B,
                                law='add-only-what-is-named-now')
        gone = world.leg('b', None, path=None, device=False)
        for leg, one in ((hidden, {}), (hidden, {'published': True}),
                         (gone, {'belongs': False})):
            self.assertEqual(publish, self.done(leg, **one))
        self.assertIsInstance(
            self.done(gone, belongs=False, published=True),
            model.ConnectReplica)

    def test_it_is_not_published_twice_before_the_provisioner_has_spoken(
            self) -> None:
        hidden = world.leg('b', None, path=None, device=False,
                           published=False)
        gone = world.leg('b', None, path=None, device=False)
        now_s = self.case(hidden).now_s
        self.assertIsNone(self.bring(hidden, ones={B: One(
            published=True, publish_next_s=now_s + 0.1)}))
        self.assertIsInstance(self.done(
            hidden, published=True, publish_next_s=now_s), model.Publish)
        self.assertIsInstance(self.done(
            gone, published=True, publish_next_s=now_s + 0.1),
            model.ConnectReplica)

    def test_a_successor_that_is_the_only_copy_keeps_nobody_out(
            self) -> None:
        for others, back in (('', True), ('d', False), ('de', False)):
            found = heal.bring_in(self.case(
                world.leg('b', None), world.leg('c'),
                *map(world.leg, others), raid_disks=5, ones={
                    B: One(belongs=True, lost_s=900.0,
                           request=a_request())}))
            self.assertIs(back, found is not None and isinstance(
                found.action, model.Examine))

    def test_a_successor_that_is_lost_itself_keeps_nobody_out(self) -> None:
        """c came for b, became a leg, and went; d has come for c."""
        gone, gap = world.leg('c', None, path=None), a_request(D)
        for c, d, brings in (
                (One(), (), False), (One(belongs=True), (), True),
                (One(belongs=True, request=a_request(None)), (), True),
                (One(belongs=True, request=gap), (), False),
                (One(belongs=True, request=gap), ('d', None), False),
                (One(belongs=True, request=gap), ('d', 'spare'), False),
                # Of three legs it is the second in sync; of two the only one.
                (One(belongs=True, request=gap), ('d',), False)):
            more = (world.leg(*d),) if d else ()
            found = self.bring(
                world.leg('b', None), gone, *more, request=a_request(),
                ones={C: c, D: One(next_try_s=2000.0, published=True)},
                changes={'raid_disks': 4})
            self.assertIs(brings, found is not None and isinstance(
                found.action, model.Examine), f'{c} {d}')
        found = heal.bring_in(self.case(
            world.leg('b', None), gone, world.leg('d'), raid_disks=2, ones={
                B: One(belongs=True, lost_s=900.0, request=a_request()),
                C: One(belongs=True, request=gap, next_try_s=2000.0)}))
        assert found is not None
        self.assertIsInstance(found.action, model.Examine)

    def test_a_circle_of_successors_has_an_end(self) -> None:
        case = self.case(ones={B: One(request=a_request()),
                               C: One(request=a_request(B))})
        for request, heirs in ((a_request(), (C, B)), (a_request(D), (D,)),
                               (a_request(None), ()), (None, ())):
            self.assertEqual(heirs, case.heirs(request))

    def test_one_whose_successor_is_here_stays_out(self) -> None:
        out = world.leg('b', None)
        for heir, fit in (
                (world.leg('c', 'spare'), True), (world.leg('c'), True),
                (world.leg('c', None, path=None, device=False), True),
                (world.leg('c', None), True),
                (world.leg('c', None, size=1), False),
                (world.leg('c', None, holders=('dm-1',)), False)):
            found = self.bring(
                out, heir, request=a_request(), ones={C: One(
                    next_try_s=2000.0, published=True)},
                changes={'raid_disks': 3})
            brought = found is not None and isinstance(
                found.action, model.Examine)
            self.assertIs(fit, not brought, f'{heir}')
        for ones, request, brings in (
                ({C: One(superblock=model.Superblock.FOREIGN,
                         next_try_s=2000.0)}, a_request(), True),
                ({}, a_request(None), True),
                ({}, a_request(model.ReplicaId('x')), False)):
            found = self.bring(
                out, *((world.leg('c', None),) if ones else ()), ones=ones,
                request=request)
            self.assertIs(brings, found is not None
                          and found.action is not None, f'{request}')
