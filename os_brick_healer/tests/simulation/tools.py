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
"""The hands' tools, on the simulated host.

They stand for ``privileged.md`` and ``privileged.nvme``: what the kernel and
mdadm do, with the checks that the privileged side makes for itself. An
effect that has begun goes on when the agent is killed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
from typing import TYPE_CHECKING, TypeVar

from os_brick_healer import exception
from os_brick_healer.provisioner import base
from os_brick_healer.replica import locks, model
from os_brick_healer.tests.simulation import looking, parts
from os_brick_healer.tests.simulation import md as md_lib

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation import world as world_lib

T = TypeVar('T')
POLL_S = 0.05
#: A deletion that was asked for has come to pass by then, or never will.
DOOMED_S = 40.0


class Tools:
    """All tools of one agent.

    :param crash: a point at which the agent may be killed.
    """

    def __init__(self, world: 'world_lib.World',
                 crash: Callable[[str], None]) -> None:
        self.world = world
        self.crash = crash

    def _run(self, name: str, seconds: float, effect: Callable[[], T],
             timeout_s: float) -> T:
        """A command: it takes time, it may fail, it may hang."""
        commands, time = self.world.commands, self.world.time
        self.crash(f'before {name}')
        self.world.court.commands(name)
        if commands.fail > 0:
            commands.fail -= 1
            self.world.fault(f'{name} fails')
            raise exception.CommandError(f'cannot {name}: because of a fault')
        hangs = commands.hang > 0
        box: list[T | Exception] = []

        boots, life_s = self.world.boots, self.world.agent_since_s
        begun_s = time.now_s

        def _effect() -> None:
            if self.world.boots != boots:
                return      # no process outlives its host
            self.world.orphan = self.world.agent_since_s != life_s
            self.world.begun_s = begun_s
            try:
                box.append(effect())
            except (exception.HealerError, md_lib.Refused) as e:
                box.append(e)
            finally:
                self.world.orphan = False

        if hangs:
            commands.hang -= 1
            self.world.fault(f'{name} hangs')
            if self.world.rng.random() < 0.5:
                time.after(timeout_s / 2, _effect)
            time.sleep(timeout_s)
            raise exception.CommandError(
                f'cannot {name}: because it took more than {timeout_s} s')
        seconds += commands.slow_s
        time.after(seconds, _effect)
        time.sleep(seconds + 0.001)
        self.crash(f'after {name}')
        result = box[0]
        if isinstance(result, md_lib.Refused):
            raise exception.CommandError(f'cannot {name}: because mdadm '
                                         f'says {result}')
        if isinstance(result, Exception):
            raise result
        return result

    # Identity, as the privileged side verifies it -----------

    def _array(self, name: str, uuid: str) -> parts.Array:
        found = self.world.md.arrays.get(name)
        if found is None or found.uuid != uuid:
            raise exception.NotOurs(f'cannot touch {name}: it is not {uuid}')
        return found

    def _disk(self, device: str, nqn: str, uuid: str) -> parts.Disk:
        target = self.world.fabric.targets.get(nqn)
        for disk in () if target is None else target.disks:
            if (disk.uuid == uuid and self.world.fabric.connected(disk)
                    and self.world.fabric.device(disk) == device):
                return disk
        raise exception.NotOurs(f'cannot touch {device}: it is not {uuid}')

    def _controller(self, name: str, nqn: str, address: str,
                    port: int) -> parts.Controller:
        found = self.world.fabric.controllers.get(name)
        if found is None or found.nqn != nqn or (
                found.portal.address, found.portal.port) != (address, port):
            raise exception.NotOurs(f'cannot touch {name}: it is another')
        return found

    # privileged.md -----------

    def clear_failfast(self, *, array: str, array_uuid: str, device: str,
                       timeout_s: float = 5.0) -> bool:
        def _clear() -> bool:
            found = self._array(array, array_uuid)
            member = self.world.md.member(found, device)
            if member is None or not member.failfast:
                return False
            self.world.court.touches(found, 'clear failfast', locked=False)
            member.failfast = member.disk.failfast = False
            self.world.md.touched(found)
            return True

        return self._run('clear failfast', 0.01, _clear, timeout_s)

    def remove(self, *, array: str, array_uuid: str, device: str,
               timeout_s: float) -> bool:
        def _remove() -> bool:
            found = self._array(array, array_uuid)
            member = self.world.md.member(found, device)
            if member is None:
                return False
            self.world.court.touches(found, f'remove {device}')
            if member.in_sync:
                raise exception.NotOurs(f'cannot remove {device}: in sync')
            self.world.md.remove(found, member)
            return True

        return self._run('remove', 0.1, _remove, timeout_s)

    def re_add(self, *, array: str, array_uuid: str, device: str, nqn: str,
               namespace_uuid: str, timeout_s: float) -> bool:
        def _re_add() -> bool:
            found = self._array(array, array_uuid)
            disk = self._disk(device, nqn, namespace_uuid)
            if self._is_member(found, disk):
                return False
            if self._free(disk).array_uuid != found.uuid:
                raise exception.NotOurs(f'cannot re-add {device}: not ours')
            self.world.court.joins(found, disk, 're-add')
            try:
                self.world.md.re_add(found, disk)
            except md_lib.Refused as e:
                if 'is not possible' in str(e):
                    raise exception.ReAddRefused(str(e)) from e
                raise
            self.world.tell(f'{device} is re-added to {array}')
            self._clear(found, disk)
            return True

        self._hangs_with(device, nqn, namespace_uuid, timeout_s)
        return self._run('re-add', 0.3, _re_add, timeout_s)

    def add_spare(self, *, array: str, array_uuid: str, device: str,
                  nqn: str, namespace_uuid: str, min_size_bytes: int,
                  former: bool, timeout_s: float) -> bool:
        def _add() -> bool:
            found = self._array(array, array_uuid)
            disk = self._disk(device, nqn, namespace_uuid)
            if self._is_member(found, disk):
                return False
            wanted = found.uuid if former else None
            if self._free(disk).array_uuid not in (None, wanted) or (
                    disk.foreign is not None):
                raise exception.NotOurs(f'cannot add {device}: not blank')
            if disk.size_bytes < min_size_bytes:
                raise exception.NotOurs(f'cannot add {device}: too small')
            self.world.court.joins(found, disk, 'addition')
            self.world.md.add_spare(found, disk)
            self.world.tell(f'{device} is added to {array}')
            self._clear(found, disk)
            return True

        self._hangs_with(device, nqn, namespace_uuid, timeout_s)
        return self._run('add', 0.3, _add, timeout_s)

    def _is_member(self, array: parts.Array, disk: parts.Disk) -> bool:
        for member in array.members:
            if member.disk is disk and member.present:
                if not member.works:
                    raise exception.CommandError('cannot add: still faulty')
                return True
        return False

    def _free(self, disk: parts.Disk) -> parts.Disk:
        if self.world.md.holder(disk) is not None or self.world.holders.get(
                disk.id):
            raise exception.NotOurs(f'cannot add {disk.id}: it is held')
        return disk

    def _clear(self, array: parts.Array, disk: parts.Disk) -> None:
        for member in array.members:
            if member.disk is disk:
                member.failfast = disk.failfast = False

    def _hangs_with(self, device: str, nqn: str, uuid: str,
                    timeout_s: float) -> None:
        """mdadm reads the superblock first: it waits while a leg does."""
        disk = self._disk(device, nqn, uuid)
        end_s = self.world.time.now_s + timeout_s
        while self.world.fabric.flow(disk) == parts.HANG:
            if self.world.time.now_s > end_s:
                raise exception.CommandError(f'cannot read {device}: because '
                                             'it took too long')
            self.world.time.sleep(0.5)
        if self.world.fabric.flow(disk) == parts.ERROR:
            raise exception.CommandError(f'cannot read {device}: I/O error')

    def examine(self, *, device: str, nqn: str, namespace_uuid: str,
                timeout_s: float) -> dict[str, str]:
        self._hangs_with(device, nqn, namespace_uuid, timeout_s)

        def _read() -> dict[str, str]:
            disk = self._disk(device, nqn, namespace_uuid)
            if disk.array_uuid is None:
                return {}
            return {'MD_UUID': disk.array_uuid,
                    'MD_EVENTS': str(disk.events)}

        return self._run('examine', 0.1, _read, timeout_s)

    def signatures(self, *, device: str, nqn: str, namespace_uuid: str,
                   timeout_s: float) -> tuple[str, ...]:
        disk = self._disk(device, nqn, namespace_uuid)
        return () if disk.foreign is None else (disk.foreign,)

    # privileged.nvme -----------

    def connect(self, *, nqn: str, address: str, port: int, transport: str,
                host_nqn: str, keep_alive_s: int, reconnect_delay_s: int,
                timeout_s: float) -> str:
        portal = base.Portal(address=address, port=port,
                             transport=transport)

        def _connect() -> str:
            target = self.world.fabric.targets[nqn]
            owners = {d.key for d in target.disks} & set(self.world.busy)
            if owners and not self.world.orphan:
                self.world.court.broke('5.nova', f'connect of {nqn}')
            made = self.world.fabric.connect(nqn, portal, keep_alive_s)
            if made is None:
                raise exception.CommandError(f'cannot connect {nqn}: no')
            return made.name

        return self._run('connect', 0.4, _connect, timeout_s)

    def delete_controller(self, *, controller: str, nqn: str, address: str,
                          port: int, device: str | None, idle: bool,
                          timeout_s: float,
                          spare: dict[str, str] | None = None) -> bool:
        if controller not in self.world.fabric.controllers:
            return True

        # It may hang on its way, and comes to pass all the same.
        self.world.doomed[nqn] = self.world.time.now_s + DOOMED_S

        def _delete() -> bool:
            self.world.doomed.pop(nqn, None)
            one = self._controller(controller, nqn, address, port)
            why = in_use(self.world, one) if idle else endangered(
                self.world, one, device, spare or {})
            if why is not None:
                raise exception.NotOurs(f'cannot delete {controller}: {why}')
            self.world.court.deletes([one])
            self.world.tell(f'{controller} ({nqn}) is deleted')
            self.world.fabric.delete(one)
            return True

        self._run('delete', 0.005, _delete, timeout_s)
        end_s = self.world.time.now_s + timeout_s
        while (there := self.world.fabric.controllers.get(controller)
               ) is not None and there.nqn == nqn:
            if self.world.time.now_s > end_s:
                return False
            self.world.time.sleep(POLL_S)
        return True

    def cut(self, *, controller: str, nqn: str, address: str, port: int,
            ours: tuple[str, ...], timeout_s: float) -> int:
        def _cut() -> int:
            one = self._controller(controller, nqn, address, port)
            if cut_is_unsafe(self.world, one, {*ours, controller}):
                raise exception.NotOurs(f'cannot cut {controller}: others')
            self.world.tell(f'the connections to {address} are cut')
            return self.world.fabric.destroy_sockets(one.portal)

        return self._run('cut', 0.01, _cut, timeout_s)

    # The rest -----------

    def probe_now(self, portals: Sequence[model.Portal], *,
                  deadline_s: float, one_is_enough: bool
                  ) -> Mapping[model.Portal, bool]:
        return looking.probe_now(self.world, portals,
                                 one_is_enough=one_is_enough)

    @contextlib.contextmanager
    def hold(self, timeout_s: float) -> Iterator[None]:
        """os-brick's two locks."""
        end_s = self.world.time.now_s + timeout_s
        while self.world.lock is not None:
            if self.world.time.now_s >= end_s:
                raise locks.LocksBusy('cannot take the lock: it is held')
            self.world.time.sleep(POLL_S)
        self.world.lock = 'agent'
        try:
            yield
        finally:
            self.world.lock = None


def endangered(world: 'world_lib.World', one: parts.Controller,
               leg: str | None, spare: dict[str, str] | None) -> str | None:
    """See ``privileged.identity.endangered``."""
    fabric = world.fabric
    if any(c is not one and c.state is model.PathState.LIVE
           for c in fabric.of_nqn(one.nqn)):
        return None
    for disk in fabric.targets[one.nqn].disks:
        held = world.md.holder(disk)
        if held is not None and not _carries_on(world, held, one.nqn):
            return f'{held.name} has no other in-sync leg that is live'
        if held is None and spare is not None and fabric.connected(disk):
            name = fabric.device(disk)
            if name != leg and spare.get(name) != disk.uuid:
                return f'who uses {name} is not known'
            if name != leg and world.holders.get(disk.id):
                return f'{name} is in use'
    return None


def _carries_on(world: 'world_lib.World', array: parts.Array,
                lost_nqn: str) -> bool:
    return any(m.disk.nqn != lost_nqn and m.present and any(
        c.state is model.PathState.LIVE
        for c in world.fabric.of_nqn(m.disk.nqn)) for m in array.in_sync)


def in_use(world: 'world_lib.World', one: parts.Controller) -> str | None:
    """See ``privileged.identity.in_use``."""
    for disk in world.fabric.targets[one.nqn].disks:
        if not world.fabric.connected(disk):
            continue
        held = world.md.holder(disk)
        if held is not None:
            return f'{disk.id} is held by {held.name}'
        if world.holders.get(disk.id):
            return f'{disk.id} is in use'
    return None


def cut_is_unsafe(world: 'world_lib.World', one: parts.Controller,
                  ours: set[str]) -> bool:
    """See ``privileged.fabrics.cut``."""
    if any(c.portal == one.portal and c.name not in ours
           for c in world.fabric.controllers.values()):
        return True
    return endangered(world, one, None, None) is not None
