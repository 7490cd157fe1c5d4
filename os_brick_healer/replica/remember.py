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
"""Memory as JSON, and back; what cannot be read back is forgotten. Pure.

After a reboot, what is still true of it.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from os_brick_healer.replica import model, plain


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
    values['request'] = one.request and _dump_request(one.request)
    values['late'] = [_dump_request(late) for late in one.late]
    return values


def _dump_request(request: model.Request) -> dict[str, Any]:
    values = {f.name: getattr(request, f.name)
              for f in dataclasses.fields(request)}
    return {**values, 'state': request.state.value,
            'known': sorted(request.known)}


def load(value: Mapping[str, Any]) -> model.Memory:
    """The memory that :func:`dump` wrote.

    :raises ValueError: it is none; unknown fields are ignored, so that an
        older version can read what a newer one wrote.
    """
    try:
        return model.Memory(
            array_uuid=plain.maybe(value.get('array_uuid'), plain.text),
            tries=plain.count(value.get('tries', 0)),
            next_try_s=plain.number(value.get('next_try_s', 0.0)),
            replicas={model.ReplicaId(str(key)): _load_one(one)
                      for key, one in value['replicas'].items()})
    except (AttributeError, KeyError, TypeError, OverflowError) as e:
        raise ValueError(f'not a memory of a volume: {e!r}') from e


def _request(value: Any) -> model.Request:
    arrived = plain.maybe(value.get('arrived'), plain.text)
    return model.Request(
        id=plain.text(value['id']), asked_s=plain.number(value['asked_s']),
        tries=plain.count(value['tries']),
        state=model.RequestState(value['state']),
        known=frozenset(map(model.ReplicaId,
                            plain.each(value['known'], plain.text))),
        arrived=None if arrived is None else model.ReplicaId(arrived),
        failed=plain.flag(value.get('failed', False)))


#: How a field is read, by what it is.
_KINDS: tuple[tuple[object, Callable[[Any], Any]], ...] = (
    (float, plain.number), (int, plain.count), (bool, plain.flag),
    (float | None, lambda v: plain.maybe(v, plain.number)),
    (str | None, lambda v: plain.maybe(v, plain.text)),
    (tuple[float, ...], lambda v: plain.each(v, plain.number)),
    (model.ReplicaState | None,
     lambda v: plain.maybe(v, model.ReplicaState)),
    (model.Superblock | None, lambda v: plain.maybe(v, model.Superblock)),
    (model.Request | None, lambda v: plain.maybe(v, _request)),
    (tuple[model.Request, ...], lambda v: plain.each(v, _request)))


def _load_one(value: Mapping[str, Any]) -> model.ReplicaMemory:
    return model.ReplicaMemory(**{
        f.name: next(read for kind, read in _KINDS if kind == f.type)(
            value[f.name])
        for f in dataclasses.fields(model.ReplicaMemory) if f.name in value})


def rebase(memory: model.Memory, now_s: float) -> model.Memory:
    """A memory from before a reboot: its clock readings mean nothing now.

    What was lost counts as lost from now on: the grace starts anew.
    """
    return dataclasses.replace(memory, tries=0, next_try_s=0.0, replicas={
        key: dataclasses.replace(
            one,
            unnamed_s=None if one.unnamed_s is None else now_s,
            report_next_s=0.0, flow_tries=0, flow_next_s=0.0,
            cut_next_s=0.0,
            lost_s=None if one.lost_s is None else now_s,
            unreachable_s=None if one.unreachable_s is None else now_s,
            in_sync_s=None, losses_s=(), tries=0, next_try_s=0.0,
            superblock=None, published=False, publish_next_s=0.0,
            let_go=False,
            request=(None if one.request is None else
                     dataclasses.replace(one.request, asked_s=now_s)),
            late=tuple(dataclasses.replace(x, asked_s=now_s)
                       for x in one.late))
        for key, one in memory.replicas.items()})
