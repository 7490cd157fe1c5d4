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
"""Whose word is in doubt: a portal's, or this whole host's. Pure."""

from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
import math
from typing import TYPE_CHECKING

from os_brick_healer.engine import limits, pacing
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model

if TYPE_CHECKING:
    from os_brick_healer.replica import probe

#: A lost leg's portals are probed after this share of the time it has been
#: lost, within these bounds (seconds).
PROBE_SHARE, PROBE_FIRST_S, PROBE_LAST_S = 0.1, 1.0, 15.0
#: An agent that has just been started knows nothing of most back ends yet:
#: for so long (seconds) the brake is on.
START_S = 5.0
STARTED = ('this agent has just been started, and has not looked at all '
           'volumes yet')
#: As after a start, so after a pause that was longer than that.
PAUSED = ('this agent did not run for a while, and has not looked at all '
          'volumes since')


def portals(seen: model.Seen, memory: model.Memory, poll_s: float,
            age_s: Callable[[model.Portal], float | None],
            ) -> tuple[list[model.Portal], float]:
    """Which portals to probe now, and when to look again, seconds.

    :param age_s: how old the last result about a portal is, if any.
    """
    if seen.array is None or seen.volume is None:
        return [], math.inf
    paths = [p for r in seen.volume.replicas
             if case_lib.member_of(seen, r.id) is not None
             for p in seen.paths.get(r.id, ())]
    doubt = seen.array.stuck_s > 0 or any(
        p.state is not model.PathState.LIVE or p.portal_answers is False
        for p in paths)
    # Each probe that ends causes a look, and a target may answer within a
    # fraction of a millisecond: without a pause the two chase each other.
    wanted = [p.portal for p in paths
              if (age := age_s(p.portal)) is None or age >= poll_s / 2
              ] if doubt else []
    again_s = poll_s if doubt else math.inf
    for replica in seen.volume.replicas:
        one = memory.replicas.get(replica.id)
        if one is None or one.lost_s is None:
            continue
        wait_s = min(PROBE_LAST_S, max(
            PROBE_FIRST_S, PROBE_SHARE * (seen.now_s - one.lost_s)))
        again_s = min(again_s, wait_s)
        for portal in replica.portals:
            age = age_s(portal)
            if age is None or age >= wait_s:
                wanted.append(portal)
    return wanted, again_s


def answers(volume: model.Volume | None,
            results: 'Mapping[model.Portal, probe.Result]',
            fresh_s: float) -> dict[model.Portal, bool]:
    """What fresh probes of a volume's portals say."""
    told: dict[model.Portal, bool] = {}
    for replica in () if volume is None else volume.replicas:
        for portal in replica.portals:
            result = results[portal]
            if (result.answers is not None and result.age_s is not None
                    and result.age_s < fresh_s):
                told[portal] = result.answers
    return told


def peers(volume: model.Volume | None, us: str) -> frozenset[str] | None:
    """Names of the other hosts that have a volume; None: not known."""
    if volume is None or volume.hosts is None:
        return None
    return volume.hosts - {us}


def brake(known: Iterable[tuple[model.Seen, model.Memory]], ratio: float,
          unread: Collection[str] = (),
          unseen: Iterable[tuple[model.Volume, model.Memory]] = (),
          silent: Callable[[model.Portal], bool] = lambda _portal: False,
          ) -> str | None:
    """Whether so many back ends are lost that this host doubts itself.

    :param unread: volumes that cannot be looked at any more. What they had
        lost may still be lost; what they had may be lost by now.
    :param unseen: those that no look of this agent has found yet, as they
        were named and remembered last: likewise.
    :param silent: whether a portal did not answer when it was probed last,
        be it for another volume that is rid of it by now.
    """
    every: set[str] = set()
    lost: set[str] = set()
    fine: set[str] = set()
    for seen, memory in known:
        if seen.volume is None or seen.array is None:
            continue
        for replica in seen.volume.replicas:
            one = memory.replicas.get(replica.id)
            names = {p.address for p in replica.portals}
            every |= names
            if one is not None and one.unreachable_s is not None:
                # A server that answers is there, though a replica is not.
                lost |= {p.address for p in replica.portals
                         if not seen.answers.get(p)}
            elif seen.key in unread:
                lost |= {p.address for p in replica.portals if silent(p)}
            elif _unheard(seen.paths.get(replica.id, ())):
                lost |= names       # until a probe has told
            else:
                fine |= names
    for volume, memory in unseen:
        if memory.array_uuid is None:
            continue
        for replica in volume.replicas:
            one = memory.replicas.get(replica.id)
            every |= {p.address for p in replica.portals}
            gone = one is not None and one.unreachable_s is not None
            lost |= {p.address for p in replica.portals if gone or silent(p)}
    return pacing.brake(lost - fine, every, ratio)


def _unheard(paths: Sequence[model.Path]) -> bool:
    """Connected once, and for now nothing says that a server is there."""
    return bool(paths) and not any(
        p.state is model.PathState.LIVE or p.portal_answers for p in paths)


def requests_left(memories: Iterable[model.Memory], now_s: float,
                  policy: limits.Policy) -> int:
    """How many replacements this host may still request in this hour."""
    asked = [one.request.asked_s for memory in memories
             for one in memory.replicas.values() if one.request is not None]
    return pacing.budget_left(asked, now_s, policy.requests_per_hour_max)


def spares(seen: model.Seen, device: str) -> bool:
    """Whether a volume can do without this leg now.

    Another leg in sync is proven to answer: the kernel alone calls one live
    whose target has been silent for a while. And no other host has it: that
    one would not learn which leg is stale from then on. What is out of the
    array already is no loss.
    """
    out = unused(seen, device) is not None
    if _idle(seen) or (seen.array is not None and out):
        return out
    if seen.peers_hold:
        return False
    return any(p.portal_answers or (
        p.portal_answers is None and p.portal.transport != 'tcp')
        for p in _ways(seen, device))


def has(seen: model.Seen, device: str) -> bool:
    """Whether a block device is one of this volume's now.

    A kernel name is given again: what once was a leg of this volume may be
    one of another's.
    """
    members = () if seen.array is None else seen.array.members
    return (any(one.device == device for one in seen.namespaces.values())
            or any(one.device == device for one in members))


def relied_on(seen: model.Seen, device: str) -> frozenset[model.Portal]:
    """Over which portals a volume goes on without this leg.

    None at all: it is not used, so nothing has to go on.
    """
    if unused(seen, device) is not None:
        return frozenset()
    return frozenset(p.portal for p in _ways(seen, device))


def unused(seen: model.Seen, device: str) -> model.Namespace | None:
    """One of a volume's replicas, if it is out of its array."""
    return next((n for n in seen.namespaces.values()
                 if n.device == device and not n.holders), None)


def _ways(seen: model.Seen, device: str) -> Iterator[model.Path]:
    """Paths that the kernel calls live, to other legs in sync."""
    for replica, namespace in seen.namespaces.items():
        if namespace.device != device and case_lib.in_sync(seen, replica):
            yield from (path for path in seen.paths.get(replica, ())
                        if path.state is model.PathState.LIVE)


def _idle(seen: model.Seen) -> bool:
    """Whether nobody uses a volume here: it is not attached, nor about to."""
    attachment = seen.attachment
    return seen.array is None and (attachment is None or (
        attachment.state is not model.AttachState.ATTACHED
        and not attachment.owner_alive))
