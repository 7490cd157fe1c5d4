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
"""The wing and the loop over a host of plain files, on a clock of ours."""

from collections.abc import Iterable
import dataclasses

from os_brick_healer.provisioner import base as prov
from os_brick_healer.replica import model, probe
from os_brick_healer.tests.unit.replica import wing_world, world


class WingTest(wing_world.WingCase):

    def test_without_a_volume_the_pulse_is_read_once_a_second(self) -> None:
        self.assertEqual(1.0, self.wing._poll_s())

    def test_a_lost_leg_is_replaced_from_end_to_end(self) -> None:
        self.run_until(lambda: False, 5.0)
        self.assertEqual(('healthy', world.POLICY.poll_s),
                         (self.volume()['phase'], self.wing._poll_s()))
        self.assertEqual([], self.hands.done)
        self.start()
        self.lose(0)
        self.assertTrue(self.run_until(lambda: bool(self.cloud.gone)),
                        str(self.kinds()))
        self.assertEqual(['r-0-0'], self.cloud.gone)
        self.assertEqual(1, len(self.cloud.requests))
        self.assertEqual(
            ['BreakLeg', 'ReportState', 'RequestReplacement', 'Publish',
             'ConnectReplica', 'Examine', 'AddSpare', 'ConfirmRemoval'],
            [k for k in self.kinds() if k != 'DisconnectPaths'])

    def test_an_agent_restarted_every_few_seconds_asks_once(self) -> None:
        self.run_until(lambda: False, 3.0)
        self.lose(0)
        for _ in range(60):
            self.start()
            if self.run_until(lambda: bool(self.cloud.gone), 7.0):
                break
        self.assertEqual(['r-0-0'], self.cloud.gone)
        self.assertEqual(1, len(self.cloud.requests))

    def test_who_has_just_started_asks_for_nothing_in_its_first_seconds(
            self) -> None:
        self.run_until(lambda: False, 3.0)
        self.start()
        self.lose(0)
        self.run_until(lambda: False, world.POLICY.grace_s - 1.0)
        self.assertEqual([], self.cloud.requests)
        self.start()
        self.run_until(lambda: False, 4.0)
        self.assertEqual([], self.cloud.requests, 'it knows too little yet')
        self.start()
        self.assertTrue(self.run_until(lambda: self.cloud.requests != [], 30))

    def test_a_blip_is_re_added(self) -> None:
        self.run_until(lambda: False, 3.0)
        self.start()
        self.lose(0)
        self.run_until(lambda: 'ReportState' in self.kinds(), 60.0)
        self.prober.down.clear()
        self.start()
        self.assertTrue(self.run_until(
            lambda: self.kinds().count('ReportState') == 2, 60.0),
            str(self.kinds()))
        self.assertEqual([], self.cloud.requests)
        self.assertIn('ReAdd', self.kinds())
        self.assertNotIn('AddSpare', self.kinds())

    def test_who_is_looked_at_seldom_still_hears_who_answers(self) -> None:
        """As when hundreds lose a leg at once, and it is one's turn late."""
        look = self.wing.look
        asked_s: dict[prov.Portal, float] = {}

        def late(key: str) -> model.Verdict:
            self.time.now_s += 15.0
            return look(key)

        def ask(portals: Iterable[prov.Portal]) -> None:
            self.prober.asked |= (new := set(portals))
            asked_s.update(dict.fromkeys(new, self.time.now_s))

        def result(portal: prov.Portal) -> probe.Result:
            found = wing_world.Prober.result(self.prober, portal)
            return found if found.answers is None else dataclasses.replace(
                found, age_s=self.time.now_s - asked_s[portal])

        self.run_until(lambda: False, 3.0)
        self.start()
        self.prober.ask = ask  # type: ignore[method-assign]
        self.prober.result = result  # type: ignore[method-assign]
        self.wing.look = late  # type: ignore[method-assign]
        self.lose(0)
        self.assertTrue(self.run_until(
            lambda: 'BreakLeg' in self.kinds(), 200.0), str(self.volume()))

    def test_among_many_who_is_well_is_looked_at_less_often(self) -> None:
        self.run_until(lambda: False, 3.0)
        key = str(self.host.volume(0).id)
        seen = self.wing._seen[key]
        self.assertEqual(300.0, self.wing.look(key).look_again_s)
        self.wing._seen.update((f'vol-{n}', seen) for n in range(1, 500))
        self.assertEqual(1000.0, self.wing.look(key).look_again_s)

    def test_without_the_provisioner_the_dead_leg_is_given_up_and_no_more(
            self) -> None:
        self.run_until(lambda: False, 3.0)
        self.start()
        self.cloud.down = True
        self.lose(0)
        self.run_until(lambda: False, 90.0)
        self.assertEqual([], self.cloud.requests)
        self.assertLessEqual(set(self.kinds()), {'BreakLeg'})

    def test_a_volume_that_nova_lets_go_of_is_not_touched(self) -> None:
        key = self.host.volume(0).id
        self.journal.attach_begin(key, 'vol-0', {}, 1, '1')
        self.journal.attach_done(key)
        self.journal.detach_begin(key)
        self.lose(0)
        self.run_until(lambda: False, 20.0)
        self.assertEqual([], self.hands.done)
        self.assertIn('os-brick is disconnecting',
                      self.volume()['sentence'])

    def test_a_volume_that_is_gone_is_forgotten(self) -> None:
        self.run_until(lambda: False, 3.0)
        self.start()
        self.host.stop_array(0)
        self.cloud.volumes = dict  # type: ignore[method-assign]
        self.run_until(lambda: False, 120.0)
        self.assertEqual([], self.engine.status()['volumes'])

    def test_status_tells_of_legs_portals_and_progress(self) -> None:
        self.host.fail_member(0, self.host.leg(0, 0).device or '')
        self.run_until(self.filling, 60.0)
        told = self.volume()
        self.assertEqual('vol-0', told['alias'])
        self.assertEqual({'r-0-0', 'r-0-1'},
                         {leg['replica'] for leg in told['legs']})
        self.assertTrue(all(leg['portals'] for leg in told['legs']))
        self.assertEqual(
            'a cloud',
            self.engine.status()['agent']['provisioner']['sentence'])
