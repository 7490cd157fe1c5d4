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
from typing import Generic, TypeVar

R = TypeVar('R')


@dataclasses.dataclass(slots=True, kw_only=True)
class Answer(Generic[R]):
    """What came of a call: ``value`` counts only when it is ``done``."""

    done: bool
    value: R | None = None


def run(call: Callable[[], R], timeout_s: float, what: str) -> Answer[R]:
    """Call in a daemon thread and wait for it, no longer than the deadline.

    A write to delete_controller was seen to take 30 s, and an open() of a
    namespace without a live path never returns. Neither can be interrupted:
    the thread stays until the kernel lets go; it is a daemon thread, so the
    process can end before.

    :raises Exception: whatever the call raised within the deadline.
    """
    values: list[R] = []
    errors: list[Exception] = []

    def body() -> None:
        try:
            values.append(call())
        except Exception as error:  # noqa: BLE001 - handed to the waiter
            errors.append(error)

    thread = threading.Thread(target=body, name=what[:60], daemon=True)
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not values:
        return Answer(done=False)
    return Answer(done=True, value=values[0])
