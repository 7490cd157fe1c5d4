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
"""Laws of the hands when devices join and replicas go."""

import dataclasses
from typing import Any

from os_brick_healer import exception
from os_brick_healer.conf import opts, policy
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.replica import act, learn, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica.hands_world import (
    GIB,
    HandsTestCase,
    KEY,
    LAW,
    member,
    OTHER_UUID,
    Owner,
    path,
    portal,
    replica,
    rid,
    UUID,
)


class Once(Owner):
    """Makes a replica for each request that it hears."""

    guarantees = provisioner.Guarantees(
        batch=True, knows_hosts=True, idempotent_replacement=False)


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

    def test_a_request_without_an_answer_may_have_been_heard(self) -> None:
        many, once = self.owner, Once(self.world)
        self.change_array(degraded=1, members=(member(1),))
        action = model.RequestReplacement(
            volume=KEY, law=LAW, replica=rid(2), request_id='r-1',
            known=frozenset())
        for kind, uncertain in (
                (exception.ProvisionerUnreachable, True),
                (exception.ProvisionerNonsense, True),
                (exception.ProvisionerUnasked, False),
                (exception.ProvisionerRefused, False),
                (exception.ProvisionerError, False)):
            # Is it safe to ask once more?
            for owner, again in ((many, True), (once, False)):
                owner.error, self.owner = kind('cannot: so'), owner
                found = self.do(action)
                self.assertEqual(('cannot: so', kind.transient),
                                 (found.error, found.transient))
                self.assertIs(uncertain and not again,
                              found.detail == learn.UNCERTAIN, f'{kind}')

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
        self.change_paths(2, path(2))
        self.world.answering.add(portal(2))

    def test_a_leg_that_is_away_lets_nothing_go(self) -> None:
        self.change_paths(2, path(2, model.PathState.CONNECTING))
        self.assert_nothing(self.action, 'and live')

    def test_nor_does_a_leg_that_is_silent_and_was_not_probed(self) -> None:
        self.world.answering.discard(portal(2))
        self.assert_nothing(self.action, 'and live')

    def test_a_portal_that_cannot_be_probed_is_as_live_as_its_path(
            self) -> None:
        rdma = dataclasses.replace(portal(2), transport='rdma')
        self.world.answering.discard(portal(2))
        self.change_paths(2, dataclasses.replace(path(2), portal=rdma))
        self.assertTrue(self.do(self.action).changed)

    def test_a_whole_array_lets_the_old_one_go(self) -> None:
        self.assertTrue(self.do(self.action).changed)
        self.assertEqual([('confirm', 'rep-3')], self.owner.told)

    def test_a_degraded_array_lets_nothing_go(self) -> None:
        self.change_array(degraded=1)
        self.assert_nothing(self.action)
        self.change_array(degraded=0,
                          members=(member(1), member(2, 'spare')))
        self.assert_nothing(self.action)

    def test_a_degraded_array_with_the_successor_lets_the_old_one_go(
            self) -> None:
        self.change_array(degraded=1, raid_disks=3)
        self.action = dataclasses.replace(self.action, successor=rid(2))
        self.assertTrue(self.do(self.action).changed)
        self.assertEqual([('confirm', 'rep-3')], self.owner.told)

    def test_a_member_is_never_let_go(self) -> None:
        self.assert_nothing(dataclasses.replace(self.action,
                                                replica=rid(2)))

    def test_another_hosts_hold_stops_it(self) -> None:
        self.change(peers_hold=frozenset(('other',)))
        self.assert_nothing(self.action)

    def test_nor_does_one_answer_end_another_hosts_hold(self) -> None:
        self.change(peers_hold=frozenset(('other',)), volume_age_s=100.0)
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
