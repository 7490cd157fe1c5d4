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
"""What a compute host does with a volume: nova's and cinder's part.

Cinder is the control plane: it asks the provisioner over HTTPS to publish a
volume and builds the connection properties as its KumoScale driver does.
Host is nova-compute: it hands them to os-brick's factory. Import of os-brick
is left to the methods, so that this module loads where there is none.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import importlib
import importlib.util
import json
import logging
import os
import pathlib
import re
import shlex
import shutil
import ssl
import subprocess
import threading
import time
from typing import Any
import urllib.request

from bed.guest.kumoscale import KumoScaleServer
from bed.guest.provisioner import GIB, Volume

NOVA_CONF = '/etc/nova/nova.conf'
LOCK_PATH = '/var/lib/nova/tmp'  # as nova.conf says
LOG_FILE = '/var/log/nova/nova-compute.log'
NOVA_DIRECTORIES = (LOCK_PATH, '/var/log/nova', '/run/nova', '/var/lib/nova')
# What nova-compute passes to os-brick, and to privsep, as its way to root.
ROOT_HELPER = 'sudo nova-rootwrap /etc/nova/rootwrap.conf'
HTTP_DEADLINE_S = 30

Properties = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """An attached volume, with all that nova keeps of it.

    ``connection`` goes stale when replicas are replaced; nova's own copy
    in the block device mapping does, too.
    """
    volume: Volume
    connection: Properties
    device_info: dict[str, Any]

    @property
    def path(self) -> str:
        return str(self.device_info['path'])

    @property
    def md(self) -> str:
        """The kernel's name of the array now, such as md127."""
        return os.path.basename(os.path.realpath(self.path))


class Cinder:
    """As much of cinder's KumoScale driver as an attachment needs."""

    def __init__(self, server: KumoScaleServer) -> None:
        self._server = server
        self._context = ssl.create_default_context(cafile=server.pki.ca)
        if server.client_certificate:
            self._context.load_cert_chain(server.pki.client_pem)

    def initialize_connection(self, volume: Volume,
                              connector: Mapping[str, Any]) -> Properties:
        self.call('POST', 'host_probe', {
            'hostNqn': connector['nqn'], 'hostId': connector['uuid'],
            'name': connector['host'], 'clientType': 'Agent',
            'version': 'cinder-driver-0.1', 'duration': 30})
        self.call('POST', 'publish', {'hostId': connector['uuid'],
                                      'volId': volume.id})
        known = self.call('GET', f'volumes/{volume.id}')[0]
        targets = self.call('GET', f'targets?hostId={connector["uuid"]}'
                                   f'&volId={volume.id}')
        return {'vol_uuid': volume.id, 'alias': volume.alias,
                'writable': known['writable'],
                'volume_replicas': self._replicas(known, targets),
                'replica_count': len(known['location'])}

    def terminate_connection(self, volume: Volume,
                             connector: Mapping[str, Any]) -> None:
        self.call('POST', 'unpublish', {'hostId': connector['uuid'],
                                        'volId': volume.id})

    def extend(self, volume: Volume, size_mib: int) -> None:
        self.call('PATCH', f'volumes/{volume.id}',
                  {'newCapacity': str(size_mib * (1 << 20) / GIB)})

    def call(self, method: str, path: str,
             body: Mapping[str, Any] | None = None) -> Any:
        """One request; a refusal in the envelope raises."""
        request = urllib.request.Request(
            self._server.url + path, method=method,
            data=None if body is None else json.dumps(dict(body)).encode(),
            headers={'Authorization': f'Bearer {self._server.token}',
                     'Content-Type': 'application/json'})
        with urllib.request.urlopen(request, context=self._context,
                                    timeout=HTTP_DEADLINE_S) as reply:
            answer = json.load(reply)
        status = (answer.get('status', 'Success')
                  if isinstance(answer, dict) else 'Success')
        if status not in ('Success', 'AlreadyPublished'):
            raise OSError(f'cannot {method} {path}: because the provisioner '
                          f'says {status}: {answer.get("description")}')
        return answer

    def _replicas(self, known: Mapping[str, Any],
                  targets: Sequence[Mapping[str, Any]]) -> list[Properties]:
        if any('targetName' not in target for target in targets):
            # the generation with one target for all back ends
            return [self._replica(location, targets[0]['name'])
                    for location in known['location']]
        homes = {each['backend']['persistentID']: each
                 for each in known['location']}
        return [self._replica(homes[target['backend']['persistentID']],
                              target['targetName']) for target in targets]

    def _replica(self, location: Mapping[str, Any], nqn: str) -> Properties:
        backend_id = location['backend']['persistentID']
        backend = self.call('GET', f'backends/{backend_id}')[0]
        return {'vol_uuid': location['uuid'], 'target_nqn': nqn,
                'portals': [(portal['ip'], str(portal['port']),
                             portal['transport'])
                            for portal in backend['portals']]}


class Host:
    """nova-compute in this process: os-brick, its locks, its connector."""

    def __init__(self, cinder: Cinder, *, multipath: bool = False) -> None:
        self.cinder = cinder
        self.multipath = multipath
        self._properties: Properties | None = None
        setup_os_brick()

    @property
    def properties(self) -> Properties:
        """get_connector_properties(), as nova sends it to cinder."""
        if self._properties is None:
            connector = _module('os_brick.initiator.connector')
            self._properties = dict(connector.get_connector_properties(
                ROOT_HELPER, '127.0.0.1', self.multipath, False, host='bed'))
        return self._properties

    def connector(self, protocol: str = 'NVMEOF') -> Any:
        """A new connector, as nova makes one for every operation."""
        connector = _module('os_brick.initiator.connector')
        return connector.InitiatorConnector.factory(
            protocol, ROOT_HELPER, use_multipath=self.multipath,
            device_scan_attempts=3, enforce_multipath=False)

    def attach(self, volume: Volume) -> Attachment:
        connection = self.cinder.initialize_connection(volume,
                                                       self.properties)
        return self.connect(volume, connection)

    def connect(self, volume: Volume, connection: Properties) -> Attachment:
        """connect_volume with properties that somebody kept."""
        # os-brick converts and extends what it is given
        device = self.connector().connect_volume(_copy(connection))
        return Attachment(
            volume=volume, device_info=device,
            connection={**connection, 'device_path': device['path']})

    def attach_directly(self, volume: Volume) -> Attachment:
        """Leaves what attach() of a new volume leaves, in half the time.

        For scenarios with dozens of volumes: no os-brick, so no locks, no
        look-ups, and nothing of ours is called.
        """
        connection = self.cinder.initialize_connection(volume,
                                                       self.properties)
        replicas = connection['volume_replicas']
        for target in replicas:
            fabrics_connect(target, self.properties)
        devices = [f'/dev/{wait_for_device(each["vol_uuid"])}'
                   for each in replicas]
        alias = connection['alias']
        command('mdadm', '-C', alias, '-R', '-N', alias, '--level', '1',
                f'--raid-devices={len(devices)}', '--bitmap=internal',
                '--homehost=any', '--failfast', '--assume-clean', *devices)
        device = {'type': 'block', 'path': f'/dev/md/{alias}'}
        return Attachment(
            volume=volume, device_info=device,
            connection={**connection, 'device_path': device['path']})

    def disconnect(self, attachment: Attachment, *,
                   force: bool = False) -> None:
        self.connector().disconnect_volume(
            _copy(attachment.connection), dict(attachment.device_info),
            force=force)

    def detach(self, attachment: Attachment) -> None:
        self.disconnect(attachment)
        self.cinder.terminate_connection(attachment.volume, self.properties)

    def extend(self, attachment: Attachment, size_mib: int) -> int:
        """Grows the volume at cinder, then here; the new size in bytes."""
        self.cinder.extend(attachment.volume, size_mib)
        return int(self.connector().extend_volume(
            _copy(attachment.connection)))


_SETUP = threading.Lock()
_DONE: list[bool] = []


def setup_os_brick() -> None:
    """os_brick.setup() with nova's lock_path, and privsep as nova has it.

    As user nova every command goes through sudo, rootwrap and a
    privsep-helper; root runs them in its own process, which saves seconds.
    """
    with _SETUP:
        if _DONE:
            return
        cfg = _module('oslo_config.cfg')
        _module('oslo_concurrency.lockutils')  # registers lock_path
        if os.geteuid() == 0:
            prepare_directories()
        logging.basicConfig(filename=LOG_FILE, level=logging.DEBUG,
                            format='%(asctime)s %(process)d %(levelname)s '
                                   '%(name)s %(message)s')
        # os-brick and oslo.concurrency register with the global one only
        cfg.CONF([], project='nova', default_config_files=[NOVA_CONF])
        _module('os_brick').setup(cfg.CONF)
        if os.geteuid() == 0:
            _module('os_brick.privileged').default.set_client_mode(False)
            if _is_there('os_brick_healer'):
                _module('os_brick_healer.privileged'
                        ).context.set_client_mode(False)
        else:
            _module('oslo_privsep.priv_context').init(
                root_helper=shlex.split(ROOT_HELPER))
        _DONE.append(True)


def _module(name: str) -> Any:
    """A library that only the guest has; untyped, so that it may be absent
    where the bed is merely type-checked or listed."""
    return importlib.import_module(name)


def prepare_directories() -> None:
    """What nova's package makes at installation; needs root."""
    for name in NOVA_DIRECTORIES:
        pathlib.Path(name).mkdir(parents=True, exist_ok=True)
        shutil.chown(name, 'nova', 'nova')


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _copy(connection: Properties) -> Properties:
    copied: Properties = json.loads(json.dumps(connection))
    return copied


# Looking at the host, with no code but this ------------------


def controllers(nqn: str | None = None) -> dict[str, str]:
    """The state of every NVMe-oF controller by its name."""
    found = {}
    for path in pathlib.Path('/sys/class/nvme').glob('nvme*'):
        try:
            if nqn in (None, (path / 'subsysnqn').read_text().strip()):
                found[path.name] = (path / 'state').read_text().strip()
        except OSError:
            continue  # it went while we looked
    return found


def legs(md: str) -> dict[str, str]:
    """The state of every member of an array, by its device: in_sync, ..."""
    found = {}
    for path in pathlib.Path(f'/sys/block/{md}/md').glob('dev-*'):
        try:
            found[path.name.removeprefix('dev-')] = (
                path / 'state').read_text().strip()
        except OSError:
            continue
    return found


def md_attribute(md: str, name: str) -> str:
    return pathlib.Path(f'/sys/block/{md}/md/{name}').read_text().strip()


def is_whole(md: str) -> bool:
    """Every leg is there and in sync, and nothing is being synced."""
    try:
        return (md_attribute(md, 'degraded') == '0'
                and md_attribute(md, 'sync_action') == 'idle'
                and all('in_sync' in state for state in legs(md).values())
                and len(legs(md)) == int(md_attribute(md, 'raid_disks')))
    except OSError:
        return False


def device_of(replica: str) -> str | None:
    """The block device of a replica by its namespace's uuid (nvme0n1)."""
    for path in pathlib.Path('/sys/class/block').glob('nvme*n*'):
        if not re.fullmatch(r'nvme\d+n\d+', path.name):
            continue  # nvme0c1n1 is a path of a multipath, not a device
        try:
            if (path / 'uuid').read_text().strip() == replica:
                return path.name
        except OSError:
            continue  # it went while we looked
    return None


def fabrics_connect(target: Properties, me: Properties) -> None:
    """What `nvme connect -Q 128 -l -1` does, without a process each."""
    for address, port, _transport in target['portals']:
        words = ('transport=tcp', f'traddr={address}', f'trsvcid={port}',
                 f'nqn={target["target_nqn"]}', f'hostnqn={me["nqn"]}',
                 f'hostid={me["nvme_hostid"]}', 'queue_size=128',
                 'ctrl_loss_tmo=-1')
        with open('/dev/nvme-fabrics', 'r+b', buffering=0) as fabrics:
            fabrics.write(','.join(words).encode())


def wait_for_device(replica: str, timeout_s: float = 20.0) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = device_of(replica)
        if found:
            return found
        time.sleep(0.02)
    raise TimeoutError(f'cannot use replica {replica}: because its device '
                       f'did not appear within {timeout_s:g} s')


def nvme_connect(target: Properties) -> None:
    """Connects every portal of a replica by hand, as os-brick would."""
    for address, port, _transport in target['portals']:
        command('nvme', 'connect', '-t', 'tcp', '-a', address, '-s', port,
                '-n', target['target_nqn'], '-l', '-1')


def command(*words: str, deadline_s: float = 60) -> str:
    """Runs a command of the host's administrator; raises if it fails."""
    done = subprocess.run(words, check=False, text=True, timeout=deadline_s,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise OSError(f'cannot run {" ".join(words)}: because it ended with '
                      f'{done.returncode}: {done.stdout.strip()}')
    return done.stdout
