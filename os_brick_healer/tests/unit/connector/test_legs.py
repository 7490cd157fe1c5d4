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

"""A leg is the same however it is written."""

import dataclasses

from os_brick_healer.connector import guard, legs, resolve
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.tests import base

UUID = 'aaaaaaaa-2222-4333-8444-bbbbbbbbbbbb'
NGUID = '66666666-7777-4888-8999-000000000000'


def leg(**changes: object) -> legs.Leg:
    return dataclasses.replace(
        legs.Leg(nqn='nqn.a', uuid=UUID, portals=(('10.0.0.1', '1', 'tcp'),)),
        **changes)  # type: ignore[arg-type]


class LegTest(base.TestCase):

    def test_the_surest_of_its_names_is_its_key(self) -> None:
        self.assertEqual(UUID, leg(nguid=NGUID).key)
        self.assertEqual(NGUID, leg(uuid=None, nguid=NGUID).key)
        self.assertEqual('nqn.a', leg(uuid=None).key)

    def test_a_namespace_is_known_by_the_surest_name_there_is(self) -> None:
        for one, namespace, is_it in (
                (leg(), ('nqn.a', UUID, None, '1', False), True),
                (leg(), ('nqn.b', UUID, None, '1', True), False),
                (leg(), ('nqn.a', NGUID, NGUID, '1', True), False),
                (leg(uuid=None, nguid=NGUID),
                 ('nqn.a', None, NGUID, '1', False), True),
                (leg(uuid=None, nguid=NGUID),
                 ('nqn.a', UUID, None, '1', True), False),
                (leg(uuid=None, ns_id='7'),
                 ('nqn.a', None, None, '7', False), True),
                (leg(uuid=None, ns_id='7'),
                 ('nqn.a', None, None, '8', True), False),
                (leg(uuid=None), ('nqn.a', None, None, '1', True), True),
                (leg(uuid=None), ('nqn.a', None, None, '1', False), False)):
            self.assertIs(is_it, one.is_namespace(*namespace),
                          f'{one} {namespace}')

    def test_uuids_are_compared_in_one_form(self) -> None:
        for text in (UUID, UUID.upper(), UUID.replace('-', ''),
                     f'urn:uuid:{UUID}'):
            self.assertEqual(UUID, legs.lower_uuid(text))
        self.assertEqual('volume-1', legs.lower_uuid('volume-1'))
        self.assertIsNone(legs.lower_uuid(None))
        self.assertIsNone(legs.lower_uuid(''))
        self.assertEqual(UUID, legs.id_of(UUID.upper()))
        self.assertEqual('', legs.id_of(''))

    def test_only_several_replicas_make_an_array(self) -> None:
        for props, is_one in (
                ({}, False), ({'volume_replicas': None}, False),
                ({'volume_replicas': [{}]}, False),
                ({'volume_replicas': ({}, {})}, True),
                ({'volume_replicas': [{}, {}], 'replica_count': 1}, False),
                ({'volume_replicas': [{}], 'replica_count': 2}, True),
                ({'volume_replicas': 'ab', 'replica_count': 2}, False)):
            self.assertIs(is_one, legs.is_replicated(props), f'{props}')

    def test_a_connection_is_read_and_written_as_it_was(self) -> None:
        entry = {'target_nqn': 'nqn.a', 'vol_uuid': UUID,
                 'portals': [['10.0.0.1', '4420', 'tcp']],
                 'volume_nguid': NGUID, 'ns_id': '1', 'host_nqn': 'nqn.h'}
        (one,) = legs.of_connection({'volume_replicas': [
            {**entry, 'ns_id': 1, 'vol_uuid': UUID.upper()}]})
        self.assertEqual(entry, legs.to_replica(one))
        self.assertEqual({'target_nqn', 'vol_uuid', 'portals'},
                         set(legs.to_replica(leg())))
        (one,) = legs.of_connection({'volume_replicas': [
            {'target_nqn': 'nqn.a', 'portals': []}]})
        self.assertEqual((None, None, None, None, ()),
                         (one.uuid, one.nguid, one.ns_id, one.host_nqn,
                          one.portals))
        self.assertEqual((), legs.of_connection({}))

    def test_what_is_not_published_is_no_leg(self) -> None:
        replica = provisioner.Replica(
            id=provisioner.ReplicaId(UUID.upper()), nqn='nqn.a',
            namespace_uuid=UUID.upper(),
            portals=(provisioner.Portal(address='10.0.0.1', port=1),),
            state=provisioner.ReplicaState.AVAILABLE)
        self.assertEqual(
            leg(id=UUID, state=provisioner.ReplicaState.AVAILABLE),
            legs.of_replica(replica))
        for changes in ({'nqn': None}, {'portals': ()}):
            self.assertIsNone(legs.of_replica(
                dataclasses.replace(replica, **changes)))

    def test_of_two_words_about_one_leg_the_first_counts(self) -> None:
        first, again, other = leg(), leg(nqn='nqn.b'), leg(uuid=NGUID)
        self.assertEqual((first, other), legs.union((first,), (again, other)))

    def test_only_known_keys_without_secrets_are_written_down(self) -> None:
        self.assertEqual(
            {'vol_uuid': UUID, 'replica_count': 2, 'encrypted': False,
             'volume_replicas': [legs.to_replica(leg())]},
            legs.sanitized({'vol_uuid': UUID, 'replica_count': 2,
                            'encrypted': False, 'auth_password': 'secret',
                            'alias': ['secret'], 'access_mode': None},
                           (leg(),)))


class ResolveTest(base.TestCase):

    def volume(self, *states: provisioner.ReplicaState,
               **changes: object) -> provisioner.Volume:
        made = provisioner.Volume(
            id=provisioner.VolumeId(UUID), alias='v', size_bytes=1 << 30,
            replica_count=2, hosts=None, replicas=tuple(
                provisioner.Replica(
                    id=provisioner.ReplicaId(f'r{i}'), nqn=f'nqn.{i}',
                    namespace_uuid=None, state=state, portals=(
                        provisioner.Portal(address=f'10.0.0.{i}', port=1),))
                for i, state in enumerate(states)))
        return dataclasses.replace(made, **changes)  # type: ignore[arg-type]

    def props(self, **changes: object) -> dict[str, object]:
        return {'vol_uuid': UUID, 'alias': 'v', 'volume_replicas': [
            {'target_nqn': f'nqn.{i}', 'vol_uuid': None, 'host_nqn': 'nqn.h',
             'volume_nguid': NGUID, 'ns_id': i, 'portals': []}
            for i in range(2)], **changes}

    def test_what_is_called_missing_is_never_read_from(self) -> None:
        found = resolve.resolve(
            self.props(), self.volume(provisioner.ReplicaState.AVAILABLE,
                                      provisioner.ReplicaState.MISSING),
            None, ())
        self.assertEqual(
            ['nqn.0'], [one.nqn for one in found.legs])
        self.assertEqual(['nqn.1'], [one.nqn for one in found.bad])
        self.assertEqual((2, 1 << 30, True, UUID, 'v'), (
            found.replica_count, found.size_bytes, found.fresh, found.key,
            found.alias))
        self.assertEqual(
            f'volume {UUID} has 1 of 2 legs that may be used; {NGUID} is '
            'left out: it is missing', found.sentence)

    def test_only_nova_knows_this_hosts_own_name(self) -> None:
        found = resolve.resolve(
            self.props(), self.volume(provisioner.ReplicaState.AVAILABLE),
            None, ())
        self.assertEqual(('nqn.h', NGUID, '0'), (
            found.legs[0].host_nqn, found.legs[0].nguid,
            found.legs[0].ns_id))
        # One that has come since connects by the same name of this host.
        new = self.volume(*[provisioner.ReplicaState.AVAILABLE] * 3)
        found = resolve.resolve(self.props(), new, None, ())
        self.assertEqual(('nqn.2', 'nqn.h', None), (
            found.legs[2].nqn, found.legs[2].host_nqn, found.legs[2].nguid))
        props = self.props()
        props['volume_replicas'][0]['host_nqn'] = 'x'   # type: ignore[index]
        found = resolve.resolve(props, new, None, ())
        self.assertIsNone(found.legs[2].host_nqn)

    def test_who_does_not_name_it_clearly_is_not_heard(self) -> None:
        old = legs.Leg(nqn='nqn.old', uuid=None, portals=())
        for volume, error, why in (
                (None, None, 'does not name it'), (None, 'it is off', 'off'),
                (self.volume(nonsense='it says two things'), None,
                 'is not clear: it says two')):
            found = resolve.resolve(self.props(), volume, error, (old,))
            self.assertEqual((False, None, 2), (
                found.fresh, found.size_bytes, found.replica_count))
            self.assertIn('nqn.old', [one.nqn for one in found.legs])
            self.assertIn(why, found.sentence)
        found = resolve.resolve(self.props(replica_count=3), None, None, ())
        self.assertEqual(3, found.replica_count)

    def test_a_volume_is_found_however_its_id_is_written(self) -> None:
        volume = self.volume()
        loud = provisioner.VolumeId(UUID.upper())
        for key in (provisioner.VolumeId(UUID), loud):
            self.assertIs(volume, resolve.find(self.props(), {key: volume}))
        none = provisioner.VolumeId('another')
        self.assertIsNone(resolve.find(self.props(), {none: volume}))
        bare = provisioner.VolumeId(UUID.replace('-', ''))
        self.assertIsNone(resolve.find(
            self.props(), {loud: volume, bare: volume}))
        self.assertEqual('v', resolve.volume_key({'alias': 'v'}))


class GuardTest(base.TestCase):

    def present(self, key: str, content: guard.Content) -> guard.Present:
        return guard.Present(device=f'/dev/{key}', content=content,
                             leg=leg(uuid=key))

    def test_an_array_is_as_new_as_its_newest_leg(self) -> None:
        old, new, mute = (
            self.present(k, guard.Super(array_uuid='a', events=n))
            for k, n in (('x', 5), ('y', 9), ('z', None)))
        self.assertEqual(9, guard.Assemble(
            legs=(old, new, mute), array_uuid='a').events)
        self.assertIsNone(guard.Assemble(
            legs=(mute,), array_uuid='a').events)
