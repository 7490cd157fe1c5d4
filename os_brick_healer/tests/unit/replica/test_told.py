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
"""Who is told of a leg that is stale."""

from os_brick_healer.replica import model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

AVAILABLE = model.ReplicaState.AVAILABLE
MISSING = model.ReplicaState.MISSING


class ToldTest(base.TestCase):
    def test_a_stale_leg_on_its_way_back_is_told_of_until_that_is_heard(
            self) -> None:
        """Another host would read from it, should this one die now."""
        at = world.seen(world.leg('a', state=AVAILABLE),
                        world.leg('b', 'spare', state=AVAILABLE))
        tried = world.remembers(at, b={
            'belongs': True, 'reported': MISSING, 'report_next_s': 900.0})
        found = world.decide(at, tried)
        self.assertIsInstance(found.action, model.ReportState)
        assert isinstance(found.action, model.ReportState)
        self.assertEqual(('b', MISSING),
                         (found.action.replica, found.action.state))

    def test_a_leg_that_was_never_called_missing_fills_in_peace(
            self) -> None:
        at = world.seen(world.leg('a', state=AVAILABLE),
                        world.leg('b', 'spare', state=AVAILABLE))
        found = world.decide(at, world.remembers(at, b={'belongs': True}))
        self.assertNotIsInstance(found.action, model.ReportState)
