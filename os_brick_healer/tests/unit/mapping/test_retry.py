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
"""After a kill that failed, a heal that shut nobody out, and a quiet hour."""

import dataclasses

from os_brick_healer.engine import verdict
from os_brick_healer.mapping import decide, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import world


class RetryTest(base.TestCase):
    def test_it_waits_and_says_why(self) -> None:
        silent = model.Answer(asked_s=999.0, alive=False, sentence='silence')
        memory = dataclasses.replace(
            world.known(), next_try_s=1003.0, last_error='no permission')
        found = decide.decide(world.waiting(answer=silent), memory,
                              world.POLICY)
        self.assertEqual((verdict.Phase.STALLED, None),
                         (found.phase, found.action))
        self.assertIn('the last one failed: no permission', found.sentence)

    def test_who_may_still_have_the_data_is_told_while_it_is_slow(
            self) -> None:
        speaks = model.Answer(asked_s=999.0, alive=True)
        found = decide.decide(
            world.waiting(for_s=3600.0, answer=speaks), dataclasses.replace(
                world.known(), fenced='client.7 lives'), world.POLICY)
        self.assertIn('(at its last heal: client.7 lives)', found.sentence)

    def test_many_that_are_well_are_looked_at_at_a_bounded_rate(self) -> None:
        idle_s = world.POLICY.idle_s
        for volumes, wait_s in ((1, idle_s), (60, idle_s), (1000, 1000.0)):
            self.assertEqual(wait_s, decide.seldom_s(
                idle_s, world.POLICY, volumes))
        self.assertEqual(2.0, decide.seldom_s(2.0, world.POLICY, 1000))
