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
"""What one look at a mapped volume comes to. Pure.

The rooms are asked in order, and the first that has something to say
decides: *gone, a connector at work, not our device, no server, a server that
is dying, that hangs, that is cut off, that is not proven, that is silent,
the timer*. The order is the safety argument: what must not be touched is
settled before anything is done to keep requests moving.
"""

from collections.abc import Callable
import dataclasses

from os_brick_healer.engine import verdict
from os_brick_healer.mapping import learn, model
from os_brick_healer.mounter import base

Phase = verdict.Phase
Verdict = model.Verdict

#: Between two looks at what a connector works on, seconds.
_NOVA_S = 1.0
#: Between two looks at a process that is about to be gone, seconds.
_DYING_S = 0.1
#: Between two looks at requests that wait for slow storage, seconds.
_SLOW_S = 2.0
#: On a host with many: not more than one that is well in this time, seconds.
WELL_EACH_S = 1.0
#: An answer older than this is asked for again, seconds.
ANSWER_KEPT_S = 5.0
#: The kernel may tell so late of the death of the connection before this
#: one, seconds: it leaves that to a queue of its own.
_LATE_S = 2.0
#: A server that answers, and was sent a read that did not come back, is
#: taken for cut off when a later read is not sent and nothing has ended for
#: so long, seconds: it may as well take no more for as long as its storage
#: is slow.
CUT_S = 20.0


def decide(seen: model.Seen, memory: model.Memory,
           policy: model.Policy) -> Verdict:
    """The one thing to do now, or why nothing is done."""
    memory = learn.absorb(seen, memory, policy)
    for room in _ROOMS:
        found = room(seen, memory, policy)
        if found is not None:
            return _held(seen, found)
    return _say(Phase.HEALTHY, memory, policy.idle_s,
                f'{_name(seen)} is served by {seen.server}')


def seldom_s(wait_s: float, policy: model.Policy, volumes: int) -> float:
    """When to look again, seconds, with so many volumes on this host.

    Only who is well can wait longer: the cost of looks that nothing has
    called for must not grow with the number of volumes. Deaths and hangs
    are told long before.
    """
    return wait_s if wait_s < policy.idle_s else max(
        wait_s, volumes * WELL_EACH_S)


def _held(seen: model.Seen, found: Verdict) -> Verdict:
    """While healing is paused it is said what would be done."""
    if seen.paused is None or found.action is None:
        return found
    return dataclasses.replace(
        found, action=None, phase=Phase.HELD, look_again_s=_NOVA_S,
        sentence=f'healing is paused ({seen.paused}); else: '
                 f'{found.sentence}')


def _gone(seen: model.Seen, memory: model.Memory,
          policy: model.Policy) -> Verdict | None:
    if seen.attachment is not None:
        return None
    return _say(Phase.GONE, memory, policy.idle_s,
                'the volume is not mapped on this host')


def _nova(seen: model.Seen, memory: model.Memory,
          _policy: model.Policy) -> Verdict | None:
    found = seen.attachment
    assert found is not None
    state = found.state
    if state is model.AttachState.DISCONNECTING or (
            state is not model.AttachState.ATTACHED and found.owner_alive):
        return _say(Phase.HELD, memory, _NOVA_S,
                    f'a connector is {state.value} it: hands off',
                    law='connector')
    if found.mapping is None or found.mapping.order.device is None:
        return _say(Phase.BROKEN, memory, _SLOW_S * 10,
                    'its attach did not come to an end: attach it again, '
                    'or detach it', law='connector')
    if found.mapping.abilities is None:
        return _say(Phase.BROKEN, memory, _SLOW_S * 10,
                    f'the mounter {found.mapping.mounter} is not installed '
                    'here', law='mounter')
    return None


def _not_ours(seen: model.Seen, memory: model.Memory,
              _policy: model.Policy) -> Verdict | None:
    name, device = _name(seen), seen.device
    if device is None or not device.connected:
        state = ('mounted: it was unmounted, and is left so'
                 if base.is_place(name) else
                 'connected: nothing can be brought back, the volume must '
                 'be attached again')
        return _say(Phase.BROKEN, memory, _SLOW_S * 10,
                    f'{name} is not {state}', law='unmapped')
    if device.cookie != seen.key and base.is_place(name):
        return _say(Phase.BROKEN, memory, _SLOW_S * 10,
                    f'{name} is {device.cookie} now, and is not touched',
                    law='cookie')
    if device.cookie != seen.key:
        return _say(Phase.BROKEN, memory, _SLOW_S * 10,
                    f'{name} has cookie {device.cookie}: it is another '
                    "volume's now, and is not touched", law='cookie')
    return None


def _no_server(seen: model.Seen, memory: model.Memory,
               policy: model.Policy) -> Verdict | None:
    if seen.server is not None and seen.left is None:
        return None
    if seen.elsewhere is not None:
        return _say(Phase.HELD, memory, _SLOW_S * 10,
                    f'{_name(seen)} has no server, and gets none: '
                    f'{seen.elsewhere}', law='elsewhere')
    wait_s = memory.next_try_s - seen.now_s
    if memory.refused is not None and wait_s > 0:
        return _say(Phase.BROKEN, memory, wait_s,
                    f'{_name(seen)} has no server, and gets none: '
                    f'{memory.refused}', law='refused')
    if wait_s > 0:
        return _say(Phase.STALLED, memory, wait_s,
                    f'{_name(seen)} has no server; the next try is in '
                    f'{wait_s:.1f} s, the last one failed: '
                    f'{memory.last_error}', law='serve')
    mapping = _mapping(seen)
    lost = '' if _transparent(mapping) else (
        ', and it is mounted anew: not transparent, files that are open '
        'there are lost')
    return _say(
        Phase.HEALING, memory, policy.attach_s,
        f'no process serves {_name(seen)}: a new one is started{lost}',
        model.Serve(volume=seen.key, device=_name(seen),
                    mounter=mapping.mounter, left=seen.left))


def _dying(seen: model.Seen, memory: model.Memory,
           _policy: model.Policy) -> Verdict | None:
    """A new server beside it could be overtaken by a write of the old one,
    which the kernel has sent anew, and a newer one after it."""
    if seen.server is None or not seen.server.dying:
        return None
    return _say(Phase.STALLED, memory, _DYING_S,
                f'{seen.server} of {_name(seen)} was killed, and threads of '
                'it are still at work in the kernel', law='serve')


def _hangs(seen: model.Seen, memory: model.Memory,
           policy: model.Policy) -> Verdict | None:
    server = seen.server
    assert server is not None
    if seen.stuck_s < policy.hang_s or not _linked(seen, memory):
        return None
    waits = (f'{seen.waiting} requests of {_name(seen)} have waited for '
             f'{seen.stuck_s:.1f} s')
    if server.stopped:
        return _kill(seen, memory, policy, True, f'{waits}: it is stopped')
    answer = seen.answer
    if answer is None or seen.now_s - answer.asked_s > ANSWER_KEPT_S or (
            seen.moved_s is not None and answer.asked_s < seen.moved_s):
        return _say(Phase.STALLED, memory, policy.answer_s / 2,
                    f'{waits}: asking {server} whether it lives',
                    law='hang')
    if answer.alive is False:
        return _kill(seen, memory, policy, True,
                     f'{waits}, and it does not answer: {answer.sentence}')
    if seen.stuck_s >= CUT_S and _not_sent_again(seen, memory):
        return _kill(seen, memory, policy, False,
                     f'{waits}, and a read is not even sent: no connection '
                     'of the kernel leads to it')
    why = ('it answers: the storage behind it is slow' if answer.alive
           else 'whether it lives cannot be told')
    if memory.fenced is not None:
        why += f' (at its last heal: {memory.fenced})'
    # Only a read that comes back proves a connection. The death of one that
    # led to the server once may have gone unheard.
    return _say(Phase.STALLED, memory, _SLOW_S,
                f'{waits} for {server}; {why}',
                _prove(seen) if memory.proven_s is None else None,
                law='hang')


def _not_sent_again(seen: model.Seen, memory: model.Memory) -> bool:
    """A read was sent to this server, or it was given a connection, and the
    last read since then was not sent."""
    return (memory.proven_s is None and memory.linked_s is not None
            and seen.cut and seen.unread_s is not None
            and seen.unread_s > memory.linked_s)


def _cut_off(seen: model.Seen, memory: model.Memory,
             policy: model.Policy) -> Verdict | None:
    """A process that lives, and no connection of the kernel's to it."""
    dead_s = seen.link_dead_s
    since_s = memory.linked_s if memory.linked_s is not None else (
        memory.server_s)
    if dead_s is None or dead_s <= since_s:
        return None
    left_s = dead_s + policy.settle_s - seen.now_s
    if left_s > 0:
        return _say(Phase.DEGRADED, memory, max(left_s, 0.02),
                    f'the connection of {_name(seen)} died; {seen.server} '
                    'may be about to end', law='hang')
    died_s = dead_s if seen.died_after_s is None else seen.died_after_s
    if died_s - since_s < _LATE_S and not _unanswered(seen, dead_s, policy):
        return _say(
            Phase.DEGRADED, memory, _SLOW_S,
            f'a connection of {_name(seen)} died when it had just been '
            f'given to {seen.server}: seeing whether it was this one',
            _prove(seen), law='prove')
    return _kill(seen, memory, policy, False,
                 'the kernel has lost its connection to it')


def _unanswered(seen: model.Seen, since_s: float,
                policy: model.Policy) -> bool:
    """Whether a read shows, since then, that no connection is there. One
    that could not be tried, or was sent, shows nothing: not for ever."""
    return (seen.unread_s is not None and seen.unread_s >= since_s
            and (seen.cut
                 or seen.now_s - since_s > 2.0 * policy.proof_s))


def _prove(seen: model.Seen) -> model.Prove | None:
    """A read, unless one was given up a moment ago."""
    assert seen.server is not None
    if seen.unread_s is not None and seen.now_s - seen.unread_s < _SLOW_S:
        return None
    return model.Prove(volume=seen.key, device=_name(seen),
                       server=seen.server.process)


def _unproven(seen: model.Seen, memory: model.Memory,
              policy: model.Policy) -> Verdict | None:
    server = seen.server
    assert server is not None
    if memory.proven_s is not None:
        return None
    unread = seen.unread_s is not None and seen.unread_s >= memory.server_s
    # A connection's death may be heard before that it was given. While
    # requests are under way, who takes no more may be slow (``_hangs``).
    cut = seen.cut and (memory.linked_s is None or (
        not seen.waiting and _not_sent_again(seen, memory)))
    if unread and cut:
        return _kill(seen, memory, policy, False,
                     'no connection of the kernel leads to it')
    if unread and seen.now_s - (seen.unread_s or 0.0) < _SLOW_S:
        return _say(Phase.STALLED, memory, _SLOW_S,
                    f'nothing can be read from {_name(seen)} yet: '
                    f'{memory.last_error}', law='prove')
    return _say(
        Phase.HEALING, memory, policy.proof_s,
        f'{server} serves {_name(seen)}: seeing whether it does',
        model.Prove(volume=seen.key, device=_name(seen),
                    server=server.process, fence=memory.found))


def _silent(seen: model.Seen, memory: model.Memory,
            policy: model.Policy) -> Verdict | None:
    """It was asked, since its device fell silent, and says nothing.

    Nobody is known to wait for it: a guest may wait for a flush, which the
    block layer does not count. A read of ours makes it a hang, or none.
    """
    server, answer = seen.server, seen.answer
    assert server is not None
    if answer is None or answer.alive is not False or seen.waiting or (
            seen.now_s - answer.asked_s > ANSWER_KEPT_S):
        return None
    if seen.unread_s is not None and seen.unread_s >= answer.asked_s:
        return None
    return _say(
        Phase.DEGRADED, memory, policy.answer_s,
        f'{server} of {_name(seen)} does not answer ({answer.sentence}): '
        'seeing whether it serves',
        model.Prove(volume=seen.key, device=_name(seen),
                    server=server.process))


def _timer(seen: model.Seen, memory: model.Memory,
           policy: model.Policy) -> Verdict | None:
    assert seen.device is not None
    wanted = _mapping(seen).timer_ms
    if seen.device.timer_ms in (None, wanted):
        return None
    return _say(
        Phase.HEALTHY, memory, policy.idle_s,
        f'{_name(seen)} looks after {seen.device.timer_ms} ms at requests '
        f'that do not come back, not after {wanted}: somebody changed it',
        model.SetTimer(volume=seen.key, device=_name(seen),
                       timer_ms=wanted))


_Room = Callable[[model.Seen, model.Memory, model.Policy], Verdict | None]
_ROOMS: tuple[_Room, ...] = (
    _gone, _nova, _not_ours, _no_server, _dying, _hangs, _cut_off, _unproven,
    _silent, _timer)


def _linked(seen: model.Seen, memory: model.Memory) -> bool:
    """Whether the kernel's connection leads to the process, as far as is
    known. Where it is not, the rooms after this one speak."""
    since_s = memory.proven_s if memory.linked_s is None else (
        memory.linked_s)
    return since_s is not None and (
        seen.link_dead_s is None or seen.link_dead_s <= since_s)


def _kill(seen: model.Seen, memory: model.Memory, policy: model.Policy,
          hung: bool, why: str) -> Verdict:
    server = seen.server
    assert server is not None
    wait_s = memory.next_try_s - seen.now_s
    if wait_s > 0:
        return _say(Phase.STALLED, memory, wait_s,
                    f'{server} of {_name(seen)} does not serve ({why}); '
                    f'the next try is in {wait_s:.1f} s, the last one '
                    f'failed: {memory.last_error}', law='hang')
    return _say(
        Phase.STALLED, memory, policy.attach_s,
        f'{server} of {_name(seen)} does not serve: {why}',
        model.Kill(volume=seen.key, device=_name(seen), hung=hung, why=why,
                   server=server.process))


def _say(phase: Phase, memory: model.Memory, again_s: float, sentence: str,
         action: model.Action | None = None,
         law: str | None = None) -> Verdict:
    return Verdict(
        phase=phase, sentence=sentence, memory=memory, action=action,
        look_again_s=again_s,
        law=law if action is None else action.law)


def _mapping(seen: model.Seen) -> model.Mapping:
    assert seen.attachment is not None
    assert seen.attachment.mapping is not None
    return seen.attachment.mapping


def _transparent(mapping: model.Mapping) -> bool:
    return mapping.abilities is None or mapping.abilities.transparent


def _name(seen: model.Seen) -> str:
    name = _mapping(seen).order.device
    assert name is not None
    return name
