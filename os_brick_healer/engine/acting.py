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
"""Actions from intent to result, and what is written down of them."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import json
import logging as std_logging
import math
from typing import Any

from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import limits, pacing, parts
from os_brick_healer.engine import verdict as verdict_lib

LOG: std_logging.LoggerAdapter[Any] = logging.getLogger(__name__)

#: Pause before an action that was done is done again, seconds.
AGAIN_FIRST_S, AGAIN_LAST_S = 0.25, 30.0

Verdict = parts.Verdict
Outcome = parts.Outcome


@dataclasses.dataclass(slots=True, kw_only=True)
class Running:
    action: Any
    intent_id: str | None
    since_s: float


@dataclasses.dataclass(slots=True, kw_only=True)
class Entry:
    """The loop's own book-keeping about one key."""

    wing: parts.Wing
    due_s: float = math.inf
    found: Verdict | None = None
    since_s: float = 0.0
    said: str = ''
    repeats: int = 0
    failures: int = 0
    rest_until_s: float = 0.0
    done: Any = None
    done_times: int = 0
    done_next_s: float = 0.0
    last_memory: Any = None
    running: dict[str, Running] = dataclasses.field(default_factory=dict)


class Notes:
    """What the loop writes to the journal, and what waits to be written.

    A journal that cannot be written is no reason to stop: legs are kept
    flowing and are re-added; only what must be on disk first is not done.
    """

    def __init__(self, journal: journal_lib.Journal,
                 count: Callable[..., None]) -> None:
        self.journal = journal
        self.error: str | None = None
        self._count = count
        self._dirty: dict[tuple[str, str], Any] = {}

    def changed(self, kind: str, key: str, memory: Any) -> None:
        """A memory is to be written with the next flush."""
        self._dirty[(kind, key)] = memory

    def written(self, kind: str, key: str) -> None:
        """It was written in another way, or need not be any more."""
        self._dirty.pop((kind, key), None)

    @property
    def waiting(self) -> bool:
        """Whether a flush has anything to write."""
        return bool(self._dirty) or self.journal.waiting

    def flush(self, wings: Mapping[str, parts.Wing]) -> None:
        """Write all that waits, in one transaction a wing."""
        for kind, wing in wings.items() if self._dirty else ():
            values = {key: wing.dump(memory) for (k, key), memory
                      in self._dirty.items() if k == kind}
            save = functools.partial(self.journal.save_memories, kind,
                                     values)
            if values and self.attempt(save):
                for key in values:
                    self._dirty.pop((kind, key), None)
        if self.journal.waiting:
            self.attempt(self.journal.settle)

    def attempt(self, write: Callable[[], None]) -> bool:
        """Write what healing does not depend on; whether it worked."""
        try:
            write()
        except exception.JournalError as e:
            self.failed(e)
            return False
        self.worked()
        return True

    def worked(self) -> None:
        """The journal could be written."""
        if self.error is not None:
            LOG.info('the journal can be written again')
            self.error = None

    def failed(self, e: exception.JournalError) -> None:
        """The journal could not be written."""
        if self.error is None:
            LOG.error('%s; until that is mended nothing is requested or '
                      'removed, and legs are only kept flowing', e)
        self.error = str(e)
        self._count('journal_errors_total')


class Actions:
    """Begins actions, at most one a lane and key, and takes results.

    :param again: has a key looked at, once its action has ended.
    """

    def __init__(self, notes: Notes, runs: parts.Runs,
                 clock: Callable[[], float], count: Callable[..., None],
                 again: Callable[[str, str, Entry], None]) -> None:
        self._notes = notes
        self._runs = runs
        self._clock = clock
        self._count = count
        self._again = again

    def begin(self, kind: str, key: str, entry: Entry, action: Any,
              memory: Any) -> None:
        """Write the intent down, then have the action run."""
        lane = action.lane.value
        if lane in entry.running:
            return
        if action == entry.done and self._clock() < entry.done_next_s:
            return      # it was just done, and it is wanted again
        memory = entry.wing.before(action, memory)
        try:
            intent_id: str | None = self._notes.journal.intend(
                kind, key, action.sentence(), _detail(action),
                memory=entry.wing.dump(memory))
            self._notes.worked()
            self._notes.written(kind, key)
        except exception.JournalError as e:
            self._notes.failed(e)
            if action.risk >= verdict_lib.Risk.REPLACE:
                LOG.error('%s %s: not done: %s: because the intent cannot '
                          'be written down first (%s)', kind, key,
                          action.sentence(), e)
                return
            intent_id = None
            self._notes.changed(kind, key, memory)
        entry.wing.keep(key, memory)
        entry.last_memory = memory
        entry.running[lane] = Running(action=action, intent_id=intent_id,
                                      since_s=self._clock())
        LOG.info('[%s] %s %s: begin: %s', intent_id, kind, key,
                 action.sentence())
        self._runs.submit(
            lane, lambda: entry.wing.act(key, action),
            lambda result: self._done(kind, key, entry, lane, result))

    def _done(self, kind: str, key: str, entry: Entry, lane: str,
              result: Any) -> None:
        run = entry.running.pop(lane)
        outcome = _as_outcome(result)
        self._pace(entry, None if outcome.error else run.action)
        text = outcome.error or (outcome.detail or (
            'done' if outcome.changed else 'nothing was left to do'))
        level = std_logging.INFO if outcome.error is None else (
            std_logging.WARNING)
        LOG.log(level, '[%s] %s %s: end after %.2f s: %s: %s', run.intent_id,
                kind, key, self._clock() - run.since_s,
                run.action.sentence(), text)
        self._count('actions_total', kind=type(run.action).__name__,
                    result='ok' if outcome.error is None else 'failed')
        try:
            entry.last_memory = entry.wing.after(key, run.action, outcome)
            self._notes.changed(kind, key, entry.last_memory)
        except Exception:
            # What cannot be learned from would be done again at once.
            LOG.exception('%s %s: cannot learn from the outcome: this is a '
                          'bug', kind, key)
            self._count('look_errors_total', kind=kind)
            entry.rest_until_s = self._clock() + limits.RETRY_FIRST_S
        self._again(kind, key, entry)
        if run.intent_id is not None:
            intent_id = run.intent_id
            self._notes.attempt(lambda: self._notes.journal.conclude(
                intent_id, text, outcome.error is None))


    def _pace(self, entry: Entry, action: Any) -> None:
        """The same action twice in a row changes nothing: ever slower.

        For what claims to work: what fails (None) the wings pace, and a
        dead leg must not wait longer because giving it up failed before.
        """
        entry.done_times = (entry.done_times + 1 if action == entry.done
                            else 0)
        entry.done = action
        entry.done_next_s = self._clock() + pacing.backoff_s(
            entry.done_times, first_s=AGAIN_FIRST_S, last_s=AGAIN_LAST_S)


def why(e: Exception) -> tuple[str, bool]:
    """Why a key cannot be looked at, and whether that is a bug."""
    if isinstance(e, exception.HealerError):
        return str(e), False
    return f'because of a bug ({type(e).__name__}: {e}); see the log', True


def _detail(action: Any) -> dict[str, Any]:
    told = {'action': type(action).__name__}
    for field in dataclasses.fields(action):
        told[field.name] = str(getattr(action, field.name))[:500]
    return json.loads(json.dumps(told))  # type: ignore[no-any-return]


def _as_outcome(result: Any) -> Outcome:
    if isinstance(result, Outcome):
        return result
    if isinstance(result, exception.HealerError):
        return Outcome(changed=False, error=str(result),
                       transient=result.transient)
    LOG.error('an action failed in a way nobody expected: this is a bug',
              exc_info=result if isinstance(result, BaseException) else None)
    return Outcome(changed=False, error=f'because of a bug: {result!r}')
