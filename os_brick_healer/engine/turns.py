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
"""Turns to heal, for a wing: a bounded number at once, and who waits says so.
"""

from collections.abc import Callable, Iterable
import dataclasses
from typing import Any

from os_brick_healer.engine import slots, verdict


class Turns:
    """Who may heal now.

    :param touch: has volumes looked at: it is their turn.
    """

    def __init__(self, size: int,
                 touch: Callable[[Iterable[str]], None]) -> None:
        self._slots = slots.Slots(size)
        self._touch = touch

    def take(self, key: str, found: verdict.Verdict[Any, Any], size: int,
             waits_as: verdict.Phase) -> verdict.Verdict[Any, Any]:
        """What was found if it is the volume's turn; else that it waits.

        :param size: how many may heal at once now.
        :param waits_as: the phase of a volume that waits.
        """
        self._slots.size = size
        if self._slots.take(key):
            return found
        return dataclasses.replace(
            found, action=None, phase=waits_as, look_again_s=1.0,
            sentence=f'waits for its turn, {self._slots.busy} volumes '
                     f'are being healed; then: {found.sentence}')

    def give_back(self, key: str) -> None:
        """The volume heals no longer, nor waits: the next ones go on."""
        self._touch(self._slots.give_back(key))
