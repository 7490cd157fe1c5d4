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
"""os-brick's RBD connector, with images that a process serves."""

from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import opts
from os_brick_healer.connector import brick, rbd, rbd_mixin, rbd_source
from os_brick_healer.mounter import rbd_nbd
from os_brick_healer.tests import base

KEY = '0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c11'
PROPERTIES: dict[str, Any] = {
    'name': f'volumes/volume-{KEY}', 'hosts': ['192.0.2.1', '2001:db8::1'],
    'ports': ['6789', '3300'], 'cluster_name': 'ceph', 'volume_id': KEY,
    'auth_enabled': True, 'auth_username': 'cinder', 'access_mode': 'rw',
    'secret_type': 'ceph', 'secret_uuid': 'x', 'do_local_attach': True}
SOURCE = {
    'pool': 'volumes', 'image': f'volume-{KEY}', 'user': 'cinder',
    'conf': '/etc/ceph/ceph.conf',
    'keyring': '/etc/ceph/ceph.client.cinder.keyring',
    'monitors': '192.0.2.1:6789,[2001:db8::1]:3300'}


class SourceTest(base.TestCase):
    def source(self, **changes: Any) -> Mapping[str, str]:
        return rbd_source.source_of({**PROPERTIES, **changes})

    def test_it_is_what_cinder_says(self) -> None:
        self.assertEqual(SOURCE, self.source())

    def test_the_mounter_takes_it(self) -> None:
        for source in (self.source(), self.source(name='p/n/i'),
                       self.source(hosts=[], ports=[]),
                       self.source(access_mode='ro')):
            self.assertEqual(
                source, rbd_nbd.RbdNbdMounter().normalize(source))

    def test_a_namespace_is_the_middle_of_the_name(self) -> None:
        self.assertEqual('n', self.source(name='p/n/i')['namespace'])

    def test_without_cephx_there_is_no_user(self) -> None:
        self.assertNotIn('user', self.source(auth_enabled=False))
        self.assertNotIn('keyring', self.source(auth_username=None))

    def test_a_secret_is_never_taken_along(self) -> None:
        error = self.assertRaises(exception.HealerError, self.source,
                                  keyring='key = AQBsecret==')
        self.assertNotIn('AQB', str(error))

    def test_what_names_no_image_is_refused(self) -> None:
        for name in (None, '', 'x', 'a/b/c/d', 7):
            self.assertRaises(exception.HealerError, self.source, name=name)

    def test_the_volume_is_told_by_its_id_or_its_name(self) -> None:
        self.assertEqual(KEY, rbd_source.volume_of(PROPERTIES))
        self.assertEqual(KEY, rbd_source.volume_of(
            {'name': f'volumes/volume-{KEY}'}))
        self.assertRaises(exception.HealerError, rbd_source.volume_of,
                          {'name': 'volumes/image'})


class Mapper:
    """What a connector asks of a mapper."""

    def __init__(self) -> None:
        self.mapped: dict[str, Mapping[str, object]] = {}
        self.refuses: exception.HealerError | None = None

    def map(self, volume: str, alias: str, mounter: str,
            source: Mapping[str, object]) -> str:
        assert (alias, mounter) == (f'volume-{KEY}', 'rbd-nbd')
        if self.refuses:
            raise self.refuses
        self.mapped[volume] = source
        return '/dev/nbd3'

    def unmap(self, volume: str, mounter: str,
              source: Mapping[str, object]) -> None:
        assert mounter == 'rbd-nbd' and source in (SOURCE, {})
        if self.refuses:
            raise self.refuses
        del self.mapped[volume]

    def is_mapped(self, volume: str) -> bool:
        return volume in self.mapped

    def extend(self, volume: str) -> int:
        if self.refuses:
            raise self.refuses
        return 1 << 30 if volume in self.mapped else 0


class Stock:
    """os-brick's connector, as far as it is handed on to."""

    do_local_attach = False

    def connect_volume(self, properties: dict[str, Any]) -> dict[str, Any]:
        return {'path': 'a handle'} if properties else {}

    def disconnect_volume(self, *_args: Any) -> None:
        self.disconnected = True

    def extend_volume(self, properties: dict[str, Any]) -> int:
        return len(properties)


class Connector(rbd_mixin.RbdMixin, Stock):
    """Ours, over that."""


class ConnectorTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mapper = Mapper()
        self.conf = self.new_conf()
        opts.register(self.conf)
        self.conf.set_override('rbd_mounter', 'rbd-nbd', opts.GROUP)
        self.conf.set_override('launch', 'none', opts.GROUP)
        cfg.CONF.register_opts(opts.ALL_OPTS, group=opts.GROUP)
        self.one = Connector()
        self.one.healer_mapper, self.one.healer_conf = (self.mapper,
                                                        self.conf)

    def test_a_local_attach_is_mapped(self) -> None:
        self.assertEqual({'type': 'block', 'path': '/dev/nbd3'},
                         self.one.connect_volume(PROPERTIES))
        self.assertEqual({KEY: SOURCE}, self.mapper.mapped)
        self.assertEqual(1 << 30, self.one.extend_volume(PROPERTIES))
        self.one.disconnect_volume(PROPERTIES)
        self.assertEqual({}, self.mapper.mapped)

    def test_qemus_own_attach_is_os_bricks_business(self) -> None:
        remote = {**PROPERTIES, 'do_local_attach': False}
        self.assertEqual({'path': 'a handle'},
                         self.one.connect_volume(remote))
        self.one.disconnect_volume(remote)
        self.assertTrue(self.one.disconnected)
        self.assertEqual(len(remote), self.one.extend_volume(remote))

    def test_it_has_to_be_chosen(self) -> None:
        self.conf.clear_override('rbd_mounter', opts.GROUP)
        self.assertEqual({'path': 'a handle'},
                         self.one.connect_volume(PROPERTIES))

    def test_what_was_mapped_is_unmapped_whatever_is_chosen_now(
            self) -> None:
        self.one.connect_volume(PROPERTIES)
        self.conf.clear_override('rbd_mounter', opts.GROUP)
        self.one.disconnect_volume(PROPERTIES)
        self.assertEqual({}, self.mapper.mapped)

    def test_what_it_could_not_be_mapped_with_does_not_keep_it(self) -> None:
        self.one.connect_volume(PROPERTIES)
        self.one.disconnect_volume({**PROPERTIES, 'keyring': 'key = AQ=='})
        self.assertEqual({}, self.mapper.mapped)

    def test_what_cannot_be_done_is_an_error_of_os_bricks(self) -> None:
        self.mapper.mapped[KEY] = SOURCE
        self.mapper.refuses = exception.HealerError('cannot: because')
        for call in (self.one.connect_volume, self.one.disconnect_volume,
                     self.one.extend_volume):
            error = self.assertRaises(brick.BrickException, call, PROPERTIES)
            self.assertIn('cannot: because', str(error))
        self.one.disconnect_volume(PROPERTIES, ignore_errors=True)

    def test_the_class_of_the_factory_is_ours_and_os_bricks(self) -> None:
        self.assertTrue(issubclass(rbd.HealingRBDConnector,
                                   rbd_mixin.RbdMixin))
        self.assertTrue(issubclass(rbd.HealingRBDConnector,
                                   brick.rbd_connector()))
