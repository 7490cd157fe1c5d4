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
"""The privileged side, on the simulated host: ``privileged.nbd``.

Its own checks are the real ones (``serving.job``, ``blocks``): only the
driver, the processes and time are played. An effect that has begun goes on
when who asked for it is killed.
"""

from collections.abc import Callable
import dataclasses
import os
from typing import Any, TYPE_CHECKING, TypeVar

from os_brick_healer import exception
from os_brick_healer.mapping import model
from os_brick_healer.mounter import base
from os_brick_healer.nbd import parse, reads
from os_brick_healer.privileged import blocks, check, handing, serving
from os_brick_healer.sysfs import nbd, process
from os_brick_healer.tests.simulation import timeline
from os_brick_healer.tests.simulation.mapping import asking, parts, talk

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation.mapping import world as world_lib

T = TypeVar('T')
_QUICK_S = 0.005
_TAKE_S = 5.0


class Life:
    """One life of a process of ours: the agent's, or nova's.

    :ivar locks: volumes whose lock it holds.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.alive = True
        self.locks: set[str] = set()


class Driver:
    """``nbd.kernel``, on the played driver."""

    def __init__(self, world: 'world_lib.World') -> None:
        self._world = world

    def connect(self, fd: int, *, size_bytes: int, server_flags: int,
                cookie: str, reattach_s: int, timeout_s: float) -> int:
        return self._world.nbd.connect(
            talk.at_the_end_of(self._world, fd), size_bytes=size_bytes,
            cookie=cookie, reattach_s=reattach_s)

    def reconfigure(self, fd: int, index: int, *, size_bytes: int,
                    cookie: str, reattach_s: int, timeout_s: float) -> None:
        self._world.nbd.reconfigure(
            talk.at_the_end_of(self._world, fd), index,
            size_bytes=size_bytes, cookie=cookie, reattach_s=reattach_s)

    def grow(self, index: int, **about: Any) -> None:
        """No volume is extended here while it is served."""
        raise AssertionError(index, about)

    def disconnect(self, index: int, *, timeout_s: float) -> None:
        self._world.nbd.disconnect(index)


@dataclasses.dataclass(slots=True, kw_only=True)
class _Pending:
    read: reads.Read
    request: parts.Request


class Tools:
    """What one life asks of the privileged side.

    :param crash: a point at which that life may end.
    """

    def __init__(self, world: 'world_lib.World', life: Life,
                 crash: Callable[[str], None]) -> None:
        self.world = world
        self.life = life
        self.crash = crash
        self._driver = Driver(world)
        self._reads: dict[str, list[_Pending]] = {}

    def _run(self, name: str, effect: Callable[[], T],
             timeout_s: float, seconds: float = _QUICK_S,
             held: str = '') -> T:
        """A call: it takes time, it may fail, it may hang.

        :param held: the volume whose lock it holds until it is done.
        """
        world = self.world
        if not self.life.alive:
            raise timeline.Killed
        self.crash(f'before {name}')
        host = world.host
        if host.fail > 0:
            host.fail -= 1
            host.hit_s = world.time.now_s
            world.fault(f'{name} fails')
            raise exception.CommandError(f'cannot {name}: by a fault')
        box: list[T | Exception] = []

        def _effect() -> None:
            try:
                box.append(effect())
            except OSError as e:
                box.append(exception.CommandError(f'cannot {name}: {e}'))
            except exception.HealerError as e:
                box.append(e)
            finally:
                world.lent = [one for one in world.lent if one != held]

        if held:
            world.lent.append(held)
        seconds += host.slow_s
        if host.hang > 0:
            host.hang -= 1
            host.hit_s = world.time.now_s
            world.fault(f'{name} hangs')
            world.time.after(timeout_s / 2, _effect)
            world.time.sleep(timeout_s)
            raise exception.CommandError(f'cannot {name}: no answer')
        world.time.after(seconds, _effect)
        world.time.sleep(seconds + 0.001)
        self.crash(f'after {name}')
        if isinstance(box[0], Exception):
            raise box[0]
        return box[0]

    def _wait(self, holds: Callable[[], bool], wait_s: float) -> bool:
        end_s = self.world.time.now_s + wait_s
        while not holds():
            if self.world.time.now_s >= end_s:
                return False
            self.world.time.sleep(0.01)
        return True

    # Processes -----------

    def prepare(self, *, mounter: str, timeout_s: float) -> None:
        """The driver is there."""

    def start(self, *, mounter: str, volume: str, source: dict[str, str],
              socket: str, device: str | None, reattach_s: int,
              timeout_s: float) -> tuple[int, str]:
        job = serving.job(mounter, volume, source, socket, self._plugin,
                          device=device, reattach_s=reattach_s)

        def _start() -> parts.Proc:
            if device is not None:
                blocks.verify(self.world.tree, device, volume)
                self.world.court.touches(self.life, device, volume, 'start')
            there = serving.find(self.world.tree, job)
            if there is not None:
                raise exception.NotOurs(
                    f'cannot start a server: {there} serves it already')
            self.world.court.starts(self.life, volume)
            proc = self.world.processes.spawn(
                job.mounter.server(job.order).argv, volume,
                self.world.image_of(volume, source))
            asking.begin(self.world, proc)
            return proc

        found = self._run('start', _start, timeout_s, 0.02)
        if not found.lives:
            raise exception.CommandError(
                'cannot start a server: it ended at once')
        return found.pid, found.start

    def _plugin(self, name: str) -> base.Mounter:
        found = self.world.mounter(name)
        assert found is not None
        return found

    def kill(self, *, mounter: str, volume: str, source: dict[str, str],
             socket: str, pid: int, start: str, grace_s: float,
             timeout_s: float) -> bool:
        """As ``serving.kill``, with the processes of this world."""
        job = serving.job(mounter, volume, source, socket, self._plugin)
        wanted = parse.Process(pid=pid, start=check.start(start))
        asked_s = self.world.time.now_s

        def _kill() -> parts.Proc | None:
            proc = self.world.processes.by_pid.get(pid)
            found = process.same(self.world.tree, wanted)
            if found is None or proc is None:
                return None
            if found.dying:      # it is waited for, and sent nothing
                return proc
            if not job.of_ours(found):
                raise exception.NotOurs(f'cannot kill {found}: it does not '
                                        f'serve {volume}')
            self.world.court.kills(self.life, proc, volume, asked_s)
            if not grace_s:
                self.world.processes.kill(proc)
            else:
                self.world.processes.terminate(proc)
            return proc

        proc = self._run('kill', _kill, timeout_s)
        if proc is None:
            return True
        if grace_s and not self._wait(lambda: not proc.lives, grace_s):
            self.world.processes.kill(proc)
        return self._wait(lambda: not proc.lives, timeout_s)

    def last_words(self, *, volume: str) -> str:
        return self.world.processes.words.get(volume, '')

    def ask(self, mapping: model.Mapping,
            timeout_s: float) -> tuple[bool | None, str]:
        """``calls.ask``: whether the server answers on its socket."""
        plugin = self.world.mounter(mapping.mounter)
        question = None if plugin is None else plugin.question(mapping.order)
        if question is None:
            return None, 'nobody knows how to ask it'
        # Who came last has taken the place of who listened there.
        proc = max((p for p in self.world.processes.by_pid.values()
                    if question.socket in p.argv),
                   key=lambda p: p.born_s, default=None)
        self.world.time.sleep(0.002)
        if proc is None or not proc.lives or proc.state == parts.DYING:
            return False, 'nobody is there'
        if self._wait(lambda: proc.state == parts.RUNS and not proc.half,
                      timeout_s):
            return True, ''
        return False, f'no answer in {timeout_s:g} s'

    def fence(self, *, mounter: str, volume: str, source: dict[str, str],
              socket: str, timeout_s: float) -> str:
        """Shut out a client that died, by the real ``fencing``."""
        job = serving.job(mounter, volume, source, socket, self._plugin)
        rbd = asking.Rbd(self.world, self.world.image_of(volume, source))
        return str(self._run('fence', lambda: asking.fencing().fence(
            self.world.tree, job, timeout_s, rbd, self.world.logs,
            lambda _path: None), timeout_s, 0.2))

    def missing(self, *, mounter: str, volume: str, source: dict[str, str],
                socket: str, timeout_s: float) -> str:
        """What the storage says of data that is not there."""
        job = serving.job(mounter, volume, source, socket, self._plugin)
        rbd = asking.Rbd(self.world, self.world.image_of(volume, source))
        return str(self._run('missing', lambda: asking.fencing().missing(
            job, timeout_s, rbd, lambda _path: None), timeout_s, 0.1))

    def lacks(self, *, mounter: str, volume: str, source: dict[str, str],
              socket: str, timeout_s: float) -> str:
        """Every image of this cluster has every feature."""
        del mounter, volume, source, socket, timeout_s
        return ''

    def grow(self, **about: Any) -> int:
        """No volume is extended here while it is served."""
        raise AssertionError(about)

    # Devices -----------

    def connect(self, *, volume: str, handover: str, size_bytes: int,
                server_flags: int, reattach_s: int, timer_ms: int,
                timeout_s: float) -> tuple[str, int]:
        with handing.take(handover, frozenset((os.geteuid(),)),
                          _TAKE_S) as link:
            return self._run('connect', lambda: blocks.connect(
                self.world.tree, link, volume=volume, size_bytes=size_bytes,
                server_flags=server_flags, reattach_s=reattach_s,
                timer_ms=timer_ms, timeout_s=timeout_s,
                driver=self._driver), timeout_s)

    def reconnect(self, *, device: str, volume: str, handover: str,
                  size_bytes: int, reattach_s: int,
                  timeout_s: float) -> None:
        def _reconnect() -> None:
            blocks.verify(self.world.tree, device, volume)
            self.world.court.touches(self.life, device, volume, 'reconnect')
            blocks.reconnect(
                self.world.tree, link, device=device, volume=volume,
                size_bytes=size_bytes, reattach_s=reattach_s,
                timeout_s=timeout_s, driver=self._driver)

        with handing.take(handover, frozenset((os.geteuid(),)),
                          _TAKE_S) as link:
            self._run('reconnect', _reconnect, timeout_s)

    def disconnect(self, *, device: str, volume: str, held: str,
                   timer_ms: int, timeout_s: float) -> bool:
        def _disconnect() -> bool:
            done = blocks.disconnect(
                self.world.tree, device=device, volume=volume,
                timer_ms=timer_ms, timeout_s=timeout_s, driver=self._driver)
            if done:
                self.world.court.disconnects(self.life, device, volume)
            return done

        return self._run('disconnect', _disconnect, timeout_s, 0.05, held)

    def set_timer(self, *, device: str, volume: str, timer_ms: int,
                  timeout_s: float) -> bool:
        def _set() -> bool:
            blocks.verify(self.world.tree, device, volume)
            self.world.court.touches(self.life, device, volume, 'set_timer')
            return blocks.set_timer(
                self.world.tree, device=device, volume=volume,
                timer_ms=timer_ms, timeout_s=timeout_s)

        return self._run('set timer', _set, timeout_s)

    def hang_up(self, *, device: str, volume: str, pid: int, start: str,
                timer_ms: int, timeout_s: float) -> bool:
        """As ``hanging.hang_up``, by the driver's timeout of a second."""
        server = parse.Process(pid=pid, start=start)

        def _expire() -> bool:
            found = process.same(self.world.tree, server)
            if found is None:
                return False
            if not found.leaving:
                raise exception.NotOurs(f'cannot give up {found}')
            blocks.verify(self.world.tree, device, volume)
            self.world.court.touches(self.life, device, volume, 'hang up')
            self.world.processes.expire(self.world.processes.by_pid[pid])
            blocks.set_timer(
                self.world.tree, device=device, volume=volume,
                timer_ms=timer_ms, timeout_s=timeout_s)
            return True

        return self._run('hang up', _expire, timeout_s, 1.5)

    def flows(self, *, device: str, volume: str, pid: int, start: str,
              timeout_s: float) -> str:
        """As ``flowing.flows``, by the same rules."""
        server = parse.Process(pid=pid, start=start)

        def _begin() -> _Pending:
            blocks.verify(self.world.tree, device, volume)
            there = self._reads[device] = [
                one for one in self._reads.get(device, ())
                if one.request.state != parts.DONE]
            now_s = self.world.time.now_s
            if reads.shared([one.read for one in there], server,
                            now_s) is None:
                there.append(self._begin(device, server, now_s))
            return there[-1]

        mine = self._run('flows', _begin, timeout_s, 0.001)
        if self._wait(lambda: mine.request.state == parts.DONE, timeout_s):
            if mine.request.error:
                raise exception.CommandError('cannot flows: EIO')
            for proc in self.world.processes.servers(volume):
                proc.noted = True
            return 'read'
        mine.read = reads.after(mine.read, self._requests(device))
        return 'sent' if mine.read.sent else 'unsent'

    def _begin(self, device: str, server: parse.Process,
               now_s: float) -> '_Pending':
        mine = _Pending(
            read=reads.Read(server=server, begun_s=now_s,
                            before=self._requests(device)),
            request=parts.Request(
                kind=parts.READ, block=0, value=0, ours=False,
                since_s=now_s, done=lambda _request: None))
        self.world.nbd.submit(self.world.nbd.devices[device], mine.request)
        return mine

    def _requests(self, device: str) -> parse.Requests | None:
        found = nbd.device(self.world.tree, device)
        return None if found is None else found.requests
