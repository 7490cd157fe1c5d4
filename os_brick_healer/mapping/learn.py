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
"""What an action and its outcome mean for the memory. Pure."""

import dataclasses
import math

from os_brick_healer.engine import pacing, verdict
from os_brick_healer.mapping import laws, model

#: Outcome.detail of a heal whose data is gone or is another's.
REFUSED = 'refused'
#: Of one whose server ended before it came to serve.
ENDED = 'ended'
#: Of a read that came back.
FLOWS = 'read'
#: Of a read that did not come back: the server has been sent it, or not.
SENT, UNSENT = 'sent', 'unsent'
#: Of a heal: between the server and what came of shutting out a dead client.
SERVES = ' serves; '
#: Of a read that came back, and before what came of shutting out.
READ = 'a block was read'
#: First pause after a heal that failed, seconds.
RETRY_FIRST_S = 0.25
#: A server that refuses for good is tried again after this, seconds: what
#: was deleted may have been restored.
REFUSED_S = 300.0
#: A server that ends so soon may have ended of what it was asked, seconds.
SHORT_S = 10.0
#: So many of those are followed by the next one at once.
SHORT_FREE = 3
#: A server that lasts so long makes those before it forgotten, seconds.
CALM_S = 60.0


def absorb(seen: model.Seen, memory: model.Memory,
           policy: model.Policy) -> model.Memory:
    """What a look teaches, whatever is decided."""
    server = seen.server if seen.left is None else None
    if server is None:
        return memory if memory.lost_s is not None else _died(
            memory, seen.now_s, policy)
    known = memory.server
    if known is not None and laws.same(known, server):
        return (memory if memory.lost_s is None else
                dataclasses.replace(memory, lost_s=None))
    return dataclasses.replace(
        memory, server=server.process, found=known is not None,
        server_s=seen.now_s, lost_s=None, linked_s=None, proven_s=None,
        fenced=None)


def _died(memory: model.Memory, now_s: float,
          policy: model.Policy) -> model.Memory:
    """Whoever comes next may die of the same request."""
    lasted_s = math.inf if memory.server is None else (
        now_s - memory.server_s)
    memory = dataclasses.replace(
        memory, lost_s=now_s, linked_s=None, proven_s=None,
        deaths_s=(*memory.deaths_s, now_s)[-model.DEATHS_MAX:],
        short=0 if lasted_s >= CALM_S else memory.short)
    if lasted_s >= SHORT_S:
        return memory
    memory = dataclasses.replace(memory, short=memory.short + 1)
    if memory.short <= SHORT_FREE:
        return memory
    return dataclasses.replace(
        memory, last_error=f'{memory.short} servers have served for less '
        f'than {SHORT_S:g} s each',
        next_try_s=max(memory.next_try_s, now_s + retry_s(
            memory.short - SHORT_FREE, policy)))


def intend(memory: model.Memory, action: model.Action) -> model.Memory:
    """The memory to write down together with the intent."""
    del action      # the world tells what came of each of them
    return memory


def learn(memory: model.Memory, action: model.Action,
          outcome: verdict.Outcome, now_s: float, policy: model.Policy,
          server: model.Process | None = None,
          begun_s: float | None = None) -> model.Memory:
    """The memory after an action.

    :param server: the process that a heal started.
    :param begun_s: when the action began: a connection that a read went
        through was there since then, and may have died since.
    """
    if begun_s is None:
        begun_s = now_s
    match action:
        case model.Serve() if outcome.error is None:
            if server is None:
                return memory
            return dataclasses.replace(
                memory, server=server, server_s=now_s, found=False,
                lost_s=None, linked_s=now_s, proven_s=None, refused=None,
                fenced=outcome.detail.partition(SERVES)[2] or None,
                heals=memory.heals + 1)
        case model.Prove() if (action.server != memory.server
                               or memory.lost_s is not None):
            return memory       # about one that serves no more
        case model.Prove() if outcome.error is None:
            return dataclasses.replace(
                memory, proven_s=begun_s,
                linked_s=max(memory.linked_s or begun_s, begun_s), tries=0,
                next_try_s=0.0, last_error=None, refused=None, found=False,
                fenced=outcome.detail.partition(f'{READ}; ')[2]
                or memory.fenced)
        case model.Prove() if outcome.detail == SENT:
            # Its storage is slow: that is no reason to kill it.
            return dataclasses.replace(
                memory, last_error=outcome.error,
                linked_s=memory.linked_s or begun_s)
        case model.Prove():
            return dataclasses.replace(memory, last_error=outcome.error)
        case model.Kill() if outcome.detail == READ:
            return dataclasses.replace(
                memory, proven_s=begun_s,
                linked_s=max(memory.linked_s or begun_s, begun_s))
        case model.Kill() if outcome.error is None:
            return memory
        case model.SetTimer():
            return memory
        case _:
            return _failed(memory, outcome, now_s, policy)


def _failed(memory: model.Memory, outcome: verdict.Outcome, now_s: float,
            policy: model.Policy) -> model.Memory:
    tries, short = memory.tries + 1, memory.short
    if outcome.detail == ENDED:
        # It may have died of what the one before died of.
        short += 1
    refused = outcome.detail == REFUSED
    wait_s = REFUSED_S if refused else retry_s(
        max(tries, short - SHORT_FREE), policy)
    return dataclasses.replace(
        memory, tries=tries, short=short, next_try_s=now_s + wait_s,
        last_error=outcome.error,
        refused=outcome.error if refused else None)


def retry_s(tries: int, policy: model.Policy) -> float:
    """How long to wait after so many failures in a row, seconds."""
    return pacing.backoff_s(tries, first_s=RETRY_FIRST_S,
                            last_s=policy.retry_last_s)

