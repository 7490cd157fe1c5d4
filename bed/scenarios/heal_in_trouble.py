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
"""Heals that something gets in the way of."""

import pathlib
import subprocess
import threading
import time

from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.host import Attachment
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World
from bed.guest.writer import Writer

GRACE_S = 5.0
#: KiB per second: MD copies 64 MiB in about half a minute.
SLOWLY, SLOWEST = '2048', '256'
LOST_AT = 0.4
STATE_PATH = pathlib.Path('/var/lib/os-brick-healer')


def begin(stage: Stage, world: World, *, size_mib: int = 64, **settings: str
          ) -> tuple[Agent, Attachment, Writer]:
    """An agent, a volume that it finds healthy, and a writer on it."""
    agent = Agent.configure(world, **{'grace_period': f'{GRACE_S:g}',
                                      **settings})
    agent.start()
    attachment = world.attach(size_mib=size_mib)
    stage.wait_until(
        'the agent finds all legs in sync',
        lambda: agent.phase(attachment.volume.id) == 'healthy', 60)
    writer = world.write_to(attachment)
    writer.forget_stalls()
    return agent, attachment, writer


def copy_slowly(md: str, speed: str = SLOWLY) -> None:
    """At most so many KiB per second, whatever else the array does."""
    directory = pathlib.Path(f'/sys/block/{md}/md')
    (directory / 'sync_speed_min').write_text(SLOWEST)
    (directory / 'sync_speed_max').write_text(speed)


def copied(md: str) -> float | None:
    """Which share of the copy is done; None while there is none."""
    words = host.md_attribute(md, 'sync_completed').split()
    if host.md_attribute(md, 'sync_action') != 'recover' or len(words) != 3:
        return None
    return int(words[0]) / int(words[2])


def degraded(md: str) -> bool:
    return host.md_attribute(md, 'degraded') != '0'


def nothing_leaked(world: World, attachment: Attachment) -> None:
    """One controller for each leg that is left, and no other replica."""
    stage, legs = world.stage, attachment.volume.legs
    stage.wait_until('the host is connected to nothing but the legs',
                     lambda: len(host.controllers()) == len(legs), 30)
    stage.check('the array keeps no replica but the legs',
                sorted(world.array.replicas()) == sorted(legs),
                world.array.replicas())
    stage.check('the provisioner saw no breach of its rules',
                not world.provisioner.violations,
                world.provisioner.violations)


@scenario(name='replacement-lost-in-resync', item='6', timeout_s=600)
def replacement_lost_in_resync(stage: Stage) -> None:
    """The new leg dies at 40 %: the old one stays named, a third heals."""
    world = World.build(stage, backends=4)
    agent, attachment, writer = begin(stage, world)
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    copy_slowly(md)
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until(f'a new leg has {LOST_AT:.0%} of the copy',
                     lambda: (copied(md) or 0.0) >= LOST_AT, 120)
    second = volume.legs[-1]
    stage.check('the lost replica is still named', lost in volume.legs)
    stage.note('losing the new leg for good, too')
    world.array.cut(second, Cut.CLOSED)
    lost_at_s = time.monotonic()
    stage.wait_until('MD has given up the copy',
                     lambda: (copied(md) or 0.0) < LOST_AT, 60)
    stage.check('the guest goes on', writer.flowing(2))
    asked = world.kumoscale.requests_of
    stage.wait_until('another replacement is asked for',
                     lambda: len(asked('add_replica')) == 2, 90)
    waited_s = asked('add_replica')[1].at_s - lost_at_s
    stage.check('not before its grace was over', waited_s >= GRACE_S,
                waited_s)
    copy_slowly(md, '65536')

    def whole() -> bool:
        if world.kumoscale.count('confirm_deletion') == 0:
            return host.is_whole(md)
        return True

    stage.wait_until('the array is whole, or a replica is given away',
                     whole, 180, every_s=0.01)
    stage.check('no replica was given away before the array was whole',
                host.is_whole(md), host.legs(md))
    stage.wait_until('both lost replicas are gone', lambda: not {
        lost, second} & set(volume.legs), 60)
    stage.wait_until('the agent says that all is well',
                     lambda: agent.phase(volume.id) == 'healthy', 60)
    stage.check('two replacements were asked for, and no more',
                len(asked('add_replica')) == 2, asked('add_replica'))
    nothing_leaked(world, attachment)
    world.prove_data(attachment, writer, in_sync=[kept, volume.legs[-1]])


@scenario(name='many-lose-a-leg', item='16', timeout_s=1500,
          memory_mib=1536)
def many_lose_a_leg(stage: Stage) -> None:
    """One back end dies under 32 arrays: all are healed, four at a time."""
    count, at_once = int(stage.params.get('count', '32')), 4
    world = World.build(stage, backends=4)
    spare = [each.id for each in world.array.backends[2:]]
    for backend in spare:
        world.provisioner.backend_states[backend] = 'Missing'
    agent = Agent.configure(world, heals_max=str(at_once))
    attached = world.attach_many(count)
    agent.start()
    keys = {each.volume.id for each in attached}
    stage.wait_until('the agent finds all of them healthy', lambda: {
        each['key'] for each in agent.status()['volumes']
        if each['phase'] == 'healthy'} == keys, 120, every_s=1.0)
    writers = [world.write_to(each, pause_s=0.05) for each in attached[:4]]
    for backend in spare:
        del world.provisioner.backend_states[backend]
    dead = world.array.backends[0].id
    lost = {each.volume.id: next(
        replica.id for replica in each.volume.replicas
        if replica.backend.id == dead) for each in attached}
    stage.note(f'the storage server with a leg of all {count} dies')
    world.kumoscale.forget_requests()
    for writer in writers:
        writer.forget_stalls()
    began_s = stage.now_s()
    world.array.cut_all(lost.values(), Cut.CLOSED)
    stage.wait_until('MD has dropped all of these legs', lambda: all(
        degraded(each.md) for each in attached), 120, every_s=0.5)
    stage.figure('all_given_up_s', stage.now_s() - began_s)
    healed, most = watch_heals(stage, attached, lost)
    stage.check('all are whole again, on new legs', len(healed) == count,
                f'{len(healed)} of {count}')
    stage.check(f'at most {at_once} were copied to at once',
                0 < most <= at_once, most)
    took_s = max(healed.values())
    stage.figure('all_healed_s', took_s)
    stage.figure('first_healed_s', min(healed.values()))
    asked = world.kumoscale.count
    stage.check('a replacement was asked for once for each',
                asked('add_replica') == count, asked('add_replica'))
    # One pass lists all volumes at once; the interval is 2 s, a fifth of
    # that while something heals, and what a heal changes is asked for.
    passes, allowed = asked('volumes'), took_s / 0.4 + 12 * count
    stage.figure('passes', float(passes))
    stage.check('the provisioner was not asked more often than time and '
                'heals explain', passes <= allowed, (passes, allowed))
    stage.check('the provisioner saw no breach of its rules',
                not world.provisioner.violations,
                world.provisioner.violations)
    stage.wait_until('the host is connected to nothing but the legs',
                     lambda: len(host.controllers()) == 2 * count, 60)
    for each, writer in zip(attached, writers, strict=False):
        world.prove_data(each, writer)


def watch_heals(stage: Stage, attached: list[Attachment],
                lost: dict[str, str]) -> tuple[dict[str, float], int]:
    """After how long each volume was whole, and the most copies at once."""
    began_s, most = stage.now_s(), 0
    healed: dict[str, float] = {}
    while (len(healed) < len(attached)
           and stage.now_s() - began_s < 900 * stage.patience):
        most = max(most, sum(
            host.md_attribute(each.md, 'sync_action') == 'recover'
            for each in attached))
        for each in attached:
            key = each.volume.id
            if (key not in healed and lost[key] not in each.volume.legs
                    and host.is_whole(each.md)):
                healed[key] = stage.now_s() - began_s
        time.sleep(0.2)
    return healed, most


@scenario(name='journal-disk-full', item='17', timeout_s=400)
def journal_disk_full(stage: Stage) -> None:
    """No room for the journal: I/O flows, nothing is asked for, it says so."""
    STATE_PATH.mkdir(parents=True, exist_ok=True)
    host.command('mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs',
                 str(STATE_PATH))
    world = World.build(stage, backends=3)
    agent, attachment, writer = begin(stage, world)
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    stage.note('the disk of the journal fills up')
    filling = STATE_PATH / 'filling'
    fill(filling)
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('MD has dropped the leg', lambda: degraded(md), 60)
    stage.check('the guest goes on', writer.flowing(2))
    stage.wait_until('status says that the journal cannot be written',
                     lambda: agent.status()['agent']['journal_error'], 60)
    asked = world.kumoscale.count
    stage.stays('nothing is asked for, long after the grace',
                lambda: asked('add_replica') == 0, 4 * GRACE_S)
    told = agent.status()['agent']['journal_error']
    stage.check('the reason is said', 'full' in str(told), told)
    stage.check('the guest goes on', writer.flowing(2))
    stage.note('an operator makes room')
    filling.unlink()
    stage.wait_until('the array is whole again', lambda: host.is_whole(md)
                     and lost not in volume.legs, 180)
    stage.wait_until('status says nothing of the journal any more', lambda:
                     agent.status()['agent']['journal_error'] is None, 60)
    stage.check('the replacement was asked for exactly once',
                asked('add_replica') == 1)
    nothing_leaked(world, attachment)
    world.prove_data(attachment, writer, in_sync=[kept, volume.legs[-1]])


def fill(path: pathlib.Path) -> None:
    """Leaves not a byte free on a file system."""
    with path.open('wb', buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


class Racer:
    """udev, but restless: mdadm -I, -If and its own rules without end."""

    def __init__(self, md: str) -> None:
        self._md = md
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True)
                         for work in (self._add, self._trigger)]
        self.tries = 0

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _add(self) -> None:
        while not self._over.is_set():
            for name in self._namespaces():
                self._run('mdadm', '-I', '--export', f'/dev/{name}')
            for name, state in host.legs(self._md).items():
                if 'faulty' in state:
                    self._run('mdadm', '-If', name)
            self._over.wait(0.05)

    def _trigger(self) -> None:
        while not self._over.is_set():
            self._run('udevadm', 'trigger', '--action=add',
                      '--subsystem-match=block', '--sysname-match=nvme*')
            self._over.wait(0.5)

    def _run(self, *words: str) -> None:
        self.tries += 1
        try:
            subprocess.run(words, check=False, timeout=30,
                           capture_output=True)
        except subprocess.TimeoutExpired:
            return

    @staticmethod
    def _namespaces() -> list[str]:
        return [path.name for path in pathlib.Path('/sys/class/block').glob(
            'nvme*n*') if 'c' not in path.name]


@scenario(name='udev-races', item='18', timeout_s=600)
def udev_races(stage: Stage) -> None:
    """mdadm -I and -If race the agent: re-adds and replacements hold."""
    world = World.build(stage, backends=3)
    agent, attachment, writer = begin(stage, world, size_mib=32,
                                      grace_period='25')
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    racer = Racer(md)
    stage.at_exit('end the race', racer.stop)
    racer.start()
    for turn in (1, 2):
        stage.note(f'blip {turn}')
        world.array.cut(lost, Cut.CLOSED)
        stage.wait_until('MD has dropped the leg', lambda: degraded(md), 60)
        world.array.mend(lost)
        stage.wait_until('the same leg is in sync again',
                         lambda: host.is_whole(md), 120)
    stage.check('nothing was replaced',
                world.kumoscale.count('add_replica') == 0
                and volume.legs == [lost, kept])
    stage.note('losing it for good')
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('the array is whole again on a new leg', lambda:
                     lost not in volume.legs and host.is_whole(md), 240)
    stage.check('the replacement was asked for exactly once',
                world.kumoscale.count('add_replica') == 1)
    stage.wait_until('the agent says that all is well',
                     lambda: agent.phase(volume.id) == 'healthy', 60)
    racer.stop()
    stage.figure('races', float(racer.tries))
    stage.check('there is no array but ours', arrays() == [md], arrays())
    nothing_leaked(world, attachment)
    world.prove_data(attachment, writer, in_sync=[kept, volume.legs[-1]])


def arrays() -> list[str]:
    return sorted(path.name for path in
                  pathlib.Path('/sys/block').glob('md*'))
