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
"""What sources of attachments answer: Cinder and Kubernetes."""

from collections.abc import Iterator, Mapping
import http.client
import json
import pathlib
import threading
from typing import Any, ClassVar

from os_brick_healer import exception
from os_brick_healer.attachments import (
    base,
    cinder,
    https,
    keystone,
    kubernetes,
    parse,
)
from os_brick_healer.tests.fuzz import law, vendors

HOST = 'here'
UUID = '0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c11'
HANDLE = '0001-0009-rook-ceph-0000000000000002-0d5fb8a0'
#: Volumes that the agent asks about beside its own.
ABOUT = frozenset((UUID, HANDLE, 'other'))

#: By what is asked: the status and the body of each answer in turn.
Answers = dict[str, list[tuple[int, bytes]]]


def answers(data: bytes) -> Answers:
    """Lines of a name, an HTTP status and a body."""
    found: Answers = {}
    for line in data.split(b'\n'):
        name, _, rest = line.partition(b' ')
        status, _, body = rest.partition(b' ')
        found.setdefault(name.decode('ascii', 'replace'), []).append((
            int(status) if status.isdigit() and len(status) < 4 else 200,
            body))
    return found


def check_listing(found: base.Listing) -> None:
    """Whatever the source said, this much of it can be relied on."""
    law.need(law.typed(found, base.Listing), repr(found))
    for volume, one in found.here.items():
        law.need(one.volume == volume == base.volume_id(volume), repr(one))
        law.need(all(text.isprintable() and text and len(text) < 9000
                     for text in (one.alias, *one.names.values())),
                 repr(one))
        law.need(set(one.names) <= {'pool', 'namespace', 'image'}, repr(one))
    law.need(ABOUT.issuperset(found.elsewhere), repr(found.elsewhere))
    for hosts in found.elsewhere.values():
        law.need(bool(hosts) and HOST not in hosts and all(
            host.isprintable() for host in hosts), repr(hosts))


class _Source(law.Target):
    """A source whose client is given these answers."""

    def listed(self, source: base.AttachmentSource) -> None:
        law.attempt(source.probe, 'cannot', exception.SourceError)
        law.attempt(lambda: check_listing(source.listing(ABOUT)), 'cannot',
                    exception.SourceError)


class _Client(https.Client):
    """The real one, without a connection."""

    def __init__(self) -> None:
        super().__init__('https://192.0.2.1', ca_file=None, timeout_s=1.0,
                         token=lambda: 'token', option='x')
        self.answers: Answers = {}

    def _ask(self, link: http.client.HTTPSConnection,
             target: str) -> tuple[int, bytes]:
        del link
        target.encode('ascii')      # as http.client does
        path = target.partition('?')[0]
        name = path.rpartition('/')[2]
        if path not in (kubernetes.ATTACHMENTS, kubernetes.VOLUMES):
            name = 'persistentvolume'
        left = self.answers.get(name) or [(404, b'')]
        return left.pop(0) if len(left) > 1 else left[0]


class Kubernetes(_Source):
    """An API server's answers. A line is a name, a status and a body."""

    name = 'kubernetes'
    huge_bytes = 1 << 20
    words: ClassVar[tuple[bytes, ...]] = (
        *law.JSON, b'volumeattachments 200 ', b'persistentvolumes 200 ',
        b'persistentvolume 200 ', b'persistentvolume 404', b'\n',
        b'"items": ', b'"spec": ', b'"nodeName": "here"',
        b'"attacher": "rbd.csi.ceph.com"', b'"persistentVolumeName": ',
        b'"attached": ', b'"metadata": ', b'"continue": ', b'"name": ',
        b'"volumeHandle": ', b'"mounter": "rbd-nbd"', b'"phase": "Bound"',
        b'"deletionTimestamp": ', b'"\\ud800"', b'"\\u001b[2J"')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._source = kubernetes.KubernetesSource(vendors.settings(
            kubernetes_url='https://192.0.2.1', kubernetes_ca_file=None,
            kubernetes_drivers=['rbd.csi.ceph.com']), HOST)
        self._source.pages_max = 3
        self._source._client = self._client = _Client()

    def seeds(self) -> Iterator[bytes]:
        def attachment(node: str, volume: str) -> dict[str, Any]:
            return {'metadata': {'name': 'csi-1'}, 'spec': {
                'attacher': 'rbd.csi.ceph.com', 'nodeName': node,
                'source': {'persistentVolumeName': volume}},
                'status': {'attached': True}}

        def volume(name: str, handle: str) -> dict[str, Any]:
            return {'metadata': {'name': name}, 'spec': {'csi': {
                'driver': 'rbd.csi.ceph.com', 'volumeHandle': handle,
                'volumeAttributes': {
                    'mounter': 'rbd-nbd', 'pool': 'replicapool',
                    'imageName': 'csi-vol-1', 'radosNamespace': ''}}},
                'status': {'phase': 'Bound'}}

        attached = {'metadata': {}, 'items': [
            attachment(HOST, 'pvc-1'), attachment('there', 'pvc-2')]}
        known = {'metadata': {}, 'items': [
            volume('pvc-1', HANDLE), volume('pvc-2', 'other')]}
        yield (f'volumeattachments 200 {json.dumps(attached)}\n'
               f'persistentvolumes 200 {json.dumps(known)}\n'
               'persistentvolume 200 '
               f'{json.dumps(volume("pvc-1", HANDLE))}\n').encode()
        yield (b'volumeattachments 200 {"items": [], "metadata": '
               b'{"continue": "more"}}\npersistentvolumes 403\n')

    def run(self, data: bytes) -> None:
        self._client.answers = answers(data)
        self.listed(self._source)


class _Body:
    """An answer of requests."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def iter_content(self, _size: int) -> Iterator[bytes]:
        yield self._body


class _Keystone:
    """Cinder's client behind Keystone, which has said yes."""

    def __init__(self) -> None:
        self.answers: Answers = {}

    def endpoint(self) -> str:
        return 'https://192.0.2.1'

    def get(self, path: str, what: str, name: str,
            params: Mapping[str, str] | None = None) -> Any:
        kind = 'attachment' if path.startswith('/attachments/') else (
            'attachments' if path == '/attachments' else 'volumes')
        left = self.answers.get(kind) or [(200, b'{"volumes": []}')]
        status, body = left.pop(0) if kind == 'volumes' and (
            left and (params or {}).get('limit') != '1') else left[0]
        if status != 200:
            raise exception.SourceError(
                f'cannot {what}: because Cinder answers with {status}')
        found = keystone._json(_Body(body), what)
        return parse.mapping(found, what).get(name)


class _Cinder(cinder.CinderSource):
    def __init__(self, client: _Keystone) -> None:
        base.AttachmentSource.__init__(self, vendors.settings(), HOST)
        self._client = client       # type: ignore[assignment]
        self._lock = threading.Lock()
        self._images = {}
        self.pages_max = 3


class Cinder(_Source):
    """Cinder's answers. A line is a name, a status and a body."""

    name = 'cinder'
    huge_bytes = 1 << 20
    words: ClassVar[tuple[bytes, ...]] = (
        *law.JSON, b'volumes 200 ', b'attachment 200 ', b'attachments 200 ',
        b'attachments 500', b'\n', b'"volumes": ', b'"attachments": ',
        b'"attachment_id": ', b'"host_name": "here"', b'"name": ', b'"id": ',
        b'"connection_info": ', b'"driver_volume_type": "rbd"',
        b'"status": "attached"', b'"\\ud800"', b'"\\u001b[2J"', b'../',
        UUID.encode())

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._client = _Keystone()

    def seeds(self) -> Iterator[bytes]:
        volumes = [
            {'id': UUID, 'name': 'a disk', 'attachments': [
                {'attachment_id': 'a-1', 'host_name': HOST}]},
            {'id': 'other', 'name': None, 'attachments': [
                {'attachment_id': 'a-2', 'host_name': 'there'}]}]
        image = {'attachment': {'id': 'a-1', 'connection_info': {
            'driver_volume_type': 'rbd', 'name': 'volumes/volume-1',
            'keyring': 'secret'}}}
        listed = {'attachments': [{'id': 'a-2', 'status': 'attached'}]}
        yield (f'volumes 200 {json.dumps({"volumes": volumes})}\n'
               f'attachment 200 {json.dumps(image)}\n'
               f'attachments 200 {json.dumps(listed)}\n').encode()
        yield b'volumes 401\n'

    def run(self, data: bytes) -> None:
        self._client.answers = answers(data)
        self.listed(_Cinder(self._client))


TARGETS: tuple[type[law.Target], ...] = (Kubernetes, Cinder)
