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
"""A host made of plain files: arrays over NVMe-oF, as sysfs shows them.

Laid out as Linux 6.1 does (compare os_brick_healer/tests/captures), with
only the files that this project reads. It can be changed while it is being
watched, so it serves tests, simulations and benchmarks; a root on a tmpfs is
fastest. A plain file cannot raise POLLPRI, so /proc/mdstat is replaced when
an array changes; and it cannot go away under those who have it open, so a
file that goes is emptied first, which readers take for gone.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib

from os_brick_healer.provisioner import base
from os_brick_healer.sysfs import reader

HOST_NQN = ('nqn.2014-08.org.nvmexpress:uuid:'
            '5bbe0fbb-8662-4462-930d-01bee0af6168')

_VIRTUAL = 'sys/devices/virtual'
_MIB = 1024 * 1024


@dataclasses.dataclass(slots=True)
class Leg:
    """A replica, and what this host has of it at the moment.

    :ivar device: of the namespace, None while there is none.
    """

    replica: base.Replica
    subsystem: str
    size_bytes: int
    device: str | None = None
    controllers: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class _Array:
    name: str
    component_kib: int
    raid_disks: int
    members: dict[str, str]
    completed: int = 0
    in_flight: int = 0
    degraded: int = 0
    filling: str | None = None


class SyntheticHost:
    """Volumes with legs with paths; everything healthy to begin with.

    :param paths: portals (so controllers) of each leg.
    :param native_multipath: False for nvme_core.multipath=N.
    :param backends: None: each leg has a subsystem of its own. A number:
        there are that many, and leg L of every volume is a namespace of
        subsystem L modulo that number.
    :param md_uuid: whether md/uuid exists (old kernels have none; udev's
        database is written in any case).
    """

    def __init__(self, root: str | os.PathLike[str], *, volumes: int = 1,
                 legs: int = 2, paths: int = 1, native_multipath: bool = True,
                 backends: int | None = None, md_uuid: bool = True,
                 size_bytes: int = 64 * _MIB) -> None:
        self.root = pathlib.Path(root)
        self.tree = reader.Tree(str(self.root))
        self._paths = paths
        self._native = native_multipath
        self._md_uuid = md_uuid
        self._size_bytes = size_bytes
        self._backends = backends
        self._numbers: dict[str, int] = {}
        self._subsystem_of: dict[str, str] = {}
        self._arrays: dict[str, _Array] = {}
        self._legs: dict[int, list[Leg]] = {}
        for at in ('sys/block', 'sys/class/nvme', 'sys/class/nvme-subsystem',
                   'run/udev/data', 'proc'):
            (self.root / at).mkdir(parents=True, exist_ok=True)
        self._building = True
        for _ in range(volumes):
            self.add_volume(legs=legs)
        self._building = False
        self._announce()

    # Truth ------------------------------------------------------------------

    @property
    def volumes(self) -> tuple[base.Volume, ...]:
        """What a provisioner would say: every leg that was ever added."""
        return tuple(self.volume(i) for i in self._legs)

    def volume(self, number: int = 0) -> base.Volume:
        """One volume, as a provisioner would say it."""
        replicas = tuple(leg.replica for leg in self._legs[number])
        return base.Volume(
            id=base.VolumeId(_uuid(0xffff, number)), alias=f'vol-{number}',
            size_bytes=self._size_bytes, replica_count=len(replicas),
            replicas=replicas, hosts=frozenset(('here',)))

    def leg(self, volume: int = 0, leg: int = 0) -> Leg:
        """One leg, with the names it has at the moment."""
        return self._legs[volume][leg]

    @staticmethod
    def array_name(volume: int = 0) -> str:
        """Kernel name of the volume's array."""
        return f'md{127 - volume}' if volume < 128 else f'md{volume}'

    @staticmethod
    def array_uuid(volume: int = 0) -> str:
        """UUID of the volume's array."""
        return _uuid(0xaaaa, volume)

    # Building ---------------------------------------------------------------

    def add_volume(self, *, legs: int = 2) -> int:
        """A healthy volume of so many legs; answers its number."""
        number = len(self._legs)
        self._legs[number] = []
        for _ in range(legs):
            self.connect(number, self.add_replica(number))
        devices = [leg.device or '' for leg in self._legs[number]]
        self.add_array(self.array_name(number), self.array_uuid(number),
                       devices, component_kib=self._size_bytes // 1024 - 1024)
        return number

    def add_replica(self, volume: int = 0, *, portals: int | None = None,
                    ) -> int:
        """A replica that exists and is not connected; its leg's number."""
        number = len(self._legs[volume])
        count = self._paths if portals is None else portals
        backend = None if self._backends is None else number % self._backends
        nqn = f'nqn.2026-11.org.example:v{volume}-r{number}'
        if backend is not None:
            nqn = f'nqn.2026-11.org.example:backend{backend}'
        where = volume if backend is None else 0
        replica = base.Replica(
            id=base.ReplicaId(f'r-{volume}-{number}'), nqn=nqn,
            namespace_uuid=_uuid(number, volume),
            portals=tuple(base.Portal(
                address=f'127.{1 + number % 16 + 16 * path}.{where >> 8}.'
                        f'{where & 255}', port=4420)
                for path in range(count)),
            state=base.ReplicaState.AVAILABLE)
        self._legs[volume].append(Leg(
            replica=replica, subsystem=self.add_subsystem(nqn),
            size_bytes=self._size_bytes))
        return number

    def connect(self, volume: int, leg: int) -> None:
        """Connect what is not connected of a leg; its namespace appears."""
        it = self._legs[volume][leg]
        there = {self._address(c): c for c in self._of(it.subsystem)}
        for portal in it.replica.portals:
            controller = there.get(portal.address) or self.add_controller(
                it.subsystem, portal)
            if controller not in it.controllers:
                it.controllers.append(controller)
        if it.device is None:
            it.device = self.add_namespace(
                it.subsystem, it.replica.namespace_uuid or '',
                size_bytes=it.size_bytes)

    def add_subsystem(self, nqn: str) -> str:
        """A subsystem, or the one there is with this NQN; its name."""
        known = self._subsystem_of.get(nqn)
        if known is not None:
            return known
        name = f'nvme-subsys{self._number("subsystem")}'
        at = f'{_VIRTUAL}/nvme-subsystem/{name}'
        self._put(f'{at}/subsysnqn', nqn + '\n')
        self._link(f'sys/class/nvme-subsystem/{name}', at)
        self._subsystem_of[nqn] = name
        return name

    def add_controller(self, subsystem: str, portal: base.Portal, *,
                       state: str = 'live', keep_alive_s: int = 5) -> str:
        """A connection to a portal, leading to all its namespaces."""
        name = f'nvme{self._number("controller")}'
        at = f'{_VIRTUAL}/nvme-fabrics/ctl/{name}'
        nqn = self._text(f'{_VIRTUAL}/nvme-subsystem/{subsystem}/subsysnqn')
        for attribute, text in (
                ('subsysnqn', nqn), ('state', state),
                ('address', f'traddr={portal.address},trsvcid={portal.port},'
                            'src_addr=127.0.0.1'),
                ('transport', portal.transport), ('hostnqn', HOST_NQN),
                ('kato', str(keep_alive_s)), ('reconnect_delay', '1'),
                ('ctrl_loss_tmo', 'off'), ('fast_io_fail_tmo', 'off'),
                ('cntlid', '1')):
            self._put(f'{at}/{attribute}', text + '\n')
        self._link(f'sys/class/nvme/{name}', at)
        self._link(f'{_VIRTUAL}/nvme-subsystem/{subsystem}/{name}', at)
        for uuid, sectors, number in self._namespaces(subsystem):
            self._add_path(subsystem, name, uuid, sectors, number)
        return name

    def add_namespace(self, subsystem: str, uuid: str, *,
                      size_bytes: int | None = None) -> str:
        """A namespace behind all controllers of a subsystem; its device."""
        sectors = (size_bytes or self._size_bytes) // 512
        number = self._number(f'namespace of {subsystem}') + 1
        self._put(f'.truth/{subsystem}/{number}', f'{uuid} {sectors}')
        devices = [self._add_path(subsystem, c, uuid, sectors, number)
                   for c in self._of(subsystem)]
        if not self._native:
            return devices[0]
        device = f'nvme{subsystem[len("nvme-subsys"):]}n{number}'
        self._add_block(f'{_VIRTUAL}/nvme-subsystem/{subsystem}/{device}',
                        uuid, sectors, number)
        return device

    def add_array(self, name: str, uuid: str, devices: list[str], *,
                  component_kib: int = 63 * 1024,
                  level: str = 'raid1') -> None:
        """A healthy array of these devices."""
        at = f'{_VIRTUAL}/block/{name}'
        array = self._arrays[name] = _Array(
            name=name, component_kib=component_kib,
            raid_disks=len(devices), members={})
        number = name[2:]
        self._put(f'{at}/dev', f'9:{number}\n')
        self._put(f'{at}/size', f'{component_kib * 2}\n')
        self._put_stat(array)
        for attribute, text in (
                ('level', level), ('raid_disks', str(len(devices))),
                ('array_state', 'clean'), ('sync_action', 'idle'),
                ('sync_completed', 'none'), ('sync_speed', 'none'),
                ('component_size', str(component_kib)), ('degraded', '0'),
                ('metadata_version', '1.2')):
            self._put(f'{at}/md/{attribute}', text + '\n')
        if self._md_uuid:
            self._put(f'{at}/md/uuid', uuid + '\n')
        words = uuid.replace('-', '')
        self._put(f'run/udev/data/b9:{number}',
                  'E:MD_UUID=' + ':'.join(
                      words[i:i + 8] for i in range(0, 32, 8)) + '\n')
        self._link(f'sys/block/{name}', at)
        for slot, device in enumerate(devices):
            self._add_member(array, device, 'in_sync', str(slot))
        self._announce()

    # Changing ---------------------------------------------------------------

    def set_state(self, controller: str, state: str) -> None:
        """A controller's state, in the kernel's word."""
        self._put(f'sys/class/nvme/{controller}/state', state + '\n')

    def lose(self, volume: int, leg: int, state: str = 'connecting') -> None:
        """Every controller of a leg goes to this state."""
        for controller in self._legs[volume][leg].controllers:
            self.set_state(controller, state)

    def delete_controller(self, controller: str) -> None:
        """The controller goes; with the last one, its namespaces go too.

        An array that has such a namespace keeps a member without a device.
        """
        at = f'{_VIRTUAL}/nvme-fabrics/ctl/{controller}'
        nqn = self._text(at + '/subsysnqn')
        subsystem = self._subsystem_of[nqn]
        gone = [e for e in os.listdir(self.root / at)
                if (self.root / at / e / 'size').exists()]
        (self.root / f'sys/class/nvme/{controller}').unlink()
        (self.root / f'{_VIRTUAL}/nvme-subsystem/{subsystem}'
         / controller).unlink()
        for device in gone:
            (self.root / f'sys/block/{device}').unlink()
        self._remove(at)
        if not self._of(subsystem) and self._native:
            home = f'{_VIRTUAL}/nvme-subsystem/{subsystem}'
            for device in os.listdir(self.root / home):
                if (self.root / home / device / 'size').exists():
                    gone.append(device)
                    (self.root / f'sys/block/{device}').unlink()
                    self._remove(f'{home}/{device}')
        for legs in self._legs.values():
            for it in legs:
                if controller in it.controllers:
                    it.controllers.remove(controller)
                if it.device in gone:
                    it.device = None

    def set_flags(self, volume: int, device: str, flags: str) -> None:
        """The words of md/dev-X/state."""
        self._put(self._md(volume, f'dev-{device}/state'), flags + '\n')
        self._announce()

    def fail_member(self, volume: int, device: str,
                    flags: str = 'faulty,write_error') -> None:
        """MD gives a member up; it stays listed."""
        array = self._array(volume)
        self.set_flags(volume, device, flags)
        self._put(self._md(volume, f'dev-{device}/slot'), 'none\n')
        self._put(self._md(volume, f'dev-{device}/recovery_start'), '0\n')
        slot = array.members[device]
        if slot != 'none':
            array.members[device] = 'none'
            (self.root / self._md(volume, f'rd{slot}')).unlink()
            if slot != array.filling:
                self._degrade(array, 1)
            else:
                self._end_sync(volume)
        self._announce()

    def remove_member(self, volume: int, device: str) -> None:
        """mdadm --remove of a member that has failed."""
        array = self._array(volume)
        if array.members[device] != 'none':
            self.fail_member(volume, device)
        del array.members[device]
        self._remove(self._md(volume, f'dev-{device}'))
        with contextlib.suppress(FileNotFoundError):
            (self.root / f'sys/block/{device}/holders/{array.name}').unlink()
        self._announce()

    def start_recovery(self, volume: int, device: str, *, percent: float = 0,
                       speed_kib_s: int = 4800) -> None:
        """A device joins the array in its first free slot and is filled."""
        array = self._array(volume)
        taken = set(array.members.values())
        slot = next(str(i) for i in range(array.raid_disks)
                    if str(i) not in taken)
        self._add_member(array, device, 'spare', slot)
        array.filling = slot
        self._put(self._md(volume, 'sync_action'), 'recover\n')
        self.progress(volume, percent, speed_kib_s=speed_kib_s)
        self._announce()

    def progress(self, volume: int, percent: float, *,
                 speed_kib_s: int = 4800) -> None:
        """How far the recovery is."""
        total = self._array(volume).component_kib * 2
        self.put_progress(volume, int(total * percent / 100),
                          speed_kib_s=speed_kib_s)

    def put_progress(self, volume: int, done_sectors: int, *,
                     speed_kib_s: int = 4800) -> None:
        """How many sectors of the leg are filled."""
        array = self._array(volume)
        total = array.component_kib * 2
        self._put(self._md(volume, 'sync_completed'),
                  f'{done_sectors} / {total}\n')
        self._put(self._md(volume, 'sync_speed'), f'{speed_kib_s}\n')
        for device, slot in array.members.items():
            if slot == array.filling:
                self._put(self._md(volume, f'dev-{device}/recovery_start'),
                          f'{done_sectors}\n')

    def finish_recovery(self, volume: int) -> None:
        """The recovery ends well: every member with a slot is in sync."""
        array = self._array(volume)
        self._end_sync(volume)
        for device, slot in array.members.items():
            if slot != 'none':
                self.set_flags(volume, device, 'in_sync')
                self._put(self._md(volume, f'dev-{device}/recovery_start'),
                          'none\n')
        slots = sum(s != 'none' for s in array.members.values())
        self._degrade(array, array.raid_disks - slots - array.degraded)
        self._announce()

    def _end_sync(self, volume: int) -> None:
        self._array(volume).filling = None
        self._put(self._md(volume, 'sync_action'), 'idle\n')
        self._put(self._md(volume, 'sync_completed'), 'none\n')
        self._put(self._md(volume, 'sync_speed'), 'none\n')

    def set_array_state(self, volume: int, state: str) -> None:
        """The word of md/array_state."""
        self._put(self._md(volume, 'array_state'), state + '\n')
        self._announce()

    def begin_io(self, volume: int = 0, requests: int = 1) -> None:
        """Requests begin and do not end."""
        array = self._array(volume)
        array.in_flight += requests
        self._put_stat(array)

    def complete_io(self, volume: int = 0, requests: int = 1) -> None:
        """Requests end."""
        array = self._array(volume)
        array.in_flight = max(0, array.in_flight - requests)
        array.completed += requests
        self._put_stat(array)

    def stop_array(self, volume: int) -> None:
        """mdadm --stop."""
        array = self._arrays.pop(self.array_name(volume))
        for device in array.members:
            with contextlib.suppress(FileNotFoundError):
                (self.root / f'sys/block/{device}/holders'
                 / array.name).unlink()
        (self.root / f'sys/block/{array.name}').unlink()
        self._remove(f'{_VIRTUAL}/block/{array.name}')
        (self.root / f'run/udev/data/b9:{array.name[2:]}').unlink()
        self._announce()

    # Files ------------------------------------------------------------------

    def _announce(self) -> None:
        """Replace /proc/mdstat."""
        if self._building:
            return
        lines = ['Personalities : [raid1] ']
        for array in self._arrays.values():
            lines.extend(self._mdstat_lines(array))
        new = self.root / 'proc/mdstat.new'
        new.write_text('\n'.join((*lines, 'unused devices: <none>', '')))
        new.rename(self.root / 'proc/mdstat')

    def _mdstat_lines(self, array: _Array) -> tuple[str, ...]:
        members = ' '.join(
            f'{device}[{slot if slot != "none" else number}]'
            + ('(F)' if slot == 'none' else '')
            for number, (device, slot) in enumerate(array.members.items()))
        filled = set(array.members.values()) - {array.filling}
        full = ''.join('U' if str(i) in filled else '_'
                       for i in range(array.raid_disks))
        lines = (f'{array.name} : active raid1 {members}',
                 f'      {array.component_kib} blocks super 1.2 '
                 f'[{array.raid_disks}/{full.count("U")}] [{full}]')
        if array.filling is not None:
            return (*lines, '      [>....................]  recovery =  0.0%',
                    '')
        return (*lines, '')

    def _array(self, volume: int) -> _Array:
        return self._arrays[self.array_name(volume)]

    def _md(self, volume: int, attribute: str) -> str:
        return f'{_VIRTUAL}/block/{self.array_name(volume)}/md/{attribute}'

    def _degrade(self, array: _Array, by: int) -> None:
        array.degraded += by
        self._put(f'{_VIRTUAL}/block/{array.name}/md/degraded',
                  f'{array.degraded}\n')

    def _put_stat(self, array: _Array) -> None:
        self._put(f'{_VIRTUAL}/block/{array.name}/stat',
                  f'       0        0        0        0 {array.completed:8d}'
                  f'        0        0        0 {array.in_flight:8d}        0'
                  '        0        0        0        0        0        0'
                  '        0\n')

    def _add_member(self, array: _Array, device: str, flags: str,
                    slot: str) -> None:
        md = f'{_VIRTUAL}/block/{array.name}/md'
        at = f'{md}/dev-{device}'
        array.members[device] = slot
        self._put(f'{at}/state', flags + '\n')
        self._put(f'{at}/slot', slot + '\n')
        self._put(f'{at}/recovery_start',
                  'none\n' if flags == 'in_sync' else '0\n')
        os.symlink(f'dev-{device}', self.root / f'{md}/rd{slot}')
        home = os.path.realpath(self.root / 'sys/block' / device)
        os.symlink(os.path.relpath(home, self.root / at),
                   self.root / at / 'block')
        self._link(f'sys/block/{device}/holders/{array.name}',
                   f'{_VIRTUAL}/block/{array.name}')

    def _add_path(self, subsystem: str, controller: str, uuid: str,
                  sectors: int, number: int) -> str:
        at = f'{_VIRTUAL}/nvme-fabrics/ctl/{controller}'
        if not self._native:
            device = f'{controller}n{number}'
            self._add_block(f'{at}/{device}', uuid, sectors, number)
            return device
        mine = subsystem[len('nvme-subsys'):]
        device = f'nvme{mine}c{controller[len("nvme"):]}n{number}'
        self._put(f'{at}/{device}/size', f'{sectors}\n')
        self._put(f'{at}/{device}/ana_state', 'optimized\n')
        self._link(f'sys/block/{device}', f'{at}/{device}')
        return device

    def _add_block(self, at: str, uuid: str, sectors: int,
                   number: int) -> None:
        self._put(f'{at}/uuid', uuid + '\n')
        self._put(f'{at}/wwid', f'uuid.{uuid}\n')
        self._put(f'{at}/nsid', f'{number}\n')
        self._put(f'{at}/size', f'{sectors}\n')
        (self.root / at / 'holders').mkdir()
        self._link(f'sys/block/{os.path.basename(at)}', at)

    def _of(self, subsystem: str) -> list[str]:
        """Controllers of a subsystem, oldest first."""
        home = self.root / f'{_VIRTUAL}/nvme-subsystem/{subsystem}'
        return sorted((e for e in os.listdir(home)
                       if (self.root / 'sys/class/nvme' / e).exists()),
                      key=lambda e: int(e[4:]))

    def _address(self, controller: str) -> str:
        text = self._text(f'sys/class/nvme/{controller}/address')
        return text.partition('traddr=')[2].partition(',')[0]

    def _namespaces(self, subsystem: str) -> Iterator[tuple[str, int, int]]:
        at = self.root / '.truth' / subsystem
        for number in sorted(os.listdir(at)) if at.exists() else ():
            uuid, sectors = (at / number).read_text().split()
            yield uuid, int(sectors), int(number)

    def _number(self, of: str) -> int:
        number = self._numbers.get(of, 0)
        self._numbers[of] = number + 1
        return number

    def _text(self, path: str) -> str:
        return (self.root / path).read_text().strip()

    def _put(self, path: str, text: str) -> None:
        """Write in place: open files must see it."""
        real = self.root / path
        real.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(real, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(fd, text.encode(), 0)
            os.ftruncate(fd, len(text))
        finally:
            os.close(fd)

    def _link(self, path: str, to: str) -> None:
        real = self.root / path
        real.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(os.path.relpath(self.root / to, real.parent.resolve()),
                   real)

    def _remove(self, path: str) -> None:
        for at, _, files in os.walk(self.root / path, topdown=False):
            for name in os.listdir(at):
                real = pathlib.Path(at, name)
                if real.is_symlink():
                    real.unlink()
                elif name in files:
                    os.truncate(real, 0)
                    real.unlink()
            os.rmdir(at)


def _uuid(kind: int, number: int) -> str:
    return f'{number:08x}-0000-4000-8000-{kind:012x}'
