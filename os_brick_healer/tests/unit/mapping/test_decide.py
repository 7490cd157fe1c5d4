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
"""What a look at a mapped volume comes to."""

import dataclasses
import itertools

from hypothesis import given
from hypothesis import strategies as st

from os_brick_healer.engine import verdict
from os_brick_healer.mapping import decide, laws, learn, model
from os_brick_healer.nbd import parse
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import world

Phase = verdict.Phase
AttachState = model.AttachState


def judge(at: model.Seen, memory: model.Memory | None = None,
          ) -> model.Verdict:
    return decide.decide(at, memory or world.known(), world.POLICY)


class LookTest(base.TestCase):
    def test_a_volume_that_is_served_is_healthy(self) -> None:
        found = judge(world.seen())
        self.assertIs(Phase.HEALTHY, found.phase)
        self.assertIsNone(found.action)
        self.assertEqual('nbd3 is served by process 100', found.sentence)

    def test_a_volume_without_a_server_gets_one(self) -> None:
        found = judge(world.seen(server=None))
        self.assertIsInstance(found.action, model.Serve)
        self.assertEqual(1000.0, found.memory.lost_s)
        self.assertEqual((1000.0,), found.memory.deaths_s)

    def test_one_death_is_counted_once(self) -> None:
        memory = judge(world.seen(server=None)).memory
        again = judge(world.seen(server=None, now_s=1001.0), memory)
        self.assertEqual((1000.0,), again.memory.deaths_s)

    def test_beside_a_server_that_is_dying_none_is_started(self) -> None:
        dying = dataclasses.replace(world.server(), dying=True, argv=())
        found = judge(world.seen(server=dying, link_dead_s=999.0))
        self.assertEqual((Phase.STALLED, None), (found.phase, found.action))
        self.assertLess(found.look_again_s, 0.2)

    def test_one_that_may_never_be_gone_is_followed(self) -> None:
        """It is held up in closing its own device."""
        left = dataclasses.replace(world.server(), dying=True, leaving=True,
                                   argv=())
        remote = world.attachment(mapping=world.mapping(
            abilities=dataclasses.replace(world.ABILITIES, can_fence=True)))
        action = judge(world.seen(server=left, attachment=remote)).action
        assert isinstance(action, model.Serve)
        self.assertEqual(left.process, action.left)
        self.assertEqual((1000.0,), judge(world.seen(
            server=left, attachment=remote)).memory.deaths_s)
        for other in (dataclasses.replace(left, leaving=False), left):
            # What one has written to a disk of this host may be under way.
            local = other.leaving
            found = judge(world.seen(server=other, **(
                {} if local else {'attachment': remote})))
            self.assertEqual((Phase.STALLED, None),
                             (found.phase, found.action))
        gone = judge(world.seen(server=None, attachment=remote)).action
        assert isinstance(gone, model.Serve)
        self.assertIsNone(gone.left)

    def test_a_server_nobody_knew_has_to_prove_itself(self) -> None:
        found = judge(world.seen(server=world.server(200)))
        self.assertIsInstance(found.action, model.Prove)
        self.assertEqual(200, found.memory.server
                         and found.memory.server.pid)
        self.assertIsNone(found.memory.proven_s)

    def test_who_died_before_a_server_that_is_found_may_have_to_be_shut_out(
            self) -> None:
        for memory, fence in (
                (model.Memory(), False),        # a connector's first one
                (world.known(proven_s=None), False),
                (world.known(server=world.server(7).process), True)):
            action = decide.decide(world.seen(), memory,
                                   world.POLICY).action
            assert isinstance(action, model.Prove)
            self.assertIs(fence, action.fence)

    def test_a_number_that_was_given_again_is_another_process(self) -> None:
        reused = dataclasses.replace(world.server(), start='9')
        self.assertIsInstance(judge(world.seen(server=reused)).action,
                              model.Prove)

    def test_hands_off_while_a_connector_is_at_work(self) -> None:
        for state, alive in ((AttachState.CONNECTING, True),
                             (AttachState.EXTENDING, True),
                             (AttachState.DISCONNECTING, True),
                             (AttachState.DISCONNECTING, False)):
            found = judge(world.seen(server=None, attachment=world.attachment(
                state=state, owner_alive=alive)))
            self.assertIs(Phase.HELD, found.phase)
            self.assertIsNone(found.action)

    def test_an_attach_that_died_half_way_is_told_and_left_alone(
            self) -> None:
        found = judge(world.seen(server=None, attachment=world.attachment(
            state=AttachState.CONNECTING, mapping=world.mapping(
                order=world.order(device=None)))))
        self.assertEqual((Phase.BROKEN, None), (found.phase, found.action))

    def test_another_volumes_device_is_not_touched(self) -> None:
        for cookie in (world.OTHER, None, ''):
            found = judge(world.seen(server=None,
                                     device=world.device(cookie=cookie)))
            self.assertEqual((Phase.BROKEN, None),
                             (found.phase, found.action))
            self.assertEqual('cookie', found.law)

    def test_a_device_that_nobody_connects_any_more_is_told(self) -> None:
        for device in (None, world.device(connected=False)):
            found = judge(world.seen(server=None, device=device))
            self.assertEqual((Phase.BROKEN, None, 'unmapped'),
                             (found.phase, found.action, found.law))

    def test_without_the_mounter_nothing_is_done(self) -> None:
        found = judge(world.seen(server=None, attachment=world.attachment(
            mapping=world.mapping(abilities=None))))
        self.assertEqual((Phase.BROKEN, 'mounter'), (found.phase, found.law))

    def test_a_pause_says_what_would_be_done(self) -> None:
        found = judge(world.seen(server=None, paused='by ann'))
        self.assertEqual((Phase.HELD, None), (found.phase, found.action))
        self.assertIn('by ann', found.sentence)
        self.assertIn('a new one is started', found.sentence)

    def test_a_timer_that_somebody_changed_is_set_back(self) -> None:
        found = judge(world.seen(device=world.device(timer_ms=30000)))
        self.assertEqual(
            model.SetTimer(volume=world.KEY, device='nbd3', timer_ms=1000),
            found.action)

    def test_a_volume_that_is_gone_is_said_to_be(self) -> None:
        found = judge(world.seen(attachment=None, device=None, server=None))
        self.assertIs(Phase.GONE, found.phase)


class HangTest(base.TestCase):
    silent = model.Answer(asked_s=999.0, alive=False, sentence='silence')
    speaks = model.Answer(asked_s=999.0, alive=True)

    def test_a_pause_in_the_requests_is_no_hang(self) -> None:
        found = judge(world.waiting(for_s=1.9))
        self.assertIs(Phase.HEALTHY, found.phase)

    def test_who_seems_to_hang_is_asked_first(self) -> None:
        found = judge(world.waiting())
        self.assertEqual((Phase.STALLED, None), (found.phase, found.action))

    def test_who_is_silent_is_killed(self) -> None:
        action = judge(world.waiting(answer=self.silent)).action
        assert isinstance(action, model.Kill)
        self.assertTrue(action.hung)

    def test_who_is_stopped_is_killed_without_a_question(self) -> None:
        found = judge(world.waiting(server=world.server(stopped=True)))
        self.assertIsInstance(found.action, model.Kill)

    def test_who_is_stopped_and_keeps_nobody_waiting_is_left_alone(
            self) -> None:
        found = judge(world.seen(server=world.server(stopped=True)))
        self.assertIsNone(found.action)

    def test_slow_storage_is_not_taken_for_a_hang(self) -> None:
        found = judge(world.waiting(for_s=3600.0, answer=self.speaks))
        self.assertEqual((Phase.STALLED, None), (found.phase, found.action))
        self.assertIn('storage behind it is slow', found.sentence)

    def test_what_cannot_be_told_is_not_acted_on(self) -> None:
        found = judge(world.waiting(answer=model.Answer(asked_s=999.0,
                                                        alive=None)))
        self.assertEqual((Phase.STALLED, None), (found.phase, found.action))

    def test_who_is_silent_and_keeps_nobody_waiting_has_to_prove_itself(
            self) -> None:
        self.assertIsInstance(judge(world.seen(answer=self.silent)).action,
                              model.Prove)
        for nothing in (world.seen(answer=self.speaks),
                        world.seen(answer=self.silent, unread_s=999.5),
                        world.seen(answer=self.silent, now_s=1010.0)):
            self.assertIsNone(judge(nothing).action)

    def test_an_answer_from_before_the_wait_does_not_count(self) -> None:
        old = dataclasses.replace(self.silent, asked_s=989.0)
        self.assertIsNone(judge(world.waiting(answer=old)).action)
        stale = dataclasses.replace(self.silent, asked_s=991.0)
        self.assertIsNone(judge(world.waiting(answer=stale)).action)


class PaceTest(base.TestCase):
    def failed(self, times: int) -> model.Memory:
        memory = model.Memory(lost_s=900.0)
        for _ in range(times):
            memory = learn.learn(
                memory, model.Serve(volume=world.KEY, device='nbd3',
                                    mounter='nbd'),
                verdict.Outcome(changed=False, error='no monitor answers'),
                1000.0, world.POLICY)
        return memory

    def test_failures_are_tried_again_ever_slower_and_for_ever(self) -> None:
        waits = [self.failed(n).next_try_s - 1000.0 for n in range(1, 20)]
        self.assertEqual(0.25, waits[0])
        self.assertEqual(world.POLICY.retry_last_s, waits[-1])
        self.assertTrue(all(a <= b for a, b in itertools.pairwise(waits)))

    def test_while_it_waits_it_says_why(self) -> None:
        found = judge(world.seen(server=None), self.failed(3))
        self.assertEqual((Phase.STALLED, None), (found.phase, found.action))
        self.assertIn('no monitor answers', found.sentence)

    def test_data_that_is_gone_is_a_persons_business(self) -> None:
        memory = learn.learn(
            model.Memory(lost_s=900.0), model.Serve(
                volume=world.KEY, device='nbd3', mounter='nbd'),
            verdict.Outcome(changed=False, error='it was deleted',
                            transient=False, detail=learn.REFUSED),
            1000.0, world.POLICY)
        found = judge(world.seen(server=None), memory)
        self.assertEqual((Phase.BROKEN, None, 'refused'),
                         (found.phase, found.action, found.law))
        later = judge(world.seen(server=None, now_s=1301.0), memory)
        self.assertIsInstance(later.action, model.Serve)


ANSWERS = st.none() | st.builds(
    model.Answer, asked_s=st.sampled_from((989.0, 999.0)),
    alive=st.sampled_from((True, False, None)), sentence=st.just(''))
TIMES = st.none() | st.sampled_from((400.0, 989.0, 998.0, 999.9))
SEEN = st.builds(
    model.Seen, key=st.just(world.KEY), now_s=st.just(1000.0),
    attachment=st.none() | st.builds(
        world.attachment, state=st.sampled_from(AttachState),
        owner_alive=st.booleans()),
    device=st.none() | st.builds(
        world.device, connected=st.booleans(),
        cookie=st.sampled_from((world.KEY, world.OTHER, None)),
        timer_ms=st.sampled_from((1000, 30000, None)),
        requests=st.none() | st.builds(
            parse.Requests, completed=st.just(5),
            in_flight=st.sampled_from((0, 2)))),
    server=st.none() | st.builds(
        world.server, st.sampled_from((100, 200)), stopped=st.booleans()),
    link_dead_s=TIMES, moved_s=TIMES, answer=ANSWERS, unread_s=TIMES,
    unsent=st.booleans(),
    paused=st.sampled_from((None, 'by ann')))
MEMORY = st.builds(
    world.known, server=st.sampled_from((None, world.server().process)),
    lost_s=TIMES, linked_s=TIMES, proven_s=TIMES,
    next_try_s=st.sampled_from((0.0, 1001.0)), last_error=st.just('no'),
    refused=st.sampled_from((None, 'gone')))


class WhateverIsSeenTest(base.TestCase):
    @given(SEEN, MEMORY)
    def test_what_is_decided_is_permitted(self, at: model.Seen,
                                          memory: model.Memory) -> None:
        found = decide.decide(at, memory, world.POLICY)
        self.assertTrue(found.sentence)
        self.assertGreater(found.look_again_s, 0.0)
        if found.action is not None:
            self.assertIsNone(laws.permits(found.action, at))

    @given(SEEN, MEMORY)
    def test_only_what_is_ours_and_at_rest_is_touched(
            self, at: model.Seen, memory: model.Memory) -> None:
        found = decide.decide(at, memory, world.POLICY)
        if found.action is None:
            return
        assert at.device is not None
        assert at.attachment is not None
        self.assertEqual(world.KEY, at.device.cookie)
        self.assertTrue(at.device.connected)
        self.assertIsNone(at.paused)
        self.assertIsNot(AttachState.DISCONNECTING, at.attachment.state)
