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
"""A volume's legs as a connector knows them. Pure.

os-brick hands dictionaries around (see the class docstring of its
NVMeOFConnProps); the provisioner names replicas. Both become a Leg here.
"""

from collections.abc import Iterable, Mapping
import dataclasses
from typing import Any
import uuid as uuid_lib

from os_brick_healer.provisioner import base

#: (address, port, transport) as os-brick writes them; a port is text there.
Portal = tuple[str, str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One leg.

    :ivar uuid: of the namespace, lower case with hyphens.
    :ivar id: the provisioner's name of the replica, None when it said none.
    :ivar state: the provisioner's word, None when it said nothing.
    """

    nqn: str
    uuid: str | None
    portals: tuple[Portal, ...]
    nguid: str | None = None
    ns_id: str | None = None
    host_nqn: str | None = None
    id: str | None = None
    state: base.ReplicaState | None = None

    @property
    def key(self) -> str:
        """What tells it from every other leg."""
        return self.uuid or self.nguid or self.nqn

    def is_namespace(self, nqn: str | None, uuid: str | None,
                     nguid: str | None, ns_id: str | None,
                     alone: bool) -> bool:
        """Whether a namespace of this host is this leg, as os-brick asks.

        :param alone: it is its controller's only one: a leg of which only
            the subsystem is known can be no other.
        """
        if nqn != self.nqn:
            return False
        if self.uuid is not None:
            return uuid == self.uuid
        if self.nguid is not None:
            return nguid == self.nguid
        return alone if self.ns_id is None else ns_id == self.ns_id


def lower_uuid(text: object) -> str | None:
    """A UUID in the one form that is compared; other text as it is."""
    if text is None or text == '':
        return None
    try:
        return str(uuid_lib.UUID(str(text)))
    except ValueError:
        return str(text)


def is_replicated(props: Mapping[str, Any]) -> bool:
    """Whether os-brick makes an array of it."""
    replicas = props.get('volume_replicas')
    if not isinstance(replicas, (list, tuple)):
        return False
    return (props.get('replica_count') or len(replicas)) > 1


def of_connection(props: Mapping[str, Any]) -> tuple[Leg, ...]:
    """The legs that a connection dictionary names."""
    return tuple(_of_replica(r) for r in props.get('volume_replicas') or ())


def of_record(kept: Mapping[str, Any]) -> tuple[Leg, ...]:
    """As :func:`of_connection`, of one that was written down.

    The file may be damaged: then it names none.
    """
    try:
        return of_connection(kept)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def _of_replica(replica: Mapping[str, Any]) -> Leg:
    ns_id, host_nqn = replica.get('ns_id'), replica.get('host_nqn')
    return Leg(
        nqn=str(replica['target_nqn']),
        uuid=lower_uuid(replica.get('vol_uuid')),
        nguid=lower_uuid(replica.get('volume_nguid')),
        ns_id=None if ns_id is None else str(ns_id),
        host_nqn=None if host_nqn is None else str(host_nqn),
        portals=tuple((str(a), str(p), str(t))
                      for a, p, t in replica['portals']))


def id_of(replica: str) -> str:
    """A replica's id as it is compared."""
    return lower_uuid(replica) or replica


def of_replica(replica: base.Replica) -> Leg | None:
    """A leg as the provisioner names it; None when it is not published."""
    if replica.nqn is None or not replica.portals:
        return None
    return Leg(
        nqn=replica.nqn, uuid=lower_uuid(replica.namespace_uuid),
        portals=tuple((p.address, str(p.port), p.transport)
                      for p in replica.portals),
        id=id_of(replica.id), state=replica.state)


def to_replica(leg: Leg) -> dict[str, Any]:
    """An entry of ``volume_replicas``."""
    entry: dict[str, Any] = {
        'target_nqn': leg.nqn, 'vol_uuid': leg.uuid,
        'portals': [list(p) for p in leg.portals]}
    optional = {'volume_nguid': leg.nguid, 'ns_id': leg.ns_id,
                'host_nqn': leg.host_nqn}
    return entry | {k: v for k, v in optional.items() if v is not None}


def union(*many: Iterable[Leg]) -> tuple[Leg, ...]:
    """Each leg once; of two words about one leg the first counts."""
    found: dict[str, Leg] = {}
    for legs in many:
        for leg in legs:
            found.setdefault(leg.key, leg)
    return tuple(found.values())


#: Keys that may be written down: anything else could be a secret.
_SAFE = ('vol_uuid', 'alias', 'replica_count', 'access_mode', 'device_path',
         'encrypted')


def sanitized(props: Mapping[str, Any],
              legs: tuple[Leg, ...]) -> dict[str, Any]:
    """A connection dictionary that may be stored: known keys, no secrets."""
    safe = {k: props[k] for k in _SAFE
            if isinstance(props.get(k), (str, int, bool))}
    return safe | {'volume_replicas': [to_replica(leg) for leg in legs]}
