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
"""MD RAID1 with a bitmap, and the guest on top of it.

Data is modelled: each block has a version, so a stale read and a lost write
are seen, not inferred. A write goes to every working leg at once and is
acknowledged when all of them have it; a leg that hangs makes it wait; a leg
that fails is thrown out, unless it is the last one in sync (raid1_error():
then MD_BROKEN is set and the guest gets the error).
"""

from collections.abc import Callable, Sequence
import functools
import random

from os_brick_healer.tests.simulation import fabric as fabric_lib
from os_brick_healer.tests.simulation import parts, timeline

UDEV_S = 0.1
FLAG_S = 60.0
#: Between a new leg and the begin of its copy, at most.
THREAD_S = 0.5


class Refused(Exception):
    """mdadm says no; ``words`` are its own."""


class Md:
    """Every array of this host.

    :ivar broken_law: told when the guest comes to harm.
    """

    def __init__(self, time: timeline.Timeline, rng: random.Random,
                 fabric: fabric_lib.Fabric,
                 broken_law: Callable[[str, str], None],
                 tell: Callable[[str], None]) -> None:
        self.time = time
        self.rng = rng
        self.fabric = fabric
        self.broken_law = broken_law
        self.tell = tell
        self.arrays: dict[str, parts.Array] = {}      # running, by name
        self.by_uuid: dict[str, parts.Array] = {}
        self.version = 0
        self.udev_delay: Callable[[], float | None] = lambda: UDEV_S
        self.knows: Callable[[str | None], bool] = lambda _key: True
        #: When nothing could be done about a volume: from, to.
        self.held: Callable[[str | None], Sequence[
            tuple[float, float]]] = lambda _key: ()
        self.on_copy: list[Callable[[parts.Array], bool]] = []
        self.on_synced: list[Callable[[parts.Array], bool]] = []
        fabric.lost_devices = self._device_gone

    # Looking -----------

    def holder(self, disk: parts.Disk) -> parts.Array | None:
        """The array that has a disk's block device open."""
        for array in self.arrays.values():
            for member in array.members:
                if member.disk is disk and member.present:
                    return array
        return None

    def member(self, array: parts.Array,
               device: str) -> parts.Member | None:
        return next((m for m in array.members if m.device == device), None)

    def flow(self, member: parts.Member) -> str:
        if not member.present:
            return parts.ERROR
        # Nobody can clear a flag before he has seen it: give him a while; nor
        # of what he cannot know to be his.
        flagged = (member.failfast and self._had_time(member)
                   and self.knows(member.disk.key))
        return self.fabric.flow(member.disk, failfast=flagged)

    def _had_time(self, member: parts.Member) -> bool:
        """Whether a flag could once be cleared for a while since it joined.

        Who cannot read a volume does not know what its array is, and of two
        hosts neither may change it. Had he time before that, or after, it is
        no excuse.
        """
        since_s = member.joined_s
        for begun_s, ended_s in self.held(member.disk.key):
            if begun_s - since_s > FLAG_S:
                break
            since_s = max(since_s, ended_s)
        return self.time.now_s - since_s > FLAG_S

    def touched(self, array: parts.Array) -> None:
        array.version += 1
        self.version += 1

    # I/O -----------

    def changed(self, nqn: str) -> None:
        """I/O through a subsystem may go differently now."""
        self.version += 1
        for array in list(self.arrays.values()):
            if any(m.disk.nqn == nqn for m in array.members):
                array.version += 1
                self.go_on(array)

    def go_on(self, array: parts.Array) -> None:
        """Take a waiting write as far as it goes now."""
        write = array.write
        if write is None or array.stopped:
            return
        for member in list(array.members):
            if not member.works or id(member) in write.done:
                continue
            state = self.flow(member)
            if state == parts.OK:
                member.disk.blocks[write.block] = write.value
                write.done.add(id(member))
            elif state == parts.ERROR:
                self.fail(array, member)
                if array.broken:
                    array.write = None
                    return
        if all(id(m) in write.done for m in array.members if m.works):
            self._acknowledge(array, write)

    def _acknowledge(self, array: parts.Array, write: parts.Write) -> None:
        array.acked[write.block] = write.value
        array.write = None
        if array.whole:
            array.missed.discard(write.block)
        self.touched(array)

    def write(self, array: parts.Array) -> None:
        """The guest writes one block, if its last write is done."""
        if array.write is not None or not array.served or array.stopped:
            return
        if array.broken:
            return
        block = self.rng.randrange(parts.BLOCKS)
        array.missed.add(block)
        array.write = parts.Write(
            block=block, value=array.acked[block] + 1,
            since_s=self.time.now_s)
        self.touched(array)
        self.go_on(array)

    def fail(self, array: parts.Array, member: parts.Member) -> None:
        """raid1_error(), or mdadm --fail."""
        if not member.works:
            return
        if member.in_sync and len(array.in_sync) == 1:
            if not array.broken:
                array.broken = True
                self.touched(array)
                self.broken_law('7.eio', (
                    f'{array.name} is broken: its last in-sync leg '
                    f'{member.device} failed and the guest got an error'))
            return
        self.tell(f'MD throws {member.device} out of {array.name}')
        member.role = 'faulty'
        member.slot = None
        if array.syncing is member:
            array.syncing = None
            self._sync_later(array)
        self._bump(array)
        self.go_on(array)

    def _bump(self, array: parts.Array) -> None:
        array.events += 1
        for member in array.members:
            if member.works:
                member.disk.events = array.events
                member.disk.whole = member.in_sync or not member.full
                member.disk.filling = not member.in_sync
        self.touched(array)

    # Devices come and go -----------

    def _device_gone(self, disk: parts.Disk) -> None:
        for array in list(self.arrays.values()):
            for member in list(array.members):
                if member.disk is disk and member.present:
                    member.present = False
                    self.touched(array)
                    self.go_on(array)
                    delay_s = self.udev_delay()
                    if delay_s is not None:
                        self.time.after(delay_s, functools.partial(
                            self._incremental_fail, array, member))

    def _incremental_fail(self, array: parts.Array,
                          member: parts.Member) -> None:
        """udev: mdadm -If."""
        if array.stopped or member not in array.members:
            return
        self.fail(array, member)
        if not member.works:
            self._take_out(array, member)

    def _take_out(self, array: parts.Array, member: parts.Member) -> None:
        array.members.remove(member)
        self.touched(array)
        self.go_on(array)

    # What mdadm does -----------

    def remove(self, array: parts.Array, member: parts.Member) -> None:
        if member.works and member.role != 'spare':
            raise Refused('Device or resource busy')
        self._take_out(array, member)

    def re_add(self, array: parts.Array, disk: parts.Disk) -> None:
        """By the bitmap, or not at all."""
        self._free(disk)
        if (array.whole or disk.array_uuid != array.uuid
                or not disk.whole or disk.events < array.cleared):
            raise Refused(f'--re-add for {self.fabric.device(disk)} to '
                          f'{array.name} is not possible')
        self._join(array, disk, sorted(array.missed), full=False)

    def add_spare(self, array: parts.Array, disk: parts.Disk) -> None:
        """Everything is copied; what was there is gone."""
        self._free(disk)
        if disk.size_bytes < array.component_bytes:
            raise Refused('not large enough to join array')
        disk.array_uuid, disk.foreign, disk.whole = array.uuid, None, False
        disk.failfast = False
        self._join(array, disk, list(range(parts.BLOCKS)), full=True)

    def _free(self, disk: parts.Disk) -> None:
        held = self.holder(disk)
        if held is not None:
            raise Refused(f'Device or resource busy: {held.name} has it')

    def _join(self, array: parts.Array, disk: parts.Disk,
              to_copy: list[int], *, full: bool) -> None:
        member = parts.Member(
            disk=disk, device=self.fabric.device(disk), role='spare',
            slot=_free_slot(array), failfast=disk.failfast, to_copy=to_copy,
            full=full, joined_s=self.time.now_s)
        array.members.append(member)
        if array.write is not None:
            # What began before is not sent to it: the copy brings it.
            array.write.done.add(id(member))
            if array.write.block not in member.to_copy:
                member.to_copy.append(array.write.block)
        disk.events, disk.filling = array.events, True
        self.touched(array)
        self._sync_later(array)

    # The copy -----------

    def _sync_later(self, array: parts.Array) -> None:
        """The array's thread has to be woken: a moment without a copy."""
        self.time.after(self.rng.uniform(0.0, THREAD_S),
                        lambda: self._sync(array))

    def _sync(self, array: parts.Array) -> None:
        member = next((m for m in array.members if m.role == 'spare'), None)
        if (member is None or array.whole or array.stopped
                or array.syncing is not None):
            return
        array.syncing, array.synced = member, 0
        self.touched(array)
        _tell(self.on_copy, array)
        self._copy_later(array, member)

    def _copy_later(self, array: parts.Array, member: parts.Member) -> None:
        self.time.after(array.copy_s / parts.BLOCKS,
                        lambda: self._copy(array, member))

    def _copy(self, array: parts.Array, member: parts.Member) -> None:
        if array.syncing is not member or array.stopped or (
                member not in array.members):
            return
        write = array.write
        if not member.to_copy and write is None:
            self._synced(array, member)
            return
        source = next((m for m in array.in_sync
                       if self.flow(m) == parts.OK), None)
        state = self.flow(member)
        if state == parts.ERROR:
            self.fail(array, member)
            return
        if (member.to_copy and source is not None and state == parts.OK
                and (write is None or write.block != member.to_copy[0])):
            block = member.to_copy.pop(0)
            member.disk.blocks[block] = source.disk.blocks[block]
            array.synced += 1
        elif member.to_copy and write is not None:
            member.to_copy.append(member.to_copy.pop(0))
        self._copy_later(array, member)

    def _synced(self, array: parts.Array, member: parts.Member) -> None:
        member.role = 'in_sync'
        array.syncing = None
        if array.whole:
            under_way = array.write
            array.missed = set() if under_way is None else {under_way.block}
        self._bump(array)
        if array.whole:
            array.cleared = array.events
        self.tell(f'{member.device} of {array.name} is in sync')
        _tell(self.on_synced, array)
        self._sync_later(array)

    # Start and stop -----------

    def start(self, array: parts.Array, disks: list[parts.Disk]) -> None:
        """Run an array from legs that are as they should be."""
        taken = {int(n[2:]) for n in self.arrays}
        free = next(n for n in range(127, 0, -1) if n not in taken)
        array.name = f'md{free}'
        array.members = [parts.Member(
            disk=d, device=self.fabric.device(d), role='in_sync', slot=i,
            failfast=d.failfast, joined_s=self.time.now_s)
            for i, d in enumerate(disks)]
        array.stopped, array.syncing, array.write = False, None, None
        array.broken = False
        for disk in disks:
            disk.array_uuid = array.uuid
        self.arrays[array.name] = array
        self.by_uuid[array.uuid] = array
        if array.missed and len(disks) > 1:
            # A write was under way when it stopped: MD copies it over.
            for block in array.missed:
                for disk in disks[1:]:
                    disk.blocks[block] = disks[0].blocks[block]
        self._bump(array)

    def stop(self, array: parts.Array) -> None:
        array.write, array.syncing = None, None
        array.stopped = True
        array.members = []
        del self.arrays[array.name]
        self.touched(array)


def _free_slot(array: parts.Array) -> int | None:
    taken = {m.slot for m in array.members}
    return next((n for n in range(array.raid_disks) if n not in taken), None)


def _tell(hooks: list[Callable[[parts.Array], bool]],
          array: parts.Array) -> None:
    """Those that answer True need not be told again."""
    for hook in list(hooks):
        if hook(array):
            hooks.remove(hook)
