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
"""How long a write to an RBD image stalls when rbd-nbd dies.

Beside ours, in the same guest: what ceph-csi's healer does, with its options,
but at once. (It does it when its plugin starts, and not before.) Its device
has the block layer's timer of requests, and nobody shuts a dead client out.
And the same with our short timer: what rbd-nbd itself takes here to come back
when nobody has to find out that it died, which no healer can beat.

Beside an image with exclusive-lock: what its tool costs by itself. One run of
``rbd lock ls`` and one of ``rbd lock rm`` are in each of its heals, and most
of a run is what ``rbd --version`` takes, too.
"""

from collections.abc import Callable
import json
import pathlib
import signal
import statistics
import subprocess
import time

from bed.guest import host
from bed.guest.mapped import connected
from bed.guest.rbd import LOCKED, name_of, PACKAGES, rbd, RbdHost
from bed.guest.scenario import scenario, Stage
from bed.guest.writer import NOTED_STALL_S, Writer

DEATHS, CSI_DEATHS, BARE_DEATHS, RUNS = 3, 1, 3, 5
GOES_ON_S = 120.0
#: Longer than a process lives that is taken for one that dies of its work.
LIVES_S = 11.0
#: A process that is killed and cannot close its device never ends.
ENDS_S = 15.0
TIMER_MS = 1000
#: Of each image. They stay, and a cluster that is full lets nobody write.
IMAGE_MIB = 8
#: ceph-csi's map and attach options, whatever the volume.
CSI = ('--try-netlink', '--reattach-timeout', '300', '--io-timeout', '0')
WAYS = {'killed': ('layering', signal.SIGKILL),
        'locked_killed': (LOCKED, signal.SIGKILL),
        'terminated': ('layering', signal.SIGTERM),
        'hanging': ('layering', signal.SIGSTOP)}
#: Ways in which nobody has to be shut out.
BARE = ('killed', 'terminated')


@scenario(name='bench-rbd', item='bench', timeout_s=1800, packages=PACKAGES,
          memory_mib=1536)
def bench_rbd(stage: Stage) -> None:
    """The worst stall of a write to an RBD image, by way of death."""
    mapped = RbdHost.with_ceph(stage)
    for way, (features, number) in WAYS.items():
        if way != 'hanging':    # nobody would find that out
            of_peers(stage, mapped, f'rbd_stall_{way}_csi_s', features,
                     number, CSI_DEATHS)
        if way in BARE:
            of_peers(stage, mapped, f'rbd_stall_{way}_bare_s', features,
                     number, BARE_DEATHS, TIMER_MS)
    tool_alone(stage, mapped)
    mapped.start_agent()
    for way, (features, number) in WAYS.items():
        volume = mapped.attach_image(way, IMAGE_MIB, features)
        mapped.until_well(volume)
        writer = mapped.write_to(volume)
        stalls = []
        for turn in range(int(stage.params.get('deaths', DEATHS))):
            if turn >= DEATHS:      # the agent would make a pause
                time.sleep(LIVES_S)
            writer.forget_stalls()
            volume.signal(number)
            stalls.append(stall_s(stage, writer))
            mapped.until_well(volume)
        writer.stop()
        mapped.detach(volume)
        stage.note(f'{way}: {", ".join(f"{s:.2f} s" for s in stalls)}')
        stage.figure(f'rbd_stall_{way}_median_s', statistics.median(stalls))
        stage.figure(f'rbd_stall_{way}_worst_s', max(stalls))


def of_peers(stage: Stage, mapped: RbdHost, name: str, features: str,
             number: signal.Signals, deaths: int,
             timer_ms: int | None = None) -> None:
    """A figure of a peer: the median of some deaths."""
    every = [of_peer(stage, mapped, features, number, timer_ms)
             for _ in range(deaths)]
    found = [stall for stall in every if stall is not None]
    stage.note(f'{name}: {", ".join(f"{one:.2f} s" for one in found)}; '
               f'{deaths - len(found)} could not close their device')
    if found:
        stage.figure(name, statistics.median(found))


def of_peer(stage: Stage, mapped: RbdHost, features: str,
            number: signal.Signals, timer_ms: int | None) -> float | None:
    """A stall, with the same process attached again at once; None: it has
    not ended.

    :param timer_ms: of the device's requests; None: the block layer's.
    """
    volume = mapped.make_image(size_mib=IMAGE_MIB, features=features)
    first = start('map', '--cookie', volume.id, *CSI, name_of(volume))
    stage.at_exit('end the peer', first.kill)
    stage.wait_until('the peer is mapped',
                     lambda: volume.id in connected().values(), 60)
    device = next(name for name, cookie in connected().items()
                  if cookie == volume.id)
    if timer_ms is not None:
        pathlib.Path(f'/sys/block/{device}/queue/io_timeout').write_text(
            str(timer_ms))
    writer = Writer(f'/dev/{device}', pause_s=0.005)
    stage.at_exit('end the writer', writer.close)
    stage.wait_until('the peer is written to', lambda: writer.writes >= 20)
    writer.forget_stalls()
    first.send_signal(number)
    try:
        first.wait(ENDS_S)
    except subprocess.TimeoutExpired:
        return None
    second = start('attach', '--device', f'/dev/{device}', '--cookie',
                   volume.id, *CSI, name_of(volume))
    stage.at_exit('end the peer', second.kill)
    found = stall_s(stage, writer)
    # udev may read its table of partitions, and wait as the writes did.
    writer.stop(GOES_ON_S)
    host.command('rbd-nbd', 'unmap', f'/dev/{device}', deadline_s=120)
    second.wait(60)
    return found


def tool_alone(stage: Stage, mapped: RbdHost) -> None:
    """What each command of a heal takes when nothing else runs."""
    image = name_of(mapped.make_image(size_mib=IMAGE_MIB, features=LOCKED))

    def lock_rm() -> float:
        rbd('lock', 'add', image, 'bed')
        (held,) = json.loads(rbd('lock', 'ls', '--format', 'json', image))
        return took_s('lock', 'rm', image, held['id'], held['locker'])

    ways: dict[str, Callable[[], float]] = {
        'version': lambda: took_s('--version'),
        'lock_ls': lambda: took_s('lock', 'ls', '--format', 'json', image),
        # One session with a monitor less: it does not ask for its settings.
        'lock_ls_own_settings': lambda: took_s(
            '--no-mon-config', 'lock', 'ls', '--format', 'json', image),
        'lock_rm': lock_rm}
    for name, way in ways.items():
        found = [way() for _ in range(RUNS)]
        stage.note(f'rbd, {name}: '
                   f'{", ".join(f"{one:.2f} s" for one in found)}')
        stage.figure(f'rbd_tool_{name}_median_s', statistics.median(found))


def took_s(*words: str) -> float:
    began = time.monotonic()
    rbd(*words)
    return time.monotonic() - began


def start(verb: str, *words: str) -> 'subprocess.Popen[bytes]':
    return subprocess.Popen(['rbd-nbd', verb, '--foreground', *words],
                            stdout=subprocess.DEVNULL)


def stall_s(stage: Stage, writer: Writer) -> float:
    """The longest that one I/O took, when they go on."""
    before = writer.writes
    stage.wait_until('the writes go on', lambda: writer.writes > before + 5
                     and writer.flowing(0.3), GOES_ON_S, 0.05)
    return max(NOTED_STALL_S, writer.worst_stall_s)
