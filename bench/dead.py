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
"""A host whose mapped volumes have all died: how soon are they healed?

The real agent, in a process of its own, over a host of plain files: every
volume has its device, and none has a process. What a heal does is left out
(that needs a kernel: ``bed``); when each begins, and how many are under way at
once, is what is measured.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import json
import pathlib
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

# As the console script does, see os_brick_healer.agent.main.
sys.modules.setdefault('eventlet', None)  # type: ignore[arg-type]

from oslo_config import cfg  # noqa: E402

from bench import child, mapped  # noqa: E402
from bench.figures import Figure  # noqa: E402
from os_brick_healer import assembly  # noqa: E402
from os_brick_healer.agent import (  # noqa: E402
    ports,
)
from os_brick_healer.engine import verdict, wake  # noqa: E402
from os_brick_healer.mapping import wing as wing_lib  # noqa: E402
from os_brick_healer.sysfs import reader  # noqa: E402

VOLUMES = 200
#: As long as a heal takes on a quick host.
HEAL_S = 0.1
BOUND = 8
WAIT_S = 120.0


def run() -> Iterator[Figure]:
    """Start an agent over them, wait until each was healed once."""
    with tempfile.TemporaryDirectory(prefix='obh-dead-') as directory:
        home = pathlib.Path(directory)
        mapped.prepare(home, home / 'tree', VOLUMES, alive=False,
                       in_flight=1,
                       options=f'mapping_heals_max = {BOUND}\n')
        began_s = child.now_s()
        agent = subprocess.Popen(
            [sys.executable, '-m', 'bench.dead', directory],
            stdin=subprocess.DEVNULL)
        try:
            told = _wait(home / 'told', agent)
        finally:
            agent.terminate()
            agent.wait(30)
    yield Figure(name=f'dead_{VOLUMES}_first_heal', unit='s', goal=1.0,
                 value=float(told['first_s']) - float(told['run_s']))
    yield Figure(name=f'dead_{VOLUMES}_first_heal_from_exec', unit='s',
                 value=float(told['first_s']) - began_s)
    yield Figure(name=f'dead_{VOLUMES}_at_once', unit='heals',
                 goal=float(BOUND), value=float(told['at_once']))
    yield Figure(name=f'dead_{VOLUMES}_all', unit='s',
                 value=float(told['last_s']) - float(told['first_s']))


def _wait(path: pathlib.Path, agent: 'subprocess.Popen[bytes]',
          ) -> dict[str, Any]:
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s and agent.poll() is None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            found: dict[str, Any] = json.loads(path.read_text())
            return found
        time.sleep(0.05)
    raise OSError('cannot measure: because the agent did not come to heal '
                  'every volume')


class Hands:
    """Begin a heal, and let it fail after a while."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._begun: dict[str, float] = {}
        self._under_way, self._at_once = 0, 0
        self.run_s = 0.0

    def do(self, action: Any, _fresh: Callable[[], Any],
           _started: Callable[[Any], None]) -> verdict.Outcome:
        """As ``mapping.act.Hands`` is called."""
        with self._lock:
            self._begun.setdefault(action.volume, child.now_s())
            self._under_way += 1
            self._at_once = max(self._at_once, self._under_way)
        time.sleep(HEAL_S)
        with self._lock:
            self._under_way -= 1
            if len(self._begun) == VOLUMES and not self._path.exists():
                self._tell()
        return verdict.Outcome(changed=False, error='a benchmark')

    def _tell(self) -> None:
        times = sorted(self._begun.values())
        aside = self._path.with_suffix('.new')
        aside.write_text(json.dumps({
            'run_s': self.run_s, 'first_s': times[0], 'last_s': times[-1],
            'at_once': self._at_once}))
        aside.rename(self._path)


def main(argv: Sequence[str]) -> int:
    """The agent; live until SIGTERM."""
    home = pathlib.Path(argv[0])
    hands = Hands(home / 'told')
    (home / 'volumes.pickle').write_bytes(pickle.dumps({}))

    def build(conf: cfg.ConfigOpts, *, run_mode: str) -> ports.Engine:
        hands.run_s = child.now_s()
        engine = assembly.build(
            conf, run_mode=run_mode, tree=reader.Tree(str(home / 'tree')),
            waker=wake.Waker(mdstat=None, uevents=False),
            plugin=lambda: child.Plugin(home / 'volumes.pickle'))
        wing = engine.wings['mapping']
        assert isinstance(wing, wing_lib.MappingWing)
        setattr(wing, '_hands', hands)  # noqa: B010 - mypy minds otherwise
        setattr(wing, '_prepare', lambda _mounter: '')  # noqa: B010
        setattr(wing, '_logs', None)  # noqa: B010 - they are root's
        return engine

    return child.serve(home, build)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
