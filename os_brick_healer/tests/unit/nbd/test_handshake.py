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
"""Agreeing with an NBD server, whatever it is like."""

import socket
import struct
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from os_brick_healer import exception
from os_brick_healer.nbd import handshake
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.nbd import server as server_lib

EXPORT = handshake.Export(size_bytes=1 << 20, flags=server_lib.FLAGS)


class HandshakeTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = server_lib.Server(self.temp_dir() / 's')
        self.addCleanup(self.server.close)

    def connect(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX)
        self.addCleanup(link.close)
        link.connect(str(self.server.path))
        return link

    def agree(self, name: str = '', timeout_s: float = 5.0,
              ) -> handshake.Export:
        return handshake.negotiate(self.connect(), name, timeout_s)

    def refused(self) -> str:
        error = self.assertRaises(exception.HealerError, self.agree)
        return str(error)

    def test_a_modern_server_is_agreed_with(self) -> None:
        self.assertEqual(EXPORT, self.agree('disk'))
        self.assertEqual([b'disk'], self.server.exports)

    def test_an_old_server_is_agreed_with(self) -> None:
        self.server.old = True
        self.assertEqual(EXPORT, self.agree('disk'))
        self.assertEqual([b'disk'], self.server.exports)

    def test_a_very_old_one_that_sends_zeroes_too(self) -> None:
        self.server.old = True
        self.server.greeting = (b'NBDMAGIC' + server_lib.OPTION_MAGIC
                                + struct.pack('>H', 1))
        link = self.connect()
        self.assertEqual(EXPORT, handshake.negotiate(link, '', 5.0))
        link.setblocking(False)
        self.assertRaises(BlockingIOError, link.recv, 1)

    def test_nothing_is_left_unread(self) -> None:
        link = self.connect()
        handshake.negotiate(link, '', 5.0)
        link.setblocking(False)
        self.assertRaises(BlockingIOError, link.recv, 1)

    def test_a_refusal_is_told_in_the_servers_words(self) -> None:
        self.server.refusal = 'no such disk'
        self.assertIn('no such disk', self.refused())

    def test_the_servers_words_are_fit_for_a_terminal(self) -> None:
        self.server.refusal = 'no\x1b[2J such\ndisk'
        said = self.refused()
        self.assertIn('no [2J such disk', said)
        self.assertTrue(said.isprintable())

    def test_who_speaks_something_else_is_told(self) -> None:
        self.server.greeting = b'SSH-2.0-OpenSSH_9.2p1 Debian'
        self.assertIn('does not speak NBD', self.refused())
        self.server.greeting = (b'NBDMAGIC' + server_lib.OPTION_MAGIC
                                + struct.pack('>H', 0))
        self.assertIn('too old', self.refused())

    def test_who_says_nothing_is_waited_for_no_longer(self) -> None:
        self.server.silent = True
        begin_s = time.monotonic()
        error = self.assertRaises(exception.HealerError, self.agree, '', 0.2)
        self.assertIn('in time', str(error))
        self.assertLess(time.monotonic() - begin_s, base.PATIENCE_S)

    def test_endless_information_comes_to_an_end(self) -> None:
        one = struct.pack('>QIII', server_lib.REPLY, 7, 3, 6) + b'\0\1desc'
        self.server.answer = one * 1000
        self.assertIn('no end', self.refused())

    def test_an_answer_of_absurd_length_is_not_read(self) -> None:
        self.server.answer = struct.pack(
            '>QIII', server_lib.REPLY, 7, 3, 2 ** 32 - 1)
        self.assertIn('no answer of NBD', self.refused())

    @settings(max_examples=30)
    @given(st.binary(max_size=120), st.booleans())
    def test_hostile_answers_are_an_error_in_time(self, answer: bytes,
                                                  early: bool) -> None:
        near, far = socket.socketpair()
        with near, far:
            greeting = (b'NBDMAGIC' + server_lib.OPTION_MAGIC
                        + struct.pack('>H', 3))
            far.sendall(answer if early else greeting + answer)
            far.shutdown(socket.SHUT_WR)
            try:
                found = handshake.negotiate(near, '', 2.0)
            except exception.HealerError as e:
                self.assertIn('because', str(e))
            else:
                self.assertGreaterEqual(found.size_bytes, 0)
