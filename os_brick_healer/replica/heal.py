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

from os_brick_healer.engine import limits, pacing, verdict
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model

Phase = verdict.Phase

LAW_TELL = 'tell-what-is-lost'
LAW_NAMED_NOW = 'add-only-what-is-named-now'
LAW_SUCCESSOR = 'remove-only-after-the-successor-is-in-sync'
LAW_BOUNDED = 'everything-is-bounded'
LAW_LAST_LEG = 'keep-the-last-leg'
LAW_OURS = 'touch-only-what-is-ours'


def _say(case: case_lib.Case, phase: Phase, sentence: str, *,
         law: str, action: model.Action | None = None,
         look_again_s: float | None = None) -> model.Verdict:
    if look_again_s is None:
        look_again_s = case.policy.provisioner_interval_s
    return model.Verdict(phase=phase, sentence=sentence, law=law,
                         action=action, memory=case.memory,
                         look_again_s=max(0.02, look_again_s))


def _array(case: case_lib.Case) -> model.Array:
    assert case.seen.array is not None
    return case.seen.array


def _due(case: case_lib.Case, leg: case_lib.Leg) -> bool:
    return leg.memory.next_try_s <= case.now_s


# Telling the provisioner ----------

def report_lost(case: case_lib.Case) -> model.Verdict | None:
    """A leg that was thrown out is stale: nobody may read it from now on."""
    for leg in case.outside:
        if (leg.memory.belongs
                and _report_due(case, leg, model.ReplicaState.MISSING)
                and leg.replica.state in (model.ReplicaState.AVAILABLE,
                                          model.ReplicaState.UNKNOWN)):
            return _report(case, leg, model.ReplicaState.MISSING,
                           f'{leg.name} is out of {_array(case).name}: tell '
                           f'the provisioner that it is stale')
    return None


def report_back(case: case_lib.Case) -> model.Verdict | None:
    """A leg that is in sync is good again, or good for the first time."""
    for leg in case.in_sync:
        if (leg.replica.state in (model.ReplicaState.MISSING,
                                  model.ReplicaState.SYNCHRONIZING)
                and _report_due(case, leg, model.ReplicaState.AVAILABLE)):
            return _report(case, leg, model.ReplicaState.AVAILABLE,
                           f'{leg.name} of {_array(case).name} is in sync: '
                           f'tell the provisioner that it is good')
    return None


def _report_due(case: case_lib.Case, leg: case_lib.Leg,
                state: model.ReplicaState) -> bool:
    """Tell it once; again only if it stays unheard for a while."""
    return (leg.memory.reported is not state
            or leg.memory.report_next_s <= case.now_s)


def _report(case: case_lib.Case, leg: case_lib.Leg,
            state: model.ReplicaState, sentence: str) -> model.Verdict:
    return _say(case, Phase.HEALING, sentence, law=LAW_TELL,
                action=model.ReportState(
                    volume=case.seen.key, law=LAW_TELL, replica=leg.id,
                    state=state))


# Clearing the way ----------

def drop_faulty(case: case_lib.Case) -> model.Verdict | None:
    """A faulty member holds its slot: it goes before anything comes."""
    array = _array(case)
    owner = {x.member.device: x for x in case.legs if x.member is not None}
    for member in array.members:
        if 'faulty' not in member.flags:
            continue
        leg = owner.get(member.device)
        if leg is not None and not _due(case, leg):
            continue
        return _say(
            case, Phase.HEALING,
            f'MD has failed {member.device} of {array.name}: take it out, '
            f'its slot is needed', law=LAW_LAST_LEG,
            action=model.DropFaulty(
                volume=case.seen.key, law=LAW_LAST_LEG, array=array.name,
                array_uuid=array.uuid, device=member.device,
                replica=None if leg is None else leg.id))
    return None


def wait_for_resync(case: case_lib.Case) -> model.Verdict | None:
    """While MD copies, nothing else is done to the array."""
    array = _array(case)
    if array.sync is None or array.sync.action not in ('recover', 'resync'):
        return None
    percent, eta_s = array.sync.percent, array.sync.eta_s
    how = 'has begun' if percent is None else f'is at {percent:.1f} %'
    left = '' if eta_s is None else f', about {eta_s:.0f} s left'
    return _say(case, Phase.RESYNCING,
                f'the copy to the new leg of {array.name} {how}{left}',
                law=LAW_SUCCESSOR,
                look_again_s=case.policy.resync_check_s)


# Bringing a replica in ----------

def bring_in(case: case_lib.Case) -> model.Verdict | None:
    """A free slot and a replica to fill it: the same leg before a new one."""
    array = _array(case)
    free = array.raid_disks - len(
        [m for m in array.members if 'faulty' not in m.flags])
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
    if (leg.memory.request is not None and leg.memory.request.state
            is model.RequestState.ARRIVED):
        return None      # given up: its successor is here
    if leg.memory.superblock is model.Superblock.FOREIGN:
        if not _due(case, leg):
            return _refused(case, leg)
    elif not _due(case, leg):
        return None
    delay_s = _flap_wait_s(case, leg)
    if delay_s > 0:
        return _say(
            case, Phase.DEGRADED,
            f'{leg.name} has been lost {len(leg.memory.losses_s)} times '
            f'lately: it stays out for {delay_s:.0f} s more', law=LAW_BOUNDED,
            look_again_s=delay_s)
    if leg.namespace is None:
        return _connect(case, leg)
    if not leg.live:
        return None
    return _add(case, leg, leg.namespace)


def _refused(case: case_lib.Case, leg: case_lib.Leg) -> model.Verdict:
    return _say(case, Phase.HELD,
                f'{leg.name} is refused: {leg.memory.last_error}',
                law=LAW_NAMED_NOW,
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
        return _say(
            case, Phase.HEALING,
            f'{leg.name} is new: have it published to this host',
            law=LAW_NAMED_NOW,
            action=model.Publish(volume=case.seen.key, law=LAW_NAMED_NOW,
                                 replica=leg.id))
    if leg.portal_answers is False:
        return None
    if leg.portal_answers is None and any(
            p.transport == 'tcp' for p in leg.replica.portals):
        return None                      # the probe is under way
    known = {p.portal for p in leg.paths}
    portals = tuple(p for p in leg.replica.portals if p not in known)
    if not portals:
        return None                      # live, its namespace is to appear
    return _say(
        case, Phase.HEALING, f'{leg.name} answers again or is new: connect '
        f'it', law=LAW_NAMED_NOW,
        action=model.ConnectReplica(
            volume=case.seen.key, law=LAW_NAMED_NOW, replica=leg.id,
            nqn=leg.replica.nqn, portals=portals))


def _add(case: case_lib.Case, leg: case_lib.Leg,
         namespace: model.Namespace) -> model.Verdict:
    array = _array(case)
    key = case.seen.key
    ours = leg.memory.superblock
    if ours is None or ours is model.Superblock.FOREIGN:
        return _say(
            case, Phase.HEALING,
            f'{leg.name} is connected as {namespace.device}: look at what '
            f'it carries before it may join {array.name}',
            law=LAW_NAMED_NOW,
            action=model.Examine(volume=key, law=LAW_NAMED_NOW,
                                 replica=leg.replica,
                                 device=namespace.device,
                                 array_uuid=array.uuid))
    if ours is model.Superblock.OURS and not leg.memory.readd_refused:
        return _say(
            case, Phase.HEALING,
            f'{leg.name} is back as {namespace.device}: re-add it, the '
            f'bitmap knows what it missed', law=LAW_NAMED_NOW,
            action=model.ReAdd(
                volume=key, law=LAW_NAMED_NOW, array=array.name,
                array_uuid=array.uuid, replica=leg.replica,
                device=namespace.device,
                component_bytes=array.component_bytes))
    return _say(
        case, Phase.HEALING,
        f'{leg.name} is connected as {namespace.device}: add it to '
        f'{array.name}, MD copies everything to it', law=LAW_NAMED_NOW,
        action=model.AddSpare(
            volume=key, law=LAW_NAMED_NOW, array=array.name,
            array_uuid=array.uuid, replica=leg.replica,
            device=namespace.device, component_bytes=array.component_bytes,
            former=ours is model.Superblock.OURS))


# Asking for a new replica ----------

def request(case: case_lib.Case) -> model.Verdict | None:
    """A leg has been lost for the whole grace: ask for another in its
    place, once."""
    lost = [x for x in case.legs if x.member is None
            and x.memory.lost_s is not None]
    said = [v for v in (_request_one(case, x) for x in lost)
            if v is not None]
    asking = [v for v in said if v.action is not None]
    if asking:
        return asking[0]
    return min(said, key=lambda v: v.look_again_s) if said else None


def _request_one(case: case_lib.Case,
                 leg: case_lib.Leg) -> model.Verdict | None:
    old = leg.memory.request
    if old is not None and old.state is model.RequestState.ARRIVED:
        return None
    if old is not None and old.state is model.RequestState.ACCEPTED:
        return _await_arrival(case, leg, old)
    if not _wanted(case, leg):
        return None
    left_s = _grace_left_s(case, leg)
    if left_s is None:
        return None
    if left_s > 0:
        return _say(
            case, Phase.DEGRADED,
            f'{leg.name} is lost; a replacement is requested in '
            f'{left_s:.0f} s if it does not come back', law=LAW_BOUNDED,
            look_again_s=left_s)
    return _held(case, leg) or _ask(case, leg, old)


def _wanted(case: case_lib.Case, leg: case_lib.Leg) -> bool:
    """Whether the volume lacks a replica that could take the slot."""
    others = [x for x in case.legs if x.id != leg.id
              and x.replica.state is not model.ReplicaState.TERMINATING
              and not (x.member is None and x.memory.belongs
                       and x.memory.lost_s is not None)
              and not _given_up(x)]
    return len(others) < _array(case).raid_disks


def _given_up(leg: case_lib.Leg) -> bool:
    return leg.memory.request is not None


def _grace_left_s(case: case_lib.Case, leg: case_lib.Leg) -> float | None:
    """Seconds until a replacement may be requested; None: not at all.

    What counts is how long the leg has been out of reach. One that can be
    reached is not replaced, however often it flaps, unless it cannot be
    brought back.
    """
    since_s = leg.memory.unreachable_s
    if since_s is None:
        if leg.memory.tries < limits.READD_TRIES_MAX:
            return None
        since_s = leg.memory.lost_s
    if since_s is None:
        return None
    return since_s + case.grace_s - case.now_s


def _held(case: case_lib.Case, leg: case_lib.Leg) -> model.Verdict | None:
    volume = case.seen.volume
    assert volume is not None
    if not any(x.live and x.silent_s is None for x in case.in_sync):
        return _say(case, Phase.HELD,
                    f'{leg.name} is lost and no in-sync leg is live: there '
                    f'is nothing to copy from, so nothing is requested',
                    law=LAW_LAST_LEG)
    if case.around.brake is not None:
        return _say(case, Phase.HELD,
                    f'{leg.name} is lost, but {case.around.brake}: nothing '
                    f'is requested until that has cleared', law=LAW_BOUNDED)
    if case.around.requests_left <= 0:
        return _say(case, Phase.HELD,
                    f'{leg.name} is lost, but this hour has seen as many '
                    f'requests for replacements as are allowed',
                    law=LAW_BOUNDED)
    most = _array(case).raid_disks + limits.EXTRA_REPLICAS_MAX
    if len(volume.replicas) >= most:
        return _say(case, Phase.HELD,
                    f'{leg.name} is lost, but the volume already has '
                    f'{len(volume.replicas)} replicas: one more would pile '
                    f'up; remove the dead ones at the provisioner',
                    law=LAW_BOUNDED)
    return None


def _ask(case: case_lib.Case, leg: case_lib.Leg,
         old: model.Request | None) -> model.Verdict | None:
    settled_s = (0.0 if old is None else
                 old.asked_s + 2 * case.policy.provisioner_interval_s)
    if max(settled_s, leg.memory.next_try_s if old else 0.0) > case.now_s:
        return _say(case, Phase.HEALING,
                    f'it is not known whether the request to replace '
                    f'{leg.name} was heard: looking for its replica before '
                    f'asking again', law=LAW_BOUNDED, look_again_s=1.0)
    if old is not None and old.tries >= limits.REQUEST_TRIES_MAX:
        return _say(case, Phase.HELD,
                    f'{leg.name} is lost and {old.tries} requests for a '
                    f'replacement have failed: {leg.memory.last_error}',
                    law=LAW_BOUNDED)
    volume = case.seen.volume
    assert volume is not None
    request_id = (old.id if old is not None else
                  f'{case.seen.key}:{leg.id}:{int(case.now_s * 1000)}')
    known = (old.known if old is not None
             else frozenset(r.id for r in volume.replicas))
    return _say(
        case, Phase.HEALING,
        f'{leg.name} has been lost for more than {case.grace_s:g} s: '
        f'request a replacement', law=LAW_BOUNDED,
        action=model.RequestReplacement(
            volume=case.seen.key, law=LAW_BOUNDED, replica=leg.id,
            request_id=request_id, known=known))


def _await_arrival(case: case_lib.Case, leg: case_lib.Leg,
                   old: model.Request) -> model.Verdict | None:
    left_s = (old.asked_s + case.policy.arrival_s * 2.0 ** min(old.tries, 16)
              - case.now_s)
    if left_s <= 0:
        return _held(case, leg) or _ask(case, leg, old)
    return _say(case, Phase.HEALING,
                f'a replacement of {leg.name} is accepted and is to be '
                f'named by the provisioner', law=LAW_BOUNDED,
                look_again_s=min(left_s, case.policy.provisioner_interval_s
                                 / 5))


# Letting the old one go ----------

def retire(case: case_lib.Case) -> model.Verdict | None:
    """All slots are in sync: what was replaced may go.

    So may a replacement that came after the lost leg had come back: it
    holds nothing.
    """
    if not case.whole:
        return None
    for leg in case.legs:
        if leg.member is not None or not (
                _replaced(leg) or _superfluous(case, leg)):
            continue
        if not _due(case, leg):
            continue
        if (leg.paths and not leg.memory.let_go
                and not case.seen.shared.get(leg.id)):
            return _say(
                case, Phase.HEALING,
                f'{leg.name} is no longer needed: disconnect it',
                law=LAW_SUCCESSOR,
                action=model.DisconnectPaths(
                    volume=case.seen.key, law=LAW_SUCCESSOR, replica=leg.id,
                    paths=leg.paths))
        array = _array(case)
        return _say(
            case, Phase.HEALING,
            f'{leg.name} is no longer needed, all legs of {array.name} are '
            f'in sync: confirm its removal', law=LAW_SUCCESSOR,
            action=model.ConfirmRemoval(
                volume=case.seen.key, law=LAW_SUCCESSOR, replica=leg.id,
                array=array.name, array_uuid=array.uuid))
    return None


def _replaced(leg: case_lib.Leg) -> bool:
    """We asked for its replacement, or the provisioner takes it away."""
    arrived = (leg.memory.request is not None and leg.memory.request.state
               is model.RequestState.ARRIVED)
    return arrived or leg.replica.state is model.ReplicaState.TERMINATING


def _superfluous(case: case_lib.Case, leg: case_lib.Leg) -> bool:
    return not leg.memory.belongs and any(
        x.in_sync and x.memory.request is not None
        and x.memory.request.arrived == leg.id for x in case.legs)


HEALERS: tuple[Callable[[case_lib.Case], model.Verdict | None], ...] = (
    report_lost, drop_faulty, wait_for_resync, bring_in, request,
    report_back, retire)
