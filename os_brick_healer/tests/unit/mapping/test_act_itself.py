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
"""Of servers that give the kernel their connection themselves."""

import dataclasses

from os_brick_healer import exception
from os_brick_healer.mapping import learn, model
from os_brick_healer.tests.unit.mapping import ground as ground_lib
from os_brick_healer.tests.unit.mapping import test_act, world


class ItselfTest(test_act.HandsTest):
    """All of ``test_act`` that applies, with a process like rbd-nbd."""

    def setUp(self) -> None:
        super().setUp()
        self.ground.mounter = ground_lib.Itself()
        self.root.linked = 0
        self.hands = dataclasses.replace(
            self.hands, mounter={'nbd': self.ground.mounter}.get)

    def test_a_new_server_is_agreed_with_and_given_to_the_kernel(
            self) -> None:
        outcome = self.do(self.serve)
        self.assertEqual((True, None), (outcome.changed, outcome.error))
        self.assertEqual(['start', 'fence', 'flows'], self.root.did)
        self.assertEqual([model.Process(pid=200, start='1400')],
                         self.started)

    def test_data_that_let_nobody_be_shut_out_is_asked_when_it_is_served(
            self) -> None:
        lacking = dataclasses.replace(self.ground.mapping, lacks='it lacks x')
        self.root.fenced = 'client.7 was shut out'
        outcome = self.do(self.serve, dataclasses.replace(
            self.at, attachment=world.attachment(mapping=lacking)))
        self.assertEqual(['start', 'flows', 'fence'], self.root.did)
        self.assertIn('client.7 was shut out', outcome.detail)

    def test_what_the_data_lacks_is_told_with_the_mapping(self) -> None:
        order = dataclasses.replace(self.ground.mapping.order, device=None)
        wanted = dataclasses.replace(self.ground.mapping, order=order)
        self.hands.unmap(self.ground.mapping, None)
        for refused, lacks in ((False, 'it lacks x'), (True, '')):
            self.root.lacking = 'it lacks x'
            self.root.refuses = {'lacks': exception.CommandError('no')} if (
                refused) else {}
            mapped = self.hands.map(wanted)
            self.assertEqual((lacks, 'nbd3'),
                             (mapped.lacks, mapped.order.device))
            self.hands.unmap(mapped, None)

    def test_a_server_that_never_listens_is_killed_at_the_deadline(
            self) -> None:
        self.root.mute = True
        self.policy = test_act.QUICK
        outcome = self.do(self.serve)
        self.assertIn('not come to serve in time', str(outcome.error))
        self.assertEqual('kill', self.root.did[-1])
        self.assertEqual([], self.started)

    def test_the_connection_of_one_that_is_held_up_is_given_up_first(
            self) -> None:
        follow = dataclasses.replace(self.serve,
                                     left=world.server().process)
        at = dataclasses.replace(self.at, server=dataclasses.replace(
            world.server(), dying=True, leaving=True))
        self.assertIsNone(self.do(follow, at).error)
        self.assertEqual(['hang_up', 'start', 'fence', 'flows'],
                         self.root.did)
        self.root.refuses['hang_up'] = exception.NotOurs('it lives')
        self.assertIn('it lives', str(self.do(follow, at).error))
        self.assertEqual('hang_up', self.root.did[-1])

    def test_slow_storage_does_not_make_it_fail(self) -> None:
        self.root.answer = 'sent'
        self.assertIsNone(self.do(self.serve).error)
        self.assertNotIn('kill', self.root.did)

    def test_requests_that_fail_already_are_brought_back(self) -> None:
        self.root.errors = 3
        self.assertIsNone(self.do(self.serve).error)
        self.assertNotIn('kill', self.root.did)

    def test_requests_that_go_on_failing_show_no_server(self) -> None:
        self.root.errors = 1_000_000
        self.policy = test_act.QUICK
        outcome = self.do(self.serve)
        self.assertIn('not come to serve in time', str(outcome.error))
        self.assertEqual('kill', self.root.did[-1])

    def test_who_finds_a_server_shuts_out_the_one_before_it(self) -> None:
        self.root.linked, self.root.fenced = 100, 'client.7 was shut out'
        self.ground.process(100)
        prove = model.Prove(volume=world.KEY, device='nbd3', fence=True,
                            server=world.server().process)
        at = dataclasses.replace(self.at, server=world.server())
        self.assertEqual(f'{learn.READ}; client.7 was shut out',
                         self.do(prove, at).detail)
        self.assertEqual(['fence', 'flows'], self.root.did)
        self.root.refuses['fence'] = exception.CommandError('no rbd')
        self.assertIn('no rbd', self.do(prove, at).detail)

    def test_who_was_shut_out_is_told(self) -> None:
        self.root.fenced = 'client.7 was shut out'
        self.assertEqual('process 200 serves; client.7 was shut out',
                         self.do(self.serve).detail)

    def test_a_heal_does_not_fail_when_nobody_can_be_shut_out(self) -> None:
        self.root.refuses['fence'] = exception.CommandError('no rbd')
        outcome = self.do(self.serve)
        self.assertIsNone(outcome.error)
        self.assertIn('nobody was shut out: no rbd', outcome.detail)

    def test_the_storage_tells_that_data_is_gone_if_the_server_does_not(
            self) -> None:
        self.root.dies = 'bye'
        self.root.gone = '/srv/a.img: No such file or directory'
        outcome = self.do(self.serve)
        self.assertEqual(learn.REFUSED, outcome.detail)
        self.assertIn('No such file', str(outcome.error))

    def test_a_storage_that_does_not_answer_says_nothing_about_the_data(
            self) -> None:
        self.root.dies = 'bye'
        self.root.refuses['missing'] = exception.CommandError('no monitor')
        outcome = self.do(self.serve)
        self.assertEqual(learn.ENDED, outcome.detail)
        self.assertIn('no monitor', str(outcome.error))

    def test_what_became_smaller_is_served_no_longer(self) -> None:
        self.root.size_bytes = world.SIZE // 2
        outcome = self.do(self.serve)
        self.assertIn('were mapped', str(outcome.error))
        self.assertEqual(learn.REFUSED, outcome.detail)
        self.assertEqual({}, self.root.servers)
        self.assertEqual([], self.started)

    def test_a_map_finds_the_device_by_its_cookie(self) -> None:
        self.ground.connected('nbd1', world.OTHER)
        self.not_connected()
        self.ground.write('sys/block/nbd3/queue/io_timeout', '30000\n')
        found = self.hands.map(dataclasses.replace(
            self.ground.mapping, size_bytes=0, timer_before_ms=0,
            order=dataclasses.replace(self.ground.order, device=None)))
        self.assertEqual(
            ('nbd3', world.SIZE, 30000),
            (found.order.device, found.size_bytes, found.timer_before_ms))
        self.assertEqual('1000', self.ground.tree.read(
            '/sys/block/nbd3/queue/io_timeout'))

    def test_a_map_that_fails_leaves_no_process(self) -> None:
        self.not_connected()
        self.root.refuses['set_timer'] = exception.CommandError('no')
        self.assertRaises(exception.CommandError, self.hands.map,
                          self.ground.mapping)
        self.assertEqual({}, self.root.servers)
        self.assertIn('disconnect', self.root.did)

    def test_a_read_that_comes_back_is_a_proof(self) -> None:
        self.root.linked = 100
        super().test_a_read_that_comes_back_is_a_proof()

    def skip_for_socket(self) -> None:
        self.skipTest('it has no socket of ours')

    test_what_became_smaller_is_not_given_to_the_guest = skip_for_socket
    test_a_kernel_that_refuses_leaves_no_process = skip_for_socket
    test_what_can_only_be_read_is_not_given_to_who_writes = skip_for_socket
    test_a_map_brings_the_device_and_its_timer = skip_for_socket
    test_who_answers_is_told_from_who_does_not = skip_for_socket
