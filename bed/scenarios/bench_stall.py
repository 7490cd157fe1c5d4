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
"""How long one write of the guest stalls, and how soon the agent acts."""

import contextlib
import datetime
import functools
import pathlib
import re
import select
import statistics
import threading
import time

from bed.guest import host
from bed.guest.agent import Agent, CONFIG, LOG_FILE
from bed.guest.host import Attachment
from bed.guest.scenario import Failed, scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World
from bed.guest.writer import NOTED_STALL_S, Writer

LOSSES = 7
PEER_LOSSES = 3
#: How long the peers are watched before they are called stuck, seconds.
ALONE_WAIT_S = 25.0
POLLER_WAIT_S = 50.0
#: How often the vendor's public agent looks at its arrays, seconds.
VENDOR_POLL_S = 30.0
#: A leg that was lost is to come back, again and again.
SETTINGS = {'grace_period': '3600', 'provisioner_interval': '10',
            'flap_losses_max': '32', 'flap_window': '1'}
_BEGIN = re.compile(r'^(\S+ \S+) .* begin: ')


def log_as_operators_do() -> None:
    """Without the bed's debug messages, which cost time on this CPU."""
    CONFIG.write_text(CONFIG.read_text().replace('debug = true',
                                                 'debug = false'))


class Watch:
    """Notes when the kernel says that a leg of an array is faulty.

    md_error() notifies ``dev-X/state``, which poll() answers; a member that
    udev removes at once takes the file along, and the array's ``degraded``
    tells it then.
    """

    def __init__(self, md: str) -> None:
        self.lost_s: float | None = None
        self._md = pathlib.Path(f'/sys/block/{md}/md')
        self._poll = select.poll()
        self._files = [path.open('rb', buffering=0) for path in
                       (*self._md.glob('dev-*/state'),
                        self._md / 'degraded')]
        for file in self._files:
            file.read()
            self._poll.register(file, select.POLLPRI | select.POLLERR)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        self._thread.join(5)
        for file in self._files:
            file.close()

    def _run(self) -> None:
        while not self._done.is_set() and self.lost_s is None:
            self._poll.poll(20)
            for file in self._files:
                with contextlib.suppress(OSError):
                    file.seek(0)
                    text = file.read().strip()
                    if b'faulty' in text or text in (b'1', b'2'):
                        self.lost_s = Stage.now_s()


def begun_s(since_s: float) -> float | None:
    """When the agent began its first action after that, by its log."""
    wall_offset_s = time.time() - Stage.now_s()
    for line in LOG_FILE.read_text(errors='replace').splitlines():
        found = _BEGIN.match(line)
        if found is None:
            continue
        moment = datetime.datetime.fromisoformat(found[1]).timestamp()
        # Its milliseconds are cut off.
        if moment - wall_offset_s + 0.001 >= since_s:
            return max(since_s, moment - wall_offset_s)
    return None


def lose(stage: Stage, world: World, attachment: Attachment, writer: Writer,
         leg: str, how: Cut) -> tuple[float, float | None]:
    """Lose a leg; the worst stall, and from MD's event to the action."""
    watch = Watch(attachment.md)
    try:
        writer.forget_stalls()
        cut_s = stage.now_s()
        world.array.cut(leg, how)
        stage.wait_until('MD has dropped the leg',
                         lambda: watch.lost_s is not None, 60, 0.05)
        stage.wait_until('the guest goes on',
                         lambda: writer.flowing(0.3), 60, 0.05)
        stall_s = max(NOTED_STALL_S, writer.worst_stall_s)
        lost_s = watch.lost_s
        assert lost_s is not None
        stage.note(f'{how}: the worst I/O took {stall_s:.2f} s; MD dropped '
                   f'the leg {lost_s - cut_s:.2f} s after the cut')
        stage.wait_until('the agent acts', lambda: begun_s(lost_s), 20)
        begin_s = begun_s(lost_s)
    finally:
        watch.close()
    return stall_s, None if begin_s is None else begin_s - lost_s


def give_back(stage: Stage, world: World, agent: Agent,
              attachment: Attachment, leg: str) -> None:
    world.array.mend(leg)
    stage.wait_until('the leg is back in sync',
                     lambda: host.is_whole(attachment.md), 120)
    stage.wait_until('the agent says so', lambda: agent.phase(
        attachment.volume.id) == 'healthy', 60)
    time.sleep(1.0)


def measure(stage: Stage, profile: str) -> None:
    losses = int(stage.params.get('losses', LOSSES))
    world = World.build(stage, backends=2)
    agent = Agent.configure(world, profile=profile, **SETTINGS)
    log_as_operators_do()
    agent.start()
    attachment = world.attach(size_mib=64)
    stage.wait_until('the agent finds all legs in sync', lambda: agent.phase(
        attachment.volume.id) == 'healthy', 60)
    writer = world.write_to(attachment)
    for how in Cut:
        stalls, reactions = [], []
        for number in range(losses):
            leg = attachment.volume.legs[number % 2]
            stall_s, reaction_s = lose(stage, world, attachment, writer,
                                       leg, how)
            stalls.append(stall_s)
            if reaction_s is not None:
                reactions.append(reaction_s)
            stage.stalled(stall_s)
            give_back(stage, world, agent, attachment, leg)
        name = f'stall_{profile}_{how}'
        stage.figure(f'{name}_median_s', statistics.median(stalls))
        stage.figure(f'{name}_worst_s', max(stalls))
        stage.figure(f'{name}_all_s',
                     ' '.join(f'{one:.2f}' for one in sorted(stalls)))
        if reactions:
            stage.figure(f'md_event_to_action_{profile}_{how}_median_s',
                         statistics.median(reactions))
            stage.figure(f'md_event_to_action_{profile}_{how}_all_s',
                         ' '.join(f'{one:.3f}' for one in sorted(reactions)))
    world.prove_data(attachment, writer)


@scenario(name='bench-stall-default', item='bench', timeout_s=900)
def stall_default(stage: Stage) -> None:
    """The stall of a write with the default profile, again and again."""
    measure(stage, 'default')


@scenario(name='bench-stall-fast', item='bench', timeout_s=900)
def stall_fast(stage: Stage) -> None:
    """The stall of a write with the fast profile, again and again."""
    measure(stage, 'fast')


class Poller:
    """The pattern of the vendor's public agent.

    Every 30 s it asks ``mdadm --detail`` about each array, and what it finds
    not to be live it has failed with ``mdadm --fail``.
    """

    def __init__(self, stage: Stage, paths: list[str],
                 first_s: float) -> None:
        self._stage = stage
        self._paths = paths
        self._first_s = first_s
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._done.set()

    def _run(self) -> None:
        wait_s = self._first_s
        while not self._done.wait(wait_s):
            wait_s = VENDOR_POLL_S
            for path in self._paths:
                try:
                    self._look(path)
                except (OSError, ValueError) as error:
                    self._stage.note(f'the poller: {error!r}')

    def _look(self, path: str) -> None:
        told = host.command('mdadm', '--detail', path, deadline_s=25)
        for device in re.findall(r'active sync.*\s/dev/(nvme\d+n\d+)$', told,
                                 re.MULTILINE):
            if not _is_live(device):
                host.command('mdadm', path, '--fail', f'/dev/{device}',
                             deadline_s=25)
                self._stage.note(f'the poller has failed {device}')


def _is_live(device: str) -> bool:
    """Whether a controller of the device's subsystem is live."""
    subsystem = pathlib.Path(f'/sys/block/{device}/device')
    return any(path.read_text().strip() == 'live'
               for path in subsystem.glob('nvme*/state'))


@scenario(name='bench-stall-peers', item='bench', timeout_s=1200,
          healer=False)
def stall_peers(stage: Stage) -> None:
    """The same losses with os-brick alone, and with a 30 s poller."""
    losses = int(stage.params.get('losses', PEER_LOSSES))
    world = World.build(stage, backends=2)
    attachment = world.attach(size_mib=64)
    writer = world.write_to(attachment)
    for how in Cut:
        told = [_peer(stage, world, attachment, writer, how, ALONE_WAIT_S)
                for _ in range(losses)]
        stage.figure(f'stall_os_brick_{how}_s', _all(told))
    for how in Cut:
        told = []
        for _ in range(losses):
            poller = Poller(stage, [f'/dev/{attachment.md}'],
                            first_s=VENDOR_POLL_S / 2)
            told.append(_peer(stage, world, attachment, writer, how,
                              POLLER_WAIT_S))
            poller.close()
        stage.figure(f'stall_poller_{how}_s', _all(told))
    world.prove_data(attachment, writer)


def _all(told: list[tuple[float, bool]]) -> str:
    return ', '.join(f'>{stall_s:.0f} (still stuck)' if stuck
                     else f'{stall_s:.2f}' for stall_s, stuck in sorted(told))


def _peer(stage: Stage, world: World, attachment: Attachment,
          writer: Writer, how: Cut, wait_s: float) -> tuple[float, bool]:
    """Lose a leg; the stall, and whether it still lasts after a bounded time.

    os-brick's failfast makes it a lottery: a request that is under way when
    the connection is torn down fails at once, and MD drops the leg; one that
    comes later is queued for ever.
    """
    leg = attachment.volume.legs[0]
    writer.forget_stalls()
    stage.note(f'{how}, and nobody of ours looks after it')
    world.array.cut(leg, how)
    end_s = stage.now_s() + wait_s
    while stage.now_s() < end_s and not _dropped(attachment.md):
        time.sleep(0.25)
    if _dropped(attachment.md):
        with contextlib.suppress(Failed):    # as after mdadm --fail
            stage.wait_until('the guest goes on', lambda: writer.flowing(
                1.0), max(1.0, end_s - stage.now_s()))
    stuck = writer.stall_now_s() > 2
    stall_s = max(NOTED_STALL_S, writer.worst_stall_s)
    stage.stalled(stall_s)
    stage.note(f'the worst I/O: {stall_s:.2f} s, stuck: {stuck}')
    world.array.mend(leg)
    stage.wait_until('the guest goes on', lambda: writer.flowing(1.0), 120)
    _join_again(stage, attachment)
    return stall_s, stuck


def _dropped(md: str) -> bool:
    return any('faulty' in state for state in host.legs(md).values())


def _join_again(stage: Stage, attachment: Attachment) -> None:
    """What was failed goes back in, by hand."""
    md = attachment.md
    for device, state in host.legs(md).items():
        if 'faulty' in state:
            stage.wait_until(f'{device} is live',
                             functools.partial(_is_live, device), 60)
            host.command('mdadm', f'/dev/{md}', '--re-add', f'/dev/{device}')
            time.sleep(1.0)
    stage.wait_until('the array is whole', lambda: host.is_whole(md), 60)
