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
"""A KumoScale, and the plugins of two hosts."""

from typing import Any

from bed.guest import provisioner as array
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.provisioner import kumoscale
from os_brick_healer.testing import conformance
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.provisioner import worlds

HERE, THERE = conformance.HERE, conformance.THERE


class KumoScaleTestCase(base.TestCase):
    generation = array.Generation.TARGET_NAME
    options: dict[str, Any] = {}

    def setUp(self) -> None:
        super().setUp()
        self.world = worlds.KumoScaleWorld(
            self.temp_dir(), self.generation, **self.options)
        self.addCleanup(self.world.close)
        self.array = self.world.array
        self.ours = self.plugin(HERE)
        self.theirs = self.plugin(THERE)

    def plugin(self, host: provisioner.HostIdentity
               ) -> kumoscale.KumoScaleProvisioner:
        made = self.world.make_provisioner(host)
        self.addCleanup(made.close)
        made.probe()
        return made

    def one_volume(self, *hosts: provisioner.HostIdentity, replicas: int = 2
                   ) -> tuple[provisioner.VolumeId, list[str]]:
        name = self.world.create_volume(hosts or (HERE,), replicas=replicas)
        return name, self.array.volume(name).legs

    def states(self, name: provisioner.VolumeId) -> dict[str, str]:
        return {one.id: str(one.state)
                for one in self.array.volume(name).replicas}
