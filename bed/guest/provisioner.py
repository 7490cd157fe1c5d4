# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""What a KumoScale provisioner knows: volumes, replicas, hosts, targets.

The rules are the vendor's, as far as they are known; where they are not,
the stricter guess stands here, so that a client that depends on luck fails
in a test. The HTTP face of it is kumoscale.py.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import enum
import threading
import time
from typing import Any
import uuid

from bed.guest.storage import Backend, Storage

GIB = 1 << 30
MIB = 1 << 20
REPLICAS_MAX = 4
ALIAS_MAX = 27  # cinder's driver cuts the alias of a replicated volume

Json = dict[str, Any]


class Status(enum.StrEnum):
    """The words of the reply envelope."""
    SUCCESS = 'Success'
    ALREADY_PUBLISHED = 'AlreadyPublished'
    VOLUME_NOT_PUBLISHED = 'VolumeNotPublished'
    DEVICE_NOT_FOUND = 'DeviceNotFound'
    NOT_EXISTS = 'NotExists'
    ALREADY_EXISTS = 'AlreadyExists'
    NOT_AVAILABLE = 'NotAvailable'
    PARAMETERS_ERROR = 'ParametersError'


class Refused(Exception):
    """The provisioner says no, in its own words."""

    def __init__(self, status: Status, description: str) -> None:
        super().__init__(f'{status}: {description}')
        self.status = status
        self.description = description


class ReplicaState(enum.StrEnum):
    AVAILABLE = 'Available'
    SYNCHRONIZING = 'Synchronizing'
    MISSING = 'Missing'
    TERMINATING = 'Terminating'
    UNKNOWN = 'Unknown'


class Generation(enum.Enum):
    """How a target is named: the API changed between releases."""
    TARGET_NAME = 'targetName'  # one target per replica, with its back end
    NAME = 'name'  # one target per volume and host, whatever the back end


@dataclasses.dataclass(slots=True, kw_only=True)
class Replica:
    id: str
    backend: Backend
    state: ReplicaState = ReplicaState.AVAILABLE
    state_since_s: float
    visible_at_s: float = 0.0


@dataclasses.dataclass(slots=True, kw_only=True)
class Volume:
    id: str
    alias: str
    size_bytes: int
    max_replica_down_time_min: int
    replicas: list[Replica]
    # by host: the replicas that it has been shown
    hosts: dict[str, set[str]] = dataclasses.field(default_factory=dict)

    @property
    def legs(self) -> list[str]:
        """The ids of the replicas: what the array and the host call them."""
        return [replica.id for replica in self.replicas]


@dataclasses.dataclass(slots=True, kw_only=True)
class Host:
    id: str
    nqn: str
    name: str
    client_type: str
    version: str
    duration_s: int
    probed_at_s: float


class Provisioner:
    """The state and the rules; every method may be called from any thread.

    ``violations`` collects what no sound client ever asks for: a scenario
    claims that it is empty.
    """

    def __init__(self, storage: Storage,
                 generation: Generation = Generation.TARGET_NAME,
                 wall_clock: Callable[[], float] = time.time) -> None:
        self.storage = storage
        self.generation = generation
        self.replica_lag_s = 0.0
        self.next_size_bytes: int | None = None
        self.on_replica: Callable[[str], None] = lambda _replica: None
        self.backend_states: dict[str, str] = {}
        self.violations: list[str] = []
        self._wall_clock = wall_clock
        self._lock = threading.RLock()
        self._volumes: dict[str, Volume] = {}
        self._hosts: dict[str, Host] = {}
        self._tasks: dict[str, Json] = {}
        self.forwarded: list[Json] = []

    # What a scenario and cinder ask for ------------------------------

    def create_volume(self, alias: str, size_mib: int = 64,
                      replicas: int = 2, *, volume_id: str | None = None,
                      max_replica_down_time_min: int = 0) -> Volume:
        with self._lock:
            new = Volume(
                id=volume_id or str(uuid.uuid4()), alias=alias[:ALIAS_MAX],
                size_bytes=size_mib * MIB, replicas=[],
                max_replica_down_time_min=max_replica_down_time_min)
            if new.id in self._volumes:
                raise Refused(Status.ALREADY_EXISTS, f'volume {new.id}')
            for _ in range(replicas):
                self._place(new, new.size_bytes)
            self._volumes[new.id] = new
            return new

    def delete_volume(self, volume_id: str) -> None:
        with self._lock:
            volume = self.volume(volume_id)
            for replica in volume.replicas:
                self.storage.delete(replica.id)
            del self._volumes[volume_id]

    def volume(self, volume_id: str) -> Volume:
        with self._lock:
            try:
                return self._volumes[volume_id]
            except KeyError:
                raise Refused(Status.NOT_EXISTS,
                              f'no volume {volume_id}') from None

    def volumes(self) -> list[Volume]:
        with self._lock:
            return list(self._volumes.values())

    def expand(self, volume_id: str, size_bytes: int) -> None:
        with self._lock:
            volume = self.volume(volume_id)
            if size_bytes < volume.size_bytes:
                raise Refused(Status.PARAMETERS_ERROR, 'cannot shrink')
            for replica in volume.replicas:
                self.storage.resize(replica.id, size_bytes)
            volume.size_bytes = size_bytes

    # Hosts and publication ------------------------------

    def probe(self, host: Host) -> None:
        with self._lock:
            self._hosts[host.id] = host

    def hosts(self) -> list[Host]:
        with self._lock:
            return list(self._hosts.values())

    def forget_host(self, host_id: str) -> None:
        with self._lock:
            if self._hosts.pop(host_id, None) is None:
                raise Refused(Status.NOT_EXISTS, f'no host {host_id}')

    def publish(self, host_id: str, volume_id: str) -> Status:
        """Shows every replica to the host; one that is new needs it again.

        The answer is AlreadyPublished only if nothing had to be done.
        """
        with self._lock:
            volume, host = self.volume(volume_id), self._host(host_id)
            shown = volume.hosts.setdefault(host.id, set())
            fresh = [replica for replica in self._visible(volume)
                     if replica.id not in shown]
            for replica in fresh:
                self.storage.publish(replica.id, host.nqn)
                shown.add(replica.id)
            return Status.SUCCESS if fresh else Status.ALREADY_PUBLISHED

    def unpublish(self, host_id: str | None, volume_id: str) -> None:
        """Hides it from one host, or from all of them."""
        with self._lock:
            volume = self.volume(volume_id)
            named = list(volume.hosts) if host_id is None else [host_id]
            gone = [host for host in named if host in volume.hosts]
            if not gone:
                raise Refused(Status.VOLUME_NOT_PUBLISHED,
                              f'volume {volume_id} is not at {host_id}')
            for host in gone:
                for replica in volume.replicas:
                    self.storage.unpublish(replica.id, self._host(host).nqn)
                del volume.hosts[host]

    # Replicas ------------------------------

    def add_replica(self, volume_id: str,
                    wishes: Mapping[str, Any] | None = None) -> str:
        with self._lock:
            volume = self.volume(volume_id)
            if len(volume.replicas) >= REPLICAS_MAX:
                raise Refused(Status.NOT_AVAILABLE,
                              f'at most {REPLICAS_MAX} replicas')
            if not self._available(volume):
                raise Refused(Status.NOT_AVAILABLE,
                              'no available replica to copy from')
            size = self.next_size_bytes or volume.size_bytes
            self.next_size_bytes = None
            return self._place(volume, size, self.replica_lag_s, wishes)

    def set_state(self, volume_id: str, replica_id: str, state: str) -> None:
        with self._lock:
            replica = self._replica(volume_id, replica_id)
            if state not in list(ReplicaState):
                raise Refused(Status.PARAMETERS_ERROR, f'no state {state}')
            self._enter(replica, ReplicaState(state))

    def mark_for_deletion(self, volume_id: str, replica_id: str) -> None:
        with self._lock:
            replica = self._replica(volume_id, replica_id)
            others = [r for r in self._available(self.volume(volume_id))
                      if r is not replica]
            if not others:
                self.violations.append(
                    f'replica {replica_id} marked for deletion although no '
                    'other replica is available')
            self._enter(replica, ReplicaState.TERMINATING)

    def confirm_deletion(self, volume_id: str, replica_id: str) -> None:
        with self._lock:
            volume = self.volume(volume_id)
            replica = self._replica(volume_id, replica_id)
            if replica.state is not ReplicaState.TERMINATING:
                self.violations.append(
                    f'deletion of replica {replica_id} confirmed although '
                    'it was not marked')
                raise Refused(Status.NOT_AVAILABLE,
                              f'replica {replica_id} is not terminating')
            self.storage.delete(replica.id)
            volume.replicas.remove(replica)
            for shown in volume.hosts.values():
                shown.discard(replica.id)

    # Tasks ------------------------------

    def tasks(self, task_id: str | None = None,
              host_id: str | None = None) -> list[Json]:
        with self._lock:
            return [task for task in self._tasks.values()
                    if task_id in (None, task['taskId'])
                    and host_id in (None, task.get('hostId'))]

    def put_task(self, task: Mapping[str, Any]) -> None:
        with self._lock:
            known = self._tasks.setdefault(str(task['taskId']), {})
            known.update(task)

    def remove_task(self, task_id: str) -> None:
        with self._lock:
            if self._tasks.pop(task_id, None) is None:
                raise Refused(Status.NOT_EXISTS, f'no task {task_id}')

    # The same as JSON ------------------------------

    def volume_json(self, volume: Volume) -> Json:
        visible = self._visible(volume)
        return {
            'uuid': volume.id, 'alias': volume.alias,
            'capacity': capacity(volume.size_bytes),
            'numReplicas': len(visible),
            'maxReplicaDownTime': volume.max_replica_down_time_min,
            'writable': True, 'blockSize': 512, 'snapshotID': None,
            'location': [
                {'uuid': replica.id,
                 'backend': {'persistentID': replica.backend.id},
                 'replicaState': str(replica.state),
                 'currentStateTime': round(
                     (self._wall_clock() - replica.state_since_s) * 1000)}
                for replica in visible]}

    def targets_json(self, host_id: str | None,
                     volume_id: str | None) -> list[Json]:
        """What is published; ``hostId`` and ``volId`` say to whom and what.

        A target whose replica is Missing is still listed.
        """
        with self._lock:
            return [entry for volume in self._volumes.values()
                    if volume_id in (None, volume.id)
                    for host in volume.hosts if host_id in (None, host)
                    for entry in self._targets(volume, host)]

    def _targets(self, volume: Volume, host: str) -> list[Json]:
        common = {'hostId': host, 'volId': volume.id,
                  'hostNqn': self._host(host).nqn}
        shown = [replica for replica in volume.replicas
                 if replica.id in volume.hosts[host]]
        if self.generation is Generation.NAME:
            return [{**common, 'name': self.storage.nqn(volume.legs[0]),
                     'numNamespaces': len(shown)}]
        return [{**common, 'targetName': self.storage.nqn(replica.id),
                 'backend': {'persistentID': replica.backend.id},
                 'numNamespaces': 1}
                for replica in shown]

    def backends_json(self, backend_id: str | None = None) -> list[Json]:
        chosen = [b for b in self.storage.backends
                  if backend_id in (None, b.id)]
        if backend_id is not None and not chosen:
            raise Refused(Status.NOT_EXISTS, f'no back end {backend_id}')
        return [{
            'persistentID': backend.id, 'rack': backend.rack,
            'region': 'region-1', 'zone': 'zone-1',
            'state': self.backend_states.get(backend.id, 'Available'),
            'mgmtIPs': [portal.address for portal in backend.portals],
            'totalCapacity': 1024, 'availableCapacity': 1000,
            'portals': [{'ip': portal.address, 'port': int(portal.port),
                         'transport': portal.transport}
                        for portal in backend.portals]}
            for backend in chosen]

    # Inside ------------------------------

    def _host(self, host_id: str) -> Host:
        try:
            return self._hosts[host_id]
        except KeyError:
            raise Refused(Status.NOT_EXISTS, f'no host {host_id}') from None

    def _replica(self, volume_id: str, replica_id: str) -> Replica:
        for replica in self.volume(volume_id).replicas:
            if replica.id == replica_id:
                return replica
        raise Refused(Status.DEVICE_NOT_FOUND, f'no replica {replica_id}')

    def _visible(self, volume: Volume) -> list[Replica]:
        now = self._wall_clock()
        return [r for r in volume.replicas if r.visible_at_s <= now]

    def _available(self, volume: Volume) -> list[Replica]:
        return [replica for replica in volume.replicas
                if replica.state is ReplicaState.AVAILABLE]

    def _enter(self, replica: Replica, state: ReplicaState) -> None:
        if replica.state is not state:
            replica.state = state
            replica.state_since_s = self._wall_clock()

    def _place(self, volume: Volume, size_bytes: int, lag_s: float = 0.0,
               wishes: Mapping[str, Any] | None = None) -> str:
        backend = self._choose_backend(volume, wishes or {})
        replica = Replica(
            id=str(uuid.uuid4()), backend=backend,
            state_since_s=self._wall_clock(),
            visible_at_s=self._wall_clock() + lag_s)
        self.storage.create(replica.id, size_bytes, backend.id)
        volume.replicas.append(replica)
        self.on_replica(replica.id)
        return replica.id

    def _choose_backend(self, volume: Volume,
                        wishes: Mapping[str, Any]) -> Backend:
        taken = {replica.backend.id for replica in volume.replicas}
        racks: Sequence[str] = wishes.get('racks') or ()
        free = [backend for backend in self.storage.backends
                if backend.id not in taken
                and (not racks or backend.rack in racks)
                and self.backend_states.get(backend.id,
                                            'Available') == 'Available']
        if not free:
            raise Refused(Status.NOT_AVAILABLE, 'no back end has room')
        load = [replica.backend.id for known in self._volumes.values()
                for replica in known.replicas]
        return min(free, key=lambda backend: load.count(backend.id))


def capacity(size_bytes: int) -> float | int:
    """KumoScale and cinder count in GiB; the bed's volumes are fractions."""
    value = size_bytes / GIB
    return int(value) if value.is_integer() else value
