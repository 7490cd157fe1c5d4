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
"""A one-node Ceph in the guest, and volumes that rbd-nbd serves from it."""

import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
from typing import Any, ClassVar, Self
import uuid

from bed.guest import host
from bed.guest.mapped import MappedHost, Served
from bed.guest.scenario import Stage

#: What the guest's image needs beside the usual; one image for all of them,
#: those with a CephFS, too.
PACKAGES = ('ceph-common', 'ceph-fuse', 'ceph-mds', 'ceph-mon', 'ceph-osd',
            'cryptsetup-bin', 'rbd-nbd')
#: The features of most images: Ceph's default begins with these.
LOCKED = 'layering,exclusive-lock'
SCRIPT = '/bed/miniceph.sh'
DIRECTORY = pathlib.Path('/run/miniceph')
CONFIG = pathlib.Path('/etc/ceph/ceph.conf')
START_S = 300.0
COMMAND_S = 120.0
ATTACH_S = 15.0
LOG_CHARACTERS = 200_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ceph:
    """One monitor, one OSD in memory, a pool named rbd."""

    stage: Stage

    @classmethod
    def start(cls, stage: Stage, auth: str = 'none') -> 'Ceph':
        """Starts it; takes some ten seconds on an emulated CPU."""
        stage.note('starting a one-node Ceph')
        script(auth, 'start')
        stage.at_exit('keep the logs of Ceph', lambda: leave_logs(stage))
        stage.at_exit('stop Ceph', lambda: script(auth, 'stop'))
        CONFIG.parent.mkdir(exist_ok=True)
        shutil.copy(DIRECTORY / 'ceph.conf', CONFIG)
        keyring = DIRECTORY / 'keyring'
        if keyring.exists():
            shutil.copy(keyring, CONFIG.parent / 'ceph.client.admin.keyring')
        return cls(stage=stage)

    def create(self, image: str, size_mib: int,
               features: str = 'layering') -> None:
        rbd('create', '--size', str(size_mib), '--image-feature', features,
            f'rbd/{image}')

    def make_user(self, name: str) -> None:
        """With the rights that Ceph's manual gives to a user of RBD."""
        keyring = CONFIG.parent / f'ceph.client.{name}.keyring'
        keyring.write_text(host.command(
            'ceph', 'auth', 'get-or-create', f'client.{name}', 'mon',
            'profile rbd', 'osd', 'profile rbd pool=rbd',
            deadline_s=COMMAND_S))
        keyring.chmod(0o600)

    def pid(self, daemon: str) -> int:
        """Of mon.a or osd.0."""
        return int((DIRECTORY / 'run' / f'{daemon}.pid').read_text())

    def freeze(self, daemon: str) -> None:
        """It answers nothing from now on."""
        os.kill(self.pid(daemon), signal.SIGSTOP)

    def thaw(self, daemon: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid(daemon), signal.SIGCONT)


def leave_logs(stage: Stage) -> None:
    """The end of each: what a scenario fails by may be Ceph's own trouble."""
    for daemon in ('mon.a', 'osd.0'):
        log = DIRECTORY / 'log' / f'{daemon}.log'
        stage.artifact(log.name,
                       log.read_text(errors='replace')[-LOG_CHARACTERS:])


def script(auth: str, verb: str) -> None:
    done = subprocess.run(
        ['/bin/bash', SCRIPT, verb], check=False, timeout=START_S, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, 'D': str(DIRECTORY), 'AUTH': auth,
             'SIZE': str(256 << 20)})
    if done.returncode != 0:
        raise OSError(f'cannot {verb} Ceph: because the script ended with '
                      f'{done.returncode}: {done.stdout[-1500:]}')


def rbd(*words: str) -> str:
    """Runs rbd as an administrator does."""
    return host.command('rbd', *words, deadline_s=COMMAND_S)


def name_of(volume: Served) -> str:
    """Its pool and image."""
    return str(volume.connection['name'])


def watchers(image: str) -> dict[int, str]:
    """The address of every client that has an image open, by its number."""
    told = json.loads(rbd('status', '--format', 'json', image))
    return {one['client']: one['address'] for one in told['watchers']}


def holder(image: str) -> str | None:
    """The address of the client that has the image's lock."""
    told = json.loads(rbd('lock', 'ls', '--format', 'json', image))
    return told[0]['address'] if told else None


def blocklist() -> set[str]:
    """The addresses that may not write any more."""
    told = host.command('ceph', 'osd', 'blocklist', 'ls',
                        deadline_s=COMMAND_S)
    return {line.split()[0] for line in told.splitlines()
            if ':0/' in line}


@dataclasses.dataclass(slots=True, kw_only=True)
class RbdHost(MappedHost):
    """A host that attaches RBD images locally, by rbd-nbd."""

    ceph: Ceph | None = None
    protocol: ClassVar[str] = 'RBD'

    @classmethod
    def with_ceph(cls, stage: Stage, auth: str = 'none',
                  **settings: str) -> Self:
        """A host, its cluster, and an agent that is not started yet."""
        ceph = Ceph.start(stage, auth)
        # An emulated rbd-nbd takes seconds to come up, on a busy host minutes.
        attach_s = min(600.0, ATTACH_S * stage.patience)
        built = cls.build(stage, **{
            'rbd_mounter': 'rbd-nbd',
            'mapping_attach_timeout': str(attach_s), **settings})
        built.ceph = ceph
        return built

    def make_image(self, alias: str = 'vol1', size_mib: int = 32,
                   features: str = 'layering',
                   user: str | None = None) -> Served:
        """Makes an image, with the properties that cinder gives of it."""
        assert self.ceph is not None
        volume = str(uuid.uuid4())
        image = f'volume-{volume}'
        self.ceph.create(image, size_mib, features)
        return Served(
            id=volume, alias=alias, device_path='', program='rbd-nbd',
            file=pathlib.Path('/nowhere'), properties={
                'name': f'rbd/{image}', 'hosts': ['127.0.0.1'],
                'ports': ['6789'], 'cluster_name': 'ceph',
                'auth_enabled': user is not None, 'auth_username': user,
                'secret_type': 'ceph', 'access_mode': 'rw',
                'volume_id': volume, 'do_local_attach': True})

    def attach_image(self, alias: str = 'vol1', size_mib: int = 32,
                     features: str = 'layering',
                     user: str | None = None) -> Served:
        """Makes an image, and attaches it."""
        return self.connect(self.make_image(alias, size_mib, features, user))


    def map_snapshot(self, volume: Served, user: str) -> Served:
        """Maps a new snapshot of a volume, as the connector would."""
        pool, image = name_of(volume).split('/')
        rbd('snap', 'create', '--no-progress', f'{name_of(volume)}@s')
        key = str(uuid.uuid4())
        path = mapper().map(key, 'snapshot', 'rbd-nbd', {
            'pool': pool, 'image': image, 'snapshot': 's', 'user': user,
            'conf': str(CONFIG),
            'keyring': f'{CONFIG.parent}/ceph.client.{user}.keyring'})
        snapshot = Served(id=key, alias='snapshot', device_path=path,
                          program='rbd-nbd', file=pathlib.Path('/nowhere'),
                          properties={'name': f'{name_of(volume)}@s'})
        self.volumes.append(snapshot)
        return snapshot

    def unmap(self, snapshot: Served) -> None:
        mapper().unmap(snapshot.id, 'rbd-nbd', {})
        self.volumes.remove(snapshot)

    def mount(self, volume: Served) -> pathlib.Path:
        place = pathlib.Path('/mnt/bed') / volume.alias
        place.mkdir(parents=True, exist_ok=True)
        host.command('mount', volume.device_path, str(place), deadline_s=60)
        self.stage.at_exit('unmount', lambda: subprocess.run(
            ['umount', '-l', str(place)], check=False, timeout=20,
            stderr=subprocess.DEVNULL))
        return place

    @staticmethod
    def unmount(place: pathlib.Path) -> None:
        host.command('umount', str(place), deadline_s=60)


def mapper() -> Any:
    """What maps volumes in this process, for connectors."""
    return importlib.import_module(
        'os_brick_healer.connector.mapper').default()
