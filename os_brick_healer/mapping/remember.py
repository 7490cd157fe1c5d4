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
"""Memories and attachments as JSON, and back. Pure."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from os_brick_healer.mapping import model
from os_brick_healer.mounter import base

#: Abilities of a mounter by its name, None: it is not installed.
AbilitiesOf = Callable[[str], base.Abilities | None]


def dump(memory: model.Memory) -> dict[str, Any]:
    """A memory as plain values."""
    values = {f.name: getattr(memory, f.name)
              for f in dataclasses.fields(memory)}
    values['deaths_s'] = list(memory.deaths_s)
    values['server'] = memory.server and {
        'pid': memory.server.pid, 'start': memory.server.start}
    return values


def load(value: Mapping[str, Any]) -> model.Memory:
    """The memory that :func:`dump` wrote.

    :raises ValueError: it is none; unknown fields are ignored, so that an
        older version can read what a newer one wrote.
    """
    try:
        names = {f.name for f in dataclasses.fields(model.Memory)}
        kept = {k: v for k, v in value.items() if k in names}
        server = kept.get('server')
        kept['server'] = None if server is None else model.Process(
            pid=int(server['pid']), start=str(server['start']))
        kept['deaths_s'] = tuple(
            float(t) for t in kept.get('deaths_s', ()))[-model.DEATHS_MAX:]
        for name in ('server_s', 'next_try_s'):
            kept[name] = float(kept.get(name, 0.0))
        found = kept.get('lost_s')
        kept['lost_s'] = None if found is None else float(found)
        for name in ('tries', 'heals', 'short'):
            kept[name] = int(kept.get(name, 0))
        kept['found'] = kept.get('found') is True
        for name in ('last_error', 'fenced', 'refused'):
            found = kept.get(name)
            kept[name] = None if found is None else str(found)
        # While no agent ran, a connection may have died unheard: what was
        # proven before is proven anew.
        kept['linked_s'] = kept['proven_s'] = None
        return model.Memory(**kept)
    except (AttributeError, KeyError, TypeError) as e:
        raise ValueError(f'not a memory of a mapping: {e!r}') from e


def dump_mapping(mapping: model.Mapping) -> dict[str, Any]:
    """A mapping as the journal's ``connection`` holds it."""
    order = mapping.order
    return {
        'kind': model.KIND, 'mounter': mapping.mounter,
        'source': dict(order.source), 'socket': order.socket,
        'device': order.device, 'reattach_s': order.reattach_s,
        'size_bytes': mapping.size_bytes, 'timer_ms': mapping.timer_ms,
        'timer_before_ms': mapping.timer_before_ms,
        'lacks': mapping.lacks}


def load_mapping(volume: str, value: Mapping[str, Any],
                 abilities: AbilitiesOf) -> model.Mapping:
    """The mapping that :func:`dump_mapping` wrote.

    :raises ValueError: it is none.
    """
    try:
        device = value['device']
        source = {str(k): str(v) for k, v in value['source'].items()}
        mounter = str(value['mounter'])
        return model.Mapping(
            mounter=mounter, abilities=abilities(mounter),
            order=base.Order(
                volume=volume, source=source, socket=str(value['socket']),
                device=None if device is None else str(device),
                reattach_s=int(value['reattach_s'])),
            size_bytes=int(value['size_bytes']),
            timer_ms=int(value['timer_ms']),
            timer_before_ms=int(value['timer_before_ms']),
            lacks=str(value.get('lacks', '')))
    except (AttributeError, KeyError, TypeError) as e:
        raise ValueError(f'not a mapping: {e!r}') from e
