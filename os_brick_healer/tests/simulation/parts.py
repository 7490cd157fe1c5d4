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
"""The things of the simulated world, as plain data."""

import dataclasses

from os_brick_healer.provisioner import base
from os_brick_healer.replica import model

BLOCKS = 8
MIB = 1024 * 1024
UP, CLOSED, SILENT = 'up', 'closed', 'silent'
OK, HANG, ERROR = 'ok', 'hang', 'error'


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Disk:
    """A replica's storage: what it carries, whoever reads it.

    :ivar blocks: the version of each block of data.
    :ivar array_uuid: of its MD superblock, None without one.
    :ivar whole: its superblock says that every block has been copied.
    :ivar filling: its superblock says that a copy to it is under way.
    :ivar foreign: data of somebody else, None when there is none.
    """

    id: str
    uuid: str
    nqn: str
    size_bytes: int
    key: str | None = None
    blocks: list[int] = dataclasses.field(
        default_factory=lambda: [0] * BLOCKS)
    array_uuid: str | None = None
    events: int = 0
    whole: bool = True
    filling: bool = False
    failfast: bool = False
    foreign: str | None = None
    sick: bool = False          # reads and writes fail, the path is fine
    deleted: bool = False


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Target:
    """A subsystem: where it listens and what it presents."""

    nqn: str
    portals: tuple[base.Portal, ...]
    disks: list[Disk] = dataclasses.field(default_factory=list)
    exported: bool = True


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Controller:
    """A connection of this host; ``epoch`` outdates pending timers."""

    name: str
    nqn: str
    portal: base.Portal
    kato_s: int
    state: model.PathState
    since_s: float
    epoch: int = 0
    silent_since_s: float | None = None
    keep_alive_at_s: float = 0.0
    noticed_at_s: float = 0.0        # when its keep-alive has run out
    delete_begun: bool = False
    gone: bool = False


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """A leg in an array; ``device`` outlives the block device."""

    disk: Disk
    device: str
    role: str                    # in_sync, spare, faulty
    slot: int | None
    present: bool = True
    joined_s: float = 0.0
    failfast: bool = False
    full: bool = False           # every block is copied to it
    to_copy: list[int] = dataclasses.field(default_factory=list)

    @property
    def works(self) -> bool:
        return self.role != 'faulty'

    @property
    def in_sync(self) -> bool:
        return self.role == 'in_sync'


@dataclasses.dataclass(slots=True, kw_only=True)
class Write:
    """A write of the guest under way, or its read when ``value`` is 0."""

    block: int
    value: int
    since_s: float
    done: set[int] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Array:
    """An MD RAID1 array that runs.

    :ivar missed: the bitmap: blocks written since it was whole.
    :ivar cleared: the event count when the bitmap was cleared last.
    :ivar key: the volume; None for somebody else's array.
    """

    name: str
    uuid: str
    key: str | None
    raid_disks: int
    component_bytes: int
    members: list[Member]
    events: int = 1
    missed: set[int] = dataclasses.field(default_factory=set)
    cleared: int = 0
    broken: bool = False
    syncing: Member | None = None
    synced: int = 0
    copy_s: float = 10.0
    write: Write | None = None
    acked: list[int] = dataclasses.field(
        default_factory=lambda: [0] * BLOCKS)
    version: int = 0
    served: bool = True         # a guest uses it
    stopped: bool = False

    @property
    def in_sync(self) -> list[Member]:
        return [m for m in self.members if m.in_sync]

    @property
    def whole(self) -> bool:
        return len(self.in_sync) >= self.raid_disks
