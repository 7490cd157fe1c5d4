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
from bed.guest import provisioner as array
from os_brick_healer.testing import conformance
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.provisioner import worlds


class LocalConformanceTest(conformance.ProvisionerConformance,
                           base.TestCase):
    def make_world(self) -> conformance.World:
        return worlds.LocalWorld(self.temp_dir())


class KumoScaleConformanceTest(conformance.ProvisionerConformance,
                               base.TestCase):
    """The generation with a target per replica, ``targetName``."""

    generation = array.Generation.TARGET_NAME

    def make_world(self) -> conformance.World:
        return worlds.KumoScaleWorld(self.temp_dir(), self.generation)


class KumoScaleNamedConformanceTest(KumoScaleConformanceTest):
    """The generation with one target for all replicas, ``name``."""

    generation = array.Generation.NAME
