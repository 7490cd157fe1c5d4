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
"""The host's processes: servers that start, serve, hang and die.

``rbd-nbd`` opens its image and gives the kernel a connection by itself;
``nbdkit`` listens, and is shaken hands with. A number that is free again is
soon another process's.
"""

from collections.abc import Callable
import functools
import random

from os_brick_healer.tests.simulation import timeline
from os_brick_healer.tests.simulation.mapping import kernel as kernel_lib
from os_brick_healer.tests.simulation.mapping import parts
from os_brick_healer.tests.simulation.mapping import storage as storage_lib

FIRST_PID = 100
#: One that was held up is gone so long after its connection.
_RELEASED_S = 3.0
_STEP_S = 0.05
_NOT_THERE = 'No such file or directory'
#: What can be wrong with the next server that is started.
HALF, EXIT, SLOW = 'half', 'exit', 'slow'


class Processes:
    """All of them.

    :ivar next_start: what is wrong with the servers that start next.
    :ivar opened: told of each that has opened its image.
    :ivar words: what the servers of a volume said last.
    """

    def __init__(self, time: timeline.Timeline, rng: random.Random,
                 nbd: kernel_lib.Nbd, storage: storage_lib.Storage,
                 tell: Callable[[str], None]) -> None:
        self._time = time
        self._rng = rng
        self._nbd = nbd
        self._storage = storage
        self._tell = tell
        self.by_pid: dict[int, parts.Proc] = {}
        self.next_start: list[str] = []
        self.words: dict[str, str] = {}
        self.opened: Callable[[parts.Proc], None] = lambda _proc: None
        self.slow_s = 0.0
        nbd.receive, nbd.hung_up = self._receive, self._hung_up

    # To look at -----------

    def servers(self, volume: str) -> list[parts.Proc]:
        """Every process of a volume of which anything is left."""
        return [p for p in self.by_pid.values() if p.volume == volume]

    def listening(self, path: str) -> parts.Proc | None:
        """Who listens on a socket; of two the newer one."""
        found = [p for p in self.by_pid.values()
                 if p.listens and path in p.argv and p.lives]
        return found[-1] if found else None

    # Their lives -----------

    def spawn(self, argv: tuple[str, ...], volume: str | None,
              image: parts.Image | None) -> parts.Proc:
        """A new process, under the lowest number that is free."""
        pid = next(n for n in range(FIRST_PID, 1 << 20)
                   if n not in self.by_pid)
        proc = parts.Proc(
            pid=pid, start=str(int(self._time.now_s * 1000) + 5),
            argv=argv, volume=volume, image=image,
            born_s=self._time.now_s)
        self.by_pid[pid] = proc
        if image is None or volume is None:
            return proc
        fault = self.next_start.pop(0) if self.next_start else ''
        proc.half = fault == HALF
        if fault:
            self._tell(f'the server of {volume[:8]} that starts now: {fault}')
        if fault == EXIT:
            self.words[volume] = 'out of luck'
            self._step(proc, lambda: self.kill(proc))
            return proc
        wait_s = self._rng.uniform(0.02, 0.2) + self.slow_s + (
            4.0 if fault == SLOW else 0.0)
        go_on = self._listen if image.kind == parts.FILE else self._open
        self._time.after(wait_s, lambda: self._step(
            proc, functools.partial(go_on, proc)))
        return proc

    def _step(self, proc: parts.Proc, step: Callable[[], None]) -> None:
        """Go on with its start, as soon as it gets to run."""
        if not proc.lives or proc.state == parts.DYING:
            return
        if proc.half or proc.state != parts.RUNS:
            self._time.after(_STEP_S, lambda: self._step(proc, step))
            return
        step()

    def _exit(self, proc: parts.Proc, words: str) -> None:
        assert proc.volume is not None
        self.words[proc.volume] = words
        self.kill(proc)

    def _listen(self, proc: parts.Proc) -> None:
        assert proc.image is not None
        if not proc.image.exists:
            self._exit(proc, f'{proc.image.source["file"]}: {_NOT_THERE}')
            return
        proc.listens = True

    def _open(self, proc: parts.Proc) -> None:
        """rbd-nbd opens its image: that waits for the monitors."""
        assert proc.image is not None
        assert proc.volume is not None
        if not self._storage.monitors:
            self._time.after(_STEP_S * 4, lambda: self._step(
                proc, lambda: self._open(proc)))
            return
        if not proc.image.exists:
            self._exit(proc, f'rbd-nbd: error opening image: (2) {_NOT_THERE}')
            return
        self.opened(proc)
        link = parts.Link(proc=proc)
        options = dict(zip(proc.argv, proc.argv[1:], strict=False))
        about = {'size_bytes': proc.image.size_bytes,
                 'reattach_s': int(options['--reattach-timeout'])}
        cookie = options['--cookie']
        try:
            if 'attach' in proc.argv:
                index = int(options['--device'].removeprefix('/dev/nbd'))
                self._nbd.reconfigure(link, index, cookie=cookie, **about)
            else:
                self._nbd.connect(link, cookie=cookie, **about)
        except OSError as e:
            self._exit(proc, f'rbd-nbd: {e.strerror}')
            return
        if link.dead:       # the kernel has dropped it
            self._exit(proc, 'rbd-nbd: the connection was closed')

    def accept(self, proc: parts.Proc) -> parts.Link:
        """A new connection to one that listens; not the kernel's yet."""
        return parts.Link(proc=proc)

    # Their deaths -----------

    def kill(self, proc: parts.Proc) -> None:
        """SIGKILL: it is gone when its threads have left the kernel."""
        if proc.state in (parts.DYING, parts.ENDED):
            return
        self._deaf(proc)
        proc.box.clear()
        proc.listens = False
        in_kernel = proc.ops and proc.image is not None and (
            proc.image.kind == parts.FILE)
        proc.state = parts.DYING
        if proc.held:
            return
        if in_kernel:
            self._time.after(_STEP_S, lambda: self._bury(proc))
        else:
            self._end(proc)

    def kill_held(self, proc: parts.Proc) -> None:
        """SIGKILL, while somebody reads what only it can serve."""
        proc.held = proc.linked and proc.noted and (
            proc.image is not None and proc.image.kind == parts.RBD)
        self.kill(proc)

    def expire(self, proc: parts.Proc) -> None:
        """The driver gives its connection up: what it waits for is served
        by the next one."""
        for link in proc.links:
            self._nbd.died(link)
        self._time.after(_RELEASED_S, lambda: self._let_go(proc))

    def _let_go(self, proc: parts.Proc) -> None:
        if proc.lives:
            self._end(proc)

    def _bury(self, proc: parts.Proc) -> None:
        if proc.ops:
            self._time.after(_STEP_S, lambda: self._bury(proc))
        else:
            self._end(proc)

    def _end(self, proc: parts.Proc) -> None:
        proc.state = parts.ENDED
        del self.by_pid[proc.pid]
        for link in proc.links:
            self._nbd.died(link)
        for call in proc.ended:
            call()

    def _hung_up(self, link: parts.Link) -> None:
        """The kernel has ended the device: rbd-nbd ends, nbdkit stays."""
        proc = link.proc
        if proc.held:
            self._let_go(proc)
        elif proc.image is not None and proc.image.kind == parts.RBD:
            self._step(proc, lambda: self.kill(proc))

    def stop(self, proc: parts.Proc, how: str) -> None:
        """SIGSTOP, or it gets stuck."""
        if proc.state == parts.RUNS:
            proc.state = how
            self._deaf(proc)

    def _deaf(self, proc: parts.Proc) -> None:
        if proc.deaf_s is None:
            proc.deaf_s = self._time.now_s

    def go_on(self, proc: parts.Proc) -> None:
        """SIGCONT, or it comes loose."""
        if proc.state not in (parts.STOPPED, parts.STUCK):
            return
        proc.state, proc.deaf_s = parts.RUNS, None
        proc.heard_s = self._time.now_s
        box, proc.box = proc.box, []
        for call in box:
            call()

    def terminate(self, proc: parts.Proc) -> None:
        """SIGTERM: rbd-nbd ends as if killed, nbdkit does not hear it."""
        if proc.image is None or proc.image.kind == parts.RBD:
            self._when_it_runs(proc, lambda: self.kill(proc))

    # What they serve -----------

    def _receive(self, request: parts.Request, link: parts.Link) -> None:
        self._when_it_runs(link.proc, lambda: self._serve(request, link))

    def _when_it_runs(self, proc: parts.Proc,
                      call: Callable[[], None]) -> None:
        if proc.state in (parts.STOPPED, parts.STUCK):
            proc.box.append(call)
        elif proc.state == parts.RUNS:
            call()

    def _serve(self, request: parts.Request, link: parts.Link) -> None:
        proc = link.proc
        assert proc.image is not None

        def _reply(error: bool, value: int) -> None:
            self._when_it_runs(proc, lambda: _answer(error, value))

        def _answer(error: bool, value: int) -> None:
            if request.kind == parts.READ and request.link is link:
                request.value = value
            self._nbd.answered(request, link, error)

        self._storage.do(proc, proc.image, request.kind, request.block,
                         request.value, _reply)
