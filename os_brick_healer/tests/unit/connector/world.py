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
"""os-brick's real connector code with ours, over a simulated host."""

from collections.abc import Callable
import dataclasses
from typing import Any

import fixtures
from oslo_concurrency import lockutils
from oslo_config import fixture as config_fixture

from os_brick.initiator.connectors import nvmeof as stock
from os_brick_healer import exception
from os_brick_healer.connector import context, host, nvmeof
from os_brick_healer.engine import journal
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.connector import fakes, sim

VOLUME = '11111111-2222-4333-8444-555555555555'
ALIAS = 'vol1'
State = provisioner.ReplicaState


class ConnectorTest(base.TestCase):
    """A host, a provisioner that can be spoken for, a real journal."""

    def setUp(self) -> None:
        super().setUp()
        self.sim = sim.Host(self.temp_dir())
        self.sim.write()
        self._point_os_brick_at(str(self.sim.root))
        self.journal = journal.Journal(
            str(self.temp_dir() / 'journal.sqlite'), boot_id='boot')
        self.addCleanup(self.journal.close)
        self.says: Callable[
            [], dict[provisioner.VolumeId, provisioner.Volume]] = (
                fakes.unreachable)   # type: ignore[assignment]
        self.released: list[str] = []
        self.settings = context.Settings(resolve_timeout_s=5.0)
        self.connector: Any = nvmeof.HealingNVMeOFConnector(
            None, execute=self.sim.execute, use_multipath=False)
        self.renew()

    def _point_os_brick_at(self, root: str) -> None:
        """os-brick reads the kernel's files by paths that are constants."""
        for name, path in (
                ('RAID_PATH', '/dev/md/'),
                ('NVME_CTRL_SYSFS_PATH', '/sys/class/nvme-fabrics/ctl/')):
            self.useFixture(fixtures.MonkeyPatch(
                f'os_brick.initiator.connectors.nvmeof.{name}', root + path))
        self.useFixture(fixtures.MonkeyPatch(
            'os_brick.utils._time_sleep', lambda seconds: None))
        self.useFixture(fixtures.MonkeyPatch(
            'os_brick.initiator.connectors.nvmeof.nvmeof_agent', None))
        locks = str(self.temp_dir())
        self.useFixture(config_fixture.Config(lockutils.CONF)).config(
            lock_path=locks, group='oslo_concurrency')
        self.raid_path = stock.RAID_PATH

    def renew(self, **changes: Any) -> None:
        """Give the connector its world."""
        parts: dict[str, Any] = {
            'volumes': self.volumes,
            'open_journal': lambda: self.journal,
            'settings': self.settings,
            'release': self.released.append,
            'delete_controller': self.sim.delete_controller,
            'host': host.Host(sim.Tree(str(self.sim.root))),
            'answering': self.answering,
        }
        self.connector.healer_context = fakes.build(
            str(self.sim.root), **(parts | changes))

    def volumes(self) -> dict[provisioner.VolumeId, provisioner.Volume]:
        return self.says()

    def answering(self, portals: frozenset[tuple[str, str, str]],
                  timeout_s: float) -> frozenset[tuple[str, str, str]]:
        reachable = {x.address for x in self.sim.legs if x.reachable}
        return frozenset(p for p in portals if p[0] in reachable)

    # What nova has, what the provisioner says --------------------------------

    def props(self, *legs: sim.Leg, count: int | None = None,
              **more: Any) -> dict[str, Any]:
        return {'vol_uuid': VOLUME, 'alias': ALIAS,
                'replica_count': count or len(legs),
                'volume_replicas': [x.replica() for x in legs]} | more

    def volume(self, *legs: sim.Leg, count: int = 2,
               size: int | None = None,
               **states: provisioner.ReplicaState) -> None:
        """From now on the provisioner names these legs."""
        volume = provisioner.Volume(
            id=provisioner.VolumeId(VOLUME), alias=ALIAS, size_bytes=size,
            replica_count=count, hosts=None,
            replicas=tuple(
                replica(x, states.get(f'leg{x.n}', State.AVAILABLE))
                for x in legs))
        self.says = lambda: {volume.id: volume}

    def nonsense(self, why: str) -> None:
        self.volume()
        volume = next(iter(self.says().values()))
        odd = dataclasses.replace(volume, nonsense=why)
        self.says = lambda: {odd.id: odd}

    def garbage(self) -> dict[provisioner.VolumeId, provisioner.Volume]:
        raise exception.ProvisionerNonsense('cannot understand: because <')

    # Seen afterwards ---------------------------------------------------------

    def members(self) -> set[str]:
        return {leg.device for array in self.sim.arrays.values()
                for leg in array.members}

    def states(self) -> dict[str, str]:
        return {row.volume: row.state for row in self.journal.attachments()}

    def attach(self, *legs: sim.Leg, **more: Any) -> dict[str, Any]:
        """Connect; the properties as nova keeps them from then on."""
        props = self.props(*legs, **more)
        found = self.connector.connect_volume(props)
        return props | {'device_path': found['path']}


def replica(leg: sim.Leg,
            state: provisioner.ReplicaState) -> provisioner.Replica:
    return provisioner.Replica(
        id=provisioner.ReplicaId(leg.uuid), nqn=leg.nqn,
        namespace_uuid=leg.uuid, state=state,
        portals=(provisioner.Portal(address=leg.address, port=4420),))
