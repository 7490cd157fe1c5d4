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
"""The threads that actions run on: a bounded number for each lane."""

from collections.abc import Callable, Mapping
from concurrent import futures
import threading
import time
from typing import Any

#: What the names of all these threads begin with.
PREFIX = 'healer-'


class Threads:
    """One pool of threads for each lane; results go back to the loop.

    :param post: hands a call to the loop's thread.
    :param sizes: threads of each lane.
    """

    def __init__(self, post: Callable[[Callable[[], None]], None],
                 sizes: Mapping[str, int]) -> None:
        self._post = post
        self._pools = {
            lane: futures.ThreadPoolExecutor(
                size, thread_name_prefix=f'{PREFIX}{lane}')
            for lane, size in sizes.items()}
        self._lock = threading.Lock()
        self._under_way = 0

    def submit(self, lane: str, work: Callable[[], Any],
               done: Callable[[Any], None]) -> None:
        """See ``loop.Runs``."""
        with self._lock:
            self._under_way += 1
        future = self._pools[lane].submit(self._run, work, done)
        future.add_done_callback(self._ended)

    def _ended(self, _future: futures.Future[None]) -> None:
        """Also what was cancelled before it began."""
        with self._lock:
            self._under_way -= 1

    def _run(self, work: Callable[[], Any],
             done: Callable[[Any], None]) -> None:
        try:
            result = work()
        except BaseException as e:  # noqa: BLE001 - handed over, logged there
            result = e
        self._post(lambda: done(result))

    def stop(self, timeout_s: float) -> bool:
        """Begin nothing more; wait a little for what is under way.

        :returns: whether everything has ended.
        """
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self._under_way == 0:
                return True
            time.sleep(0.02)
        return self._under_way == 0
