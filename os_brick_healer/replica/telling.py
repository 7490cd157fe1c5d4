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
"""What status says about a volume, its legs and their portals. Pure."""

from typing import Any

from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model


def describe(seen: model.Seen | None,
             memory: model.Memory) -> dict[str, Any]:
    """Legs and progress of one volume, as plain values."""
    if seen is None:
        return {'alias': None, 'array': None, 'legs': [], 'sync': None}
    alias = (seen.volume.alias if seen.volume is not None
             else seen.attachment.alias if seen.attachment else None)
    array = seen.array
    return {
        'alias': alias, 'array': None if array is None else array.name,
        'array_uuid': None if array is None else array.uuid,
        'legs': [_leg(seen, memory, r)
                 for r in (seen.volume.replicas if seen.volume else ())],
        'sync': None if array is None or array.sync is None else {
            'action': array.sync.action, 'percent': array.sync.percent,
            'speed_kib_s': array.sync.speed_kib_s,
            'eta_s': array.sync.eta_s}}


def _leg(seen: model.Seen, memory: model.Memory,
         replica: model.Replica) -> dict[str, Any]:
    one = memory.replicas.get(replica.id, model.ReplicaMemory())
    namespace = seen.namespaces.get(replica.id)
    paths = {p.portal: p for p in seen.paths.get(replica.id, ())}
    portals = {*replica.portals, *paths}
    return {
        'replica': replica.id, 'provisioner_state': replica.state.value,
        'device': None if namespace is None else namespace.device,
        'state': _state(seen, replica, one),
        'portals': [{
            'portal': str(p),
            'controller': paths[p].controller if p in paths else None,
            'state': paths[p].state.value if p in paths else None}
            for p in sorted(portals, key=str)],
        'lost_for_s': (None if one.lost_s is None
                       else seen.now_s - one.lost_s),
        'note': one.last_error}


def _state(seen: model.Seen, replica: model.Replica,
           one: model.ReplicaMemory) -> str:
    member = case_lib.member_of(seen, replica.id)
    if member is None:
        return 'new' if not one.belongs else 'lost'
    if 'faulty' in member.flags:
        return 'faulty'
    if not member.in_sync:
        return 'filling'
    paths = seen.paths.get(replica.id, ())
    if paths and not any(p.state is model.PathState.LIVE for p in paths):
        return 'disconnected'
    return 'in_sync'
