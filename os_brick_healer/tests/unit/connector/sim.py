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
"""A host with NVMe-oF legs and MD arrays, as files and commands.

Commands change the state; the state is written as a sysfs tree that both
os-brick and we read. Only what they use is there.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
from typing import Any

from oslo_concurrency import processutils

from os_brick_healer.sysfs import reader

HOST_NQN = 'nqn.2014-08.org.nvmexpress:uuid:host'
BLANK = None


def leg_uuid(n: int) -> str:
    return f'00000000-0000-4000-8000-{n:012d}'


@dataclasses.dataclass
class Leg:
    """A namespace at its target. :ivar events: of its superblock."""

    n: int
    nqn: str
    uuid: str
    address: str
    array_uuid: str | None = None
    events: int = 0
    reachable: bool = True
    size: int = 1 << 30
    size_shown: int = 1 << 30
    filesystem: str = ''

    @property
    def device(self) -> str:
        return f'nvme{self.n}n1'

    def replica(self) -> dict[str, Any]:
        return {'target_nqn': self.nqn, 'vol_uuid': self.uuid,
                'host_nqn': HOST_NQN,
                'portals': [(self.address, '4420', 'tcp')]}


@dataclasses.dataclass
class Array:
    name: str
    uuid: str
    members: list[Leg]
    in_sync: list[Leg]
    busy: bool = False
    started: bool = True
    sync: str = 'idle'


class Tree(reader.Tree):
    """Takes paths with and without the root: os-brick is told the root."""

    __slots__ = ('root',)

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.root = root

    def path(self, path: str) -> str:
        return super().path(path.removeprefix(self.root))

    def read(self, path: str,
             limit: int = reader.ATTRIBUTE_BYTES_MAX) -> str | None:
        return super().read(path.removeprefix(self.root), limit)


class Host:
    """The simulated host. :ivar commands: what was run, in order."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.legs: list[Leg] = []
        self.controllers: dict[str, tuple[Leg, str]] = {}
        self.arrays: dict[str, Array] = {}
        self.links: dict[str, str] = {}
        self.commands: list[tuple[str, ...]] = []
        self._written: dict[str, str] = {}
        self._uuids = (f'{n:032x}' for n in itertools.count(1))

    def leg(self, **more: Any) -> Leg:
        n = len(self.legs)
        leg = Leg(n=n, nqn=f'nqn.2024-01.example:{n}', uuid=leg_uuid(n),
                  address=f'10.0.0.{n + 1}', **more)
        self.legs.append(leg)
        return leg

    # The world outside -------------------------------------------------------

    def cut(self, leg: Leg) -> None:
        leg.reachable = False
        for name, (one, _) in self.controllers.items():
            if one is leg:
                self.controllers[name] = (leg, 'connecting')
        self.write()

    def connected(self) -> set[str]:
        return {leg.device for leg, _ in self.controllers.values()}

    def swap_in(self, array: Array, leg: Leg) -> None:
        """What an agent does: connect a leg and add it, already in sync."""
        self._connect({'-n': leg.nqn, '-a': leg.address})
        leg.array_uuid = array.uuid
        leg.events = max(x.events for x in array.in_sync)
        array.members.append(leg)
        array.in_sync.append(leg)
        self.write()

    def drop(self, array: Array, leg: Leg) -> None:
        """MD loses a leg: what remains moves on."""
        array.members.remove(leg)
        array.in_sync.remove(leg)
        for one in array.in_sync:
            one.events += 10
        self.write()

    def claim(self, leg: Leg) -> None:
        """udev runs mdadm -I on a leg: it waits in an array for the rest."""
        assert leg.array_uuid is not None
        self.arrays['md99'] = Array('md99', '0' * 32, [leg], [],
                                    started=False)
        self.write()

    # Commands ----------------------------------------------------------------

    def execute(self, *command: str, **_: Any) -> tuple[str, str]:
        self.commands.append(command)
        result = self._run(command)
        self.write()
        return result, ''

    def _run(self, command: tuple[str, ...]) -> str:
        match command:
            case ('nvme', 'connect', *words):
                return self._connect(dict(itertools.pairwise(words)))
            case ('nvme', 'disconnect', '-d', path):
                self.controllers.pop(path.rpartition('/')[2])
            case ('nvme', 'ns-rescan', path):
                leg, _ = self.controllers[path.rpartition('/')[2]]
                leg.size_shown = leg.size
            case ('mdadm', '--examine', '--export', path):
                return self._examine(self._by_path(path))
            case ('mdadm', '-C', path, *words):
                self._start(path, words, next(self._uuids))
            case ('mdadm', '--assemble', '--run', path, *words):
                self._assemble(path, words)
            case ('mdadm', '--stop', path):
                self._stop(path)
            case ('mdadm', '--detail', path):
                self._array_at(path)
                return f'{path}:\n'
            case ('mdadm', '--grow', '--size', 'max', path):
                array = self._array_at(path)
                assert all(x.reachable for x in array.members), 'it hangs'
                if array.sync == 'recover':
                    raise failed('mdadm: Cannot set device size: Device or '
                                 'resource busy')
            case ('mdadm', '--action=frozen' | '--action=idle', path):
                self._array_at(path).sync = command[1].partition('=')[2]
            case ('blkid', path, *_):
                leg = self._by_path(path)
                return leg.filesystem
            case ('blockdev', '--getsize64', path):
                array = self._array_at(path)
                return str(min(x.size_shown for x in array.members))
            case _:
                raise AssertionError(f'not simulated: {command}')
        return ''

    def _connect(self, words: dict[str, str]) -> str:
        leg = next(x for x in self.legs if x.nqn == words['-n']
                   and x.address == words['-a'])
        if not leg.reachable:
            raise failed('could not add new controller')
        self.controllers[f'nvme{leg.n}'] = (leg, 'live')
        self.write()
        return ''

    def _examine(self, leg: Leg) -> str:
        if leg.array_uuid is None:
            raise failed(f'No md superblock detected on /dev/{leg.device}.')
        uuid = leg.array_uuid
        parts = ':'.join(uuid[i:i + 8] for i in range(0, 32, 8))
        return (f'MD_LEVEL=raid1\nMD_UUID={parts}\n'
                f'MD_EVENTS={leg.events}\n')

    def _start(self, path: str, words: list[str], uuid: str) -> None:
        members = [self._by_path(w) for w in words if w.startswith('/dev/')]
        for leg in members:
            leg.array_uuid, leg.events = uuid, 1
        self._run_array(path, uuid, members, members)

    def _assemble(self, path: str, words: list[str]) -> None:
        legs = [self._by_path(w) for w in words]
        held = {x.n for a in self.arrays.values() for x in a.members}
        uuids = {x.array_uuid for x in legs}
        if held & {x.n for x in legs} or len(uuids) != 1 or None in uuids:
            raise failed('assembly aborted')
        newest = max(x.events for x in legs)
        members = [x for x in legs if x.events >= newest - 1]
        uuid = uuids.pop()
        assert uuid is not None
        self._run_array(path, uuid, members, members)

    def _run_array(self, path: str, uuid: str, members: list[Leg],
                   in_sync: list[Leg]) -> None:
        name = f'md{127 - len(self.arrays)}'
        self.arrays[name] = Array(name, uuid, list(members), list(in_sync))
        self.links[path.rpartition('/')[2]] = name

    def _stop(self, path: str) -> None:
        array = self._array_at(path)
        dead = [x for x in array.members if not x.reachable]
        assert not dead, 'mdadm --stop hangs: a leg is dead'
        if array.busy:
            raise failed('Cannot get exclusive access')
        for leg in array.in_sync:
            leg.events += 2
        del self.arrays[array.name]
        self.links = {k: v for k, v in self.links.items()
                      if v != array.name}

    def _array_at(self, path: str) -> Array:
        name = path.rpartition('/')[2]
        name = self.links.get(name, name)
        if name not in self.arrays:
            raise failed(f'cannot open {path}')
        return self.arrays[name]

    def _by_path(self, path: str) -> Leg:
        device = path.rpartition('/')[2]
        assert device in self.connected(), f'{device} is not there'
        return next(x for x in self.legs if x.device == device)

    def delete_controller(self, controller: Any, device: str | None,
                          idle: bool, timeout_s: float) -> bool:
        leg, _ = self.controllers.pop(controller.name)
        for array in self.arrays.values():
            if leg in array.members:
                assert not idle
                self.drop(array, leg)
        self.write()
        return True

    # The tree ----------------------------------------------------------------

    def write(self) -> None:
        """Write the state as the kernel and udev show it: what changed."""
        self._wanted: dict[str, str] = {}
        for name, (leg, state) in self.controllers.items():
            self._write_controller(name, leg, state)
        for array in self.arrays.values():
            self._write_array(array)
        for alias, name in self.links.items():
            self._file(f'dev/{name}', '')
            self._wanted[f'dev/md/{alias}'] = f'-> ../{name}'
        for path in set(self._written) - set(self._wanted):
            self._remove(path)
        for path, text in self._wanted.items():
            if self._written.get(path) != text:
                self._put(path, text)
        self._written = self._wanted

    def _remove(self, path: str) -> None:
        (self.root / path).unlink()
        with contextlib.suppress(OSError):      # until one is not empty
            for parent in (self.root / path).parents:
                if parent == self.root:
                    return
                parent.rmdir()

    def _put(self, path: str, text: str) -> None:
        real = self.root / path
        real.parent.mkdir(parents=True, exist_ok=True)
        real.unlink(missing_ok=True)
        if text.startswith('-> '):
            os.symlink(text[3:], real)
        else:
            real.write_text(text + '\n')

    def _file(self, path: str, text: str) -> None:
        self._wanted[path] = text

    def _write_controller(self, name: str, leg: Leg, state: str) -> None:
        block = f'sys/block/{leg.device}'
        for base in ('sys/class/nvme', 'sys/class/nvme-fabrics/ctl'):
            here = f'{base}/{name}'
            for attribute, text in (
                    ('subsysnqn', leg.nqn), ('state', state),
                    ('transport', 'tcp'), ('hostnqn', HOST_NQN),
                    ('reconnect_delay', '10'),
                    ('address', f'traddr={leg.address},trsvcid=4420'),
                    (f'{leg.device}/uuid', leg.uuid)):
                self._file(f'{here}/{attribute}', text)
        self._file(f'{block}/uuid', leg.uuid)
        self._file(f'{block}/size', str(leg.size_shown // 512))
        for array in self.arrays.values():
            if leg in array.members:
                self._file(f'{block}/holders/{array.name}', '')

    def _write_array(self, array: Array) -> None:
        md = f'sys/block/{array.name}/md'
        self._file(f'{md}/array_state',
                   'clean' if array.started else 'inactive')
        u = array.uuid
        self._file(f'{md}/uuid', f'{u[:8]}-{u[8:12]}-{u[12:16]}-{u[16:20]}-'
                                 f'{u[20:]}')
        self._file(f'{md}/sync_action', array.sync)
        for leg in array.members:
            words = 'in_sync' if leg in array.in_sync else 'spare'
            self._file(f'{md}/dev-{leg.device}/state', words)


def failed(text: str) -> processutils.ProcessExecutionError:
    return processutils.ProcessExecutionError(
        exit_code=1, stdout='', stderr=f'mdadm: {text}')
