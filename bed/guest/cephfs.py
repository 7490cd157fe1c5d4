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
"""A CephFS in the guest, mounted by ceph-fuse as an operator does it."""

import contextlib
import dataclasses
import errno
import hashlib
import os
import pathlib
import signal
import subprocess

from bed.guest import host, rbd
from bed.guest.mapped import Served
from bed.guest.scenario import Stage

NAME = 'cephfs'
COMMAND_S = 180.0
UP_S = 180.0


def ceph(*words: str) -> str:
    """Runs ceph as an administrator does."""
    return host.command('ceph', *words, deadline_s=COMMAND_S)


def start(stage: Stage) -> None:
    """A file system in the cluster that runs, and its one MDS."""
    stage.note('making a CephFS')
    for pool in ('cephfs_meta', 'cephfs_data'):
        ceph('osd', 'pool', 'create', pool, '8', '8')
    ceph('fs', 'new', NAME, 'cephfs_meta', 'cephfs_data')
    (rbd.DIRECTORY / 'mds/a').mkdir(parents=True)
    host.command('modprobe', 'fuse')
    host.command('ceph-mds', '-i', 'a', '--mds-data',
                 str(rbd.DIRECTORY / 'mds/a'), deadline_s=COMMAND_S)
    stage.at_exit('end the MDS', lambda: subprocess.run(
        ['pkill', '-KILL', '-x', 'ceph-mds'], check=False, timeout=20))
    stage.wait_until('the MDS is active',
                     lambda: 'up:active' in ceph('mds', 'stat'), UP_S)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A place where the file system is, or was, mounted."""

    stage: Stage
    place: pathlib.Path
    alias: str

    @classmethod
    def mount(cls, stage: Stage, alias: str = 'share') -> 'Share':
        place = pathlib.Path('/mnt') / alias
        place.mkdir(parents=True)
        stage.at_exit(f'unmount {place}', lambda: subprocess.run(
            ['umount', '-l', str(place)], check=False, timeout=20,
            stderr=subprocess.DEVNULL))
        host.command('ceph-fuse', '--id', 'admin', '--client_fs', NAME,
                     str(place), '-o', 'noatime', deadline_s=COMMAND_S)
        return cls(stage=stage, place=place, alias=alias)

    @property
    def volume(self) -> Served:
        """As the agent knows it: by its place alone."""
        key = hashlib.sha256(str(self.place).encode()).hexdigest()[:24]
        return Served(id=f'mount-{key}', alias=self.alias,
                      device_path=str(self.place), program='ceph-fuse',
                      file=pathlib.Path('/nowhere'))

    def servers(self) -> list[int]:
        """Every live ceph-fuse of this place."""
        found = []
        for path in pathlib.Path('/proc').glob('[0-9]*'):
            with contextlib.suppress(OSError):
                words = (path / 'cmdline').read_bytes().split(b'\0')
                if words[0].endswith(b'ceph-fuse') and (
                        str(self.place).encode() in words):
                    found.append(int(path.name))
        return found

    def kill(self) -> int:
        """kill -9 of its process; who that was."""
        (pid,) = self.servers()
        os.kill(pid, signal.SIGKILL)
        return pid

    def is_dead(self) -> bool:
        """Whether it fails as a mount does that nobody serves."""
        try:
            os.statvfs(self.place)
        except OSError as error:
            return error.errno == errno.ENOTCONN
        return False

    def mounts(self) -> list[str]:
        """Every mount at the place, as mountinfo has it."""
        table = pathlib.Path('/proc/self/mountinfo').read_text()
        return [line for line in table.splitlines()
                if line.split()[4] == str(self.place)]
