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
"""The process behind a mapped volume dies or hangs, and is brought back."""

import mmap
import os
import pathlib
import pwd
import signal
import threading

from bed.guest.agent_unit import UNIT
from bed.guest.host import command
from bed.guest.mapped import connected, Ground, MappedHost, Served
from bed.guest.scenario import Mode, scenario, Stage

#: Three times what the design promises (1.3 s): the guest is emulated.
STALL_S_MAX = 4.0
HANG_STALL_S_MAX = 24.0


@scenario(name='nbd-killed', item='m1', core=True, timeout_s=200)
def nbd_killed(stage: Stage) -> None:
    """The server is killed with -9: the same device goes on."""
    mapped = MappedHost.build(stage)
    volume = mapped.attach()
    mapped.start_agent()
    writer = mapped.write_to(volume)
    for turn in (1, 2, 3):
        old = volume.signal(signal.SIGKILL)
        stage.note(f'turn {turn}: kill -9 of process {old}')
        mapped.until_flowing(volume, writer)
        stage.check('another process serves', volume.server != old)
        mapped.until_well(volume)
    stage.figure('nbd_killed_stall_s', writer.worst_stall_s)
    stage.check('no write waited for long',
                writer.worst_stall_s <= STALL_S_MAX * stage.patience,
                writer.worst_stall_s)
    report = mapped.prove(volume, writer)
    stage.note(f'{report.writes} writes, worst {report.worst_stall_s:.2f} s')
    mapped.detach(volume)
    stage.check('no device is left', not connected(), connected())
    stage.check('no process is left', not volume.servers())
    stage.check('the timer of requests was given back',
                volume.sysfs('queue/io_timeout') == '30000',
                volume.sysfs('queue/io_timeout'))
    stage.wait_until('the agent has forgotten it',
                     lambda: not mapped.agent.volume(volume.id), 30)


@scenario(name='nbd-terminated', item='m2', timeout_s=200)
def nbd_terminated(stage: Stage) -> None:
    """The server is told to end with SIGTERM: no request fails for it."""
    mapped = MappedHost.build(stage)
    volume = mapped.attach()
    mapped.start_agent()
    writer = mapped.write_to(volume)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        volume.signal(number)
        mapped.until_flowing(volume, writer)
    mapped.until_well(volume)
    mapped.prove(volume, writer)
    mapped.detach(volume)
    stage.check('no process is left', not volume.servers())


@scenario(name='nbd-hangs', item='m3', timeout_s=240)
def nbd_hangs(stage: Stage) -> None:
    """The server is stopped with SIGSTOP: it is killed and replaced."""
    mapped = MappedHost.build(stage)
    volume = mapped.attach()
    mapped.start_agent()
    writer = mapped.write_to(volume)
    old = volume.signal(signal.SIGSTOP)
    stage.note(f'process {old} is stopped, and holds a request')
    mapped.until_flowing(volume, writer)
    stage.check('another process serves', volume.server != old)
    mapped.until_well(volume)
    stage.figure('nbd_hang_stall_s', writer.worst_stall_s)
    stage.check('no write waited for long',
                writer.worst_stall_s <= HANG_STALL_S_MAX * stage.patience,
                writer.worst_stall_s)
    mapped.prove(volume, writer)


@scenario(name='nbd-slow-storage', item='m4', timeout_s=240)
def nbd_slow_storage(stage: Stage) -> None:
    """Storage that hangs behind a server that lives: it is left alone."""
    mapped = MappedHost.build(stage, mapping_hang_time='1')
    ground = Ground.lay(stage)
    volume = mapped.attach(on=ground.path)
    mapped.start_agent()
    writer = mapped.write_to(volume, span_mib=2)
    old = volume.server
    stage.note('the storage of the data does not answer any more')
    ground.freeze()
    reader = read_uncached(volume)
    mapped.until_says(volume, 'the storage behind it is slow')
    stage.stays('the server is left alone',
                lambda: volume.servers() == [old], 8)
    stage.note('a new agent does not take it for dead either')
    mapped.agent.kill()
    mapped.agent.start()
    mapped.until_says(volume, 'the storage behind it is slow')
    stage.stays('the server is left alone',
                lambda: volume.servers() == [old], 10)
    ground.thaw()
    stage.wait_until('the read comes back', lambda: not reader.is_alive())
    mapped.until_flowing(volume, writer)
    mapped.until_well(volume)
    stage.check('it was never replaced', volume.server == old)
    mapped.prove(volume, writer)
    mapped.detach(volume)


#: Where neither the writer nor udev, which looks for superblocks, was.
UNREAD = (5 << 20) + (12 << 10)


def read_uncached(volume: Served) -> threading.Thread:
    """A guest's read of what no cache has."""
    def read() -> None:
        fd = os.open(volume.device_path, os.O_RDONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, 4096) as page:
                os.preadv(fd, [page], UNREAD)
        finally:
            os.close(fd)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


@scenario(name='nbd-hangs-in-flush', item='m3', timeout_s=240)
def nbd_hangs_in_flush(stage: Stage) -> None:
    """Only a flush waits, which the block layer does not count."""
    mapped = MappedHost.build(stage)
    volume = mapped.attach()
    mapped.start_agent()
    fd = os.open(volume.device_path, os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, 4096) as page:
        for number in range(400):
            os.pwritev(fd, [page], 4096 * number)
    old = volume.signal(signal.SIGSTOP)
    flusher = threading.Thread(target=os.fdatasync, args=(fd,), daemon=True)
    flusher.start()
    began_s = stage.now_s()
    stage.wait_until('the flush comes back',
                     lambda: not flusher.is_alive(), 60)
    stage.figure('nbd_flush_stall_s', stage.now_s() - began_s)
    stage.check('another process serves', volume.server != old)
    os.close(fd)
    mapped.until_well(volume)
    mapped.detach(volume)


@scenario(name='nbd-many-killed', item='m5', timeout_s=300)
def nbd_many_killed(stage: Stage) -> None:
    """Sixteen servers are killed at once: all come back, a few at a time."""
    mapped = MappedHost.build(stage, mapping_heals_max='4')
    volumes = [mapped.attach(f'many-{n}', 8) for n in range(16)]
    mapped.start_agent()
    written = {volume.id: mapped.write_to(volume, pause_s=0.2)
               for volume in volumes[:4]}
    for volume in volumes:
        volume.signal(signal.SIGKILL)
    began_s = stage.now_s()
    stage.wait_until('every volume has a server again', lambda: all(
        len(v.servers()) == 1 for v in volumes), 120)
    for volume in volumes:
        mapped.until_well(volume)
    stage.figure('nbd_many_healed_s', stage.now_s() - began_s)
    for volume in volumes[:4]:
        mapped.prove(volume, written[volume.id])


@scenario(name='nbd-killed-unwatched', item='m6', timeout_s=240)
def nbd_killed_unwatched(stage: Stage) -> None:
    """Killed while no agent runs: the next one finds it at its start."""
    mapped = MappedHost.build(stage)
    volume = mapped.attach()
    mapped.start_agent()
    writer = mapped.write_to(volume)
    mapped.agent.kill()
    stage.note('the agent is dead; now the server dies')
    volume.signal(signal.SIGKILL)
    stage.wait_until('the guest waits', lambda: writer.stall_now_s() > 2, 60)
    mapped.agent.start()
    mapped.until_flowing(volume, writer)
    mapped.until_well(volume)
    mapped.prove(volume, writer)


@scenario(name='nbd-units', item='m12', mode=Mode.SYSTEMD, timeout_s=500)
def nbd_units(stage: Stage) -> None:
    """As nova, under systemd: the server outlives all, and is brought back."""
    mapped = MappedHost.under_systemd(stage)
    volume = mapped.attach()
    mapped.agent.wait_until_up()
    mapped.until_well(volume)
    stage.check('the server runs as nova', owner(volume.server) == 'nova',
                owner(volume.server))
    writer = mapped.write_to(volume)
    first = volume.server
    stage.note('nova-compute and the agent are stopped, with all they have')
    assert mapped.nova is not None
    mapped.nova.stop()
    command('systemctl', 'stop', UNIT)
    stage.stays('the server lives', lambda: volume.servers() == [first], 2)
    stage.check('the guest writes on', writer.flowing(5))
    command('systemctl', 'start', UNIT)
    mapped.agent.wait_until_up()
    mapped.until_well(volume)
    writer.forget_stalls()
    stage.note('the server is killed with -9')
    volume.signal(signal.SIGKILL)
    mapped.until_flowing(volume, writer)
    mapped.until_well(volume)
    stage.figure('nbd_units_stall_s', writer.worst_stall_s)
    second = volume.server
    stage.note("an operator stops the server's unit")
    command('systemctl', 'stop', unit_of(second))
    mapped.until_flowing(volume, writer)
    mapped.until_well(volume)
    stage.check('each was another process',
                len({first, second, volume.server}) == 3)
    stage.note('the agent is killed with -9 in the middle of the next heal')
    volume.signal(signal.SIGKILL)
    old = mapped.agent.ask('ping')['pid']
    os.kill(old, signal.SIGKILL)
    mapped.until_flowing(volume, writer)
    stage.wait_until('systemd has restarted the agent', mapped.agent.up, 120)
    mapped.until_well(volume)
    mapped.prove(volume, writer)
    mapped.nova.start()
    mapped.detach(volume)
    stage.wait_until('no unit of it is left', lambda: volume.id not in
                     command('systemctl', 'list-units', '--all',
                             '--plain', '--no-legend'))
    stage.check('no device is left', not connected(), connected())


def owner(pid: int) -> str:
    return pwd.getpwuid(os.stat(f'/proc/{pid}').st_uid).pw_name


def unit_of(pid: int) -> str:
    """The systemd unit that a process is in."""
    text = pathlib.Path(f'/proc/{pid}/cgroup').read_text()
    return text.strip().rpartition('/')[2]
