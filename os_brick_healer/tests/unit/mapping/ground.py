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
"""A copy of a host's files, and a privileged side that changes them."""

from collections.abc import Iterator
import contextlib
import os
import pathlib

from os_brick_healer import exception
from os_brick_healer.mapping import locks, model
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.mounter import nbd as mounter_nbd
from os_brick_healer.sysfs import reader
from os_brick_healer.tests.unit.mapping import world
from os_brick_healer.tests.unit.nbd import server as server_lib

SECTORS = world.SIZE // 512


class Ground:
    """/sys and /proc below a directory; sockets beside them."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.tree = reader.Tree(str(root))
        self.socket = root / 's'
        self.order = world.order(socket=str(self.socket))
        self.mapping = world.mapping(order=self.order)
        self.mounter: mounter_base.Mounter = mounter_nbd.NbdMounter()
        (root / 'proc').mkdir()

    def write(self, path: str, text: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def connected(self, name: str = 'nbd3', cookie: str | None = world.KEY,
                  completed: int = 100, in_flight: int = 0) -> None:
        """A device as the kernel shows it."""
        base = f'sys/block/{name}'
        self.write(f'{base}/size', f'{SECTORS}\n')
        self.write(f'{base}/pid', '99\n')
        if cookie is not None:
            self.write(f'{base}/backend', f'{cookie}\n')
        if not (self.root / base / 'queue/io_timeout').exists():
            self.write(f'{base}/queue/io_timeout', '1000\n')
        self.requests(name, completed, in_flight)

    def requests(self, name: str, completed: int, in_flight: int) -> None:
        self.write(f'sys/block/{name}/stat',
                   f'{completed} 0 0 0 0 0 0 0 {in_flight} 0 0 0 0 0 0 0 0\n')

    def process(self, pid: int, *argv: str, state: str = 'S',
                uid: int = 0) -> None:
        """A process; without words: the server of the order."""
        words = argv or ('nbdkit', '--unix', str(self.socket))
        self.write(f'proc/{pid}/cmdline', '\0'.join(words) + '\0')
        rest = ' '.join(['0'] * 18)
        self.write(f'proc/{pid}/stat',
                   f'{pid} (x y) {state} {rest} {pid * 7} 0\n')
        self.write(f'proc/{pid}/status',
                   f'Name:\tx y\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n')

    def ended(self, pid: int) -> None:
        for name in ('cmdline', 'stat', 'status'):
            (self.root / f'proc/{pid}/{name}').unlink()
        (self.root / f'proc/{pid}').rmdir()


class Itself(mounter_nbd.NbdMounter):
    """A mounter whose process gives the kernel its connection itself."""

    style = mounter_base.Style.ITSELF
    abilities = mounter_base.Abilities(transparent=True, can_fence=True,
                                       detects_hang=True)

    def ask_data(self, order: mounter_base.Order) -> tuple[str, ...]:
        return ('tool', order.volume)


class Killed(BaseException):
    """The agent that called ended in the middle of it."""


class Root:
    """The privileged side: what it was told, and its effects.

    :ivar left: who calls is killed after so many more calls.
    :ivar refuses: what it raises, by the call's name.
    :ivar linked: to whom the kernel's connection leads.
    :ivar mute: the server that it starts does not listen.
    :ivar dies: it ends at once, with these last words.
    :ivar readonly: what it starts refuses writes.
    :ivar stuck: the kernel does not let go of what is killed.
    :ivar late: a device is made, and whoever wants it hears nothing of it.
    :ivar errors: so many more reads fail.
    """

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.did: list[str] = []
        self.places: list[str] = []     # where a lock was lent
        self.servers: dict[int, server_lib.Server | None] = {}
        self.refuses: dict[str, exception.HealerError] = {}
        self.mute = False
        self.dies: str | None = None
        self.late = self.readonly = self.stuck = False
        self.size_bytes = world.SIZE
        self.fenced = self.gone = ''
        self.answer = 'read'
        self.next_pid = 200
        self.left: int | None = None
        self.linked = 100
        self.errors = 0
        self.lacking = ''

    def _asked(self, name: str) -> None:
        if self.left is not None:
            if not self.left:
                raise Killed
            self.left -= 1
        self.did.append(name)
        if name in self.refuses:
            raise self.refuses[name]

    def prepare(self, *, mounter: str, timeout_s: float) -> None:
        del mounter, timeout_s

    def start(self, *, mounter: str, volume: str, source: dict[str, str],
              socket: str, device: str | None, reattach_s: int,
              timeout_s: float) -> tuple[int, str]:
        del mounter, volume, source, device, reattach_s, timeout_s
        self._asked('start')
        itself = self.ground.mounter.style is mounter_base.Style.ITSELF
        assert itself or not os.path.exists(socket), 'it would not listen'
        pid, self.next_pid = self.next_pid, self.next_pid + 1
        if self.dies is None:
            self.ground.process(pid)
            self.servers[pid] = None if self.mute or itself else (
                server_lib.Server(self.ground.socket, self.size_bytes))
            server = self.servers[pid]
            if self.readonly and server is not None:
                server.flags |= 2
            if itself and not (self.mute or self.late):
                self.linked = pid
                self.ground.connected('nbd3', world.KEY)
                self.ground.write('sys/block/nbd3/size',
                                  f'{self.size_bytes // 512}\n')
        return pid, str(pid * 7)

    def kill(self, *, mounter: str, volume: str, source: dict[str, str],
             socket: str, pid: int, start: str, grace_s: float,
             timeout_s: float) -> bool:
        del mounter, volume, source, socket, grace_s, timeout_s
        self._asked('kill')
        assert start == str(pid * 7)
        if self.stuck:
            return False
        server = self.servers.pop(pid, None)
        if server is not None:
            server.close()
        elif self.late:
            self.ground.connected('nbd3', world.KEY)
        with contextlib.suppress(FileNotFoundError):
            self.ground.ended(pid)
        return True

    def fence(self, *, mounter: str, volume: str, source: dict[str, str],
              socket: str, timeout_s: float) -> str:
        del mounter, volume, source, socket
        assert timeout_s > 0.0
        self._asked('fence')
        return self.fenced

    def hang_up(self, *, device: str, volume: str, pid: int, start: str,
                timer_ms: int, timeout_s: float) -> bool:
        del timeout_s
        self._asked('hang_up')
        assert (device, volume) == ('nbd3', world.KEY)
        assert start == str(pid * 7)
        assert timer_ms == 1000
        return True

    def missing(self, *, mounter: str, volume: str, source: dict[str, str],
                socket: str, timeout_s: float) -> str:
        del mounter, volume, source, socket, timeout_s
        self._asked('missing')
        return self.gone

    def lacks(self, *, mounter: str, volume: str, source: dict[str, str],
              socket: str, timeout_s: float) -> str:
        del mounter, volume, source, socket, timeout_s
        if 'lacks' in self.refuses:
            raise self.refuses['lacks']
        return self.lacking

    def grow(self, *, mounter: str, volume: str, source: dict[str, str],
             socket: str, device: str, timeout_s: float) -> int:
        del mounter, volume, source, socket, timeout_s
        self._asked('grow')
        if self.size_bytes > 0:
            self.ground.write(f'sys/block/{device}/size',
                              f'{self.size_bytes // 512}\n')
        return self.size_bytes

    def last_words(self, *, volume: str) -> str:
        del volume
        return self.dies or ''

    def connect(self, *, volume: str, handover: str, size_bytes: int,
                server_flags: int, reattach_s: int, timer_ms: int,
                timeout_s: float) -> tuple[str, int]:
        del handover, server_flags, reattach_s, timeout_s
        self._asked('connect')
        assert size_bytes == self.size_bytes
        self.ground.connected('nbd3', volume)
        self.ground.write('sys/block/nbd3/queue/io_timeout', f'{timer_ms}\n')
        self.ground.write('dev/nbd3', '')
        if self.late:
            raise exception.CommandError('no answer')
        return 'nbd3', 30000

    def reconnect(self, *, device: str, volume: str, handover: str,
                  size_bytes: int, reattach_s: int, timeout_s: float,
                  ) -> None:
        del handover, size_bytes, reattach_s, timeout_s
        self._asked('reconnect')
        assert (device, volume) == ('nbd3', world.KEY)
        self.linked = max(self.servers)

    def disconnect(self, *, device: str, volume: str, held: str,
                   timer_ms: int, timeout_s: float) -> bool:
        del volume, timeout_s
        self._asked('disconnect')
        self.places.append(held)
        base = self.ground.root / 'sys/block' / device
        self.ground.write(f'sys/block/{device}/queue/io_timeout',
                          f'{timer_ms}\n')
        for name in ('pid', 'backend'):
            (base / name).unlink(missing_ok=True)
        return True

    def set_timer(self, *, device: str, volume: str, timer_ms: int,
                  timeout_s: float) -> bool:
        del volume, timeout_s
        self._asked('set_timer')
        self.ground.write(f'sys/block/{device}/queue/io_timeout',
                          f'{timer_ms}\n')
        return True

    def flows(self, *, device: str, volume: str, pid: int, start: str,
              timeout_s: float) -> str:
        del device, volume, pid, start, timeout_s
        self._asked('flows')
        if self.errors:
            self.errors -= 1
            raise exception.CommandError('Input/output error')
        there = (self.ground.root / f'proc/{self.linked}').exists()
        return self.answer if there else 'unsent'

    def close(self) -> None:
        for server in self.servers.values():
            if server is not None:
                server.close()


class FreeLocks:
    """Locks that nobody else wants."""

    def __init__(self) -> None:
        self.held: list[str] = []

    @contextlib.contextmanager
    def hold(self, volume: str, wait_s: float) -> Iterator[None]:
        del wait_s
        self.held.append(volume)
        yield

    @contextlib.contextmanager
    def lend(self, volume: str, offer: locks.Offer) -> Iterator[str]:
        del offer
        yield f'lent {volume}'


def attachment(ground: Ground) -> model.Attachment:
    """The volume, attached, with its socket where the ground has it."""
    return world.attachment(mapping=ground.mapping)
