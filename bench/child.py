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
"""The real agent over a host of plain files: a process of its own.

Everything is what an agent has (service, control socket, log file, journal
on disk, engine, wing, pulse), but the host's files, which are a benchmark's,
the kernel's events, which plain files cannot raise, and the provisioner's
answer, which is there at once.
"""

from collections.abc import Mapping, Sequence
import pathlib
import pickle
import sys
import time
from typing import Any

# As the console script does, see os_brick_healer.agent.main.
sys.modules.setdefault('eventlet', None)  # type: ignore[arg-type]

from oslo_config import cfg  # noqa: E402

from os_brick_healer import assembly  # noqa: E402
from os_brick_healer.agent import (  # noqa: E402
    notify,
    ports,
    process,
    service,
)
from os_brick_healer.engine import verdict, wake  # noqa: E402
from os_brick_healer.provisioner import base, kumoscale  # noqa: E402
from os_brick_healer.replica import wing as wing_lib  # noqa: E402
from os_brick_healer.sysfs import reader  # noqa: E402

#: What an agent of a KumoScale host has loaded, too.
LOADED = (kumoscale,)


class Plugin(base.Provisioner):
    """Answers with new objects each time, as a parser does.

    What a pass over KumoScale's own answers costs is a figure of its own
    (``bench.passes``).
    """

    guarantees = base.Guarantees(batch=True, knows_hosts=True,
                                 idempotent_replacement=True)

    def __init__(self, answer: pathlib.Path) -> None:
        self._answer = answer.read_bytes()

    def probe(self) -> str:
        return 'a benchmark'

    def volumes(self) -> Mapping[base.VolumeId, base.Volume]:
        told: Mapping[base.VolumeId, base.Volume] = pickle.loads(self._answer)
        return told

    def report(self, volume: base.VolumeId, replica: base.ReplicaId,
               state: base.ReplicaState) -> None:
        raise AssertionError('nothing is wrong here')

    def request_replacement(self, volume: base.VolumeId,
                            replica: base.ReplicaId,
                            request_id: str) -> None:
        raise AssertionError('nothing is wrong here')

    def publish(self, volume: base.VolumeId) -> None:
        raise AssertionError('nothing is wrong here')

    def confirm_removal(self, volume: base.VolumeId,
                        replica: base.ReplicaId) -> None:
        raise AssertionError('nothing is wrong here')


class Counting:
    """Notes when every volume has been found healthy for the first time."""

    def __init__(self, wing: wing_lib.ReplicaWing, volumes: int,
                 known: pathlib.Path) -> None:
        self._look = wing.look
        self._wing = wing
        self._volumes = volumes
        self._found: set[str] = set()
        self._known = known
        setattr(wing, 'look', self)  # noqa: B010 - mypy minds the other way

    def __call__(self, key: str) -> Any:
        found = self._look(key)
        if found.phase is verdict.Phase.HEALTHY:
            self._found.add(key)
            if len(self._found) == self._volumes:
                self._known.write_text(str(now_s()))
                setattr(self._wing, 'look', self._look)  # noqa: B010
        return found


def now_s() -> float:
    """Comparable between processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def serve(home: str | pathlib.Path, build: service.Build) -> int:
    """Be the agent whose files are in a directory, until it is ended.

    :returns: the exit status.
    """
    conf = cfg.CONF
    process.configure(conf, ['--config-file', f'{home}/agent.conf',
                             '--log-file', f'{home}/agent.log'])
    process.allow_open_files()
    agent = service.Service(conf, build, run_mode='process',
                            notifier=notify.Notifier({}))
    return agent.run()


def main(argv: Sequence[str]) -> int:
    """Live until SIGTERM."""
    tree, home, volumes = argv
    answer = pathlib.Path(home, 'volumes.pickle')

    def build(conf: cfg.ConfigOpts, *, run_mode: str) -> ports.Engine:
        engine = assembly.build(
            conf, run_mode=run_mode, tree=reader.Tree(tree),
            waker=wake.Waker(mdstat=None, uevents=False),
            plugin=lambda: Plugin(answer))
        wing = engine.wings['replica']
        assert isinstance(wing, wing_lib.ReplicaWing)
        Counting(wing, int(volumes), pathlib.Path(home, 'known'))
        return engine

    return serve(home, build)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
