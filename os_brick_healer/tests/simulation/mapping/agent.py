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
"""The agent in this world: the real loop and the real wing, mortal."""

from collections.abc import Callable, Iterable
import os
from typing import Any

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import loop, verdict, wake
from os_brick_healer.mapping import (
    act,
    attachments,
    events,
    model,
    observe,
    pulse,
    wing,
)
from os_brick_healer.tests.simulation import process, timeline
from os_brick_healer.tests.simulation.mapping import locking, talk, tools
from os_brick_healer.tests.simulation.mapping import world as world_lib

#: With nothing to do for so long the agent does nothing until there is.
CALM_S = 30.0
#: Turns of the loop in a second, at most.
TURNS_MAX = 3000
CALM = (verdict.Phase.HEALTHY, verdict.Phase.GONE)


class Deaths:
    """``nbd.kernel.Deaths``: what the kernel tells of connections.

    :ivar overflows: it has to drop some, and says so.
    """

    def __init__(self, waits: 'Waits') -> None:
        self._waits = waits
        self._fd = os.eventfd(0)
        self._names: set[str] = set()
        self.overflows = False
        self._lost = False

    def fileno(self) -> int:
        return self._fd

    def told(self, name: str) -> None:
        """The kernel tells."""
        if self.overflows:
            self._lost = True
        else:
            self._names.add(name)
        self._waits.ready.add(self._fd)

    def take(self) -> frozenset[str] | None:
        self._waits.ready.discard(self._fd)
        names, self._names = self._names, set()
        lost, self._lost = self._lost, False
        return None if lost else frozenset(names)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Waits:
    """Stands for ``wake.Waker``: waiting is what moves the world.

    :ivar ready: descriptors that can be read.
    """

    def __init__(self, agent: 'Agent') -> None:
        self._agent = agent
        self._posted: list[Callable[[], None]] = []
        self._sources: dict[int, Callable[[], Iterable[str]]] = {}
        self.ready: set[int] = set()
        self._second_s = 0.0
        self._turns = 0

    def post(self, call: Callable[[], None]) -> None:
        self._posted.append(call)

    def on_write(self, directory: str, call: Callable[[], None]) -> bool:
        return False        # it is asked four times a second

    def listen(self, fd: int, take: Callable[[], Iterable[str]]) -> None:
        self._sources[fd] = take

    def unlisten(self, fd: int) -> None:
        self._sources.pop(fd, None)
        self.ready.discard(fd)

    def pidfd(self, pid: int) -> int:
        """A descriptor that can be read once the process has ended."""
        proc = self._agent.world.processes.by_pid.get(pid)
        if proc is None:
            raise ProcessLookupError(pid)
        fd = os.eventfd(0)
        proc.ended.append(lambda: self._ended(fd))
        return fd

    def _ended(self, fd: int) -> None:
        if fd in self._sources:
            self.ready.add(fd)

    def wait(self, seconds: float) -> wake.Woken:
        agent, time = self._agent, self._agent.world.time
        self._count_turn(time.now_s)
        end_s = min(time.now_s + max(seconds, 0.0005), agent.end_s)
        end_s = max(end_s, agent.frozen_until_s, agent.jump_s())
        time.advance(end_s, lambda: agent.dead or agent.world.court.stopped
                     or (bool(self._posted or self.ready)
                         and time.now_s >= agent.frozen_until_s))
        if agent.dead:
            raise timeline.Killed
        if time.now_s >= agent.end_s or agent.world.court.stopped:
            raise process.Over
        devices: set[str] = set()
        for fd in sorted(self.ready):
            devices.update(self._sources[fd]())
        posted, self._posted = self._posted, []
        for call in posted:
            call()
            if agent.dead:
                raise timeline.Killed
        return wake.Woken(devices=frozenset(devices))

    def _count_turn(self, now_s: float) -> None:
        """A loop that spins would never let time go on."""
        if now_s - self._second_s >= 1.0:
            self._second_s, self._turns = now_s, 0
        self._turns += 1
        if self._turns > TURNS_MAX:
            court = self._agent.world.court
            court.broke('18.hammer', f'the loop turns more than {TURNS_MAX} '
                                     'times in a second')
            court.stopped = True
            raise process.Over


class Runs:
    """Stands for ``threads.Threads``: actions are tasks in virtual time."""

    def __init__(self, agent: 'Agent', sizes: dict[str, int]) -> None:
        self._agent = agent
        self._free = dict(sizes)
        self._queue: list[tuple[str, Callable[[], Any],
                                Callable[[Any], None]]] = []

    def submit(self, lane: str, work: Callable[[], Any],
               done: Callable[[Any], None]) -> None:
        if self._free[lane] == 0:
            self._queue.append((lane, work, done))
            return
        self._free[lane] -= 1
        timeline.Task(self._agent.world.time, work,
                      lambda result: self._ended(lane, done, result))

    def _ended(self, lane: str, done: Callable[[Any], None],
               result: Any) -> None:
        agent = self._agent
        self._free[lane] += 1
        if agent.dead or isinstance(result, timeline.Killed):
            return
        if isinstance(result, BaseException) and not isinstance(
                result, exception.HealerError):
            agent.bug(repr(result))
        agent.waits.post(lambda: done(result))
        for at, (queued, work, then) in enumerate(self._queue):
            if queued == lane:
                del self._queue[at]
                self.submit(queued, work, then)
                return

    def stop(self, timeout_s: float) -> bool:
        return not self._agent.world.time.tasks


class Agent:
    """One life of the agent's process.

    :param end_s: the run ends then.
    :ivar frozen_until_s: the process does not get to run until then.
    """

    def __init__(self, world: world_lib.World, path: str,
                 danger: process.Danger, wall: Callable[[], float],
                 end_s: float) -> None:
        self.world = world
        self.end_s = end_s
        self.dead = False
        self.life = tools.Life('agent')
        self.frozen_until_s = 0.0
        self._calm_since_s = world.time.now_s
        self._look_calm_s = 0.0
        self.jump_to: Callable[[], float] = lambda: 0.0
        danger.dead = self._die
        self.waits = Waits(self)
        self.deaths = Deaths(self.waits)
        world.nbd.listeners.append(self.deaths.told)
        self.journal = _open(path, danger, wall, world)
        self.wing = self._wing(danger)
        self.engine = loop.Engine(
            (self.wing,), journal=self.journal, waits=self.waits,
            clock=self.clock, count=self._count,
            runs=Runs(self, {
                model.Lane.MAPPING.value: world.policy.heals_max,
                model.Lane.PROOF.value: 8, wing.ASK_LANE: 4}))

    def _wing(self, danger: process.Danger) -> wing.MappingWing:
        world = self.world
        kit = tools.Tools(world, self.life, danger.point)
        motion = observe.Motion(self.clock)
        return wing.MappingWing(
            policy=world.policy, journal=self.journal, motion=motion,
            clock=self.clock, ask=kit.ask, prepare=lambda _mounter: '',
            rows=attachments.Attachments(
                self.journal, alive(world), world.mounters.abilities),
            observer=observe.Observer(
                world.tree, self.clock, world.mounter,
                world.mounters.programs),
            pulse=pulse.Pulse(world.tree, self.clock, motion),
            heard=events.Events(self.waits, self.clock,
                                hear=lambda: self.deaths,
                                pidfd=self.waits.pidfd),
            hands=hands(world, self.life, kit, self.clock))

    def clock(self) -> float:
        return 1000.0 + self.world.time.now_s

    def jump_s(self) -> float:
        """To when nothing at all will happen, if all is well."""
        now_s = self.world.time.now_s
        if now_s < self._look_calm_s:
            return 0.0
        self._look_calm_s = now_s + 1.0
        if (not self.world.calm() or self.world.time.tasks or not all(
                p in CALM for p in self.engine.phases())):
            self._calm_since_s = now_s
        if now_s - self._calm_since_s < CALM_S:
            return 0.0
        return self.jump_to()

    def said(self, key: str) -> str:
        """Its sentence about a volume."""
        return '; '.join(
            entry.found.sentence for (_, name), entry
            in self.engine._entries.items()
            if name == key and entry.found is not None)

    def bug(self, what: str) -> None:
        self.world.court.broke('20.bug', what)

    def _count(self, name: str, *_args: Any, **labels: Any) -> None:
        if name in ('look_errors_total', 'task_errors_total'):
            self.bug(f'{name} {labels}')

    def _die(self, where: str) -> None:
        self.dead, self.life.alive = True, False
        self.world.fault(f'the agent is killed {where}')

    def run(self) -> bool:
        """Live until killed (True) or until the run is over (False)."""
        world = self.world
        world.agent_since_s = world.time.now_s
        try:
            self.engine.run()
        except timeline.Killed:
            return True
        except process.Over:
            return False
        except Exception as e:  # noqa: BLE001 - that is what is looked for
            self.bug(f'the loop ended: {e!r}')
            return True
        finally:
            self._end()
        return True

    def _end(self) -> None:
        world = self.world
        self.dead, self.life.alive = True, False
        world.agent_since_s = None
        world.nbd.listeners.remove(self.deaths.told)
        for task in list(world.time.tasks):
            if task.owner == 'agent':
                task.kill()
        for key in [k for k, life in world.locks.items()
                    if life is self.life]:
            del world.locks[key]
        self.wing.stop()
        self.deaths.close()
        process._drop(self.journal)


def hands(world: world_lib.World, life: tools.Life, kit: tools.Tools,
          clock: Callable[[], float]) -> act.Hands:
    """The real hands, with tools of this world."""
    return act.Hands(
        tree=world.tree, locks=locking.Locks(world, life),
        mounter=world.mounter, policy=lambda: world.policy, nbd=kit,
        sleep=world.time.sleep, clock=clock,
        dial=lambda path: talk.dial(world, path))


def alive(world: world_lib.World) -> Callable[[int], str | None]:
    """nova's process is this very one; whether it lives is simulated."""
    start = journal_lib.process_start(os.getpid())

    def _start(_pid: int) -> str | None:
        return start if world.nova_alive else None

    return _start


def _open(path: str, danger: process.Danger, wall: Callable[[], float],
          world: world_lib.World) -> process.Journal:
    """As ``state.open_journal`` does."""
    kept, problem = journal_lib.open_or_set_aside(
        path, wall=wall, boot_id='boot', history_max=200)
    kept.close()
    if problem is not None:
        world.tell(problem.replace(path, 'the journal'))
    process.Journal.danger = danger
    return process.Journal(path, wall=wall, boot_id='boot', history_max=200)
