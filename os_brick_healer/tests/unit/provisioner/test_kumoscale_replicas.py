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
"""Replicas of KumoScale are asked for once, and let go when it is time."""

from typing import Any

from bed.guest import provisioner as array
from os_brick_healer import exception
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.provisioner import kumoscale
from os_brick_healer.testing import conformance
from os_brick_healer.tests.unit.provisioner import kumoscale_case

HERE = kumoscale_case.HERE


class ReplacementTest(kumoscale_case.KumoScaleTestCase):
    def by_clock(self, now_s: list[float]
                 ) -> kumoscale.KumoScaleProvisioner:
        """A plugin whose time is the one number of a list."""
        ours = kumoscale.KumoScaleProvisioner(
            self.world.conf(), HERE, clock=lambda: now_s[0])
        self.addCleanup(ours.close)
        ours.probe()
        return ours

    def test_the_lost_replica_is_marked_before_another_is_made(self) -> None:
        name, legs = self.one_volume()
        self.ours.request_replacement(
            name, provisioner.ReplicaId(legs[0]), 'r1')
        self.assertEqual('Missing', self.states(name)[legs[0]])
        self.assertEqual(3, len(self.states(name)))

    def test_a_replacement_under_way_is_enough(self) -> None:
        # As after a restart that forgot that it had asked.
        name, legs = self.one_volume()
        lost = provisioner.ReplicaId(legs[0])
        self.ours.request_replacement(name, lost, 'r1')
        fresh = self.array.volume(name).legs[2]
        self.array.set_state(name, fresh, 'Synchronizing')
        self.plugin(HERE).request_replacement(name, lost, 'r1')
        self.assertEqual(3, len(self.states(name)))

    def test_two_lost_legs_get_a_replica_each(self) -> None:
        name, legs = self.one_volume(replicas=3)
        first, second, _ = map(provisioner.ReplicaId, legs)
        self.ours.request_replacement(name, first, 'r1')
        error = self.assertRaises(
            exception.ProvisionerError, self.ours.request_replacement, name,
            second, 'r2')
        self.assertIn('as many as KumoScale allows', str(error))
        self.assertTrue(error.transient)
        self.ours.confirm_removal(name, first)
        self.ours.request_replacement(name, second, 'r2')
        self.assertEqual(4, len(self.states(name)))
        self.assertEqual([], self.array.violations)

    def test_a_lost_answer_is_not_followed_by_a_second_request(self) -> None:
        name, legs = self.one_volume()
        lost = provisioner.ReplicaId(legs[0])
        self.array.replica_lag_s = 2.0
        with self.world.lost_answer():
            self.assertRaises(
                exception.ProvisionerUnreachable,
                self.ours.request_replacement, name, lost, 'r1')
        # Still not: a caller that has been restarted must not send it soon.
        error = self.assertRaises(
            exception.ProvisionerUnreachable,
            self.ours.request_replacement, name, lost, 'r1')
        self.assertIn('again yet', str(error))
        self.assertEqual(3, len(self.array.volume(name).replicas))

    def test_what_was_never_sent_leaves_no_doubt(self) -> None:
        name, legs = self.one_volume()
        lost = provisioner.ReplicaId(legs[0])
        for kind in (conformance.Trouble.DOWN, conformance.Trouble.GARBAGE):
            with self.world.trouble(kind):
                self.assertRaises(
                    exception.ProvisionerUnasked,
                    self.ours.request_replacement, name, lost, 'r1')
        # Of one that was sent before, the next try tells nothing.
        with self.world.lost_answer():
            self.assertRaises(
                exception.ProvisionerUnreachable,
                self.ours.request_replacement, name, lost, 'r1')
        with self.world.trouble(conformance.Trouble.GARBAGE):
            error = self.assertRaises(
                exception.ProvisionerError, self.ours.request_replacement,
                name, lost, 'r1')
            self.assertNotIsInstance(error, exception.ProvisionerUnasked)
        self.assertEqual(3, len(self.states(name)))

    def test_what_came_to_nothing_is_sent_again_by_its_own_clock(
            self) -> None:
        now_s = [5.0]
        ours = self.by_clock(now_s)
        name, legs = self.one_volume()
        lost = provisioner.ReplicaId(legs[0])
        self.array.replica_lag_s = 1e6
        with self.world.lost_answer():
            self.assertRaises(
                exception.ProvisionerUnreachable,
                ours.request_replacement, name, lost, 'r1')
        now_s[0] += kumoscale.UNCERTAIN_S - 0.5
        self.assertRaises(exception.ProvisionerError,
                          ours.request_replacement, name, lost, 'r1')
        self.assertEqual(3, len(self.array.volume(name).replicas))
        now_s[0] += 1.0
        ours.request_replacement(name, lost, 'r1')
        self.assertEqual(4, len(self.array.volume(name).replicas))

    def test_what_was_accepted_and_forgotten_is_sent_again(self) -> None:
        now_s = [5.0]
        ours = self.by_clock(now_s)
        name, legs = self.one_volume()
        lost = provisioner.ReplicaId(legs[0])
        ours.request_replacement(name, lost, 'r1')
        # As a provisioner that was restarted just then.
        del self.array.volume(name).replicas[2]
        ours.request_replacement(name, lost, 'r1')
        self.assertEqual(2, len(self.array.volume(name).replicas))
        now_s[0] += kumoscale.UNCERTAIN_S + 1.0
        ours.request_replacement(name, lost, 'r1')
        new = self.array.volume(name).legs[2]
        self.array.set_state(name, new, 'Synchronizing')
        now_s[0] += kumoscale.UNCERTAIN_S + 1.0
        ours.request_replacement(name, lost, 'r1')
        self.assertEqual(3, len(self.array.volume(name).replicas))
        # Who calls again though it is in use has taken it for another's.
        self.array.set_state(name, new, 'Available')
        ours.request_replacement(name, lost, 'r1')
        self.assertEqual(4, len(self.array.volume(name).replicas))

    def test_a_replica_that_was_left_out_is_no_replacement(self) -> None:
        name, legs = self.one_volume()
        lost = provisioner.ReplicaId(legs[0])
        replicas = self.array.volume(name).replicas
        left_out = replicas.pop()
        self.array.set_state(name, legs[0], 'Missing')
        # There is nothing to copy from: refused.
        self.assertRaises(exception.ProvisionerError,
                          self.ours.request_replacement, name, lost, 'r1')
        replicas.append(left_out)
        self.ours.request_replacement(name, lost, 'r1')
        self.assertEqual(3, len(self.states(name)))

    def test_nor_is_one_that_was_left_out_of_a_request_in_doubt(
            self) -> None:
        now_s = [5.0]
        ours = self.by_clock(now_s)
        self.array.replica_lag_s = 1e6
        for state in ('Available', 'Missing'):
            name, legs = self.one_volume(replicas=3)
            replicas = self.array.volume(name).replicas
            left_out = replicas.pop()
            lost = provisioner.ReplicaId(legs[0])
            with self.world.lost_answer():
                self.assertRaises(
                    exception.ProvisionerUnreachable,
                    ours.request_replacement, name, lost, f'r-{state}')
            replicas[2:] = [left_out]       # it came to nothing
            self.array.set_state(name, left_out.id, state)
            now_s[0] += kumoscale.UNCERTAIN_S + 1.0
            ours.request_replacement(name, lost, f'r-{state}')
            self.assertEqual(4, len(replicas))

    def test_no_room_is_said_and_may_be_tried_again(self) -> None:
        name, legs = self.one_volume()
        for backend in self.world.storage.backends:
            self.array.backend_states[backend.id] = 'Missing'
        for _ in range(2):
            error = self.assertRaises(
                exception.ProvisionerError, self.ours.request_replacement,
                name, provisioner.ReplicaId(legs[0]), 'r1')
            self.assertIn('no back end has room', str(error))
        self.array.backend_states.clear()
        self.ours.request_replacement(
            name, provisioner.ReplicaId(legs[0]), 'r1')
        self.assertEqual(3, len(self.states(name)))


class _WantedArray(array.Provisioner):
    """Its ``numReplicas`` is how many replicas there should be."""

    def volume_json(self, volume: array.Volume) -> dict[str, Any]:
        return {**super().volume_json(volume), 'numReplicas': 2}


class WantedReplicasTest(kumoscale_case.KumoScaleTestCase):
    options = {'array_type': _WantedArray}

    def test_a_replacement_that_is_lost_is_replaced_itself(self) -> None:
        name, legs = self.one_volume()
        self.ours.request_replacement(
            name, provisioner.ReplicaId(legs[0]), 'r1')
        fresh = provisioner.ReplicaId(self.array.volume(name).legs[2])
        self.ours.report(name, fresh, provisioner.ReplicaState.MISSING)
        self.plugin(HERE).request_replacement(name, fresh, 'r2')
        self.assertEqual(4, len(self.states(name)))

    def test_a_replacement_that_has_come_is_enough(self) -> None:
        name, legs = self.one_volume()
        lost = provisioner.ReplicaId(legs[0])
        self.ours.request_replacement(name, lost, 'r1')
        self.plugin(HERE).request_replacement(name, lost, 'r1')
        self.assertEqual(3, len(self.states(name)))


class RemovalTest(kumoscale_case.KumoScaleTestCase):
    def test_the_last_good_replica_is_never_removed(self) -> None:
        name, legs = self.one_volume()
        self.array.set_state(name, legs[1], 'Missing')
        self.assertRaises(
            exception.ProvisionerRefused, self.ours.confirm_removal, name,
            provisioner.ReplicaId(legs[0]))
        self.assertEqual(2, len(self.states(name)))
        self.assertEqual([], self.array.violations)

    def test_a_replica_that_is_marked_already_is_confirmed(self) -> None:
        name, legs = self.one_volume(replicas=3)
        self.array.mark_for_deletion(name, legs[0])
        self.ours.confirm_removal(name, provisioner.ReplicaId(legs[0]))
        self.assertEqual(0, self.world.server.count('mark_replica'))
        self.assertEqual(2, len(self.states(name)))
