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
"""The agent is killed with -9 around each step, and systemd restarts it."""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import pathlib
import random
import sqlite3
import time
from typing import Self

from bed.guest import host
from bed.guest.agent_unit import UnitAgent
from bed.guest.host import Attachment
from bed.guest.scenario import Mode, scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World
from bed.guest.writer import Writer

JOURNAL = '/var/lib/os-brick-healer/journal.sqlite'
HELPER = b'os_brick_healer.privileged.context'
#: How the sentence of each step's intent begins.
STEPS = {
    'break': 'give up leg', 'report': 'report replica',
    'request': 'ask for a replacement', 'publish': 'publish replica',
    'connect': 'connect replica', 'examine': 'look at what',
    'add': 'add new leg', 'disconnect': 'disconnect ',
    'confirm': 'confirm the removal'}
#: The agent's, and nova-compute's with which it started the unit.
HELPERS = 2
POLL_S = 0.02
STEP_DEADLINE_S = 150.0
HEALED_DEADLINE_S = 300.0
#: KiB per second, so that an agent has time to die during the copy.
SLOWLY, SLOWEST = '4096', '256'


@dataclasses.dataclass(slots=True, kw_only=True)
class Victim:
    """A volume that loses a leg again and again, and its mortal agent."""

    world: World
    agent: UnitAgent
    attachment: Attachment
    writer: Writer
    pid: int
    lost: str = ''
    #: What had happened when the present leg was lost.
    seq: int = 0
    requests: dict[str, int] = dataclasses.field(default_factory=dict)
    losses: int = 0
    kills: int = 0

    @classmethod
    def prepare(cls, stage: Stage) -> Self:
        world = World.build(stage, backends=3, nova_user='nova')
        agent = UnitAgent.configure(world)
        attachment = world.attach(size_mib=32)
        agent.wait_until_up()
        stage.wait_until(
            'the agent finds all legs in sync',
            lambda: agent.phase(attachment.volume.id) == 'healthy', 60)
        copy_speed(attachment.md, SLOWLY)
        writer = world.write_to(attachment)
        return cls(world=world, agent=agent, attachment=attachment,
                   writer=writer, pid=agent.pid)

    @property
    def stage(self) -> Stage:
        return self.world.stage

    def lose(self, how: Callable[[str], None]) -> None:
        """Loses the leg that has been there for the longest."""
        self.lost = self.attachment.volume.legs[0]
        self.losses += 1
        self.seq = last_line()
        self.requests = {kind: self.world.kumoscale.count(kind) for kind in (
            'add_replica', 'publish', 'set_replica_state')}
        how(self.lost)

    def close(self, leg: str) -> None:
        self.world.array.cut(leg, Cut.CLOSED)

    def take_namespace(self, leg: str) -> None:
        """Its controller lives on, but leads to no data any more."""
        self.world.array.vanish(leg)

    # When to kill ------------------

    def begun(self, step: str) -> bool:
        """The step's intent is written down; its effect may begin."""
        return has_line(self.seq, 'intent', STEPS[step])

    def done(self, step: str) -> bool:
        """The step's effect can be seen, and may not be written down."""
        volume, md = self.attachment.volume, self.attachment.md
        fresh = volume.legs[-1]
        match step:
            case 'break':
                return host.md_attribute(md, 'degraded') != '0'
            case 'report':
                return self._asked('set_replica_state')
            case 'request':
                return self._asked('add_replica')
            case 'publish':
                return self._asked('publish')
            case 'connect':
                return self._is_new(fresh) and bool(host.device_of(fresh))
            case 'add':
                return self._is_new(fresh) and (
                    host.device_of(fresh) or '-') in host.legs(md)
            case 'copy':
                return self._is_new(fresh) and (copied(md) or 0.0) > 0.05
            case 'disconnect':
                return (self._is_new(fresh) and host.is_whole(md)
                        and len(host.controllers()) == 2)
            case 'confirm':
                return self.lost not in volume.legs
            case _:  # nothing to be seen from outside: what it told
                return has_line(self.seq, 'result', '')

    def _asked(self, kind: str) -> bool:
        return self.world.kumoscale.count(kind) > self.requests[kind]

    def _is_new(self, leg: str) -> bool:
        return len(self.attachment.volume.legs) > 2 and leg != self.lost

    # Killing ------------------

    def kill_when(self, what: str, moment: Callable[[], bool]) -> None:
        """-9 as soon as the moment has come; systemd does the rest."""
        self.stage.doing = f'waiting for the moment: {what}'
        deadline_s = (self.stage.now_s()
                      + STEP_DEADLINE_S * self.stage.patience)
        while not moment():
            if self.stage.now_s() > deadline_s:
                self.stage.check(f'the moment came: {what}', False,
                                 self.agent.volume(self.attachment.volume.id))
            time.sleep(POLL_S)
        self.kill(what)

    def kill(self, what: str) -> None:
        self.agent.kill_9(self.pid)
        self.kills += 1
        self.stage.note(f'kill -9: {what}')
        self.pid = self.agent.wait_until_back(self.pid)

    def is_healed(self) -> bool:
        return (self.lost not in self.attachment.volume.legs
                and host.is_whole(self.attachment.md))

    def expect_healed(self) -> None:
        """Whole again, and nothing was done twice or left behind."""
        stage, world = self.stage, self.world
        stage.wait_until('the array is whole on a new leg', self.is_healed,
                         HEALED_DEADLINE_S)
        stage.wait_until(
            'the agent says that all is well', lambda: self.agent.phase(
                self.attachment.volume.id) == 'healthy', 60)
        stage.check('one replacement was asked for for each lost leg',
                    world.kumoscale.count('add_replica') == self.losses,
                    world.kumoscale.count('add_replica'))
        stage.wait_until('the host is connected to nothing but the legs',
                         lambda: len(host.controllers()) == 2, 30)
        stage.check('the array keeps no replica but the legs', sorted(
            world.array.replicas()) == sorted(self.attachment.volume.legs),
            world.array.replicas())
        stage.check('the provisioner saw no breach of its rules',
                    not world.provisioner.violations,
                    world.provisioner.violations)

    def prove(self) -> None:
        stage = self.stage
        stage.figure('kills', float(self.kills))
        stage.wait_until('no helper of a dead agent is left',
                         lambda: len(helpers()) <= HELPERS, 30)
        self.world.prove_data(self.attachment, self.writer)


def helpers() -> list[int]:
    """The privileged helpers of ours: each goes with whom it serves."""
    found = []
    for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
        with contextlib.suppress(OSError):
            words = path.read_bytes()
            if HELPER in words and not words.startswith(b'sudo'):
                found.append(int(path.parent.name))
    return found


def lines(after: int, what: str) -> list[str]:
    """What the journal tells, read while the agent writes it."""
    with contextlib.closing(sqlite3.connect(
            f'file:{JOURNAL}?mode=ro', uri=True, timeout=10)) as db:
        return [text for (text,) in db.execute(
            'SELECT text FROM history WHERE seq > ? AND what = ?',
            (after, what))]


def has_line(after: int, what: str, beginning: str) -> bool:
    return any(text.startswith(beginning) for text in lines(after, what))


def last_line() -> int:
    with contextlib.closing(sqlite3.connect(
            f'file:{JOURNAL}?mode=ro', uri=True, timeout=10)) as db:
        return int(db.execute('SELECT max(seq) FROM history').fetchone()[0])


def copied(md: str) -> float | None:
    words = host.md_attribute(md, 'sync_completed').split()
    return int(words[0]) / int(words[2]) if len(words) == 3 else None


def copy_speed(md: str, speed: str) -> None:
    directory = pathlib.Path(f'/sys/block/{md}/md')
    (directory / 'sync_speed_min').write_text(SLOWEST)
    (directory / 'sync_speed_max').write_text(speed)


@scenario(name='agent-killed-core', item='7', core=True, mode=Mode.SYSTEMD,
          timeout_s=600)
def agent_killed_core(stage: Stage) -> None:
    """Killed when the request was heard, and when a leg is to be added."""
    victim = Victim.prepare(stage)
    victim.lose(victim.close)
    victim.kill_when('request is done', lambda: victim.done('request'))
    victim.kill_when('add has begun', lambda: victim.begun('add'))
    victim.expect_healed()
    victim.prove()


@scenario(name='agent-killed-before-each-step', item='7', mode=Mode.SYSTEMD,
          timeout_s=1200)
def agent_killed_before_each_step(stage: Stage) -> None:
    """Killed when each step's intent is written and its effect is not."""
    victim = Victim.prepare(stage)
    victim.lose(victim.close)
    for step in ('break', 'report', 'request', 'publish', 'connect',
                 'examine', 'add', 'confirm'):
        victim.kill_when(f'{step} has begun',
                         functools.partial(victim.begun, step))
    victim.expect_healed()
    stage.note('a leg whose controller lives on')
    victim.lose(victim.take_namespace)
    victim.kill_when('disconnect has begun',
                     lambda: victim.begun('disconnect'))
    victim.expect_healed()
    victim.prove()


@scenario(name='agent-killed-after-each-step', item='7', mode=Mode.SYSTEMD,
          timeout_s=1200)
def agent_killed_after_each_step(stage: Stage) -> None:
    """Killed when each step's effect is there and is not written down."""
    victim = Victim.prepare(stage)
    victim.lose(victim.close)
    # However long systemd takes, it must find the copy under way.
    copy_speed(victim.attachment.md, SLOWEST)
    for step in ('break', 'report', 'request', 'publish', 'connect',
                 'add', 'copy', 'confirm'):
        victim.kill_when(f'{step} is done',
                         functools.partial(victim.done, step))
        if step == 'copy':
            copy_speed(victim.attachment.md, SLOWLY)
    victim.expect_healed()
    stage.note('a leg whose controller lives on')
    victim.lose(victim.take_namespace)
    victim.kill_when('disconnect is done', lambda: victim.done('disconnect'))
    victim.expect_healed()
    victim.prove()


@scenario(name='agent-killed-at-random', item='7', mode=Mode.SYSTEMD,
          timeout_s=1500)
def agent_killed_at_random(stage: Stage) -> None:
    """Killed at random moments, again and again, during three heals."""
    seed = int(stage.params.get('seed', '7'))
    chance = random.Random(seed)
    victim = Victim.prepare(stage)
    for turn in (1, 2, 3):
        stage.note(f'heal {turn}, seed {seed}')
        victim.lose(victim.close if turn != 2 else victim.take_namespace)
        for _ in range(6):
            time.sleep(chance.uniform(0.0, 8.0))
            if victim.is_healed():
                break
            victim.kill('at random')
        victim.expect_healed()
    victim.prove()
