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
"""Where another host has the volume, and this one has not."""

from os_brick_healer.engine import verdict
from os_brick_healer.mapping import decide
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import world


class ElsewhereTest(base.TestCase):
    def test_a_volume_that_another_host_has_gets_no_server(self) -> None:
        found = decide.decide(
            world.seen(server=None, elsewhere='x has it on b'),
            world.known(), world.POLICY)
        self.assertEqual((verdict.Phase.HELD, None, 'elsewhere', 20.0),
                         (found.phase, found.action, found.law,
                          found.look_again_s))
        self.assertEqual('nbd3 has no server, and gets none: x has it on b',
                         found.sentence)
        served = decide.decide(world.seen(elsewhere='x has it on b'),
                               world.known(), world.POLICY)
        self.assertIs(verdict.Phase.HEALTHY, served.phase)
