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
"""What should be done about one replicated volume. Pure.

``decide`` is called at each look. It never keeps anything: all it knows is
what is seen now and what was remembered.
"""

from collections.abc import Callable
import dataclasses

from os_brick_healer.engine import limits, verdict
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import (
    flow,
    heal,
    model,
    recall,
    reporting,
    saying,
)

Phase = verdict.Phase

LAW_NOT_NOW = 'never-while-nova-or-another-host-has-it'
LAW_TRUTH = saying.LAW_TRUTH
LAW_OURS = saying.LAW_OURS

#: How often to look for a volume that is not here, seconds.
IDLE_S = 30.0
#: How often to look at a volume that is well, seconds. The pulse, the
#: kernel's events and the provisioner's news name it long before.
WELL_S = 300.0
#: On a host with many: not more than one of them in this time, seconds.
WELL_EACH_S = 2.0
#: mdadm freezes an array for less than this, seconds, while it changes it.
FROZEN_S = 10.0


def decide(seen: model.Seen, memory: model.Memory, policy: limits.Policy,
           around: case_lib.Around) -> model.Verdict:
    """Say what the facts mean for a volume and what is to be done, if so.

    :returns: at most one action, always a sentence.
    """
    case = case_lib.Case(seen=seen, memory=memory, policy=policy,
                         around=around)
    case = dataclasses.replace(case, memory=recall.update(case))
    for room in _ROOMS:
        found = room(case)
        if found is not None:
            return _printable(_held_back(case, _also_told(case, found)))
    return _printable(_healthy(case))


def _also_told(case: case_lib.Case, found: model.Verdict) -> model.Verdict:
    """While the guest waits, the provisioner may still learn who is stale.

    Another host would read from such a leg, should this one go now. And it
    may say what is behind a controller that keeps the guest waiting.
    """
    volume = case.seen.volume
    if (found.phase is not Phase.STALLED or found.action is not None
            or not case.fresh or volume is None
            or volume.nonsense is not None):
        return found
    told = reporting.report_lost(case) or reporting.publish_hidden(case)
    return found if told is None else dataclasses.replace(
        found, action=told.action)


def _printable(found: model.Verdict) -> model.Verdict:
    """What others told (errors, names) must not steer a terminal."""
    if found.sentence.isprintable():
        return found
    return dataclasses.replace(found, sentence=' '.join(''.join(
        c if c.isprintable() else ' ' for c in found.sentence).split()))


def _say(case: case_lib.Case, phase: Phase, sentence: str, law: str | None,
         look_again_s: float | None = None) -> model.Verdict:
    return model.Verdict(
        phase=phase, sentence=sentence, law=law, memory=case.memory,
        look_again_s=(case.policy.provisioner_interval_s
                      if look_again_s is None else look_again_s))


def _held_back(case: case_lib.Case, found: model.Verdict) -> model.Verdict:
    """A pause takes the action, and only the action, out of a verdict."""
    if case.seen.paused is None or found.action is None:
        return found
    return _say(case, Phase.HELD,
                f'healing is paused ({case.seen.paused}); without the pause: '
                f'{found.sentence}', law='pause')


def _gone(case: case_lib.Case) -> model.Verdict | None:
    if case.seen.array is not None:
        return None
    attachment = case.seen.attachment
    if attachment is None:
        return _say(case, Phase.GONE, 'no array of this volume is on this '
                    'host', law=None, look_again_s=IDLE_S)
    return _say(case, Phase.GONE,
                f'{attachment.alias} is {attachment.state.value} and its '
                f'array is not on this host', law=LAW_OURS)


def _not_the_array(case: case_lib.Case) -> model.Verdict | None:
    array, known = case.seen.array, case.memory.array_uuid
    if array is None or known is None or array.uuid == known:
        return None
    return _say(case, Phase.HELD,
                f'{array.name} has UUID {array.uuid}, but the array of this '
                f'volume is {known}: it is not touched', law=LAW_OURS)


def _broken(case: case_lib.Case) -> model.Verdict | None:
    array = case.seen.array
    if array is None or array.state not in ('broken', 'inactive', 'clear'):
        return None
    return _say(case, Phase.BROKEN,
                f'MD calls {array.name} {array.state}: it takes no writes '
                f'and only a person can bring it back (stop it and assemble '
                f'it from the leg with the highest event count)',
                law=saying.LAW_LAST_LEG)


def _nova(case: case_lib.Case) -> model.Verdict | None:
    attachment = case.seen.attachment
    if (attachment is None
            or attachment.state is model.AttachState.ATTACHED):
        return None
    leaving = attachment.state is model.AttachState.DISCONNECTING
    if attachment.owner_alive or leaving:
        return _say(case, Phase.HELD,
                    f'os-brick is {attachment.state.value} this volume: '
                    f'hands off until it is done', law=LAW_NOT_NOW,
                    look_again_s=1.0)
    return None          # its process is dead: the volume is as it is


def _two_hosts(case: case_lib.Case) -> model.Verdict | None:
    if not case.seen.peers_hold:
        return None
    names = ', '.join(sorted(case.seen.peers_hold))
    return _say(case, Phase.HELD,
                f'the volume is also published to {names}: two hosts must '
                f'never both change it, so nothing is done until one has '
                f'let go', law=LAW_NOT_NOW)


def _flowing(case: case_lib.Case) -> model.Verdict | None:
    """What there is to wait for has a flag that turns a wait into an error
    cleared first.
    """
    found = flow.keep_flowing(case)
    if found is None or found.action is not None:
        return found
    return _clear_failfast(case) or found


def _clear_failfast(case: case_lib.Case) -> model.Verdict | None:
    array = case.seen.array
    assert array is not None
    for leg, member in _flagged(case):
        if leg.memory.next_try_s > case.now_s:
            continue
        found = _say(case, Phase.HEALING,
                     f'leg {member.device} of {array.name} would turn an '
                     f'outage into an I/O error: clear its failfast flag',
                     law=flow.LAW_QUEUE)
        return dataclasses.replace(found, action=model.ClearFailfast(
            volume=case.seen.key, law=flow.LAW_QUEUE, array=array.name,
            array_uuid=array.uuid, replica=leg.id, device=member.device))
    return None


def _flagged(
        case: case_lib.Case) -> list[tuple[case_lib.Leg, model.Member]]:
    """Legs that would fail where they ought to queue."""
    return [(x, x.member) for x in case.members if x.member is not None
            and 'failfast' in x.member.flags and not x.faulty]


def _still_flagged(case: case_lib.Case) -> model.Verdict | None:
    """A flag that could not be cleared is tried again when it is time."""
    flagged = _flagged(case)
    if not flagged:
        return None
    leg, member = min(flagged, key=lambda x: x[0].memory.next_try_s)
    assert case.seen.array is not None
    why = leg.memory.last_error or 'it is tried again soon'
    return _say(case, Phase.HELD,
                f'leg {member.device} of {case.seen.array.name} would turn '
                f'an outage into an I/O error, and still has its failfast '
                f'flag: {why}', law=flow.LAW_QUEUE,
                look_again_s=leg.memory.next_try_s - case.now_s)


def _truth(case: case_lib.Case) -> model.Verdict | None:
    """Without the provisioner's clear word nothing else is done."""
    array, seen = case.seen.array, case.seen
    assert array is not None
    well = not array.degraded and _awaited(case) is None
    phase = Phase.HEALTHY if well else Phase.HELD
    if seen.volume is None:
        why = seen.provisioner_error or 'it does not name this volume'
        return _say(case, phase, f'the provisioner is of no help ({why}): '
                    f'{array.name} is only watched', law=LAW_TRUTH)
    if not case.fresh:
        why = seen.provisioner_error or (
            'it no longer names this volume' if seen.volume_age_s is None
            else 'its last word is too old')
        return _say(case, phase, f'the provisioner cannot be asked ({why}): '
                    f'nothing of {array.name} is changed', law=LAW_TRUTH)
    if seen.volume.nonsense is not None:
        return _say(case, Phase.HELD, f'the provisioner contradicts itself '
                    f'({seen.volume.nonsense}): nothing of {array.name} is '
                    f'changed', law=LAW_TRUTH)
    return _unnamed(case, array)


def _frozen(case: case_lib.Case) -> model.Verdict | None:
    """Who froze it is not known: mdadm at work, or an extend that died."""
    array = case.seen.array
    if array is None or not array.frozen:
        return None
    since_s = case.memory.frozen_s
    if since_s is None or case.now_s - since_s < FROZEN_S:
        return _say(case, Phase.HEALING,
                    f'{array.name} is frozen for a moment, as mdadm does '
                    'while it changes something', law=LAW_OURS,
                    look_again_s=1.0)
    return _say(case, Phase.HELD,
                f'{array.name} is frozen: MD copies nothing to a new leg '
                f'until whoever froze it writes idle to '
                f'/sys/block/{array.name}/md/sync_action; if that was an '
                f'extend that was killed, do it by hand', law=LAW_OURS,
                look_again_s=1.0)


def _unnamed(case: case_lib.Case,
             array: model.Array) -> model.Verdict | None:
    good = {m.device for m in array.members if 'faulty' not in m.flags}
    named = {n.device for n in case.seen.namespaces.values()}
    strange = sorted(good & set(case.seen.foreign) - named)
    if not strange:
        return None
    return _say(case, Phase.HELD,
                f'{", ".join(strange)} is a leg of {array.name}, but the '
                f'provisioner does not name it for this volume: nothing is '
                f'changed until it does', law=LAW_TRUTH)


def _healing(case: case_lib.Case) -> model.Verdict | None:
    """The first that can do something; else the first that waits.

    A healer that waits for one leg must not keep the next one from another
    leg; only while MD copies everything after it waits too.
    """
    waits: model.Verdict | None = None
    for healer in heal.HEALERS:
        found = healer(case)
        if found is None:
            continue
        if found.action is not None or found.phase is Phase.RESYNCING:
            return found
        waits = found if waits is None else dataclasses.replace(
            waits, look_again_s=min(waits.look_again_s, found.look_again_s))
    sick = _sick(case)
    if waits is None or sick is None:
        return waits
    return dataclasses.replace(
        waits, sentence=f'{waits.sentence}; and {sick.sentence}')


def _sick(case: case_lib.Case) -> model.Verdict | None:
    """Legs that MD complains of but keeps, and legs to be taken away."""
    array = case.seen.array
    assert array is not None
    for leg in case.in_sync:
        assert leg.member is not None
        words = leg.member.flags & {'write_error', 'want_replacement'}
        if words and len(case.in_sync) == 1:
            return _say(case, Phase.HELD,
                        f'{leg.name} of {array.name} is sick '
                        f'({", ".join(sorted(words))}) but it is the last '
                        f'in-sync one: it is kept, it holds the only whole '
                        f'copy', law=saying.LAW_LAST_LEG)
        if leg.replica.state is model.ReplicaState.TERMINATING:
            return _say(case, Phase.HELD,
                        f'the provisioner wants to take away {leg.name}, '
                        f'which is in sync: it is kept until a successor is '
                        f'in sync', law=saying.LAW_SUCCESSOR)
    return None


def _awaited(case: case_lib.Case) -> str | None:
    """What is wrong with a leg that MD still counts on; None: nothing."""
    array = case.seen.array
    assert array is not None
    dead = next((x for x in case.members if x.dead_s is not None), None)
    if dead is not None:
        return (f'{dead.name} of {array.name} has no live path; it comes '
                f'back, or is given up once another leg in sync is proven '
                f'to answer')
    silent = flow.unheard(case)
    if silent is None:
        return None
    waits = 'the guest waits' if array.stuck_s > 0 else 'a write would wait'
    return (f'{silent} of {array.name} is silent, though the kernel calls '
            f'it live: {waits} for it until it answers, or is cut off once '
            f'another leg in sync is proven to answer')


def _healthy(case: case_lib.Case) -> model.Verdict:
    array = case.seen.array
    assert array is not None
    count = len(case.in_sync)
    well_s = max(1.0, min(WELL_S, heal.withdrawn_in_s(case)))
    if array.degraded or count < array.raid_disks:
        # One that is being taken away does not come: a person may be needed.
        waiting = ', '.join(
            x.name for x in case.outside if x.replica.state
            is not model.ReplicaState.TERMINATING) or (
                'a leg: the provisioner names none that could come; if that '
                'lasts, add one there')
        return _say(case, Phase.DEGRADED,
                    f'{array.name} runs on {count} of {array.raid_disks} '
                    f'legs and waits for {waiting}', law=None,
                    look_again_s=1.0)
    awaited = _awaited(case)
    if awaited is not None:
        return _say(case, Phase.DEGRADED, awaited, law=flow.LAW_LAST_LEG,
                    look_again_s=1.0)
    flagged = _still_flagged(case)
    if flagged is not None:
        return flagged
    return _say(case, Phase.HEALTHY,
                f'all {count} legs of {array.name} are in sync', law=None,
                look_again_s=well_s)


def seldom_s(wait_s: float, volumes: int) -> float:
    """When to look again, seconds, with so many volumes on this host.

    Only who is well can wait longer: the cost of looks that nothing has
    called for must not grow with the number of volumes.
    """
    return wait_s if wait_s < WELL_S else max(wait_s, volumes * WELL_EACH_S)


_ROOMS: tuple[Callable[[case_lib.Case], model.Verdict | None], ...] = (
    _gone, _not_the_array, _nova, _broken, _two_hosts, _flowing,
    _clear_failfast, _frozen, _truth, _healing, _sick)
