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
"""KumoScale's API before the books of the simulated provisioner.

The API is the bed's (``bed.guest.kumoscale``): its paths, words and shapes.
Only what it reads and changes is the simulated world's. KumoScale calls a
replica by its namespace's uuid, the books by a name; a request for a new
replica carries no id and does not say which one is lost.
"""

from collections.abc import Iterator
import contextlib
import copy
import dataclasses
import threading
from typing import Any
import urllib.parse

from bed.guest import kumoscale as api
from bed.guest import provisioner as rules
from bed.guest import storage
from os_brick_healer.provisioner import base
from os_brick_healer.tests.simulation import cloud as cloud_lib

US = '0a0a0a0a-0000-4000-8000-000000000001'
THEM = '0b0b0b0b-0000-4000-8000-000000000002'
NQN = 'nqn.host'
_STATES = {state: rules.ReplicaState(state.value.capitalize())
           for state in base.ReplicaState}
_BACK = {word: state for state, word in _STATES.items()}
#: So many states of the books are kept for those who hear old news.
OLD_MAX = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one KumoScale differs from another.

    :ivar told: targets name their volume; their host they all do: where
        they do not, nobody can know of a second one, and that is declared.
    :ivar everybody: the targets of all hosts are told in one answer.
    :ivar wanted: ``numReplicas`` is how many there should be, else how many
        there are.
    :ivar uuid: os-brick finds a uuid for the host.
    """

    generation: rules.Generation
    told: bool = True
    everybody: bool = False
    wanted: bool = False
    uuid: bool = True


DIALECTS = {
    'target-name': Dialect(generation=rules.Generation.TARGET_NAME),
    'everybody': Dialect(generation=rules.Generation.TARGET_NAME,
                         everybody=True, wanted=True),
    'silent': Dialect(generation=rules.Generation.TARGET_NAME, told=False),
    'name': Dialect(generation=rules.Generation.NAME, wanted=True,
                    uuid=False),
}


class _Places:
    """Where the replicas lie; a ``Storage`` as far as that is asked for."""

    def __init__(self, backends: tuple[storage.Backend, ...]) -> None:
        self.backends = backends
        self.nqns: dict[str, str] = {}

    def nqn(self, replica: str) -> str:
        return self.nqns[replica]


class Books(rules.Provisioner):
    """The bed's provisioner, reading and writing the simulated books.

    :ivar meant: by volume: the lost replica that is on the agent's mind.
        The court alone is to know: it is not in the request.
    """

    def __init__(self, cloud: cloud_lib.Cloud, dialect: Dialect,
                 portals: list[tuple[base.Portal, ...]]) -> None:
        self.places = _Places(tuple(
            storage.Backend(
                id=f'backend-{at}', rack=f'rack-{at}', portals=tuple(
                    storage.Portal(address=p.address, port=str(p.port))
                    for p in each)) for at, each in enumerate(portals)))
        super().__init__(
            self.places,        # type: ignore[arg-type]  # as far as asked
            dialect.generation, lambda: cloud.time.now_s)
        self.cloud = cloud
        self.dialect = dialect
        self.meant: dict[str, str] = {}
        self._old: list[tuple[float, dict[str, rules.Volume]]] = []
        self._homes = {p.address: backend for backend in self.places.backends
                       for p in backend.portals}
        for name, uuid, nqn in ((cloud_lib.HERE, US, NQN),
                                (cloud_lib.THERE, THEM, 'nqn.there')):
            self.probe(rules.Host(
                id=uuid, nqn=nqn, name=name, client_type='Agent', version='1',
                duration_s=30, probed_at_s=0.0))

    def turn_to(self, lag_s: float) -> None:
        """Answer from the books as they were so long ago."""
        now_s = self.cloud.time.now_s
        self._old.append((now_s, self._written()))
        del self._old[:-OLD_MAX]
        self._volumes = cloud_lib.then(self._old, now_s - lag_s)

    def _written(self) -> dict[str, rules.Volume]:
        return {v.key: self._volume(v) for v in self.cloud.volumes.values()}

    def _volume(self, volume: cloud_lib.Volume) -> rules.Volume:
        replicas, shown = [], set()
        for one in volume.replicas.values():
            if one.disk.id in self.cloud.weather.omit:
                continue
            self.places.nqns[one.disk.uuid] = one.target.nqn
            replicas.append(rules.Replica(
                id=one.disk.uuid, state=_STATES[one.state],
                backend=self._homes[one.target.portals[0].address],
                state_since_s=0.0))
            if one.published:
                shown.add(one.disk.uuid)
        return rules.Volume(
            id=volume.key, alias=f'vol-{volume.key[-4:]}',
            size_bytes=volume.size_bytes, max_replica_down_time_min=0,
            replicas=replicas, hosts={
                US if host == cloud_lib.HERE else THEM: set(shown)
                for host in sorted(volume.hosts)})

    # What it says -----------

    def volume_json(self, volume: rules.Volume) -> rules.Json:
        told = super().volume_json(volume)
        if self.dialect.wanted and volume.id in self.cloud.volumes:
            told['numReplicas'] = self.cloud.volumes[volume.id].count
        if volume.id in self.cloud.weather.nonsense:
            told['location'] += copy.deepcopy(told['location'][:1])
        return told

    def targets_json(self, host_id: str | None,
                     volume_id: str | None) -> list[rules.Json]:
        found = super().targets_json(host_id, volume_id)
        if self.dialect.told:
            return found
        silent = [{key: value for key, value in entry.items()
                   if key != 'volId'} for entry in found]
        return [entry for at, entry in enumerate(silent)
                if entry not in silent[:at]]

    def _targets(self, volume: rules.Volume, host: str) -> list[rules.Json]:
        if self.dialect.generation is not rules.Generation.NAME:
            return super()._targets(volume, host)
        # A subsystem here is at one back end: it is named for its replicas.
        return [{'name': self.places.nqn(one.id), 'hostId': host,
                 'namespaces': [{'repId': one.id}]}
                for one in volume.replicas if one.id in volume.hosts[host]]

    # What it does -----------

    def publish(self, host_id: str, volume_id: str) -> rules.Status:
        fresh = any(not one.published
                    for one in self._real(volume_id).replicas.values())
        self.cloud.publish(volume_id)
        return (rules.Status.SUCCESS if fresh
                else rules.Status.ALREADY_PUBLISHED)

    def set_state(self, volume_id: str, replica_id: str, state: str) -> None:
        if state not in list(rules.ReplicaState):
            raise rules.Refused(rules.Status.PARAMETERS_ERROR, state)
        self.cloud.report(volume_id, self._named(volume_id, replica_id),
                          _BACK[rules.ReplicaState(state)])

    def add_replica(self, volume_id: str, wishes: Any = None) -> str:
        volume = self._real(volume_id)
        if (len(volume.replicas) >= rules.REPLICAS_MAX
                or not any(one.state is base.ReplicaState.AVAILABLE
                           for one in volume.replicas.values())):
            raise rules.Refused(rules.Status.NOT_AVAILABLE, 'not now')
        lost = self._named(volume_id, self.meant[volume_id])
        # Each one heard is one made, whoever may have meant the same.
        self.cloud.request(volume_id, lost,
                           f'request-{len(volume.requests)}')
        return ''

    @contextlib.contextmanager
    def meaning(self, volume_id: str, replica_id: str) -> Iterator[None]:
        """While the agent asks for another in this one's place.

        It may be told that this is accepted, and nothing has begun.
        """
        self.meant[volume_id] = replica_id
        volume = self.cloud.volumes[volume_id]
        begun = len(volume.requests)
        yield
        if len(volume.requests) == begun:
            with contextlib.suppress(rules.Refused):
                volume.unserved.add(self._named(volume_id, replica_id))

    def mark_for_deletion(self, volume_id: str, replica_id: str) -> None:
        self._replica_of(volume_id, replica_id).state = (
            base.ReplicaState.TERMINATING)

    def confirm_deletion(self, volume_id: str, replica_id: str) -> None:
        found = self._replica_of(volume_id, replica_id)
        if found.state is not base.ReplicaState.TERMINATING:
            raise rules.Refused(rules.Status.NOT_AVAILABLE, 'not terminating')
        self.cloud.confirm(volume_id, found.disk.id)

    def _real(self, volume_id: str) -> cloud_lib.Volume:
        if volume_id not in self.cloud.volumes:
            raise rules.Refused(rules.Status.NOT_EXISTS, volume_id)
        return self.cloud.volumes[volume_id]

    def _named(self, volume_id: str, replica_id: str) -> str:
        return self._replica_of(volume_id, replica_id).disk.id

    def _replica_of(self, volume_id: str,
                    replica_id: str) -> cloud_lib.Replica:
        for one in self._real(volume_id).replicas.values():
            if one.disk.uuid == replica_id:
                return one
        raise rules.Refused(rules.Status.DEVICE_NOT_FOUND, replica_id)


class Api(api.KumoScaleServer):
    """The bed's API without its sockets: requests come over the wire."""

    def __init__(self, books: Books) -> None:
        # Nothing of the base class that listens is ever begun.
        self.provisioner = self.books = books
        self.requests = []
        self._lock = threading.Lock()

    def answer(self, method: str, target: str, body: rules.Json,
               fault: api.Fault = api.Fault.NONE, *,
               lag_s: float = 0.0) -> Any:
        self.books.turn_to(lag_s if method == 'GET' else 0.0)
        self.forget_requests()
        found = super().answer(method, target, body, fault)
        if self.books.cloud.weather.forget and isinstance(found, list):
            return [] if _about(target) in ('volumes', 'targets') else found
        return found

    def _dispatch(self, kind: str, args: list[str], query: Any,
                  body: rules.Json) -> Any:
        if kind == 'targets' and not query and self.books.dialect.everybody:
            return self.books.targets_json(None, None)
        return super()._dispatch(kind, args, query, body)


def _about(target: str) -> str:
    return urllib.parse.urlsplit(target).path.strip('/').split('/')[0]
