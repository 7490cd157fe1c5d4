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
"""Our own mounters pass the suite that vendors run over theirs."""

from collections.abc import Mapping

from os_brick_healer import exception
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.mounter import ceph_fuse, nbd, rbd_nbd
from os_brick_healer.testing import mounters
from os_brick_healer.tests import base


class NbdConformanceTest(mounters.MounterConformance, base.TestCase):
    def make_mounter(self) -> mounter_base.Mounter:
        return nbd.NbdMounter()

    def make_source(self, name: str) -> Mapping[str, str]:
        path = self.place / f'{name}.img'
        with path.open('wb') as file:
            file.truncate(1 << 20)
        return {'file': str(path)}

    def test_no_path_with_detours_is_served(self) -> None:
        for path in ('relative', '/', '/a/../etc/shadow', '/a//b', '/a/./b',
                     '/a/'):
            self.assertRaises(exception.MounterRefused,
                              self.mounter.normalize, {'file': path})

    def test_readonly_is_asked_for_by_one_word(self) -> None:
        source = self.mounter.normalize({'file': '/a', 'readonly': 'true'})
        order = self.order(source=source)
        self.assertIn('--readonly', self.mounter.server(order).argv)
        self.assertRaises(exception.MounterRefused, self.mounter.normalize,
                          {'file': '/a', 'readonly': 'no'})

    def test_a_file_that_is_gone_is_told_from_other_trouble(self) -> None:
        order = self.order(source={'file': '/srv/a.img'})
        for gone, words in (
                (True, 'nbdkit: error: open: /srv/a.img: No such file or '
                       'directory'),
                (False, 'nbdkit: error: open: /srv/a.img: Permission denied'),
                (False, 'nbdkit: error: bind: /run/x.sock: No such file or '
                        'directory')):
            self.assertEqual(gone, self.mounter.is_gone(order, words))


class RbdNbdConformanceTest(mounters.MounterConformance, base.TestCase):
    """Its process needs a kernel and a cluster: the bed plays its death."""

    def make_mounter(self) -> mounter_base.Mounter:
        return rbd_nbd.RbdNbdMounter()

    def make_source(self, name: str) -> Mapping[str, str]:
        return {'pool': 'volumes', 'image': f'volume-{name}',
                'user': 'cinder', 'conf': '/etc/ceph/ceph.conf',
                'keyring': '/etc/ceph/ceph.client.cinder.keyring'}

    def words(self, device: str | None = None, **more: str) -> str:
        order = mounter_base.Order(
            volume=mounters.VOLUME, socket='/x', device=device,
            reattach_s=600, source=self.mounter.normalize(
                {'pool': 'p', 'image': 'i', **more}))
        return ' '.join(self.mounter.server(order).argv)

    def test_it_maps_first_and_attaches_then(self) -> None:
        self.assertIn('rbd-nbd map --io-timeout 0 --foreground --try-netlink '
                      '--reattach-timeout 600 --cookie ', self.words())
        self.assertIn('rbd-nbd attach --device /dev/nbd3 --foreground ',
                      self.words('nbd3'))

    def test_an_attach_leaves_the_timer_of_requests_alone(self) -> None:
        self.assertNotIn('--io-timeout', self.words('nbd3'))

    def test_nothing_is_acknowledged_before_the_storage_has_it(self) -> None:
        for device in (None, 'nbd3'):
            self.assertIn(' --rbd-cache=false ', self.words(device))

    def test_an_image_is_written_as_rbd_writes_it(self) -> None:
        for written, more in (
                ('p/i', {}), ('p/n/i', {'namespace': 'n'}),
                ('p/i@s', {'snapshot': 's'}),
                ('p/n/i@s', {'namespace': 'n', 'snapshot': 's'})):
            self.assertEqual(written, self.words(**more).split()[-1])

    def test_monitors_may_change_while_an_image_is_mapped(self) -> None:
        """Some of them: an image of that name is in many clusters."""
        def source(monitors: str, **more: str) -> mounter_base.Source:
            return self.mounter.normalize({
                'pool': 'p', 'image': 'i', **more,
                **({'monitors': monitors} if monitors else {})})

        mapped = source('10.0.0.1:6789,10.0.0.2:6789')
        for same in ('10.0.0.2:6789,10.0.0.1:6789',
                     '10.0.0.9:6789,10.0.0.2:6789'):
            self.assertTrue(self.mounter.continues(mapped, source(same)))
        for other in (source('10.0.0.9:6789'), source(''),
                      source('10.0.0.1:6789', user='x')):
            self.assertFalse(self.mounter.continues(mapped, other))
        self.assertTrue(self.mounter.continues(source(''), source('')))

    def test_a_snapshot_is_read_only(self) -> None:
        self.assertIn('--read-only', self.words(snapshot='s'))
        self.assertNotIn('--read-only', self.words())

    def test_nothing_is_named_that_rbd_would_take_for_something_else(
            self) -> None:
        for more in ({'image': '-c'}, {'image': 'a/b'}, {'image': 'a@b'},
                     {'pool': '--conf'}, {'user': 'a b'},
                     {'conf': '/tmp/ceph.conf'},
                     {'conf': '/etc/ceph/../x'}, {'keyring': '/root/x'},
                     {'keyring': '/etc/ceph/a,/tmp/b'},
                     {'keyring': '/etc/ceph/a;/tmp/b'},
                     {'monitors': 'a b'}, {'monitors': '--conf'},
                     {'exclusive': 'yes'}):
            self.assertRaises(exception.MounterRefused, self.words, **more)

    def test_an_image_that_is_gone_is_told_from_other_trouble(self) -> None:
        order = self.order()
        for gone, words in (
                (True, 'rbd: error opening image i: (2) No such file or '
                       'directory'),
                (True, "rbd: error opening pool 'p': (2) No such file or "
                       'directory'),
                (True, 'rbd: error setting snapshot context: (2) No such '
                       'file or directory'),
                (False, 'error opening image i: (1) Operation not permitted;'
                        ' (2) No such file or directory'),
                (False, 'rbd: couldn\'t connect to the cluster!'),
                (False, 'error opening image i: (110) Connection timed '
                        'out')):
            self.assertEqual(gone, self.mounter.is_gone(order, words))


class CephFuseConformanceTest(mounters.MounterConformance, base.TestCase):
    """Its process needs a kernel and a cluster: the bed plays its death."""

    def make_mounter(self) -> mounter_base.Mounter:
        return ceph_fuse.CephFuseMounter()

    def make_source(self, name: str) -> Mapping[str, str]:
        return {'fs': 'cephfs', 'root': f'/volumes/{name}', 'user': 'guest',
                'conf': '/etc/ceph/ceph.conf', 'options': 'ro,noatime',
                'keyring': '/etc/ceph/ceph.client.guest.keyring'}

    def test_it_says_that_it_is_not_transparent(self) -> None:
        self.assertEqual(mounter_base.Abilities(
            transparent=False, can_fence=False, detects_hang=False),
            self.mounter.abilities)
