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
"""What the outcome of an action means for the memory. Pure."""

from collections.abc import Callable
import dataclasses

from os_brick_healer.engine import limits, pacing, verdict
from os_brick_healer.replica import model, recall

Outcome = verdict.Outcome
One = model.ReplicaMemory

#: The same state is not reported again before so long, seconds: after a
#: success, after a failure.
REPORT_AGAIN_S = 60.0
REPORT_RETRY_S = 10.0
#: After a cut the kernel tears down; a second cut would only disturb.
CUT_AGAIN_S = 2.0
BREAK_AGAIN_S = 0.5
WORDS_S = 0.5
#: Detail of an outcome: MD cannot catch up by the bitmap.
READD_REFUSED = 're-add refused'
#: Detail of an outcome: the provisioner may have heard the request.
UNCERTAIN = 'it may have been heard'


def replica_of(action: model.Action) -> model.ReplicaId | None:
    """Whose memory an action concerns."""
    replica = action.replica
    if isinstance(replica, model.Replica):
        return replica.id
    return replica


def intend(memory: model.Memory, action: model.Action,
           now_s: float) -> model.Memory:
    """The memory that is written down before the action begins."""
    if not isinstance(action, model.RequestReplacement):
        return memory

    def _asked(one: One) -> One:
        old, tries, late = one.request, 1, one.late
        if old is not None and old.id == action.request_id:
            tries = old.tries + 1
        elif old is not None:
            late = (*late, old)[-recall.LATE_MAX:]  # it may come all the same
        return dataclasses.replace(one, late=late, request=model.Request(
            id=action.request_id, asked_s=now_s, tries=tries,
            state=model.RequestState.ASKED, known=action.known))

    return _change(memory, action.replica, _asked)


def learn(memory: model.Memory, action: model.Action, outcome: Outcome,
          now_s: float, policy: limits.Policy) -> model.Memory:
    """The memory after the action."""
    replica = replica_of(action)
    if replica is None:
        if outcome.error is None:
            return dataclasses.replace(memory, tries=0, next_try_s=0.0)
        tries = memory.tries + 1
        return dataclasses.replace(
            memory, tries=tries, next_try_s=now_s + pacing.backoff_s(tries))
    return _change(memory, replica, lambda one: _learn(
        one, action, outcome, now_s, policy))


def _change(memory: model.Memory, replica: model.ReplicaId,
            change: Callable[[One], One]) -> model.Memory:
    one = memory.replicas.get(replica)
    if one is None:
        return memory
    return dataclasses.replace(memory, replicas={
        **memory.replicas, replica: change(one)})


def _learn(one: One, action: model.Action, outcome: Outcome, now_s: float,
           policy: limits.Policy) -> One:
    match action:
        case model.ReportState():
            again_s = REPORT_AGAIN_S if outcome.error is None else (
                REPORT_RETRY_S)
            return dataclasses.replace(one, reported=action.state,
                                       report_next_s=now_s + again_s)
        case model.CutSilent():
            # Only for another cut: the kernel may have torn it down in
            # milliseconds, and then it has to be given up before its first
            # reconnect, which a deletion would have to wait for.
            flowed = _flowed(one, outcome, now_s + CUT_AGAIN_S)
            return dataclasses.replace(
                flowed, cut_next_s=flowed.flow_next_s,
                flow_next_s=one.flow_next_s)
        case model.BreakLeg():
            return _flowed(one, outcome, now_s + BREAK_AGAIN_S)
        case _ if outcome.error is not None:
            return _failed(one, action, outcome, now_s, policy)
        case model.Examine():
            return _examined(one, outcome, now_s)
        case model.RequestReplacement():
            return dataclasses.replace(
                _worked(one), request=_accepted(one.request, now_s))
        case model.Publish():
            # The next words of the provisioner, which is being asked now,
            # tell where it is: until then it would be published again.
            wait_s = pacing.backoff_s(one.tries + 1, first_s=WORDS_S)
            return dataclasses.replace(
                one, published=True, tries=one.tries + 1,
                publish_next_s=now_s + wait_s)
        case model.DisconnectPaths():
            return dataclasses.replace(_worked(one), let_go=True)
        case model.ConfirmRemoval():
            # Its name goes with the provisioner's next words.
            return dataclasses.replace(
                one, next_try_s=now_s + policy.provisioner_interval_s)
        case _:
            return _worked(one)


def _flowed(one: One, outcome: Outcome, next_s: float) -> One:
    """Soon again, but not without a pause: each try is written down."""
    if outcome.error is None:
        return dataclasses.replace(one, flow_tries=0, flow_next_s=next_s)
    tries = one.flow_tries + 1
    wait_s = pacing.backoff_s(tries, first_s=BREAK_AGAIN_S,
                              last_s=limits.FLOW_RETRY_LAST_S)
    return dataclasses.replace(
        one, flow_tries=tries, last_error=outcome.error,
        flow_next_s=next_s - BREAK_AGAIN_S + wait_s)


def _failed(one: One, action: model.Action, outcome: Outcome, now_s: float,
            policy: limits.Policy) -> One:
    assert outcome.error is not None
    if (isinstance(action, model.ReAdd)
            and outcome.detail == READD_REFUSED):
        return dataclasses.replace(one, readd_refused=True,
                                   last_error=outcome.error)
    after = _put_off(one, now_s, outcome.error, outcome.transient)
    if isinstance(action, model.ReAdd | model.AddSpare):
        # Half an addition may have changed what it carries: look again.
        after = dataclasses.replace(after, superblock=None)
    if isinstance(action, model.RequestReplacement):
        wait_s = 2 * policy.provisioner_interval_s
        return dataclasses.replace(
            after, next_try_s=max(after.next_try_s, now_s + wait_s),
            request=_refused(one.request, outcome))
    return after


def _accepted(request: model.Request | None,
              now_s: float) -> model.Request | None:
    """The provisioner said yes; its replica may have been named since."""
    if request is None or request.state is not model.RequestState.ASKED:
        return request
    return dataclasses.replace(request, asked_s=now_s,
                               state=model.RequestState.ACCEPTED)


def _refused(request: model.Request | None,
             outcome: Outcome) -> model.Request | None:
    return None if request is None else dataclasses.replace(
        request, failed=outcome.detail != UNCERTAIN)


def _examined(one: One, outcome: Outcome, now_s: float) -> One:
    word, _, what = outcome.detail.partition(':')
    try:
        found = model.Superblock(word)
    except ValueError:
        return _put_off(one, now_s, 'it was looked at and the answer was '
                        f'{outcome.detail!r}', False)
    if found is model.Superblock.FOREIGN:
        after = _put_off(one, now_s, f'it carries {what.strip()}', False)
        return dataclasses.replace(after, superblock=found)
    # The tries stay: it may have been added in vain, and often.
    return dataclasses.replace(one, next_try_s=0.0, superblock=found)


def _put_off(one: One, now_s: float, error: str, transient: bool) -> One:
    """After a failed action: later, and each time later still."""
    tries = one.tries + 1
    wait_s = (pacing.backoff_s(tries) if transient
              else limits.RETRY_LAST_S)
    return dataclasses.replace(one, tries=tries, last_error=error,
                               next_try_s=now_s + wait_s)


def _worked(one: One) -> One:
    """After an action that worked."""
    return dataclasses.replace(one, tries=0, last_error=None,
                               next_try_s=0.0)
