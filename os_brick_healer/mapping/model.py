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
"""The words of this wing: what is seen, remembered and can be done. Pure."""

import dataclasses
import enum
from typing import TypeAlias

from os_brick_healer.engine import verdict
from os_brick_healer.mounter import base
from os_brick_healer.nbd import parse

Risk = verdict.Risk
Device = parse.Device
Process = parse.Process
Running = parse.Running

#: In the journal's ``connection``: which wing a row belongs to.
KIND = 'mapping'
#: Memory of past deaths of one volume's servers, entries.
DEATHS_MAX = 32
#: What a read showed that was not sent is believed for so long, seconds.
UNSENT_KEPT_S = 5.0


class AttachState(enum.Enum):
    """What a connector does with a volume (the journal's words)."""

    CONNECTING = 'connecting'
    ATTACHED = 'attached'
    EXTENDING = 'extending'
    DISCONNECTING = 'disconnecting'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A volume as it was mapped.

    :ivar mounter: the name of the plugin.
    :ivar abilities: as the plugin declares them; None: it is not installed.
    :ivar order: what is served, with the device that it got.
    :ivar size_bytes: of the device when it was mapped.
    :ivar timer_ms: of requests, while it is mapped; ...
    :ivar timer_before_ms: ... and what it is given back to.
    :ivar lacks: what its data lacked for a good heal when it was mapped, a
        sentence; empty: nothing that is known.
    """

    mounter: str
    abilities: base.Abilities | None
    order: base.Order
    size_bytes: int
    timer_ms: int
    timer_before_ms: int
    lacks: str = ''


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A row of the journal. :ivar owner_alive: its process is at work.

    :ivar mapping: None: the row cannot be read, or is not that far yet.
    """

    volume: str
    alias: str
    state: AttachState
    owner_alive: bool
    mapping: Mapping | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said when it was last asked whether it lives.

    :ivar asked_s: when the question was put.
    :ivar alive: None: nobody can tell.
    """

    asked_s: float
    alive: bool | None
    sentence: str = ''


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One volume at one moment.

    :ivar device: None: there is no such device.
    :ivar server: the live process that serves, None: there is none.
    :ivar link_dead_s: when the kernel last told that a connection of the
        device died, None: not since the agent runs; ...
    :ivar died_after_s: ... and since when that can have been, None: it was
        heard at once.
    :ivar moved_s: when a request was last seen to end, or none to wait.
    :ivar answer: to the last question to the server that lives now.
    :ivar unread_s: when a read through this server was last given up; ...
    :ivar unsent: ... and whether the kernel had not even sent it: no
        connection leads to the server.
    :ivar paused: why healing is paused, else None.
    :ivar elsewhere: why the volume is another host's now, None: nobody
        says so.
    """

    key: str
    now_s: float
    attachment: Attachment | None
    device: Device | None
    server: Running | None
    link_dead_s: float | None = None
    died_after_s: float | None = None
    moved_s: float | None = None
    answer: Answer | None = None
    unread_s: float | None = None
    unsent: bool = False
    paused: str | None = None
    elsewhere: str | None = None

    @property
    def cut(self) -> bool:
        """A read was not even sent, a moment ago: no connection is there.

        A kill may wait for its turn meanwhile, and the server come to serve.
        """
        return (self.unsent and self.unread_s is not None
                and self.now_s - self.unread_s <= UNSENT_KEPT_S)

    @property
    def waiting(self) -> int:
        """Requests under way now."""
        if self.device is None or self.device.requests is None:
            return 0
        return self.device.requests.in_flight

    @property
    def stuck_s(self) -> float:
        """For how long requests wait and none has ended, seconds."""
        if not self.waiting or self.moved_s is None:
            return 0.0
        return max(0.0, self.now_s - self.moved_s)

    @property
    def left(self) -> Process | None:
        """The server, if it writes nothing any more, and is not gone: it may
        wait for its own device, which it had open, and never be gone.

        Only one that writes over a network: the kernel may still be at work
        on what another one wrote to a disk.
        """
        mapping = self.attachment and self.attachment.mapping
        abilities = mapping and mapping.abilities
        if self.server is None or not self.server.leaving or (
                not abilities or not abilities.can_fence):
            return None
        return self.server.process


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of one volume. Times: seconds since boot.

    :ivar server: the process that served last.
    :ivar server_s: since when it is known.
    :ivar found: another one served before it, and no heal of ours told that
        it had started this one: who died may not have been shut out.
    :ivar lost_s: since when no process serves, None: one does.
    :ivar linked_s: when the kernel was given a connection to the present
        server, None: nobody knows of one.
    :ivar proven_s: when a read through it came back, None: none has.
    :ivar tries: heals that failed, in a row; ...
    :ivar next_try_s: ... and when the next may begin.
    :ivar deaths_s: of servers, newest last.
    :ivar short: servers that ended soon after they were known, or before
        they came to serve; none since has lasted.
    :ivar heals: how often a server was brought back.
    :ivar last_error: why the last try failed, None: it did not.
    :ivar fenced: what came of shutting out who died, at the last heal; None:
        there was nobody to shut out.
    :ivar refused: a sentence: the data is gone or another's; only a person
        or nova ends that.
    """

    server: Process | None = None
    server_s: float = 0.0
    found: bool = False
    lost_s: float | None = None
    linked_s: float | None = None
    proven_s: float | None = None
    tries: int = 0
    next_try_s: float = 0.0
    deaths_s: tuple[float, ...] = ()
    short: int = 0
    heals: int = 0
    last_error: str | None = None
    fenced: str | None = None
    refused: str | None = None


class Lane(enum.Enum):
    """What an action can wait for."""

    MAPPING = 'mapping'     # a server and the kernel
    PROOF = 'proof'         # a read, which may hang


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Act:
    volume: str
    device: str

    @property
    def lane(self) -> Lane:
        return Lane.MAPPING


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SetTimer(_Act):
    """Give the device the timer that a heal needs."""

    timer_ms: int
    risk = Risk.TUNE
    law = 'timer'

    def sentence(self) -> str:
        return (f'look after {self.timer_ms} ms at requests of '
                f'{self.device} that do not come back')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Serve(_Act):
    """Start a new process, and give the device its connection.

    :ivar left: who served it, and has ended but for what it had open: its
        end of the connection may be part of that.
    """

    mounter: str
    left: Process | None = None
    risk = Risk.CONNECT
    law = 'serve'

    def sentence(self) -> str:
        return f'serve {self.device} by a new process of {self.mounter}'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prove(_Act):
    """Read a block through the new process.

    :ivar fence: shut out first who died before it, if that holds the data.
    """

    server: Process
    fence: bool = False
    risk = Risk.TELL
    law = 'prove'

    @property
    def lane(self) -> Lane:
        return Lane.PROOF

    def sentence(self) -> str:
        return f'read from {self.device}, served by {self.server}'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kill(_Act):
    """Kill a process that does not serve, so that another one can.

    :ivar hung: the kernel's connection leads to it, and it takes nothing
        from there; False: no connection leads to it.
    """

    server: Process
    hung: bool
    why: str
    risk = Risk.BREAK
    law = 'hang'

    def sentence(self) -> str:
        return f'kill {self.server} of {self.device}: {self.why}'


Action: TypeAlias = SetTimer | Serve | Prove | Kill
Verdict: TypeAlias = verdict.Verdict[Action, Memory]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The operator's settings; seconds.

    :ivar attach_s: deadline of one heal.
    :ivar proof_s: a read through a new server is waited for so long.
    :ivar hang_s: requests that wait so long, none of them ending, make us
        ask the server whether it lives.
    :ivar answer_s: it is given so long to answer.
    :ivar settle_s: a server whose connection died is given so long to end.
    :ivar retry_last_s: longest pause between two tries.
    :ivar idle_s: a healthy volume is looked at again after this.
    :ivar heals_max: how many are healed at once.
    """

    attach_s: float = 15.0
    proof_s: float = 5.0
    hang_s: float = 2.0
    answer_s: float = 1.0
    settle_s: float = 0.5
    retry_last_s: float = 30.0
    idle_s: float = 60.0
    heals_max: int = 8

    def __post_init__(self) -> None:
        for name, lower, upper in (
                ('answer_s', 0.05, 60.0), ('hang_s', 0.1, 600.0),
                ('proof_s', 0.1, self.attach_s), ('heals_max', 1, 256),
                ('settle_s', 0.0, self.hang_s)):
            value = getattr(self, name)
            if not lower <= value <= upper:
                raise ValueError(
                    f'{name} = {value} is not between {lower} and {upper}')
