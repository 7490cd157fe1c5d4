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
"""What hook and mixin add to connect_volume, over a simulated host.

What the simulated commands take is not counted, so what is left is os-brick's
own code and ours. The provisioner is a real server over TLS, asked as
nova-compute asks it; our journal is on this tree's disk.
"""

from collections.abc import Iterator
import contextlib
import pathlib
import statistics
import tempfile
import time
from typing import Any

from bed.guest import provisioner as array
from bench import ground
from bench.figures import Figure
from os_brick.initiator.connectors import nvmeof as stock
from os_brick_healer.connector import hook
from os_brick_healer.engine import journal
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.testing import conformance
from os_brick_healer.tests.unit.connector import sim
from os_brick_healer.tests.unit.connector import world as world_lib
from os_brick_healer.tests.unit.provisioner import worlds

TIMES = 60


class _Connect(world_lib.ConnectorTest):
    """The simulated host of the tests, used to measure."""

    def runTest(self) -> None:
        """Nothing: only its set-up and its helpers are used."""

    def begin(self, book: journal.Journal) -> None:
        """Set up, with a journal on disk and commands that are timed."""
        self.setUp()
        self.commands_s = 0.0
        self.journal = book
        self.connector.set_execute(self.execute)
        self.renew()

    def execute(self, *command: str, **more: Any) -> tuple[str, str]:
        """A command; the time it takes is the simulator's."""
        began_s = time.monotonic()
        try:
            return self._execute(*command, **more)
        finally:
            self.commands_s += time.monotonic() - began_s

    def _execute(self, *command: str, **more: Any) -> tuple[str, str]:
        match command:
            case ('mdadm', '--examine', path):   # os-brick alone asks these
                return f'{path}:\n', ''
            case ('blkid', path, *_) if self._worn(path):
                return 'linux_raid_member\n', ''
            case ('mdadm', '--remove', _):
                return '', ''
        return self.sim.execute(*command, **more)

    def _worn(self, path: str) -> bool:
        return any(path.endswith('/' + leg.device) and leg.array_uuid
                   for leg in self.sim.legs)

    def timed(self, connector: Any, legs: tuple[sim.Leg, ...], *,
              hooked: bool) -> float:
        """One connect_volume without its commands; then back."""
        props = self.props(*legs)
        began_s, self.commands_s = time.monotonic(), 0.0
        if hooked:
            hook.ensure_running(connector)
        found = connector.connect_volume(props)
        took_s = time.monotonic() - began_s - self.commands_s
        connector.disconnect_volume(
            props | {'device_path': found['path']}, None)
        return took_s


def run() -> Iterator[Figure]:
    """In turn with us and without; the medians."""
    test = _Connect()
    ground.JOURNALS.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(dir=ground.JOURNALS))
        server = worlds.KumoScaleWorld(
            pathlib.Path(directory), array.Generation.TARGET_NAME)
        stack.callback(server.close)
        plugin = server.make_provisioner(conformance.HERE)
        stack.callback(plugin.close)
        plugin.probe()
        server.create_volume((conformance.HERE,))
        book = journal.Journal(f'{directory}/journal.sqlite')
        stack.callback(book.close)
        stack.callback(test.doCleanups)
        test.begin(book)
        ours, without = _measure(test, plugin)
    yield Figure(
        name='connect_volume_added', unit='s', goal=0.05,
        value=statistics.median(ours) - statistics.median(without),
        peer="os-brick's own code in the same call",
        peer_value=statistics.median(without))


def _measure(test: _Connect, plugin: provisioner.Provisioner,
             ) -> tuple[list[float], list[float]]:
    legs = (test.sim.leg(), test.sim.leg())
    test.volume(*legs)
    says = test.says

    def ask() -> dict[provisioner.VolumeId, provisioner.Volume]:
        plugin.volumes()     # what it costs
        return says()        # what fits the simulated host

    test.says = ask
    alone: Any = stock.NVMeOFConnector(
        None, execute=test.execute, use_multipath=False)
    ours, without = [], []
    test.timed(test.connector, legs, hooked=True)   # loads modules
    for _ in range(TIMES):
        without.append(test.timed(alone, legs, hooked=False))
        ours.append(test.timed(test.connector, legs, hooked=True))
    return ours, without
