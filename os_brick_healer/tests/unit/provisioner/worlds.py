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
"""The worlds in which our own plugins are tested."""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import json
import os
import pathlib
import time
from typing import Any
import uuid

from oslo_config import cfg

from bed.guest import kumoscale as server
from bed.guest import provisioner as array
from bed.guest import storage
from os_brick_healer.conf import opts
from os_brick_healer.provisioner import base, kumoscale, local
from os_brick_healer.testing import conformance

GIB = 1 << 30


def new_conf(**overrides: object) -> cfg.ConfigOpts:
    """A configuration of nobody's host."""
    conf = cfg.ConfigOpts()
    conf(args=[], default_config_files=[], default_config_dirs=[])
    opts.register(conf)
    for name, value in overrides.items():
        conf.set_override(name, value, opts.GROUP)
    return conf


class LocalWorld(conformance.World):
    """The file of the local provisioner, edited as an operator edits it."""

    deadline_s = 10.0
    troubles = frozenset((conformance.Trouble.DOWN,
                          conformance.Trouble.GARBAGE))

    def __init__(self, directory: pathlib.Path) -> None:
        self.path = directory / 'volumes.json'
        self.write({'format': 1, 'volumes': {}, 'spares': []})

    def write(self, document: dict[str, Any]) -> None:
        aside = self.path.with_suffix('.edited')
        aside.write_text(json.dumps(document))
        aside.rename(self.path)

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found

    def make_provisioner(self, host: base.HostIdentity) -> base.Provisioner:
        return local.LocalProvisioner(
            new_conf(local_file=str(self.path)), host)

    def create_volume(self, hosts: Iterable[base.HostIdentity], *,
                      replicas: int = 2) -> base.VolumeId:
        name = base.VolumeId(str(uuid.uuid4()))
        document = self.read()
        document['volumes'][name] = {
            'alias': f'vol-{name[:8]}', 'size_bytes': GIB,
            'replica_count': replicas,
            'hosts': [host.name for host in hosts],
            'replicas': [a_replica() for _ in range(replicas)]}
        document['spares'].append({**a_replica(), 'size_bytes': GIB})
        self.write(document)
        return name

    def delete_volume(self, volume: base.VolumeId) -> None:
        document = self.read()
        del document['volumes'][volume]
        self.write(document)

    @contextlib.contextmanager
    def trouble(self, kind: conformance.Trouble) -> Iterator[None]:
        good = self.path.with_suffix('.good')
        os.rename(self.path, good)
        if kind is conformance.Trouble.GARBAGE:
            self.path.write_text('<html>')
        try:
            yield
        finally:
            os.rename(good, self.path)

    def requests(self) -> int | None:
        return 0  # none: it reads a file


def a_replica(**more: object) -> dict[str, Any]:
    """A replica as the file of the local provisioner has it."""
    name = str(uuid.uuid4())
    return {'id': f'replica-{name[:8]}', 'nqn': f'nqn.2026-11.test:{name}',
            'namespace_uuid': name,
            'portals': [{'address': '192.0.2.1', 'port': 4420}], **more}


class _Server(server.KumoScaleServer):
    """One that can do what it is asked and keep the answer to itself."""

    silent_s = 0.0

    def answer(self, method: str, target: str, body: Any,
               fault: server.Fault) -> Any:
        answer = super().answer(method, target, body, fault)
        if method == 'POST' and '/replica/' in target:
            time.sleep(self.silent_s)
        return answer


class KumoScaleWorld(conformance.World):
    """A real HTTPS server with KumoScale's API, before a storage array."""

    # A call is a few requests, each with its own time.
    deadline_s = 8.0
    connect_timeout_s = 1.0
    read_timeout_s = 1.0
    faults = {
        conformance.Trouble.DOWN: server.Fault.DOWN,
        conformance.Trouble.SLOW: server.Fault.SLOW,
        conformance.Trouble.ERROR: server.Fault.ERROR_500,
        conformance.Trouble.GARBAGE: server.Fault.GARBAGE,
        conformance.Trouble.UNTRUSTED: server.Fault.WRONG_CERTIFICATE,
        conformance.Trouble.DENIED: server.Fault.UNAUTHORIZED}
    troubles = frozenset(faults)
    token = 'a-bearer-token-that-must-not-show'

    def __init__(self, directory: pathlib.Path,
                 generation: array.Generation, *,
                 array_type: type[array.Provisioner] = array.Provisioner,
                 addresses: Sequence[str] = ('127.0.0.1',),
                 client_certificate: bool = False) -> None:
        self.secrets = (self.token,)
        self.storage = storage.MemoryStorage()
        self.array = array_type(self.storage, generation)
        self.server = _Server(self.array, directory, addresses=addresses,
                              token=self.token,
                              client_certificate=client_certificate)
        self.server.start()
        self.path = directory / 'provisioner.conf'
        self.path.write_text(self.server.vendor_config())
        self.path.chmod(0o600)

    def close(self) -> None:
        self.server.stop()

    def conf(self, **overrides: object) -> cfg.ConfigOpts:
        settings: dict[str, object] = {
            'kumoscale_config_file': str(self.path),
            'kumoscale_ca_file': str(self.server.pki.ca),
            'kumoscale_connect_timeout': self.connect_timeout_s,
            'kumoscale_read_timeout': self.read_timeout_s}
        return new_conf(**settings | overrides)

    def make_provisioner(self, host: base.HostIdentity
                         ) -> kumoscale.KumoScaleProvisioner:
        return kumoscale.KumoScaleProvisioner(self.conf(), host)

    def create_volume(self, hosts: Iterable[base.HostIdentity], *,
                      replicas: int = 2) -> base.VolumeId:
        made = self.array.create_volume(
            f'vol-{len(self.array.volumes())}', replicas=replicas)
        for host in hosts:
            assert host.uuid is not None
            self.array.publish(host.uuid, made.id)
        return base.VolumeId(made.id)

    def delete_volume(self, volume: base.VolumeId) -> None:
        self.array.delete_volume(volume)

    @contextlib.contextmanager
    def trouble(self, kind: conformance.Trouble) -> Iterator[None]:
        # A connection that is kept alive has shown its certificate.
        self.server.break_down(server.Fault.DOWN)
        self.server.break_down(self.faults[kind],
                               delay_s=self.read_timeout_s + 1.0)
        try:
            yield
        finally:
            self.server.mend()

    @contextlib.contextmanager
    def lost_answer(self) -> Iterator[None]:
        self.server.silent_s = self.read_timeout_s + 1.0
        try:
            yield
        finally:
            self.server.silent_s = 0.0

    def requests(self) -> int | None:
        return len(self.server.requests)
