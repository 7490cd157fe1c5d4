# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

import http.client
import json
import pathlib
import ssl
from typing import Any
import urllib.error
import urllib.request

import fixtures

from bed.guest.kumoscale import Fault, Generation, KumoScaleServer
from bed.guest.provisioner import Provisioner, ReplicaState
from bed.guest.storage import MemoryStorage
from os_brick_healer.tests import base


class TestKumoScaleServer(base.TestCase):
    """The simulated provisioner keeps the vendor's rules."""

    def setUp(self) -> None:
        super().setUp()
        directory = self.useFixture(fixtures.TempDir()).path
        self.storage = MemoryStorage(backends=4)
        self.provisioner = Provisioner(self.storage,
                                       wall_clock=lambda: 1000.0)
        self.server = KumoScaleServer(self.provisioner,
                                      pathlib.Path(directory))
        self.server.start()
        self.addCleanup(self.server.stop)
        self.volume = self.provisioner.create_volume('vol-1', 64, 2)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self.server.url + path, method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={'Authorization': f'Bearer {self.server.token}'})
        context = ssl.create_default_context(cafile=self.server.pki.ca)
        with urllib.request.urlopen(request, timeout=10,
                                    context=context) as reply:
            return json.load(reply)

    def status(self, method: str, path: str, body: Any = None) -> str:
        return str(self.call(method, path, body)['status'])

    def publish(self) -> str:
        self.call('POST', 'host_probe', {'hostId': 'h1', 'hostNqn': 'nqn.h1'})
        return self.status('POST', 'publish',
                           {'hostId': 'h1', 'volId': self.volume.id})

    def test_a_new_replica_is_shown_after_another_publish(self) -> None:
        self.assertEqual('Success', self.publish())
        self.assertEqual('AlreadyPublished', self.publish())
        self.call('POST', f'replica/{self.volume.id}', {})
        fresh = self.volume.legs[-1]
        self.assertEqual(set(), self.storage.hosts[fresh])
        self.assertEqual('Success', self.publish())
        self.assertEqual({'nqn.h1'}, self.storage.hosts[fresh])

    def test_targets_are_per_replica_or_per_volume(self) -> None:
        self.publish()
        targets = self.call('GET', 'targets?hostId=h1')
        self.assertEqual([self.storage.nqn(leg) for leg in self.volume.legs],
                         [each['targetName'] for each in targets])
        self.provisioner.generation = Generation.NAME
        target, = self.call('GET', 'targets?hostId=h1')
        self.assertEqual(2, target['numNamespaces'])
        self.assertIn('name', target)

    def test_a_deletion_is_marked_and_then_confirmed(self) -> None:
        first, second = self.volume.legs
        path = f'replica/{self.volume.id}/{first}'
        self.assertEqual('NotAvailable', self.status('DELETE', path))
        self.assertEqual('Success', self.status('PATCH', path))
        self.assertEqual(ReplicaState.TERMINATING,
                         self.volume.replicas[0].state)
        self.assertEqual('Success', self.status('DELETE', path))
        self.assertEqual([second], self.volume.legs)
        self.assertNotIn(first, self.storage.sizes)

    def test_deleting_the_last_available_replica_is_a_violation(
            self) -> None:
        first, second = self.volume.legs
        self.call('PATCH', f'replica/{self.volume.id}/{second}/Missing')
        self.call('PATCH', f'replica/{self.volume.id}/{first}')
        self.assertEqual(1, len(self.provisioner.violations))

    def test_no_replica_is_added_without_one_to_copy_from(self) -> None:
        for leg in self.volume.legs:
            self.call('PATCH', f'replica/{self.volume.id}/{leg}/Missing')
        self.assertEqual('NotAvailable', self.status(
            'POST', f'replica/{self.volume.id}', {}))

    def test_a_tenant_may_stand_before_the_path(self) -> None:
        self.assertEqual(self.call('GET', f'volumes/{self.volume.id}'),
                         self.call('GET', f'tenant/volumes/{self.volume.id}'))

    def test_requests_are_counted_by_kind(self) -> None:
        self.call('POST', f'replica/{self.volume.id}', {})
        self.call('POST', 'replica/none', {})
        self.assertEqual(1, self.server.count('add_replica'))
        self.assertEqual(2, len(self.server.requests_of('add_replica')))

    def test_every_fault_shows_and_ends(self) -> None:
        shown = {Fault.DOWN: urllib.error.URLError,
                 Fault.ERROR_500: urllib.error.HTTPError,
                 Fault.GARBAGE: ValueError,
                 Fault.TRUNCATED: http.client.IncompleteRead,
                 Fault.WRONG_CERTIFICATE: urllib.error.URLError,
                 Fault.UNAUTHORIZED: urllib.error.HTTPError}
        for fault, error in shown.items():
            self.server.break_down(fault)
            self.assertRaises(error, self.call, 'GET', 'info')
            self.server.mend()
            self.assertIn('version', self.call('GET', 'info'))

    def test_a_contradiction_is_in_two_answers_in_a_row(self) -> None:
        self.server.break_down(Fault.CONTRADICTION)
        self.assertNotEqual(self.call('GET', 'volumes'),
                            self.call('GET', 'volumes'))
