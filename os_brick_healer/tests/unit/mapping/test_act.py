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
"""The hands of the mapping wing: what they do, and when they do not."""

import dataclasses

from os_brick_healer import exception
from os_brick_healer.mapping import act, learn, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import ground as ground_lib
from os_brick_healer.tests.unit.mapping import world

#: No test waits for the whole of what an operator would.
QUICK = dataclasses.replace(world.POLICY, attach_s=0.4, proof_s=0.2)


class HandsTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ground = ground_lib.Ground(self.temp_dir())
        self.ground.connected()
        self.ground.process(100)
        self.root = ground_lib.Root(self.ground)
        self.addCleanup(self.root.close)
        self.locks = ground_lib.FreeLocks()
        self.hands = act.Hands(
            tree=self.ground.tree, locks=self.locks, nbd=self.root,
            mounter={'nbd': self.ground.mounter}.get,
            policy=lambda: self.policy)
        self.policy = world.POLICY
        self.started: list[model.Process] = []
        self.at = world.seen(server=None,
                             attachment=ground_lib.attachment(self.ground))
        self.serve = model.Serve(volume=world.KEY, device='nbd3',
                                 mounter='nbd')

    def do(self, action: model.Action,
           at: model.Seen | None = None) -> act.Outcome:
        return self.hands.do(action, lambda: at or self.at,
                             self.started.append)

    def test_a_new_server_is_agreed_with_and_given_to_the_kernel(
            self) -> None:
        outcome = self.do(self.serve)
        self.assertEqual((True, None), (outcome.changed, outcome.error))
        self.assertEqual(['start', 'reconnect'], self.root.did)
        self.assertEqual([model.Process(pid=200, start='1400')],
                         self.started)
        self.assertEqual([world.KEY], self.locks.held)

    def test_the_socket_of_a_dead_server_is_not_in_the_way(self) -> None:
        self.ground.socket.write_text('')
        self.assertIsNone(self.do(self.serve).error)

    def test_with_a_live_server_none_is_started(self) -> None:
        outcome = self.do(self.serve, dataclasses.replace(
            self.at, server=world.server()))
        self.assertIn('law 3', str(outcome.error))
        self.assertEqual([], self.root.did)

    def test_a_server_that_never_listens_is_killed_at_the_deadline(
            self) -> None:
        self.root.mute = True
        self.policy = QUICK
        outcome = self.do(self.serve)
        self.assertIn('does not listen', str(outcome.error))
        self.assertEqual((True, ''), (outcome.transient, outcome.detail))
        self.assertEqual(['start', 'kill'], self.root.did)
        self.assertEqual([], self.started)

    def test_a_server_that_ends_at_once_is_quoted(self) -> None:
        self.root.dies = 'nbdkit: error: out of luck'
        outcome = self.do(self.serve)
        self.assertIn('out of luck', str(outcome.error))
        self.assertEqual((True, learn.ENDED),
                         (outcome.transient, outcome.detail))

    def test_data_that_is_gone_is_not_tried_for_ever(self) -> None:
        self.root.dies = '/srv/a.img: No such file or directory'
        outcome = self.do(self.serve)
        self.assertEqual((False, learn.REFUSED),
                         (outcome.transient, outcome.detail))

    def test_what_became_smaller_is_not_given_to_the_guest(self) -> None:
        self.root.size_bytes = world.SIZE - 4096
        outcome = self.do(self.serve)
        self.assertEqual(learn.REFUSED, outcome.detail)
        self.assertEqual(['start', 'kill'], self.root.did)

    def test_what_can_only_be_read_is_not_given_to_who_writes(self) -> None:
        self.root.readonly = True
        self.ground.write('sys/block/nbd3/ro', '0\n')
        outcome = self.do(self.serve)
        self.assertIn('can only be read', str(outcome.error))
        self.assertTrue(outcome.transient)
        self.assertEqual(['start', 'kill'], self.root.did)
        self.ground.write('sys/block/nbd3/ro', '1\n')
        self.assertIsNone(self.do(self.serve).error)

    def test_what_has_grown_is(self) -> None:
        self.root.size_bytes = world.SIZE * 2
        self.assertIsNone(self.do(self.serve).error)

    def test_a_kernel_that_refuses_leaves_no_process(self) -> None:
        self.root.refuses['reconnect'] = exception.NotOurs('another cookie')
        outcome = self.do(self.serve)
        self.assertIn('another cookie', str(outcome.error))
        self.assertEqual(['start', 'reconnect', 'kill'], self.root.did)

    def test_without_its_mounter_nothing_is_started(self) -> None:
        hands = dataclasses.replace(self.hands, mounter=lambda _: None)
        outcome = hands.do(self.serve, lambda: self.at, self.started.append)
        self.assertIn('not installed', str(outcome.error))

    def test_a_read_that_comes_back_is_a_proof(self) -> None:
        action = model.Prove(volume=world.KEY, device='nbd3',
                             server=world.server().process)
        at = dataclasses.replace(self.at, server=world.server())
        self.assertIsNone(self.do(action, at).error)
        self.assertEqual([], self.locks.held)
        for answer in (learn.SENT, learn.UNSENT):
            self.root.answer = answer
            outcome = self.do(action, at)
            self.assertEqual(answer, outcome.detail)
            self.assertIsNotNone(outcome.error)

    def test_the_read_of_another_server_proves_nothing(self) -> None:
        action = model.Prove(volume=world.KEY, device='nbd3',
                             server=world.server(7).process)
        at = dataclasses.replace(self.at, server=world.server())
        self.assertIsNotNone(self.do(action, at).error)
        self.assertEqual([], self.root.did)

    def test_only_what_still_hangs_is_killed(self) -> None:
        kill = model.Kill(volume=world.KEY, device='nbd3', hung=True,
                          why='x', server=world.server().process)
        silent = model.Answer(asked_s=995.0, alive=False)
        hangs = dataclasses.replace(
            world.waiting(answer=silent), attachment=self.at.attachment)
        for word, at in (
                ('end again', dataclasses.replace(hangs, moved_s=1000.0)),
                ('not been found silent', dataclasses.replace(
                    hangs, answer=None)),
                ('has ended', dataclasses.replace(
                    hangs, server=world.server(7))),
                ('has ended', dataclasses.replace(hangs, server=None)),
                ('no request waits', dataclasses.replace(
                    hangs, device=world.device())),
                ('cookie', dataclasses.replace(hangs, device=world.device(
                    cookie=world.OTHER)))):
            self.assertIn(word, str(self.do(kill, at).error))
        self.assertEqual([], self.root.did)
        self.assertIsNone(self.do(kill, hangs).error)
        self.assertEqual(['kill'], self.root.did)

    def test_only_what_is_cut_off_is_killed_for_it(self) -> None:
        kill = model.Kill(volume=world.KEY, device='nbd3', hung=False,
                          why='x', server=world.server().process)
        at = dataclasses.replace(self.at, server=world.server())
        self.assertIn('cut off', str(self.do(kill, at).error))
        told = dataclasses.replace(at, link_dead_s=0.0)
        seen = dataclasses.replace(at, unread_s=at.now_s, unsent=True)
        for cut, answer, kills in (
                (told, 'unsent', True), (told, 'sent', True),
                (told, 'read', False), (seen, 'unsent', True),
                (seen, 'sent', False), (seen, 'read', False)):
            # A kill may have waited for its turn: the server serves by now.
            self.root.answer, self.root.did = answer, []
            self.ground.process(100)
            self.root.linked = 100
            found = self.do(kill, cut)
            self.assertEqual(['flows', *(['kill'] if kills else [])],
                             self.root.did)
            self.assertEqual((kills, learn.READ if answer == 'read' else (
                'it has ended' if kills else 'sent')),
                (found.changed, found.detail))

    def test_a_pause_and_a_connector_hold_every_hand(self) -> None:
        at = dataclasses.replace(self.at, paused='by ann')
        self.assertIn('paused', str(self.do(self.serve, at).error))
        busy = dataclasses.replace(self.at, attachment=dataclasses.replace(
            ground_lib.attachment(self.ground),
            state=model.AttachState.DISCONNECTING))
        self.assertIn('disconnecting', str(self.do(self.serve, busy).error))
        self.assertEqual([], self.root.did)

    def not_connected(self) -> None:
        for name in ('pid', 'backend'):
            (self.ground.root / 'sys/block/nbd3' / name).unlink()

    def test_what_is_connected_is_not_mapped_a_second_time(self) -> None:
        error = self.assertRaises(exception.NotOurs, self.hands.map,
                                  self.ground.mapping)
        self.assertIn('connected with it already', str(error))
        self.assertEqual([], self.root.did)

    def test_a_map_that_fails_late_leaves_no_device(self) -> None:
        """The kernel has made it, and nobody was told."""
        self.not_connected()
        self.policy = QUICK
        self.root.late = True
        self.assertRaises(exception.HealerError, self.hands.map,
                          self.ground.mapping)
        self.assertEqual('disconnect', self.root.did[-1])
        self.assertIsNone(self.ground.tree.read('/sys/block/nbd3/backend'))
        self.assertEqual({}, self.root.servers)

    def test_a_map_that_fails_leaves_no_process(self) -> None:
        self.not_connected()
        self.root.refuses['connect'] = exception.CommandError('no driver')
        self.assertRaises(exception.CommandError, self.hands.map,
                          self.ground.mapping)
        self.assertEqual(['start', 'connect', 'kill'], self.root.did)

    def test_a_map_brings_the_device_and_its_timer(self) -> None:
        self.not_connected()
        found = self.hands.map(dataclasses.replace(
            self.ground.mapping, size_bytes=0, timer_before_ms=0,
            order=dataclasses.replace(self.ground.order, device=None)))
        self.assertEqual(
            ('nbd3', world.SIZE, 30000),
            (found.order.device, found.size_bytes, found.timer_before_ms))

    def test_an_unmap_is_over_when_the_kernel_has_let_go(self) -> None:
        held = self.ground.root / 'sys/block/nbd3/backend'
        looks: list[bool] = []

        def udev(_seconds: float) -> None:
            looks.append(held.exists())
            if len(looks) == 3:
                held.unlink()

        self.root.disconnect = (  # type: ignore[method-assign]
            lambda **_words: True)
        dataclasses.replace(self.hands, sleep=udev).unmap(
            self.ground.mapping, None)
        self.assertEqual([True] * 3, looks)

    def test_an_unmap_does_not_wait_for_ever(self) -> None:
        now_s = iter(range(100))
        self.root.disconnect = (  # type: ignore[method-assign]
            lambda **_words: True)
        dataclasses.replace(
            self.hands, sleep=lambda _s: None,
            clock=lambda: float(next(now_s))).unmap(self.ground.mapping, None)
        self.assertLess(next(now_s), 20)

    def test_root_is_lent_the_lock_for_what_ends_a_device(self) -> None:
        self.hands.unmap(self.ground.mapping, None)
        self.assertEqual([f'lent {world.KEY}'], self.root.places)

    def test_an_unmap_goes_by_the_device_and_needs_no_server(self) -> None:
        self.hands.unmap(self.ground.mapping, None)
        self.assertEqual(['disconnect'], self.root.did)
        self.assertEqual('30000', self.ground.tree.read(
            '/sys/block/nbd3/queue/io_timeout'))

    def test_who_answers_is_told_from_who_does_not(self) -> None:
        def ask(timeout_s: float) -> tuple[bool | None, str]:
            return act.ask(self.ground.mapping, self.ground.mounter,
                           timeout_s)

        self.assertIs(False, ask(0.2)[0])
        self.do(self.serve)
        self.assertEqual((True, ''), ask(2.0))
        server = self.root.servers[200]
        assert server is not None
        server.silent = True
        alive, why = ask(0.2)
        self.assertIs(False, alive)
        self.assertIn('no answer in 0.2 s', why)
        self.assertIsNone(act.ask(self.ground.mapping, None, 0.2)[0])
