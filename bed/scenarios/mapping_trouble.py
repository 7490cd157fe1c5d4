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
"""What else can happen to a mapped volume, at the worst moment."""

from collections.abc import Callable
import contextlib
import functools
import os
import pathlib
import signal
import sqlite3
import subprocess
import threading
import time

from bed.guest import host
from bed.guest.mapped import connected, MappedHost, Served
from bed.guest.scenario import scenario, Stage

JOURNAL = '/var/lib/os-brick-healer/journal.sqlite'
MOMENT_S = 60.0
POLL_S = 0.005


@scenario(name='nbd-agent-killed', item='m7', timeout_s=400)
def nbd_agent_killed(stage: Stage) -> None:
    """The agent is killed with -9 between the steps of a heal."""
    mapped = MappedHost.build(stage)
    volume = mapped.attach()
    mapped.start_agent()
    writer = mapped.write_to(volume)
    for what, moment in (
            ('the intent is written', begun(1)),
            ('a process was started', lambda: bool(volume.servers())),
            ('the process is connected', lambda: reconnected() > 2)):
        dead = volume.signal(signal.SIGKILL)
        wait_for(stage, what, moment)
        mapped.agent.kill()
        stage.note(f'kill -9 of the agent: {what}')
        mapped.agent.start()
        mapped.until_flowing(volume, writer)
        mapped.until_well(volume)
        stage.check('one process serves, and it is another one',
                    len(volume.servers()) == 1 and volume.server != dead,
                    volume.servers())
    mapped.prove(volume, writer)


def begun(count: int) -> Callable[[], bool]:
    """Whether so many heals have been begun, by the journal."""
    def told() -> bool:
        with contextlib.closing(sqlite3.connect(
                f'file:{JOURNAL}?mode=ro', uri=True, timeout=10)) as db:
            found = db.execute(
                "SELECT count(*) FROM history WHERE what = 'intent' AND "
                "text LIKE 'serve %'").fetchone()
        return int(found[0]) >= count
    return told


def reconnected() -> int:
    """How often the kernel was given another connection."""
    told = subprocess.run(['dmesg'], check=True, capture_output=True,
                          text=True, timeout=20).stdout
    return told.count('reconnected socket')


def wait_for(stage: Stage, what: str, moment: Callable[[], bool]) -> None:
    """As soon as it has come: nothing is said in between."""
    end_s = stage.now_s() + MOMENT_S * stage.patience
    while not moment():
        if stage.now_s() > end_s:
            stage.check(f'the moment came: {what}', False)
        time.sleep(POLL_S)


@scenario(name='nbd-wrong-data', item='m8', timeout_s=300)
def nbd_wrong_data(stage: Stage) -> None:
    """Dead, and its data is gone, or smaller, or larger: said, and safe."""
    mapped = MappedHost.build(stage)
    gone, small, large = (mapped.attach(alias, 16)
                          for alias in ('gone', 'small', 'large'))
    mapped.start_agent()
    writer = mapped.write_to(large, pause_s=0.05)
    stage.note('while no process serves them, their files change')
    mapped.agent.ask('pause', reason='the bed changes the files')
    for volume in (gone, small, large):
        volume.signal(signal.SIGKILL)
    gone.file.rename(gone.file.with_suffix('.away'))
    os.truncate(small.file, 8 << 20)
    os.truncate(large.file, 32 << 20)
    mapped.until_says(large, 'healing is paused')
    mapped.agent.ask('resume')
    mapped.until_flowing(large, writer)
    mapped.until_well(large)
    stage.wait_until('the device has grown', lambda: large.sysfs('size')
                     == str((32 << 20) // 512), 30)
    mapped.until_says(gone, 'gets none', 'No such file')
    mapped.until_says(small, 'gets none', 'were mapped')
    for volume in (gone, small):
        stage.stays(f'{volume.alias} has no process',
                    functools.partial(unserved, volume), 3)
        stage.check(f'{volume.alias} is broken',
                    mapped.agent.phase(volume.id) == 'broken')
        stage.check('its device waits, and is still connected',
                    connected().get(volume.device) == volume.id)
        mapped.detach(volume)
    stage.check('an unmap with a dead process leaks no device',
                sorted(connected().values()) == [large.id], connected())
    mapped.prove(large, writer)


def unserved(volume: Served) -> bool:
    return not volume.servers()


@scenario(name='nbd-device-taken', item='m9', timeout_s=300)
def nbd_device_taken(stage: Stage) -> None:
    """The device is another volume's now: it is not touched."""
    mapped = MappedHost.build(stage)
    volume = mapped.attach()
    mapped.start_agent()
    old = volume.signal(signal.SIGSTOP)
    stage.note('somebody ends the device behind our back')
    kernel = __import__('os_brick_healer.nbd.kernel', fromlist=['kernel'])
    index = int(volume.device.removeprefix('nbd'))
    os.kill(old, signal.SIGKILL)
    mapped.agent.ask('pause', reason='the bed takes the device')
    kernel.disconnect(index, timeout_s=20.0)
    stage.wait_until('the device is free', lambda: not connected(), 30)
    mapped.agent.ask('resume')
    mapped.until_says(volume, 'is not connected')
    other = mapped.attach('other')
    stage.check('another volume has its name', other.device == volume.device)
    mapped.until_well(other)
    mapped.until_says(volume, f'has cookie {other.id}')
    writer = mapped.write_to(other)
    serving = other.server
    mapped.agent.ask('wake')
    stage.stays('its process is left alone',
                lambda: other.servers() == [serving], 5)
    stage.note('detaching the first volume must not hurt the second')
    mapped.detach(volume)
    stage.wait_until('its record is gone',
                     lambda: not mapped.agent.volume(volume.id))
    stage.check('the device is still the second volume\'s, and so is its '
                'process', connected() == {other.device: other.id}
                and other.servers() == [serving], connected())
    mapped.until_flowing(other, writer)
    mapped.prove(other, writer)


@scenario(name='nbd-races', item='m10', timeout_s=300)
def nbd_races(stage: Stage) -> None:
    """Attaches race each other, and a detach races a heal."""
    mapped = MappedHost.build(stage)
    mapped.agent.start()
    first = mapped.attach('first')
    paths: list[str] = []

    def again() -> None:
        paths.append(mapped.connector().connect_volume(
            first.connection)['path'])

    racers = [threading.Thread(target=again) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    stage.check('every attach of a volume gives the same device',
                set(paths) == {first.device_path} and len(paths) == 4, paths)
    stage.check('one process serves it', len(first.servers()) == 1)
    mapped.until_well(first)
    for turn in range(3):
        volume = mapped.attach(f'turn-{turn}')
        mapped.until_well(volume)
        volume.signal(signal.SIGKILL)
        time.sleep(0.15 * turn)
        mapped.detach(volume)
        stage.check('nothing is left of it', not volume.servers()
                    and volume.id not in connected().values(),
                    (volume.servers(), connected()))
    stage.stays('and nothing comes back', lambda: list(
        connected().values()) == [first.id], 3)


@scenario(name='nbd-filesystem', item='m11', timeout_s=300)
def nbd_filesystem(stage: Stage) -> None:
    """A file system on it stays writable, and is clean in the end."""
    mapped = MappedHost.build(stage)
    volume = mapped.attach(size_mib=48)
    mapped.start_agent()
    place = pathlib.Path('/mnt')
    host.command('mkfs.ext4', '-q', volume.device_path)
    host.command('mount', volume.device_path, str(place))
    stage.at_exit('unmount it', lambda: subprocess.run(
        ['umount', str(place)], check=False, timeout=30))
    for number in range(6):
        name = place / f'file-{number}'
        if number % 2:
            volume.signal(signal.SIGKILL)
        with name.open('wb') as file:
            file.write(os.urandom(1 << 20))
            file.flush()
            os.fsync(file.fileno())
        mapped.until_well(volume)
    flags = next(line.split()[3] for line in pathlib.Path(
        '/proc/mounts').read_text().splitlines()
        if line.split()[1] == str(place))
    stage.check('it is still writable', 'rw' in flags.split(','), flags)
    host.command('umount', str(place))
    host.command('fsck.ext4', '-fn', volume.device_path)
    stage.check('fsck finds nothing', True)
    detach_clean(stage, mapped, volume)


def detach_clean(stage: Stage, mapped: MappedHost, volume: Served) -> None:
    mapped.detach(volume)
    stage.check('no device is left', not connected(), connected())
