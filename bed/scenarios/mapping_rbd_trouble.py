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
"""RBD images in trouble: what is healed, and what is left alone."""

import contextlib
import errno
import os
import pathlib
import signal
import subprocess
import time

from bed.guest import host
from bed.guest.mapped import connected, Served
from bed.guest.rbd import (
    blocklist,
    LOCKED,
    mapper,
    name_of,
    PACKAGES,
    rbd,
    RbdHost,
    watchers,
)
from bed.guest.scenario import scenario, Stage

MEMORY_MIB = 1536
FORGOTTEN_S = 90.0
MIB = 1 << 20
SERVERS_MAX = 2


@scenario(name='rbd-resized', item='ceph', timeout_s=600, packages=PACKAGES,
          memory_mib=MEMORY_MIB)
def rbd_resized(stage: Stage) -> None:
    """Images that change their size while nobody serves them."""
    mapped = RbdHost.with_ceph(stage)
    grown = mapped.attach_image('grown')
    shrunk = mapped.attach_image('shrunk')
    mapped.start_agent()
    writer = mapped.write_to(grown, span_mib=16)
    mapped.agent.kill()
    for volume in (grown, shrunk):
        volume.signal(signal.SIGKILL)
    rbd('resize', '--size', '48', '--no-progress', name_of(grown))
    rbd('resize', '--size', '16', '--allow-shrink', '--no-progress',
        name_of(shrunk))
    mapped.agent.start()
    mapped.until_flowing(grown, writer)
    mapped.until_well(grown)
    stage.check('what has grown is served as it is now',
                grown.sysfs('size') == str((48 * MIB) // 512),
                grown.sysfs('size'))
    told = mapper().extend(grown.id)
    stage.check('an extend tells what it grew to while it was dead',
                told == 48 * MIB, told)
    mapped.until_says(shrunk, 'gets none', 'were mapped')
    stage.check('what is smaller than it was mapped is broken',
                mapped.agent.phase(shrunk.id) == 'broken',
                mapped.agent.phase(shrunk.id))
    stage.check('and nobody serves it', not shrunk.servers(),
                shrunk.servers())
    mapped.prove_device(grown, writer)
    mapped.detach(shrunk)
    stage.check('its device has gone', set(connected().values()) == {
        grown.id}, connected())


@scenario(name='rbd-extended', item='ceph', timeout_s=400,
          packages=PACKAGES, memory_mib=MEMORY_MIB)
def rbd_extended(stage: Stage) -> None:
    """An image that is served is extended, and dies afterwards.

    rbd-nbd of Ceph 16.2 tells the kernel of the new size without the cookie,
    and the kernel refuses that ("netlink resize failed").
    """
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image()
    mapped.start_agent()
    writer = mapped.write_to(volume, span_mib=16)
    server = volume.server
    rbd('resize', '--size', '64', '--no-progress', name_of(volume))
    told = mapper().extend(volume.id)
    stage.check('an extend of one that is served tells the new size',
                told == 64 * MIB, told)
    stage.check('by the same process', volume.servers() == [server],
                volume.servers())
    _write(volume, 60 * MIB, b'new' * 512)
    volume.signal(signal.SIGKILL)
    mapped.until_flowing(volume, writer)
    mapped.until_well(volume)
    stage.check('what is served after a death is as large',
                volume.sysfs('size') == str((64 * MIB) // 512),
                volume.sysfs('size'))
    stage.check('what was written beyond the old end is there',
                _read(volume, 60 * MIB, 1536) == b'new' * 512)
    mapped.prove_device(volume, writer)


def _write(volume: Served, at: int, data: bytes) -> None:
    with open(volume.device_path, 'r+b', buffering=0) as device:
        os.pwrite(device.fileno(), data, at)
        os.fsync(device.fileno())


def _read(volume: Served, at: int, size: int) -> bytes:
    with open(volume.device_path, 'rb', buffering=0) as device:
        os.posix_fadvise(device.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return os.pread(device.fileno(), size, at)


@scenario(name='rbd-deleted', item='ceph', timeout_s=600, packages=PACKAGES,
          memory_mib=MEMORY_MIB)
def rbd_deleted(stage: Stage) -> None:
    """The image is deleted while nobody serves it."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image()
    mapped.start_agent()
    mapped.agent.kill()
    volume.signal(signal.SIGKILL)
    stage.wait_until('the cluster has forgotten the dead client',
                     lambda: not watchers(name_of(volume)), FORGOTTEN_S)
    rbd('rm', '--no-progress', name_of(volume))
    mapped.agent.start()
    mapped.until_says(volume, 'gets none', 'No such file or directory')
    stage.check('the volume is broken',
                mapped.agent.phase(volume.id) == 'broken')
    stage.stays('nothing is started', lambda: not volume.servers(), 10)
    stage.check('its record is kept', mapped.agent.volume(volume.id))
    mapped.detach(volume)
    stage.check('a detach leaves no device', not connected(), connected())
    stage.wait_until('and no record', lambda: not mapped.agent.volume(
        volume.id))


@scenario(name='rbd-mons-down', item='ceph', timeout_s=600,
          packages=PACKAGES, memory_mib=MEMORY_MIB)
def rbd_mons_down(stage: Stage) -> None:
    """The monitors do not answer during the heal, and come back."""
    mapped = RbdHost.with_ceph(stage, mapping_attach_timeout='8')
    ceph = mapped.ceph
    assert ceph is not None
    volume = mapped.attach_image(features=LOCKED)
    doomed = mapped.attach_image('doomed')
    mapped.start_agent()
    writer = mapped.write_to(volume)
    ceph.freeze('mon.a')
    stage.at_exit('thaw the monitor', lambda: ceph.thaw('mon.a'))
    for each in (volume, doomed):
        each.signal(signal.SIGKILL)
    mapped.until_says(volume, 'the next try is in')
    stage.stays(f'no more than {SERVERS_MAX} processes of it are there',
                lambda: len(volume.servers()) <= 1
                and len(askers(volume)) <= SERVERS_MAX, 20)
    stage.note('a detach during the heal')
    mapped.detach(doomed)
    stage.check('it leaves no device', set(connected().values()) == {
        volume.id}, connected())
    stage.wait_until('and no process', lambda: not doomed.servers())
    ceph.thaw('mon.a')
    mapped.until_flowing(volume, writer)
    mapped.until_well(volume)
    stage.check('one process serves', len(volume.servers()) == 1)
    mapped.prove_device(volume, writer)


@scenario(name='rbd-held-up', item='ceph', timeout_s=500,
          packages=PACKAGES, memory_mib=MEMORY_MIB)
def rbd_held_up(stage: Stage) -> None:
    """Killed while its table of partitions is read: it cannot end."""
    mapped = RbdHost.with_ceph(stage)
    ceph = mapped.ceph
    assert ceph is not None
    volume = mapped.attach_image(features=LOCKED)
    mapped.start_agent()
    timer = volume.sysfs('queue/io_timeout')
    # It has the lock now.
    write_through(pathlib.Path(volume.device_path), bytes(MIB))
    old = volume.signal(signal.SIGSTOP)
    reader = subprocess.Popen(['blockdev', '--rereadpt',
                               volume.device_path])
    stage.at_exit('end the reader', reader.kill)
    stage.wait_until('the table of partitions is read, and nothing comes back',
                     lambda: waits_for_long(reader.pid), 30, 0.01)
    with contextlib.suppress(ProcessLookupError):   # the agent may be quick
        os.kill(old, signal.SIGKILL)
    stage.wait_until('a thread of the process is held up in the kernel',
                     lambda: held_up(old), 30, 0.01)
    stage.wait_until('another process serves',
                     lambda: volume.servers() not in ([], [old]), 60)
    mapped.until_well(volume)
    stage.check('the kernel had to give up the connection',
                'Connection timed out' in host.command('dmesg'))
    stage.check('the table of partitions was read', reader.wait(60) == 0)
    stage.wait_until('the old process is gone', lambda: not held_up(old))
    stage.check('the dead client was shut out', len(blocklist()) == 1)
    stage.check('requests have the timer that they had',
                volume.sysfs('queue/io_timeout') == timer, timer)
    writer = mapped.write_to(volume)
    server = volume.server
    ceph.freeze('osd.0')
    stage.at_exit('thaw the OSD', lambda: ceph.thaw('osd.0'))
    stage.stays('slow storage is not cut off',
                lambda: volume.servers() == [server], 8)
    ceph.thaw('osd.0')
    mapped.until_flowing(volume, writer)
    mapped.until_well(volume)
    stage.check('the process was never replaced', volume.server == server)
    mapped.prove_device(volume, writer)
    mapped.detach(volume)
    stage.check('no device is left', not connected(), connected())


@scenario(name='rbd-taken', item='ceph', timeout_s=500, packages=PACKAGES,
          memory_mib=MEMORY_MIB)
def rbd_taken(stage: Stage) -> None:
    """The device was disconnected and is another image's now."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image()
    mapped.start_agent()
    mapped.agent.kill()
    host.command('rbd-nbd', 'unmap', volume.device_path, deadline_s=60)
    stage.wait_until('its device has gone', lambda: not connected())
    other = mapped.make_image('other')
    rbd_nbd = subprocess.Popen(
        ['rbd-nbd', 'map', '--foreground', '--try-netlink', '--device',
         volume.device_path, '--cookie', other.id, name_of(other)],
        stdout=subprocess.DEVNULL)
    stage.at_exit('end the other process', rbd_nbd.kill)
    stage.wait_until('the device is another image\'s', lambda: connected()
                     == {volume.device: other.id})
    mapped.agent.start()
    mapped.until_says(volume, 'has cookie', other.id)
    stage.stays('nobody touches it', lambda: rbd_nbd.poll() is None
                and not volume.servers(), 8)
    host.command('rbd-nbd', 'unmap', volume.device_path, deadline_s=60)
    mapped.until_says(volume, 'is not connected')
    refused = subprocess.run(
        ['rbd-nbd', 'attach', '--device', volume.device_path,
         '--try-netlink', '--cookie', volume.id, name_of(volume)],
        capture_output=True, text=True, check=False, timeout=60)
    stage.check('rbd-nbd, too, attaches to no device of another cookie',
                refused.returncode != 0, refused.stderr)
    mapped.detach(volume)
    stage.wait_until('a detach takes its record away',
                     lambda: not mapped.agent.volume(volume.id))


@scenario(name='rbd-reattach-expired', item='ceph', timeout_s=500,
          packages=PACKAGES, memory_mib=MEMORY_MIB)
def rbd_reattach_expired(stage: Stage) -> None:
    """Nobody came in time: requests failed, and the device comes back."""
    mapped = RbdHost.with_ceph(stage, mapping_reattach_timeout='5')
    volume = mapped.attach_image()
    mapped.start_agent()
    mapped.agent.kill()
    volume.signal(signal.SIGKILL)
    # What it was sent and has not answered waits for the next process, for
    # ever: only what comes while nobody is there fails. The last of its
    # threads closes the connection, after the process has ended for others.
    stage.wait_until('its process is gone', lambda: volume.servers() == [], 20)
    stage.stays('nobody serves it', lambda: volume.servers() == [], 3)
    found = ''
    try:
        read_block(volume)
    except OSError as error:
        found = errno.errorcode[error.errno or 0]
    stage.check('a request fails when the time is up', found == 'EIO',
                found)
    mapped.agent.start()
    mapped.until_well(volume)
    stage.check('the device is read again', len(read_block(volume)) == 4096)
    writer = mapped.write_to(volume)
    mapped.prove_device(volume, writer)


@scenario(name='rbd-cephx', item='ceph', timeout_s=600, packages=PACKAGES,
          memory_mib=MEMORY_MIB)
def rbd_cephx(stage: Stage) -> None:
    """A user of the profile rbd, a filesystem, and a snapshot beside it."""
    mapped = RbdHost.with_ceph(stage, auth='cephx',
                               mapping_attach_timeout='60')
    ceph = mapped.ceph
    assert ceph is not None
    ceph.make_user('cinder')
    volume = mapped.attach_image(size_mib=64, features=LOCKED, user='cinder')
    snapshot = mapped.map_snapshot(volume, 'cinder')
    host.command('mkfs.ext4', '-q', volume.device_path, deadline_s=120)
    mapped.start_agent()
    place = mapped.mount(volume)
    before = read_block(snapshot)
    for turn in range(3):
        (place / f'before-{turn}').write_bytes(os.urandom(MIB))
        volume.signal(signal.SIGKILL)
        snapshot.signal(signal.SIGKILL)
        data = os.urandom(MIB)
        write_through(place / f'after-{turn}', data)
        stage.check(f'turn {turn}: what was written is there',
                    (place / f'after-{turn}').read_bytes() == data)
        mapped.until_well(volume)
        mapped.until_well(snapshot)
        stage.check('the snapshot is what it was',
                    read_block(snapshot) == before)
    told = mapped.agent.history()
    stage.check('the profile rbd may shut a dead client out',
                told.count('was shut out') == 3, told[-900:])
    shut_out = blocklist()
    stage.check('who was shut out is on the blocklist',
                len(shut_out) == 3, shut_out)
    stage.check('the filesystem is writable', 'rw' in mount_options(place),
                mount_options(place))
    mapped.unmount(place)
    host.command('e2fsck', '-f', '-n', volume.device_path, deadline_s=120)
    mapped.detach(volume)
    mapped.unmap(snapshot)
    stage.check('no device is left', not connected(), connected())


def held_up(pid: int) -> bool:
    """Whether a process has given back its memory, and a thread of it is
    there: its first one, or another."""
    try:
        place = pathlib.Path(f'/proc/{pid}')
        return not (place / 'cmdline').read_bytes() and (
            state(pid) != 'Z' or len(list((place / 'task').iterdir())) > 1)
    except OSError:
        return False


def state(pid: int) -> str:
    """Of a process, as ps shows it; empty: it is gone."""
    try:
        text = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return ''
    return text.rpartition(')')[2].split()[0]


def waits_for_long(pid: int, seconds: float = 0.5) -> bool:
    """Whether it waits in the kernel, and goes on to: its own pages are read
    from a disk, too, on a busy machine one after another.
    """
    end_s = time.monotonic() + seconds
    while state(pid) == 'D':
        if time.monotonic() >= end_s:
            return True
        time.sleep(0.01)
    return False


def askers(volume: Served) -> list[str]:
    """Commands of rbd about this image that are under way."""
    told = host.command('ps', 'axo', 'args', deadline_s=20)
    return [line for line in told.splitlines()
            if line.split()[0].endswith('/rbd') and volume.id in line]


def read_block(volume: Served) -> bytes:
    """The first block, past every cache."""
    done = subprocess.run(
        ['dd', f'if={volume.device_path}', 'bs=4096', 'count=1',
         'iflag=direct', 'status=none'], capture_output=True, check=False,
        timeout=120)
    if done.returncode != 0:
        raise OSError(errno.EIO if b'Input/output' in done.stderr else 0,
                      done.stderr.decode())
    return done.stdout


def write_through(path: os.PathLike[str], data: bytes) -> None:
    """Write a file, and wait until it is on the disk."""
    with open(path, 'wb') as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def mount_options(place: os.PathLike[str]) -> list[str]:
    """Of a mounted filesystem, as /proc/mounts has them."""
    with open('/proc/mounts', encoding='utf-8') as mounts:
        for line in mounts:
            words = line.split()
            if words[1] == os.fspath(place):
                return words[3].split(',')
    return []
