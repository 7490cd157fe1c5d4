#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.
"""The agent in the simulated world: the real rooms, started and killed."""

from collections.abc import Callable, Iterator
import contextlib
import os
import random
import shutil
import sqlite3
from typing import Any

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import loop, verdict, wake
from os_brick_healer.replica import act, laws
from os_brick_healer.replica import tools as tools_lib
from os_brick_healer.replica import truth as truth_lib
from os_brick_healer.replica import wing as wing_lib
from os_brick_healer.tests.simulation import cloud as cloud_lib
from os_brick_healer.tests.simulation import looking, timeline, tools
from os_brick_healer.tests.simulation import world as world_lib
from os_brick_healer.tests.simulation.http import plugin

#: With nothing to do for so long the agent does nothing until there is.
CALM_S = 30.0
#: Turns of the loop in a second, at most.
TURNS_MAX = 3000
_FILES = ('', '-wal')
CALM = (verdict.Phase.HEALTHY, verdict.Phase.GONE)


class Over(BaseException):
    """The run has ended."""


class Danger:
    """Kills the agent at chosen points.

    :ivar armed: so many points from now.
    :ivar wanted: the name of the point.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.armed: int | None = None
        self.wanted: str | None = None
        self.torn = False
        self.full = False
        self.dead: Callable[[str], None] = lambda _where: None

    def point(self, where: str) -> None:
        """The agent may die here."""
        if self.wanted is not None and where == self.wanted:
            self.wanted, self.armed = None, 0
        if self.armed is None:
            return
        self.armed -= 1
        if self.armed < 0:
            self.armed = None
            self.dead(where)
            raise timeline.Killed


class Journal(journal_lib.Journal):
    """The real journal, on a disk that may be full, in a mortal process."""

    danger: Danger

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        if self.danger.full:
            raise exception.JournalError('cannot write the journal: because '
                                         'the disk is full')
        self.danger.point('before a write of the journal')
        size = _size(self.path + '-wal')
        with super()._write() as db:
            yield db
        try:
            self.danger.point('in a write of the journal')
        except timeline.Killed:
            self._tear(size)
            raise
        self.danger.point('after a write of the journal')

    def _tear(self, size: int) -> None:
        """Part of the last write did not reach the disk."""
        wal = self.path + '-wal'
        there = _size(wal)
        if size < there:
            # Others (nova) have the file open: they are restarted, too.
            with open(wal, 'r+b') as f:
                keep = self.danger.rng.randint(size, there - 1)
                f.seek(keep)
                f.write(b'\0' * (there - keep))


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


class Waits:
    """Stands for ``wake.Waker``: waiting is what moves the world."""

    def __init__(self, agent: 'Agent') -> None:
        self._agent = agent
        self._posted: list[Callable[[], None]] = []
        self._md_version = -1
        self._second_s = 0.0
        self._turns = 0

    def post(self, call: Callable[[], None]) -> None:
        self._posted.append(call)

    def on_write(self, directory: str, call: Callable[[], None]) -> bool:
        return False        # it is asked four times a second

    def wait(self, seconds: float) -> wake.Woken:
        agent, time = self._agent, self._agent.world.time
        self._count_turn(time.now_s)
        end_s = min(time.now_s + max(seconds, 0.0005), agent.end_s)
        end_s = max(end_s, agent.frozen_until_s, agent.jump_s())
        time.advance(end_s, lambda: (bool(self._posted) and time.now_s
                     >= agent.frozen_until_s) or agent.dead)
        if agent.dead:
            raise timeline.Killed
        if time.now_s >= agent.end_s or agent.world.court.stopped:
            raise Over
        posted, self._posted = self._posted, []
        for call in posted:
            call()
            if agent.dead:
                raise timeline.Killed
        md = self._md_version != agent.world.md.version
        self._md_version = agent.world.md.version
        return wake.Woken(md=md and not agent.world.events_lost)


    def _count_turn(self, now_s: float) -> None:
        """A loop that spins would never let time go on."""
        if now_s - self._second_s >= 1.0:
            self._second_s, self._turns = now_s, 0
        self._turns += 1
        if self._turns > TURNS_MAX:
            court = self._agent.world.court
            court.broke('8.hammer', f'the loop turns more than {TURNS_MAX} '
                                    'times in a second')
            court.stopped = True
            raise Over


class Runs:
    """Stands for ``threads.Threads``: actions are tasks in virtual time."""

    def __init__(self, agent: 'Agent', sizes: dict[str, int]) -> None:
        self._agent = agent
        self._free = dict(sizes)
        self._queue: list[tuple[str, Callable[[], Any],
                                Callable[[Any], None]]] = []
        self._stopped = False

    def submit(self, lane: str, work: Callable[[], Any],
               done: Callable[[Any], None]) -> None:
        if lane == 'ask' and self._agent.world.peer is None:
            # One call that only waits for its answer: no task is needed.
            self._agent.world.time.after(
                self._agent.world.cloud.travel_s(),
                lambda: self._ask(work, done))
            return
        if self._free[lane] == 0:
            self._queue.append((lane, work, done))
            return
        self._free[lane] -= 1
        timeline.Task(self._agent.world.time, work,
                      lambda result: self._ended(lane, done, result))

    def _ask(self, work: Callable[[], Any],
             done: Callable[[Any], None]) -> None:
        if self._agent.dead:
            return
        try:
            result: Any = work()
        except BaseException as e:  # noqa: BLE001 - handed over
            result = e
        self._deliver(done, result)

    def _deliver(self, done: Callable[[Any], None], result: Any) -> None:
        agent = self._agent
        if agent.dead or isinstance(result, timeline.Killed):
            return
        if isinstance(result, BaseException) and not isinstance(
                result, exception.HealerError):
            agent.bug(repr(result))
        agent.waits.post(lambda: done(result))

    def _ended(self, lane: str, done: Callable[[Any], None],
               result: Any) -> None:
        self._free[lane] += 1
        self._deliver(done, result)
        if self._agent.dead:
            return
        for at, (queued, work, then) in enumerate(self._queue):
            if queued == lane:
                del self._queue[at]
                self.submit(queued, work, then)
                return

    def stop(self, timeout_s: float) -> bool:
        self._stopped = True
        return not self._agent.world.time.tasks


class Agent:
    """One life of the agent's process.

    :param end_s: the run ends then.
    :ivar frozen_until_s: the process does not get to run until then.
    """

    def __init__(self, world: world_lib.World, path: str, danger: Danger,
                 wall: Callable[[], float], end_s: float) -> None:
        self.world = world
        self.end_s = end_s
        self.dead = False
        self.frozen_until_s = 0.0
        self._calm_since_s = world.time.now_s
        self._look_calm_s = 0.0
        self.jump_to: Callable[[], float] = lambda: 0.0
        self.danger = danger
        danger.dead = self._die
        self.waits = Waits(self)
        self.journal = _open(path, danger, wall, world)
        self.truth = truth_lib.Truth(
            lambda: plugin.open_(world, danger.point, self.clock, path),
            self.clock)
        kit = tools.Tools(world, danger.point)
        hands = act.Hands(
            settings=lambda: tools_lib.Settings(
                command_timeout_s=30.0, lock_timeout_s=10.0,
                keep_alive_s=world.setup.keep_alive_s, reconnect_delay_s=1),
            provisioner=lambda: self.truth.provisioner,
            host_nqn=lambda: 'nqn.host', permits=laws.permits, locks=kit,
            ours=lambda: self.wing.controllers(),  # noqa: PLW0108
            md=kit, nvme=kit, probe_now=kit.probe_now,
            together=world.time.together)
        self.wing = wing_lib.ReplicaWing(
            policy=world.policy, host=cloud_lib.HERE, truth=self.truth,
            observer=looking.Observer(world),      # type: ignore[arg-type]
            pulse=looking.Pulse(world, 0.4),       # type: ignore[arg-type]
            prober=looking.Prober(
                world, lambda p: self.wing.probed(p)),  # noqa: PLW0108
            hands=hands, journal=self.journal, clock=self.clock,
            process_start=_alive(world))
        self.engine = loop.Engine(
            (self.wing,), journal=self.journal, waits=self.waits,
            clock=self.clock, count=self._count,
            runs=Runs(self, {'flow': 8, 'network': 8, 'ask': 1,
                             'kernel': world.policy.heals_max}))

    def clock(self) -> float:
        return 1000.0 + self.world.time.now_s - self.world.booted_s

    def jump_s(self) -> float:
        """To when nothing at all will happen, if all is well."""
        now_s = self.world.time.now_s
        if now_s < self._look_calm_s:
            return 0.0
        self._look_calm_s = now_s + 1.0
        if (not self.world.calm() or self.world.time.tasks or not all(
                p in CALM for p in self.engine.phases())):
            self._calm_since_s = now_s
        # What has just gone wrong may not show yet.
        if now_s - max(self._calm_since_s, self.world.kicked_s) < CALM_S:
            return 0.0
        return self.jump_to()

    def said(self, key: str) -> str:
        """Its sentence about a volume."""
        return '; '.join(
            entry.found.sentence for (_, name), entry
            in self.engine._entries.items()
            if name == key and entry.found is not None)

    def bug(self, what: str) -> None:
        self.world.court.broke('8.bug', what)

    def _count(self, name: str, *_args: Any, **labels: Any) -> None:
        if not self.world.unreadable and name in (
                'look_errors_total', 'task_errors_total'):
            self.bug(f'{name} {labels}')

    def _die(self, where: str) -> None:
        self.dead = True
        self.world.fault(f'the agent is killed {where}')

    def run(self) -> bool:
        """Live until killed (True) or until the run is over (False)."""
        world = self.world
        world.agent_since_s = world.time.now_s
        try:
            self.engine.run()
        except timeline.Killed:
            return True
        except Over:
            return False
        except Exception as e:  # noqa: BLE001 - that is what is looked for
            self.bug(f'the loop ended: {e!r}')
            return True
        finally:
            self.dead = True
            world.agent_since_s = None
            for task in list(world.time.tasks):
                if task.owner == 'agent':
                    task.kill()
            if world.lock == 'agent':
                world.lock = None
            _drop(self.journal)
        return True


def _alive(world: world_lib.World) -> Callable[[int], str | None]:
    """nova's process is this very one; whether it lives is simulated."""
    start = journal_lib.process_start(os.getpid())

    def _start(_pid: int) -> str | None:
        return start if world.nova_alive else None

    return _start


def _open(path: str, danger: Danger, wall: Callable[[], float],
          world: world_lib.World) -> Journal:
    """As ``state.open_journal`` does."""
    kept, problem = journal_lib.open_or_set_aside(
        path, wall=wall, boot_id=world.boot_id(), history_max=200)
    kept.close()
    if problem is not None:
        world.tell(problem.replace(path, 'the journal'))
        world.court.journal_lost = True
        world.recorded.clear()
    Journal.danger = danger
    return Journal(path, wall=wall, boot_id=world.boot_id(),
                   history_max=200)


def _drop(journal: Journal) -> None:
    """Leave the files as they are on disk: a clean close would tidy up."""
    journal.danger.armed = journal.danger.wanted = None
    kept = journal.path + '.kept'
    for suffix in _FILES:
        if os.path.exists(journal.path + suffix):
            shutil.copy(journal.path + suffix, kept + suffix)
    with contextlib.suppress(sqlite3.Error):
        journal.close()
    for suffix in (*_FILES, '-shm'):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(journal.path + suffix)
    for suffix in _FILES:
        if os.path.exists(kept + suffix):
            os.rename(kept + suffix, journal.path + suffix)
