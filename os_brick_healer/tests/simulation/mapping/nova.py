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
"""nova-compute: maps and unmaps, and dies in the middle.

The connector's own mapper, hands and records do it, with the tools of this
world and the real journal.
"""

from collections.abc import Callable
from typing import Any

from os_brick_healer import exception
from os_brick_healer.connector import mapper, records
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.tests.simulation import timeline
from os_brick_healer.tests.simulation.mapping import agent, parts, tools
from os_brick_healer.tests.simulation.mapping import world as world_lib

#: A guest that does not let go of its volume is waited for so long.
DRAIN_S = 20.0
#: A server that was told to end may take so long.
ENDS_S = 10.0
RUN_PATH = world_lib.RUN_PATH
#: Who is to live no longer than this does nothing more.
AT_ONCE_S = 0.03


class Short:
    """The journal, opened for each call, in a mortal process."""

    def __init__(self, nova: 'Nova', life: tools.Life) -> None:
        self._nova = nova
        self._life = life

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def _call(*args: Any, **kwargs: Any) -> Any:
            if not self._life.alive:
                raise timeline.Killed
            journal = journal_lib.Journal(self._nova.path, boot_id='boot')
            try:
                found = getattr(journal, name)(*args, **kwargs)
            finally:
                journal.close()
            self._nova.noted(name, *args)
            if not self._life.alive:
                raise timeline.Killed
            return found
        return _call


class Nova:
    """The compute service of this host.

    :ivar wanted: whether each volume is to be attached.
    :ivar doomed: what it writes down or comes to last, and how long it
        lives then.
    """

    def __init__(self, world: world_lib.World, path: str) -> None:
        self.world = world
        self.path = path
        self.wanted = dict.fromkeys(world.volumes, True)
        self.doomed: tuple[str, float] | None = None
        self._tasks: dict[str, timeline.Task] = {}
        self._begin()

    def _begin(self) -> None:
        self.life = tools.Life('nova')
        short: Any = Short(self, self.life)
        kit = tools.Tools(self.world, self.life, self._point)
        self._mapper = mapper.Mapper(
            hands=agent.hands(self.world, self.life, kit, self._clock),
            mounters=self.world.mounters, tree=self.world.tree,
            records=records.Records(lambda: short),
            settings=lambda: mapper.Settings(
                run_path=RUN_PATH, lock_s=45.0,
                reattach_s=self.world.setup.reattach_s,
                timer_ms=self.world.timer_ms))

    def _clock(self) -> float:
        return 1000.0 + self.world.time.now_s

    def _point(self, where: str) -> None:
        """nova may die here."""
        if self.doomed is not None and self.doomed[0] == where:
            self.doomed = None
            self._doom()
            raise timeline.Killed

    def noted(self, name: str, *args: Any) -> None:
        """Something of a volume was written down."""
        volume = self.world.volumes.get(str(args[0]) if args else '')
        if volume is not None and name == 'detach_begin':
            volume.disconnecting = True
        elif volume is not None and name in ('detach_done', 'attach_begin'):
            volume.disconnecting = False
        if self.doomed is not None and self.doomed[0] == name:
            seconds, self.doomed = self.doomed[1], None
            if seconds < AT_ONCE_S:
                self._doom()
            else:
                self.world.time.after(seconds, self._doom)

    def _doom(self) -> None:
        self.world.fault('nova-compute is killed in the middle')
        self.kill(2.0)

    @property
    def idle(self) -> bool:
        return not self._tasks and self.world.nova_alive

    # Operations -----------

    def do(self, name: str, key: str) -> None:
        """Begin an operation, unless one on this volume is under way."""
        if key in self._tasks or not self.world.nova_alive:
            return
        work = getattr(self, f'_{name}')
        self.wanted[key] = name == 'attach'
        self.world.tell(f'nova: {name} {key[:8]}')
        self._tasks[key] = timeline.Task(
            self.world.time, lambda: work(key),
            lambda result: self._ended(name, key, result), owner='nova')

    def _ended(self, name: str, key: str, result: Any) -> None:
        self._tasks.pop(key, None)
        if isinstance(result, exception.HealerError):
            self.world.tell(f'nova: {name} of {key[:8]} failed: {result}')
        elif isinstance(result, BaseException):
            raise result

    def kill(self, restart_s: float) -> None:
        """nova dies; what it was at is tried again after its restart."""
        self.life.alive = False
        for task in list(self._tasks.values()):
            task.kill()
        self._tasks.clear()
        held = self.world.locks
        for key in [k for k, life in held.items() if life is self.life]:
            del held[key]
        self.world.nova_alive = False
        self.world.time.after(restart_s, self._restart)

    def _restart(self) -> None:
        self.world.nova_alive = True
        self._begin()
        self.settle()

    def settle(self) -> None:
        """Bring every volume to where it is wanted."""
        for key, volume in self.world.volumes.items():
            guest, device = self.world.guests[key], None
            if volume.attached and not volume.taken:
                device = self.world.nbd.with_cookie(key)
            if device is not None and guest.device is None and (
                    self.wanted[key] and key not in self._tasks):
                guest.device = device.name      # it was not let go after all
            if self.wanted[key] and (not volume.attached or volume.taken):
                self.do('attach', key)
            elif not self.wanted[key] and (volume.attached
                                           or volume.disconnecting):
                self.do('detach', key)

    def _attach(self, key: str) -> None:
        volume = self.world.volumes[key]
        if volume.disconnecting or volume.taken:
            self._detach(key)
            self.wanted[key] = True
        image = self.world.images[key]
        path = self._mapper.map(key, f'vol-{key[:8]}', volume.mounter,
                                image.source)
        volume.attached, volume.taken = True, False
        device = self.world.nbd.devices[path.removeprefix('/dev/')]
        volume.size_bytes = device.size_bytes
        self.world.guests[key].device = device.name

    def _detach(self, key: str) -> None:
        world = self.world
        volume, guest = world.volumes[key], world.guests[key]
        device, guest.device = guest.device, None
        end_s = world.time.now_s + DRAIN_S
        while guest.under_way and world.time.now_s < end_s:
            world.time.sleep(0.5)
        if guest.under_way and world.rng.random() < 0.5:
            guest.device = device
            self.wanted[key] = True
            raise exception.HealerError('the guest does not let it go')
        volume.attached = False
        self._mapper.unmap(key, volume.mounter, world.images[key].source)
        volume.tampered = False
        world.tell(f'nova: {key[:8]} is unmapped')
        there = world.nbd.with_cookie(key)
        if there is not None:
            world.court.broke('19.leak', f'{there.name} of {key[:8]}')
        before = world.processes.servers(key)
        world.time.after(ENDS_S, lambda: self._look_back(key, before))

    def _look_back(self, key: str, before: list[parts.Proc]) -> None:
        """Whether a server of what was unmapped is still there."""
        for proc in before:
            if proc.lives and proc.state != parts.DYING:
                self.world.court.broke('19.leak', (
                    f'process {proc.pid} of {key[:8]}, which is unmapped'))
