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
"""A server that lives, and a connection that has died."""

import dataclasses

from os_brick_healer.engine import verdict
from os_brick_healer.mapping import decide, learn, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import world

Phase = verdict.Phase
PROVE = model.Prove(volume=world.KEY, device='nbd3',
                    server=world.server().process)


def judge(at: model.Seen, memory: model.Memory | None = None,
          ) -> model.Verdict:
    return decide.decide(at, memory or world.known(), world.POLICY)


class CutOffTest(base.TestCase):
    def test_a_server_may_take_a_moment_to_end(self) -> None:
        found = judge(world.seen(link_dead_s=999.9))
        self.assertEqual((Phase.DEGRADED, None), (found.phase, found.action))

    def test_one_that_stays_without_a_connection_is_killed(self) -> None:
        action = judge(world.seen(link_dead_s=998.0)).action
        assert isinstance(action, model.Kill)
        self.assertFalse(action.hung)

    def test_the_death_of_the_connection_before_this_one_is_old_news(
            self) -> None:
        self.assertIsNone(judge(world.seen(link_dead_s=499.0)).action)

    def test_a_death_that_is_told_late_does_not_cost_the_next_server(
            self) -> None:
        healed = world.known(linked_s=997.0, proven_s=997.5)
        late = world.seen(link_dead_s=997.9)
        self.assertIsInstance(judge(late, healed).action, model.Prove)
        read = learn.learn(healed, PROVE, verdict.Outcome(changed=False),
                           1000.2, world.POLICY, begun_s=1000.0)
        self.assertIs(Phase.HEALTHY, judge(late, read).phase)
        unsent = dataclasses.replace(late, unread_s=999.0, unsent=True)
        self.assertIsInstance(judge(unsent, healed).action, model.Kill)

    def test_a_death_that_is_heard_late_may_be_of_the_one_before(
            self) -> None:
        """The agent did not run for half a minute."""
        healed = world.known(linked_s=970.0, proven_s=970.1)
        at_once = world.seen(link_dead_s=999.0, died_after_s=972.0)
        self.assertIsInstance(judge(at_once, healed).action, model.Kill)
        late = dataclasses.replace(at_once, died_after_s=971.9)
        self.assertIsInstance(judge(late, healed).action, model.Prove)

    def test_a_read_that_could_not_be_tried_is_tried_again(self) -> None:
        healed = world.known(linked_s=997.0, proven_s=997.5)
        failed = world.seen(link_dead_s=997.9, unread_s=999.0)
        self.assertIsNone(judge(failed, healed).action)
        later = dataclasses.replace(failed, now_s=1002.0)
        self.assertIsInstance(judge(later, healed).action, model.Prove)
        for_ever = dataclasses.replace(failed, now_s=1050.0)
        self.assertIsInstance(judge(for_ever, healed).action, model.Kill)

    def test_a_connection_may_have_died_since_a_read_was_begun(
            self) -> None:
        half = model.Memory(server=world.server().process, server_s=990.0)
        read = learn.learn(half, PROVE, verdict.Outcome(changed=False),
                           1000.0, world.POLICY, begun_s=996.0)
        died = world.seen(link_dead_s=997.0)
        self.assertIsInstance(judge(died, read).action, model.Prove)

    def test_a_server_that_is_sent_nothing_is_killed(self) -> None:
        half = model.Memory(server=world.server().process, server_s=990.0)
        self.assertIsInstance(judge(world.seen(), half).action, model.Prove)
        action = judge(world.seen(unread_s=999.0, unsent=True), half).action
        assert isinstance(action, model.Kill)
        self.assertFalse(action.hung)

    def test_a_server_that_was_sent_the_read_is_waited_for(self) -> None:
        half = model.Memory(server=world.server().process, server_s=990.0)
        found = judge(world.seen(unread_s=999.5, now_s=1000.0), half)
        self.assertEqual((Phase.STALLED, None), (found.phase, found.action))

    def test_who_answers_is_read_from_until_a_read_comes_back(self) -> None:
        """A death may have gone unheard since a read was sent."""
        slow = world.waiting(for_s=30.0, answer=model.Answer(
            asked_s=999.5, alive=True))
        sent = world.known(linked_s=900.0, proven_s=None)
        self.assertIsNone(judge(slow, world.known()).action)
        found = judge(slow, sent)
        self.assertEqual(PROVE, found.action)
        self.assertIn('the storage behind it is slow', found.sentence)
        self.assertIsNone(judge(
            dataclasses.replace(slow, unread_s=998.5), sent).action)

    def test_who_answers_and_is_sent_nothing_any_more_is_cut_off(
            self) -> None:
        sent = world.known(linked_s=996.0, proven_s=None)
        for for_s, unread_s, unsent, proven_s, kills in (
                (20.0, 999.0, True, None, True),
                (19.9, 999.0, True, None, False),
                (20.0, 999.0, False, None, False),
                (20.0, 996.0, True, None, False),
                (20.0, 996.1, True, None, True),
                (20.0, 999.0, True, 997.0, False)):
            action = judge(
                world.waiting(
                    for_s=for_s, unread_s=unread_s, unsent=unsent,
                    answer=model.Answer(asked_s=999.5, alive=True)),
                dataclasses.replace(sent, proven_s=proven_s)).action
            self.assertIs(kills, isinstance(action, model.Kill))
            if isinstance(action, model.Kill):
                self.assertFalse(action.hung)

    def test_a_death_that_went_unheard_is_found_by_a_later_read(
            self) -> None:
        """The kernel dropped what it had to tell, and the connection was cut
        when our own read had just gone through it."""
        host = world.Host()
        host.run(5.0)
        host.slow = True
        host.memory = dataclasses.replace(
            host.memory, linked_s=None, proven_s=None)
        host.step()
        self.assertEqual('Prove', host.did[-1])
        host.slow, host.linked, host.left = False, False, True
        host.tick(0.1)
        host.run(60.0)
        self.assertTrue(host.well())
        self.assertEqual(['Kill', 'Serve'], [
            did for did in host.did if did in ('Kill', 'Serve')][-2:])

    def test_a_death_that_is_heard_before_the_heal_is_learned_is_found(
            self) -> None:
        """The agent did not run while the heal ended and the connection it
        had given was cut: the death looks older than the connection."""
        host = world.Host()
        host.run(5.0)
        host.die()
        serve = model.Serve(volume=world.KEY, device='nbd3', mounter='nbd')
        outcome = host.effect(serve)
        host.cut()
        host.tick(0.1)
        host.concluded(serve, outcome, world.POLICY)
        host.tick(0.1)
        host.did.clear()
        host.run(30.0)
        self.assertTrue(host.well())
        self.assertEqual(['Prove', 'Kill', 'Serve'], host.did[:3])

    def test_who_was_given_a_connection_is_killed_if_nothing_is_sent(
            self) -> None:
        """While requests are under way a read may have to wait to be sent:
        the server takes no more, for as long as its storage is slow."""
        given = world.known(server_s=990.0, linked_s=990.0, proven_s=None)
        for count, now_s, unread_s, unsent, kills in (
                (0, 1000.0, 999.0, True, True),
                (1, 1000.0, 999.0, True, False),
                (0, 1000.0, 999.0, False, False),
                (0, 992.0, 990.0, True, False),
                (0, 992.0, 990.1, True, True),
                (0, 1000.0, 995.0, True, True),
                (0, 1000.0, 994.9, True, False)):
            action = judge(dataclasses.replace(
                world.waiting(count=count, for_s=1.9), now_s=now_s,
                unread_s=unread_s, unsent=unsent), given).action
            self.assertIs(kills, isinstance(action, model.Kill))
            if isinstance(action, model.Kill):
                self.assertFalse(action.hung)

    def test_a_server_we_connected_is_not_killed_for_slow_storage(
            self) -> None:
        linked = model.Memory(server=world.server().process, server_s=900.0,
                              linked_s=900.0)
        found = judge(world.seen(unread_s=999.9), linked)
        self.assertNotIsInstance(found.action, model.Kill)
