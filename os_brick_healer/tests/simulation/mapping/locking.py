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
"""The volumes' locks, on the simulated host: ``mapping.locks``."""

from collections.abc import Iterator
import contextlib
from typing import TYPE_CHECKING

from os_brick_healer.mapping import locks

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation.mapping import tools
    from os_brick_healer.tests.simulation.mapping import world as world_lib

_POLL_S = 0.05


class Locks:
    """A lock for each volume; it goes with who holds it, and with what root
    was lent it for."""

    def __init__(self, world: 'world_lib.World', life: 'tools.Life') -> None:
        self._world = world
        self._life = life

    @contextlib.contextmanager
    def hold(self, volume: str, wait_s: float) -> Iterator[None]:
        held, time = self._world.locks, self._world.time
        until_s = time.now_s + wait_s
        while volume in self._world.lent or (
                volume in held and held[volume].alive):
            if time.now_s >= until_s:
                raise locks.Busy(f'cannot touch {volume}: somebody else is '
                                 'at work on it')
            time.sleep(_POLL_S)
        held[volume] = self._life
        try:
            yield
        finally:
            if held.get(volume) is self._life:
                del held[volume]

    @contextlib.contextmanager
    def lend(self, volume: str, offer: locks.Offer) -> Iterator[str]:
        """The place where root gets a lock is the volume's name here."""
        del offer
        assert self._world.locks[volume] is self._life, volume
        yield volume
