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
"""What all that can go wrong has in common: how it happens and ends."""

from collections.abc import Callable
from typing import Any

from os_brick_healer.tests.simulation import plans, process


class Mishaps:
    """The base of what happens to any world.

    :ivar agent: the agent that lives now, None while there is none.
    :ivar wall_offset_s: how wrong the wall clock is.
    :ivar over: no more faults.
    :ivar tear: the journal is damaged while the agent is dead next.
    """

    world: Any
    agent: Any

    def __init__(self, danger: process.Danger) -> None:
        self.danger = danger
        self.agent = None
        self.wall_offset_s = 0.0
        self.tear = False
        self.undo: list[Callable[[], None]] = []
        self.over = False

    def happen(self, fault: plans.Fault) -> None:
        """One fault, now."""
        getattr(self, f'_{fault.kind}')(fault)

    def for_a_while(self, fault: plans.Fault,
                    undo: Callable[[], None]) -> None:
        """Have it taken back in time, or when all faults are."""
        self.undo.append(undo)
        self.world.time.after(fault.arg('last_s'), undo)
