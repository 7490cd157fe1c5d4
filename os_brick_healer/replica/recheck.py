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
"""What must still be true when an action is done. Each raises Refused."""

from collections.abc import Mapping
import dataclasses

from os_brick_healer import exception
from os_brick_healer.engine import verdict
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model


class Refused(exception.HealerError):
    """The world is no longer what the action was decided for."""


def answered(path: model.Path,
             answers: Mapping[model.Portal, bool]) -> model.Path:
    """A path with a fresh probe's word; without one, with no word at all.

    What an older probe said proves nothing about this moment.
    """
    answer = answers.get(path.portal)
    return dataclasses.replace(path, portal_answers=answer)


def now(seen: model.Seen,
        replica: model.ReplicaId) -> tuple[model.Path, ...]:
    """The paths of a replica at this look."""
    return seen.paths.get(replica, ())


def leg(seen: model.Seen, replica: model.Replica) -> case_lib.Leg:
    """A replica joined with what this look has of it."""
    return case_lib.Leg(
        replica=replica, member=case_lib.member_of(seen, replica.id),
        namespace=seen.namespaces.get(replica.id),
        paths=now(seen, replica.id), memory=model.ReplicaMemory(),
        portal_answers=None)


def need_survivor(action: model.BreakLeg | model.CutSilent,
                  seen: model.Seen, lost_for_s: float) -> None:
    """Law 1 and 7: an in-sync leg that is proven live at this moment."""
    replicas = () if seen.volume is None else seen.volume.replicas
    for replica in replicas:
        if replica.id in action.survivors and replica.id != action.replica:
            found = leg(seen, replica)
            if found.in_sync and found.proves_live(lost_for_s):
                return
    raise Refused(f'cannot {action.sentence()}: no other in-sync leg is '
                  'proven live')


def relied_on(seen: model.Seen,
              replica: model.ReplicaId) -> frozenset[model.Portal]:
    """Portals of other volumes, which count on them instead of this leg."""
    return frozenset(portal for portals in seen.relied_on.get(replica, ())
                     for portal in portals)


def need_others(action: model.BreakLeg, seen: model.Seen) -> None:
    """Law 7, for the other volumes behind a shared controller.

    A portal that cannot be probed is as live as the kernel calls it.
    """
    for portals in seen.relied_on.get(action.replica, ()):
        if not any(seen.answers.get(portal, portal.transport != 'tcp')
                   for portal in portals):
            raise Refused(
                f'cannot {action.sentence()}: another volume has a leg '
                'behind the same controller, and its others do not answer')


def same_array(name: str, uuid: str, seen: model.Seen) -> model.Array:
    """The array that the action was decided for, under its present name."""
    array = seen.array
    if array is None or array.uuid != uuid:
        raise Refused(f'cannot touch {name}: the array {uuid} is gone')
    return array


def free_slot(name: str, uuid: str, seen: model.Seen) -> model.Array:
    """The same array, with a slot that wants a leg.

    MD refuses a re-add to a whole array in the very words with which it
    refuses a leg that is too old; and a spare in it would lie idle.
    """
    array = same_array(name, uuid, seen)
    if array.degraded == 0:
        raise Refused(f'cannot add to {array.name}: no leg is missing')
    return array


def named(seen: model.Seen, replica: model.ReplicaId) -> model.Replica:
    """A replica as the provisioner names it now; law 2."""
    if seen.volume is None or seen.volume.nonsense is not None:
        raise Refused(f'cannot use replica {replica}: the provisioner does '
                      'not name its volume')
    for found in seen.volume.replicas:
        if found.id == replica:
            return found
    raise Refused(f'cannot use replica {replica}: the provisioner does not '
                  'name it any more')


def refuse_states(seen: model.Seen, replica: model.Replica,
                  bad: frozenset[model.ReplicaState]) -> None:
    state = named(seen, replica.id).state
    if state in bad:
        raise Refused(f'cannot use replica {replica.id}: the provisioner '
                      f'calls it {state.value}')


def identity(seen: model.Seen, replica: model.Replica,
             device: str) -> tuple[str, str]:
    """NQN and uuid that prove a device to be this replica; law 2."""
    found = named(seen, replica.id)
    if found.nqn is None or found.namespace_uuid is None:
        raise Refused(f'cannot use {device}: the provisioner does not say '
                      f'which namespace replica {replica.id} is')
    if (found.nqn, found.namespace_uuid) != (replica.nqn,
                                               replica.namespace_uuid):
        raise Refused(f'cannot use {device}: the provisioner names another '
                      f'namespace for replica {replica.id} now')
    namespace = seen.namespaces.get(replica.id)
    if namespace is None or namespace.device != device:
        raise Refused(f'cannot use {device}: it is not replica {replica.id} '
                      'any more')
    return found.nqn, found.namespace_uuid


def refuse_live(path: model.Path) -> None:
    """Deleting a live controller in silence takes 30 s (measured)."""
    if path.state is model.PathState.LIVE:
        raise Refused(f'cannot delete {path.controller}: it is live')


def foreign(what: str) -> verdict.Outcome:
    return verdict.Outcome(changed=False,
                   detail=f'{model.Superblock.FOREIGN.value}: {what}')


def same_uuid(one: str, other: str) -> bool:
    """sysfs writes hyphens and mdadm colons, over the same digits."""
    return _plain(one) == _plain(other)


def _plain(uuid: str) -> str:
    return uuid.replace(':', '').replace('-', '').lower()
