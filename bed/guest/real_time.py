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
"""What every lab on a guest has: the guest's clock, and its writer."""

from collections.abc import Callable
import time
from typing import TypeVar

from bed.guest.scenario import Stage
from bed.guest.writer import Writer

T = TypeVar('T')
#: So many new writes are no remainder of what was under way.
NEW_WRITES = 3


class Lab:
    """A lab whose time passes by itself."""

    stage: Stage
    writer: Writer

    def do(self, call: Callable[[], T]) -> T:
        """Call it."""
        return call()

    def until(self, sentence: str, holds: Callable[[], bool],
              within_s: float) -> None:
        """Wait until something holds."""
        self.stage.wait_until(sentence, holds, within_s)

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def flows(self, within_s: float) -> bool:
        """Whether the guest gets to write."""
        before = self.writer.writes
        end_s = self.stage.now_s() + within_s
        while self.stage.now_s() < end_s:
            if self.writer.writes >= before + NEW_WRITES:
                return True
            time.sleep(0.05)
        return False
