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
from os_brick_healer.engine import verdict
from os_brick_healer.replica import learn, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

NEW = model.ReplicaId('new')
DONE = verdict.Outcome(changed=True)


class PublishTest(base.TestCase):

    def publish(self, memory: model.Memory, now_s: float) -> model.Memory:
        return learn.learn(memory, model.Publish(
            volume=world.KEY, law='', replica=NEW), DONE, now_s,
            world.POLICY)

    def test_the_provisioners_next_words_are_given_time_to_come(self) -> None:
        memory = model.Memory(replicas={NEW: model.ReplicaMemory()})
        after = self.publish(memory, 100.0).replicas[NEW]
        self.assertTrue(after.published)
        self.assertGreater(after.publish_next_s, 100.0)
        # Who knows where it is by then need not wait.
        self.assertEqual(0.0, after.next_try_s)

    def test_a_new_leg_is_not_kept_waiting_for_them_for_long(self) -> None:
        memory = model.Memory(replicas={NEW: model.ReplicaMemory()})
        after = self.publish(memory, 100.0).replicas[NEW]
        self.assertLessEqual(after.publish_next_s, 101.0)

    def test_unheard_of_it_is_published_ever_more_seldom(self) -> None:
        memory, waits = model.Memory(
            replicas={NEW: model.ReplicaMemory()}), []
        for _ in range(6):
            memory = self.publish(memory, 100.0)
            waits.append(memory.replicas[NEW].publish_next_s)
        self.assertEqual(sorted(set(waits)), waits)


class CutTest(base.TestCase):

    def test_a_silent_leg_that_was_cut_is_given_up_at_once(self) -> None:
        silent = world.seen(
            world.leg('a', answers=False, silent_s=5.0), world.leg('b'),
            stuck_s=5.0)
        first = world.decide(silent)
        assert isinstance(first.action, model.CutSilent)
        memory = learn.learn(first.memory, first.action, DONE, silent.now_s,
                             world.POLICY)
        self.assertIsNone(world.decide(silent, memory).action)
        # The kernel has torn it down, and has not tried to reconnect yet.
        gone = world.seen(
            world.leg('a', path='connecting', for_s=0.1, answers=False,
                      silent_s=5.1), world.leg('b'),
            stuck_s=5.1, now_s=silent.now_s + 0.1)
        self.assertIsInstance(world.decide(gone, memory).action,
                              model.BreakLeg)

    def test_one_that_answers_again_has_its_time_to_come_back(self) -> None:
        silent = world.seen(
            world.leg('a', answers=False, silent_s=5.0), world.leg('b'),
            stuck_s=5.0)
        first = world.decide(silent)
        assert isinstance(first.action, model.CutSilent)
        memory = learn.learn(first.memory, first.action, DONE, silent.now_s,
                             world.POLICY)
        back = world.seen(
            world.leg('a', path='connecting', for_s=0.1), world.leg('b'),
            stuck_s=5.1, now_s=silent.now_s + 0.1)
        self.assertIsNone(world.decide(back, memory).action)
