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
"""What may have become of a leg while nobody looked."""

import dataclasses
from typing import Any

from os_brick_healer import exception
from os_brick_healer.engine import limits
from os_brick_healer.replica import model, observe, recall
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import wing_world, world

A, B = model.ReplicaId('a'), model.ReplicaId('b')
GRACE_S = world.POLICY.grace_s
LONG_S = recall.UNWATCHED_S + 0.1
MEMORY = model.Memory(replicas={
    A: model.ReplicaMemory(unreachable_s=900.0, belongs=True),
    B: model.ReplicaMemory(belongs=True)})


class UnwatchedTest(base.TestCase):

    def since_s(self, looked_s: float,
                memory: model.Memory = MEMORY) -> float | None:
        after = recall.unwatched(memory, looked_s, 1000.0)
        self.assertEqual(MEMORY.replicas[B], after.replicas[B])
        return after.replicas[A].unreachable_s

    def test_who_looks_all_the_time_sees_a_leg_come_and_go(self) -> None:
        self.assertEqual(900.0, self.since_s(1000.0 - recall.UNWATCHED_S))

    def test_after_a_long_time_without_a_look_the_grace_starts_anew(
            self) -> None:
        self.assertEqual(1000.0, self.since_s(1000.0 - LONG_S))

    def test_that_of_a_leg_that_was_out_goes_on(self) -> None:
        out = dataclasses.replace(MEMORY, replicas={
            **MEMORY.replicas, A: dataclasses.replace(
                MEMORY.replicas[A], lost_s=901.0)})
        self.assertEqual(900.0, self.since_s(1000.0 - LONG_S, out))


class NobodyLooksTest(wing_world.WingCase):
    """Both legs are silent for as long as the grace; then one is back."""

    def setUp(self) -> None:
        super().setUp()
        self.run_until(lambda: False, 3.0)
        self.lose(0)
        self.lose(1)

    def live(self, seconds: float) -> bool:
        """A life of the agent; whether it asks for a replacement."""
        self.start()
        return self.run_until(lambda: self.cloud.requests != [], seconds)

    def back(self) -> None:
        self.host.lose(0, 1, state='live')
        self.prober.down -= set(self.host.leg(0, 1).replica.portals)

    def pause(self) -> None:
        """A life in which the agent is stopped for a while."""
        held_s = [LONG_S]

        def _stop() -> bool:
            if self.wing._seen and held_s:
                self.time.now_s += held_s.pop()
            return False

        self.start()
        self.run_until(_stop, LONG_S + 2.0)

    def blind(self) -> None:
        """A life in which nothing can be looked at, but for its end."""
        begun_s = self.time.now_s
        self.start()
        look = self.wing._observer.look

        def _look(*args: Any) -> observe.Observation:
            if self.time.now_s - begun_s < LONG_S:
                raise exception.HealerError('cannot read it')
            return look(*args)

        self.wing._observer.look = _look  # type: ignore[assignment]
        self.run_until(lambda: False, 2 * limits.LOOK_REST_LAST_S)

    def test_the_grace_is_over_if_it_was_looked_at(self) -> None:
        self.live(GRACE_S)
        self.back()
        self.assertTrue(self.live(GRACE_S / 2))

    def test_it_has_begun_anew_after_a_pause(self) -> None:
        self.live(GRACE_S - LONG_S)
        self.pause()
        self.back()
        self.assertFalse(self.live(GRACE_S / 2))
        self.assertTrue(self.live(GRACE_S))

    def test_and_after_a_time_in_which_nobody_could_look(self) -> None:
        self.live(1.0)
        self.blind()
        self.back()
        self.assertFalse(self.live(GRACE_S / 4))
        self.assertTrue(self.live(GRACE_S))
