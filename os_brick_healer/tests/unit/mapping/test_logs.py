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
"""The agent keeps logs within bounds, now and then."""

from collections.abc import Callable
from typing import Any, cast

from os_brick_healer.conf import opts
from os_brick_healer.engine import loop
from os_brick_healer.mapping import bounds, logs
from os_brick_healer.tests import base


class Engine:
    """Has one periodic task, and does what is submitted at once."""

    def __init__(self) -> None:
        self.lanes: list[str] = []

    def every(self, interval: Callable[[], float], work: Callable[[], None],
              name: str) -> None:
        assert name == 'logs of mapped volumes'
        self.interval, self.work = interval, work

    def submit(self, lane: str, work: Callable[[], Any],
               done: Callable[[Any], None]) -> None:
        self.lanes.append(lane)
        try:
            result = work()
        except OSError as e:
            result = e
        done(result)


class LogsTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.asked: list[tuple[list[str], int, int]] = []
        self.answer = ''
        self.volumes = ['v']
        self.engine = Engine()
        logs.Logs(self.tidy, lambda: self.volumes, lambda: (1 << 20, 7),
                  'lane').start(cast(loop.Engine, self.engine))

    def tidy(self, volumes: list[str], size_bytes: int, age_s: int) -> str:
        self.asked.append((volumes, size_bytes, age_s))
        if self.answer == 'raise':
            raise OSError(28, 'no room at all')
        return self.answer

    def test_logs_of_mapped_volumes_are_looked_at_every_hour(self) -> None:
        self.engine.work()
        self.assertEqual([(['v'], 1 << 20, 7)], self.asked)
        self.assertEqual((['lane'], 3600.0),
                         (self.engine.lanes, self.engine.interval()))

    def test_where_nothing_is_mapped_each_day(self) -> None:
        self.volumes = []
        self.assertEqual(86400.0, self.engine.interval())

    def test_what_keeps_it_from_that_is_said_once(self) -> None:
        for answer in ('cannot: no room', 'cannot: no room', '', 'raise'):
            self.answer = answer
            self.engine.work()
        self.assertEqual(1, self.log.output.count('cannot: no room'))
        self.assertEqual(1, self.log.output.count('no room at all'))

    def test_the_bounds_are_the_options(self) -> None:
        conf = self.new_conf()
        opts.register(conf)
        self.assertEqual((16 << 20, 30 * 86400), bounds.logs(conf))
