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
"""Virtual time: events in order, and tasks that sleep in it.

One thing runs at any moment. Events are plain calls; a task is a greenlet
that gets the baton, runs until it sleeps, and hands the baton back. So code
that blocks (the hands, nova) is used as it is, and a run depends on nothing
but its seed. Threads would do as well, twenty times slower on a busy host.
"""

from collections.abc import Callable, Sequence
import functools
import heapq
import itertools
from typing import Any, TypeVar

import greenlet  # type: ignore[import-untyped]

A = TypeVar('A')
B = TypeVar('B')


class Killed(BaseException):
    """The process that this code runs in has been killed."""


class Confused(BaseException):
    """The simulator itself has a bug."""


class Task:
    """A call with a stack of its own, in virtual time.

    :param ended: called with the result (or the exception) in event context.
    :param owner: whose process it runs in.
    """

    def __init__(self, time: 'Timeline', work: Callable[[], Any],
                 ended: Callable[[Any], None], *,
                 owner: str = 'agent') -> None:
        self.owner = owner
        self._time = time
        self._work = work
        self._ended = ended
        self._let: Any = greenlet.greenlet(self._main)
        self._result: Any = None
        self._killed = False
        self.over = False
        time.tasks.append(self)
        time.after(0.0, self._go_on)

    def _main(self) -> None:
        try:
            self._result = self._work()
        except BaseException as e:  # noqa: BLE001 - handed over
            self._result = e
        self.over = True

    def _go_on(self) -> None:
        """Give it the baton until it sleeps or ends."""
        if self.over:
            return
        before, self._time.current = self._time.current, self
        self._let.parent = greenlet.getcurrent()
        self._let.switch()
        self._time.current = before
        if self._has_ended():
            self._time.tasks.remove(self)
            if not self._killed:
                self._ended(self._result)

    def _has_ended(self) -> bool:
        return self.over

    def park(self, seconds: float) -> None:
        """Sleep; called by the task itself."""
        self._time.after(seconds, self._go_on)
        self._let.parent.switch()
        if self._killed:
            raise Killed

    def kill(self) -> None:
        """End it where it sleeps; nobody hears of its result."""
        self._killed = True
        if self.over or self._time.current is self:
            return
        if not self._let:
            self.over = True
            self._time.tasks.remove(self)
            return
        self._go_on()


class Timeline:
    """The clock and what is to happen.

    :ivar now_s: seconds since the beginning of the run.
    :ivar check: called after every event.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.events = 0
        self.current: Task | None = None
        self.tasks: list[Task] = []
        self.check: Callable[[], None] = lambda: None
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Have a call made in so many seconds."""
        heapq.heappush(self._heap, (
            self.now_s + max(0.0, seconds), next(self._count), call))

    def at(self, at_s: float, call: Callable[[], None]) -> None:
        """Have a call made at a time."""
        self.after(at_s - self.now_s, call)

    def sleep(self, seconds: float) -> None:
        """Let time pass, for a task; in an event it is a moment."""
        if self.current is not None:
            self.current.park(seconds)

    def together(self, call: Callable[[A], B],
                 items: Sequence[A]) -> tuple[B, ...]:
        """Calls that wait, all at the same time; for a task."""
        results: dict[int, Any] = {}
        for at, item in enumerate(items):
            Task(self, functools.partial(call, item),
                 functools.partial(results.__setitem__, at))
        while len(results) < len(items):
            self.sleep(0.01)
        for result in results.values():
            if isinstance(result, BaseException):
                raise result
        return tuple(results[n] for n in range(len(items)))

    def next_s(self) -> float | None:
        """When the next event is due."""
        return self._heap[0][0] if self._heap else None

    def step(self) -> None:
        """Make the next event happen."""
        at_s, _, call = heapq.heappop(self._heap)
        self.now_s = max(self.now_s, at_s)
        self.events += 1
        try:
            call()
            self.check()
        except Exception as e:
            raise Confused(f'{e!r} at {self.now_s:.3f} s') from e

    def advance(self, end_s: float,
                until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass to an end, or until something is so."""
        while not until():
            next_s = self.next_s()
            if next_s is None or next_s > end_s:
                self.now_s = max(self.now_s, end_s)
                return
            self.step()
