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
"""What the replica wing is given: hands and a prober."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
from typing import Any, Protocol

from os_brick_healer.engine import verdict
from os_brick_healer.replica import model, probe

#: An answer may wait so long (seconds) for the turn of who asked.
LATE_S = 30.0


class Hands(Protocol):
    """What carries out actions (``replica.act.Hands``)."""

    def do(self, action: model.Action,
           fresh: Callable[[], model.Seen]) -> verdict.Outcome: ...


class Prober(Protocol):
    """What probes portals (``replica.probe.TcpProber``)."""

    def ask(self, portals: Iterable[model.Portal]) -> None: ...

    def result(self, portal: model.Portal) -> probe.Result: ...

    def stop(self) -> None: ...


class Results(Mapping[model.Portal, probe.Result]):
    """The prober's results as the observer wants them, for one volume.

    What has answered since the volume asked is as good as new, however late
    it is looked at: with many in trouble at once it is this agent that makes
    it wait, and otherwise it would never hear an answer. The hands probe
    again before they give anything up.

    :param asked_ago_s: since when it has been waiting; below zero: it did
        not ask.
    """

    def __init__(self, prober: Prober, asked_ago_s: float) -> None:
        self._prober = prober
        self._late_s = min(asked_ago_s, LATE_S)

    def __getitem__(self, portal: model.Portal) -> probe.Result:
        found = self._prober.result(portal)
        if (found.answers and found.age_s is not None
                and found.age_s <= self._late_s):
            return dataclasses.replace(found, age_s=0.0)
        return found

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0

    def get(self, portal: Any, _default: Any = None) -> Any:
        return self[portal]
