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
"""The loop, on a clock and a wait that are ours."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import enum
import functools
import itertools
import math
from typing import Any

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import loop, verdict, wake
from os_brick_healer.tests import base

Risk = verdict.Risk


class Lane(enum.Enum):
    FLOW = 'flow'
    NETWORK = 'network'


@dataclasses.dataclass(frozen=True)
class Act:
    """Something that can be done."""

    name: str
    risk: Risk = Risk.ADD
    lane: Lane = Lane.FLOW
    law: str = 'a-law'

    def sentence(self) -> str:
        return f'do {self.name}'


class Time:
    """A clock, and the wait that moves it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.posted: list[Callable[[], None]] = []
        self.events: list[wake.Woken] = []
        self.hears = False
        self.on_write_call: Callable[[], None] | None = None

    def __call__(self) -> float:
        return self.now_s

    def post(self, call: Callable[[], None]) -> None:
        self.posted.append(call)

    def on_write(self, directory: str, call: Callable[[], None]) -> bool:
        self.on_write_call = call
        return self.hears

    def wait(self, seconds: float) -> wake.Woken:
        assert math.isfinite(seconds)
        if self.posted:
            self.posted.pop(0)()
        elif not self.events:
            self.now_s += min(max(seconds, 0.001), 0.25)
        return self.events.pop(0) if self.events else wake.Woken()


class Hand:
    """Runs what is submitted when it is told to."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.waiting: list[tuple[str, Callable[[], Any],
                                 Callable[[Any], None]]] = []
        self.held = False

    def submit(self, lane: str, work: Callable[[], Any],
               done: Callable[[Any], None]) -> None:
        self.waiting.append((lane, work, done))
        if not self.held:
            self.go()

    def go(self) -> None:
        waiting, self.waiting = self.waiting, []
        for _lane, work, done in waiting:
            try:
                result = work()
            except Exception as e:  # noqa: BLE001 - as threads do
                result = e
            self.time.post(functools.partial(done, result))

    def stop(self, timeout_s: float) -> bool:
        del timeout_s
        self.go()
        return True


class Things:
    """A wing: each key has a list of verdicts to come to."""

    kind = 'thing'

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.engine: loop.Engine | None = None
        self.looks: list[tuple[float, str]] = []
        self.say: dict[str, Callable[[], loop.Verdict]] = {}
        self.acted: list[Act] = []
        self.learned: list[tuple[str, loop.Outcome]] = []
        self.outcome: Any = loop.Outcome(changed=True)
        self.memories: dict[str, dict[str, int]] = {}
        self.fail_after = False
        self.stopped = False

    def start(self, engine: loop.Engine) -> None:
        self.engine = engine
        for key in self.keys:
            engine.watch(self, key)

    def found(self, key: str, action: Act | None = None,
              sentence: str = 'fine', again_s: float = 30.0) -> loop.Verdict:
        return verdict.Verdict(
            phase=verdict.Phase.HEALTHY, sentence=sentence, action=action,
            memory=self.memories.get(key, {}), look_again_s=again_s)

    def look(self, key: str) -> loop.Verdict:
        assert self.engine is not None
        self.looks.append((self.engine.clock(), key))
        return self.say.get(key, lambda: self.found(key))()

    def before(self, action: Any, memory: Any) -> Any:
        return {**memory, action.name: 1}

    def keep(self, key: str, memory: Any) -> None:
        self.memories[key] = memory

    def act(self, key: str, action: Any) -> loop.Outcome:
        del key
        self.acted.append(action)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome  # type: ignore[no-any-return]

    def after(self, key: str, action: Any, outcome: loop.Outcome) -> Any:
        if self.fail_after:
            raise KeyError('nobody thought of this')
        self.learned.append((key, outcome))
        self.memories[key] = {**self.memories.get(key, {}), action.name: 2}
        self.say.pop(key, None)
        return self.memories[key]

    def dump(self, memory: Any) -> Mapping[str, Any]:
        return dict(memory)

    def woken(self, what: wake.Woken) -> Iterable[str]:
        if what.lost:
            raise OSError('the event cannot be read')
        return what.devices

    def describe(self, key: str, found: loop.Verdict) -> dict[str, Any]:
        del found
        return {'alias': key}

    def about(self) -> dict[str, Any]:
        return {'things': len(self.keys)}

    def stop(self) -> None:
        self.stopped = True


class FullJournal(journal_lib.Journal):
    """A journal on a disk that can be full."""

    full = False

    def _write(self) -> Any:
        if self.full:
            raise exception.JournalError('cannot write: because it is full')
        return super()._write()


class LoopTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = str(self.temp_dir() / 'journal')
        self.counted: list[str] = []
        self.make('a', 'b')

    def make(self, *keys: str, paused: bool = False) -> None:
        self.time = Time()
        self.hand = Hand(self.time)
        self.wing = Things(*keys)
        self.journal = FullJournal(self.path, boot_id='boot')
        self.addCleanup(self.journal.close)
        self.engine = loop.Engine(
            (self.wing,), journal=self.journal, waits=self.time,
            runs=self.hand, clock=self.time, paused=paused,
            count=lambda name, **_labels: self.counted.append(name))

    def run_for(self, seconds: float) -> None:
        """Run to the end, with a stop after so many seconds."""
        stop = {'at_s': self.time.now_s + seconds}

        def _beat() -> None:
            if self.time.now_s >= stop['at_s']:
                self.engine.stop()

        self.engine.on_beat(_beat)
        self.engine.run()

    def at(self, seconds: float, call: Callable[[], object]) -> None:
        """Have something happen at a time."""
        done: list[bool] = []

        def _beat() -> None:
            if self.time.now_s >= seconds and not done:
                done.append(True)
                call()

        self.engine.on_beat(_beat)

    def looks(self, key: str) -> list[float]:
        return [at_s for at_s, name in self.wing.looks if name == key]

    def do(self, key: str, action: Act) -> None:
        """Let a key want this, until it has been tried once."""
        self.wing.say[key] = lambda: self.wing.found(key, action)

    def reopened(self) -> journal_lib.Journal:
        journal = journal_lib.Journal(self.path, boot_id='boot')
        self.addCleanup(journal.close)
        return journal


class LoopTest(LoopTestCase):
    def test_each_key_is_looked_at_when_its_verdict_says(self) -> None:
        self.wing.say['a'] = lambda: self.wing.found('a', again_s=10.0)
        self.run_for(35)
        self.assertEqual([0, 10, 20, 30], [round(t) for t in self.looks('a')])
        # Idle looks are spread: no later than said, but earlier.
        self.assertTrue(10 < self.looks('b')[1] <= 31)
        self.assertTrue(self.wing.stopped)

    def test_a_key_that_raises_rests_and_no_other_key_does(self) -> None:
        def _fail() -> loop.Verdict:
            raise ZeroDivisionError('a bug')

        self.wing.say['a'] = _fail
        self.wing.say['b'] = lambda: self.wing.found('b', again_s=1.0)
        for second in range(1, 100):
            self.at(second, lambda: self.time.events.append(
                wake.Woken(devices=frozenset('a'))))
        self.at(99, lambda: self.told.update(self.engine.status()))
        self.told: dict[str, Any] = {}
        self.run_for(100)
        self.assertLessEqual(len(self.looks('a')), 8)
        self.assertGreaterEqual(len(self.looks('b')), 99)
        self.assertIn('look_errors_total', self.counted)
        phases = {v['key']: v['phase'] for v in self.told['volumes']}
        self.assertEqual({'a': 'broken', 'b': 'healthy'}, phases)

    def test_a_key_of_which_the_journal_is_damaged_is_no_bug(self) -> None:
        def _fail() -> loop.Verdict:
            raise exception.JournalError('cannot read it: because it is odd')

        self.wing.say['a'] = _fail
        told: dict[str, Any] = {}
        self.at(2, lambda: told.update(self.engine.status()))
        with self.assertLogs(level='ERROR') as logged:
            self.run_for(3)
        (said,) = {v['sentence'] for v in told['volumes'] if v['key'] == 'a'}
        self.assertEqual('cannot be looked at: cannot read it: because it is '
                         'odd', said)
        self.assertNotIn('Traceback', '\n'.join(logged.output))

    def test_a_key_that_raises_is_tried_again_within_half_a_minute(
            self) -> None:
        def _fail() -> loop.Verdict:
            raise ZeroDivisionError('a bug')

        self.wing.say['a'] = _fail
        self.run_for(1000)
        looks = self.looks('a')
        self.assertLess(max(b - a for a, b in itertools.pairwise(looks)), 31)
        self.assertLess(len(looks), 40)

    def test_an_event_names_a_key_and_it_is_looked_at(self) -> None:
        self.at(5, lambda: self.time.events.append(
            wake.Woken(devices=frozenset('a'))))
        self.run_for(10)
        self.assertEqual([0, 5], [round(t) for t in self.looks('a')])
        self.assertEqual(1, len(self.looks('b')))

    def test_what_goes_wrong_at_the_edge_does_not_end_the_loop(self) -> None:
        self.at(2, lambda: self.time.events.append(wake.Woken(lost=True)))

        def _bug() -> None:
            raise KeyError('a bug')

        def _expected() -> None:
            raise exception.HealerError('cannot x: because y')

        self.at(3, self.engine.reload)
        self.engine.reload_hooks.append(_bug)
        self.engine.every(lambda: 1.0, _expected, 'expected')
        self.run_for(40)
        self.assertGreaterEqual(len(self.looks('b')), 2)
        self.assertEqual(2, self.counted.count('task_errors_total'))

    def test_an_action_goes_from_intent_to_result_under_one_id(self) -> None:
        self.do('a', Act('x'))
        self.run_for(5)
        self.assertEqual([Act('x')], self.wing.acted)
        journal = self.reopened()
        lines = [h for h in journal.history('a') if h.intent_id]
        self.assertEqual(['intent', 'result'], [h.what for h in lines])
        self.assertEqual(1, len({h.intent_id for h in lines}))
        self.assertEqual((), journal.open_intents())
        self.assertEqual({'x': 2},
                         journal.load_memory('thing')['a'].value)

    def test_the_intent_and_its_memory_are_on_disk_before_the_effect(
            self) -> None:
        self.hand.held = True
        self.do('a', Act('x'))
        seen: list[Any] = []
        self.at(2, lambda: seen.append((
            [i.key for i in self.journal.open_intents()],
            self.journal.load_memory('thing')['a'].value, self.wing.acted)))
        self.run_for(3)
        self.assertEqual([(['a'], {'x': 1}, [])], [
            (k, m, []) for k, m, _ in seen])

    def test_lanes_do_not_wait_for_each_other(self) -> None:
        self.hand.held = True
        self.wing.say['a'] = lambda: self.wing.found(
            'a', Act('slow', lane=Lane.NETWORK), again_s=1.0)
        self.at(3, lambda: self.wing.say.update(
            a=lambda: self.wing.found('a', Act('quick'), again_s=1.0)))
        waiting: list[list[str]] = []
        self.at(9, lambda: waiting.append(
            [lane for lane, _work, _done in self.hand.waiting]))
        self.run_for(10)
        self.assertEqual([['network', 'flow']], waiting)

    def test_without_a_journal_only_what_is_not_risky_is_done(self) -> None:
        self.do('a', Act('flow', risk=Risk.BREAK))
        self.do('b', Act('request', risk=Risk.REPLACE))
        self.journal.full = True
        told: dict[str, Any] = {}
        self.at(4, lambda: told.update(self.engine.status()))
        self.at(5, lambda: setattr(self.journal, 'full', False))
        self.at(4.5, lambda: self.assertEqual(
            ['flow'], [a.name for a in self.wing.acted]))
        self.at(4.5, lambda: self.assertNotIn('b', self.wing.memories))
        self.run_for(60)
        self.assertIn('full', told['agent']['journal_error'])
        self.assertEqual(['flow', 'request'],
                         [a.name for a in self.wing.acted])
        self.assertEqual({'flow': 2},
                         self.reopened().load_memory('thing')['a'].value)

    def test_a_full_disk_at_the_start_does_not_stop_the_agent(self) -> None:
        self.journal.intend('thing', 'a', 'x', {})
        self.journal.full = True
        self.run_for(3)
        self.assertEqual(1, len(self.looks('a')))

    def test_an_intent_without_a_result_is_closed_by_the_next_agent(
            self) -> None:
        self.journal.intend('thing', 'a', 'x', {})
        self.run_for(1)
        journal = self.reopened()
        self.assertEqual((), journal.open_intents())
        self.assertEqual([False], [h.ok for h in journal.history('a')
                                   if h.what == 'result'])

    def test_a_pause_holds_at_once_and_outlives_the_agent(self) -> None:
        self.at(2, lambda: self.engine.pause('by me'))
        self.run_for(4)
        self.assertEqual('by me', self.engine.status()['agent']['paused'])
        self.make('a')
        self.run_for(1)
        self.assertEqual('by me', self.engine.paused)
        self.make('a')
        self.engine.resume()
        self.run_for(1)
        self.assertIsNone(self.engine.paused)

    def test_a_stop_in_the_middle_of_an_action_keeps_its_result(
            self) -> None:
        self.hand.held = True
        self.do('a', Act('x'))
        self.run_for(2)
        journal = self.reopened()
        self.assertEqual((), journal.open_intents())
        self.assertEqual({'x': 2}, journal.load_memory('thing')['a'].value)

    def test_whatever_an_action_comes_to_is_an_outcome(self) -> None:
        for result, word in (
                (exception.NotOurs('cannot x: because y'), 'because y'),
                (RuntimeError('nobody expected this'), 'a bug'),
                (None, 'a bug')):
            self.make('a')
            self.wing.outcome = result
            self.do('a', Act('x'))
            self.run_for(2)
            self.assertIn(word, self.wing.learned[0][1].error or '')

    def test_an_outcome_that_cannot_be_learned_is_not_the_end(self) -> None:
        self.wing.fail_after = True
        self.wing.say['a'] = lambda: self.wing.found('a', Act('x'), again_s=9)
        self.run_for(40)
        self.assertGreaterEqual(len(self.looks('b')), 2)
        self.assertTrue(2 < len(self.looks('a')) < 99)

    def test_an_action_that_changes_nothing_is_done_ever_more_seldom(
            self) -> None:
        def _insist() -> loop.Verdict:
            return self.wing.found('a', Act('x'), again_s=0.1)

        class Insists(dict[str, Any]):
            def pop(self, *_args: Any) -> None:     # never satisfied
                return None

        self.wing.say = Insists(a=_insist)
        self.run_for(100)
        self.assertTrue(5 < len(self.wing.acted) < 20)

    def test_memories_are_written_within_half_a_second(self) -> None:
        kept: list[Any] = []
        self.wing.memories['a'] = {'n': 1}
        self.at(0.6, lambda: kept.append(
            self.journal.load_memory('thing')['a'].value))
        self.run_for(1)
        self.assertEqual([{'n': 1}], kept)

    def test_what_is_not_watched_any_more_is_forgotten(self) -> None:
        self.wing.memories['a'] = {'n': 1}
        self.at(1, lambda: self.engine.unwatch(self.wing, 'a'))
        self.at(2, lambda: self.engine.unwatch(self.wing, 'a'))
        self.run_for(60)
        self.assertEqual(1, len(self.looks('a')))
        self.assertNotIn('a', self.reopened().load_memory('thing'))

    def test_a_key_in_an_action_is_not_let_go(self) -> None:
        self.hand.held = True
        self.do('a', Act('x'))
        told: list[bool] = []
        self.at(1, lambda: told.append(self.engine.release('a')))
        self.at(1, lambda: told.append(self.engine.release('b')))
        self.at(1, lambda: self.engine.unwatch(self.wing, 'a'))
        self.at(2, self.hand.go)
        self.at(4, lambda: told.append(self.engine.release('a')))
        self.run_for(5)
        self.assertEqual([False, True, True], told)

    def test_a_changed_verdict_is_said_once(self) -> None:
        count = iter(range(1000))
        self.wing.say['a'] = lambda: self.wing.found(
            'a', sentence=f'at {next(count)}.5 %', again_s=1.0)
        self.run_for(20)
        self.assertEqual(1, len([h for h in self.reopened().history('a')
                                 if h.what == 'verdict']))

    def test_a_question_is_answered_on_the_loops_thread(self) -> None:
        self.assertRaises(exception.HealerError, self.engine.call,
                          lambda: 1, 0.01)
        self.assertEqual(0.0, self.engine.lag_s())
        self.assertEqual([], self.engine.history(None, 5))
