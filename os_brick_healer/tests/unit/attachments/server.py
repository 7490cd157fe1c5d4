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
"""API servers on the loopback: real TLS, real requests, played clouds."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import functools
import http.server
import json
import pathlib
import ssl
import tempfile
import threading
import time
from typing import Any
from urllib import parse

from bed.guest import pki
from os_brick_healer.testing.world import Trouble

#: An answer: HTTP status, headers, and a document.
Answer = tuple[int, Mapping[str, str], Any]
TROUBLES = frozenset(Trouble)
TIMEOUT_S = 4.0
SLOW_S = 6.0


#: Made outside of any test, whose own directory goes with it.
_PLACE = tempfile.TemporaryDirectory(prefix='obh-pki-')


@functools.cache
def keys() -> pki.Pki:
    """Certificates of one authority, made once for all tests."""
    return pki.make(pathlib.Path(_PLACE.name), ['127.0.0.1'])


class Request:
    """What a cloud is asked."""

    def __init__(self, path: str, headers: Mapping[str, str],
                 body: bytes) -> None:
        parts = parse.urlsplit(path)
        self.path = parts.path
        self.words = dict(parse.parse_qsl(parts.query))
        self.headers = headers
        self.body = json.loads(body) if body else None


class ApiServer:
    """Serves what ``answer`` makes of a request, over TLS.

    :ivar asked: the requests, in their order.
    :ivar trouble: what is wrong now, None: nothing.
    """

    def __init__(self, answer: Callable[[str, Request], Answer]) -> None:
        self.asked: list[Request] = []
        self.trouble: Trouble | None = None
        self._answer = answer
        self._good = _context(keys().server_pem)
        self._rogue = _context(keys().rogue_pem)
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def setup(self) -> None:
                context = (server._rogue if server.trouble
                           is Trouble.UNTRUSTED else server._good)
                self.request.settimeout(10)
                self.request = context.wrap_socket(self.request,
                                                   server_side=True)
                super().setup()

            def do_GET(self) -> None:
                self._do('GET')

            def do_POST(self) -> None:
                self._do('POST')

            def _do(self, method: str) -> None:
                length = int(self.headers.get('Content-Length') or 0)
                server._serve(self, method, self.rfile.read(length))

            def log_message(self, *_args: Any) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(
            ('127.0.0.1', 0), Handler)
        self._http.daemon_threads = True
        setattr(self._http, 'handle_error', lambda *_: None)  # noqa: B010
        self.url = f'https://127.0.0.1:{self._http.server_address[1]}'
        threading.Thread(target=self._http.serve_forever, args=(0.02,),
                         daemon=True).start()

    def _serve(self, handler: http.server.BaseHTTPRequestHandler,
               method: str, body: bytes) -> None:
        request = Request(handler.path, dict(handler.headers), body)
        self.asked.append(request)
        headers: Mapping[str, str] = {}
        match self.trouble:
            case Trouble.DOWN:
                handler.close_connection = True
                return
            case Trouble.SLOW:
                time.sleep(SLOW_S)
                return
            case Trouble.ERROR:
                status, told = 503, b'{"volumes": [], "items": []}'
            case Trouble.GARBAGE:
                status, told = 200, b'{"volumes": [{}], "items": [7'
            case Trouble.DENIED:
                status, told = 401, b'{}'
            case _:
                status, headers, document = self._answer(method, request)
                told = json.dumps(document).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header('Content-Type', 'application/json')
        handler.send_header('Content-Length', str(len(told)))
        handler.end_headers()
        handler.wfile.write(told)

    @contextlib.contextmanager
    def in_trouble(self, kind: Trouble) -> Iterator[None]:
        self.trouble = kind
        try:
            yield
        finally:
            self.trouble = None

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def _context(pem: pathlib.Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
