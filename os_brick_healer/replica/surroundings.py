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
"""What this host as a whole means for a volume: its brake and budget."""

from collections.abc import Callable, Collection, Mapping
import math

from os_brick_healer.engine import limits
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import doubt, model

_READ_S = 1.0


class Surroundings:
    """Read once a second at most; the loop's own.

    :param seen: what each volume's last look has found.
    :param unread: volumes that cannot be looked at any more.
    :param named: the provisioner's last words about a volume.
    :param silent: whether a portal did not answer when it was probed last.
    """

    def __init__(self, seen: Mapping[str, model.Seen],
                 memories: Mapping[str, model.Memory],
                 unread: Collection[str],
                 named: Callable[[str], model.Volume | None],
                 silent: Callable[[model.Portal], bool]) -> None:
        self._seen = seen
        self._memories = memories
        self._unread = unread
        self._named = named
        self._silent = silent
        self._read_s = self._ran_s = -math.inf
        self._now = case_lib.Around()

    def start(self, now_s: float) -> None:
        """The agent begins: it knows nothing of most back ends yet."""
        self._doubt(now_s, doubt.STARTED)
        self._ran_s = now_s

    def run(self, now_s: float, policy: limits.Policy) -> None:
        """The agent runs, as it does each time that it samples the pulse.

        After a pause (a host that was stopped, or had no time for it) what
        it saw before proves nothing, as after a start.
        """
        if now_s - self._ran_s > doubt.START_S + 2 * policy.poll_s:
            self._doubt(now_s, doubt.PAUSED)
        self._ran_s = now_s

    def _doubt(self, now_s: float, why: str) -> None:
        self._read_s = now_s + doubt.START_S
        self._now = case_lib.Around(brake=why, requests_left=0)

    def asked(self) -> None:
        """A replacement is being requested: many may be in a second."""
        self._now = case_lib.Around(
            brake=self._now.brake, requests_left=self._now.requests_left - 1)

    def read(self, now_s: float, policy: limits.Policy) -> case_lib.Around:
        """For a volume that is being looked at now."""
        self.run(now_s, policy)
        if now_s - self._read_s >= _READ_S:
            self._read_s = now_s
            self._now = case_lib.Around(
                brake=doubt.brake(
                    [(s, self._memories[k]) for k, s in self._seen.items()
                     if k in self._memories], policy.brake_ratio,
                    self._unread,
                    [(volume, one) for k, one in self._memories.items()
                     if k not in self._seen
                     and (volume := self._named(k)) is not None],
                    self._silent),
                requests_left=doubt.requests_left(
                    self._memories.values(), now_s, policy))
        return self._now
