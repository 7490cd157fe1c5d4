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
"""The laws of mapped volumes, one by one."""

import dataclasses

from os_brick_healer.engine import verdict
from os_brick_healer.mapping import laws, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import world

AttachState = model.AttachState
SERVER = world.server().process
SERVE = model.Serve(volume=world.KEY, device='nbd3', mounter='nbd')
FOLLOW = dataclasses.replace(SERVE, left=SERVER)
LEFT = dataclasses.replace(world.server(), dying=True, leaving=True)
PROVE = model.Prove(volume=world.KEY, device='nbd3', server=SERVER)
TIMER = model.SetTimer(volume=world.KEY, device='nbd3', timer_ms=1000)
HUNG = model.Kill(volume=world.KEY, device='nbd3', hung=True, why='it hangs',
                  server=SERVER)
CUT = dataclasses.replace(HUNG, hung=False, why='it is cut off')
SILENT = model.Answer(asked_s=999.0, alive=False)

#: Each action with a moment at which it is permitted.
PERMITTED: tuple[tuple[model.Action, model.Seen], ...] = (
    (SERVE, world.seen(server=None)), (PROVE, world.seen()),
    (FOLLOW, world.seen(server=LEFT)), (FOLLOW, world.seen(server=None)),
    (TIMER, world.seen()), (HUNG, world.waiting(answer=SILENT)),
    (HUNG, world.waiting(server=world.server(stopped=True))),
    (CUT, world.seen(link_dead_s=0.0)),
    (CUT, world.seen(unread_s=995.0, unsent=True)))


class LawTest(base.TestCase):
    def forbidden(self, word: str, action: model.Action,
                  at: model.Seen) -> None:
        self.assertIn(word, laws.permits(action, at) or 'permitted')

    def everywhere(self, word: str, **changes: object) -> None:
        for action, at in PERMITTED:
            self.forbidden(word, action, dataclasses.replace(
                at, **changes))  # type: ignore[arg-type]

    def test_each_action_has_its_moment(self) -> None:
        for action, at in PERMITTED:
            self.assertIsNone(laws.permits(action, at), str(action))

    def test_law_1_the_device_is_the_volumes_by_its_cookie(self) -> None:
        self.everywhere('law 1', device=None)
        self.everywhere('law 1', device=world.device(connected=False))
        self.everywhere('law 1', device=world.device(cookie=world.OTHER))
        self.everywhere('law 1', device=world.device(cookie=None))

    def test_law_1_a_name_that_the_row_does_not_have_is_nobodys(
            self) -> None:
        self.everywhere('law 1', attachment=world.attachment(mapping=None))
        self.everywhere('law 1', attachment=world.attachment(
            mapping=world.mapping(order=world.order(device='nbd4'))))

    def test_law_2_who_has_ended_or_is_another_is_not_killed(self) -> None:
        for action in (HUNG, CUT):
            for server in (None, world.server(7)):
                self.forbidden('law 2', action, world.waiting(
                    answer=SILENT, unsent=True, server=server))

    def test_law_2_who_serves_is_not_killed(self) -> None:
        for action in (HUNG, CUT):
            self.forbidden('end again', action, world.waiting(
                for_s=0.0, answer=SILENT, unsent=True))

    def test_law_2_a_hang_is_proven(self) -> None:
        self.forbidden('no request waits', HUNG, world.seen(answer=SILENT))
        for alive in (True, None):
            self.forbidden('not been found silent', HUNG, world.waiting(
                answer=model.Answer(asked_s=999.0, alive=alive)))
        self.forbidden('not been found silent', HUNG, world.waiting())

    def test_law_2_a_lost_connection_is_proven(self) -> None:
        self.forbidden('cut off', CUT, world.seen(unread_s=999.0))
        self.forbidden('cut off', CUT, world.seen(unsent=True))
        # It may have come to serve while the kill waited for its turn.
        self.forbidden('cut off', CUT, world.seen(
            unread_s=994.9, unsent=True))

    def test_law_3_a_volume_has_one_server(self) -> None:
        self.forbidden('law 3', SERVE, world.seen())

    def test_law_3_only_who_has_left_is_followed(self) -> None:
        for at in (world.seen(), world.seen(server=dataclasses.replace(
                LEFT, leaving=False)), world.seen(
                    server=dataclasses.replace(LEFT, start='9'))):
            self.forbidden('law 3', FOLLOW, at)
        self.forbidden('law 3', SERVE, world.seen(server=LEFT))

    def test_law_8_what_another_host_has_is_not_served_here(self) -> None:
        self.forbidden('cinder has it on b (law 8)', SERVE, world.seen(
            server=None, elsewhere='cinder has it on b'))
        self.assertIsNone(laws.permits(PROVE, world.seen(
            elsewhere='cinder has it on b')))

    def test_law_4_nothing_is_done_beside_a_connector(self) -> None:
        for state, alive in ((AttachState.CONNECTING, True),
                             (AttachState.EXTENDING, True),
                             (AttachState.DISCONNECTING, True),
                             (AttachState.DISCONNECTING, False)):
            self.everywhere('law 4', attachment=world.attachment(
                state=state, owner_alive=alive))
        self.everywhere('law 4', attachment=None)

    def test_law_4_a_connector_that_died_holds_nobody_up(self) -> None:
        for state in (AttachState.CONNECTING, AttachState.EXTENDING):
            self.assertIsNone(laws.permits(SERVE, world.seen(
                server=None, attachment=world.attachment(state=state))))

    def test_law_4_a_pause_is_a_pause(self) -> None:
        self.everywhere('paused (by ann)', paused='by ann')

    def test_another_servers_read_proves_nothing(self) -> None:
        for server in (None, world.server(7)):
            self.forbidden('does not serve any more', PROVE,
                           world.seen(server=server))

    def test_a_process_is_its_number_and_its_start(self) -> None:
        other = dataclasses.replace(SERVER, start='1')
        self.assertTrue(laws.same(world.server(), SERVER))
        self.assertFalse(laws.same(world.server(), other))


class ActionTest(base.TestCase):
    def test_each_action_is_a_sentence_with_a_law_and_a_risk(self) -> None:
        for action, sentence, law, risk, lane in (
                (SERVE, 'serve nbd3 by a new process of nbd', 'serve',
                 verdict.Risk.CONNECT, model.Lane.MAPPING),
                (PROVE, 'read from nbd3, served by process 100', 'prove',
                 verdict.Risk.TELL, model.Lane.PROOF),
                (TIMER, 'look after 1000 ms at requests of nbd3 that do not '
                 'come back', 'timer', verdict.Risk.TUNE,
                 model.Lane.MAPPING),
                (HUNG, 'kill process 100 of nbd3: it hangs', 'hang',
                 verdict.Risk.BREAK, model.Lane.MAPPING)):
            self.assertEqual((sentence, law, risk, lane), (
                action.sentence(), action.law, action.risk, action.lane))

    def test_how_long_requests_wait_is_known_only_while_they_do(
            self) -> None:
        self.assertEqual(10.0, world.waiting().stuck_s)
        for seen in (world.seen(moved_s=990.0),
                     dataclasses.replace(world.waiting(), device=None),
                     dataclasses.replace(world.waiting(), moved_s=None),
                     world.waiting(for_s=-5.0),
                     world.seen(device=world.device(requests=None))):
            self.assertEqual(0.0, seen.stuck_s)

    def test_bounds_that_do_not_go_together_are_refused(self) -> None:
        for wrong in ({'answer_s': 0.0}, {'answer_s': 61.0},
                      {'hang_s': 0.0}, {'hang_s': 601.0},
                      {'proof_s': 16.0}, {'proof_s': 0.0},
                      {'heals_max': 0}, {'heals_max': 257},
                      {'settle_s': -0.1}, {'settle_s': 2.1}):
            error = self.assertRaises(ValueError, model.Policy,
                                      **wrong)
            self.assertIn(next(iter(wrong)), str(error))
        model.Policy(answer_s=0.05, hang_s=0.1, settle_s=0.1, proof_s=0.1,
                     heals_max=1)
        model.Policy(answer_s=60.0, hang_s=600.0, settle_s=600.0,
                     proof_s=15.0, heals_max=256)
