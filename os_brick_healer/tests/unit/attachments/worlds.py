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
"""The worlds in which our own sources of attachments are tested."""

from collections.abc import Iterable, Iterator
import contextlib
import pathlib
from typing import Any
import uuid

from oslo_config import cfg

from os_brick_healer.attachments import base, cinder, kubernetes
from os_brick_healer.attachments import journal as journal_source
from os_brick_healer.conf import opts
from os_brick_healer.engine import journal
from os_brick_healer.testing import attachments
from os_brick_healer.testing.world import Trouble
from os_brick_healer.tests.unit.attachments import server

PASSWORD = 'open-sesame-7'
TOKEN = 'token-of-the-service-account-9'
DRIVER = 'rbd.csi.ceph.com'


def new_conf(path: pathlib.Path | None = None,
             **options: object) -> cfg.ConfigOpts:
    """A configuration of nobody's host, with options of ours."""
    conf = cfg.ConfigOpts()
    conf(args=[], default_config_files=[str(path)] if path else [],
         default_config_dirs=[])
    opts.register(conf)
    for name, value in options.items():
        conf.set_override(name, value, opts.GROUP)
    return conf


class JournalWorld(attachments.World):
    """Rows as connectors write them."""

    troubles = frozenset((Trouble.DOWN, Trouble.GARBAGE))

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.path = directory / journal_source.FILE
        self.book = journal.Journal(str(self.path), boot_id='b')

    def make_source(self, host: str) -> base.AttachmentSource:
        return journal_source.JournalSource(
            new_conf(state_path=str(self.directory)), host)

    def attach(self, host: str, *, changing: bool = False) -> str:
        volume = str(uuid.uuid4())
        self.book.attach_begin(volume, 'vol', {
            'kind': journal_source.KIND, 'mounter': 'rbd-nbd',
            'source': {'pool': 'volumes', 'image': f'volume-{volume}',
                       'user': 'cinder'}}, 1, '1')
        if not changing:
            self.book.attach_done(volume)
        return volume

    def detach(self, volume: str) -> None:
        self.book.detach_begin(volume)
        self.book.detach_done(volume)

    def image_of(self, volume: str) -> str:
        return f'volume-{volume}'

    @contextlib.contextmanager
    def trouble(self, kind: Trouble) -> Iterator[None]:
        aside = self.directory / 'aside'
        aside.mkdir()
        for one in self.directory.glob(f'{self.path.name}*'):
            one.rename(aside / one.name)    # its log is among them
        if kind is Trouble.GARBAGE:
            self.path.write_text('this is no database at all' * 99)
        try:
            yield
        finally:
            self.path.unlink(missing_ok=True)
            for one in aside.iterdir():
                one.rename(self.directory / one.name)

    def close(self) -> None:
        self.book.close()


class CinderWorld(attachments.World):
    """Keystone and Cinder behind one address.

    :ivar page_max: what it gives at once, whatever is asked for.
    :ivar admin: whether the user is shown hosts.
    """

    deadline_s = 20.0
    secrets = (PASSWORD, 'secret-of-ceph', 'gAAAA-token')
    troubles = server.TROUBLES

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.server = server.ApiServer(self.answer)
        self.page_max, self.admin, self.kind = 7, True, 'rbd'
        self.catalogue = self.server.url
        self.attachments: dict[str, dict[str, Any]] = {}

    def conf(self, **options: object) -> cfg.ConfigOpts:
        path = self.directory / 'nova.conf'
        path.write_text(
            '[cinder]\nauth_type = password\n'
            f'auth_url = {self.server.url}/identity/v3\n'
            f'username = healer\npassword = {PASSWORD}\n'
            'user_domain_id = default\nproject_domain_id = default\n'
            f'project_name = service\ncafile = {server.keys().ca}\n'
            f'timeout = {server.TIMEOUT_S:g}\n')
        return new_conf(path, **{'attachment_timeout': server.TIMEOUT_S,
                                 **options})

    def make_source(self, host: str) -> base.AttachmentSource:
        return cinder.CinderSource(self.conf(), host)

    def attach(self, host: str, *, changing: bool = False,
               volume: str | None = None) -> str:
        volume = volume or str(uuid.uuid4())
        self.attachments[str(uuid.uuid4())] = {
            'volume': volume, 'host': host,
            'status': 'attaching' if changing else 'attached'}
        return volume

    def detach(self, volume: str) -> None:
        self.attachments = {
            name: one for name, one in self.attachments.items()
            if one['volume'] != volume}

    def move(self, volume: str, host: str) -> None:
        self.detach(volume)
        self.attach(host, volume=volume)

    def image_of(self, volume: str) -> str:
        return f'volume-{volume}'

    def trouble(self, kind: Trouble
                ) -> contextlib.AbstractContextManager[None]:
        return self.server.in_trouble(kind)

    def close(self) -> None:
        self.server.close()

    # What it answers -----------

    def answer(self, method: str, asked: server.Request) -> server.Answer:
        if asked.path.startswith('/identity'):
            return self._keystone(method, asked)
        if asked.headers.get('X-Auth-Token') != 'gAAAA-token':
            return 401, {}, {'error': {'code': 401}}
        path = asked.path.removeprefix('/volume/v3/project-1')
        if path == '/volumes/detail':
            return 200, {}, {'volumes': self._volumes(asked.words)}
        if 'volume 3.27' not in asked.headers.get('OpenStack-API-Version',
                                                  ''):
            return 404, {}, {}
        if path == '/attachments':
            return 200, {}, {'attachments': [
                self._summary(name, one)
                for name, one in self.attachments.items()
                if one['volume'] == asked.words['volume_id']]}
        name = path.removeprefix('/attachments/')
        if name not in self.attachments:
            return 404, {}, {'itemNotFound': {}}
        return 200, {}, {'attachment': self._detail(name)}

    def _keystone(self, method: str, asked: server.Request
                  ) -> server.Answer:
        if method == 'GET':
            return 200, {}, {'version': {
                'id': 'v3.14', 'status': 'stable', 'links': [
                    {'rel': 'self', 'href': f'{self.server.url}'
                                            '/identity/v3/'}]}}
        assert asked.body is not None
        words = asked.body['auth']['identity']['password']['user']
        if words['password'] != PASSWORD:
            return 401, {}, {'error': {'code': 401}}
        return 201, {'X-Subject-Token': 'gAAAA-token'}, {'token': {
            'expires_at': '2999-01-01T00:00:00.000000Z',
            'issued_at': '2020-01-01T00:00:00.000000Z',
            'methods': ['password'], 'roles': [{'id': '1', 'name': 'admin'}],
            'user': {'id': 'u', 'name': 'healer',
                     'domain': {'id': 'default', 'name': 'Default'}},
            'project': {'id': 'project-1', 'name': 'service',
                        'domain': {'id': 'default', 'name': 'Default'}},
            'catalog': [{
                'type': 'block-storage', 'id': 'c', 'name': 'cinder',
                'endpoints': [{
                    'id': 'e', 'interface': 'public', 'region': 'one',
                    'region_id': 'one',
                    'url': f'{self.catalogue}/volume/v3/project-1'}]}]}}

    def _volumes(self, words: dict[str, str]) -> list[dict[str, Any]]:
        ids = sorted({one['volume'] for one in self.attachments.values()})
        begin = ids.index(words['marker']) + 1 if 'marker' in words else 0
        size = min(self.page_max, int(words['limit']))
        return [self._volume(name) for name in ids[begin:begin + size]]

    def _volume(self, volume: str) -> dict[str, Any]:
        return {'id': volume, 'name': f'vol-{volume[:4]}',
                'status': 'in-use', 'attachments': [
                    {'id': volume, 'attachment_id': name,
                     'volume_id': volume, 'server_id': 's',
                     'host_name': one['host'] if self.admin else None}
                    for name, one in self.attachments.items()
                    if one['volume'] == volume
                    and one['status'] == 'attached']}

    def _summary(self, name: str, one: dict[str, Any]) -> dict[str, Any]:
        return {'id': name, 'status': one['status'], 'instance': 's',
                'volume_id': one['volume']}

    def _detail(self, name: str) -> dict[str, Any]:
        one = self.attachments[name]
        return {**self._summary(name, one), 'attach_mode': 'rw',
                'connection_info': {
                    'driver_volume_type': self.kind,
                    'name': f'volumes/volume-{one["volume"]}',
                    'auth_username': 'cinder', 'keyring': 'secret-of-ceph',
                    'hosts': ['10.0.0.1'], 'ports': ['6789']}}


class KubernetesWorld(attachments.World):
    """An API server with VolumeAttachments and PersistentVolumes."""

    deadline_s = 20.0
    secrets = (TOKEN,)
    troubles = server.TROUBLES

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.server = server.ApiServer(self.answer)
        self.page_max = 7
        self.token = TOKEN
        (directory / 'token').write_text(f'{TOKEN}\n')
        self.attachments: list[dict[str, Any]] = []
        self.volumes: dict[str, dict[str, Any]] = {}

    def conf(self, **options: object) -> cfg.ConfigOpts:
        return new_conf(None, **{
            'kubernetes_url': self.server.url,
            'kubernetes_ca_file': str(server.keys().ca),
            'kubernetes_token_file': str(self.directory / 'token'),
            'attachment_timeout': server.TIMEOUT_S, **options})

    def make_source(self, host: str) -> base.AttachmentSource:
        return kubernetes.KubernetesSource(self.conf(), host)

    def attach(self, host: str, *, changing: bool = False,
               handle: str | None = None) -> str:
        made = str(uuid.uuid4())
        handle = handle or f'0001-0009-rook-ceph-0000000000000002-{made}'
        name = f'pvc-{made}'
        self.volumes[name] = persistent_volume(name, handle)
        self.attachments.append(volume_attachment(
            name, host, attached=not changing))
        return handle

    def detach(self, volume: str) -> None:
        name = self.name_of(volume)
        self.attachments = [
            one for one in self.attachments
            if one['spec']['source']['persistentVolumeName'] != name]

    def move(self, volume: str, host: str) -> None:
        name = self.name_of(volume)
        self.detach(volume)
        self.attachments.append(volume_attachment(name, host))

    def name_of(self, handle: str) -> str:
        (name,) = (name for name, one in self.volumes.items()
                   if one['spec']['csi']['volumeHandle'] == handle)
        return name

    def image_of(self, volume: str) -> str:
        csi = self.volumes[self.name_of(volume)]['spec']['csi']
        return str(csi['volumeAttributes']['imageName'])

    def trouble(self, kind: Trouble
                ) -> contextlib.AbstractContextManager[None]:
        return self.server.in_trouble(kind)

    def close(self) -> None:
        self.server.close()

    def answer(self, method: str, asked: server.Request) -> server.Answer:
        if method != 'GET' or asked.headers.get('Authorization') != (
                f'Bearer {self.token}'):
            return 401, {}, {'kind': 'Status', 'code': 401}
        if asked.path == kubernetes.ATTACHMENTS:
            return self._page(self.attachments, asked.words)
        if asked.path == kubernetes.VOLUMES:
            return self._page(self.volumes.values(), asked.words)
        name = asked.path.removeprefix(f'{kubernetes.VOLUMES}/')
        if name not in self.volumes:
            return 404, {}, {'kind': 'Status', 'code': 404}
        return 200, {}, self.volumes[name]

    def _page(self, every: Iterable[dict[str, Any]],
              words: dict[str, str]) -> server.Answer:
        begin = int(words.get('continue', '0'))
        end = begin + min(self.page_max, int(words['limit']))
        items = list(every)
        more = {'continue': str(end)} if end < len(items) else {}
        return 200, {}, {'kind': 'List', 'metadata': more,
                         'items': items[begin:end]}


def volume_attachment(name: str, node: str, *, attached: bool = True,
                      driver: str = DRIVER) -> dict[str, Any]:
    """As the attach/detach controller makes it."""
    return {'metadata': {'name': f'csi-{uuid.uuid4()}'},
            'spec': {'attacher': driver, 'nodeName': node,
                     'source': {'persistentVolumeName': name}},
            'status': {'attached': attached}}


def persistent_volume(name: str, handle: str, *, mounter: str = 'rbd-nbd',
                      phase: str = 'Bound') -> dict[str, Any]:
    """As the provisioner of ceph-csi makes it."""
    return {'metadata': {'name': name}, 'status': {'phase': phase},
            'spec': {'csi': {
                'driver': DRIVER, 'volumeHandle': handle,
                'volumeAttributes': {
                    'pool': 'replicapool', 'mounter': mounter,
                    'imageName': f'csi-vol-{name.removeprefix("pvc-")}'}}}}
