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

"""What provisioners answer, and the files that they are known by."""

from collections.abc import Iterator, Mapping
import copy
import io
import json
import pathlib
from typing import Any

from oslo_config import cfg
import requests
from requests import adapters

from os_brick_healer import exception
from os_brick_healer.conf import opts
from os_brick_healer.provisioner import (
    base,
    kumoscale,
    kumoscale_client,
    kumoscale_conf,
    local,
    reading,
)
from os_brick_healer.tests.fuzz import law

TOKEN = 'tok-5ecret'
US = '0a0a0a0a-0000-4000-8000-000000000001'
V1 = base.VolumeId('11111111-0000-4000-8000-000000000001')
R1 = base.ReplicaId('22222222-0000-4000-8000-000000000001')
R2 = base.ReplicaId('22222222-0000-4000-8000-000000000002')
_HOST = base.HostIdentity(name='here', nqn='nqn.h', uuid=US)


def settings(**values: object) -> cfg.ConfigOpts:
    """A configuration of which no file is read."""
    conf = cfg.ConfigOpts()
    opts.register(conf)
    conf(args=[], project='os_brick_healer', default_config_files=[],
         default_config_dirs=[])
    for name, value in values.items():
        conf.set_override(name, value, group=opts.GROUP)
    return conf


def check_volumes(found: Mapping[base.VolumeId, base.Volume]) -> None:
    """Whatever the provisioner said, this much of it can be relied on."""
    for name, volume in found.items():
        law.need(volume.id == name and str(name).isprintable() and str(name)
                 != '', f'a volume called {name!r}')
        law.need(volume.alias.isprintable(), f'an alias {volume.alias!r}')
        if volume.nonsense is not None:
            law.need(volume.nonsense.isprintable(), volume.nonsense)
            continue
        ids = [one.id for one in volume.replicas]
        law.need(len(set(ids)) == len(ids), f'{ids} names one twice')
        law.need(0 <= volume.replica_count <= 64, f'{volume.replica_count}')
        law.need(volume.size_bytes is None
                 or 0 <= volume.size_bytes <= 1 << 62, f'{volume.size_bytes}')
        for replica in volume.replicas:
            _check_replica(replica)


def _check_replica(replica: base.Replica) -> None:
    law.need(replica.id.isprintable() and replica.id != '', repr(replica))
    law.need(replica.nqn is None or (
        replica.nqn.startswith('nqn.') and replica.nqn.isascii()
        and replica.nqn.isprintable() and not set(replica.nqn) & set(', ')),
        repr(replica))
    law.need(bool(replica.nqn) or not replica.portals, repr(replica))
    for portal in replica.portals:
        # It becomes an argument of nvme, which puts commas between options.
        law.need(not set(portal.address) & set(', =\'"/\\\n\t')
                 and portal.address.isascii() and 0 < portal.port < 65536
                 and portal.transport in ('tcp', 'rdma'), repr(portal))


def calls(plugin: base.Provisioner) -> Iterator[Any]:
    """Everything that a provisioner is asked."""
    yield plugin.probe
    yield lambda: check_volumes(plugin.volumes())
    yield lambda: plugin.publish(V1)
    yield lambda: plugin.report(V1, R1, base.ReplicaState.MISSING)
    yield lambda: plugin.request_replacement(V1, R1, 'q-1')
    yield lambda: plugin.confirm_removal(V1, R1)


class Json(law.Target):
    """Any JSON that others wrote."""

    name = 'json'
    words = law.JSON

    def seeds(self) -> Iterator[bytes]:
        yield b'{"format": 1, "volumes": {"v1": {"a": [1.5, "x", null]}}}'
        yield b'[[{"uuid": "11111111-0000-4000-8000-000000000001"}]]'

    def run(self, data: bytes) -> None:
        cursor = law.attempt(lambda: reading.load(data, 'it'), 'it',
                             exception.ProvisionerNonsense)
        if cursor is not None:
            self._step(cursor, 40)

    def _step(self, cursor: reading.Cursor, left: int) -> None:
        for step in (cursor.text, cursor.uuid, cursor.mapping,
                     lambda: cursor.integer(0, 1 << 62),
                     lambda: cursor.number(0.0, 1e300)):
            found = law.attempt(step, 'it', exception.ProvisionerNonsense)
            law.need(not isinstance(found, float) or 0 <= found <= 1e300,
                     f'{found} is out of bounds')
        inner: list[reading.Cursor] = []
        law.attempt(lambda: inner.extend(cursor.each()), 'it',
                    exception.ProvisionerNonsense)
        law.attempt(lambda: inner.extend(one for _, one in cursor.items()),
                    'it', exception.ProvisionerNonsense)
        for one in inner[:left]:
            self._step(one, left // 4)


class _Adapter(adapters.BaseAdapter):
    """Answers of a file: lines of a path, an HTTP status and a body."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, tuple[int, bytes]] = {}

    def send(self, request: requests.PreparedRequest, *_: Any,
             **_more: Any) -> requests.Response:
        path = (request.url or '').split('/', 3)[3].partition('?')[0]
        name = f'{request.method} {path.partition("/")[0]}'
        status, body = self.answers.get(name, (404, b''))
        response = requests.Response()
        response.status_code = status
        response.raw = io.BytesIO(body)
        response.url = request.url or ''
        response.request = request
        return response

    def close(self) -> None:
        return None


class _Client(kumoscale_client.Client):
    """Without a network."""

    def __init__(self, access: kumoscale_conf.Access) -> None:
        self.adapter = _Adapter()
        super().__init__(access)

    def _new_session(self) -> requests.Session:
        session = super()._new_session()
        session.mount('https://', self.adapter)
        return session


class KumoScale(law.Target):
    """KumoScale's answers, to all that it is asked.

    A line is a method, a path, a status and a body.
    """

    name = 'kumoscale'
    words = (*law.JSON, b'GET targets 200 ', b'GET volumes 200 ',
             b'GET backends 200 ', b'GET hosts 200 ', b'PATCH replica 200 ',
             b'POST replica 200 ', b'DELETE replica 500 ', b'\n',
             b'"uuid": ', b'"location": ', b'"persistentID": ',
             b'"replicaState": "Missing"', b'"targetName": "nqn.a"',
             b'"namespaces": ', b'"hostId": ', b'"volId": ', b'"portals": ',
             b'"ip": "fe80::1%a,b"', b'"transport": "TCP"',
             b'{"status": "NotExists", "description": "tok-5ecret"}',
             V1.encode(), R1.encode(), US.encode(), b'401', b'302')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        settings_file = directory / 'provisioner.conf'
        settings_file.write_text(
            f'[DEFAULT]\nprov_ip = 192.0.2.1, 192.0.2.2\ntoken = {TOKEN}\n')
        settings_file.chmod(0o640)
        conf = settings(kumoscale_config_file=str(settings_file))
        self._plugin = kumoscale.KumoScaleProvisioner(conf, _HOST)
        self._plugin._client = self._client = _Client(
            kumoscale_conf.load(conf))

    def seeds(self) -> Iterator[bytes]:
        volume = {
            'uuid': V1, 'alias': 'vol', 'capacity': 1, 'numReplicas': 2,
            'maxReplicaDownTime': 5, 'location': [
                {'uuid': one, 'backend': {'persistentID': f'b{i}'},
                 'replicaState': word}
                for i, (one, word) in enumerate(
                    ((R1, 'Available'), (R2, 'Missing')))]}
        answers = {
            'targets': [{'targetName': f'nqn.{i}', 'hostId': US,
                         'backend': {'persistentID': f'b{i}'},
                         'namespaces': [{'volId': V1}]} for i in range(2)],
            'volumes': [volume],
            'backends': [{'persistentID': f'b{i}', 'portals': [
                {'ip': f'192.0.2.{i}', 'port': 4420, 'transport': 'TCP'}]}
                for i in range(2)],
            'hosts': [{'uuid': US, 'nqn': 'nqn.h', 'name': 'here'}],
            'info': {'version': '3.21'}}
        done = ('POST publish 200 {"status": "Success"}\n'
                'POST host_probe 200\nPOST replica 200\n'
                'PATCH replica 200 {"status": "Success"}\n'
                'DELETE replica 404 {"status": "NotExists", '
                '"description": "no such replica"}\n')
        yield (''.join(f'GET {name} 200 {json.dumps(body)}\n'
                       for name, body in answers.items()) + done).encode()
        silent = [{'name': 'nqn.all', 'backend': {'persistentID': 'b0'}}]
        yield (f'GET targets 200 {json.dumps(silent)}\n'
               f'GET volumes 200 {json.dumps(volume)}\n'
               'GET backends 200 []\nGET hosts 200 []\n'
               'GET info 401\n').encode()

    def run(self, data: bytes) -> None:
        answers: dict[str, tuple[int, bytes]] = {}
        for line in data.split(b'\n'):
            method, _, rest = line.partition(b' ')
            path, _, rest = rest.partition(b' ')
            status, _, body = rest.partition(b' ')
            name = b' '.join((method, path)).decode('ascii', 'replace')
            answers[name] = (int(status) if status.isdigit()
                             and len(status) < 4 else 200, body)
        self._client.adapter.answers = answers
        plugin = copy.copy(self._plugin)
        plugin._requested, plugin._not_ours = {}, {}
        plugin._unfiltered_next_s = 0.0
        for call in calls(plugin):
            law.attempt(call, 'cannot', exception.ProvisionerError,
                        secret=TOKEN)

    def close(self) -> None:
        self._plugin.close()


class KumoScaleFile(law.Target):
    """``/etc/kioxia/provisioner.conf``."""

    name = 'kumoscale-file'
    words = (b'[DEFAULT]', b'prov_ip = ', b'prov_port = 8090', b'token = ',
             b'cert_file = ', b'insecure = yes', b'client_secret = ',
             b'tenant = ', b'\n', b'\n ', b'%(', b';', b':', b'\xff', b'\r',
             b'fe80::1%a')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._path = directory / 'provisioner.conf'
        self._conf = settings(kumoscale_config_file=str(self._path))

    def seeds(self) -> Iterator[bytes]:
        yield (b'[DEFAULT]\nprov_ip = 192.0.2.1, prov.example\n'
               b'prov_port = 8090\ncert_file = /etc/kioxia/client.pem\n'
               b'token = tok%5ecret\nserver_name = prov\ntenant = t-1\n')
        yield b'[DEFAULT]\nprov_ip=[fd00::1]\ninsecure: true\n[more]\na=b\n'

    def run(self, data: bytes) -> None:
        self._path.write_bytes(data)
        self._path.chmod(0o640)
        access = law.attempt(lambda: kumoscale_conf.load(self._conf),
                             str(self._path), exception.ConfigError)
        if access is None:
            return
        law.need(0 < access.port < 65536 and 0 < len(access.addresses) <= 16,
                 repr(access))
        for address in access.addresses:
            law.need(address.isascii() and address.isprintable()
                     and not set(address) & set('/@?#\\, '),
                     f'{address!r} would change the URL')


class LocalFile(law.Target):
    """The file of the local provisioner."""

    name = 'local-file'
    words = (*law.JSON, b'"format": 1', b'"volumes": ', b'"spares": ',
             b'"retired": ', b'"replicas": ', b'"hosts": ["here"]',
             b'"id": ', b'"nqn": "nqn.a"', b'"namespace_uuid": ',
             b'"portals": ', b'"address": "fe80::1%a,b"', b'"port": 4420',
             b'"requests": ', b'"size_bytes": ', b'"state": "missing"',
             V1.encode(), R1.encode(), R2.encode(), b'[[[[[[[[')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._path = directory / 'volumes.json'
        self._plugin = local.LocalProvisioner(
            settings(local_file=str(self._path)), _HOST)

    def seeds(self) -> Iterator[bytes]:
        def replica(name: str, number: int) -> dict[str, object]:
            return {'id': name, 'nqn': f'nqn.{number}', 'namespace_uuid':
                    f'33333333-0000-4000-8000-00000000000{number}',
                    'size_bytes': 1 << 30, 'state': 'available', 'portals': [
                        {'address': f'192.0.2.{number}', 'port': 4420}]}

        document = {
            'format': 1, 'volumes': {V1: {
                'alias': 'vol', 'size_bytes': 1 << 30, 'replica_count': 2,
                'grace_s': 5.5, 'hosts': ['here'], 'note': 1.5,
                'replicas': [replica(R1, 1), replica(R2, 2)]}},
            'spares': [replica('spare', 3)], 'retired': []}
        yield json.dumps(document).encode()
        yield b'{"format": 1, "volumes": {}}'

    def run(self, data: bytes) -> None:
        for call in calls(self._plugin):
            self._path.write_bytes(data)
            answered = law.fine(call, 'cannot', exception.ProvisionerError)
            now = self._path.read_bytes()
            law.need(answered or now == data, 'a refused change was written')
            if now != data:
                # Whatever it wrote, it can read again.
                check_volumes(self._plugin.volumes())


TARGETS: tuple[type[law.Target], ...] = (
    Json, KumoScale, KumoScaleFile, LocalFile)
