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
"""Threads are bounded, and results come back through the loop."""

import threading
import time

from os_brick_healer.engine import threads, wake
from os_brick_healer.tests import base


class ThreadsTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.waker = wake.Waker(mdstat=None, uevents=False)
        self.addCleanup(self.waker.close)
        self.results: list[object] = []

    def pools(self, **sizes: int) -> threads.Threads:
        made = threads.Threads(self.waker.post, sizes)
        self.addCleanup(made.stop, 5.0)
        return made

    def wait_for(self, count: int) -> None:
        end = time.monotonic() + 30
        while len(self.results) < count and time.monotonic() < end:
            self.waker.wait(0.2)
        self.assertEqual(count, len(self.results))

    def test_no_lane_runs_more_than_its_share_and_none_waits_for_another(
            self) -> None:
        pools = self.pools(slow=2, quick=1)
        lock, gate = threading.Lock(), threading.Event()
        running = {'now': 0, 'most': 0}

        def _slow() -> str:
            with lock:
                running['now'] += 1
                running['most'] = max(running['most'], running['now'])
            gate.wait(30)
            with lock:
                running['now'] -= 1
            return 'slow'

        for _ in range(6):
            pools.submit('slow', _slow, self.results.append)
        pools.submit('quick', lambda: 'quick', self.results.append)
        self.wait_for(1)
        self.assertEqual(['quick'], self.results)
        gate.set()
        self.wait_for(7)
        self.assertEqual(2, running['most'])

    def test_an_exception_is_a_result(self) -> None:
        error = ValueError('no')

        def _fail() -> None:
            raise error

        self.pools(a=1).submit('a', _fail, self.results.append)
        self.wait_for(1)
        self.assertEqual([error], self.results)

    def test_leaving_does_not_wait_for_what_never_began(self) -> None:
        pools = self.pools(a=1)
        gate = threading.Event()
        for _ in range(4):
            pools.submit('a', lambda: gate.wait(30), self.results.append)
        self.assertFalse(pools.stop(0.1))
        gate.set()
        self.assertTrue(pools.stop(10.0))
        self.wait_for(1)
