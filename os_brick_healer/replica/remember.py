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
"""Memory as JSON, and back; what cannot be read back is forgotten. Pure."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from os_brick_healer.replica import model


def dump(memory: model.Memory) -> dict[str, Any]:
    """A memory as plain values."""
    return {'array_uuid': memory.array_uuid, 'tries': memory.tries,
            'next_try_s': memory.next_try_s,
            'replicas': {key: _dump_one(one)
                         for key, one in memory.replicas.items()}}


def _dump_one(one: model.ReplicaMemory) -> dict[str, Any]:
    values = {f.name: getattr(one, f.name) for f in dataclasses.fields(one)}
    values['reported'] = one.reported and one.reported.value
    values['superblock'] = one.superblock and one.superblock.value
    values['losses_s'] = list(one.losses_s)
    if one.request is not None:
        request = {f.name: getattr(one.request, f.name)
                   for f in dataclasses.fields(one.request)}
        request['state'] = one.request.state.value
        request['known'] = sorted(one.request.known)
        values['request'] = request
    return values


def load(value: Mapping[str, Any]) -> model.Memory:
    """The memory that :func:`dump` wrote.

    :raises ValueError: it is none; unknown fields are ignored, so that an
        older version can read what a newer one wrote.
    """
    try:
        uuid = value.get('array_uuid')
        return model.Memory(
            array_uuid=None if uuid is None else str(uuid),
            tries=int(value.get('tries', 0)),
            next_try_s=float(value.get('next_try_s', 0.0)),
            replicas={model.ReplicaId(str(key)): _load_one(one)
                      for key, one in value['replicas'].items()})
    except (AttributeError, KeyError, TypeError) as e:
        raise ValueError(f'not a memory of a volume: {e!r}') from e


def _load_one(value: Mapping[str, Any]) -> model.ReplicaMemory:
    names = {f.name for f in dataclasses.fields(model.ReplicaMemory)}
    kept = {k: v for k, v in value.items() if k in names}
    kept['reported'] = (None if kept.get('reported') is None else
                        model.ReplicaState(kept['reported']))
    kept['superblock'] = (None if kept.get('superblock') is None else
                          model.Superblock(kept['superblock']))
    kept['losses_s'] = tuple(float(t) for t in kept.get('losses_s', ()))
    request = kept.get('request')
    if request is not None:
        kept['request'] = model.Request(
            id=str(request['id']), asked_s=float(request['asked_s']),
            tries=int(request['tries']),
            state=model.RequestState(request['state']),
            known=frozenset(map(model.ReplicaId, request['known'])),
            arrived=request.get('arrived'))
    return model.ReplicaMemory(**kept)
