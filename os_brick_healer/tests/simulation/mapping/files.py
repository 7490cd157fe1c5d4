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
"""The host's files, made up as they are read."""

from collections.abc import Iterator
import contextlib
from typing import TYPE_CHECKING

from os_brick_healer import exception
from os_brick_healer.privileged import tree as trees
from os_brick_healer.tests.simulation.mapping import parts

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation.mapping import world as world_lib

_STATES = {parts.RUNS: 'S', parts.STUCK: 'S', parts.STOPPED: 'T',
           parts.DYING: 'Z'}


class Attribute(trees.Attribute):
    """``queue/io_timeout``, open for writing."""

    def __init__(self, path: str, device: parts.Device) -> None:
        super().__init__(path, -1)
        self._device = device

    def close(self) -> None:
        """Nothing is open."""

    def write(self, text: str, timeout_s: float) -> bool:
        self._device.timer_ms = int(text)
        return True


class Tree(trees.Tree):
    """What of /proc, /sys and /dev this wing reads."""

    def __init__(self, world: 'world_lib.World') -> None:
        super().__init__('/')
        self._world = world

    def _device(self, name: str) -> parts.Device | None:
        return self._world.nbd.devices.get(name)

    def path(self, path: str) -> str:
        """The real file of a device's ``stat``; nothing else has one."""
        words = path.strip('/').split('/')
        assert words[:2] == ['sys', 'block'], path
        assert words[3:] == ['stat'], path
        return self._world.nbd.stat_path(words[2])

    def read(self, path: str, limit: int = 0) -> str | None:
        match path.strip('/').split('/', 3):
            case ['sys', 'block', name, attribute]:
                device = self._device(name)
                return None if device is None else self._of_device(
                    device, attribute)
            case ['proc', pid, name] if pid.isdigit():
                proc = self._world.processes.by_pid.get(int(pid))
                return None if proc is None else self._of_process(
                    proc, name)
            case ['proc', pid, 'task', _thread] if pid.isdigit():
                # Of one that is dying they are at work, or it is held up.
                return self.read(f'/proc/{pid}/stat')
        raise AssertionError(path)

    def _of_device(self, device: parts.Device,
                   attribute: str) -> str | None:
        match attribute:
            case 'size':
                return str(device.size_bytes // 512)
            case 'pid':
                return str(device.mapper) if device.connected else None
            case 'backend':
                return device.cookie if device.connected else None
            case 'queue/io_timeout':
                return str(device.timer_ms)
            case 'stat':
                return self._world.nbd.stat(device).strip()
        raise AssertionError(attribute)

    @staticmethod
    def _of_process(proc: parts.Proc, name: str) -> str | None:
        if name == 'cmdline':
            return ('' if proc.state == parts.DYING
                    else '\0'.join(proc.argv) + '\0')
        if name == 'status':
            return 'Uid:\t0\t0\t0\t0'
        assert name == 'stat', name
        flags = '4' if proc.held else '0'
        rest = ' '.join(['0'] * 5 + [flags] + ['0'] * 12)
        return (f'{proc.pid} ({proc.argv[0]}) {_STATES[proc.state]} {rest} '
                f'{proc.start} 0')

    def listdir(self, path: str) -> tuple[str, ...]:
        match path.strip('/').split('/'):
            case ['proc']:
                return tuple(map(str, self._world.processes.by_pid))
            case ['proc', _pid, 'task']:
                return ('1', '2')
            case ['sys', 'block']:
                return tuple(self._world.nbd.devices)
            case ['sys', 'block', _name, 'holders']:
                return ()
        raise AssertionError(path)

    def exists(self, path: str) -> bool:
        device = self._device(path.removeprefix('/dev/'))
        return device is not None and device.connected

    @contextlib.contextmanager
    def attribute(self, path: str) -> Iterator[trees.Attribute]:
        device = self._device(path.strip('/').split('/')[2])
        if device is None:
            raise exception.NotOurs(f'cannot write {path}: it is not there')
        yield Attribute(path, device)
