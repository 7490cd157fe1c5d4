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
"""What every simulated lab has: time that is told to pass."""

from collections.abc import Callable
from typing import Any, TypeVar

from bed.guest import lab as lab_lib
from os_brick_healer.tests.simulation import timeline as timeline_lib

T = TypeVar('T')
STEP_S = 0.05
#: No call of a lab takes longer.
CALL_S = 120.0


class Lab:
    """A lab in virtual time. :ivar world: whose time it is."""

    world: Any

    def describe(self) -> str:
        """The world as it is, for who waits in vain."""
        return str(self.world.describe())

    def do(self, call: Callable[[], T]) -> T:
        """Call as a task of the world; what it gives back, or raises."""
        ended: list[T | BaseException] = []
        timeline_lib.Task(self.world.time, call, ended.append)
        self.world.time.advance(self.world.time.now_s + CALL_S,
                                lambda: bool(ended))
        if isinstance(ended[0], BaseException):
            raise ended[0]
        return ended[0]

    def until(self, sentence: str, holds: Callable[[], bool],
              within_s: float) -> None:
        """Let time pass until something holds."""
        end_s = self.world.time.now_s + within_s
        while not holds():
            if self.world.time.now_s >= end_s:
                raise lab_lib.Broken(f'{sentence} ({self.describe()})')
            self.rest(STEP_S)

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        self.world.time.advance(self.world.time.now_s + seconds)
