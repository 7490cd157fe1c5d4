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
"""Laws of the suite itself: a vendor reads what is wrong, and what is left."""

import pathlib
from typing import Any

import testtools

from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.provisioner import local
from os_brick_healer.testing import conformance
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.provisioner import worlds


class Careless(local.LocalProvisioner):
    """Takes every report, whatever it is about."""

    def report(self, *_: object) -> None:
        return


class CarelessWorld(worlds.LocalWorld):
    def make_provisioner(self, host: provisioner.HostIdentity
                         ) -> provisioner.Provisioner:
        return Careless(worlds.new_conf(local_file=str(self.path)), host)


def suite(world: conformance.World, name: str) -> testtools.TestCase:
    class Vendors(conformance.ProvisionerConformance, testtools.TestCase):
        def make_world(self) -> conformance.World:
            return world

    return Vendors(name)


class SuiteTest(base.TestCase):
    def run_it(self, world: conformance.World, name: str) -> Any:
        result = testtools.TestResult()
        suite(world, name).run(result)
        return result

    def place(self) -> pathlib.Path:
        return self.temp_dir()

    def test_a_failure_names_the_call_and_the_rule(self) -> None:
        for test, said in (
                ('test_an_unknown_replica_is_refused',
                 'report() of an unknown replica must raise '
                 'ProvisionerRefused; it raised nothing'),
                ('test_an_unknown_volume_is_refused',
                 'report() of an unknown volume must raise'),
                ('test_trouble_down',
                 'report() must raise ProvisionerUnreachable when it cannot '
                 'be reached; it raised nothing')):
            result = self.run_it(CarelessWorld(self.place()), test)
            failed = list(result.failures) + list(result.errors)
            self.assertEqual(1, len(failed))
            self.assertIn(said, failed[0][1])

    def test_what_nobody_tried_is_one_list(self) -> None:
        result = self.run_it(
            worlds.LocalWorld(self.place()),
            'test_this_world_can_try_all_that_the_suite_tries')
        reason, = result.skip_reasons
        for part in ('SLOW', 'DENIED', 'World.lost_answer'):
            self.assertIn(part, reason)
        for part in ('DOWN', 'World.requests', 'batch'):
            self.assertNotIn(part, reason)
