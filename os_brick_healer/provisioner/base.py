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
"""What a provisioner is: the owner of a volume's replicas.

A vendor writes one class, names it in the entry point namespace
``os_brick_healer.provisioners`` and runs
``os_brick_healer.testing.conformance`` over it.
"""

import abc
from collections.abc import Mapping
import dataclasses
import enum
from typing import ClassVar, NewType, TYPE_CHECKING

if TYPE_CHECKING:  # at run time the replica wing's pure rooms import this
    from oslo_config import cfg

VolumeId = NewType('VolumeId', str)
ReplicaId = NewType('ReplicaId', str)


class ReplicaState(enum.Enum):
    """A replica's state, in the provisioner's eyes."""

    AVAILABLE = 'available'
    SYNCHRONIZING = 'synchronizing'
    MISSING = 'missing'
    TERMINATING = 'terminating'
    UNKNOWN = 'unknown'


#: A leg in one of these states is never a source of data.
BAD_STATES = frozenset((ReplicaState.MISSING, ReplicaState.TERMINATING))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    """Where a replica's subsystem listens."""

    address: str
    port: int
    transport: str = 'tcp'

    def __str__(self) -> str:
        return f'{self.transport}://{self.address}:{self.port}'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One copy of a volume, as the provisioner names it.

    :ivar namespace_uuid: the NVMe namespace's uuid, lower case with
        hyphens; None when the provisioner does not publish it to this host.
    :ivar portals: empty while the replica is not published to this host.
    """

    id: ReplicaId
    nqn: str | None
    namespace_uuid: str | None
    portals: tuple[Portal, ...]
    state: ReplicaState


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A replicated volume that this host has attached.

    :ivar replica_count: how many replicas the volume should have.
    :ivar hosts: names of all hosts it is published to; None = not known.
    :ivar grace_s: the volume's own grace before a replacement is asked
        for, None when the operator's setting holds.
    :ivar nonsense: why this one entry cannot be trusted, else None; the
        other volumes of the same answer stay usable.
    """

    id: VolumeId
    alias: str
    size_bytes: int | None
    replica_count: int
    replicas: tuple[Replica, ...]
    hosts: frozenset[str] | None
    grace_s: float | None = None
    nonsense: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HostIdentity:
    """Who this host is, as os-brick's connector properties tell."""

    name: str
    nqn: str
    uuid: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Guarantees:
    """What a provisioner declares; the conformance suite holds it to them.

    :ivar batch: volumes() costs a number of requests that does not grow
        with the number of volumes.
    :ivar knows_hosts: Volume.hosts is never None.
    :ivar idempotent_replacement: asking again with the same request id
        never yields a second replica, even when the first answer was lost.
    """

    batch: bool
    knows_hosts: bool
    idempotent_replacement: bool


class Provisioner(abc.ABC):
    """Access to one provisioner. Thread-safe; every call has a deadline.

    Every method raises ProvisionerError (or a subclass), nothing else, for
    whatever goes wrong outside this process, and is safe to call again.
    """

    guarantees: ClassVar[Guarantees]

    def __init__(self, conf: 'cfg.ConfigOpts', host: HostIdentity) -> None:
        self.conf = conf
        self.host = host

    @abc.abstractmethod
    def probe(self) -> str:
        """Register this host (or renew it) and check access.

        :returns: one sentence about the provisioner (name, version,
            address) for the operator; never a secret.
        """

    @abc.abstractmethod
    def volumes(self) -> Mapping[VolumeId, Volume]:
        """All volumes published to this host, fresh, in one batch.

        A volume that cannot be understood comes back with ``nonsense``
        set; an answer that cannot be understood as a whole raises
        ProvisionerNonsense.
        """

    @abc.abstractmethod
    def report(self, volume: VolumeId, replica: ReplicaId,
               state: ReplicaState) -> None:
        """Tell how this host sees a replica. Idempotent.

        MISSING must lead to volumes() calling it MISSING (so that no other
        host reads stale data from it) until AVAILABLE is reported.

        :raises ProvisionerRefused: there is no such volume, or it has no
            such replica. Silence would be taken for a report that counts.
        """

    @abc.abstractmethod
    def request_replacement(self, volume: VolumeId, replica: ReplicaId,
                            request_id: str) -> None:
        """Ask for a new replica in place of a lost one.

        The lost one stays listed (state MISSING or TERMINATING) until
        confirm_removal. The new one appears in volumes() sooner or later.

        :param request_id: the same for each try of one request.
        :raises ProvisionerRefused: there is no such volume, or it has no
            such replica.
        :raises ProvisionerUnreachable, ProvisionerNonsense: it may have been
            heard all the same. ProvisionerUnasked, or another error: it has
            not.
        """

    @abc.abstractmethod
    def publish(self, volume: VolumeId) -> None:
        """Make every replica of the volume reachable from this host.

        :raises ProvisionerRefused: there is no such volume.
        """

    @abc.abstractmethod
    def confirm_removal(self, volume: VolumeId, replica: ReplicaId) -> None:
        """The lost replica is no longer needed: its successor is in sync.

        A replica or volume that is already gone is a success.
        """

    def close(self) -> None:
        """Give back connections. The default holds none."""
        return
