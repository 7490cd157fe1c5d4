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
"""Keeping the guest's I/O flowing when legs die (law 7). Pure.

The kernel only queues: connections are made without a fast-fail timer and
MD's failfast flag is cleared, so a total outage is a wait and not an
error. This room breaks the wait: a leg is given up, by deleting its
controllers, exactly while another in-sync leg is proven live. Then MD
drops it by itself and its bitmap keeps what it misses.
"""

from os_brick_healer.engine import verdict
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model

LAW_QUEUE = 'prefer-a-queue-to-an-error'
LAW_LAST_LEG = 'keep-the-last-leg'


def keep_flowing(case: case_lib.Case) -> model.Verdict | None:
    """The verdict about I/O that waits, or that soon would."""
    array = case.seen.array
    if array is None:
        return None
    said: list[model.Verdict] = []
    for leg in case.members:
        if not leg.faulty:
            found = _silent(case, array, leg) or _dead(case, array, leg)
            if found is not None and found.action is not None:
                return found
            said += [] if found is None else [found]
    # A leg that waits, or that is kept, must not keep another one.
    return (min(said, key=lambda v: v.look_again_s) if said
            else _stalled(case, array))


def _survivors(case: case_lib.Case, lost: case_lib.Leg,
               dead_s: float) -> tuple[case_lib.Leg, ...]:
    return tuple(x for x in case.in_sync
                 if x.id != lost.id and x.proves_live(dead_s))


def _dead(case: case_lib.Case, array: model.Array,
          leg: case_lib.Leg) -> model.Verdict | None:
    if leg.dead_s is None or leg.memory.flow_next_s > case.now_s:
        return None
    if any(p.state not in (model.PathState.CONNECTING, model.PathState.DEAD)
           for p in leg.paths):
        return None     # a tear-down under way: a deletion would wait too
    survivors = _survivors(case, leg, leg.dead_s)
    if not survivors:
        return None     # _stalled() says it
    danger = case.seen.endangered.get(leg.id)
    if danger is not None:
        return model.Verdict(
            phase=verdict.Phase.STALLED, memory=case.memory,
            look_again_s=case.policy.poll_s, law=LAW_QUEUE,
            sentence=f'{leg.name} of {array.name} has no live path, but its '
                     f'controller also leads to {danger}: it is kept')
    wait_s = (case.policy.break_after_s if array.stuck_s > 0
              else case.policy.idle_break_after_s)
    if _was_silent(case, leg):
        wait_s = 0.0
    if leg.dead_s < wait_s:
        return model.Verdict(
            phase=verdict.Phase.DEGRADED, memory=case.memory,
            look_again_s=wait_s - leg.dead_s, law=LAW_QUEUE,
            sentence=f'{leg.name} of {array.name} has lost its connection; '
                     f'it has {wait_s:g} s to come back before it is given '
                     f'up')
    live = survivors[0]
    return model.Verdict(
        phase=verdict.Phase.HEALING, memory=case.memory,
        look_again_s=case.policy.poll_s, law=LAW_QUEUE,
        action=model.BreakLeg(
            volume=case.seen.key, law=LAW_QUEUE, replica=leg.id,
            device=leg.member.device if leg.member else '',
            paths=leg.paths, survivors=tuple(x.id for x in survivors),
            array=array.name, array_uuid=array.uuid),
        sentence=f'{leg.name} of {array.name} has no live path and '
                 f'{live.name} is in sync and answers: give the dead one '
                 f'up, so that writes go on')


def _was_silent(case: case_lib.Case, leg: case_lib.Leg) -> bool:
    """Whether it was cut for its silence just now, and is silent still.

    A reconnect would hang, and with it the deletion, and the guest (3 s on
    Linux 6.1). The tear-down after the cut may have had to wait for a
    keep-alive that was under way: its time and a second more.
    """
    torn_down_s = 2 * case.policy.keep_alive_s + 2.0
    return (leg.memory.cut_next_s > 0
            and case.now_s < leg.memory.cut_next_s + torn_down_s
            and not any(p.portal_answers for p in leg.paths))


def _silent_paths(leg: case_lib.Leg,
                  silence_s: float) -> tuple[model.Path, ...]:
    live = tuple(p for p in leg.paths if p.state is model.PathState.LIVE)
    if leg.silent_s is not None:
        return live if leg.silent_s >= silence_s else ()
    if not any(p.portal_answers for p in live):
        return ()
    return tuple(p for p in live if (p.silent_for_s or 0.0) >= silence_s)


def unheard(case: case_lib.Case) -> str | None:
    """What the kernel calls live and is silent: a leg, or a path of one.

    What is sent over it waits, be it about to be cut again or not.
    """
    return next((_silent_one(x) for x in case.members if not x.faulty
                 and _silent_paths(x, case.policy.silence_s)), None)


def _silent_one(leg: case_lib.Leg) -> str:
    return leg.name if leg.silent_s is not None else f'a path of {leg.name}'


def _silent(case: case_lib.Case, array: model.Array,
            leg: case_lib.Leg) -> model.Verdict | None:
    """What is silent is cut, be it a leg or one path of several.

    The kernel sends a path's requests over another one only once it has
    noticed; until then they hang as if the whole leg were silent.
    """
    silent = _silent_paths(leg, case.policy.silence_s)
    if not silent:
        return None
    silent_s = min(p.silent_for_s or 0.0 for p in silent)
    survivors = _survivors(case, leg, silent_s)
    if not survivors or leg.memory.cut_next_s > case.now_s:
        return None      # just cut: the kernel is tearing it down
    live = survivors[0]
    return model.Verdict(
        phase=verdict.Phase.HEALING, memory=case.memory,
        look_again_s=case.policy.poll_s, law=LAW_QUEUE,
        action=model.CutSilent(
            volume=case.seen.key, law=LAW_QUEUE, replica=leg.id,
            paths=silent,
            survivors=tuple(x.id for x in survivors),
            array=array.name, array_uuid=array.uuid),
        sentence=f'{_silent_one(leg)} of {array.name} has not answered for '
                 f'{silent_s:.1f} s while {live.name} does: cut its '
                 f'connection now instead of waiting for the keep-alive')


def _stalled(case: case_lib.Case,
             array: model.Array) -> model.Verdict | None:
    """No in-sync leg is live: wait, and say so."""
    in_sync = case.in_sync
    if not in_sync or any(x.live and x.silent_s is None for x in in_sync):
        return None
    names = ', '.join(x.name for x in in_sync)
    return model.Verdict(
        phase=verdict.Phase.STALLED, memory=case.memory,
        look_again_s=case.policy.poll_s, law=LAW_LAST_LEG,
        sentence=f'no in-sync leg of {array.name} is live ({names}): '
                 f'writes wait until one is back; nothing is given up, '
                 f'because a queue is better than an error')
