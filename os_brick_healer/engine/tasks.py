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
"""What the loop does again and again, whatever is mapped or attached."""

from collections.abc import Callable
import functools
import math
import os
import sched

from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import pacing, parts

#: So soon the wings know of what a connector has written, seconds.
FOLLOW_S = 0.25
#: Where the kernel tells of writes, the journal is asked so often without
#: one, and for so long after one: a commit is seen by others only after its
#: bytes are on the disk, and the kernel tells of the bytes.
CALM_S = 1.0

#: Does something; whatever goes wrong in it is logged, and that is all.
Guarded = Callable[[str, Callable[[], None]], None]


class Tasks:
    """Periodic tasks, in step with each other. On the loop's thread.

    :param guarded: is given what is done as people call it, and the work.
    """

    def __init__(self, scheduler: sched.scheduler,
                 journal: journal_lib.Journal, guarded: Guarded,
                 waits: parts.Waits) -> None:
        self._sched = scheduler
        self._journal = journal
        self._guarded = guarded
        self._waits = waits
        self._began_s = scheduler.timefunc()
        self._planned: set[Callable[[], None]] = set()
        self._asking = False
        self._ask_until_s = -math.inf
        self._followers: dict[str, Callable[[int], None]] = {}

    def in_step_s(self, interval_s: float) -> float:
        """When a task that has just been done is due again."""
        return pacing.in_step_s(self._began_s, interval_s,
                                self._sched.timefunc())

    def every(self, interval: Callable[[], float],
              work: Callable[[], None], name: str) -> None:
        """Do something again and again; the interval may change."""
        what = f'the periodic task {name}'

        def _run() -> None:
            self._guarded(what, work)
            self._sched.enterabs(self.in_step_s(interval()), 1, _run)

        self._sched.enter(0.0, 1, _run)

    def soon(self, wanted: bool, interval_s: float,
             work: Callable[[], None]) -> float:
        """Do something once, in step with the rest, if it is wanted.

        :returns: in how many seconds, if that was not planned before.
        """
        if not wanted or work in self._planned:
            return math.inf
        self._planned.add(work)
        due_s = self.in_step_s(interval_s)

        def _run() -> None:
            self._planned.discard(work)
            work()

        self._sched.enterabs(due_s, 2, _run)
        return max(0.0, due_s - self._sched.timefunc())

    def follow(self, told: Callable[[int], None], name: str) -> None:
        """Tell the journal's version, whether or not it has changed.

        It is asked for once for all who follow: the file is locked for it.
        """
        if not self._followers:
            heard = self._waits.on_write(
                os.path.dirname(self._journal.path), self._written)
            self.every(lambda: CALM_S if heard else FOLLOW_S,
                       self._tell, 'journal')
        self._followers[f'the periodic task {name}'] = told

    def _written(self) -> None:
        self._ask_until_s = self._sched.timefunc() + CALM_S
        if not self._asking:
            self._ask_again()

    def _ask_again(self) -> None:
        self._asking = self._sched.timefunc() < self._ask_until_s
        if self._asking:
            self._sched.enterabs(self.in_step_s(FOLLOW_S), 1, self._ask)

    def _ask(self) -> None:
        self._guarded('the periodic task journal', self._tell)
        self._ask_again()

    def _tell(self) -> None:
        version = self._journal.data_version()
        for what, told in self._followers.items():
            self._guarded(what, functools.partial(told, version))
