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

"""The command trusts no answer: not its length, not its depth, not its sense.
"""

import os
import socket
import threading

from os_brick_healer.agent import client, control, record, verbs
from os_brick_healer.metrics import catalogue
from os_brick_healer.tests import base


class HostileAgentTest(base.TestCase):

    def ask(self, answer: bytes, **more: int) -> Exception:
        """What the command makes of an agent that answers so."""
        path = str(self.temp_dir() / control.NAME)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()

            def serve() -> None:
                peer, _ = listener.accept()
                with peer:
                    peer.recv(65536)
                    try:
                        peer.sendall(answer)
                    except BrokenPipeError:
                        return      # it has heard enough

            agent = threading.Thread(target=serve)
            agent.start()
            asked = client.Client(path, 20.0, **more)
            error: Exception = self.assertRaises(client.AgentSilent,
                                                 asked.call, 'status')
            agent.join()
        return error

    def test_an_answer_without_end_is_not_read_to_its_end(self) -> None:
        error = self.ask(b'x' * (8 << 20), answer_bytes_max=1 << 20)
        self.assertIn('its answer has no end', str(error))

    def test_an_answer_that_makes_no_sense_is_said(self) -> None:
        for answer in (b'[' * 100000 + b'\n', b'{"ok": true}\n', b'7\n',
                       b'[]\n', b'{}\n', b'{"result": 7}\n', b'no JSON\n',
                       b'{"ok": false, "error": 7}\n', b'\xff\n', b'\n'):
            self.assertIn('its answer makes no sense',
                          str(self.ask(answer)))


    def test_an_answer_without_its_end_is_said(self) -> None:
        self.assertIn('the connection broke (closed by the agent)',
                      str(self.ask(b'{"ok": true, "result": 7}')))


class LeftBehindTest(base.TestCase):

    def test_odd_failures_of_the_past_keep_no_agent_from_starting(
            self) -> None:
        place = self.temp_dir()
        before = catalogue.START_FAILURES.values()
        for text in ('[' * 100000, '{"wall_s": 1.5, "launch": "x", "error": '
                     f'"x", "failures": {"9" * 400}}}'):
            (place / record.NAME).write_text(text)
            record.take_over(str(place))
            self.assertFalse((place / record.NAME).exists())
        self.assertEqual(before, catalogue.START_FAILURES.values())

    def test_users_that_nobody_has_are_told_and_left_out(self) -> None:
        odd = ['\u00b2', '9' * 5000, 'no\0body', '-1']
        known, unknown = verbs.permitted([*odd, '12', 'root'])
        self.assertEqual(odd, unknown)
        self.assertEqual({0, 12, os.geteuid()}, known)
        self.assertIsNone(verbs.socket_group(odd))
