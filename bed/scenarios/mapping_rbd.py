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
"""RBD images that rbd-nbd serves, over a real Ceph."""

import mmap
import os
import signal
import threading
import time

from bed.guest.mapped import connected, PATIENT_S
from bed.guest.rbd import LOCKED, PACKAGES, rbd, RbdHost
from bed.guest.scenario import scenario, Stage

#: Three times what the design promises: the guest is emulated.
STALL_S_MAX = 5.0
HANG_STALL_S_MAX = 24.0
MEMORY_MIB = 1536
MIB = 1 << 20
#: More than sockets hold, and less than librbd's cache would.
BURST_MIB, HOLD_S = 20, 5.0


@scenario(name='rbd-killed', item='ceph', timeout_s=400, packages=PACKAGES,
          memory_mib=MEMORY_MIB)
def rbd_killed(stage: Stage) -> None:
    """rbd-nbd is killed with -9: the same device goes on."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image()
    mapped.start_agent()
    writer = mapped.write_to(volume)
    for turn in (1, 2):
        old = volume.signal(signal.SIGKILL)
        stage.note(f'turn {turn}: kill -9 of process {old}')
        mapped.until_flowing(volume, writer)
        stage.check('another process serves', volume.server != old)
        mapped.until_well(volume)
    stage.figure('rbd_killed_stall_s', writer.worst_stall_s)
    mapped.prove_device(volume, writer)
    mapped.detach(volume)
    stage.check('no device is left', not connected(), connected())
    stage.wait_until('no process is left', lambda: not volume.servers())
    # Those that were killed are watchers until Ceph has forgotten them.
    stage.wait_until('nobody watches the image', lambda: 'watcher=' not in
                     rbd('status', volume.connection['name']), 90)


@scenario(name='rbd-terminated', item='ceph', timeout_s=400,
          packages=PACKAGES, memory_mib=MEMORY_MIB)
def rbd_terminated(stage: Stage) -> None:
    """rbd-nbd is told to end with SIGTERM: the same device goes on."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image()
    mapped.start_agent()
    writer = mapped.write_to(volume)
    old = volume.signal(signal.SIGTERM)
    mapped.until_flowing(volume, writer)
    stage.wait_until('another process serves', lambda: volume.servers()
                     and volume.server != old)
    mapped.until_well(volume)
    stage.figure('rbd_terminated_stall_s', writer.worst_stall_s)
    mapped.prove_device(volume, writer)


@scenario(name='rbd-hangs', item='ceph', timeout_s=400, packages=PACKAGES,
          memory_mib=MEMORY_MIB)
def rbd_hangs(stage: Stage) -> None:
    """rbd-nbd is stopped with SIGSTOP: it is killed and replaced."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image()
    mapped.start_agent()
    writer = mapped.write_to(volume)
    old = volume.signal(signal.SIGSTOP)
    mapped.until_flowing(volume, writer)
    stage.check('another process serves', volume.server != old)
    mapped.until_well(volume)
    stage.figure('rbd_hang_stall_s', writer.worst_stall_s)
    mapped.prove_device(volume, writer)


@scenario(name='rbd-osd-slow', item='ceph', timeout_s=500, packages=PACKAGES,
          memory_mib=MEMORY_MIB)
def rbd_osd_slow(stage: Stage) -> None:
    """The OSD does not answer: its client is not taken for dead."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image()
    mapped.start_agent()
    writer = mapped.write_to(volume)
    old = volume.server
    ceph = mapped.ceph
    assert ceph is not None
    ceph.freeze('osd.0')
    stage.at_exit('thaw the OSD', lambda: ceph.thaw('osd.0'))
    mapped.until_says(volume, 'the storage behind it is slow')
    stage.stays('the process is left alone',
                lambda: volume.servers() == [old], 8)
    ceph.thaw('osd.0')
    mapped.until_flowing(volume, writer)
    mapped.until_well(volume)
    stage.check('it was never replaced', volume.server == old)
    mapped.prove_device(volume, writer)


class Burst(threading.Thread):
    """Writes of 1 MiB each, past every cache of this host, one by one."""

    def __init__(self, fd: int) -> None:
        super().__init__(daemon=True)
        self._fd = fd
        self.data = os.urandom(BURST_MIB * MIB)
        self.acknowledged = 0

    def run(self) -> None:
        with mmap.mmap(-1, MIB) as page:
            for offset in range(0, len(self.data), MIB):
                page[:] = self.data[offset:offset + MIB]
                if os.pwritev(self._fd, [page], offset) != MIB:
                    return
                self.acknowledged += 1

    def read_back(self) -> int:
        """How many of them are there, whole."""
        with mmap.mmap(-1, MIB) as page:
            return sum(
                os.preadv(self._fd, [page], offset) == MIB
                and page[:] == self.data[offset:offset + MIB]
                for offset in range(0, len(self.data), MIB))


@scenario(name='rbd-acknowledged', item='ceph', timeout_s=500,
          packages=PACKAGES, memory_mib=MEMORY_MIB)
def rbd_acknowledged(stage: Stage) -> None:
    """What rbd-nbd had acknowledged when it was killed is in the storage."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image(features=LOCKED)
    mapped.start_agent()
    ceph = mapped.ceph
    assert ceph is not None
    fd = os.open(volume.device_path, os.O_RDWR | os.O_DIRECT)
    burst = Burst(fd)
    with mmap.mmap(-1, 4096) as page:
        os.pwritev(fd, [page], 0)
    # A guest that flushes may be given a cache that writes back.
    os.fdatasync(fd)
    ceph.freeze('osd.0')
    stage.at_exit('thaw the OSD', lambda: ceph.thaw('osd.0'))
    burst.start()
    time.sleep(HOLD_S)
    early = burst.acknowledged
    old = volume.signal(signal.SIGKILL)
    stage.note(f'kill -9; {early} MiB were acknowledged while the OSD did '
               'not answer')
    ceph.thaw('osd.0')
    stage.wait_until('every write comes back',
                     lambda: not burst.is_alive(), PATIENT_S)
    stage.wait_until('another process serves', lambda: volume.servers()
                     not in ([], [old]), PATIENT_S)
    mapped.until_well(volume)
    stage.check('every write was acknowledged',
                burst.acknowledged == BURST_MIB, burst.acknowledged)
    there = burst.read_back()
    stage.check('all that was acknowledged is there', there == BURST_MIB,
                f'{there} of {BURST_MIB} MiB')
    stage.check('nothing was acknowledged that the storage had not got',
                early == 0, early)
    os.close(fd)
