# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""What an agent costs that looks after 1,000 mapped volumes, all well.

The real agent, in a process of its own, over a host of plain files: every
volume has its device and its process, and nobody reads or writes. The
descriptors of the processes are real (all of one process, which lives); that
a read comes back is taken for granted, once, at the start.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import json
import os
import pathlib
import pickle
import sqlite3
import subprocess
import sys
import tempfile
import time
from typing import Any
import uuid

# As the console script does, see os_brick_healer.agent.main.
sys.modules.setdefault('eventlet', None)  # type: ignore[arg-type]

from oslo_config import cfg  # noqa: E402

from bench import agent as agent_lib  # noqa: E402
from bench import child  # noqa: E402
from bench import ground as ground_lib  # noqa: E402
from bench.figures import Figure  # noqa: E402
from os_brick_healer import assembly, exception  # noqa: E402
from os_brick_healer.agent import (  # noqa: E402
    client,
    ports,
)
from os_brick_healer.engine import journal, verdict, wake  # noqa: E402
from os_brick_healer.mapping import decide, events, model  # noqa: E402
from os_brick_healer.mapping import wing as wing_lib  # noqa: E402
from os_brick_healer.mounter import base  # noqa: E402
from os_brick_healer.mounter import nbd as mounter_nbd  # noqa: E402
from os_brick_healer.sysfs import reader  # noqa: E402

VOLUMES = 1000
GOAL_PERCENT = 0.3
#: A thousand volumes are written down one by one, on a disk that is shared.
WAIT_S = 600.0
#: Numbers that no process of this host has.
FIRST_PID = 1 << 23


def run(idle_s: float) -> Iterator[Figure]:
    """The agent with its volumes, beside one that has none."""
    empty = _percent(0, idle_s)
    yield Figure(name=f'mapped_idle_cpu_{VOLUMES}', unit='% of one core',
                 value=_percent(VOLUMES, idle_s), goal=GOAL_PERCENT,
                 peer='the agent without a volume', peer_value=empty)


def _percent(volumes: int, idle_s: float) -> float:
    """CPU time while nothing happens, and the share of the regular looks.

    These come minutes apart, and few fall into the time that is measured. So
    all volumes are looked at once, and the cost is spread.
    """
    ground_lib.JOURNALS.mkdir(parents=True, exist_ok=True)
    with (tempfile.TemporaryDirectory(dir=ground_lib.JOURNALS) as on_disk,
          tempfile.TemporaryDirectory(
              prefix='os-brick-healer-bench-',
              dir=ground_lib.MEMORY if os.access(
                  ground_lib.MEMORY, os.W_OK) else None) as in_memory):
        home = pathlib.Path(on_disk).resolve()
        prepare(home, pathlib.Path(in_memory), volumes, alive=True)
        agent = subprocess.Popen(
            [sys.executable, '-m', 'bench.mapped', str(home), in_memory],
            stdin=subprocess.DEVNULL)
        try:
            ask = client.Client(str(home / 'control.sock'), 10.0)

            def looks() -> None:
                ask.call('wake')
                _settle(agent.pid)

            _wait(ask, volumes, agent)
            # Each volume's first look did not know of the later ones, and
            # its next comes sooner than any after it.
            looks()
            percent = _spent(agent.pid, lambda: time.sleep(idle_s)) / idle_s
            # No key comes later than that, on average at three quarters.
            every_s = 0.75 * decide.seldom_s(
                model.Policy().idle_s, model.Policy(), volumes)
            if volumes:
                percent += _spent(agent.pid, looks) / every_s
            return 100.0 * percent
        finally:
            agent.terminate()
            agent.wait(30)


def _spent(pid: int, what: Callable[[], object]) -> float:
    before_s = agent_lib.cpu_s(pid)
    what()
    return agent_lib.cpu_s(pid) - before_s


def _settle(pid: int) -> None:
    """Wait until a second costs next to nothing."""
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        if _spent(pid, lambda: time.sleep(1.0)) < 0.03:
            break


def _wait(ask: client.Client, volumes: int,
          agent: 'subprocess.Popen[bytes]') -> None:
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s and agent.poll() is None:
        with contextlib.suppress(exception.HealerError):
            told = ask.call('status')
            well = sum(one['phase'] == 'healthy' for one in told['volumes'])
            if well == volumes:
                return
        time.sleep(0.5)
    raise OSError('cannot measure: because the agent did not find every '
                  'volume well')


def prepare(home: pathlib.Path, tree: pathlib.Path, volumes: int, *,
            alive: bool, in_flight: int = 0, options: str = '') -> None:
    """Files as the kernel shows them, and rows as connectors write them."""
    (tree / 'proc').mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(volumes):
        volume, device = str(uuid.uuid4()), f'nbd{number}'
        order = base.Order(
            volume=volume, device=device, reattach_s=600,
            source={'file': f'/srv/{volume}.img'},
            socket=f'{home}/mappings/{volume}.sock')
        for name, text in (
                ('size', '2097152'), ('pid', '99'), ('backend', volume),
                ('stat', f'5 0 0 0 0 0 0 0 {in_flight}' + ' 0' * 8),
                ('queue/io_timeout', '200')):
            _write(tree / 'sys/block' / device / name, f'{text}\n')
        if alive:
            pid = FIRST_PID + number
            argv = mounter_nbd.NbdMounter().server(order).argv
            _write(tree / f'proc/{pid}/cmdline', '\0'.join(argv) + '\0')
            _write(tree / f'proc/{pid}/stat',
                   f'{pid} (nbdkit) S{" 0" * 18} {number + 1} 0\n')
            _write(tree / f'proc/{pid}/status', 'Uid:\t0\t0\t0\t0\n')
        rows.append((volume, device, 'attached', 1, '1', json.dumps({
            'kind': 'mapping', 'mounter': 'nbd', 'device': device,
            'source': dict(order.source), 'socket': order.socket,
            'reattach_s': 600, 'size_bytes': 1 << 30, 'timer_ms': 200,
            'timer_before_ms': 30000}), 0.0))
    journal.Journal(str(home / assembly.JOURNAL)).close()
    with contextlib.closing(sqlite3.connect(
            home / assembly.JOURNAL)) as db, db:
        db.executemany(
            'INSERT INTO attachment VALUES (?,?,?,NULL,?,?,?,?)', rows)
    (home / 'agent.conf').write_text(
        '[DEFAULT]\nhost = here\n[os_brick_healer]\nlaunch = none\n'
        f'state_path = {home}\nrun_path = {home}\n{options}')


def _write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Hands:
    """A read comes back; nothing else is to be done here."""

    def do(self, action: Any, _fresh: Callable[[], Any],
           _started: Callable[[Any], None]) -> verdict.Outcome:
        """As ``mapping.act.Hands`` is called."""
        assert isinstance(action, model.Prove), action
        return verdict.Outcome(changed=False, detail='a benchmark')


class Ear:
    """The kernel's deaths, of which there are none."""

    def __init__(self) -> None:
        self._ends = os.pipe()

    def fileno(self) -> int:
        return self._ends[0]

    def take(self) -> frozenset[str] | None:
        return frozenset()

    def close(self) -> None:
        for fd in self._ends:
            os.close(fd)


def main(argv: Sequence[str]) -> int:
    """The agent; live until SIGTERM."""
    home, tree = pathlib.Path(argv[0]), argv[1]
    (home / 'volumes.pickle').write_bytes(pickle.dumps({}))

    def build(conf: cfg.ConfigOpts, *, run_mode: str) -> ports.Engine:
        waker = wake.Waker(mdstat=None, uevents=False)
        engine = assembly.build(
            conf, run_mode=run_mode, tree=reader.Tree(tree), waker=waker,
            plugin=lambda: child.Plugin(home / 'volumes.pickle'))
        wing = engine.wings['mapping']
        assert isinstance(wing, wing_lib.MappingWing)
        heard = events.Events(
            waker, assembly.clock, hear=Ear,
            pidfd=lambda _pid: os.pidfd_open(os.getppid()))
        heard.lost = wing._doubt
        for name, value in (('_hands', Hands()), ('_heard', heard),
                            ('_prepare', lambda _mounter: ''),
                            ('_logs', None)):     # they are root's
            setattr(wing, name, value)
        return engine

    return child.serve(home, build)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
