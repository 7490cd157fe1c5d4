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
"""Laws of looking a volumes file over: each slip of the pen is told."""

import json
from typing import Any

from os_brick_healer.provisioner import base as prov
from os_brick_healer.provisioner import local_mistakes, reading
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.provisioner import test_local, worlds


class MistakesTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.replica = worlds.a_replica()
        self.spare = worlds.a_replica(size_bytes=5)
        self.volume: dict[str, Any] = {
            'replica_count': 2, 'replicas': [self.replica,
                                             worlds.a_replica()]}
        self.document: dict[str, Any] = {
            'format': 1, 'volumes': {'v': self.volume},
            'spares': [self.spare]}

    def find(self) -> list[local_mistakes.Mistake]:
        return local_mistakes.find(
            reading.load(json.dumps(self.document), 'the file'))

    def one(self, *, serious: bool) -> str:
        found, = self.find()
        self.assertEqual(serious, found.serious)
        return found.sentence

    def test_a_good_file_has_none(self) -> None:
        self.document['notes'] = 'who did what'
        self.volume['comment'] = 'the database'
        self.replica['rack'] = 7
        self.assertEqual([], self.find())

    def test_what_stops_the_healing_of_a_volume_is_serious(self) -> None:
        for change in ({'hosts': 'compute-1'}, {'replica_count': 0},
                       {'replicas': [{**self.replica, 'state': 'Good'}]},
                       {'replicas': [{**self.replica, 'portals': None}]},
                       {'replicas': [self.replica, self.replica]},
                       {'replicas': [{**self.replica, 'portals': [
                           {'address': '192.0.2.1', 'port': 99999}]}]}):
            self.document['volumes'] = {'v': {**self.volume, **change}}
            self.assertTrue(self.find()[0].serious, str(change))
            self.assertIn('volumes.v.', self.find()[0].sentence)

    def test_a_name_that_cannot_be_printed_is_serious(self) -> None:
        self.document['volumes'] = {'v\n': self.volume}
        self.assertIn('a volume in it is called v\\n,',
                      self.one(serious=True))

    def test_a_spare_that_cannot_be_read_is_serious(self) -> None:
        del self.spare['nqn']
        self.assertIn('spares[0].nqn', self.one(serious=True))

    def test_a_spare_without_a_size_is_told(self) -> None:
        del self.spare['size_bytes']
        self.assertIn('spares[0] is never taken', self.one(serious=False))

    def test_a_replica_without_portals_is_told(self) -> None:
        self.replica['portals'] = []
        self.assertIn('replicas[0].portals is empty',
                      self.one(serious=False))

    def test_what_is_in_two_places_is_told(self) -> None:
        self.spare['id'] = self.replica['id']
        self.assertIn('spares[0] and volumes.v.replicas[0] have one id',
                      self.one(serious=False))
        self.spare.update(
            id='x', namespace_uuid=self.replica['namespace_uuid'].upper())
        self.assertIn('one namespace_uuid', self.one(serious=True))

    def test_a_key_that_is_nearly_one_of_ours_is_told(self) -> None:
        for place, key, meant in (
                (self.document, 'spare', None),
                (self.volume, 'grace', 'grace_s'),
                (self.volume, 'host', 'hosts'),
                (self.volume, 'size', 'size_bytes'),
                (self.replica, 'stat', 'state'),
                (self.replica['portals'][0], 'transprot', 'transport')):
            if meant is None:
                place.pop('spares')
                meant = 'spares'
            place[key] = 'x'
            self.assertIn(f"the key '{key}'", self.one(serious=False))
            self.assertIn(f'is it {meant}?', self.one(serious=False))
            del place[key]


class NamesTest(test_local.LocalTestCase):
    def test_a_name_that_cannot_be_used_spoils_no_other(self) -> None:
        self.write()
        document = self.world.read()
        good = document['volumes']['v1']
        for name, shown in (('v\x1b2', 'v\\x1b2'), ('\ud800', '\\ud800'),
                            ('', '(no name)'), ('v1\n', 'v1\\n'),
                            ('x' * 2000, f'{"x" * 80}...')):
            other = {**good, 'replicas': [worlds.a_replica()]}
            self.world.write({**document, 'volumes': {
                'v1': good, name: other}})
            found = self.plugin.volumes()
            self.assertEqual({test_local.V1, shown}, set(found))
            self.assertIsNone(found[test_local.V1].nonsense)
            odd = found[prov.VolumeId(shown)]
            self.assertEqual((shown, ()), (odd.id, odd.replicas))
            self.assertIn(f'a volume in it is called {shown},',
                          odd.nonsense or '')
            self.assertTrue((odd.nonsense or '').isprintable())
            self.plugin.report(test_local.V1, prov.ReplicaId(
                good['replicas'][0]['id']), prov.ReplicaState.MISSING)
