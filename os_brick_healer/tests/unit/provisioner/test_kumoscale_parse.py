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
import json
from typing import Any

import hypothesis

from os_brick_healer import exception
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.provisioner import kumoscale_parse as ks
from os_brick_healer.provisioner import reading
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.provisioner import documents

VOLUME = '00000000-0000-4000-8000-00000000000a'
OTHER = '00000000-0000-4000-8000-00000000000b'
R1 = '00000000-0000-4000-8000-000000000001'
R2 = '00000000-0000-4000-8000-000000000002'


def read(value: object) -> reading.Cursor:
    return reading.Cursor(value=json.loads(json.dumps(value)),
                          source='the answer')


def location(replica: str, backend: str = 'b1', state: str = 'Available'
             ) -> dict[str, Any]:
    return {'uuid': replica, 'replicaState': state, 'currentStateTime': 5,
            'backend': {'persistentID': backend}}


def entry(**changes: Any) -> dict[str, Any]:
    return {'uuid': VOLUME, 'alias': 'vol', 'capacity': 10,
            'numReplicas': 2, 'maxReplicaDownTime': 0, 'writable': True,
            'location': [location(R1, 'b1'), location(R2, 'b2')], **changes}


def backends(*names: str) -> list[dict[str, Any]]:
    return [{'persistentID': name, 'portals': [
        {'ip': f'192.0.2.{number}', 'port': 4420, 'transport': 'TCP'}]}
        for number, name in enumerate(names, 1)]


def volume(told: object, targets: object,
           reached: object = None) -> provisioner.Volume:
    """The first volume of an answer, put together."""
    stored = next(iter(ks.volumes(read(told)).values()))
    ways = backends('b1', 'b2') if reached is None else reached
    return ks.volume(stored, ks.targets(read(targets)),
                     ks.portals(read(ways)), None)


class VolumesTest(base.TestCase):
    def test_both_generations_name_the_same_legs(self) -> None:
        old = [{'targetName': 'nqn.one', 'backend': {'persistentID': 'b1'}},
               {'targetName': 'nqn.two', 'backend': {'persistentID': 'b2'}}]
        new = [{'name': 'nqn.all', 'numNamespaces': 2}]
        first, second = volume([entry()], old), volume([entry()], new)
        self.assertEqual(['nqn.one', 'nqn.two'],
                         [one.nqn for one in first.replicas])
        self.assertEqual(['nqn.all', 'nqn.all'],
                         [one.nqn for one in second.replicas])
        for found in (first, second):
            self.assertIsNone(found.nonsense)
            self.assertEqual([R1, R2], [one.namespace_uuid
                                        for one in found.replicas])
            self.assertEqual(
                ['tcp://192.0.2.1:4420', 'tcp://192.0.2.2:4420'],
                [str(one.portals[0]) for one in found.replicas])

    def test_states_are_read_as_they_are_written(self) -> None:
        for word, state in (
                ('Available', provisioner.ReplicaState.AVAILABLE),
                ('MISSING', provisioner.ReplicaState.MISSING),
                ('Synchronizing', provisioner.ReplicaState.SYNCHRONIZING),
                ('Terminating', provisioner.ReplicaState.TERMINATING),
                ('Exploded', provisioner.ReplicaState.UNKNOWN),
                ('', provisioner.ReplicaState.UNKNOWN),
                (None, provisioner.ReplicaState.UNKNOWN)):
            told = entry(location=[{**location(R1), 'replicaState': word}])
            self.assertIs(state, volume([told], []).replicas[0].state)

    def test_a_replica_of_no_back_end_is_missing_not_nonsense(self) -> None:
        for backend in ({'persistentID': ''}, {}, None):
            told = entry(location=[
                location(R1), {**location(R2, state='Missing'),
                               'backend': backend}])
            found = volume([told], [{'targetName': 'nqn.one', 'backend': {
                'persistentID': 'b1'}}])
            self.assertIsNone(found.nonsense)
            self.assertEqual(['nqn.one', None],
                             [one.nqn for one in found.replicas])
            self.assertEqual((), found.replicas[1].portals)

    def test_who_is_not_served_is_reached_by_nobody(self) -> None:
        for one in volume([entry()], []).replicas:
            self.assertEqual((None, ()), (one.nqn, one.portals))
        (first, _) = volume([entry()], [{'name': 'nqn.all'}]).replicas
        self.assertEqual(1, len(first.portals))

    def test_a_size_is_in_gib_or_in_bytes(self) -> None:
        for told, wanted in ((10, 10 << 30), (0.0625, 64 << 20),
                             ('10', 10 << 30), (1 << 30, 1 << 30),
                             (None, None)):
            self.assertEqual(
                wanted, volume([entry(capacity=told)], []).size_bytes)

    def test_numbers_are_taken_up_to_their_bounds(self) -> None:
        most = ks.GIB_MOST
        for change, sizes in (
                ({'capacity': most - 1}, (most - 1) << 30),
                ({'capacity': most}, most), ({'capacity': 0}, 0),
                ({'capacity': 1 << 62}, 1 << 62)):
            self.assertEqual(sizes, volume([entry(**change)], []).size_bytes)
        self.assertEqual(1 << 20, most)
        for count in (0, 64):
            found = volume([entry(numReplicas=count)], [])
            self.assertEqual((count, None),
                             (found.replica_count, found.nonsense))
        self.assertEqual(2, volume(
            [entry(numReplicas=None)], []).replica_count)
        self.assertEqual(600_000_000.0, volume(
            [entry(maxReplicaDownTime=10_000_000)], []).grace_s)
        for change in ({'capacity': (1 << 62) + 1024}, {'numReplicas': 65},
                       {'numReplicas': -1}, {'maxReplicaDownTime': -1},
                       {'maxReplicaDownTime': 10_000_001}):
            self.assertIsNotNone(volume([entry(**change)], []).nonsense)
        for port, good in ((1, True), (65535, True), (0, False),
                           (65536, False)):
            (told,) = ks.portals(read([{'persistentID': 'b1', 'portals': [
                {'ip': '::1', 'port': port, 'transport': 'TCP'}]}])).values()
            self.assertIs(good, not isinstance(told, str))

    def test_zero_minutes_of_grace_are_the_operators_setting(self) -> None:
        for told, wanted in ((0, None), (None, None), (2, 120.0)):
            self.assertEqual(wanted, volume(
                [entry(maxReplicaDownTime=told)], []).grace_s)

    def test_other_transports_are_left_out(self) -> None:
        ways = [{'persistentID': 'b1', 'portals': [
            {'ip': '192.0.2.1', 'port': 1, 'transport': 'FC'},
            {'ip': '192.0.2.1', 'port': '4420', 'transport': 'RoCEv2'},
            {'ip': '192.0.2.1', 'port': 4420, 'transport': 'rdma'},
            {'ip': 'fd00::1', 'port': 4420, 'transport': 'tcp'}]}]
        found = volume([entry()], [{'name': 'nqn.all'}], ways)
        self.assertEqual(['rdma://192.0.2.1:4420', 'tcp://fd00::1:4420'],
                         [str(one) for one in found.replicas[0].portals])

    def test_a_target_that_names_its_namespaces_is_believed(self) -> None:
        for names in ([{'uuid': R1}], [{'volId': VOLUME}],
                      [{'replicaId': R1.upper()}]):
            found = volume([entry()], [{'name': 'nqn.x',
                                        'namespaces': names}])
            self.assertEqual('nqn.x', found.replicas[0].nqn)
        found = volume([entry()], [{'name': 'nqn.x',
                                    'namespaces': [{'uuid': R1}]}])
        self.assertIsNone(found.replicas[1].nqn)
        found = volume([entry()], [{'name': 'nqn.x', 'volId': OTHER}])
        self.assertIsNone(found.replicas[0].nqn)


class NonsenseTest(base.TestCase):
    def assert_nonsense(self, told: object, targets: object = (),
                        reached: object = None) -> None:
        found = volume(told, targets, reached)
        self.assertIsNotNone(found.nonsense)
        self.assertEqual((), found.replicas)

    def test_one_bad_entry_does_not_spoil_the_others(self) -> None:
        found = ks.volumes(read([{'uuid': OTHER}, 5, {}, entry()]))
        self.assertIsNotNone(found[provisioner.VolumeId(OTHER)].nonsense)
        self.assertIsNone(found[provisioner.VolumeId(VOLUME)].nonsense)
        self.assertEqual(2, len(found))

    def test_an_answer_without_a_single_name_is_no_list(self) -> None:
        wrong: list[Any] = [[{}], [5], {'status': 'Success'}, 'x', None, {}]
        for told in wrong:
            self.assertRaises(exception.ProvisionerNonsense,
                              ks.volumes, read(told))

    def test_an_entry_that_is_wrong_is_nonsense(self) -> None:
        for change in (
                {'location': None}, {'location': 5}, {'location': [5]},
                {'location': [{'uuid': 'x'}]}, {'numReplicas': 'two'},
                {'capacity': -1}, {'capacity': 'large'},
                {'maxReplicaDownTime': 1.5}, {'alias': 'a\x1b[2Jb'},
                {'location': [{**location(R1), 'backend': 5}]}):
            (stored,) = ks.volumes(read([entry(**change)])).values()
            self.assertIsNotNone(stored.nonsense)
            # Of what is wrong nothing is believed.
            self.assertEqual(ks.Stored(
                id=provisioner.VolumeId(VOLUME), alias='', size_bytes=None,
                replica_count=0, grace_s=None, locations=(),
                nonsense=stored.nonsense), stored)

    def test_a_replica_listed_twice_is_nonsense(self) -> None:
        stored = ks.volumes(read([entry(location=[location(R1),
                                                  location(R1)])]))
        self.assertIsNotNone(stored[provisioner.VolumeId(VOLUME)].nonsense)

    def test_a_replica_of_two_volumes_spoils_both(self) -> None:
        stored = ks.volumes(read([entry(), entry(uuid=OTHER)]))
        self.assertTrue(all(one.nonsense for one in stored.values()))
        self.assertEqual(2, len(stored))

    def test_a_volume_listed_twice_is_nonsense(self) -> None:
        self.assert_nonsense([entry(location=[]), entry(location=[])])

    def test_two_targets_for_one_replica_are_nonsense(self) -> None:
        self.assert_nonsense([entry()], [{'name': 'nqn.a'},
                                         {'name': 'nqn.b'}])

    def test_a_bad_portal_spoils_its_volumes_only(self) -> None:
        ways = [{'persistentID': 'b1', 'portals': [
            {'ip': '; reboot', 'port': 4420, 'transport': 'TCP'}]},
            *backends('b2')]
        self.assert_nonsense([entry()], [{'name': 'nqn.all'}], ways)
        away = entry(location=[location(R2, 'b2')])
        self.assertIsNone(
            volume([away], [{'name': 'nqn.all'}], ways).nonsense)

    def test_a_back_end_without_portals_has_none(self) -> None:
        self.assertEqual(
            {'b1': (), 'b2': ()},
            ks.portals(read([{'persistentID': 'b1'}, {'portals': []},
                             {'persistentID': 'b2', 'portals': [
                                 {'transport': 'FC'}]}])))

    def test_a_portal_that_is_listed_twice_is_one(self) -> None:
        one = {'ip': '192.0.2.1', 'port': 4420, 'transport': 'tcp'}
        other = {**one, 'transport': 'RoCEv2'}
        self.assertEqual(
            {'b1': (provisioner.Portal(address='192.0.2.1', port=4420),
                    provisioner.Portal(address='192.0.2.1', port=4420,
                                       transport='rdma'))},
            ks.portals(read([{'persistentId': 'b1',
                              'portals': [one, other, one]}])))

    def test_an_odd_host_is_left_out_and_the_others_are_not(self) -> None:
        self.assertEqual(
            {'h-1': ks.Host(uuid='h-1', nqn='nqn.h', name='here'),
             'h-2': ks.Host(uuid='h-2', nqn=None, name=None)},
            ks.hosts(read([
                {'uuid': 'H-1', 'nqn': 'nqn.h', 'name': 'here'}, {},
                {'uuid': 'h-2', 'name': ''}, 7, {'uuid': 'h-3', 'nqn': 7}])))

    def test_a_volume_without_an_alias_has_an_empty_one(self) -> None:
        for told in ('', None):
            found = volume([entry(alias=told)], [])
            self.assertEqual(('', None), (found.alias, found.nonsense))

    def test_a_host_may_have_an_empty_nqn(self) -> None:
        (found,) = ks.hosts(read([{'uuid': 'h-1', 'nqn': ''}])).values()
        self.assertEqual('', found.nqn)

    def test_a_version_is_told_where_there_is_one(self) -> None:
        for told in ('3.21', ''):
            self.assertEqual(told, ks.version(read({'version': told})))
        self.assertEqual('of unknown version', ks.version(read({})))

    def test_a_target_without_an_nqn_spoils_the_list(self) -> None:
        wrong: list[Any] = [[{}], [{'name': 'x'}], [5], {},
                            [{'name': 'nqn.\n'}]]
        for told in wrong:
            self.assertRaises(exception.ProvisionerNonsense,
                              ks.targets, read(told))


class PropertyTest(base.TestCase):
    @documents.settings
    @hypothesis.given(documents.volumes, documents.targets,
                      documents.portals, documents.hosts)
    def test_no_answer_surprises(self, told: Any, targets: Any,
                                 ways: Any, hosts: Any) -> None:
        try:
            stored = ks.volumes(read(told))
            serving = ks.targets(read(targets))
            reached = ks.portals(read(ways))
            ks.hosts(read(hosts))
        except exception.ProvisionerNonsense:
            return
        for one in stored.values():
            found = ks.volume(one, serving, reached, None)
            if found.nonsense is not None:
                self.assertTrue(found.nonsense.isprintable())
                continue
            names = [replica.id for replica in found.replicas]
            self.assertEqual(len(set(names)), len(names))
            for replica in found.replicas:
                self.assertTrue(replica.nqn or not replica.portals)
