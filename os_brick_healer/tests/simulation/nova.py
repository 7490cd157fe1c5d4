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
"""nova-compute: attaches, detaches, extends, and dies in the middle.

The connector itself is not in it (its own tests have it): this does what
the connector does to the journal, to os-brick's locks and to the kernel.
"""

from collections.abc import Callable, Iterator
import contextlib
import os
from typing import Any

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.provisioner import base
from os_brick_healer.tests.simulation import parts, timeline
from os_brick_healer.tests.simulation import world as world_lib

LOCK_POLL_S = 0.1
RELEASE_S = 5.0


class Refused(Exception):
    """An operation that nova gives up."""


class Nova:
    """The compute service of this host.

    :param release: asks the agent to let go; True when it has, or is dead.
    """

    def __init__(self, world: world_lib.World, path: str,
                 release: Callable[[str], bool]) -> None:
        self.world = world
        self.path = path
        self.release = release
        self._tasks: dict[str, timeline.Task] = {}

    # The journal -----------

    def _write(self, what: Callable[[journal_lib.Journal], None]) -> None:
        with contextlib.suppress(exception.JournalError):
            journal = journal_lib.Journal(
                self.path, boot_id=self.world.boot_id())
            try:
                what(journal)
            finally:
                journal.close()

    def record(self, key: str) -> None:
        """Write down that a volume is attached, as if from before."""
        self._begin(key)
        self._attached(key)

    def _attached(self, key: str) -> None:
        self._write(lambda j: j.attach_done(key))
        self.world.recorded.add(key)

    def _begin(self, key: str) -> None:
        pid = os.getpid()
        start = journal_lib.process_start(pid) or ''
        self._write(lambda j: j.attach_begin(key, f'vol-{key[:8]}', {}, pid,
                                             start))

    # Operations -----------

    def do(self, name: str, key: str, **args: Any) -> None:
        """Begin an operation, unless one is under way."""
        if self._tasks or not self.world.nova_alive:
            return
        work = getattr(self, f'_{name}')
        self.world.tell(f'nova: {name} {key[:8]}')
        self._tasks[key] = timeline.Task(
            self.world.time, lambda: work(key, **args),
            lambda result: self._ended(name, key, result), owner='nova')

    def _ended(self, name: str, key: str, result: Any) -> None:
        self._tasks.pop(key, None)
        self._let_go()
        if isinstance(result, Refused):
            self.world.tell(f'nova: {name} of {key[:8]} failed: {result}')
        elif isinstance(result, BaseException):
            raise result

    def _let_go(self) -> None:
        if self.world.lock == 'nova':
            self.world.lock = None
        self.world.busy.clear()

    def kill(self, restart_s: float) -> None:
        """nova dies; what it was at is tried again after its restart."""
        again = list(self._tasks.items())
        for _key, task in again:
            task.kill()
        self._tasks.clear()
        self._let_go()
        self.world.nova_alive = False
        self.world.time.after(restart_s, self._restart)

    def _restart(self) -> None:
        self.world.nova_alive = True

    @contextlib.contextmanager
    def _locked(self, key: str, what: str) -> Iterator[None]:
        while self.world.lock is not None:
            self.world.time.sleep(LOCK_POLL_S)
        self.world.lock = 'nova'
        self.world.busy[key] = what
        self.world.busy_s = self.world.time.now_s
        try:
            yield
        finally:
            self._let_go()

    def _hold(self, key: str, seconds: float) -> None:
        """Busy with something that is not ours, under the locks."""
        while self.world.lock is not None:
            self.world.time.sleep(LOCK_POLL_S)
        self.world.lock = 'nova'
        self.world.time.sleep(seconds)

    def _detach(self, key: str) -> None:
        array = self.world.arrays[key]
        array.served = False
        while array.write is not None:
            self.world.time.sleep(1.0)
        self.world.recorded.discard(key)
        self._write(lambda j: j.detach_begin(key))
        end_s = self.world.time.now_s + RELEASE_S
        while not self.release(key) and self.world.time.now_s < end_s:
            self.world.time.sleep(0.1)
        with self._locked(key, 'disconnects'):
            if array.stopped:
                pass
            elif not self.world.serving(array):
                array.served = True
                self._attached(key)
                raise Refused('no leg of it can be reached')
            else:
                self.world.time.sleep(0.5)
                self.world.md.stop(array)
            self._disconnect(key)
            self._forget(key)
            self._write(lambda j: j.detach_done(key))

    def _forget(self, key: str) -> None:
        """What was requested is forgotten with the volume (limits.rst)."""
        cloud = self.world.cloud
        if self.world.peer is not None or cloud.weather.forget:
            cloud.volumes[key].forget(self.world.time.now_s)

    def _disconnect(self, key: str) -> None:
        volume = self.world.cloud.volumes[key]
        nqns = {r.disk.nqn for r in volume.replicas.values()}
        nqns |= {d.nqn for d in self.world.disks.values() if d.key == key}
        for nqn in sorted(nqns):
            target = self.world.fabric.targets[nqn]
            if any(d.key != key and not d.deleted
                   and self.world.md.holder(d) for d in target.disks):
                continue
            for one in list(self.world.fabric.of_nqn(nqn)):
                self.world.fabric.remove(one)
                self.world.time.sleep(0.1)

    def _attach(self, key: str) -> None:
        array = self.world.arrays[key]
        if not array.stopped:
            return
        self._begin(key)
        try:
            with self._locked(key, 'connects'):
                self._connect(key, array)
        except Refused:
            self._write(lambda j: j.attach_undo(key))
            raise
        self._attached(key)
        array.served = True

    def _connect(self, key: str, array: parts.Array) -> None:
        world = self.world
        volume = world.cloud.volumes[key]
        legs = []
        for replica in list(volume.replicas.values()):
            if replica.state in base.BAD_STATES or not replica.published:
                continue
            for portal in replica.target.portals:
                world.time.sleep(0.3)
                world.fabric.connect(replica.disk.nqn, portal,
                                     world.setup.keep_alive_s)
            legs.append(replica.disk)
        good = [d for d in legs if world.fabric.flow(d) == parts.OK
                and is_newest(world, array, d)][:array.raid_disks]
        if not good:
            raise Refused('its newest leg is not there')
        world.md.start(array, good)

    def _extend(self, key: str) -> None:
        array = self.world.arrays[key]
        if array.stopped:
            return
        self.world.recorded.discard(key)
        self._write(lambda j: j.extend_begin(key))
        try:
            with self._locked(key, 'extends'):
                volume = self.world.cloud.volumes[key]
                volume.size_bytes += 64 * parts.MIB
                for replica in volume.replicas.values():
                    replica.disk.size_bytes = volume.size_bytes
                self.world.time.sleep(0.5)
                if not self.world.serving(array):
                    raise Refused('no leg of it can be reached')
                array.component_bytes = min(
                    m.disk.size_bytes for m in array.members
                    if m.works) - parts.MIB
        finally:
            self._write(lambda j: j.extend_done(key))
            self.world.recorded.add(key)


def is_newest(world: world_lib.World, array: parts.Array,
              disk: parts.Disk) -> bool:
    """Whether a leg that can be reached has all that was written.

    Its superblock says so; one to which a copy was under way has the newest
    event count, too, but does not call itself in sync.
    """
    return (world.reachable(disk) and disk.array_uuid == array.uuid
            and disk.whole and not disk.filling
            and disk.events == array.events)
