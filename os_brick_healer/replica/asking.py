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
"""Asking the provisioner for a new replica, once and not too soon. Pure."""

from os_brick_healer.engine import limits, verdict
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model, saying

Phase = verdict.Phase


def request(case: case_lib.Case) -> model.Verdict | None:
    """A leg has been lost for the whole grace: ask for another in its
    place, once."""
    if case.whole:
        return None     # what is out, or was new, is not needed
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
        found = _await_arrival(case, leg, old)
        if found is not None:
            return found
    # Its leg may have been back meanwhile: a repeat has no older rights.
    if not _wanted(case, leg):
        return None
    if old is not None and _mixed_up(case, old):
        old = None
    if leg.replica.state is model.ReplicaState.TERMINATING:
        return saying.say(
            case, Phase.HEALING,
            f'the provisioner takes {leg.name} away by itself: its successor '
            f'is awaited', law=saying.LAW_BOUNDED)
    left_s = _grace_left_s(case, leg)
    if left_s is None:
        return None
    if left_s > 0:
        return saying.say(
            case, Phase.DEGRADED,
            f'{_away(leg)}; a replacement is requested in {left_s:.0f} s if '
            'that lasts', law=saying.LAW_BOUNDED, look_again_s=left_s)
    return (_held(case, leg) or _unprobed(case, leg)
            or (_in_turn(case, leg) if old is None else None)
            or _ask(case, leg, old))


def _in_turn(case: case_lib.Case, leg: case_lib.Leg) -> model.Verdict | None:
    """One request in doubt at a time.

    With two of which nobody knows whether they were heard, nobody could
    tell whose answer a new replica is. An old one is waited for until it has
    had the time to be repeated.
    """
    # One answer may leave out the replica that the other is about.
    for key, one in case.memory.replicas.items():
        request = None if key == leg.id else one.request
        if (request is not None
                and request.state is model.RequestState.ASKED
                and _in_doubt_until_s(case, one, request) > case.now_s):
            return saying.say(
                case, Phase.DEGRADED,
                f'{leg.name} is lost, too; its replacement is requested once '
                f'it is known whether the request for replica {key} was '
                f'heard', law=saying.LAW_BOUNDED, look_again_s=1.0)
    return None


def _in_doubt_until_s(case: case_lib.Case, one: model.ReplicaMemory,
                      request: model.Request) -> float:
    """When it has had the time to be repeated, unless it never will be."""
    arrival_s = case.policy.arrival_s
    first_s = request.asked_s + 2 * arrival_s
    if request.tries >= limits.REQUEST_TRIES_MAX:
        return first_s
    return max(first_s, _settles_s(case, one, request) + arrival_s)


def _mixed_up(case: case_lib.Case, old: model.Request) -> bool:
    """Whether what it asked for may have been taken for another's.

    A new replica does not say for whom it came. The provisioner, which has
    answered, would say so again for ever. Who is only slow has had the time
    of several tries by then.
    """
    return (old.state is model.RequestState.ACCEPTED
            and old.tries >= limits.MIXED_UP_TRIES
            and any(x.id not in old.known for x in case.legs))


def _unprobed(case: case_lib.Case,
              leg: case_lib.Leg) -> model.Verdict | None:
    """What was probed too long ago may be back by now."""
    if leg.portal_answers is not None or not leg.probed or leg.live:
        return None
    return saying.say(
        case, Phase.DEGRADED,
        f'{_away(leg)}; it is probed once more before a replacement is '
        'requested', law=saying.LAW_BOUNDED, look_again_s=1.0)


def _away(leg: case_lib.Leg) -> str:
    said = (f'{leg.name} is lost' if leg.memory.belongs
            else f'{leg.name} is new and has not come yet')
    if leg.live and leg.namespace is None:
        return f'{said} (its target lives, but does not show its namespace)'
    return said


def _wanted(case: case_lib.Case, leg: case_lib.Leg) -> bool:
    """Whether the volume lacks a replica that could take the slot."""
    others = [x for x in case.legs if x.id != leg.id
              and x.replica.state is not model.ReplicaState.TERMINATING
              and not (x.member is None and x.memory.belongs
                       and x.memory.lost_s is not None)
              and not _given_up(x)]
    return len(others) < saying.array(case).raid_disks


def _given_up(leg: case_lib.Leg) -> bool:
    return leg.memory.request is not None


def _grace_left_s(case: case_lib.Case, leg: case_lib.Leg) -> float | None:
    """Seconds until a replacement may be requested; None: not at all.

    What counts is how long the leg has been out of reach. One that can be
    reached is not replaced, however often it flaps, unless it cannot be
    brought back.
    """
    since_s = leg.memory.unreachable_s
    if since_s is None and leg.memory.tries >= limits.READD_TRIES_MAX:
        since_s = leg.memory.lost_s
    return None if since_s is None else since_s + case.grace_s - case.now_s


def _held(case: case_lib.Case, leg: case_lib.Leg) -> model.Verdict | None:
    volume = case.seen.volume
    assert volume is not None
    if not any(x.live and x.silent_s is None for x in case.in_sync):
        return saying.say(case, Phase.HELD,
                    f'{leg.name} is lost and no in-sync leg is live: there '
                    f'is nothing to copy from, so nothing is requested',
                    law=saying.LAW_LAST_LEG)
    if all(x.replica.state is model.ReplicaState.MISSING
           for x in case.in_sync):
        return saying.say(case, Phase.HELD,
                    f'{leg.name} is lost, and the provisioner calls what is '
                    f'in sync here missing, too: nothing is requested until '
                    f'it knows better', law=saying.LAW_TRUTH)
    if case.around.brake is not None:
        return saying.say(case, Phase.HELD,
                    f'{leg.name} is lost, but {case.around.brake}: nothing '
                    f'is requested until that has cleared',
                    law=saying.LAW_BOUNDED)
    if case.around.requests_left <= 0:
        return saying.say(case, Phase.HELD,
                    f'{leg.name} is lost, but this hour has seen as many '
                    f'requests for replacements as are allowed',
                    law=saying.LAW_BOUNDED)
    legs = saying.array(case).raid_disks
    most = min(legs + limits.EXTRA_REPLICAS_MAX,
               max(limits.REPLICAS_MAX, legs + 1))
    coming = any(x.filling or not x.memory.belongs for x in case.legs
                 if x.replica.state is not model.ReplicaState.TERMINATING)
    if len(volume.replicas) >= most and coming:
        return saying.say(case, Phase.HELD,
                    f'{leg.name} is lost, too; its turn comes when the '
                    f'replacement that is under way is in sync',
                    law=saying.LAW_BOUNDED)
    if len(volume.replicas) >= most:
        return saying.say(case, Phase.HELD,
                    f'{leg.name} is lost, but the volume already has '
                    f'{len(volume.replicas)} replicas: one more would pile '
                    f'up; remove the dead ones at the provisioner',
                    law=saying.LAW_BOUNDED)
    return None


def _ask(case: case_lib.Case, leg: case_lib.Leg,
         old: model.Request | None) -> model.Verdict | None:
    if old is not None and _settles_s(case, leg.memory, old) > case.now_s:
        return saying.say(case, Phase.HEALING,
                    f'a replacement of {leg.name} has been requested: its '
                    f'answer, or the new replica, is awaited before it is '
                    f'asked for again', law=saying.LAW_BOUNDED,
                    look_again_s=1.0)
    if old is not None and old.tries >= limits.REQUEST_TRIES_MAX:
        return saying.say(case, Phase.HELD,
                    f'{leg.name} is lost and {old.tries} requests for a '
                    f'replacement have failed: {leg.memory.last_error}',
                    law=saying.LAW_BOUNDED)
    volume = case.seen.volume
    assert volume is not None
    request_id = (old.id if old is not None else
                  f'{case.seen.key}:{leg.id}:{int(case.now_s * 1000)}')
    # What one answer leaves out is no news when it is named again.
    known = (old.known if old is not None else frozenset(
        {*case.memory.replicas, *(r.id for r in volume.replicas)}))
    return saying.say(
        case, Phase.HEALING,
        f'{leg.name} has been lost for more than {case.grace_s:g} s: '
        f'request a replacement', law=saying.LAW_BOUNDED,
        action=model.RequestReplacement(
            volume=case.seen.key, law=saying.LAW_BOUNDED, replica=leg.id,
            request_id=request_id, known=known))


def _settles_s(case: case_lib.Case, one: model.ReplicaMemory,
               old: model.Request) -> float:
    """When it is known that an earlier request was not heard.

    After a clear failure its back-off says when. If the agent died in the
    request, or its answer was lost, its replica may be named late: asking
    at once could yield two.
    """
    if old.failed:
        # The back-off may be another error's: a sick leg fails again and
        # again, and each time its next try is put off.
        latest_s = old.asked_s + case.policy.arrival_s * 2.0 ** min(
            old.tries, 16)
        return min(latest_s, max(
            one.next_try_s,
            old.asked_s + 2 * case.policy.provisioner_interval_s))
    return old.asked_s + case.policy.arrival_s


def _await_arrival(case: case_lib.Case, leg: case_lib.Leg,
                   old: model.Request) -> model.Verdict | None:
    left_s = (old.asked_s + case.policy.arrival_s * 2.0 ** min(old.tries, 16)
              - case.now_s)
    if left_s <= 0:
        return None
    return saying.say(case, Phase.HEALING,
                f'a replacement of {leg.name} is accepted and is to be '
                f'named by the provisioner', law=saying.LAW_BOUNDED,
                look_again_s=min(left_s, case.policy.provisioner_interval_s
                                 / 5))
