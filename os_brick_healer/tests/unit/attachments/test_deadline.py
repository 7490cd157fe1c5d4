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
"""Servers that answer drop by drop: deadline.py, attachments/pools.py."""

from collections.abc import Callable
import contextlib
import socket
import ssl
import threading
import time

from os_brick_healer import exception
from os_brick_healer.attachments import cinder
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.attachments import server, worlds

HERE = 'compute-1'
HEADER = b'HTTP/1.1 200 OK\r\nX-Slow: '
BODY = b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n'
EACH_S = 0.05
DRIPS_S = 60.0
TIME_S = 1.0


class Dripping:
    """A server that sends a beginning, and then a byte now and then."""

    def __init__(self, beginning: bytes, tls: bool) -> None:
        self._beginning, self._tls = beginning, tls
        self._over = threading.Event()
        self._listener = socket.create_server(('127.0.0.1', 0))
        scheme = 'https' if tls else 'http'
        self.url = f'{scheme}://127.0.0.1:{self._listener.getsockname()[1]}'
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.keys().server_pem)
        with contextlib.suppress(OSError):      # closed: the test is over
            while True:
                link, _ = self._listener.accept()
                if self._tls:
                    link = context.wrap_socket(link, server_side=True)
                threading.Thread(target=self._drip, args=(link,),
                                 daemon=True).start()

    def _drip(self, link: socket.socket) -> None:
        until_s = time.monotonic() + DRIPS_S
        with contextlib.suppress(OSError), link:
            link.recv(65536)
            link.sendall(self._beginning)
            while time.monotonic() < until_s and not self._over.is_set():
                link.sendall(b' ')
                self._over.wait(EACH_S)

    def close(self) -> None:
        self._over.set()
        self._listener.close()


class DeadlineTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.world = worlds.CinderWorld(self.temp_dir())
        self.addCleanup(self.world.close)

    def dripping(self, beginning: bytes, tls: bool) -> Dripping:
        made = Dripping(beginning, tls)
        self.addCleanup(made.close)
        return made

    def source(self, url: str | None = None) -> cinder.CinderSource:
        """:param url: where Keystone is; None: the world's."""
        self.world.conf()
        text = (self.world.directory / 'nova.conf').read_text().replace(
            f'timeout = {server.TIMEOUT_S:g}', f'timeout = {TIME_S:g}')
        assert f'timeout = {TIME_S:g}' in text
        path = self.write_file(
            self.world.directory / 'n.conf',
            text.replace(self.world.server.url, url) if url else text)
        return cinder.CinderSource(
            worlds.new_conf(path, cinder_allow_http=True), HERE)

    def gives_up(self, ask: Callable[[], object]) -> None:
        begun_s = time.monotonic()
        error = self.assertRaises(exception.SourceError, ask)
        self.assertLess(time.monotonic() - begun_s, base.PATIENCE_S)
        self.assertTrue(str(error).startswith('cannot '), str(error))

    def test_a_byte_of_an_answer_now_and_then_is_given_up(self) -> None:
        for beginning, tls in ((HEADER, True), (BODY, True),
                               (HEADER, False), (BODY, False)):
            with self.subTest(beginning=beginning, tls=tls):
                self.world.catalogue = self.dripping(beginning, tls).url
                self.gives_up(self.source().probe)

    def test_a_byte_of_a_token_now_and_then_is_given_up(self) -> None:
        for beginning, tls in (HEADER, True), (BODY, False):
            with self.subTest(beginning=beginning, tls=tls):
                url = self.dripping(beginning, tls).url
                self.gives_up(self.source(url).probe)

    def test_what_is_asked_next_has_time_of_its_own(self) -> None:
        source = self.source()
        for _ in range(3):
            source.probe()
            time.sleep(TIME_S / 2)
        self.world.attach(HERE)
        self.assertEqual(1, len(source.listing(frozenset()).here))
