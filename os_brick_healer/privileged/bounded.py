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
"""Kernel calls that may hang, made in a thread that nobody waits for."""

from collections.abc import Callable
import dataclasses
import threading
from typing import Any, Generic, TypeVar

R = TypeVar('R')


@dataclasses.dataclass(slots=True, kw_only=True)
class Answer(Generic[R]):
    """What came of a call: ``value`` counts only when it is ``done``."""

    done: bool
    value: R | None = None


class Call(Generic[R]):
    """A call in a thread of its own, which begins at once."""

    def __init__(self, call: Callable[[], R], what: str) -> None:
        self._call = call
        self._values: list[R] = []
        self._errors: list[Exception] = []
        self._thread = threading.Thread(target=self._body, name=what[:60],
                                        daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether the kernel has let go of it."""
        return not self._thread.is_alive()

    def wait(self, timeout_s: float) -> Answer[R]:
        """What comes of it in time. :raises Exception: what it raised."""
        self._thread.join(timeout_s)
        if not self.over:
            return Answer(done=False)
        if self._errors:
            raise self._errors[0]
        return Answer(done=True, value=self._values[0])

    def _body(self) -> None:
        try:
            self._values.append(self._call())
        except Exception as error:  # noqa: BLE001 - handed to the waiter
            self._errors.append(error)


_lock = threading.Lock()
_calls: dict[str, Call[Any]] = {}


def run(call: Callable[[], R], timeout_s: float, what: str,
        give_up: Callable[[], None] | None = None) -> Answer[R]:
    """Call in a daemon thread and wait for it, no longer than the deadline.

    A write to delete_controller was seen to take 30 s, and an open() of a
    namespace without a live path never returns. Neither can be interrupted:
    the thread stays until the kernel lets go; it is a daemon thread, so the
    process can end before. Whoever asks for the same thing meanwhile waits
    for that thread: trying again piles up no threads.

    :param what: names what is done to what; two of one name are the same.
    :param give_up: called when the call is not made, for that reason.
    :raises Exception: whatever the call raised within the deadline.
    """
    with _lock:
        found = _calls.get(what)
        # One that nobody waited for to the end is over now: do it anew.
        if found is None or found.over:
            found = _calls[what] = Call(call, what)
        elif give_up is not None:
            give_up()
    answer: Answer[R] = Answer(done=False)
    try:
        answer = found.wait(timeout_s)
    finally:
        with _lock:
            if found.over and _calls.get(what) is found:
                del _calls[what]
    return answer
