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
"""Bringing a degraded volume back to full redundancy. Pure.

Small healers in order; the first that has something to say decides. The
order is the safety argument: facts are told before anything is asked for,
the same leg is preferred to a new one, and what is old goes only when all
that is new is in sync.
"""

from collections.abc import Callable
import math

from os_brick_healer.engine import limits, pacing, verdict
from os_brick_healer.replica import asking, model, reporting, saying
from os_brick_healer.replica import case as case_lib

Phase = verdict.Phase


# Clearing the way ----------

def drop_faulty(case: case_lib.Case) -> model.Verdict | None:
    """A faulty member holds its slot: it goes before anything comes."""
    array = saying.array(case)
    owner = {x.member.device: x for x in case.legs if x.member is not None}
    for member in array.members:
        if 'faulty' not in member.flags:
            continue
        leg = owner.get(member.device)
        next_s = (case.memory if leg is None else leg.memory).next_try_s
        if next_s > case.now_s:
            continue
        return saying.say(
            case, Phase.HEALING,
            f'MD has failed {member.device} of {array.name}: take it out, '
            f'its slot is needed', law=saying.LAW_LAST_LEG,
            action=model.DropFaulty(
                volume=case.seen.key, law=saying.LAW_LAST_LEG,
                array=array.name, array_uuid=array.uuid,
                device=member.device, replica=None if leg is None else leg.id))
    return None


def wait_for_resync(case: case_lib.Case) -> model.Verdict | None:
    """While MD copies, nothing else is done to the array."""
    array = saying.array(case)
    if array.sync is None or array.sync.action not in ('recover', 'resync'):
        return None
    percent, eta_s = array.sync.percent, array.sync.eta_s
    how = 'has begun' if percent is None else f'is at {percent:.1f} %'
    left = '' if eta_s is None else f', about {eta_s:.0f} s left'
    return saying.say(case, Phase.RESYNCING,
                f'the copy to the new leg of {array.name} {how}{left}',
                law=saying.LAW_SUCCESSOR,
                look_again_s=case.policy.resync_check_s)


# Bringing a replica in ----------

def bring_in(case: case_lib.Case) -> model.Verdict | None:
    """A free slot and a replica to fill it: the same leg before a new one."""
    array = saying.array(case)
    free = array.raid_disks - sum(
        'faulty' not in m.flags for m in array.members)
    if free <= 0:
        return None
    ranked = sorted(
        (x for x in case.legs if x.member is None),
        key=lambda x: (not x.memory.belongs, x.id))
    said: list[model.Verdict] = []
    for leg in ranked:
        found = _bring_one(case, leg)
        if found is None:
            continue
        if found.action is not None:
            return found
        said.append(found)
    return None if not said else min(said, key=lambda v: v.look_again_s)


def _bring_one(case: case_lib.Case,
               leg: case_lib.Leg) -> model.Verdict | None:
    if leg.replica.state is model.ReplicaState.TERMINATING:
        return None
    if _succeeded(case, leg):
        return None      # given up: its successor is here
    if not saying.due(case, leg):
        foreign = leg.memory.superblock is model.Superblock.FOREIGN
        return _refused(case, leg) if foreign else None
    if (delay_s := _flap_wait_s(case, leg)) > 0:
        return saying.say(
            case, Phase.DEGRADED,
            f'{leg.name} has been lost {len(leg.memory.losses_s)} times '
            f'lately: it stays out for {delay_s:.0f} s more',
            law=saying.LAW_BOUNDED, look_again_s=delay_s)
    if leg.namespace is None:
        return _connect(case, leg)
    if not leg.live:
        return None
    return _unfit(case, leg, leg.namespace) or _add(case, leg, leg.namespace)


def _succeeded(case: case_lib.Case, leg: case_lib.Leg) -> bool:
    """A successor is here and may take the slot.

    One that is the only leg in sync must not keep the old leg out, should
    that come back: the old one is not let go then, and is the nearest second
    copy.
    """
    line = case.heirs(leg.memory.request)
    heirs = [x for x in case.legs if x.id in line]
    if any(x.in_sync for x in heirs):
        return len(case.in_sync) >= limits.COPIES_MIN
    named = {x.id for x in heirs}
    return bool(line) and (line[-1] not in named or any(
        _may_take_over(case, x) for x in heirs))


def _may_take_over(case: case_lib.Case, heir: case_lib.Leg) -> bool:
    """Nor may one that is refused (too small, in use, with foreign data), or
    that has been a leg and is lost itself."""
    if heir.member is not None:
        return True
    if heir.memory.belongs:
        return False
    return heir.namespace is None or (
        heir.memory.superblock is not model.Superblock.FOREIGN
        and _unfit(case, heir, heir.namespace) is None)


def _unfit(case: case_lib.Case, leg: case_lib.Leg,
           namespace: model.Namespace) -> model.Verdict | None:
    """What can be seen to forbid that a device joins the array."""
    array = saying.array(case)
    if namespace.holders:
        why = f'is in use by {", ".join(namespace.holders)}'
    elif (namespace.size_bytes is not None
            and namespace.size_bytes < array.component_bytes):
        why = (f'has {namespace.size_bytes} bytes and {array.name} needs '
               f'{array.component_bytes}')
    else:
        return None
    return saying.say(
        case, Phase.HELD, f'{leg.name} is refused: {namespace.device} {why}',
        law=saying.LAW_NAMED_NOW)


def _refused(case: case_lib.Case, leg: case_lib.Leg) -> model.Verdict:
    return saying.say(case, Phase.HELD,
                f'{leg.name} is refused: {leg.memory.last_error}',
                law=saying.LAW_NAMED_NOW,
                look_again_s=leg.memory.next_try_s - case.now_s)


def _flap_wait_s(case: case_lib.Case, leg: case_lib.Leg) -> float:
    losses_s = leg.memory.losses_s
    if not losses_s:
        return 0.0
    delay_s = pacing.flap_delay_s(losses_s, case.now_s, case.policy)
    return losses_s[-1] + delay_s - case.now_s


def _connect(case: case_lib.Case,
             leg: case_lib.Leg) -> model.Verdict | None:
    if leg.paths and not leg.live:
        return None                      # the kernel is reconnecting
    unasked = not leg.memory.belongs and not leg.memory.published
    if unasked or leg.replica.nqn is None or not leg.replica.portals:
        return reporting.publish(case, leg)
    if leg.portal_answers is False:
        return None
    if leg.portal_answers is None and leg.probed:
        return None                      # the probe is under way
    known = {p.portal for p in leg.paths}
    portals = tuple(p for p in leg.replica.portals if p not in known)
    if not portals:
        return None                      # live, its namespace is to appear
    why = 'answers again' if leg.memory.belongs else 'is new and answers'
    return saying.say(
        case, Phase.HEALING, f'{leg.name} {why}: connect it',
        law=saying.LAW_NAMED_NOW,
        action=model.ConnectReplica(
            volume=case.seen.key, law=saying.LAW_NAMED_NOW, replica=leg.id,
            nqn=leg.replica.nqn, portals=portals))


def _add(case: case_lib.Case, leg: case_lib.Leg,
         namespace: model.Namespace) -> model.Verdict:
    array = saying.array(case)
    key = case.seen.key
    ours = leg.memory.superblock
    if ours is None or ours is model.Superblock.FOREIGN:
        return saying.say(
            case, Phase.HEALING,
            f'{leg.name} is connected as {namespace.device}: look at what '
            f'it carries before it may join {array.name}',
            law=saying.LAW_NAMED_NOW,
            action=model.Examine(volume=key, law=saying.LAW_NAMED_NOW,
                                 replica=leg.replica,
                                 device=namespace.device,
                                 array_uuid=array.uuid))
    if ours is model.Superblock.OURS and not leg.memory.readd_refused:
        return saying.say(
            case, Phase.HEALING,
            f'{leg.name} is back as {namespace.device}: re-add it, the '
            f'bitmap knows what it missed', law=saying.LAW_NAMED_NOW,
            action=model.ReAdd(
                volume=key, law=saying.LAW_NAMED_NOW, array=array.name,
                array_uuid=array.uuid, replica=leg.replica,
                device=namespace.device,
                component_bytes=array.component_bytes))
    if (leg.replica.state is model.ReplicaState.MISSING
            and not leg.memory.belongs):
        return _given_up_early(case, leg)
    return saying.say(
        case, Phase.HEALING,
        f'{leg.name} is connected as {namespace.device}: add it to '
        f'{array.name}, MD copies everything to it', law=saying.LAW_NAMED_NOW,
        action=model.AddSpare(
            volume=key, law=saying.LAW_NAMED_NOW, array=array.name,
            array_uuid=array.uuid, replica=leg.replica,
            device=namespace.device, component_bytes=array.component_bytes,
            former=ours is model.Superblock.OURS))


def _given_up_early(case: case_lib.Case,
                    leg: case_lib.Leg) -> model.Verdict:
    """A replacement that came too late, was reported, and is here now.

    Where no other is to be had it would be named, and refused, for ever.
    """
    state = model.ReplicaState.SYNCHRONIZING
    ours = leg.memory.request or leg.memory.reported is leg.replica.state
    if ours and reporting.due(case, leg, state):
        return reporting.report(
            case, leg, state, f'{leg.name} was given up and is here: tell '
            f'the provisioner that it is to be filled')
    return saying.say(case, Phase.HELD, law=saying.LAW_NAMED_NOW, sentence=(
        f'{leg.name} is not added: the provisioner calls it missing'))


# Letting the old one go ----------

def retire(case: case_lib.Case) -> model.Verdict | None:
    """What was replaced may go once its successor is in sync.

    So may, once all slots are in sync, a replacement that came after the
    lost leg had come back: it holds nothing. With two legs of three lost,
    the first must go before the second can be replaced: a vendor has room
    for so many replicas only. A leg that is away counts for none, though MD
    may not know it yet.
    """
    sound = tuple(x for x in case.in_sync if x.counts)
    all_are = case.whole and len(sound) == len(case.in_sync)
    for leg in case.legs:
        if leg.member is not None or not (
                _replaced(leg) or _superfluous(case, leg)
                or _displaced(case, leg)):
            continue
        heir = _heir(case, leg, sound)
        if not all_are and heir is None:
            continue
        if not saying.due(case, leg):
            continue
        if (leg.paths and not leg.memory.let_go
                and leg.id not in case.seen.claimed
                and not case.seen.shared.get(leg.id)):
            return saying.say(
                case, Phase.HEALING,
                f'{leg.name} is no longer needed: disconnect it',
                law=saying.LAW_SUCCESSOR,
                action=model.DisconnectPaths(
                    volume=case.seen.key, law=saying.LAW_SUCCESSOR,
                    replica=leg.id, paths=leg.paths))
        array = saying.array(case)
        return saying.say(
            case, Phase.HEALING,
            f'{leg.name} is no longer needed, '
            + (f'all legs of {array.name} are' if heir is None
               else f'{heir.name}, its successor, is' if heir.id in
               case.heirs(leg.memory.request)
               else f'it is being taken away, and {heir.name} is')
            + ' in sync: confirm its removal', law=saying.LAW_SUCCESSOR,
            action=model.ConfirmRemoval(
                volume=case.seen.key, law=saying.LAW_SUCCESSOR, replica=leg.id,
                array=array.name, array_uuid=array.uuid,
                successor=None if heir is None else heir.id))
    return None


def _heir(case: case_lib.Case, leg: case_lib.Leg,
          sound: tuple[case_lib.Leg, ...]) -> case_lib.Leg | None:
    """Its successor, if that is in sync and not alone in that.

    Should that be lost once we have said that the old one may go, any other
    will do: what is being taken away is never used again, and has the room
    that the next new one needs.
    """
    if len(sound) < limits.COPIES_MIN:
        return None
    line = case.heirs(leg.memory.request)
    going = bool(line) and (
        leg.replica.state is model.ReplicaState.TERMINATING)
    return next((x for x in sound if x.id in line),
                sound[0] if going else None)


def _replaced(leg: case_lib.Leg) -> bool:
    """We asked for its replacement, or the provisioner takes it away."""
    arrived = (leg.memory.request is not None and leg.memory.request.state
               is model.RequestState.ARRIVED)
    return arrived or leg.replica.state is model.ReplicaState.TERMINATING


def _displaced(case: case_lib.Case, leg: case_lib.Leg) -> bool:
    """Another has its slot: two are here of what one slot was asked for.

    A leg came back after its successor had come, or two came in its place
    (one of them late). It may be named no more.
    """
    here = {leg.id, *(x.id for x in case.in_sync)}
    return (case.whole and leg.memory.belongs
            and leg.memory.lost_s is not None and any(
                len(here & case.family(key)) > 1
                for key in case.memory.replicas))


def _superfluous(case: case_lib.Case, leg: case_lib.Leg) -> bool:
    if leg.memory.superblock is model.Superblock.FOREIGN:
        return False     # whose data that is a person has to say
    # We asked for it, for a leg that is in sync again or named no more; or
    # for what had come for one that is in sync again.
    in_sync = {x.id for x in case.in_sync}
    named = {x.id for x in case.legs}
    return any(
        (key in in_sync and leg.id in case.heirs(request))
        # It may have been a leg while that one was lost.
        or (request is not None and request.arrived == leg.id
            and key not in named and not leg.memory.belongs)
        for key, one in case.memory.replicas.items()
        for request in (one.request, *one.late))


def withdrawn(case: case_lib.Case) -> model.Verdict | None:
    """What the provisioner took away before it was ever of use.

    Its controllers would knock at a target that is gone, for months.
    """
    for key, former in sorted(case.seen.former.items()):
        one = case.memory.replicas.get(key)
        if one is None or one.unnamed_s is None or _waits(case, one) > 0:
            continue
        return saying.say(
            case, Phase.HEALTHY if case.whole else Phase.DEGRADED,
            f'the provisioner has not named replica {key} for '
            f'{case.now_s - one.unnamed_s:.0f} s: disconnect it',
            law=saying.LAW_NAMED_NOW, action=model.DisconnectPaths(
                volume=case.seen.key, law=saying.LAW_NAMED_NOW,
                replica=key, paths=former.paths))
    return None


def _waits(case: case_lib.Case, one: model.ReplicaMemory) -> float:
    since_s = case.now_s if one.unnamed_s is None else one.unnamed_s
    return max(since_s + limits.WITHDRAWN_S, one.next_try_s) - case.now_s


def withdrawn_in_s(case: case_lib.Case) -> float:
    """When the next of these is due, seconds; nothing else names it."""
    return max(0.0, min((
        _waits(case, one) for key in case.seen.former
        if (one := case.memory.replicas.get(key)) is not None),
        default=math.inf))


HEALERS: tuple[Callable[[case_lib.Case], model.Verdict | None], ...] = (
    reporting.report_lost, drop_faulty, wait_for_resync, bring_in,
    asking.request, reporting.report_back, retire, withdrawn)
