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
"""A connection is given up only when its process has ended."""

from typing import Any

from os_brick_healer import exception
from os_brick_healer.nbd import parse
from os_brick_healer.privileged import hanging, tree
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.privileged import test_blocks

KEY, OTHER = test_blocks.KEY, test_blocks.OTHER
EXITING, AT_WORK = '4', '64'


class Ear:
    """Hears a death after so many questions; None: never.

    :ivar words: what it is told then.
    """

    def __init__(self, after: int | None) -> None:
        self.after = after
        self.words: frozenset[str] | None = frozenset({'nbd3'})
        self.closed = False
        self.asked = 0

    def take(self) -> frozenset[str] | None:
        self.asked += 1
        if self.after is None or self.asked <= self.after:
            return frozenset({'nbd30'})
        return self.words

    def close(self) -> None:
        self.closed = True


class HangUpTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = self.temp_dir()
        self.tree = tree.Tree(str(self.root))
        test_blocks.add(self.root, 'nbd3', KEY)
        self.told: list[tuple[int, str, int]] = []
        self.ear = Ear(2)
        self.refuses: OSError | None = None
        self.process(EXITING)

    def process(self, flags: str, start: int = 42) -> None:
        """Its first thread is a zombie, a second one is there."""
        self.write_file(self.root / 'proc/6/cmdline', '')
        for path, state in (('stat', 'Z'), ('task/6/stat', 'Z'),
                            ('task/7/stat', 'D')):
            thread_flags = EXITING if state == 'Z' else flags
            self.write_file(
                self.root / 'proc/6' / path,
                f'6 (x) {state} 0 0 0 0 0 {thread_flags} '
                f'{" ".join(["0"] * 12)} {start} 0\n')

    def expire(self, index: int, *, cookie: str, after_s: int,
               timeout_s: float) -> None:
        self.assertGreater(timeout_s, 0.0)
        if after_s:
            self.assertEqual(0, self.ear.asked)
            # What the driver does to the timer of the block layer.
            self.timer('1000')
        else:
            self.timer('30000')
        self.told.append((index, cookie, after_s))
        if after_s and self.refuses is not None:
            raise self.refuses

    def timer(self, value: str | None = None) -> str:
        path = self.root / 'sys/block/nbd3/queue/io_timeout'
        if value is not None:
            path.write_text(value)
        return path.read_text()

    def hang_up(self, **changes: Any) -> bool:
        words = {'device': 'nbd3', 'volume': KEY, 'timer_ms': 10000,
                 'server': parse.Process(pid=6, start='42'),
                 'timeout_s': 0.3, 'expire': self.expire,
                 'listen': lambda: self.ear, **changes}
        return hanging.hang_up(self.tree, **words)

    def test_the_timeout_is_taken_back_and_the_timer_is_as_it_was(
            self) -> None:
        self.assertTrue(self.hang_up())
        self.assertEqual([(3, KEY, 1), (3, KEY, 0)], self.told)
        self.assertEqual('10000', self.timer())
        self.assertEqual((3, True), (self.ear.asked, self.ear.closed))

    def test_one_that_is_gone_needs_nothing(self) -> None:
        self.process(EXITING, start=43)
        self.assertFalse(self.hang_up())
        self.assertEqual([], self.told)

    def test_one_that_may_be_at_work_keeps_its_connection(self) -> None:
        self.process(AT_WORK)
        self.assertRaises(exception.NotOurs, self.hang_up)
        self.write_file(self.root / 'proc/6/cmdline', 'rbd-nbd\0')
        self.write_file(self.root / 'proc/6/stat',
                        f'6 (x) S {" ".join(["0"] * 18)} 42 0\n')
        self.assertRaises(exception.NotOurs, self.hang_up)
        self.assertEqual([], self.told)

    def test_another_volumes_device_keeps_its_connection(self) -> None:
        error = self.assertRaises(exception.NotOurs, self.hang_up,
                                  volume=OTHER)
        self.assertIn('cookie', str(error))
        self.assertEqual([], self.told)

    def test_a_death_that_is_not_told_is_not_waited_for_for_ever(
            self) -> None:
        for ear in (Ear(None), Ear(0)):
            ear.words = None    # some were not told
            self.ear = ear
            self.assertTrue(self.hang_up())
            self.assertEqual((3, KEY, 0), self.told[-1])

    def test_a_refusal_leaves_no_socket_open(self) -> None:
        self.refuses = OSError(22, 'no')
        self.assertRaises(OSError, self.hang_up)
        self.assertTrue(self.ear.closed)
