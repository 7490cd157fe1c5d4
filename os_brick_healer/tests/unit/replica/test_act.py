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
"""Laws of the hands: fresh look, laws, locks, then one exact act."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
from typing import Any

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import opts, policy
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.replica import act, laws, locks, model
from os_brick_healer.tests import base

KEY = model.VolumeId('vol-1')
UUID = '6a41b2c7-0d3e-4f5a-9b8c-7d6e5f4a3b2c'
OTHER_UUID = '11111111-2222-4333-8444-555555555555'
GIB = 1 << 30
SETTINGS = act.Settings(command_timeout_s=30.0, lock_timeout_s=10.0,
                        keep_alive_s=2, reconnect_delay_s=1)
LAW = 'a-law'


def rid(index: int) -> model.ReplicaId:
    return model.ReplicaId(f'rep-{index}')


def portal(index: int, transport: str = 'tcp') -> model.Portal:
    return model.Portal(address=f'10.0.0.{index}', port=4420,
                        transport=transport)


def replica(index: int, state: model.ReplicaState
            = model.ReplicaState.AVAILABLE) -> model.Replica:
    return model.Replica(
        id=rid(index), nqn=f'nqn.x:{index}', portals=(portal(index),),
        namespace_uuid=f'0000000{index}-aaaa-4bbb-8ccc-000000000000',
        state=state)


def path(index: int, state: model.PathState = model.PathState.LIVE,
         **more: Any) -> model.Path:
    return model.Path(
        controller=f'nvme{index}', nqn=f'nqn.x:{index}',
        portal=portal(index), host_nqn='nqn.host', state=state,
        **{'state_for_s': 5.0, 'keep_alive_s': 2, **more})


def world() -> model.Seen:
    """Replica 1 in sync and live; 2 in the array and connecting; 3 new."""
    paths = {rid(1): (path(1),),
             rid(2): (path(2, model.PathState.CONNECTING),),
             rid(3): (path(3),)}
    return model.Seen(
        key=KEY, now_s=100.0, volume_age_s=1.0, provisioner_error=None,
        volume=model.Volume(
            id=KEY, alias='vol', size_bytes=GIB, replica_count=2,
            replicas=tuple(replica(i) for i in (1, 2, 3)),
            hosts=frozenset(('me',))),
        attachment=model.Attachment(
            volume=KEY, alias='vol', state=model.AttachState.ATTACHED,
            owner_alive=True),
        array=model.Array(
            name='md127', uuid=UUID, level='raid1', state='active',
            raid_disks=2, degraded=0, component_bytes=GIB, size_bytes=GIB,
            members=(member(1), member(2)), sync=None, stuck_s=1.0),
        namespaces={rid(i): model.Namespace(
            device=f'nvme{i}n1', nqn=f'nqn.x:{i}',
            uuid=replica(i).namespace_uuid, size_bytes=GIB,
            holders=('md127',) if i < 3 else (), paths=paths[rid(i)])
            for i in (1, 2, 3)},
        paths=paths, peers_hold=frozenset())


def member(index: int, *flags: str) -> model.Member:
    return model.Member(device=f'nvme{index}n1', slot=index - 1,
                        flags=frozenset(flags or ('in_sync',)))


class Locks:
    """os-brick's locks; ``busy`` when somebody else has them."""

    def __init__(self) -> None:
        self.busy = False
        self.held = False
        self.waited_s: float | None = None

    @contextlib.contextmanager
    def hold(self, timeout_s: float) -> Iterator[None]:
        self.waited_s = timeout_s
        if self.busy:
            raise locks.LocksBusy('cannot take the lock: it is held')
        self.held = True
        try:
            yield
        finally:
            self.held = False


class Owner(provisioner.Provisioner):
    """Remembers what it was told."""

    guarantees = provisioner.Guarantees(
        batch=True, knows_hosts=True, idempotent_replacement=True)

    def __init__(self, world: 'World') -> None:
        super().__init__(cfg.ConfigOpts(), provisioner.HostIdentity(
            name='me', nqn='nqn.host', uuid=None))
        self.world = world
        self.told: list[tuple[str, ...]] = []
        self.error: Exception | None = None

    def probe(self) -> str:
        return 'a fake'

    def volumes(self) -> Mapping[model.VolumeId, model.Volume]:
        self._say('volumes')
        found = self.world.newest
        return {} if found is None else {found.id: found}

    def report(self, volume: model.VolumeId, replica: model.ReplicaId,
               state: model.ReplicaState) -> None:
        self._say('report', replica, state.value)

    def request_replacement(self, volume: model.VolumeId,
                            replica: model.ReplicaId,
                            request_id: str) -> None:
        self._say('request', replica, request_id)

    def publish(self, volume: model.VolumeId) -> None:
        self._say('publish')

    def confirm_removal(self, volume: model.VolumeId,
                        replica: model.ReplicaId) -> None:
        self._say('confirm', replica)

    def _say(self, *words: str) -> None:
        assert not self.world.locks.held, 'the network under nova\'s lock'
        if self.error is not None:
            raise self.error
        self.told.append(words)


class World:
    """The kernel, in memory; md and nvme act on it, under the locks."""

    def __init__(self) -> None:
        self.seen = world()
        self.newest: model.Volume | None = self.seen.volume
        self.locks = Locks()
        self.answering = {portal(1), portal(3)}
        self.superblocks: dict[str, dict[str, str]] = {}
        self.signature: tuple[str, ...] = ()
        self.done: list[tuple[str, Any]] = []
        self.error: Exception | None = None
        self.deleting_hangs = False
        self.done_locked: list[bool] = []

    def fresh(self) -> model.Seen:
        return self.seen

    def _did(self, what: str, on: Any) -> None:
        if self.error is not None:
            raise self.error
        self.done.append((what, on))
        self.done_locked.append(self.locks.held)

    # privileged.md
    def clear_failfast(self, *, array: str, array_uuid: str, device: str,
                       timeout_s: float = 5.0) -> bool:
        self._did('clear', device)
        return True

    def remove(self, *, array: str, array_uuid: str, device: str,
               timeout_s: float) -> bool:
        self._did('remove', device)
        return True

    def re_add(self, *, array: str, array_uuid: str, device: str, nqn: str,
               namespace_uuid: str, timeout_s: float) -> bool:
        self._did('re-add', (device, nqn, namespace_uuid))
        return True

    def add_spare(self, *, array: str, array_uuid: str, device: str,
                  nqn: str, namespace_uuid: str, min_size_bytes: int,
                  former: bool, timeout_s: float) -> bool:
        self._did('add', (device, min_size_bytes, former))
        return True

    def examine(self, *, device: str, nqn: str, namespace_uuid: str,
                timeout_s: float) -> dict[str, str]:
        self._did('examine', device)
        return self.superblocks.get(device, {})

    def signatures(self, *, device: str, nqn: str, namespace_uuid: str,
                   timeout_s: float) -> tuple[str, ...]:
        return self.signature

    # privileged.nvme
    def connect(self, *, nqn: str, address: str, port: int, transport: str,
                host_nqn: str, keep_alive_s: int, reconnect_delay_s: int,
                timeout_s: float) -> str:
        self._did('connect', (nqn, address))
        return 'nvme9'

    def delete_controller(self, *, controller: str, nqn: str, address: str,
                          port: int, device: str | None, idle: bool,
                          timeout_s: float) -> bool:
        self._did('delete', (controller, device, idle))
        return not self.deleting_hangs

    def cut(self, *, controller: str, nqn: str, address: str, port: int,
            timeout_s: float) -> int:
        self._did('cut', controller)
        return 2

    def probe_now(self, portals: Sequence[model.Portal], *,
                  deadline_s: float, one_is_enough: bool
                  ) -> Mapping[model.Portal, bool]:
        return {one: one in self.answering for one in portals
                if one.transport == 'tcp'}


class HandsTestCase(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.world = World()
        self.owner = Owner(self.world)
        self.hands = act.Hands(
            settings=lambda: SETTINGS, provisioner=lambda: self.owner,
            host_nqn=lambda: 'nqn.host', permits=laws.permits,
            locks=self.world.locks, md=self.world, nvme=self.world,
            probe_now=self.world.probe_now)

    def do(self, action: model.Action) -> act.Outcome:
        return self.hands.do(action, self.world.fresh)

    def change(self, **more: Any) -> None:
        self.world.seen = dataclasses.replace(self.world.seen, **more)

    def change_array(self, **more: Any) -> None:
        assert self.world.seen.array is not None
        self.change(array=dataclasses.replace(self.world.seen.array, **more))

    def change_paths(self, index: int, *paths: model.Path) -> None:
        self.change(paths={**self.world.seen.paths, rid(index): paths})

    def name_states(self, index: int, state: model.ReplicaState) -> None:
        volume = self.world.seen.volume
        assert volume is not None
        volume = dataclasses.replace(volume, replicas=tuple(
            replica(i, state) if i == index else replica(i)
            for i in (1, 2, 3)))
        self.world.newest = volume
        self.change(volume=volume)

    def assert_nothing(self, action: model.Action, word: str = '',
                       transient: bool | None = None) -> act.Outcome:
        """It is refused with a sentence, and nothing has happened."""
        outcome = self.do(action)
        self.assertFalse(outcome.changed, outcome)
        self.assertIn(word, outcome.error or '')
        self.assertTrue(outcome.error)
        if transient is not None:
            self.assertEqual(transient, outcome.transient)
        self.assertEqual([], self.world.done)
        self.assertEqual([], [x for x in self.owner.told
                              if x != ('volumes',)])
        return outcome


class TestBreakLeg(HandsTestCase):

    def action(self, **more: Any) -> model.BreakLeg:
        return model.BreakLeg(**{
            'volume': KEY, 'law': LAW, 'replica': rid(2),
            'device': 'nvme2n1', 'paths': self.world.seen.paths[rid(2)],
            'survivors': (rid(1),), 'array': 'md127', 'array_uuid': UUID,
            **more})

    def test_the_dead_legs_controllers_are_deleted_under_the_locks(
            self) -> None:
        outcome = self.do(self.action())
        self.assertTrue(outcome.changed)
        self.assertIsNone(outcome.error)
        self.assertEqual([('delete', ('nvme2', 'nvme2n1', False))],
                         self.world.done)
        self.assertEqual([True], self.world.done_locked)

    def test_a_leg_that_is_live_again_is_kept(self) -> None:
        self.change_paths(2, path(2))
        self.assert_nothing(self.action(), 'live')

    def test_one_live_path_of_several_keeps_the_leg(self) -> None:
        self.change_paths(2, path(2, model.PathState.CONNECTING), path(4))
        self.assert_nothing(self.action(), 'live')

    def test_a_survivor_that_does_not_answer_now_proves_nothing(
            self) -> None:
        self.change_paths(1, path(1, portal_answers=True))
        self.world.answering = set()
        self.assert_nothing(self.action(), 'proven live')

    def test_a_survivor_that_is_not_in_sync_proves_nothing(self) -> None:
        for flags in (('spare',), ('in_sync', 'faulty')):
            self.change_array(members=(member(1, *flags), member(2)))
            self.assert_nothing(self.action())

    def test_a_survivor_that_is_not_live_proves_nothing(self) -> None:
        self.change_paths(1, path(1, model.PathState.CONNECTING))
        self.assert_nothing(self.action())

    def test_the_leg_itself_is_no_survivor(self) -> None:
        self.assert_nothing(self.action(survivors=(rid(2),)))

    def test_without_a_probe_the_survivor_must_outlive_its_keep_alive(
            self) -> None:
        for lost_for_s, kept in ((2.9, True), (3.1, False)):
            self.world.done.clear()
            self.change_paths(2, path(2, model.PathState.CONNECTING,
                                      state_for_s=lost_for_s))
            self.change_paths(1, path(1, portal_answers=None))
            self.change_paths(1, dataclasses.replace(
                path(1), portal=portal(1, 'rdma')))
            if kept:
                self.assert_nothing(self.action(), 'proven live')
            else:
                self.assertTrue(self.do(self.action()).changed)

    def test_another_array_of_the_name_is_not_touched(self) -> None:
        self.change_array(uuid=OTHER_UUID)
        self.assert_nothing(self.action())

    def test_a_leg_that_is_out_already_is_no_error(self) -> None:
        self.change_array(members=(member(1),))
        outcome = self.do(self.action())
        self.assertFalse(outcome.changed)
        self.assertIsNone(outcome.error)
        self.assertEqual([], self.world.done)

    def test_anothers_lock_does_not_hang_this_guest(self) -> None:
        self.world.locks.busy = True
        outcome = self.do(self.action())
        self.assertTrue(outcome.changed)
        self.assertIn('without', outcome.detail)
        self.assertEqual(act.FLOW_LOCK_S, self.world.locks.waited_s)

    def test_who_is_not_known_to_be_attached_waits_for_the_lock(
            self) -> None:
        self.world.locks.busy = True
        self.change(attachment=None)
        self.assert_nothing(self.action(), 'lock', transient=True)
        self.assertEqual(SETTINGS.lock_timeout_s,
                         self.world.locks.waited_s)

    def test_a_deletion_that_goes_on_is_said(self) -> None:
        self.world.deleting_hangs = True
        outcome = self.do(self.action())
        self.assertTrue(outcome.changed)
        self.assertIn('nvme2', outcome.error or '')

    def test_what_the_privileged_side_refuses_is_final(self) -> None:
        self.world.error = exception.NotOurs('cannot: it is another one')
        self.assert_nothing(self.action(), 'another one', transient=False)


class TestCutSilent(HandsTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.silent = path(2, portal_answers=False, silent_for_s=1.5)
        self.change_paths(2, self.silent)
        self.action = model.CutSilent(
            volume=KEY, law=LAW, replica=rid(2), paths=(self.silent,),
            survivors=(rid(1),), array='md127', array_uuid=UUID)

    def test_a_silent_connection_is_cut(self) -> None:
        outcome = self.do(self.action)
        self.assertTrue(outcome.changed)
        self.assertEqual([('cut', 'nvme2')], self.world.done)

    def test_one_that_answers_again_is_kept(self) -> None:
        self.change_paths(2, path(2, portal_answers=True, silent_for_s=0.0))
        self.assert_nothing(self.action, 'not silent')

    def test_one_that_was_never_probed_is_kept(self) -> None:
        self.change_paths(2, path(2))
        self.assert_nothing(self.action, 'not silent')

    def test_in_a_silence_of_all_nothing_is_cut(self) -> None:
        self.world.answering = set()
        self.assert_nothing(self.action, 'proven live')


class TestAdding(HandsTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.change_array(degraded=1, members=(member(1),))

    def spare(self, **more: Any) -> model.AddSpare:
        return model.AddSpare(**{
            'volume': KEY, 'law': LAW, 'array': 'md127', 'array_uuid': UUID,
            'replica': replica(3), 'device': 'nvme3n1',
            'component_bytes': GIB, **more})

    def re_add(self) -> model.ReAdd:
        return model.ReAdd(
            volume=KEY, law=LAW, array='md127', array_uuid=UUID,
            replica=replica(3), device='nvme3n1', component_bytes=GIB)

    def both(self) -> tuple[model.Action, ...]:
        return self.spare(), self.spare(former=True), self.re_add()

    def test_a_named_replica_is_added_under_the_locks(self) -> None:
        self.assertTrue(self.do(self.spare()).changed)
        self.assertEqual([('add', ('nvme3n1', GIB, False))],
                         self.world.done)
        self.assertEqual([True], self.world.done_locked)
        self.assertEqual([], self.owner.told)

    def test_old_words_of_the_provisioner_are_asked_for_again(self) -> None:
        self.change(volume_age_s=act.NAMED_AGE_S_MAX + 0.1)
        self.assertTrue(self.do(self.spare()).changed)
        self.assertEqual([('volumes',)], self.owner.told)
        self.world.newest = None
        self.world.done.clear()
        self.assert_nothing(self.spare())

    def test_a_provisioner_that_cannot_be_asked_adds_nothing(self) -> None:
        self.change(volume_age_s=100.0)
        self.owner.error = exception.ProvisionerUnreachable('cannot ask')
        self.assert_nothing(self.spare(), 'cannot ask', transient=True)

    def test_a_replica_that_is_no_longer_named_is_refused(self) -> None:
        volume = self.world.seen.volume
        assert volume is not None
        self.change(volume=dataclasses.replace(
            volume, replicas=(replica(1), replica(2))))
        for action in self.both():
            self.assert_nothing(action)

    def test_a_terminating_replica_is_never_added(self) -> None:
        self.name_states(3, model.ReplicaState.TERMINATING)
        for action in self.both():
            self.assert_nothing(action)

    def test_only_a_former_leg_may_be_missing(self) -> None:
        self.name_states(3, model.ReplicaState.MISSING)
        self.assert_nothing(self.spare(), 'missing')
        for action in (self.spare(former=True), self.re_add()):
            self.assertTrue(self.do(action).changed)

    def test_another_namespace_under_the_name_is_refused(self) -> None:
        other = dataclasses.replace(
            replica(3), namespace_uuid='00000009-aaaa-4bbb-8ccc-0' + '0' * 11)
        volume = self.world.seen.volume
        assert volume is not None
        self.change(volume=dataclasses.replace(
            volume, replicas=(replica(1), replica(2), other)))
        for action in self.both():
            self.assert_nothing(action, 'another namespace')

    def test_a_replica_without_a_namespace_uuid_is_refused(self) -> None:
        bare = dataclasses.replace(replica(3), namespace_uuid=None)
        volume = self.world.seen.volume
        assert volume is not None
        self.change(volume=dataclasses.replace(
            volume, replicas=(replica(1), replica(2), bare)))
        self.assert_nothing(self.spare(replica=bare), 'which namespace')

    def test_a_device_that_changed_its_name_is_refused(self) -> None:
        for action in (self.spare(device='nvme7n1'),):
            self.assert_nothing(action)

    def test_a_whole_array_gets_nothing(self) -> None:
        self.change_array(degraded=0)
        for action in self.both():
            self.assert_nothing(action, 'no leg is missing')

    def test_a_busy_lock_puts_it_off(self) -> None:
        self.world.locks.busy = True
        for action in self.both():
            self.assert_nothing(action, 'lock', transient=True)

    def test_while_os_brick_works_on_it_nothing_is_added(self) -> None:
        for state in (model.AttachState.CONNECTING,
                      model.AttachState.DISCONNECTING,
                      model.AttachState.EXTENDING):
            self.change(attachment=model.Attachment(
                volume=KEY, alias='vol', state=state, owner_alive=True))
            for action in self.both():
                self.assert_nothing(action)

    def test_a_refused_re_add_is_told_apart(self) -> None:
        self.world.error = exception.ReAddRefused('cannot: too old')
        outcome = self.assert_nothing(self.re_add(), 'too old', False)
        self.assertEqual(act.READD_REFUSED, outcome.detail)

    def test_a_failing_command_may_be_tried_again(self) -> None:
        self.world.error = exception.CommandError('cannot: timed out')
        self.assert_nothing(self.re_add(), 'timed out', transient=True)


class TestExamine(HandsTestCase):

    def look(self) -> str:
        outcome = self.do(model.Examine(
            volume=KEY, law=LAW, replica=replica(3), device='nvme3n1',
            array_uuid=UUID))
        self.assertIsNone(outcome.error)
        self.assertFalse(outcome.changed)
        return outcome.detail

    def test_ours_blank_and_foreign_are_told_apart(self) -> None:
        self.assertEqual('blank', self.look())
        self.world.signature = ('ext4',)
        self.assertEqual('foreign: ext4', self.look())
        self.world.superblocks['nvme3n1'] = {
            'MD_UUID': '6a41b2c7:0d3e4f5a:9b8c7d6e:5f4a3b2c'}
        self.assertEqual('ours', self.look())
        self.world.superblocks['nvme3n1'] = {'MD_UUID': OTHER_UUID}
        self.assertTrue(self.look().startswith('foreign: '))


class TestControllers(HandsTestCase):

    def connect(self) -> model.ConnectReplica:
        return model.ConnectReplica(volume=KEY, law=LAW, replica=rid(3),
                                    nqn='nqn.x:3', portals=(portal(3),))

    def test_a_named_portal_that_answers_is_connected(self) -> None:
        outcome = self.do(self.connect())
        self.assertTrue(outcome.changed)
        self.assertEqual('nvme9', outcome.detail)
        self.assertEqual([('connect', ('nqn.x:3', '10.0.0.3'))],
                         self.world.done)
        self.assertEqual([True], self.world.done_locked)

    def test_a_silent_portal_never_holds_up_novas_lock(self) -> None:
        self.world.answering = {portal(1)}
        self.assert_nothing(self.connect(), 'no portal answers')
        self.assertIsNone(self.world.locks.waited_s)

    def test_a_portal_that_is_not_named_now_is_refused(self) -> None:
        volume = self.world.seen.volume
        assert volume is not None
        self.change(volume=dataclasses.replace(
            volume, replicas=(replica(1), dataclasses.replace(
                replica(3), portals=(portal(8),)))))
        self.assert_nothing(self.connect())

    def test_disconnecting_keeps_a_held_leg(self) -> None:
        for index in (1, 2):
            self.assert_nothing(model.DisconnectPaths(
                volume=KEY, law=LAW, replica=rid(index),
                paths=self.world.seen.paths[rid(index)]))

    def test_disconnecting_names_the_idle_namespace(self) -> None:
        self.assertTrue(self.do(model.DisconnectPaths(
            volume=KEY, law=LAW, replica=rid(3),
            paths=self.world.seen.paths[rid(3)])).changed)
        self.assertEqual([('delete', ('nvme3', 'nvme3n1', True))],
                         self.world.done)


class TestFaulty(HandsTestCase):

    def action(self, index: int) -> model.DropFaulty:
        return model.DropFaulty(
            volume=KEY, law=LAW, array='md127', array_uuid=UUID,
            replica=rid(index), device=f'nvme{index}n1')

    def test_only_a_faulty_member_is_dropped(self) -> None:
        self.change_array(members=(member(1), member(2, 'faulty')))
        self.assert_nothing(self.action(1))
        self.assertTrue(self.do(self.action(2)).changed)
        self.assertEqual([('remove', 'nvme2n1')], self.world.done)


class TestNetwork(HandsTestCase):

    def test_facts_are_told_without_any_lock(self) -> None:
        self.world.locks.busy = True
        for action in (
                model.ReportState(volume=KEY, law=LAW, replica=rid(2),
                                  state=model.ReplicaState.MISSING),
                model.Publish(volume=KEY, law=LAW, replica=rid(3))):
            self.assertTrue(self.do(action).changed)
        self.assertEqual([('report', 'rep-2', 'missing'), ('publish',)],
                         self.owner.told)

    def test_a_replacement_carries_its_request_id(self) -> None:
        self.change_array(degraded=1, members=(member(1),))
        self.assertTrue(self.do(model.RequestReplacement(
            volume=KEY, law=LAW, replica=rid(2), request_id='r-1',
            known=frozenset())).changed)
        self.assertEqual([('request', 'rep-2', 'r-1')], self.owner.told)

    def test_a_refusal_is_final_and_a_silence_is_not(self) -> None:
        action = model.Publish(volume=KEY, law=LAW, replica=rid(3))
        self.owner.error = exception.ProvisionerRefused('cannot: no')
        self.assert_nothing(action, 'no', transient=False)
        self.owner.error = exception.ProvisionerUnreachable('cannot: lost')
        self.assert_nothing(action, 'lost', transient=True)

    def test_paused_hands_do_nothing(self) -> None:
        self.change(paused='by the operator')
        self.assert_nothing(
            model.Publish(volume=KEY, law=LAW, replica=rid(3)), 'paused')


class TestConfirmRemoval(HandsTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.action = model.ConfirmRemoval(
            volume=KEY, law=LAW, replica=rid(3), array='md127',
            array_uuid=UUID)

    def test_a_whole_array_lets_the_old_one_go(self) -> None:
        self.assertTrue(self.do(self.action).changed)
        self.assertEqual([('confirm', 'rep-3')], self.owner.told)

    def test_a_degraded_array_lets_nothing_go(self) -> None:
        self.change_array(degraded=1)
        self.assert_nothing(self.action)
        self.change_array(degraded=0,
                          members=(member(1), member(2, 'spare')))
        self.assert_nothing(self.action)

    def test_a_member_is_never_let_go(self) -> None:
        self.assert_nothing(dataclasses.replace(self.action,
                                                replica=rid(2)))

    def test_another_hosts_hold_stops_it(self) -> None:
        self.change(peers_hold=frozenset(('other',)))
        self.assert_nothing(self.action)


class TestSettings(base.TestCase):

    def test_the_profile_gives_the_keep_alive_unless_it_is_set(self) -> None:
        conf = self.new_conf()
        opts.register(conf)
        for name in ('default', 'fast'):
            conf.set_override('profile', name, group='os_brick_healer')
            self.assertEqual(policy.PROFILES[name].keep_alive_s,
                             act.Settings.read(conf).keep_alive_s)
        conf.set_override('keep_alive_timeout', 7, group='os_brick_healer')
        self.assertEqual(7, act.Settings.read(conf).keep_alive_s)
