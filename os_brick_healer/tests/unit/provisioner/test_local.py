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
import fcntl
import json
import os
import pathlib
import resource
import tempfile
import threading
from typing import Any
import unittest

import hypothesis

from os_brick_healer import exception
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.provisioner import local
from os_brick_healer.testing import conformance
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.provisioner import documents, worlds

ROOT = pathlib.Path(__file__).parents[4]
GIB = worlds.GIB
V1 = provisioner.VolumeId('v1')


class LocalTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.world = worlds.LocalWorld(self.temp_dir())
        self.path = self.world.path
        self.plugin = self.world.make_provisioner(conformance.HERE)

    def write(self, *sizes_bytes: int, **changes: Any) -> list[str]:
        """One volume of two replicas, and spares of these sizes."""
        replicas = [worlds.a_replica(), worlds.a_replica()]
        entry = {'alias': 'vol', 'size_bytes': GIB, 'replica_count': 2,
                 'hosts': [conformance.HERE.name], 'replicas': replicas,
                 **changes}
        self.world.write({
            'format': 1, 'volumes': {'v1': entry},
            'spares': [worlds.a_replica(size_bytes=one)
                       for one in sizes_bytes]})
        return [one['id'] for one in replicas]

    def replace(self, lost: str, request_id: str = 'q1') -> None:
        self.plugin.request_replacement(
            V1, provisioner.ReplicaId(lost), request_id)


class SparesTest(LocalTestCase):
    def test_the_smallest_that_is_large_enough_is_taken(self) -> None:
        legs = self.write(GIB - 1, 3 * GIB, 2 * GIB, 4 * GIB)
        self.replace(legs[0])
        left = [one['size_bytes'] for one in self.world.read()['spares']]
        self.assertEqual([GIB - 1, 3 * GIB, 4 * GIB], left)

    def test_a_replica_that_is_larger_than_the_volume_counts(self) -> None:
        self.write(GIB)
        document = self.world.read()
        first = document['volumes']['v1']['replicas'][0]
        first['size_bytes'] = GIB + 1
        self.world.write(document)
        before = self.path.read_bytes()
        error = self.assertRaises(exception.ProvisionerError,
                                  self.replace, first['id'])
        self.assertIn(f'no spare replica of {GIB + 1} bytes', str(error))
        self.assertTrue(error.transient)
        self.assertEqual(before, self.path.read_bytes())

    def test_without_a_size_nothing_is_taken(self) -> None:
        legs = self.write(GIB, size_bytes=None)
        error = self.assertRaises(exception.ProvisionerRefused,
                                  self.replace, legs[0])
        self.assertIn('size', str(error))
        self.assertEqual(1, len(self.world.read()['spares']))

    def test_a_spare_without_a_size_is_not_taken(self) -> None:
        legs = self.write(GIB)
        document = self.world.read()
        del document['spares'][0]['size_bytes']
        self.world.write(document)
        self.assertRaises(exception.ProvisionerError, self.replace, legs[0])

    def test_a_spare_that_is_in_use_is_not_taken(self) -> None:
        legs = self.write(GIB)
        document = self.world.read()
        used = document['volumes']['v1']['replicas'][1]
        document['spares'][0]['namespace_uuid'] = (
            used['namespace_uuid'].upper())
        self.world.write(document)
        self.assertRaises(exception.ProvisionerError, self.replace, legs[0])

    def test_a_request_is_remembered_in_the_file(self) -> None:
        legs = self.write(GIB, GIB)
        self.replace(legs[0], 'q1')
        self.plugin = self.world.make_provisioner(conformance.HERE)
        self.replace(legs[0], 'q1')
        self.assertEqual(1, len(self.world.read()['spares']))
        self.replace(legs[1], 'q2')
        self.assertEqual(0, len(self.world.read()['spares']))

    def test_what_is_remembered_is_bounded(self) -> None:
        legs = self.write(GIB, requests={
            str(number): 'x' for number in range(1000)})
        self.replace(legs[0], 'q1')
        made = self.world.read()['volumes']['v1']['requests']
        self.assertEqual(local.REQUESTS_MAX, len(made))
        self.assertIn('q1', made)


class UnwritableTest(base.TestCase):
    """What the agent may not change is told before the first loss."""

    def setUp(self) -> None:
        super().setUp()
        # Root may write everywhere, and another user not below a test's own
        # directory.
        place = tempfile.TemporaryDirectory(dir='/tmp')
        self.addCleanup(place.cleanup)
        self.place = pathlib.Path(place.name)
        self.world = worlds.LocalWorld(self.place)
        self.plugin = self.world.make_provisioner(conformance.HERE)
        self.lock = self.place / 'volumes.json.lock'

    def probe_as_somebody(self) -> str:
        self.addCleanup(self.place.chmod, 0o700)
        if os.geteuid() == 0:
            self.addCleanup(os.seteuid, 0)      # before the other one
            os.seteuid(65534)
        try:
            return self.plugin.probe()
        except exception.ProvisionerUnreachable as error:
            return str(error)

    def test_a_directory_of_somebody_else(self) -> None:
        self.place.chmod(0o555)
        self.assertRegex(
            self.probe_as_somebody(),
            rf'^cannot change .*volumes.json: .*may not write {self.place} '
            r'\(.*directory must be writable')

    def test_a_lock_of_somebody_else(self) -> None:
        self.lock.touch(0o000)
        self.place.chmod(0o777)
        self.assertIn(f'may not write {self.lock} (remove',
                      self.probe_as_somebody())

    def test_what_may_be_changed_is_read_for_this_host(self) -> None:
        self.place.chmod(0o777)
        self.assertEqual(
            f'local provisioner: {self.world.path}, read for host '
            f'{conformance.HERE.name}', self.probe_as_somebody())
        self.assertFalse(self.lock.exists())


class RetiredTest(LocalTestCase):
    def test_a_removed_replica_is_kept_on_a_list(self) -> None:
        legs = self.write(GIB, replica_count=2)
        before = self.world.read()['volumes']['v1']['replicas'][0]
        self.replace(legs[0])
        self.plugin.confirm_removal(V1, provisioner.ReplicaId(legs[0]))
        retired = self.world.read()['retired']
        self.assertEqual([{**before, 'state': 'missing', 'volume': 'v1'}], [
            {key: value for key, value in one.items()
             if key != 'retired_at'} for one in retired])

    def test_the_last_good_replica_stays(self) -> None:
        legs = self.write()
        self.plugin.report(V1, provisioner.ReplicaId(legs[0]),
                           provisioner.ReplicaState.MISSING)
        before = self.path.read_bytes()
        self.assertRaises(
            exception.ProvisionerRefused, self.plugin.confirm_removal, V1,
            provisioner.ReplicaId(legs[1]))
        self.assertEqual(before, self.path.read_bytes())


class FileTest(LocalTestCase):
    def test_what_is_not_known_here_is_kept(self) -> None:
        legs = self.write(GIB)
        document = self.world.read()
        document['note'] = {'by': 'operator'}
        document['volumes']['v1']['note'] = 'do not touch'
        document['volumes']['v1']['replicas'][0]['rack'] = 7
        self.world.write(document)
        self.replace(legs[0])
        after = self.world.read()
        self.assertEqual({'by': 'operator'}, after['note'])
        self.assertEqual('do not touch', after['volumes']['v1']['note'])
        self.assertEqual(7, after['volumes']['v1']['replicas'][0]['rack'])

    def test_what_changes_nothing_writes_nothing(self) -> None:
        legs = self.write()
        before = os.stat(self.path)
        self.plugin.publish(V1)
        self.plugin.report(V1, provisioner.ReplicaId(legs[0]),
                           provisioner.ReplicaState.MISSING)
        changed = os.stat(self.path)
        self.assertNotEqual(before.st_ino, changed.st_ino)
        self.plugin.report(V1, provisioner.ReplicaId(legs[0]),
                           provisioner.ReplicaState.MISSING)
        self.assertEqual(changed.st_ino, os.stat(self.path).st_ino)

    def test_mode_and_link_stay_what_they_were(self) -> None:
        self.write(GIB)
        os.chmod(self.path, 0o640)
        link = self.path.with_name('link.json')
        link.symlink_to(self.path)
        plugin = local.LocalProvisioner(
            worlds.new_conf(local_file=str(link)), conformance.THERE)
        plugin.publish(V1)
        self.assertTrue(link.is_symlink())
        self.assertEqual(0o640, os.stat(self.path).st_mode & 0o777)
        self.assertIn(V1, plugin.volumes())

    def test_nothing_is_left_beside_it(self) -> None:
        legs = self.write(GIB)
        self.replace(legs[0])
        self.assertEqual(
            {'volumes.json', 'volumes.json.lock'},
            {one.name for one in self.path.parent.iterdir()})

    def test_a_disk_that_is_full_leaves_the_old_content(self) -> None:
        legs = self.write(GIB)
        before = self.path.read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        try:
            error = self.assertRaises(
                exception.ProvisionerUnreachable, self.replace, legs[0])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.assertIn('cannot write', str(error))
        self.assertEqual(before, self.path.read_bytes())
        self.assertEqual([], list(self.path.parent.glob('.volumes-*')))

    def test_a_directory_that_is_gone_is_an_error(self) -> None:
        plugin = local.LocalProvisioner(worlds.new_conf(
            local_file='/nonexistent/volumes.json'), conformance.HERE)
        for call in (plugin.volumes, lambda: plugin.publish(V1)):
            self.assertRaises(exception.ProvisionerUnreachable, call)

    def test_a_writer_waits_for_another_but_not_for_ever(self) -> None:
        legs = self.write(GIB)
        holder = os.open(f'{self.path}.lock', os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, holder)
        fcntl.flock(holder, fcntl.LOCK_EX)
        release = threading.Timer(0.3, fcntl.flock, (holder, fcntl.LOCK_UN))
        release.start()
        self.replace(legs[0])
        fcntl.flock(holder, fcntl.LOCK_EX)
        error = self.assertRaises(exception.ProvisionerUnreachable,
                                  self.replace, legs[1], 'q2')
        self.assertIn('another process', str(error))

    def test_two_writers_lose_nothing_of_each_other(self) -> None:
        legs = self.write(*[GIB] * 8)
        plugins = [self.world.make_provisioner(conformance.HERE)
                   for _ in range(8)]
        threads = [threading.Thread(
            target=plugin.request_replacement,
            args=(V1, provisioner.ReplicaId(legs[0]), f'q{number}'))
            for number, plugin in enumerate(plugins)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = self.world.read()
        self.assertEqual([], found['spares'])
        self.assertEqual(10, len(found['volumes']['v1']['replicas']))

    def test_a_file_that_is_not_there_says_what_to_do(self) -> None:
        self.path.unlink()
        for call in (self.plugin.volumes, self.plugin.probe):
            error = self.assertRaises(exception.ProvisionerUnreachable, call)
            self.assertIn('does not exist (write it', str(error))

    def test_a_volume_without_hosts_is_ours(self) -> None:
        self.write(hosts=None)
        self.assertEqual({conformance.HERE.name},
                         self.plugin.volumes()[V1].hosts)


class DocumentationTest(LocalTestCase):
    path_of_sample = ROOT / 'doc' / 'source' / 'vendor' / 'volumes.json'

    @unittest.skipUnless(path_of_sample.exists(), 'not the source tree')
    def test_the_file_in_the_documentation_works(self) -> None:
        document = json.loads(self.path_of_sample.read_text())
        self.world.write(document)
        plugin = self.world.make_provisioner(provisioner.HostIdentity(
            name='compute-1', nqn='nqn.h', uuid=None))
        (name, found), = plugin.volumes().items()
        self.assertIsNone(found.nonsense)
        plugin.request_replacement(name, found.replicas[0].id, 'q1')
        self.assertEqual(3, len(plugin.volumes()[name].replicas))


class SchemaTest(LocalTestCase):
    def test_an_error_names_the_key(self) -> None:
        good = worlds.a_replica()
        for changes, path in (
                ({'replica_count': 'two'}, 'volumes.v1.replica_count'),
                ({'replicas': 5}, 'volumes.v1.replicas'),
                ({'replicas': [{}]}, 'volumes.v1.replicas[0].nqn'),
                ({'replicas': [{**good, 'state': 'fine'}]},
                 'volumes.v1.replicas[0].state'),
                ({'replicas': [{**good, 'portals': [{'address': 'x'}]}]},
                 'volumes.v1.replicas[0].portals[0].port'),
                ({'replicas': [good, good]}, 'volumes.v1.replicas'),
                ({'hosts': 'compute-1'}, 'volumes.v1.hosts'),
                ({'size_bytes': 0}, 'volumes.v1.size_bytes'),
                ({'requests': []}, 'volumes.v1.requests')):
            self.write(**changes)
            self.assertIn(f'because {path} is ',
                          self.plugin.volumes()[V1].nonsense or '')
            self.assertRaises(exception.ProvisionerNonsense,
                              self.replace, 'r1')

    def test_a_file_that_is_wrong_as_a_whole_is_an_error(self) -> None:
        self.path.write_text('{"format": 2, "volumes": {}}')
        self.assertIn('is of format 2, and this version reads format 1',
                      str(self.assertRaises(exception.ProvisionerNonsense,
                                            self.plugin.volumes)))
        for text in ('', '[]', '{}', '{"format": 2, "volumes": {}}',
                     '{"format": 1}', '{"format": 1, "volumes": []}',
                     '{"format": 1, "volumes": {}, "spares": [5]}'):
            self.path.write_text(text)
            self.assertRaises(exception.ProvisionerNonsense,
                              self.plugin.volumes)

    def test_one_bad_volume_does_not_spoil_the_others(self) -> None:
        self.write()
        document = self.world.read()
        document['volumes']['v2'] = {'hosts': [conformance.HERE.name]}
        self.world.write(document)
        found = self.plugin.volumes()
        self.assertIsNone(found[V1].nonsense)
        self.assertIsNotNone(found[provisioner.VolumeId('v2')].nonsense)

    def test_a_namespace_of_two_volumes_spoils_both(self) -> None:
        self.write()
        document = self.world.read()
        document['volumes']['v2'] = document['volumes']['v1']
        self.world.write(document)
        self.assertTrue(all(one.nonsense and not one.replicas
                            for one in self.plugin.volumes().values()))


class PropertyTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.temp_dir() / 'volumes.json'
        self.plugin = local.LocalProvisioner(
            worlds.new_conf(local_file=str(self.path)),
            provisioner.HostIdentity(name='here', nqn='nqn.h', uuid=None))

    @hypothesis.settings(documents.settings, max_examples=100)
    @hypothesis.given(documents.local_files)
    def test_no_file_surprises(self, document: Any) -> None:
        text = json.dumps(document)
        replica = provisioner.ReplicaId('r1')
        for call in (
                self.plugin.volumes, self.plugin.probe,
                lambda: self.plugin.publish(V1),
                lambda: self.plugin.report(
                    V1, replica, provisioner.ReplicaState.MISSING),
                lambda: self.plugin.request_replacement(V1, replica, 'q'),
                lambda: self.plugin.confirm_removal(V1, replica)):
            self.path.write_text(text)
            try:
                call()
            except exception.ProvisionerError as error:
                self.assertTrue(str(error).isprintable())
                self.assertEqual(text, self.path.read_text())
            else:
                # Whatever it wrote, it can read again.
                self.plugin.volumes()
