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
"""What the agent needs of an engine; the real one and the fakes have it."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from os_brick_healer.engine import journal


class History(Protocol):
    """The part of the journal that is told to people."""

    @property
    def gone(self) -> bool:
        """Whether another file, or none, is where it was opened."""
        ...

    def history(self, key: str | None = None,
                limit: int = 100) -> Sequence[journal.HistoryRow]:
        """The newest lines, oldest of them first."""
        ...


class Engine(Protocol):
    """The loop, seen from the process that runs it. Thread-safe."""

    @property
    def journal(self) -> History: ...

    def run(self) -> None:
        """Heal; returns after :meth:`stop`."""
        ...

    def stop(self) -> None:
        """Make :meth:`run` return soon. Returns at once."""
        ...

    def status(self) -> dict[str, Any]:
        """A snapshot; never waits for the loop."""
        ...

    def wake(self, key: str | None = None) -> None:
        """Look at a volume, or at everything, now."""
        ...

    def pause(self, reason: str) -> str | None:
        """Watch and tell, change nothing.

        :returns: why it will not outlive the agent; None: it will.
        """
        ...

    def resume(self) -> str | None:
        """Heal again. :returns: as :meth:`pause`."""
        ...

    def reload(self) -> None:
        """The configuration has been read again."""
        ...

    def on_beat(self, call: Callable[[], None]) -> None:
        """Have ``call`` called on each turn of the loop, at least every
        second."""
        ...
