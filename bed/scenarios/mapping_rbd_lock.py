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
"""RBD images that belong to one client at a time (exclusive-lock)."""

import concurrent.futures
import dataclasses
import os
import pathlib
import signal
import subprocess

from bed.guest import host
from bed.guest.mapped import connected
from bed.guest.rbd import (
    blocklist,
    holder,
    LOCKED,
    name_of,
    PACKAGES,
    RbdHost,
    watchers,
)
from bed.guest.scenario import scenario, Stage
from bed.guest.writer import Writer

#: The cluster forgets a dead client after 30 s; a third of that is claimed,
#: since the guest is emulated.
STALL_S_MAX = 10.0
MEMORY_MIB = 1536
FORGOTTEN_S = 90.0
MANY, MANY_S = 16, 900.0


@scenario(name='rbd-locked', item='ceph', timeout_s=400, packages=PACKAGES,
          memory_mib=MEMORY_MIB)
def rbd_locked(stage: Stage) -> None:
    """The image is locked by the client that is killed: it is shut out."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image(features=LOCKED)
    mapped.start_agent()
    writer = mapped.write_to(volume)
    dead = set()
    for turn in (1, 2):
        address = holder(name_of(volume))
        stage.check('rbd-nbd has the lock', address is not None)
        dead.add(address)
        stage.note(f'turn {turn}: kill -9 of {address}')
        old = volume.signal(signal.SIGKILL)
        mapped.until_flowing(volume, writer)
        stage.check('another process serves', volume.server != old)
        mapped.until_well(volume)
        shut_out = blocklist()
        stage.check('the dead client is on the blocklist, nobody else',
                    shut_out == dead, (shut_out, dead))
    stage.check('a client that is not on the blocklist has the lock',
                holder(name_of(volume)) not in {None, *dead})
    stage.figure('rbd_locked_stall_s', writer.worst_stall_s)
    stage.check(f'the worst stall is below {STALL_S_MAX} s',
                writer.worst_stall_s < STALL_S_MAX * stage.patience,
                writer.worst_stall_s)
    told = history(mapped)
    stage.check('it is told who was shut out', 'was shut out' in told,
                told[-500:])
    mapped.prove_device(volume, writer)


@scenario(name='rbd-locked-elsewhere', item='ceph', timeout_s=500,
          packages=PACKAGES, memory_mib=MEMORY_MIB)
def rbd_locked_elsewhere(stage: Stage) -> None:
    """By the time of the heal another client, which lives, has the lock."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image(features=LOCKED)
    mapped.start_agent()
    writer = mapped.write_to(volume, span_mib=16)
    mapped.agent.kill()
    volume.signal(signal.SIGKILL)
    stage.wait_until('the cluster has forgotten the dead client',
                     lambda: not watchers(name_of(volume)), FORGOTTEN_S)
    other = subprocess.Popen(
        ['rbd-nbd', 'map', '--foreground', '--try-netlink', '--cookie',
         'somebody-else', name_of(volume)], stdout=subprocess.DEVNULL)
    stage.at_exit('end the other client', other.kill)
    stage.wait_until('another client has the image open',
                     lambda: len(watchers(name_of(volume))) == 1)
    (theirs,) = watchers(name_of(volume)).values()
    # Beyond what our writer uses of it.
    write_block('/dev/nbd1', 31 << 20)
    stage.check('the other client has the lock',
                holder(name_of(volume)) == theirs)
    mapped.agent.start()
    mapped.until_flowing(volume, writer)
    mapped.until_well(volume)
    # Ceph itself shut out the one that had died, for the other's sake.
    shut_out = blocklist()
    stage.check('the other client was not shut out',
                theirs not in shut_out, shut_out)
    told = history(mapped)
    stage.check('it is told who held it', f'({theirs}) holds it' in told,
                told[-500:])
    write_block('/dev/nbd1', 31 << 20)
    mapped.prove_device(volume, writer)


@scenario(name='rbd-many-killed', item='ceph', timeout_s=1500,
          packages=PACKAGES, memory_mib=4096)
def rbd_many_killed(stage: Stage) -> None:
    """Sixteen images at once, every other one locked."""
    # Four of them come up at once, on an emulated processor.
    mapped = RbdHost.with_ceph(
        stage, mapping_heals_max='4',
        mapping_attach_timeout=str(min(600.0, 120.0 * stage.patience)))
    volumes = [mapped.attach_image(
        f'vol{n}', size_mib=8, features=LOCKED if n % 2 else 'layering')
        for n in range(MANY)]
    mapped.start_agent()
    writers = [mapped.write_to(volume, pause_s=0.5) for volume in volumes]
    old = [volume.signal(signal.SIGKILL) for volume in volumes]
    for volume, writer in zip(volumes, writers, strict=True):
        mapped.until_flowing(volume, writer, MANY_S)
    for volume, before in zip(volumes, old, strict=True):
        stage.check(f'one new process serves {volume.alias}',
                    volume.server != before)
        mapped.until_well(volume)
    shut_out = blocklist()
    stage.check('half of the dead clients were shut out',
                len(shut_out) == MANY // 2, shut_out)
    for volume, writer in zip(volumes, writers, strict=True):
        mapped.prove_device(volume, writer)


@scenario(name='rbd-attached-twice', item='ceph', timeout_s=600,
          packages=PACKAGES, memory_mib=MEMORY_MIB)
def rbd_attached_twice(stage: Stage) -> None:
    """Two attaches of one volume race; then it is detached while dead."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.make_image(features=LOCKED)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(
            lambda _: mapped.connector().connect_volume(
                volume.connection)['path'], range(2)))
    stage.check('both get the same device', paths[0] == paths[1], paths)
    served = dataclasses.replace(volume, device_path=paths[0])
    mapped.volumes.append(served)
    stage.check('one device is connected, with its cookie',
                connected() == {served.device: volume.id}, connected())
    stage.check('one process serves it', len(served.servers()) == 1,
                served.servers())
    timer = served.sysfs('queue/io_timeout')
    stage.check('requests have the short timer', timer not in {
        None, '30000'}, timer)
    write_block(served.device_path, 0)
    stage.check('it has the lock', holder(name_of(volume)) is not None)
    stage.note('kill -9, and a detach without an agent')
    served.signal(signal.SIGKILL)
    mapped.detach(served)
    stage.check('no device is left', not connected(), connected())
    stage.check('no process is left', not served.servers())
    stage.check('the timer of requests is the old one again',
                served.sysfs('queue/io_timeout') == '30000',
                served.sysfs('queue/io_timeout'))
    again = mapped.connect(volume)
    shut_out = blocklist()
    stage.check('the next attach has shut the dead client out',
                len(shut_out) == 1, shut_out)
    writer = mapped.write_to(again)
    mapped.prove_device(again, writer)
    mapped.detach(again)
    stage.check('nor after another turn', not connected(), connected())


@scenario(name='rbd-encrypted', item='ceph', timeout_s=600,
          packages=PACKAGES, memory_mib=MEMORY_MIB)
def rbd_encrypted(stage: Stage) -> None:
    """LUKS on the image, as os-brick's encryptor lays it."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image(size_mib=64, features=LOCKED)
    key = pathlib.Path('/run/bed-luks-key')
    key.write_text('a passphrase of the bed')
    # Cheap parameters: the guest's CPU is emulated.
    host.command('cryptsetup', 'luksFormat', '--batch-mode', '--type',
                 'luks1', '--pbkdf-force-iterations', '1000', '--key-file',
                 str(key), volume.device_path, deadline_s=300)
    host.command('cryptsetup', 'open', '--type', 'luks1', '--key-file',
                 str(key), volume.device_path, 'bed-luks', deadline_s=300)
    stage.at_exit('close the crypt device', lambda: subprocess.run(
        ['cryptsetup', 'close', 'bed-luks'], check=False, timeout=60))
    mapped.start_agent()
    writer = Writer('/dev/mapper/bed-luks', pause_s=0.005, span_mib=16)
    stage.at_exit('end the writer', writer.close)
    stage.wait_until('the guest writes through the encryption',
                     lambda: writer.writes >= 20)
    for turn in (1, 2):
        stage.note(f'turn {turn}: kill -9')
        volume.signal(signal.SIGKILL)
        mapped.until_flowing(volume, writer)
        mapped.until_well(volume)
    clear = dataclasses.replace(volume, device_path='/dev/mapper/bed-luks')
    mapped.prove_device(clear, writer)
    refused = ''
    try:
        mapped.connector().disconnect_volume(volume.connection, None)
    except Exception as error:      # noqa: BLE001 - os-brick's, by its text
        refused = str(error)
    stage.check('what is open is not taken away', 'holds it' in refused,
                refused)
    host.command('cryptsetup', 'close', 'bed-luks', deadline_s=60)
    mapped.detach(volume)
    stage.check('no device is left', not connected(), connected())


def history(mapped: RbdHost) -> str:
    """What the agent did, as its command tells it."""
    return mapped.agent.history()


def write_block(path: str, offset: int) -> None:
    """A block past every cache, into the image."""
    subprocess.run(
        ['dd', 'if=/dev/urandom', f'of={path}', 'bs=4096', 'count=1',
         f'seek={offset // 4096}', 'oflag=direct', 'conv=notrunc'],
        check=True, timeout=60, stderr=subprocess.DEVNULL,
        env={**os.environ, 'LC_ALL': 'C'})
