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
"""The provisioner's words about a volume as JSON, and back. Pure.

They are kept because a leg can die while the provisioner is out of reach
and the agent has just been started: to know which controllers lead to which
leg is enough to keep the guest's I/O flowing. Kept words are never fresh,
so nothing else is done on them.
"""

from collections.abc import Mapping
from typing import Any

from os_brick_healer.provisioner import base
from os_brick_healer.replica import plain


def dump(volume: base.Volume) -> dict[str, Any]:
    """A volume as plain values."""
    return {
        'alias': volume.alias, 'size_bytes': volume.size_bytes,
        'replica_count': volume.replica_count, 'grace_s': volume.grace_s,
        'hosts': None if volume.hosts is None else sorted(volume.hosts),
        'replicas': [_dump_replica(one) for one in volume.replicas]}


def _dump_replica(replica: base.Replica) -> dict[str, Any]:
    return {
        'id': replica.id, 'nqn': replica.nqn, 'state': replica.state.value,
        'namespace_uuid': replica.namespace_uuid,
        'portals': [[p.address, p.port, p.transport]
                    for p in replica.portals]}


def load(key: str, value: Mapping[str, Any]) -> base.Volume:
    """The volume that :func:`dump` wrote.

    :raises ValueError: it is none.
    """
    try:
        hosts = plain.maybe(value['hosts'], _texts)
        return base.Volume(
            id=base.VolumeId(key), alias=plain.text(value['alias']),
            size_bytes=plain.maybe(value['size_bytes'], plain.count),
            replica_count=plain.count(value['replica_count']),
            replicas=plain.each(value['replicas'], _load_replica),
            hosts=None if hosts is None else frozenset(hosts),
            grace_s=plain.maybe(value['grace_s'], plain.number))
    except (AttributeError, KeyError, TypeError, OverflowError) as e:
        raise ValueError(f'not the words about a volume: {e!r}') from e


def _texts(value: object) -> tuple[str, ...]:
    return plain.each(value, plain.text)


def _load_replica(value: Any) -> base.Replica:
    return base.Replica(
        id=base.ReplicaId(plain.text(value['id'])),
        nqn=plain.maybe(value['nqn'], plain.text),
        namespace_uuid=plain.maybe(value['namespace_uuid'], plain.text),
        portals=plain.each(value['portals'], _load_portal),
        state=base.ReplicaState(value['state']))


def _load_portal(value: Any) -> base.Portal:
    address, port, transport = value
    return base.Portal(address=plain.text(address), port=plain.count(port),
                       transport=plain.text(transport))
