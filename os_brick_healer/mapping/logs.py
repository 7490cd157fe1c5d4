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
"""Keeping the logs of servers within bounds; the agent sees to it."""

from collections.abc import Callable, Collection
import logging as std_logging
from typing import Any

from oslo_log import log as logging

from os_brick_healer.engine import loop

LOG: std_logging.LoggerAdapter[Any] = logging.getLogger(__name__)

#: Where volumes are mapped, and where none is (logs may be left there).
HOUR_S, DAY_S = 3600.0, 86400.0

#: Tidies the logs of a host: volumes, bytes, seconds; why it cannot, or ''.
Tidy = Callable[[list[str], int, int], str]


class Logs:
    """The logs of one host.

    :param volumes: that are mapped here.
    :param bounds: the longest log, bytes, and for how long that of a volume
        that has left is kept, seconds; read each time.
    """

    def __init__(self, tidy: Tidy, volumes: Callable[[], Collection[str]],
                 bounds: Callable[[], tuple[int, int]], lane: str) -> None:
        self._tidy = tidy
        self._volumes = volumes
        self._bounds = bounds
        self._lane = lane
        self._said = ''

    def start(self, engine: loop.Engine) -> None:
        """Do it now and then."""
        engine.every(self._interval_s, lambda: self._work(engine),
                     'logs of mapped volumes')

    def _interval_s(self) -> float:
        return HOUR_S if self._volumes() else DAY_S

    def _work(self, engine: loop.Engine) -> None:
        volumes, (size_bytes, age_s) = list(self._volumes()), self._bounds()
        engine.submit(
            self._lane, lambda: self._tidy(volumes, size_bytes, age_s),
            self._told)

    def _told(self, told: Any) -> None:
        said = told if isinstance(told, str) else repr(told)
        if said and said != self._said:
            LOG.warning('cannot keep the logs of mapped volumes within '
                        'bounds: %s', said)
        self._said = said
