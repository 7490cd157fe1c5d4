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
"""KumoScale's JSON into the types of the provisioner interface. Pure.

What is relied on, from cinder's driver, the vendor's agent and the vendor's
description of its REST API:

* A volume (``GET volumes``) lists its replicas in ``location``: ``uuid``,
  ``backend.persistentID``, ``replicaState``. The NVMe namespace of a replica
  carries the replica's uuid: cinder puts it into ``vol_uuid`` of the leg.
* A target (``GET targets``) is an NVMe subsystem. One generation of the API
  calls it ``targetName`` and has one for each back end (``backend``), the
  other calls it ``name`` and has one for all. Namespaces of many volumes
  are behind one target, so a target in itself does not tell which volumes
  it serves: the query does (``volId=``), or the entry itself where it names
  ``volId``/``volumeId`` or ``namespaces``; likewise for ``hostId``.
* A back end (``GET backends``) has the portals.
* A target whose replica is Missing is still listed, and a Missing replica
  may name no back end at all (``persistentID`` is empty).

One entry that cannot be understood must not blind the host for all other
volumes, which belong to other people: such a volume carries ``nonsense``,
and an entry that does not even tell its name is counted and left out.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses

from os_brick_healer import exception
from os_brick_healer.provisioner import base, reading

#: A size below this is in GiB, at or above it in bytes: creation takes GiB,
#: nothing says what is shown, and neither a volume of less than 1 MiB nor
#: one of more than 1 PiB exists.
GIB_MOST = 1 << 20

_GIB = 1 << 30
_STATES = {state.value: state for state in base.ReplicaState}
_TRANSPORTS = {'tcp': 'tcp', 'rdma': 'rdma', 'rocev2': 'rdma'}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A replica: where it lies and how it is."""

    replica: str
    backend: str | None
    state: base.ReplicaState


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A volume as KumoScale stores it, published or not."""

    id: base.VolumeId
    alias: str
    size_bytes: int | None
    replica_count: int
    grace_s: float | None
    locations: tuple[Location, ...]
    nonsense: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A subsystem.

    :ivar backend: None when it stands for all back ends.
    :ivar host: uuid of the host it is for, None when the entry is silent.
    :ivar serves: uuids of volumes or replicas behind it, None when the
        entry is silent.
    """

    nqn: str
    backend: str | None
    host: str | None
    serves: frozenset[str] | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host that KumoScale knows."""

    uuid: str
    nqn: str | None
    name: str | None


# -- volumes --

def volumes(answer: reading.Cursor) -> dict[base.VolumeId, Stored]:
    """The answer to ``GET volumes`` or ``GET volumes/UUID``."""
    found: dict[base.VolumeId, Stored] = {}
    entries = tuple(_entries(answer))
    for entry in entries:
        name = _named(entry)
        if name is None:
            continue
        stored = _stored(name, entry)
        if name in found:
            stored = dataclasses.replace(
                stored, nonsense='KumoScale lists the volume twice')
        found[name] = stored
    if entries and not found:
        raise answer.wrong('a list of volumes with a uuid each')
    return _unshared(found)


def _entries(answer: reading.Cursor) -> Iterator[reading.Cursor]:
    if isinstance(answer.value, dict):
        # One generation answers with the one object that was asked for.
        return iter((answer,))
    return answer.each()


def _named(entry: reading.Cursor) -> base.VolumeId | None:
    try:
        return base.VolumeId(entry.key('uuid').uuid())
    except exception.ProvisionerNonsense:
        return None


def _stored(name: base.VolumeId, entry: reading.Cursor) -> Stored:
    try:
        return _understood(name, entry)
    except exception.ProvisionerNonsense as error:
        return Stored(id=name, alias='', size_bytes=None, replica_count=0,
                      grace_s=None, locations=(), nonsense=error.sentence)


def _understood(name: base.VolumeId, entry: reading.Cursor) -> Stored:
    locations = tuple(_location(one) for one in entry.key('location').each())
    replicas = [location.replica for location in locations]
    if len(set(replicas)) != len(replicas):
        raise entry.key('location').wrong('a list that names a replica once')
    count = entry.maybe('numReplicas')
    alias = entry.maybe('alias')
    return Stored(
        id=name,
        alias='' if alias is None else alias.text(empty=True),
        size_bytes=_size(entry.maybe('capacity')),
        replica_count=(len(locations) if count is None
                       else count.integer(0, 64)),
        grace_s=_grace(entry.maybe('maxReplicaDownTime')),
        locations=locations)


def _location(entry: reading.Cursor) -> Location:
    backend = entry.maybe('backend')
    state = entry.maybe('replicaState')
    return Location(
        replica=entry.key('uuid').uuid(),
        backend=None if backend is None else _persistent_id(backend),
        state=_state(state))


def _state(word: reading.Cursor | None) -> base.ReplicaState:
    if word is None:
        return base.ReplicaState.UNKNOWN
    return _STATES.get(word.text(empty=True).lower(),
                       base.ReplicaState.UNKNOWN)


def _persistent_id(backend: reading.Cursor) -> str | None:
    found = backend.maybe('persistentID', 'persistentId')
    return None if found is None else found.text(empty=True) or None


def _size(capacity: reading.Cursor | None) -> int | None:
    if capacity is None:
        return None
    found = capacity.number(0.0, float(1 << 62))
    return round(found * _GIB if found < GIB_MOST else found)


def _grace(minutes: reading.Cursor | None) -> float | None:
    if minutes is None:
        return None
    return 60.0 * minutes.integer(0, 10_000_000) or None


def _unshared(found: dict[base.VolumeId, Stored]
              ) -> dict[base.VolumeId, Stored]:
    """A replica that two volumes name would mix up two guests' data."""
    owners: dict[str, base.VolumeId] = {}
    mixed: dict[base.VolumeId, base.VolumeId] = {}
    for volume in found.values():
        for location in volume.locations:
            other = owners.setdefault(location.replica, volume.id)
            if other != volume.id:
                mixed[volume.id] = other
                mixed[other] = volume.id
    for name, other in mixed.items():
        found[name] = dataclasses.replace(
            found[name],
            nonsense=f'KumoScale lists one replica here and in {other}')
    return found


# -- targets, hosts, back ends --

def targets(answer: reading.Cursor) -> tuple[Target, ...]:
    """The answer to ``GET targets``."""
    return tuple(_target(entry) for entry in answer.each())


def _target(entry: reading.Cursor) -> Target:
    nqn = entry.maybe('targetName', 'name')
    if nqn is None:
        raise entry.wrong('a target with an NQN')
    backend = entry.maybe('backend')
    host = entry.maybe('hostId')
    return Target(
        nqn=nqn.nqn(),
        backend=None if backend is None else _persistent_id(backend),
        host=None if host is None else host.text().lower(),
        serves=_serves(entry))


def _serves(entry: reading.Cursor) -> frozenset[str] | None:
    one = entry.maybe('volId', 'volumeId')
    many = entry.maybe('namespaces')
    if one is not None:
        return frozenset((one.text().lower(),))
    if many is None:
        return None
    found = set()
    for namespace in many.each():
        for key in ('volId', 'volumeId', 'repId', 'replicaId', 'uuid'):
            value = namespace.maybe(key)
            if value is not None:
                found.add(value.text().lower())
    return frozenset(found)


def hosts(answer: reading.Cursor) -> dict[str, Host]:
    """The answer to ``GET hosts``, by uuid; an odd entry is left out."""
    found = {}
    for entry in answer.each():
        with contextlib.suppress(exception.ProvisionerNonsense):
            host = _host(entry)
            found[host.uuid] = host
    return found


def _host(entry: reading.Cursor) -> Host:
    nqn, name = entry.maybe('nqn'), entry.maybe('name')
    return Host(
        uuid=entry.key('uuid').text().lower(),
        nqn=None if nqn is None else nqn.text(empty=True),
        name=None if name is None else name.text(empty=True) or None)


def portals(answer: reading.Cursor
            ) -> dict[str, tuple[base.Portal, ...] | str]:
    """The answer to ``GET backends``: portals, or why they are useless."""
    found: dict[str, tuple[base.Portal, ...] | str] = {}
    for entry in answer.each():
        name = _persistent_id(entry)
        if name is None:
            continue
        try:
            found[name] = _portals(entry)
        except exception.ProvisionerNonsense as error:
            found[name] = error.sentence
    return found


def _portals(entry: reading.Cursor) -> tuple[base.Portal, ...]:
    listed = entry.maybe('portals')
    if listed is None:
        return ()
    every = (_portal(one) for one in listed.each())
    # Kept once each: a portal listed twice would be connected twice.
    return tuple(dict.fromkeys(one for one in every if one is not None))


def _portal(entry: reading.Cursor) -> base.Portal | None:
    transport = _TRANSPORTS.get(entry.key('transport').text().lower())
    if transport is None:
        return None  # Fibre Channel and the like: not for os-brick
    return base.Portal(address=entry.key('ip').ip(),
                       port=entry.key('port').integer(1, 65535),
                       transport=transport)


# -- all together --

def version(answer: reading.Cursor) -> str:
    """The version in the answer to ``GET info``."""
    found = answer.maybe('version')
    return 'of unknown version' if found is None else found.text(empty=True)


def volume(stored: Stored, serving: tuple[Target, ...],
           reached: Mapping[str, tuple[base.Portal, ...] | str],
           holders: frozenset[str] | None) -> base.Volume:
    """One published volume.

    :param serving: the targets that serve it to this host.
    :param holders: names of all hosts that hold it, None = not known.
    """
    try:
        replicas = tuple(_replica(stored, location, serving, reached)
                         for location in stored.locations)
        nonsense = stored.nonsense
    except exception.ProvisionerNonsense as error:
        replicas, nonsense = (), error.sentence
    return base.Volume(
        id=stored.id, alias=stored.alias, size_bytes=stored.size_bytes,
        replica_count=stored.replica_count, replicas=replicas,
        hosts=holders, grace_s=stored.grace_s, nonsense=nonsense)


def _replica(stored: Stored, location: Location, serving: tuple[Target, ...],
             reached: Mapping[str, tuple[base.Portal, ...] | str]
             ) -> base.Replica:
    nqn = _nqn(stored, location, serving)
    ways: tuple[base.Portal, ...] | str = ()
    if nqn is not None and location.backend is not None:
        ways = reached.get(location.backend, ())
    if isinstance(ways, str):
        raise exception.ProvisionerNonsense(ways)
    return base.Replica(
        id=base.ReplicaId(location.replica), nqn=nqn,
        # Known even while the replica is not published: it is the same.
        namespace_uuid=location.replica, portals=ways, state=location.state)


def _nqn(stored: Stored, location: Location,
         serving: tuple[Target, ...]) -> str | None:
    names = {target.nqn for target in serving
             if target.backend in (None, location.backend)
             and (target.serves is None
                  or target.serves & {stored.id, location.replica})}
    if len(names) > 1:
        raise exception.ProvisionerNonsense(
            f'cannot tell where replica {location.replica} is: because '
            f'KumoScale names {len(names)} targets for it')
    return names.pop() if names else None
