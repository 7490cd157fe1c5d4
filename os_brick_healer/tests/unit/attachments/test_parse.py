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
"""Answers of APIs, whole and broken."""

from typing import Any

from os_brick_healer import exception
from os_brick_healer.attachments import base as source_base
from os_brick_healer.attachments import (
    cinder_parse,
    kubernetes_parse,
    parse,
)
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.attachments import worlds

HANDLE = '0001-0009-rook-ceph-0000000000000002-0dcf8b3f'
NONSENSE = exception.SourceNonsense


class PartsTest(base.TestCase):
    def test_each_part_is_what_it_must_be_or_nonsense(self) -> None:
        document = {'a': 'text', 'n': 7, 'none': None, 'in': {'x': {'y': 1}}}
        self.assertEqual(document, parse.mapping(document, 'd'))
        self.assertEqual([document], parse.items([document], 'd'))
        self.assertEqual('text', parse.text(document, 'a'))
        self.assertEqual('text', parse.optional(document, 'a'))
        self.assertEqual('', parse.optional(document, 'none'))
        self.assertEqual({'y': 1}, parse.inner(document, 'in', 'x'))
        self.assertEqual({}, parse.inner(document, 'none', 'x'))
        for call in (
                lambda: parse.mapping([], 'd'), lambda: parse.items({}, 'd'),
                lambda: parse.items([7], 'd'),
                lambda: parse.text(document, 'n'),
                lambda: parse.text(document, 'none'),
                lambda: parse.text({'a': ''}, 'a'),
                lambda: parse.optional(document, 'n'),
                lambda: parse.inner(document, 'a')):
            error = self.assertRaises(NONSENSE, call)
            self.assertIn('cannot use this answer', str(error))

    def test_what_is_no_plain_text_is_nonsense(self) -> None:
        self.assertEqual(8192, len(parse.text({'a': 'x' * 8192}, 'a')))
        for text in ('a\nb', '\x1b[2J', 'v\ud800', 'x' * 8193):
            for read in (parse.text, parse.optional):
                error = self.assertRaises(NONSENSE, read, {'a': text}, 'a')
                self.assertTrue(str(error).isprintable())

    def test_a_persons_text_is_shown_as_far_as_it_can_be(self) -> None:
        for text, shown in (('a disk', 'a disk'), ('a\nb\ud800', 'a b'),
                            (None, ''), ('x' * 9000, 'x' * 255)):
            self.assertEqual(shown, parse.shown({'a': text}, 'a'))
        self.assertRaises(NONSENSE, parse.shown, {'a': 7}, 'a')

    def test_an_image_has_a_pool_and_maybe_a_namespace(self) -> None:
        self.assertEqual({'pool': 'p', 'image': 'i'}, parse.image('p/i'))
        self.assertEqual({'pool': 'p', 'image': 'i'}, parse.image('p//i'))
        self.assertEqual({'pool': 'p', 'namespace': 'n', 'image': 'i'},
                         parse.image('p/n/i'))
        for name in ('i', '/i', 'p/', 'a/b/c/d', ''):
            self.assertRaises(NONSENSE, parse.image, name)
        error = self.assertRaises(NONSENSE, parse.image, 'x' * 99)
        self.assertIn(f"'{'x' * 80}' is no pool and image", str(error))

    def test_a_volumes_id_is_one_plain_word(self) -> None:
        self.assertEqual(HANDLE, source_base.volume_id(HANDLE))
        for text in ('', ' ', 'a b', 'a\n', 'ä', 7, None, 'x' * 129):
            self.assertRaises(NONSENSE, source_base.volume_id, text)
        self.assertTrue(source_base.is_uuid(
            '0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c11'))
        for text in (HANDLE, '0D5FB8A0-6b9d-4c0a-9a55-6a1c1a6f3c11'):
            self.assertFalse(source_base.is_uuid(text))


class KubernetesTest(base.TestCase):
    def attached(self, volume: dict[str, Any],
                 **more: Any) -> source_base.Attached | None:
        return kubernetes_parse.attached(
            worlds.volume_attachment('pvc-1', 'node', **more), volume)

    def test_a_bound_volume_of_the_mounter_is_attached(self) -> None:
        volume = worlds.persistent_volume('pvc-1', HANDLE)
        self.assertEqual(source_base.Attached(
            volume=HANDLE, alias='pvc-1', served=True,
            state=source_base.State.ATTACHED,
            names={'pool': 'replicapool', 'image': 'csi-vol-1'}),
            self.attached(volume))
        found = self.attached(volume, attached=False)
        assert found is not None
        self.assertIs(source_base.State.CHANGING, found.state)
        volume['spec']['csi']['volumeAttributes']['radosNamespace'] = 'n'
        found = self.attached(volume)
        assert found is not None
        self.assertEqual('n', found.names['namespace'])

    def test_others_are_not(self) -> None:
        deleted = worlds.persistent_volume('pvc-1', HANDLE)
        deleted['metadata']['deletionTimestamp'] = 'now'
        others: list[dict[str, Any]] = [
            {}, {'spec': {'nfs': {}}}, deleted,
            worlds.persistent_volume('p', HANDLE, mounter='krbd'),
            worlds.persistent_volume('p', HANDLE, phase='Released')]
        for volume in others:
            self.assertIsNone(self.attached(volume))

    def test_what_is_neither_true_nor_false_is_nonsense(self) -> None:
        one = worlds.volume_attachment('p', 'n')
        one['status']['attached'] = 'true'
        self.assertRaises(NONSENSE, kubernetes_parse.is_settled, one)
        self.assertFalse(kubernetes_parse.is_settled({}))

    def test_only_our_drivers_volumes_are_chosen(self) -> None:
        ours = worlds.volume_attachment('p', 'n')
        inline = worlds.volume_attachment('p', 'n')
        inline['spec']['source'] = {'inlineVolumeSpec': {}}
        other = worlds.volume_attachment('p', 'n', driver='x')
        self.assertEqual([ours], kubernetes_parse.of_driver(
            [ours, inline, other], [worlds.DRIVER]))

    def test_elsewhere_is_where_nobody_is_at_work(self) -> None:
        every = [worlds.volume_attachment('p3', 'n2'),
                 worlds.volume_attachment('p8', 'n2'),
                 worlds.volume_attachment('p1', 'n2'),
                 worlds.volume_attachment('p1', 'n1'),
                 worlds.volume_attachment('p2', 'n1', attached=False),
                 worlds.volume_attachment('p3', 'n1'),
                 worlds.volume_attachment('p9', 'n1')]
        handles = {'p1': 'v1', 'p2': 'v2', 'p3': 'v3'}
        self.assertEqual({'v1': ('n1', 'n2')}, kubernetes_parse.elsewhere(
            every, handles, ['v1', 'v2']))


class CinderTest(base.TestCase):
    def place(self, volume: str, host: str) -> cinder_parse.Place:
        return cinder_parse.Place(attachment='a', volume=volume, alias='v',
                                  host=host)

    def test_an_attachment_has_a_host_a_volume_and_a_name(self) -> None:
        volumes: list[dict[str, Any]] = [
            {'id': 'v1', 'name': 'disk', 'attachments': [
                {'attachment_id': 'a', 'host_name': 'h'}]},
            {'id': 'v2', 'name': None, 'attachments': [
                {'attachment_id': 'a', 'host_name': None}]},
            {'id': 'v3'}]
        self.assertEqual(
            [('v1', 'disk', 'h'), ('v2', 'v2', '')],
            [(p.volume, p.alias, p.host)
             for p in cinder_parse.places(volumes)])
        self.assertRaises(NONSENSE, cinder_parse.places, [
            {'id': 'v', 'attachments': [{}]}])

    def test_somebody_must_be_shown_a_host(self) -> None:
        cinder_parse.must_know_hosts([])
        cinder_parse.must_know_hosts([self.place('v', ''),
                                      self.place('v', 'h')])
        self.assertRaises(NONSENSE, cinder_parse.must_know_hosts,
                          [self.place('v', '')])

    def test_only_the_name_of_an_rbd_image_is_taken(self) -> None:
        info = {'driver_volume_type': 'rbd', 'name': 'p/i', 'keyring': 'k'}
        self.assertEqual({'pool': 'p', 'image': 'i'},
                         cinder_parse.names({'connection_info': info}))
        self.assertIsNone(cinder_parse.names(
            {'connection_info': {**info, 'driver_volume_type': 'iscsi'}}))
        self.assertIsNone(cinder_parse.names({}))
        self.assertRaises(NONSENSE, cinder_parse.names, {
            'connection_info': {'driver_volume_type': 'rbd'}})

    def test_all_attachments_must_have_come_to_rest(self) -> None:
        self.assertTrue(cinder_parse.is_settled([{'status': 'attached'}]))
        self.assertFalse(cinder_parse.is_settled(
            [{'status': 'attached'}, {'status': 'detaching'}]))

    def test_elsewhere_is_not_here_and_known(self) -> None:
        found = [self.place('v1', 'b'), self.place('v1', 'a'),
                 self.place('v2', 'b'), self.place('v2', 'here'),
                 self.place('v3', 'b'), self.place('v3', ''),
                 self.place('v4', 'b')]
        self.assertEqual({'v1': ('a', 'b')}, cinder_parse.elsewhere(
            found, 'here', ['v1', 'v2', 'v3']))

    def test_what_is_attached_may_be_opened_by_qemu(self) -> None:
        found = cinder_parse.attached(self.place('v1', 'here'), {})
        self.assertEqual(('v1', None), (found.volume, found.served))
