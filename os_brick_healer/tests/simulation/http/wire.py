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
"""The network between the plugin and KumoScale, in virtual time.

An adapter for the session of requests whose connections end here: a request
travels, is heard (an event: it happens even if the agent is killed
meanwhile), and its answer travels back. What goes wrong is raised, or
answered, as urllib3 raises and answers it, and translated by requests.
"""

from collections.abc import Callable
import dataclasses
import io
import json
import random
from typing import Any, TYPE_CHECKING
import urllib.parse

import requests
from requests import adapters
import urllib3

from bed.guest import kumoscale as api
from os_brick_healer.provisioner import kumoscale_client, kumoscale_conf
from os_brick_healer.tests.simulation.http import array

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation import world as world_lib

ADDRESSES = ('10.9.0.1', '10.9.0.2')
#: What a change is called where the agent may be killed, and by the laws.
CHANGES = {'add_replica': 'request', 'set_replica_state': 'report',
           'mark_replica': 'mark', 'confirm_deletion': 'confirm',
           'publish': 'publish'}
#: By how much a request may be heard after its time, seconds.
LATE_S = (0.2, 4.0)
#: Between two bytes of an answer that drips.
DRIP_S = 2.0
#: What may become of an answer, and more that may of a change's.
MISHAPS = ('reset', '500', '429', '401', 'cut', 'short', 'empty', 'twice',
           'other', 'drip', 'html')
OF_CHANGES = ('lost', 'late', 'done-500', 'refused-500', 'forgotten')
#: After these an answer is another one than what is so.
LIES = frozenset(('short', 'empty', 'twice', 'other', 'html'))


@dataclasses.dataclass(slots=True, kw_only=True)
class Trouble:
    """What is wrong on the way.

    :ivar down: all addresses are: refused, silent, 503, 401 or reset.
    :ivar dead: the same of one address each.
    :ivar lag_s: by address: how old the news are there.
    :ivar mishaps: what becomes of the next answers, one each: which ones
        (empty: any), and what.
    """

    down: str = 'refused'
    dead: dict[str, str] = dataclasses.field(default_factory=dict)
    lag_s: dict[str, float] = dataclasses.field(default_factory=dict)
    mishaps: list[tuple[str, str]] = dataclasses.field(default_factory=list)


class Peer:
    """KumoScale at the other end of the wire.

    :param fault: called when one answer has been hurt.
    :ivar token: what it takes now; ``written`` is what the operator wrote.
    :ivar lies: how many answers were other than what is so.
    """

    def __init__(self, books: array.Books, rng: random.Random,
                 fault: Callable[[str], None]) -> None:
        self.books = books
        self.cloud = books.cloud
        self.time = books.cloud.time
        self.rng = rng
        self.fault = fault
        self.api = array.Api(books)
        self.trouble = Trouble()
        self.token = self.written = 'token-0'
        self.lies = 0
        self._last: bytes = b'[]'

    def way(self, address: str) -> str:
        """What is wrong with an address; empty if nothing is."""
        if self.cloud.weather.down:
            return self.trouble.down
        return self.trouble.dead.get(address, '')

    def mishap(self, kind: str, change: str | None) -> str:
        """What becomes of the next answer; empty if nothing does."""
        weather = self.cloud.weather
        if change is not None and weather.refuse > 0:
            weather.refuse -= 1
            found = 'refused-500'
        elif change is not None and weather.loses(change):
            found = 'lost'
        else:
            waiting = self.trouble.mishaps
            for one in waiting:
                if one[0] in ('', change or kind):
                    waiting.remove(one)
                    found = one[1]
                    break
            else:
                return ''
        self.lies += found in LIES
        self.fault(f'{kind}: {found}')
        return found

    def heard(self, request: 'Request', address: str) -> tuple[int, bytes]:
        """The request is there: do as it says, and answer."""
        way = self.way(address)
        if way.isdigit() or request.token != self.token:
            # It may have gone silent since: who sent it waits no more.
            return (int(way) if way.isdigit() else 401,
                    b'<html>not now</html>')
        if request.mishap == 'forgotten':
            return 200, b'{"status": "Success"}'
        found = self.api.answer(
            request.method, request.target, request.body,
            lag_s=self.cloud.weather.lag_s
            + self.trouble.lag_s.get(address, 0.0))
        before, self._last = self._last, json.dumps(found).encode()
        return 200, before if request.mishap == 'other' else self._last


@dataclasses.dataclass(slots=True, kw_only=True)
class Request:
    """A request on its way.

    :ivar change: what it changes (see ``CHANGES``), None for a question.
    """

    method: str
    target: str
    body: Any
    token: str
    change: str | None
    mishap: str = ''
    answer: tuple[int, bytes] | None = None


class Wire(adapters.HTTPAdapter):
    """The adapter that a session of the plugin sends with."""

    def __init__(self, peer: Peer, crash: Callable[[str], None]) -> None:
        super().__init__(max_retries=0)
        self._peer = peer
        self._crash = crash

    def cert_verify(self, *_: Any, **_more: Any) -> None:
        """There is no TLS here."""

    def get_connection_with_tls_context(
            self, request: requests.PreparedRequest, *_: Any,
            **_more: Any) -> Any:
        return Line(self._peer, self._crash,
                    urllib.parse.urlsplit(request.url or '').hostname or '')


class Line:
    """A connection to one address; a pool of urllib3 as far as it is used.
    """

    def __init__(self, peer: Peer, crash: Callable[[str], None],
                 address: Any) -> None:
        self._peer = peer
        self._crash = crash
        self._address = str(address)

    def urlopen(self, *, method: str, url: str, body: bytes | None,
                headers: Any, timeout: urllib3.Timeout, **_: Any
                ) -> urllib3.HTTPResponse:
        parts = urllib.parse.urlsplit(url)
        words = [w for w in parts.path.split('/') if w]
        kind = api.kind_of(method, words)
        if kind == 'volumes' and len(words) > 1:
            kind = 'volume'
        change = CHANGES.get(kind)
        if change is not None:
            self._crash(f'before {change}')
        connect_s: Any = timeout.connect_timeout
        read_s: Any = timeout.read_timeout
        self._connect(url, float(connect_s))
        asked = Request(
            method=method, target=url, body=json.loads(body or b'{}'),
            token=headers.get('Authorization', '').removeprefix('Bearer '),
            change=change, mishap=self._peer.mishap(kind, change))
        self._send(asked, url, float(read_s))
        if change is not None:
            self._crash(f'after {change}')
        return self._answer(asked, url, float(read_s))

    def _connect(self, url: str, connect_s: float) -> None:
        time, way = self._peer.time, self._peer.way(self._address)
        time.sleep(connect_s if way == 'silent' else 0.001)
        if way in ('silent', 'refused'):
            connection = urllib3.connection.HTTPSConnection(self._address)
            reason: Exception = urllib3.exceptions.ConnectTimeoutError(
                connection, 'timed out')
            if way == 'refused':
                reason = urllib3.exceptions.NewConnectionError(
                    connection, 'refused')
                reason.__cause__ = ConnectionRefusedError(111, 'refused')
            raise urllib3.exceptions.MaxRetryError(
                None, url, reason)      # type: ignore[arg-type]  # no pool

    def _send(self, asked: Request, url: str, read_s: float) -> None:
        """Until the answer begins; it may be heard though nobody waits."""
        peer, time = self._peer, self._peer.time
        if asked.mishap == 'reset' or peer.way(self._address) == 'reset':
            time.sleep(0.01)
            raise _reset()
        there_s = peer.cloud.travel_s()
        if asked.mishap == 'late':
            there_s = read_s + peer.rng.uniform(*LATE_S)
        if asked.mishap not in ('refused-500', '500', '429', '401'):
            time.after(there_s, lambda: _hear(peer, asked, self._address))
        time.sleep(min(read_s, there_s + peer.rng.uniform(0.001, 0.05)))
        if there_s >= read_s:
            raise urllib3.exceptions.ReadTimeoutError(
                None, url, 'timed out')     # type: ignore[arg-type]

    def _answer(self, asked: Request, url: str,
                read_s: float) -> urllib3.HTTPResponse:
        if asked.mishap == 'lost':
            raise _reset()
        status, text = asked.answer or (500, b'')
        match asked.mishap:
            case 'refused-500' | 'done-500' | '500':
                status, text = 500, b'<html>oops</html>'
            case '429' | '401':
                status, text = int(asked.mishap), b'<html>not now</html>'
            case 'html':
                text = b'<html>it works!</html>'
            case 'empty':
                text = b''
            case 'twice':
                text = _twice(text)
        told = len(text)
        if asked.mishap in ('cut', 'short'):
            text = text[:self._peer.rng.randrange(max(1, len(text)))]
        stream: io.BytesIO = io.BytesIO(text)
        if asked.mishap == 'drip':
            stream = Drip(text, self._peer, read_s)
        return urllib3.HTTPResponse(
            body=stream, status=status, preload_content=False,
            decode_content=False, request_method=asked.method,
            request_url=url, headers={} if asked.mishap == 'short'
            else {'Content-Length': str(told)})


class Drip(io.BytesIO):
    """An answer of which a byte comes now and then."""

    def __init__(self, text: bytes, peer: Peer, read_s: float) -> None:
        super().__init__(text)
        self._time = peer.time
        self._end_s = peer.time.now_s + read_s

    def read(self, size: int | None = -1) -> bytes:
        while self._time.now_s < self._end_s:
            self._time.sleep(DRIP_S)
        # As the plugin's own socket, whose reads share one deadline.
        raise TimeoutError('the answer took too long')


class Client(kumoscale_client.Client):
    """The plugin's own client, on this wire."""

    def __init__(self, access: kumoscale_conf.Access,
                 clock: Callable[[], float],
                 wire: Callable[[], Wire]) -> None:
        self._wire = wire
        super().__init__(access, clock)

    def _tls(self) -> Any:
        return None     # the wire has none, and reading certificates is slow

    def _new_session(self) -> requests.Session:
        session = super()._new_session()
        session.mount('https://', self._wire())
        return session


def peer(seed: str, world: 'world_lib.World') -> Peer:
    """KumoScale before the books of a world."""
    return Peer(
        array.Books(world.cloud, array.DIALECTS[world.setup.http],
                    [world.portals(at)
                     for at in range(world.setup.backends)]),
        random.Random(f'{seed}/wire'),
        lambda what: world.fault(f'an answer is hurt: {what}'))


def _hear(peer: Peer, asked: Request, address: str) -> None:
    asked.answer = peer.heard(asked, address)


def _reset() -> urllib3.exceptions.ProtocolError:
    return urllib3.exceptions.ProtocolError(
        'Connection aborted.', ConnectionResetError(104, 'reset by peer'))


def _twice(text: bytes) -> bytes:
    """Every entry of a list is in it twice."""
    found = json.loads(text)
    return json.dumps(found * 2 if isinstance(found, list) else found
                      ).encode()


