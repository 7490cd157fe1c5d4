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
"""The things of the world of mapped volumes, as plain data."""

from collections.abc import Callable
import dataclasses

BLOCKS = 8
MIB = 1024 * 1024
#: How a request stands: it waits for a connection, or a server was sent it.
WAITING, SENT, DONE = 'waiting', 'sent', 'done'
WRITE, READ, FLUSH = 'write', 'read', 'flush'
#: How a process is. A stuck one looks like one that runs; one that is dying
#: was killed, and threads of it are still in the kernel.
RUNS, STOPPED, STUCK, DYING, ENDED = (
    'runs', 'stopped', 'stuck', 'dying', 'ended')
RBD, FILE = 'rbd', 'file'
MOUNTERS = {RBD: 'rbd-nbd', FILE: 'nbd'}
PROGRAMS = {'rbd-nbd': RBD, 'nbdkit': FILE}
#: The block layer's own timer of requests.
TIMER_MS = 30000


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Image:
    """A volume's data.

    :ivar blocks: the version of each block.
    :ivar owner: the process that has its exclusive lock.
    :ivar free_s: when the last operation on it will have ended.
    :ivar slow_until_s: nothing ends before.
    :ivar deadly_until_s: whoever serves it dies of what it is asked.
    """

    key: str
    kind: str
    size_bytes: int
    exclusive: bool = False
    exists: bool = True
    blocks: list[int] = dataclasses.field(
        default_factory=lambda: [0] * BLOCKS)
    owner: 'Proc | None' = None
    free_s: float = 0.0
    slow_until_s: float = 0.0
    deadly_until_s: float = 0.0

    @property
    def source(self) -> dict[str, str]:
        """What names it, in the words of its mounter."""
        if self.kind == FILE:
            return {'file': f'/srv/{self.key}.img'}
        found = {'pool': 'volumes', 'image': f'volume-{self.key}',
                 'user': 'cinder'}
        return {**found, 'exclusive': 'true'} if self.exclusive else found


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Link:
    """A connection between the kernel and a process."""

    proc: 'Proc'
    device: 'Device | None' = None
    dead: bool = False


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """One request to a device.

    :ivar value: the version that is written, or what was read.
    :ivar timer_ms: of the device when it was sent.
    :ivar ours: a guest's, not somebody's look at whether it is served.
    """

    kind: str
    block: int
    value: int
    since_s: float
    done: Callable[['Request'], None]
    ours: bool = True
    state: str = WAITING
    link: Link | None = None
    error: bool = False
    sent_s: float = 0.0
    epoch: int = 0


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Device:
    """An nbd device. :ivar mapper: the pid of who connected it."""

    name: str
    connected: bool = False
    cookie: str | None = None
    mapper: int = 0
    size_bytes: int = 0
    timer_ms: int = TIMER_MS
    reattach_s: int = 0
    link: Link | None = None
    requests: list[Request] = dataclasses.field(default_factory=list)
    completed: int = 0
    ended_s: float = 0.0
    fd: int = -1

    @property
    def index(self) -> int:
        return int(self.name.removeprefix('nbd'))

    @property
    def in_flight(self) -> int:
        """As the block layer counts: no flush, nothing that waits."""
        return sum(r.state == SENT and r.kind != FLUSH
                   for r in self.requests)

    @property
    def server(self) -> 'Proc | None':
        """The process that its connection leads to."""
        if self.link is None or self.link.dead:
            return None
        return self.link.proc


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Proc:
    """A process. :ivar volume: whom it serves; None: it is no server.

    :ivar ops: what it has under way in the kernel.
    :ivar box: what it has been sent, and answers that it will give, once it
        gets to run again.
    :ivar deaf_s: since when it does not get to run, None: it does.
    :ivar born_s: when it was started.
    :ivar client: which client of its cluster it is; 0: none yet.
    :ivar blocked: its cluster lets it write no more.
    :ivar half: it never comes to the end of its start.
    :ivar held: it has made its last call, and cannot close its own device:
        its end of the connection stays open.
    :ivar noted: the agent has read through it, so its journal has it.
    """

    pid: int
    start: str
    argv: tuple[str, ...]
    volume: str | None = None
    image: Image | None = None
    state: str = RUNS
    links: list[Link] = dataclasses.field(default_factory=list)
    ops: int = 0
    box: list[Callable[[], None]] = dataclasses.field(default_factory=list)
    deaf_s: float | None = None
    heard_s: float = -1e9
    born_s: float = 0.0
    client: int = 0
    blocked: bool = False
    half: bool = False
    held: bool = False
    noted: bool = False
    listens: bool = False
    ended: list[Callable[[], None]] = dataclasses.field(
        default_factory=list)

    @property
    def lives(self) -> bool:
        """Not even a thread of it is left otherwise."""
        return self.state != ENDED

    @property
    def linked(self) -> bool:
        """Whether the kernel's connection of a device leads to it."""
        return any(not one.dead for one in self.links)
