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
"""The safety laws, checked again on a fresh look just before an act. Pure.

``decide`` follows the laws; ``permits`` does not trust it. It is given the
action and the world as it is at the last moment, and it says which law
forbids the act, or nothing.
"""

from typing import assert_never

from os_brick_healer.engine import limits
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model


def permits(action: model.Action, seen: model.Seen) -> str | None:
    """Which law forbids this action now, in one sentence; None: none."""
    return _general(action, seen) or _special(action, seen)


def _general(action: model.Action, seen: model.Seen) -> str | None:
    if seen.paused is not None:
        return f'healing is paused ({seen.paused})'
    if seen.peers_hold:
        return (f'the volume is also on '
                f'{", ".join(sorted(seen.peers_hold))} (law 5)')
    attachment = seen.attachment
    if attachment is not None and (
            attachment.state is model.AttachState.DISCONNECTING
            or (attachment.state is not model.AttachState.ATTACHED
                and attachment.owner_alive)):
        return f'os-brick is {attachment.state.value} the volume (law 5)'
    if seen.array is None:
        return 'the array is no longer on this host (law 4)'
    uuid = getattr(action, 'array_uuid', None)
    if uuid is not None and seen.array.uuid != uuid:
        return f'array {uuid} is no longer there (law 4)'
    return None


def _special(action: model.Action, seen: model.Seen) -> str | None:
    match action:
        case model.BreakLeg() if action.replica in seen.endangered:
            return (f'its controllers also lead to '
                    f'{seen.endangered[action.replica]} (law 7)')
        case model.BreakLeg():
            return (_alive(action.replica, seen) or _last_leg(
                action.replica, action.survivors, seen))
        case model.CutSilent():
            return _last_leg(action.replica, action.survivors, seen)
        case model.DropFaulty():
            return _drop(action, seen)
        case model.Examine():
            return _named(action.replica, action.device, seen)
        case model.ReAdd() | model.AddSpare():
            return (_named(action.replica, action.device, seen)
                    or _too_small(action.replica.id, seen))
        case model.ConnectReplica():
            return _truth(seen) or _listed(action.replica, seen)
        case model.ConfirmRemoval():
            return _truth(seen) or _successor(action, seen)
        case model.DisconnectPaths():
            return (_truth(seen) or _not_member(action.replica, seen)
                    or _unshared(action.replica, seen)
                    or _known(action.replica, seen))
        case model.RequestReplacement():
            return (_truth(seen) or _listed(action.replica, seen)
                    or _still_lost(action.replica, seen))
        case (model.ReportState() | model.Publish()
              | model.ClearFailfast()):
            return None
        case _:
            assert_never(action)


def _truth(seen: model.Seen) -> str | None:
    if (seen.volume is None or seen.volume_age_s is None
            or seen.provisioner_error is not None):
        return "the provisioner's word is missing (law 6)"
    if seen.volume.nonsense is not None:
        return 'the provisioner contradicts itself (law 6)'
    return None


def _listed(replica: model.ReplicaId, seen: model.Seen) -> str | None:
    assert seen.volume is not None
    for one in seen.volume.replicas:
        if one.id == replica:
            if one.state is model.ReplicaState.TERMINATING:
                return f'replica {replica} is terminating (law 3)'
            return None
    return f'replica {replica} is no longer named (law 2)'


def _named(replica: model.Replica, device: str,
           seen: model.Seen) -> str | None:
    found = _truth(seen) or _listed(replica.id, seen)
    if found is not None:
        return found
    namespace = seen.namespaces.get(replica.id)
    if namespace is None or namespace.device != device:
        return f'{device} is not replica {replica.id} now (law 2)'
    if namespace.holders:
        return (f'{device} is in use by {", ".join(namespace.holders)} '
                f'(law 2)')
    return None


def _too_small(replica: model.ReplicaId, seen: model.Seen) -> str | None:
    namespace = seen.namespaces[replica]
    assert seen.array is not None
    if (namespace.size_bytes is None
            or namespace.size_bytes >= seen.array.component_bytes):
        return None
    return (f'{namespace.device} is smaller than the component of '
            f'{seen.array.name} (law 2)')


def _alive(replica: model.ReplicaId, seen: model.Seen) -> str | None:
    for path in seen.paths.get(replica, ()):
        if path.state is model.PathState.LIVE:
            return f'{path.controller} is live again (law 1)'
    return None


def _last_leg(replica: model.ReplicaId,
              survivors: tuple[model.ReplicaId, ...],
              seen: model.Seen) -> str | None:
    for other in survivors:
        if other == replica or not case_lib.in_sync(seen, other):
            continue
        if any(p.state is model.PathState.LIVE
               for p in seen.paths.get(other, ())):
            return None
    return 'no other in-sync leg is live now (laws 1 and 7)'


def _drop(action: model.DropFaulty, seen: model.Seen) -> str | None:
    assert seen.array is not None
    for member in seen.array.members:
        if member.device == action.device:
            if 'faulty' in member.flags:
                return None
            return f'{action.device} is not faulty (law 1)'
    return f'{action.device} is no longer a member (law 4)'


def _not_member(replica: model.ReplicaId, seen: model.Seen) -> str | None:
    namespace = seen.namespaces.get(replica)
    if namespace is not None and namespace.holders:
        return (f'{namespace.device} is in use by '
                f'{", ".join(namespace.holders)} (law 1)')
    return None


def _unshared(replica: model.ReplicaId, seen: model.Seen) -> str | None:
    if replica in seen.claimed:
        return 'another volume has a replica behind its target (law 4)'
    others = seen.shared.get(replica)
    if not others:
        return None
    return f'its controllers also lead to {", ".join(others)} (law 4)'


def _known(replica: model.ReplicaId, seen: model.Seen) -> str | None:
    if replica in seen.paths or replica in seen.former:
        return None
    return f'what is connected of replica {replica} is not its alone (law 4)'


def _successor(action: model.ConfirmRemoval, seen: model.Seen) -> str | None:
    replica = action.replica
    assert seen.volume is not None
    array = seen.array
    found = _not_member(replica, seen)
    if found is not None or array is None:
        return found
    in_sync = [r.id for r in seen.volume.replicas if r.id != replica
               and case_lib.in_sync(seen, r.id)
               and case_lib.heard(seen.paths.get(r.id, ()))]
    if action.successor in in_sync and len(in_sync) >= limits.COPIES_MIN:
        return None
    if array.degraded or len(in_sync) < array.raid_disks:
        return (f'not every leg of {array.name} is in sync and live '
                '(law 3)')
    return None


def _still_lost(replica: model.ReplicaId, seen: model.Seen) -> str | None:
    member = case_lib.member_of(seen, replica)
    if member is not None and 'faulty' not in member.flags:
        return f'replica {replica} is a member again'
    return None
