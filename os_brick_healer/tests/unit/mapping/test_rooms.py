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
"""Each room of the decision says its one thing, from its bound on."""

import dataclasses
import itertools
from typing import Any

from os_brick_healer.engine import verdict
from os_brick_healer.mapping import decide, laws, learn, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import world

Phase = verdict.Phase


def absorb(seen: model.Seen, memory: model.Memory) -> model.Memory:
    return learn.absorb(seen, memory, world.POLICY)
State = model.AttachState
SERVER = world.server().process
SILENT = model.Answer(asked_s=999.0, alive=False, sentence='silence')
SERVE = model.Serve(volume=world.KEY, device='nbd3', mounter='nbd')
PROVE = model.Prove(volume=world.KEY, device='nbd3', server=SERVER)


class RoomsCase(base.TestCase):

    def judge(self, at: model.Seen, memory: model.Memory | None = None,
              policy: model.Policy = world.POLICY) -> model.Verdict:
        return decide.decide(at, memory or world.known(), policy)

    def told(self, at: model.Seen, memory: model.Memory | None = None,
             policy: model.Policy = world.POLICY) -> tuple[Any, ...]:
        found = self.judge(at, memory, policy)
        return (found.phase, found.law, found.look_again_s, found.action)


class RestTest(RoomsCase):
    """What must not be touched is settled first."""

    def test_what_is_well_or_gone_is_looked_at_seldom(self) -> None:
        self.assertEqual((Phase.HEALTHY, None, 60.0, None),
                         self.told(world.seen()))
        self.assertEqual((Phase.GONE, None, 60.0, None),
                         self.told(world.seen(attachment=None)))

    def test_hands_off_only_while_a_connector_is_at_work(self) -> None:
        for state, alive in itertools.product(State, (True, False)):
            held = state is not State.ATTACHED and (
                alive or state is State.DISCONNECTING)
            self.assertEqual(
                (Phase.HELD, 'connector', 1.0, None) if held
                else (Phase.HEALTHY, None, 60.0, None),
                self.told(world.seen(attachment=world.attachment(
                    state=state, owner_alive=alive))))

    def test_what_only_a_person_can_mend_is_looked_at_now_and_then(
            self) -> None:
        for law, mapping in (
                ('connector', None),
                ('connector', world.mapping(order=world.order(device=None))),
                ('mounter', world.mapping(abilities=None))):
            self.assertEqual(
                (Phase.BROKEN, law, 20.0, None), self.told(world.seen(
                    attachment=world.attachment(mapping=mapping))))
        for law, device in (
                ('unmapped', None),
                ('unmapped', world.device(connected=False)),
                ('cookie', world.device(cookie=world.OTHER))):
            self.assertEqual((Phase.BROKEN, law, 20.0, None),
                             self.told(world.seen(device=device)))

    def test_a_pause_takes_the_action_and_keeps_the_law(self) -> None:
        self.assertEqual((Phase.HELD, 'serve', 1.0, None), self.told(
            world.seen(server=None, paused='by ann')))
        self.assertEqual((Phase.HEALTHY, None, 60.0, None), self.told(
            world.seen(paused='by ann')))

    def test_a_timer_is_set_back_and_one_that_is_unknown_is_not(
            self) -> None:
        self.assertEqual(
            (Phase.HEALTHY, 'timer', 60.0, model.SetTimer(
                volume=world.KEY, device='nbd3', timer_ms=1000)),
            self.told(world.seen(device=world.device(timer_ms=999))))
        self.assertIsNone(self.judge(world.seen(
            device=world.device(timer_ms=None))).action)


class NoServerTest(RoomsCase):

    def test_a_new_one_is_given_the_time_of_a_heal(self) -> None:
        self.assertEqual((Phase.HEALING, 'serve', 15.0, SERVE),
                         self.told(world.seen(server=None)))

    def test_of_a_heal_that_nobody_notices_no_loss_is_told(self) -> None:
        self.assertEqual(
            'no process serves nbd3: a new one is started',
            self.judge(world.seen(server=None)).sentence)

    def test_each_try_begins_at_its_moment(self) -> None:
        for refused, phase, law in ((None, Phase.STALLED, 'serve'),
                                    ('gone', Phase.BROKEN, 'refused')):
            for next_s in (999.5, 1000.0, 1000.5):
                memory = world.known(
                    lost_s=990.0, next_try_s=next_s, refused=refused)
                self.assertEqual(
                    (phase, law, 0.5, None) if next_s > 1000.0
                    else (Phase.HEALING, 'serve', 15.0, SERVE),
                    self.told(world.seen(server=None), memory))

    def test_data_that_is_gone_is_asked_for_every_five_minutes(self) -> None:
        self.assertEqual(300.0, learn.REFUSED_S)
        self.assertEqual(
            [0.0, 0.25, 0.5, 1.0, 16.0, 30.0],
            [learn.retry_s(n, world.POLICY) for n in (0, 1, 2, 3, 7, 8)])

    def test_one_that_is_dying_is_looked_at_again_at_once(self) -> None:
        dying = dataclasses.replace(world.server(), dying=True)
        self.assertEqual((Phase.STALLED, 'serve', 0.1, None),
                         self.told(world.seen(server=dying)))

    def test_a_server_that_is_back_by_itself_is_lost_no_more(self) -> None:
        memory = world.known(lost_s=990.0)
        self.assertEqual(world.known(), absorb(world.seen(), memory))
        gone = world.seen(server=None)
        self.assertEqual(memory, absorb(gone, memory))

    def test_who_ends_soon_again_and_again_is_followed_after_a_pause(
            self) -> None:
        """It may end of a request that comes anew each time."""
        self.assertEqual((10.0, 3), (learn.SHORT_S, learn.SHORT_FREE))
        for short, next_s in ((0, 0.0), (2, 0.0), (3, 1000.25), (4, 1000.5),
                              (9, 1016.0), (10, 1030.0), (99, 1030.0)):
            died = absorb(world.seen(server=None), world.known(
                server_s=990.1, short=short))
            self.assertEqual((short + 1, next_s),
                             (died.short, died.next_try_s))
            self.assertIs(next_s > 0.0, died.last_error is not None)
            found = self.judge(world.seen(server=None), died)
            self.assertIs(next_s > 0.0, found.action is None)
        self.assertIn('10 servers have served for less than 10 s each', (
            absorb(world.seen(server=None), world.known(
                server_s=995.0, short=9)).last_error or ''))
        later = absorb(world.seen(server=None), world.known(
            server_s=995.0, short=3, next_try_s=1007.0))
        self.assertEqual(1007.0, later.next_try_s)

    def test_who_has_served_for_a_while_is_followed_at_once(self) -> None:
        for short, memory in (
                (9, world.known(server_s=990.0, short=9)),
                (9, world.known(server_s=940.1, short=9)),
                (0, world.known(server_s=940.0, short=9)),
                (0, world.known(server=None, server_s=995.0, short=9))):
            died = absorb(world.seen(server=None), memory)
            self.assertEqual((short, 0.0), (died.short, died.next_try_s))

    def test_of_many_deaths_the_last_are_kept(self) -> None:
        many = tuple(float(n) for n in range(model.DEATHS_MAX))
        self.assertEqual((*many[1:], 1000.0), absorb(
            world.seen(server=None), world.known(deaths_s=many)).deaths_s)
        self.assertEqual(32, model.DEATHS_MAX)

    def test_of_a_server_that_is_found_nothing_is_known(self) -> None:
        self.assertEqual(
            world.known(server=SERVER, server_s=1000.0, found=True,
                        linked_s=None, proven_s=None, fenced=None),
            absorb(world.seen(), world.known(
                server=world.server(7).process, fenced='x', lost_s=9.0)))


class HangTest(RoomsCase):
    asking = (Phase.STALLED, 'hang', 0.5, None)

    def kill(self, hung: bool, why: str) -> tuple[Any, ...]:
        return (Phase.STALLED, 'hang', 15.0, model.Kill(
            volume=world.KEY, device='nbd3', server=SERVER, hung=hung,
            why=why))

    def test_from_its_bound_on_it_is_asked(self) -> None:
        self.assertEqual(self.asking, self.told(world.waiting(for_s=2.0)))
        self.assertEqual(Phase.HEALTHY,
                         self.judge(world.waiting(for_s=1.99)).phase)

    def test_who_is_stopped_hangs(self) -> None:
        self.assertEqual(
            self.kill(True, '3 requests of nbd3 have waited for 10.0 s: it '
                      'is stopped'),
            self.told(world.waiting(server=world.server(stopped=True))))

    def test_an_answer_counts_for_five_seconds_and_not_from_before(
            self) -> None:
        dead = self.kill(True, '3 requests of nbd3 have waited for 10.0 s, '
                               'and it does not answer: silence')
        for asked_s, for_s, counts in (
                (995.0, 10.0, True), (994.9, 10.0, False),
                (996.0, 4.0, True), (996.0, 3.9, False)):
            found = self.told(world.waiting(
                for_s=for_s, answer=dataclasses.replace(
                    SILENT, asked_s=asked_s)))
            self.assertEqual(
                dead[:3] if counts else self.asking[:3], found[:3])
            self.assertIs(counts, found[3] is not None)
        self.assertEqual(dead, self.told(world.waiting(answer=SILENT)))

    def test_slow_storage_is_looked_at_every_other_second(self) -> None:
        for alive in (True, None):
            self.assertEqual(
                (Phase.STALLED, 'hang', 2.0, None),
                self.told(world.waiting(answer=dataclasses.replace(
                    SILENT, alive=alive))))

    def test_whose_connection_is_not_known_to_lead_there_does_not_hang(
            self) -> None:
        unknown = world.known(linked_s=None, proven_s=None)
        self.assertIsInstance(self.judge(
            world.waiting(answer=SILENT), unknown).action, model.Prove)
        for link_s, proven_s, dead_s, hangs in (
                (500.0, None, None, True), (None, 500.0, None, True),
                (500.0, None, 500.0, True), (500.0, 700.0, 501.0, False),
                (None, 500.0, 501.0, False)):
            found = self.judge(
                world.waiting(answer=SILENT, link_dead_s=dead_s),
                world.known(linked_s=link_s, proven_s=proven_s))
            self.assertIs(hangs, isinstance(found.action, model.Kill)
                          and found.action.hung)

    def test_a_killing_that_failed_waits_for_its_moment(self) -> None:
        for next_s, kills in ((1000.0, True), (1000.5, False)):
            found = self.judge(world.waiting(answer=SILENT),
                               world.known(next_try_s=next_s))
            self.assertEqual(
                (Phase.STALLED, 'hang', 15.0 if kills else 0.5, kills),
                (found.phase, found.law, found.look_again_s,
                 found.action is not None))


class CutOffTest(RoomsCase):
    """Its server has been there since 500, the connection since then."""

    def test_it_may_take_half_a_second_to_end(self) -> None:
        for dead_s, look_s in ((1000.0, 0.5), (999.75, 0.25),
                               (999.51, 0.02)):
            found = self.judge(world.seen(link_dead_s=dead_s))
            self.assertEqual((Phase.DEGRADED, 'hang', None), (
                found.phase, found.law, found.action))
            self.assertAlmostEqual(look_s, found.look_again_s)
        self.assertEqual(
            (Phase.STALLED, 'hang', 15.0, model.Kill(
                volume=world.KEY, device='nbd3', server=SERVER, hung=False,
                why='the kernel has lost its connection to it')),
            self.told(world.seen(link_dead_s=999.5)))

    def test_a_connection_that_was_given_since_is_another(self) -> None:
        for memory in (world.known(linked_s=999.0),
                       world.known(linked_s=None, server_s=999.0)):
            self.assertIsNone(self.judge(
                world.seen(link_dead_s=999.0), memory).action)
            self.assertIsNotNone(self.judge(
                world.seen(link_dead_s=999.25), memory).action)

    def test_for_two_seconds_it_may_be_the_one_before(self) -> None:
        for dead_s, proves in ((502.0, False), (501.9, True)):
            self.assertEqual(
                (Phase.DEGRADED, 'prove', 2.0, PROVE) if proves else
                (Phase.STALLED, 'hang'),
                self.told(world.seen(link_dead_s=dead_s))[
                    :4 if proves else 2])

    def test_a_read_shows_that_there_is_none(self) -> None:
        """It was given up after the death; sent it was not, or for long."""
        memory = world.known(linked_s=980.0)
        for dead_s, unread_s, unsent, found in (
                (981.0, None, True, model.Prove),
                (981.0, 981.0, True, model.Kill),
                (981.0, 980.9, True, model.Prove),
                (981.0, 990.0, False, model.Kill)):
            self.assertIsInstance(self.judge(world.seen(
                link_dead_s=dead_s, unread_s=unread_s, unsent=unsent),
                memory).action, found)
        for now_s, kills in ((991.0, False), (991.1, True)):
            self.assertIs(kills, isinstance(self.judge(world.seen(
                link_dead_s=981.0, unread_s=982.0, now_s=now_s),
                memory).action, model.Kill))

    def test_a_read_is_not_tried_twice_in_two_seconds(self) -> None:
        memory = world.known(linked_s=998.0)
        for unread_s, proves in ((998.0, True), (998.1, False),
                                 (1000.0, False)):
            self.assertEqual(
                (Phase.DEGRADED, 'prove', 2.0, PROVE if proves else None),
                self.told(world.seen(link_dead_s=998.5,
                                     unread_s=unread_s), memory))


class UnprovenTest(RoomsCase):
    half = world.known(server_s=990.0, linked_s=None, proven_s=None)

    def test_a_read_shows_whether_it_serves(self) -> None:
        for found in (False, True):
            self.assertEqual(
                (Phase.HEALING, 'prove', 5.0,
                 dataclasses.replace(PROVE, fence=found)),
                self.told(world.seen(), dataclasses.replace(
                    self.half, found=found)))

    def test_a_read_that_was_given_up_is_tried_again_in_two_seconds(
            self) -> None:
        for unread_s, waits in ((998.0, False), (998.1, True),
                                (1000.0, True)):
            self.assertEqual(
                (Phase.STALLED, 'prove', 2.0, None) if waits else
                (Phase.HEALING, 'prove', 5.0, PROVE),
                self.told(world.seen(unread_s=unread_s), self.half))

    def test_what_was_given_up_at_the_boot_is_like_any_other(self) -> None:
        booted = dataclasses.replace(self.half, server_s=0.0)
        for now_s, waits in ((1.5, True), (2.5, False)):
            self.assertIs(waits, self.judge(world.seen(
                now_s=now_s, unread_s=0.0), booted).action is None)

    def test_only_what_was_given_up_since_it_is_there_says_anything(
            self) -> None:
        for unread_s, unsent, linked_s, kills in (
                (990.0, True, None, True), (989.9, True, None, False),
                (990.0, False, None, False), (990.0, True, 990.0, False)):
            found = self.judge(
                world.seen(now_s=995.0, unread_s=unread_s, unsent=unsent),
                dataclasses.replace(self.half, linked_s=linked_s)).action
            self.assertIs(kills, isinstance(found, model.Kill))
            if isinstance(found, model.Kill):
                self.assertFalse(found.hung)
        later = self.judge(world.seen(now_s=995.1, unread_s=990.0,
                                      unsent=True), self.half)
        self.assertEqual(PROVE, later.action)
        soon = dataclasses.replace(self.half, server_s=999.5)
        self.assertIsNotNone(self.judge(
            world.seen(unread_s=999.0), soon).action)


class SilentTest(RoomsCase):

    def test_who_says_nothing_is_read_from(self) -> None:
        self.assertEqual((Phase.DEGRADED, 'prove', 1.0, PROVE),
                         self.told(world.seen(answer=SILENT)))

    def test_an_answer_counts_for_five_seconds(self) -> None:
        for asked_s, reads in ((995.0, True), (994.9, False)):
            self.assertIs(reads, self.judge(world.seen(
                answer=dataclasses.replace(SILENT, asked_s=asked_s))).action
                is not None)

    def test_one_read_for_each_question(self) -> None:
        for unread_s, reads in ((None, True), (998.9, True),
                                (999.0, False), (999.5, False)):
            self.assertIs(reads, self.judge(world.seen(
                answer=SILENT, unread_s=unread_s)).action is not None)

    def test_while_requests_wait_it_is_a_hang_or_none(self) -> None:
        self.assertIsNone(self.judge(world.waiting(
            for_s=1.0, answer=SILENT)).action)


class PermittedTest(base.TestCase):

    def test_from_the_first_moment_that_nothing_ends_it_may_be_killed(
            self) -> None:
        kill = model.Kill(volume=world.KEY, device='nbd3', hung=True,
                          why='x', server=SERVER)
        for for_s, permitted in ((0.0, False), (0.1, True)):
            self.assertIs(permitted, laws.permits(kill, world.waiting(
                for_s=for_s, answer=SILENT)) is None)

    def test_what_is_not_said_is_as_the_documentation_has_it(self) -> None:
        self.assertEqual(
            (15.0, 5.0, 2.0, 1.0, 0.5, 30.0, 60.0, 8),
            dataclasses.astuple(model.Policy()))
        self.assertEqual(
            (None, 0.0, False, None, None, None, 0, 0.0, (), 0, 0, None, None,
             None), dataclasses.astuple(model.Memory()))
        seen = world.seen()
        self.assertEqual((None, None, None, False, None, None), (
            seen.link_dead_s, seen.answer, seen.unread_s, seen.unsent,
            seen.paused, seen.elsewhere))

    def test_bounds_just_beyond_are_refused(self) -> None:
        for name, value in (
                ('answer_s', 60.1), ('answer_s', 0.04), ('hang_s', 600.1),
                ('hang_s', 0.09), ('proof_s', 15.1), ('proof_s', 0.09),
                ('settle_s', 2.1), ('settle_s', -0.1)):
            self.assertRaises(ValueError, model.Policy, **{name: value})
        self.assertEqual(0.0, model.Policy(settle_s=0.0).settle_s)
