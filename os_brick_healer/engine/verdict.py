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
"""What one look at one thing comes to. Pure."""

import dataclasses
import enum
from typing import Generic, Protocol, TypeVar


class Risk(enum.IntEnum):
    """How much an action can hurt; of two possible ones the lower wins."""

    NOTHING = 0
    TELL = 1        # tell the provisioner a fact
    TUNE = 2        # a kernel setting, at once reversible
    CONNECT = 3     # a new connection, no data moves
    ADD = 4         # a device joins an array: it will be written
    BREAK = 5       # a leg is given up so that I/O goes on
    REPLACE = 6     # the provisioner allocates a new replica
    REMOVE = 7      # a copy of the data, or the way to it, goes


class Action(Protocol):
    """One thing that hands can do. A frozen dataclass in each wing."""

    @property
    def risk(self) -> Risk: ...

    @property
    def law(self) -> str: ...

    def sentence(self) -> str: ...


class Phase(enum.Enum):
    """Where a thing stands, for status, metrics and exit codes."""

    HEALTHY = 'healthy'
    DEGRADED = 'degraded'      # something is lost, it is being waited for
    HEALING = 'healing'        # an action is under way
    RESYNCING = 'resyncing'    # the kernel copies data
    HELD = 'held'              # something ought to be done and is not: why
    STALLED = 'stalled'        # the guest's I/O waits
    BROKEN = 'broken'          # a person is needed
    GONE = 'gone'              # nothing of it is on this host


A = TypeVar('A')
M = TypeVar('M')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict(Generic[A, M]):
    """What should be done about one key, and why, in one sentence.

    Without slots: a parametrised alias of a frozen generic class with slots
    cannot be called on Python 3.11.

    :ivar sentence: what is seen and what follows, for an operator.
    :ivar action: the one thing to do now, or None.
    :ivar memory: what to remember until the next look.
    :ivar look_again_s: look again no later than this, in seconds.
    :ivar law: the name of the law that speaks, as in the docs.
    """

    phase: Phase
    sentence: str
    memory: M
    look_again_s: float
    action: A | None = None
    law: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an action.

    :ivar changed: the world was changed (False: it was so already).
    :ivar error: why it failed, else None.
    :ivar transient: whether trying again can help (only with an error).
    :ivar detail: what the command or the provisioner answered.
    """

    changed: bool
    error: str | None = None
    transient: bool = True
    detail: str = ''
