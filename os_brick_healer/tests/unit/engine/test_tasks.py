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
"""Periodic tasks: they keep in step, and one question serves many."""

import math

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import tasks
from os_brick_healer.tests.unit.engine import test_loop


class TasksTest(test_loop.LoopTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.told: dict[str, list[tuple[float, int]]] = {'a': [], 'b': []}

    def follow(self, name: str) -> None:
        self.engine.follow(
            lambda version: self.told[name].append((self.time(), version)),
            name)

    def write(self) -> None:
        """As another process does."""
        other = journal_lib.Journal(self.path, boot_id='boot')
        other.attach_begin('v', 'v', {}, 1, '1')
        other.close()
        self.written_s = self.time()

    def heard(self) -> None:
        """The kernel tells that bytes were written."""
        assert self.time.on_write_call is not None
        self.time.on_write_call()

    def test_what_another_process_writes_is_told_in_a_quarter_of_a_second(
            self) -> None:
        self.follow('a')
        self.at(10.1, self.write)
        self.run_for(20)
        first = self.told['a'][0][1]
        seen_s = next(s for s, v in self.told['a'] if v != first)
        waited_s = seen_s - self.written_s
        self.assertTrue(0.0 <= waited_s <= tasks.FOLLOW_S + 0.01, waited_s)

    def asked_s(self) -> list[float]:
        """When the journal is asked, from now on."""
        asked: list[float] = []
        version = self.journal.data_version

        def count() -> int:
            asked.append(self.time())
            return version()

        setattr(self.journal, 'data_version', count)  # noqa: B010
        return asked

    def test_where_the_kernel_tells_of_writes_it_is_asked_seldom(
            self) -> None:
        self.time.hears = True
        asked = self.asked_s()
        self.follow('a')
        self.run_for(20)
        self.assertTrue(20 <= len(asked) <= 22, asked)

    def test_what_the_kernel_tells_of_is_told_in_a_quarter_of_a_second(
            self) -> None:
        self.time.hears = True
        self.follow('a')

        # The bytes are there, and no reader sees the commit yet.
        self.at(10.1, self.heard)
        self.at(10.8, self.write)
        self.run_for(20)
        first = self.told['a'][0][1]
        seen_s = next(s for s, v in self.told['a'] if v != first)
        waited_s = seen_s - self.written_s
        self.assertTrue(0.0 <= waited_s <= tasks.FOLLOW_S + 0.01, waited_s)

    def test_many_writes_are_one_reason_to_ask(self) -> None:
        self.time.hears = True
        asked = self.asked_s()
        self.follow('a')

        for tenth in range(100, 120):
            for _ in range(100):
                self.at(tenth / 10, self.heard)
        self.run_for(30)
        self.assertLess(len(asked), 50)

    def test_a_failure_does_not_end_what_follows_a_write(self) -> None:
        self.time.hears = True
        self.follow('a')
        version = self.journal.data_version

        def fail() -> int:
            if 10.0 < self.time() < 10.6:
                raise exception.JournalError('cannot read', transient=True)
            return version()

        setattr(self.journal, 'data_version', fail)  # noqa: B010

        self.at(10.1, self.heard)
        self.at(10.15, self.write)
        self.run_for(12)
        first = self.told['a'][0][1]
        self.assertLess(next(s for s, v in self.told['a'] if v != first),
                        11.0)

    def test_the_journal_is_asked_once_for_all_who_follow(self) -> None:
        asked = self.asked_s()
        self.follow('a')
        self.follow('b')
        self.run_for(10)
        self.assertEqual(self.told['a'], self.told['b'])
        self.assertEqual(len(asked), len(self.told['a']))
        self.assertTrue(39 <= len(asked) <= 42, len(asked))

    def test_who_fails_keeps_nobody_else_from_being_told(self) -> None:
        def fail(_version: int) -> None:
            raise KeyError('a bug')

        self.engine.follow(fail, 'fails')
        self.follow('a')
        self.run_for(1)
        self.assertIn('task_errors_total', self.counted)
        self.assertGreaterEqual(len(self.told['a']), 4)

    def waits(self, at_s: float) -> list[bool]:
        """Whether anything is to be written then, and soon after."""
        found: list[bool] = []
        for later_s in (at_s, at_s + 0.8):
            self.at(later_s, lambda: found.append(
                self.journal.waiting or self.engine._pause.waiting))
        return found

    def test_what_was_told_is_written_soon_though_nothing_else_is(
            self) -> None:
        self.at(10.0, lambda: self.journal.tell('thing', 'a', 'told'))
        found = self.waits(10.0)
        self.run_for(12)
        self.assertEqual([True, False], found)

    def test_a_pause_is_written_as_soon_as_it_can_be(self) -> None:
        write, found = self.journal.set_setting, self.waits(10.4)

        def full(name: str, value: str | None) -> None:
            if self.time() < 10.8:
                raise exception.JournalError('no space', transient=True)
            write(name, value)

        setattr(self.journal, 'set_setting', full)  # noqa: B010
        self.at(10.0, lambda: self.engine.pause('a test'))
        self.run_for(12)
        self.assertEqual([True, False], found)

    def test_what_is_done_soon_is_planned_once(self) -> None:
        done: list[float] = []
        soon = self.engine._tasks.soon

        def work() -> None:
            done.append(self.time())

        self.assertEqual(math.inf, soon(False, 0.5, work))
        self.assertLessEqual(soon(True, 0.5, work), 0.5)
        self.assertEqual(math.inf, soon(True, 0.5, work))
        self.run_for(3)
        self.assertEqual(1, len(done))
