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
from typing import Any, Protocol

from os_brick_healer.engine import verdict
from os_brick_healer.replica import model, probe


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
    """The prober's results as the observer wants them."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober

    def __getitem__(self, portal: model.Portal) -> probe.Result:
        return self._prober.result(portal)

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0

    def get(self, portal: Any, _default: Any = None) -> Any:
        return self._prober.result(portal)
