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
"""How memory follows what is seen: losses, returns, requests. Pure.

All that is here is bookkeeping: nothing is decided, nothing is done.
"""

import dataclasses

from os_brick_healer.engine import limits, pacing
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model

#: A replacement that has not been named for so many times the time that its
#: arrival may take is gone.
ARRIVED_GONE_SHARE = 4
#: What was asked for may still come so long (seconds) after that, though it
#: is not needed any more.
LATE_S = 3600.0
#: So many requests of one leg may still be late.
LATE_MAX = 4
#: A kernel that has reconnected in vain for so long to a portal that answers
#: is refused there: the server lives, the replica on it does not. Seconds.
REFUSED_S = 30.0
#: In a longer time without a look a leg may have been back and gone again,
#: seconds: the agent did not run, or could not look at the volume.
UNWATCHED_S = 20.0
_SYNCHRONIZING = model.ReplicaState.SYNCHRONIZING


def update(case: case_lib.Case) -> model.Memory:
    """The memory after this look.

    Without the provisioner's words nothing about replicas can be told, so
    the memory stays as it is.
    """
    seen, memory = case.seen, dataclasses.replace(
        case.memory, frozen_s=_frozen_s(case))
    if seen.volume is None or seen.volume.nonsense is not None:
        return memory
    uuid = memory.array_uuid
    if seen.array is not None:
        if uuid is not None and uuid != seen.array.uuid:
            return memory       # another array tells nothing about ours
        uuid = seen.array.uuid
    # Who is named when the array is first seen belongs to it, in or out.
    first = memory.array_uuid is None
    replicas = {**_unnamed(case),
                **{leg.id: _one(case, leg, first) for leg in case.legs}}
    replicas = _handed_on(case, replicas)
    if case.fresh:
        replicas = _arrivals(case, replicas)
    return dataclasses.replace(memory, array_uuid=uuid, replicas=replicas)


def unwatched(memory: model.Memory, looked_s: float,
              now_s: float) -> model.Memory:
    """The memory for a look, given when the last look was.

    A leg that was out of reach and still in its array may have served since:
    its grace starts anew. That of one that was out of it goes on, or an
    agent that is held up again and again would never replace anything.
    """
    if now_s - looked_s <= UNWATCHED_S:
        return memory
    return dataclasses.replace(memory, replicas={
        key: dataclasses.replace(one, unreachable_s=now_s)
        if one.unreachable_s is not None and one.lost_s is None else one
        for key, one in memory.replicas.items()})


def _frozen_s(case: case_lib.Case) -> float | None:
    array = case.seen.array
    if array is None or not array.frozen:
        return None
    return _since(case.memory.frozen_s, case.now_s)


def _unnamed(case: case_lib.Case
             ) -> dict[model.ReplicaId, model.ReplicaMemory]:
    """What is still remembered of replicas that are not named.

    An answer may leave one out for once, or all of them; what was asked for
    in its place must not be asked for again when it is back.
    """
    named = {leg.id for leg in case.legs}
    gone = {key: one for key, one in case.memory.replicas.items()
            if key not in named}
    if not case.fresh:
        return gone     # old words may lack what newer ones name
    since = {key: _since(one.unnamed_s, case.now_s)
             for key, one in gone.items()}
    newest = sorted(gone, key=lambda k: (-since[k], k))
    return {key: _left(gone[key], since[key])
            for key in newest[:limits.UNNAMED_MAX]
            if case.now_s - since[key] < limits.UNNAMED_KEPT_S}


def _left(one: model.ReplicaMemory, since_s: float) -> model.ReplicaMemory:
    """What failed while it was named must not put off letting it go."""
    first = one.unnamed_s is None
    return dataclasses.replace(
        one, unnamed_s=since_s,
        next_try_s=0.0 if first else one.next_try_s)


def former(memory: model.Memory,
           volume: model.Volume | None) -> tuple[model.Replica, ...]:
    """Replicas that were this volume's and are not named any more."""
    if volume is None:
        return ()
    named = {replica.id for replica in volume.replicas}
    return tuple(
        model.Replica(id=key, nqn=one.nqn, portals=(),
                      namespace_uuid=one.namespace_uuid,
                      state=model.ReplicaState.UNKNOWN)
        for key, one in memory.replicas.items()
        if key not in named and one.nqn is not None)


def unread(memory: model.Memory,
           volume: model.Volume | None) -> model.Memory:
    """The memory of a volume that cannot be looked at: who is named, alone.

    Should one be taken away before the next look, only this tells whose its
    connections are.
    """
    if volume is None or volume.nonsense is not None:
        return memory
    replicas = dict(memory.replicas)
    for one in volume.replicas:
        old = replicas.get(one.id, model.ReplicaMemory())
        if one.id in replicas or len(replicas) < limits.UNNAMED_MAX:
            replicas[one.id] = dataclasses.replace(
                old, unnamed_s=None, nqn=one.nqn or old.nqn,
                namespace_uuid=one.namespace_uuid or old.namespace_uuid)
    return dataclasses.replace(memory, replicas=replicas)


def _one(case: case_lib.Case, leg: case_lib.Leg,
         first: bool) -> model.ReplicaMemory:
    old = leg.memory
    if case.seen.array is None:
        return dataclasses.replace(old, unnamed_s=None)
    inside = leg.member is not None and not leg.faulty
    # Errors are about what was tried last: in or out is another matter.
    anew = (leg.in_sync if old.in_sync_s is None else not inside)
    reachable = _reachable(leg)
    return dataclasses.replace(
        old,
        unnamed_s=None,
        nqn=leg.replica.nqn or old.nqn,
        namespace_uuid=leg.replica.namespace_uuid or old.namespace_uuid,
        # One that is being filled as we first see it is new.
        belongs=old.belongs or inside or (first and leg.replica.state
                                          is not _SYNCHRONIZING),
        lost_s=None if inside else _since(old.lost_s, case.now_s),
        losses_s=_losses(case, leg, inside),
        unreachable_s=(old.unreachable_s if reachable is None
                       else None if reachable
                       else _since(old.unreachable_s, case.now_s)),
        in_sync_s=(_since(old.in_sync_s, case.now_s) if leg.in_sync
                   else None),
        # A member is written to: what it carried before is history.
        superblock=(None if inside or leg.namespace is None
                    else old.superblock),
        readd_refused=old.readd_refused and not leg.in_sync,
        tries=0 if anew else old.tries,
        next_try_s=0.0 if anew else old.next_try_s,
        last_error=None if anew else old.last_error,
        published=old.published or inside,
        let_go=old.let_go and not leg.paths,
        request=_over(case, leg), late=_late(case, leg))


def _since(old_s: float | None, now_s: float) -> float:
    return now_s if old_s is None else old_s


def _reachable(leg: case_lib.Leg) -> bool | None:
    """None: its portals have not been probed lately."""
    if leg.live:
        # A target may live on without the namespace that was its leg.
        return leg.silent_s is None and leg.namespace is not None
    if leg.portal_answers is None and leg.probed:
        return None
    return bool(leg.portal_answers) and (leg.dead_s or 0.0) < REFUSED_S


def _losses(case: case_lib.Case, leg: case_lib.Leg,
            inside: bool) -> tuple[float, ...]:
    old = leg.memory
    was_inside = old.belongs and old.lost_s is None
    if was_inside and not inside and old.in_sync_s is not None:
        return pacing.add_loss(old.losses_s, case.now_s,
                               case.policy.flap_window_s)
    return old.losses_s


def _over(case: case_lib.Case, leg: case_lib.Leg) -> model.Request | None:
    """A request is forgotten when its leg is back for good.

    For good: nothing has arrived for long, or what arrived is gone for long,
    or is a leg beside it.
    """
    request, since_s = leg.memory.request, leg.memory.in_sync_s
    if request is None or _arrived_in_vain(case, request):
        return None
    if not leg.in_sync or since_s is None:
        return request
    if request.arrived is not None:
        return None if _both_legs(case, request) else request
    waited_s = case.now_s - since_s
    return request if waited_s < 2 * case.policy.arrival_s else None


def _both_legs(case: case_lib.Case, request: model.Request) -> bool:
    """Its successor has the slot of another, which has been let go.

    Neither replaces the other from then on: the one that is lost next needs
    a request of its own.
    """
    line = case.heirs(request)
    return (case.whole and any(x.id in line for x in case.in_sync)
            and not any(x.memory.belongs for x in case.outside))


def _handed_on(
        case: case_lib.Case,
        replicas: dict[model.ReplicaId, model.ReplicaMemory],
) -> dict[model.ReplicaId, model.ReplicaMemory]:
    """A successor that has another's slot came in the place of that one.

    What was asked for that one itself may still come, late, and become a leg:
    it is one too many then, or this is. Who went last had the slot: all that
    are named have one.
    """
    after, named = dict(replicas), {leg.id for leg in case.legs}
    for leg in case.legs:
        request = leg.memory.request
        if (request is None or after[leg.id].request is not None
                or not _both_legs(case, request)):
            continue
        went_s = {key: _since(one.unnamed_s, case.now_s)
                  for key, one in after.items()
                  if key not in named and one.belongs
                  and not _has_heir(case, one)}
        if went_s:
            last = max(went_s, key=lambda k: (went_s[k], k))
            after[last] = _replaced_by(after[last], request)
    return after


def _has_heir(case: case_lib.Case, one: model.ReplicaMemory) -> bool:
    if one.request is not None and one.request.arrived is not None:
        return True
    came = {late.arrived for late in one.late}
    return any(leg.id in came for leg in case.in_sync)


def _replaced_by(one: model.ReplicaMemory,
                 request: model.Request) -> model.ReplicaMemory:
    """One of its own is still to be answered, or in doubt: it stays."""
    if one.request is None:
        return dataclasses.replace(one, request=request)
    return dataclasses.replace(one, late=(*one.late, request)[-LATE_MAX:])


def _late(case: case_lib.Case,
          leg: case_lib.Leg) -> tuple[model.Request, ...]:
    """What may still come of requests that are over, for a while.

    Of one of which nobody knows whether it was heard it may, too.
    """
    late, request = leg.memory.late, leg.memory.request
    if (request is not None and request.arrived is None
            and _over(case, leg) is None):
        late = (*late, request)[-LATE_MAX:]
    return tuple(x for x in late if _may_come(case, x))


def _may_come(case: case_lib.Case, late: model.Request) -> bool:
    """Whether anything may still come of it, or has and is still here."""
    if late.arrived is None:
        return case.now_s - late.asked_s < LATE_S
    return not case.fresh or any(x.id == late.arrived for x in case.legs)


def _arrived_in_vain(case: case_lib.Case, request: model.Request) -> bool:
    """What arrived has been taken away again: another may be asked for.

    So has all that came in its place: while one of these is named, another
    is asked for in the place of that.
    """
    line = case.heirs(request)
    return bool(line) and case.fresh and all(_gone(case, x) for x in line)


def _gone(case: case_lib.Case, name: model.ReplicaId) -> bool:
    """One answer that leaves it out does not say so; hence the long wait.

    One that is being taken away, and is no leg, is not to be used any more.
    """
    leg = next((x for x in case.legs if x.id == name), None)
    if leg is not None:
        return (leg.member is None and leg.replica.state
                is model.ReplicaState.TERMINATING)
    one = case.memory.replicas.get(name)
    return one is None or (
        one.unnamed_s is not None and case.now_s - one.unnamed_s
        >= ARRIVED_GONE_SHARE * case.policy.arrival_s)


def _arrivals(
        case: case_lib.Case,
        replicas: dict[model.ReplicaId, model.ReplicaMemory],
) -> dict[model.ReplicaId, model.ReplicaMemory]:
    """A request is answered once a name that it did not know is named.

    Each new name answers one request, the oldest first; that of a leg that
    is back in sync, or named no more, which nobody waits for, last; before
    it one that has clearly failed. One that was ever a leg (what it came for
    may be forgotten by now) is no news.
    """
    answered = dict(replicas)
    lost = {leg.id for leg in case.legs if not leg.in_sync}
    taken = {request.arrived for m in replicas.values()
             for request in (m.request, *m.late) if request is not None}
    # One that was accepted before one of which nobody knows if it was heard.
    waiting = [((key not in lost,
                 m.request.state is not model.RequestState.ACCEPTED,
                 m.request.failed, m.request.asked_s), key, m.request)
               for key, m in replicas.items() if m.request is not None
               and m.request.state is not model.RequestState.ARRIVED]
    for _turn, key, request in sorted(waiting, key=lambda x: x[:2]):
        new = [leg.id for leg in case.legs
               if leg.id not in request.known and leg.id not in taken
               and not leg.memory.belongs]
        if new:
            taken.add(new[0])
            answered[key] = dataclasses.replace(
                answered[key], request=dataclasses.replace(
                    request, state=model.RequestState.ARRIVED,
                    arrived=new[0]))
    return _too_late(case, answered, taken)


def _too_late(case: case_lib.Case,
              replicas: dict[model.ReplicaId, model.ReplicaMemory],
              taken: set[model.ReplicaId | None],
              ) -> dict[model.ReplicaId, model.ReplicaMemory]:
    """What no request waits for may be what came of one that is over.

    It is welcome if the leg has been lost again meanwhile.
    """
    answered = dict(replicas)
    for key in sorted(replicas):
        for late in replicas[key].late:
            new = [] if late.arrived is not None else [
                leg.id for leg in case.legs
                if leg.id not in late.known and leg.id not in taken
                and not leg.memory.belongs]
            if new:
                taken.add(new[0])
                answered[key] = _came(answered[key], late, new[0])
    return answered


def _came(one: model.ReplicaMemory, late: model.Request,
          name: model.ReplicaId) -> model.ReplicaMemory:
    came = dataclasses.replace(
        late, state=model.RequestState.ARRIVED, arrived=name)
    if one.lost_s is not None and one.request is None:
        return dataclasses.replace(one, request=came, late=tuple(
            x for x in one.late if x is not late))
    return dataclasses.replace(one, late=tuple(
        came if x is late else x for x in one.late))
