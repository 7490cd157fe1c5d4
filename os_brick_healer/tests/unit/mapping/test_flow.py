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
"""Stories of a mapped volume, from one look to the next."""

import itertools

from os_brick_healer.mapping import learn, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import world


class FlowTest(base.TestCase):
    """Whole stories, in a host in which every action takes effect."""

    def host(self) -> world.Host:
        host = world.Host()
        host.run(5.0)
        self.assertTrue(host.well(), host.step())
        host.did.clear()
        return host

    def test_a_dead_server_is_replaced_at_once_and_once(self) -> None:
        host = self.host()
        host.die()
        self.assertIsInstance(host.step().action, model.Serve)
        host.run(3.0)
        self.assertTrue(host.well())
        self.assertEqual(['Serve', 'Prove'], host.did)

    def test_a_server_that_dies_again_and_again_comes_back_each_time(
            self) -> None:
        host = self.host()
        for _ in range(40):
            host.die()
            host.run(2.0)
            self.assertTrue(host.well())
            host.run(10.0)
        self.assertEqual(model.DEATHS_MAX, len(host.memory.deaths_s))

    def test_a_server_that_dies_of_its_work_is_not_hammered(self) -> None:
        host = self.host()
        times: list[float] = []
        while host.now_s < 2000.0:
            host.run(0.5)
            if host.well():
                times.append(host.now_s)
                host.die()
        self.assertLess(times[3] - times[0], 4.0)
        self.assertLess(len(times), 50)
        self.assertGreater(len(times), 30)

    def test_it_is_not_hammered_when_every_other_one_serves(self) -> None:
        host = self.host()
        heals: list[float] = []
        while host.now_s < 1100.0:
            host.run(0.5)
            if host.well():
                heals.append(host.now_s)
                host.die()
                host.fails, host.fails_with = 1, learn.ENDED
        self.assertLess(len(heals), 9)

    def test_one_that_lasts_for_a_while_is_no_reason_to_forget(self) -> None:
        host = self.host()
        while host.memory.short < 8:
            host.run(0.5)
            if host.well():
                host.die()
        host.run(20.0)
        self.assertTrue(host.well())
        host.die()
        host.run(1.0)
        self.assertTrue(host.well())
        host.die()
        host.run(5.0)
        self.assertFalse(host.well())
        host.run(70.0)
        host.die()
        host.run(1.0)
        self.assertEqual(0, host.memory.short)

    def test_a_hung_server_is_killed_and_replaced(self) -> None:
        host = self.host()
        host.stopped = True
        host.run(6.0)
        self.assertTrue(host.well())
        self.assertEqual(['Kill', 'Serve', 'Prove'], host.did)

    def test_slow_storage_costs_nothing_but_time(self) -> None:
        host = self.host()
        host.slow = True
        host.run(600.0)
        self.assertEqual([], host.did)
        host.slow = False
        host.run(3.0)
        self.assertTrue(host.well())

    def test_a_server_that_dies_while_its_storage_is_slow_is_replaced_once(
            self) -> None:
        host = self.host()
        host.slow = True
        host.die()
        host.run(300.0)
        self.assertEqual(1, host.did.count('Serve'))
        self.assertNotIn('Kill', host.did)
        host.slow = False
        host.run(5.0)
        self.assertTrue(host.well())

    def test_an_agent_that_begins_anew_over_slow_storage_kills_nobody(
            self) -> None:
        for forgetful in (False, True):
            host = self.host()
            host.slow = True
            host.run(10.0)
            host.restart_agent(forgetful=forgetful)
            host.run(300.0)
            self.assertEqual({'Prove'}, set(host.did))
            host.slow = False
            host.run(5.0)
            self.assertTrue(host.well())

    def test_without_monitors_it_waits_without_piling_up(self) -> None:
        host = self.host()
        host.fails = 1000
        host.die()
        host.run(600.0)
        self.assertLess(host.did.count('Serve'), 40)
        host.fails = 0
        host.run(40.0)
        self.assertTrue(host.well())

    def test_an_agent_that_begins_anew_at_any_moment_brings_it_to_an_end(
            self) -> None:
        for moment, forgets, how in itertools.product(
                range(0, 400, 7), (False, True), ('die', 'stop', 'cut')):
            host = self.host()
            if how == 'stop':
                host.stopped = True
            else:
                host.die() if how == 'die' else host.cut()
            host.run(moment / 100.0)
            host.restart_agent(forgetful=forgets)
            host.run(60.0)
            self.assertTrue(host.well(), (moment, forgets, how, host))

    def test_a_server_that_was_started_and_not_connected_is_got_rid_of(
            self) -> None:
        host = self.host()
        host.die()
        host.step()
        host.linked = False
        host.restart_agent(forgetful=True)
        host.run(60.0)
        self.assertTrue(host.well())
        self.assertEqual(1, host.did.count('Kill'))
