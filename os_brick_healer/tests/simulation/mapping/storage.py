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
"""Where the data is: a Ceph-like cluster, and files of the host.

Operations on one image end in the order in which they arrived. What a client
has sent outlives it. The exclusive lock of an image is handed over by a
client that lives; one that does not answer loses it after a while, and is
then kept out.
"""

from collections.abc import Callable
import random

from os_brick_healer.tests.simulation import timeline
from os_brick_healer.tests.simulation.mapping import parts

#: A watcher that does not answer is given up after so long, seconds.
WATCH_S = 30.0
_HANDED_S = 0.1
_LOOK_S = 0.2

#: Told of the error, and what was read.
Reply = Callable[[bool, int], None]


class Storage:
    """All images.

    :ivar monitors: whether clients can begin.
    :ivar landed: called after each write.
    """

    def __init__(self, time: timeline.Timeline,
                 rng: random.Random) -> None:
        self._time = time
        self._rng = rng
        self.images: dict[str, parts.Image] = {}
        self.monitors = True
        self.landed: Callable[[parts.Image, int], None] = (
            lambda _image, _block: None)
        self.fenced: Callable[[parts.Proc], None] = lambda _proc: None

    def do(self, proc: parts.Proc, image: parts.Image, kind: str, block: int,
           value: int, reply: Reply) -> None:
        """A client's operation."""
        if image.kind == parts.RBD and kind == parts.WRITE and (
                image.exclusive and image.owner is not proc):
            self._acquire(proc, image, lambda: self.do(
                proc, image, kind, block, value, reply))
            return
        proc.ops += 1
        self._queue(image, self._rng.uniform(0.001, 0.02), lambda: self._land(
            proc, image, kind, block, value, reply))

    def _queue(self, image: parts.Image, seconds: float,
               land: Callable[[], None]) -> None:
        now_s = self._time.now_s
        at_s = max(now_s + seconds, image.free_s, image.slow_until_s)
        image.free_s = at_s

        def _due() -> None:
            if self._time.now_s < image.slow_until_s:
                self._queue(image, 0.0, land)
            else:
                land()

        self._time.at(at_s, _due)

    def _land(self, proc: parts.Proc, image: parts.Image, kind: str,
              block: int, value: int, reply: Reply) -> None:
        proc.ops -= 1
        fails = not image.exists or (proc.blocked and kind == parts.WRITE)
        if kind == parts.WRITE and not fails:
            image.blocks[block] = value
            self.landed(image, block)
        reply(fails, image.blocks[block])

    # The exclusive lock -----------

    def _acquire(self, proc: parts.Proc, image: parts.Image,
                 then: Callable[[], None]) -> None:
        if not proc.lives or proc.state == parts.DYING:
            return
        if proc.blocked:
            then()      # it is refused where it writes
            return
        owner, wait_s = image.owner, _LOOK_S
        if owner is None or owner is proc:
            image.owner = proc
            then()
            return
        if proc.state == parts.RUNS and self.monitors:
            since_s = owner.deaf_s
            if since_s is None:
                image.owner, wait_s = None, _HANDED_S
            elif self._time.now_s - since_s >= WATCH_S:
                self.fence(owner)
        self._time.after(wait_s, lambda: self._acquire(proc, image, then))

    def fence(self, owner: parts.Proc) -> None:
        """Keep a client out for good."""
        self.fenced(owner)
        owner.blocked = True
        if owner.image is not None and owner.image.owner is owner:
            owner.image.owner = None
