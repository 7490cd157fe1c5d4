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
"""A TLS server that answers byte by byte what a test tells it to."""

from collections.abc import Callable
import pathlib
import socket
import ssl
import threading

import fixtures

from bed.guest import pki

#: Gets the connection and the request; what it returns is sent, if it
#: returns anything, and the connection is closed.
Script = Callable[[ssl.SSLSocket, bytes], bytes | None]


def reply(body: bytes, status: str = '200 OK',
          headers: bytes = b'') -> bytes:
    """A whole HTTP answer."""
    return (f'HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n'
            'Connection: close\r\n').encode() + headers + b'\r\n' + body


class ScriptedServer(fixtures.Fixture):
    """Listens on 127.0.0.1; ``requests`` holds what it was sent."""

    def __init__(self, directory: pathlib.Path, script: Script,
                 keys: pki.Pki | None = None) -> None:
        super().__init__()
        self.pki = keys or pki.make(directory, ['127.0.0.1'])
        self.script = script
        self.requests: list[bytes] = []

    def _setUp(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.pki.server_pem)
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.addCleanup(self._close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _close(self) -> None:
        # Closing alone does not wake a thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(20)
            threading.Thread(target=self._serve, args=(connection,),
                             daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            with self._context.wrap_socket(raw, server_side=True) as tls:
                self._open.append(tls)
                request = self._request(tls)
                self.requests.append(request)
                answer = self.script(tls, request)
                if answer is not None:
                    tls.sendall(answer)
        except OSError:
            return  # the client gave up, as it should

    def _request(self, tls: ssl.SSLSocket) -> bytes:
        found = b''
        while b'\r\n\r\n' not in found:
            chunk = tls.recv(65536)
            if not chunk:
                raise ConnectionError
            found += chunk
        head, _, body = found.partition(b'\r\n\r\n')
        for line in head.lower().splitlines():
            if line.startswith(b'content-length:'):
                while len(body) < int(line.split(b':')[1]):
                    body += tls.recv(65536)
        return head + b'\r\n\r\n' + body
