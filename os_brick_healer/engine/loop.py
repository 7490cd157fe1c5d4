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
"""The loop that all wings share: look, act, remember, look again.

``sched.scheduler`` takes its clock and its wait from outside: in production
the wait is a poll over the event sources, in simulation both are virtual.
Everything but actions and questions to the provisioner runs on one thread.
"""

from collections.abc import Callable, Iterable
import dataclasses
import functools
import logging as std_logging
import math
import re
import sched
import threading
from typing import Any

from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.engine import (
    acting,
    limits,
    pacing,
    parts,
    pausing,
    tasks,
)
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import verdict as verdict_lib

LOG: std_logging.LoggerAdapter[Any] = logging.getLogger(__name__)

Verdict = parts.Verdict
Outcome = parts.Outcome
Waits = parts.Waits
Runs = parts.Runs
Wing = parts.Wing

#: Memories that changed are written at least so often, seconds.
FLUSH_S = 0.5
#: Longest sleep of the loop: the watchdog wants to hear from it.
NAP_MAX_S = 1.0


class Engine:
    """Runs the wings until it is stopped.

    :param paused: the option: start paused, unless a person has resumed.
    """

    def __init__(self, wings: tuple[Wing, ...], *,
                 journal: journal_lib.Journal, runs: Runs, waits: Waits,
                 clock: Callable[[], float], paused: bool = False,
                 count: Callable[..., None] = lambda *_a, **_k: None) -> None:
        self.wings = {w.kind: w for w in wings}
        self.journal = journal
        self.clock = clock
        self.count = count
        self._runs = runs
        self._waits = waits
        self._sched = sched.scheduler(clock, self._nap)
        self._entries: dict[tuple[str, str], acting.Entry] = {}
        self._stopping = False
        self._turned_s = clock()
        self._tasks = tasks.Tasks(self._sched, journal, self._guarded,
                                  waits)
        self._notes = acting.Notes(journal, count)
        self._start_paused = paused
        self._pause = pausing.Pause(journal, self._notes.attempt)
        self._actions = acting.Actions(
            self._notes, runs, clock, count,
            lambda kind, key, entry: self._look_at(kind, key, entry, 0.0))
        self._status_lock = threading.Lock()
        self._beats: list[Callable[[], None]] = []
        self.reload_hooks: list[Callable[[], None]] = []

    # From any thread --------------------

    def wake(self, key: str | None = None) -> None:
        """Look at a key (or at all) as soon as possible."""
        self._waits.post(lambda: self._wake(key))

    def stop(self) -> None:
        """Leave :meth:`run` soon; actions under way are not waited for
        longer than they need to be: the journal knows them."""
        self._stopping = True
        self._waits.post(lambda: None)

    def pause(self, reason: str) -> str | None:
        """Change nothing from now on, also after a restart.

        :returns: why it will not outlive the agent; None: it will.
        """
        return self._set_pause(reason or 'by an operator')

    def resume(self) -> str | None:
        """Take a pause back. :returns: as :meth:`pause`."""
        return self._set_pause(None)

    def _set_pause(self, reason: str | None) -> str | None:
        kept = self._pause.set(reason)
        self.wake()
        return None if kept else str(self._notes.error)

    def reload(self) -> None:
        """Read the configuration again, on the loop's thread."""
        self._waits.post(self._reload)

    def release(self, key: str) -> bool:
        """Let go of a volume that is about to be disconnected.

        The journal says that it is being disconnected: from the next look
        on nothing is begun for it.

        :returns: whether nothing is being done to it any more.
        """
        self.wake(key)
        with self._status_lock:
            entries = [e for (_, name), e in self._entries.items()
                       if name == key]
        return not any(e.running for e in entries)

    def history(self, key: str | None, limit: int) -> list[dict[str, Any]]:
        """The newest lines of the journal's history, oldest first."""
        return [dataclasses.asdict(row)
                for row in self.journal.history(key, limit)]

    def lag_s(self) -> float:
        """Seconds since the loop last turned; it turns at least each s."""
        return max(0.0, self.clock() - self._turned_s)

    def call(self, work: Callable[[], Any], timeout_s: float = 5.0) -> Any:
        """Have the loop's thread compute something, and wait for it."""
        done = threading.Event()
        box: list[Any] = []

        def _work() -> None:
            try:
                box.append(work())
            finally:
                done.set()

        self._waits.post(_work)
        if not done.wait(timeout_s) or not box:
            raise exception.HealerError(
                'cannot answer: because the agent is busy',
                hint='try again; see the log if it lasts')
        return box[0]

    def status(self) -> dict[str, Any]:
        """A snapshot for the control socket (see the CLI's docs)."""
        with self._status_lock:
            entries = list(self._entries.items())
        volumes = []
        for (kind, key), entry in entries:
            if entry.found is None:
                continue
            volumes.append(self._describe(kind, key, entry))
        about: dict[str, Any] = {
            'paused': self.paused,
            'journal_error': self._notes.error or self._pause.damage}
        for wing in self.wings.values():
            about.update(wing.about())
        return {'agent': about, 'volumes': volumes}

    def _describe(self, kind: str, key: str,
                  entry: acting.Entry) -> dict[str, Any]:
        found = entry.found
        assert found is not None
        running = list(entry.running.values())
        told = {
            'kind': kind, 'key': key, 'phase': found.phase.value,
            'sentence': found.sentence, 'law': found.law,
            'since_s': max(0.0, self.clock() - entry.since_s),
            'action': '; '.join(r.action.sentence() for r in running) or None,
            'intent': running[0].intent_id if running else None,
        }
        told.update(entry.wing.describe(key, found))
        return told

    @property
    def paused(self) -> str | None:
        """Why healing is paused, None when it is not."""
        return self._pause.reason

    # For wings, on the loop's thread --------------------

    def watch(self, wing: Wing, key: str) -> None:
        """Begin to look at a key; nothing happens if it is known."""
        if (wing.kind, key) not in self._entries:
            entry = acting.Entry(wing=wing, since_s=self.clock())
            with self._status_lock:
                self._entries[(wing.kind, key)] = entry
            self._look_at(wing.kind, key, entry, 0.0)

    def unwatch(self, wing: Wing, key: str) -> None:
        """Stop looking at a key and forget what is remembered of it."""
        entry = self._entries.get((wing.kind, key))
        if entry is None or entry.running:
            return
        entry.due_s = math.inf
        with self._status_lock:
            del self._entries[(wing.kind, key)]
        self._notes.written(wing.kind, key)
        self._notes.attempt(lambda: self.journal.forget(wing.kind, key))

    def touch(self, wing: Wing, keys: Iterable[str]) -> None:
        """Look at keys now."""
        for key in keys:
            entry = self._entries.get((wing.kind, key))
            if entry is not None:
                self._look_at(wing.kind, key, entry, 0.0)

    def post_touch(self, wing: Wing, keys: Iterable[str]) -> None:
        """The same, from any thread."""
        self._waits.post(lambda: self.touch(wing, keys))

    def every(self, interval: Callable[[], float],
              work: Callable[[], None], name: str) -> None:
        """Do something again and again; the interval may change.

        An exception is logged and counted, and the task goes on. Tasks keep
        in step with each other: on an idle host each waking of this process
        costs more than what it then does.
        """
        self._tasks.every(interval, work, name)

    def follow(self, told: Callable[[int], None], name: str) -> None:
        """Tell the journal's version again and again, and soon after
        another process has written: then it changes."""
        self._tasks.follow(told, name)

    def _guarded(self, what: str, work: Callable[[], None]) -> None:
        """The loop's edge: nothing that goes wrong here ends the loop."""
        try:
            work()
        except exception.JournalError as e:
            self._notes.failed(e)
        except exception.HealerError as e:
            LOG.warning('%s: %s', what, e)
        except Exception:
            LOG.exception('%s failed: this is a bug', what)
            self.count('task_errors_total', task=what)

    def submit(self, lane: str, work: Callable[[], Any],
               done: Callable[[Any], None]) -> None:
        """Run something slow elsewhere; ``done`` is called on the loop."""
        self._runs.submit(lane, work, done)

    def on_beat(self, call: Callable[[], None]) -> None:
        """Called on each turn of the loop (watchdog)."""
        self._beats.append(call)

    def phases(self) -> Iterable[verdict_lib.Phase]:
        """The phase of every key."""
        return [e.found.phase for e in self._entries.values()
                if e.found is not None]

    # The loop --------------------

    def run(self) -> None:
        """Look, act and wait, until :meth:`stop`."""
        self._pause.load(self._start_paused)
        for intent in self.journal.open_intents():
            LOG.warning('the agent ended during "%s" of %s (%s): looking '
                        'at what came of it', intent.text, intent.key,
                        intent.id)
            self._notes.attempt(functools.partial(
                self.journal.conclude, intent.id, 'unknown: the agent ended '
                'in it; what came of it is read from the world', False))
        for wing in self.wings.values():
            wing.start(self)
        while not self._stopping:
            left_s = self._sched.run(blocking=False)
            if not self._stopping:
                # What waits to be written is, soon.
                flush_s = self._tasks.soon(
                    self._notes.waiting or self._pause.waiting, FLUSH_S,
                    self._flush)
                self._nap(min(NAP_MAX_S if left_s is None else left_s,
                              flush_s))
        self._leave()

    def _leave(self) -> None:
        if not self._runs.stop(timeout_s=5.0):
            LOG.warning('leaving in the middle of an action; the next '
                        'agent reads from the journal and the world what '
                        'came of it')
        # What has ended meanwhile is written down.
        self._guarded('the last results', lambda: self._take(0.0))
        for wing in self.wings.values():
            wing.stop()
        self._notes.flush(self.wings)
        self._pause.leave()

    def _nap(self, seconds: float) -> None:
        self._turned_s = self.clock()
        for beat in self._beats:
            beat()
        self._guarded('what woke the loop',
                      lambda: self._take(min(seconds, NAP_MAX_S)))

    def _take(self, seconds: float) -> None:
        woken = self._waits.wait(seconds)
        if woken.devices or woken.md or woken.lost:
            for wing in self.wings.values():
                self.touch(wing, wing.woken(woken))

    def _wake(self, key: str | None) -> None:
        for (kind, name), entry in self._entries.items():
            if key is None or name == key:
                self._look_at(kind, name, entry, 0.0)

    def _reload(self) -> None:
        for hook in self.reload_hooks:
            self._guarded('reading the configuration', hook)
        self._wake(None)

    def _look_at(self, kind: str, key: str, entry: acting.Entry,
                 after_s: float) -> None:
        # A key that raises rests, whatever happens to it.
        due_s = max(self.clock() + after_s, entry.rest_until_s)
        if entry.due_s <= due_s:
            return
        # The later event stays in the queue and finds itself outdated:
        # sched.cancel() is linear, and thousands of keys may be woken.
        entry.due_s = due_s
        self._sched.enterabs(due_s, 0, self._look, (kind, key, entry, due_s))

    def _look(self, kind: str, key: str, entry: acting.Entry,
              due_s: float) -> None:
        if entry.due_s != due_s:
            return
        entry.due_s = math.inf
        try:
            found = entry.wing.look(key)
            self._found(kind, key, entry, found)
        except Exception as e:
            # A bug, a fact that the pure rooms do not know, or a damaged
            # row: this key rests, the others go on.
            entry.failures += 1
            wait_s = pacing.backoff_s(entry.failures,
                                      last_s=limits.LOOK_REST_LAST_S)
            why, bug = acting.why(e)
            LOG.error('cannot look at %s %s: %s; trying again in %.0f s',
                      kind, key, why, wait_s, exc_info=bug)
            self.count('look_errors_total', kind=kind)
            entry.found = verdict_lib.Verdict(
                phase=verdict_lib.Phase.BROKEN, memory=entry.last_memory,
                look_again_s=wait_s, law=None,
                sentence=f'cannot be looked at: {why}')
            entry.rest_until_s = self.clock() + wait_s
            self._look_at(kind, key, entry, wait_s)
            return
        entry.failures = 0

    def _found(self, kind: str, key: str, entry: acting.Entry,
               found: Verdict) -> None:
        if entry.found is None or found.phase is not entry.found.phase:
            entry.since_s = self.clock()
        entry.found = found
        self._say(kind, key, entry, found)
        if found.memory != entry.last_memory:
            entry.last_memory = found.memory
            self._notes.changed(kind, key, found.memory)
        if found.action is not None and not self._stopping:
            self._actions.begin(kind, key, entry, found.action,
                                found.memory)
        self._look_at(kind, key, entry,
                      pacing.spread_s(key, found.look_again_s))

    def _say(self, kind: str, key: str, entry: acting.Entry,
             found: Verdict) -> None:
        """One line for each changed verdict; numbers alone do not count."""
        said = f'{found.phase.value}: ' + re.sub(r'\d+(\.\d+)?', '#',
                                                 found.sentence)
        if said == entry.said:
            entry.repeats += 1
            return
        entry.said, entry.repeats = said, 0
        LOG.info('%s %s: %s: %s', kind, key, found.phase.value,
                 found.sentence)
        self.journal.tell(kind, key, found.sentence)

    def _flush(self) -> None:
        self._notes.flush(self.wings)
        self._pause.keep()
