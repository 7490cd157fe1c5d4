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
"""What the loop is given: wings, and the ways to wait and to run."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TYPE_CHECKING

from os_brick_healer.engine import verdict as verdict_lib
from os_brick_healer.engine import wake

if TYPE_CHECKING:
    from os_brick_healer.engine import loop

Verdict = verdict_lib.Verdict[Any, Any]
Outcome = verdict_lib.Outcome


class Waits(Protocol):
    """What the loop waits with (``wake.Waker``, or a simulation's)."""

    def wait(self, seconds: float) -> wake.Woken: ...

    def post(self, call: Callable[[], None]) -> None: ...

    def on_write(self, directory: str, call: Callable[[], None]) -> bool:
        """Call soon after a process has written to a file in it; False:
        that cannot be heard of here."""
        ...


class Runs(Protocol):
    """What actions run on: threads, or a simulation."""

    def submit(self, lane: str, work: Callable[[], Any],
               done: Callable[[Any], None]) -> None:
        """Run ``work``; then have the loop call ``done`` with its result
        (an exception object when it raised)."""
        ...

    def stop(self, timeout_s: float) -> bool: ...


class Wing(Protocol):
    """One kind of thing that is kept healthy."""

    kind: str

    def start(self, engine: 'loop.Engine') -> None:
        """Load what is remembered and set up periodic tasks."""
        ...

    def look(self, key: str) -> Verdict:
        """Observe and decide; quick, on the loop's thread."""
        ...

    def before(self, action: Any, memory: Any) -> Any:
        """The memory to write down together with the intent."""
        ...

    def keep(self, key: str, memory: Any) -> None:
        """It is written down (or need not be): the action begins."""
        ...

    def act(self, key: str, action: Any) -> Outcome:
        """Do it; on a worker's thread, within a deadline."""
        ...

    def after(self, key: str, action: Any, outcome: Outcome) -> Any:
        """Take the outcome into the memory, and give that back."""
        ...

    def dump(self, memory: Any) -> Mapping[str, Any]: ...

    def woken(self, what: wake.Woken) -> Iterable[str]:
        """Keys that an event concerns."""
        ...

    def describe(self, key: str, found: Verdict) -> dict[str, Any]: ...

    def about(self) -> dict[str, Any]: ...

    def stop(self) -> None: ...
