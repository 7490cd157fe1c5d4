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
"""Who may heal now: a bounded number, first come, first served. Pure."""

import itertools


class Slots:
    """Turns for healing; a volume keeps its turn until it gives it back."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._holding: set[str] = set()
        self._waiting: dict[str, None] = {}

    def take(self, key: str) -> bool:
        """Whether it is this volume's turn; if not, it waits in line."""
        if key in self._holding:
            return True
        self._waiting.setdefault(key)
        free = max(0, self.size - len(self._holding))
        if key not in itertools.islice(self._waiting, free):
            return False
        del self._waiting[key]
        self._holding.add(key)
        return True

    def give_back(self, key: str) -> tuple[str, ...]:
        """No more turn needed, nor a place in the line.

        :returns: whose turn it is now.
        """
        self._waiting.pop(key, None)
        if key not in self._holding:
            return ()
        self._holding.discard(key)
        free = max(0, self.size - len(self._holding))
        return tuple(itertools.islice(self._waiting, free))

    @property
    def busy(self) -> int:
        """How many volumes are being healed."""
        return len(self._holding)
