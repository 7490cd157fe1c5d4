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
"""A CephFS whose ceph-fuse dies: mounted anew in its place, and seen to be."""

import contextlib
import errno
import os
import subprocess

from bed.guest import cephfs
from bed.guest.mapped import PATIENT_S
from bed.guest.rbd import PACKAGES, RbdHost
from bed.guest.scenario import scenario, Stage

MEMORY_MIB = 1536
SILENT_S = 20.0


def adopted(stage: Stage) -> tuple[RbdHost, cephfs.Share]:
    """An operator's mount, handed over to an agent that runs then."""
    patience = stage.patience
    mapped = RbdHost.with_ceph(
        stage, mapping_attach_timeout=str(min(600.0, 90.0 * patience)),
        mapping_proof_timeout=str(min(60.0, 30.0 * patience)),
        mapping_retry_max='5')
    cephfs.start(stage)
    share = cephfs.Share.mount(stage)
    (share.place / 'old').write_text('written before')
    done = mapped.agent.cli('adopt', str(share.place), '--alias', 'share')
    stage.check('the mount is adopted by its place', done.returncode == 0,
                done.stdout + done.stderr)
    mapped.agent.start()
    mapped.until_well(share.volume)
    return mapped, share


def mounted_anew(stage: Stage, mapped: RbdHost, share: cephfs.Share,
                 old: int) -> None:
    """Claims that another process serves the same files there."""
    stage.wait_until('another process has mounted it', lambda:
                     share.servers() not in ([], [old])
                     and not share.is_dead(), PATIENT_S)
    mapped.until_well(share.volume)
    stage.check('what was written is there', (
        share.place / 'old').read_text() == 'written before')
    found = share.mounts()
    stage.check('it is mounted once, as it was',
                len(found) == 1 and 'nosuid,nodev' in found[0]
                and 'noatime' in found[0], found)


@scenario(name='ceph-fuse-remount', item='ceph', timeout_s=900,
          packages=PACKAGES, memory_mib=MEMORY_MIB)
def ceph_fuse_remount(stage: Stage) -> None:
    """ceph-fuse is killed with -9: its place is mounted anew."""
    mapped, share = adopted(stage)
    stage.check('status says that it is not transparent',
                mapped.agent.volume(share.volume.id)['transparent'] is False)
    fd = os.open(share.place / 'old', os.O_RDONLY)
    old, at_s = share.kill(), stage.now_s()
    mounted_anew(stage, mapped, share, old)
    stage.figure('ceph_fuse_remount_s', stage.now_s() - at_s)
    try:
        os.pread(fd, 1, 0)
        stage.check('who had a file open has lost it', False)
    except OSError as error:
        stage.check('who had a file open has lost it',
                    error.errno in (errno.ENOTCONN, errno.EIO), error)
    with contextlib.suppress(OSError):      # close(2) says it, and closes
        os.close(fd)
    (share.place / 'new').write_text('written after')
    stage.check('the journal tells what it cost',
                'files that were open there are lost'
                in mapped.agent.history())

    stage.note('killed while the monitors are silent')
    ceph = mapped.ceph
    assert ceph is not None
    ceph.freeze('mon.a')
    stage.at_exit('thaw the monitor', lambda: ceph.thaw('mon.a'))
    old = share.kill()
    stage.wait_until('the place is dead', share.is_dead)
    stage.stays('the dead mount stays, and nobody writes beside it',
                lambda: share.is_dead() and len(share.mounts()) == 1,
                SILENT_S)
    ceph.thaw('mon.a')
    mounted_anew(stage, mapped, share, old)

    stage.note('killed while no agent runs')
    mapped.agent.kill()
    old = share.kill()
    mapped.agent.start()
    mounted_anew(stage, mapped, share, old)

    stage.note('unmounted by the operator')
    subprocess.run(['umount', str(share.place)], check=True, timeout=60)
    stage.wait_until('the agent lets it go', lambda:
                     not mapped.agent.volume(share.volume.id), PATIENT_S)
    stage.stays('and leaves it unmounted', lambda: not share.mounts()
                and not share.servers(), 5)
