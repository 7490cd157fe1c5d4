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
"""The facts about one replicated volume, and what may be done to it. Pure.

A *leg* is a member of an MD RAID1 array: one NVMe-oF namespace. A leg is
reached over one *path* per controller. Every fact can be unknown: None.
"""

from collections.abc import Mapping
import dataclasses
import enum

from os_brick_healer.engine import verdict
from os_brick_healer.provisioner import base

Portal = base.Portal
Replica = base.Replica
ReplicaId = base.ReplicaId
ReplicaState = base.ReplicaState
Volume = base.Volume
VolumeId = base.VolumeId


class PathState(enum.Enum):
    """A controller's state as ``/sys/class/nvme/nvmeN/state`` says it."""

    NEW = 'new'
    LIVE = 'live'
    RESETTING = 'resetting'
    CONNECTING = 'connecting'
    DELETING = 'deleting'
    DEAD = 'dead'
    UNKNOWN = 'unknown'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """One controller: one connection to one portal of a subsystem.

    :ivar state_for_s: how long we have seen this state, at least.
    :ivar portal_answers: what our own probe of the portal says: True (a
        fresh answer), False (silent or refused), None (not probed, or the
        transport cannot be probed).
    :ivar silent_for_s: how long the portal has not answered our probes,
        0.0 when it answers, None when it has not been probed.
    :ivar keep_alive_s: the controller's keep-alive time (kato), seconds.
    """

    controller: str
    nqn: str
    portal: Portal
    host_nqn: str | None
    state: PathState
    state_for_s: float
    portal_answers: bool | None = None
    silent_for_s: float | None = None
    keep_alive_s: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A block device that a subsystem presents to this host.

    :ivar device: kernel name of the block device, ``nvme0n1``.
    :ivar size_bytes: None when the kernel does not tell.
    :ivar holders: kernel names of what holds it (``md127``), exact.
    :ivar paths: every controller that leads to it.
    """

    device: str
    nqn: str
    uuid: str | None
    size_bytes: int | None
    holders: tuple[str, ...]
    paths: tuple[Path, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An entry ``md/dev-X`` of an array.

    :ivar device: kernel name (``nvme0n1``); the block device behind it may
        be gone already.
    :ivar flags: the words of ``md/dev-X/state`` (in_sync, faulty, spare,
        blocked, write_error, want_replacement, failfast, writemostly...).
    :ivar slot: RAID slot, None when it has none.
    """

    device: str
    flags: frozenset[str]
    slot: int | None
    recovery_start: str | None = None

    @property
    def in_sync(self) -> bool:
        """MD reads from it: it holds every acknowledged write."""
        return 'in_sync' in self.flags and 'faulty' not in self.flags


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """A recovery or resync under way.

    :ivar done_sectors: sectors of 512 bytes, None when not yet known.
    :ivar speed_kib_s: KiB per second, None when not yet known.
    """

    action: str
    done_sectors: int | None
    total_sectors: int | None
    speed_kib_s: int | None

    @property
    def percent(self) -> float | None:
        """How much is done, 0 to 100, or None."""
        if self.done_sectors is None or not self.total_sectors:
            return None
        return 100.0 * self.done_sectors / self.total_sectors

    @property
    def eta_s(self) -> float | None:
        """Seconds to the end at the current speed, or None."""
        if (self.done_sectors is None or not self.total_sectors
                or not self.speed_kib_s):
            return None
        left = self.total_sectors - self.done_sectors
        return left / 2 / self.speed_kib_s


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """An MD array as sysfs shows it.

    :ivar name: kernel name now (``md127``); never an identity.
    :ivar uuid: the array's identity, lower-case hex with hyphens (8-4-...),
        as ``/sys/block/mdX/md/uuid`` prints it.
    :ivar component_bytes: how much of each leg the array uses.
    :ivar frozen: MD is told to copy nothing, also to a new leg.
    :ivar stuck_s: how long requests have been waiting without a single one
        completing, 0.0 when I/O flows or nothing waits.
    """

    name: str
    uuid: str
    level: str
    state: str
    raid_disks: int
    degraded: int
    component_bytes: int
    size_bytes: int
    members: tuple[Member, ...]
    sync: Sync | None
    stuck_s: float = 0.0
    frozen: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What is still connected of a replica that is not named any more.

    :ivar paths: its controllers; they lead to nothing but it.
    :ivar device: its block device, which nothing holds; None: there is none.
    """

    paths: tuple[Path, ...]
    device: str | None


class AttachState(enum.Enum):
    """Where nova (through the connector) is with a volume."""

    CONNECTING = 'connecting'
    ATTACHED = 'attached'
    EXTENDING = 'extending'
    DISCONNECTING = 'disconnecting'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """What the connector mixin wrote down.

    :ivar owner_alive: whether the process that wrote it still runs.
    """

    volume: VolumeId
    alias: str
    state: AttachState
    owner_alive: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that is known about one volume at one moment.

    :ivar now_s: the clock (CLOCK_BOOTTIME), seconds.
    :ivar volume: the provisioner's words, None when it does not name it.
    :ivar volume_age_s: how old these words are; None: never heard.
    :ivar provisioner_error: why the last question failed, None if it did
        not.
    :ivar array: our array (by UUID or by its legs' identity), or None.
    :ivar namespaces: by replica id: what this host has of each replica.
    :ivar paths: by replica id: every controller to its subsystem, also
        when no namespace (block device) is behind it.
    :ivar peers_hold: names of other hosts that have the volume; None when
        the provisioner cannot tell.
    :ivar foreign: block devices of this array that no replica explains.
    :ivar answers: what our probes of the replicas' portals say; a portal
        that is not in it has not been probed (or cannot be).
    :ivar shared: by replica: other block devices behind its controllers.
    :ivar former: by replica: what is connected of replicas that are not
        named any more.
    :ivar claimed: replicas behind whose target another volume of this host
        has one, too, shown or not.
    :ivar endangered: by replica: who would be hurt if its controllers were
        deleted, in words; a replica that is not in it endangers nobody.
    :ivar relied_on: by replica: over which portals each volume that is
        behind its controllers, too, goes on without them. For the hands:
        a look of the loop's leaves it empty.
    :ivar spare: by replica: what is behind its controllers, too, and is a
        replica of another volume that is out of its array: by kernel name,
        their uuids. For the hands.
    :ivar paused: why healing is paused, None when it is not.
    """

    key: VolumeId
    now_s: float
    volume: Volume | None
    volume_age_s: float | None
    provisioner_error: str | None
    attachment: Attachment | None
    array: Array | None
    namespaces: Mapping[ReplicaId, Namespace]
    paths: Mapping[ReplicaId, tuple[Path, ...]]
    peers_hold: frozenset[str] | None
    foreign: tuple[str, ...] = ()
    answers: Mapping[Portal, bool] = dataclasses.field(default_factory=dict)
    shared: Mapping[ReplicaId, tuple[str, ...]] = dataclasses.field(
        default_factory=dict)
    former: Mapping[ReplicaId, Former] = dataclasses.field(
        default_factory=dict)
    claimed: frozenset[ReplicaId] = frozenset()
    endangered: Mapping[ReplicaId, str] = dataclasses.field(
        default_factory=dict)
    relied_on: Mapping[ReplicaId, tuple[frozenset[Portal], ...]] = (
        dataclasses.field(default_factory=dict))
    spare: Mapping[ReplicaId, Mapping[str, str]] = dataclasses.field(
        default_factory=dict)
    paused: str | None = None


# What is remembered ----------

class Superblock(enum.Enum):
    """What MD superblock a device carries."""

    OURS = 'ours'          # of this volume's array
    BLANK = 'blank'        # none, and no other signature either
    FOREIGN = 'foreign'    # another array's, or another kind of data


class RequestState(enum.Enum):
    """Where a request for a replacement stands."""

    ASKED = 'asked'           # written down, the answer is not known
    ACCEPTED = 'accepted'     # the provisioner said yes
    ARRIVED = 'arrived'       # the new replica is named


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A replacement asked for one lost replica.

    :ivar known: replicas that were named when it was asked: a name not
        among them is the new one.
    :ivar failed: its last try has clearly come to nothing. Else it may
        have been heard: an agent that died meanwhile does not know.
    """

    id: str
    asked_s: float
    tries: int
    state: RequestState
    known: frozenset[ReplicaId]
    arrived: ReplicaId | None = None
    failed: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaMemory:
    """What is remembered of one replica; times are CLOCK_BOOTTIME seconds.

    :ivar lost_s: since when it has been out of the array, None if it is in.
    :ivar unreachable_s: since when no path to it has been live.
    :ivar in_sync_s: since when it has been in sync, None if it is not.
    :ivar reported: what the provisioner was last told.
    :ivar report_next_s: the same is not told again before this time.
    :ivar losses_s: times of its recent losses, oldest first, bounded.
    :ivar tries: failed tries of the next action in a row.
    :ivar next_try_s: no action on it before this time.
    :ivar last_error: of the last failed action, for status.
    :ivar late: requests that were not answered until its leg was in sync
        again: what still comes of them is superfluous. Oldest first, bounded.
    :ivar belongs: it was named when the volume was first seen, or has been
        a member: data was written to it. False: a new replica.
    :ivar superblock: what the device was seen to carry; None: not looked
        at since it was last connected.
    :ivar readd_refused: MD cannot catch up by the bitmap: copy it all.
    :ivar published: we have asked for it to be published to this host, and
    :ivar publish_next_s: do not ask again before this time.
    :ivar let_go: its controllers were disconnected for good.
    :ivar flow_tries: failed tries in a row to keep I/O flowing past it.
    :ivar flow_next_s: not tried again before this time. Apart from
        ``next_try_s``: what fails for another reason must not keep a dead
        leg from being given up.
    :ivar cut_next_s: its connections are not cut again before this time:
        they were for its silence, and the kernel is tearing them down.
    :ivar unnamed_s: since when the provisioner has not named it.
    :ivar nqn: of its subsystem, and
    :ivar namespace_uuid: of its namespace, when it was last named: once it
        is not any more, only this tells whose a connection is.
    """

    lost_s: float | None = None
    unreachable_s: float | None = None
    in_sync_s: float | None = None
    reported: ReplicaState | None = None
    report_next_s: float = 0.0
    losses_s: tuple[float, ...] = ()
    tries: int = 0
    next_try_s: float = 0.0
    last_error: str | None = None
    request: Request | None = None
    late: tuple[Request, ...] = ()
    belongs: bool = False
    superblock: Superblock | None = None
    readd_refused: bool = False
    published: bool = False
    publish_next_s: float = 0.0
    let_go: bool = False
    flow_tries: int = 0
    flow_next_s: float = 0.0
    cut_next_s: float = 0.0
    unnamed_s: float | None = None
    nqn: str | None = None
    namespace_uuid: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of one volume.

    :ivar array_uuid: the array that was found to be this volume's, for
        good: an array with another UUID is never touched for it.
    :ivar replicas: by replica id.
    :ivar tries: failed tries in a row of what concerns no known replica.
    :ivar next_try_s: no such action before this time.
    :ivar frozen_s: since when the array has been frozen, as far as this agent
        has seen; None: it is not.
    """

    array_uuid: str | None = None
    replicas: Mapping[ReplicaId, ReplicaMemory] = dataclasses.field(
        default_factory=dict)
    tries: int = 0
    next_try_s: float = 0.0
    frozen_s: float | None = None


# What may be done ----------

class Lane(enum.Enum):
    """What an action can wait for: one lane never blocks another.

    A slow provisioner must not keep a dead leg from being given up.
    """

    FLOW = 'flow'           # the guest's I/O
    KERNEL = 'kernel'       # mdadm and nvme commands
    NETWORK = 'network'     # the provisioner


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Act:
    volume: VolumeId
    law: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReportState(_Act):
    """Tell the provisioner how this host sees a replica."""

    replica: ReplicaId
    state: ReplicaState
    risk = verdict.Risk.TELL
    lane = Lane.NETWORK

    def sentence(self) -> str:
        return f'report replica {self.replica} as {self.state.value}'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Publish(_Act):
    """Ask the provisioner to make a replica reachable from this host."""

    replica: ReplicaId
    risk = verdict.Risk.TELL
    lane = Lane.NETWORK

    def sentence(self) -> str:
        return f'publish replica {self.replica} to this host'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClearFailfast(_Act):
    """Clear MD's failfast flag on a leg, so that it queues, not errors."""

    array: str
    array_uuid: str
    replica: ReplicaId
    device: str
    risk = verdict.Risk.TUNE
    lane = Lane.KERNEL

    def sentence(self) -> str:
        return (f'clear the failfast flag of leg {self.device} in '
                f'{self.array}')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CutSilent(_Act):
    """Destroy the sockets to a silent portal, so that the kernel notices.

    Linux 6.1 would wait for the keep-alive to run out, up to twice its
    time. ``reset_controller`` must not be used instead: on a silent
    controller it waits a minute for the target's word (measured).

    :ivar survivors: see :class:`BreakLeg`.
    """

    replica: ReplicaId
    paths: tuple[Path, ...]
    survivors: tuple[ReplicaId, ...]
    array: str
    array_uuid: str
    risk = verdict.Risk.BREAK
    lane = Lane.FLOW

    def sentence(self) -> str:
        where = ', '.join(str(p.portal) for p in self.paths)
        return f'cut the connection to {where}: it is silent'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BreakLeg(_Act):
    """Delete a dead leg's controllers: MD drops it and the writes go on.

    :ivar survivors: in-sync replicas of which one must be proven live
        again just before the deletion.
    """

    replica: ReplicaId
    device: str
    paths: tuple[Path, ...]
    survivors: tuple[ReplicaId, ...]
    array: str
    array_uuid: str
    risk = verdict.Risk.BREAK
    lane = Lane.FLOW

    def sentence(self) -> str:
        names = ', '.join(p.controller for p in self.paths)
        return (f'give up leg {self.device} of {self.array} (delete '
                f'{names}) so that I/O goes on')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DropFaulty(_Act):
    """Take a leg that MD has failed out of the array."""

    array: str
    array_uuid: str
    replica: ReplicaId | None
    device: str
    risk = verdict.Risk.ADD
    lane = Lane.KERNEL

    def sentence(self) -> str:
        return f'remove the faulty leg {self.device} from {self.array}'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConnectReplica(_Act):
    """Connect a replica's portals that have no controller yet."""

    replica: ReplicaId
    nqn: str
    portals: tuple[Portal, ...]
    risk = verdict.Risk.CONNECT
    lane = Lane.KERNEL

    def sentence(self) -> str:
        where = ', '.join(map(str, self.portals))
        return f'connect replica {self.replica} at {where}'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Examine(_Act):
    """Read what a connected replica carries; Outcome.detail says it.

    The detail is a value of :class:`Superblock`, with ``foreign`` followed
    by a colon and what was found.
    """

    replica: Replica
    device: str
    array_uuid: str
    risk = verdict.Risk.CONNECT
    lane = Lane.KERNEL

    def sentence(self) -> str:
        return f'look at what {self.device} carries'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReAdd(_Act):
    """Put the same leg back: the bitmap says what it missed."""

    array: str
    array_uuid: str
    replica: Replica
    device: str
    component_bytes: int
    risk = verdict.Risk.ADD
    lane = Lane.KERNEL

    def sentence(self) -> str:
        return f're-add leg {self.device} to {self.array} by its bitmap'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AddSpare(_Act):
    """Add a replica; MD copies everything to it.

    :ivar former: it carries this array's own superblock but its bitmap is
        too old: it is written anew. False: the device must be blank.
    """

    array: str
    array_uuid: str
    replica: Replica
    device: str
    component_bytes: int
    former: bool = False
    risk = verdict.Risk.ADD
    lane = Lane.KERNEL

    def sentence(self) -> str:
        return (f'add new leg {self.device} to {self.array} for a full '
                f'copy')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RequestReplacement(_Act):
    """Ask the provisioner for a new replica."""

    replica: ReplicaId
    request_id: str
    known: frozenset[ReplicaId]
    risk = verdict.Risk.REPLACE
    lane = Lane.NETWORK

    def sentence(self) -> str:
        return f'ask for a replacement of replica {self.replica}'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmRemoval(_Act):
    """Let the provisioner delete a replica whose successor is in sync.

    :ivar successor: the replica that came in its place, or any other that is
        in sync if that has been lost and the old one is being taken away;
        None: not known, every slot of the array must be in sync.
    """

    replica: ReplicaId
    array: str
    array_uuid: str
    successor: ReplicaId | None = None
    risk = verdict.Risk.REMOVE
    lane = Lane.NETWORK

    def sentence(self) -> str:
        return f'confirm the removal of replica {self.replica}'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectPaths(_Act):
    """Delete controllers of a replica that is no longer in any array."""

    replica: ReplicaId
    paths: tuple[Path, ...]
    risk = verdict.Risk.REMOVE
    lane = Lane.KERNEL

    def sentence(self) -> str:
        names = ', '.join(p.controller for p in self.paths)
        return f'disconnect {names} of replica {self.replica}'


Action = (ReportState | Publish | ClearFailfast | CutSilent | BreakLeg
          | DropFaulty | ConnectReplica | Examine | ReAdd | AddSpare
          | RequestReplacement | ConfirmRemoval | DisconnectPaths)

Verdict = verdict.Verdict[Action, Memory]
