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
"""HTTP to the KumoScale provisioner, and nothing else.

What is defended against here: a server that answers never, or one byte at
a time, or without end; a redirect that would carry the token elsewhere; a
token or a password that would show in a log; a request that must not be
done twice being sent twice.
"""

from collections.abc import Callable, Mapping
import ssl
import threading
import time
from typing import Any, Literal
from urllib import parse

import requests
from requests import adapters
import urllib3

from os_brick_healer import deadline, exception
from os_brick_healer.provisioner import (
    kumoscale_conf,
    kumoscale_failure,
    reading,
)

ANSWER_BYTES_MAX = 64 * 1024 * 1024
CHUNK_BYTES = 65536
TOLD_CHARS_MAX = 200

SUCCESS = 'Success'
#: The status words of "there is no such thing".
GONE = frozenset(('DeviceNotFound', 'NotExists'))
#: The status words of any other clear no.
REFUSALS = frozenset(('VolumeNotPublished', 'ParametersError'))
#: HTTP statuses of "not now": request timeout, too early, too many.
NOT_NOW = frozenset((408, 425, 429))

Method = Literal['GET', 'POST', 'PATCH', 'DELETE']


class NoSuchThing(exception.ProvisionerRefused):
    """KumoScale knows no such volume, replica or host."""


class Uncertain(exception.ProvisionerUnreachable):
    """A request that must not be sent twice was sent; no answer came."""


class _Adapter(adapters.HTTPAdapter):
    """Connections that use our TLS settings and no others."""

    def __init__(self, context: ssl.SSLContext,
                 server_name: str | None) -> None:
        self._context = context
        self._server_name = server_name
        super().__init__(max_retries=0, pool_maxsize=8)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        kwargs['ssl_context'] = self._context
        if self._server_name is not None:
            kwargs['server_hostname'] = self._server_name
            kwargs['assert_hostname'] = self._server_name
        super().init_poolmanager(*args, **kwargs)

    def cert_verify(self, conn: Any, url: object,  # noqa: ARG002
                    verify: object, cert: object) -> None:  # noqa: ARG002
        # The base class would add its own bundle of certificates to the
        # ones that the operator named.
        conn.cert_reqs = 'CERT_REQUIRED' if verify else 'CERT_NONE'


class _Session(requests.Session):
    """A session that does not even look where a redirect leads.

    The base class would read the whole of its body, whatever its size.
    """

    def get_redirect_target(self, resp: object) -> None:  # noqa: ARG002
        return None


def _context(access: kumoscale_conf.Access) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = deadline.Tls
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if access.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=access.ca_file)
    except OSError as error:  # SSLError is one
        raise exception.ConfigError(
            'cannot verify the KumoScale provisioner: because the '
            f'certificates in {access.ca_file} cannot be used '
            f'({error.strerror})',
            hint='ca_file, or kumoscale_ca_file, is a PEM file with the '
                 'certificates of who signs for the provisioner') from None
    if access.cert_file is not None:
        _present(context, access.cert_file)
    return context


def _present(context: ssl.SSLContext, cert_file: str) -> None:
    try:
        # An encrypted key would ask for its password on the terminal.
        context.load_cert_chain(cert_file, password=lambda: b'')
    except OSError as error:
        raise exception.ConfigError(
            'cannot reach the KumoScale provisioner: because the client '
            f'certificate {cert_file} cannot be used ({error.strerror})',
            hint='cert_file is one PEM file with the certificate and its '
                 'unencrypted key; it may be left out') from None


class Client:
    """Requests to one provisioner that has one or more addresses.

    Thread-safe. Each address has ``connect_timeout_s + read_timeout_s`` for
    one request, everything included.

    :param clock: seconds that never go back.
    :ivar requests: how many requests were sent, for those who count.
    """

    def __init__(self, access: kumoscale_conf.Access,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._access = access
        self._clock = clock
        self._lock = threading.Lock()
        self._order = access.addresses
        self._context = self._tls()
        self._session = self._new_session()
        self.requests = 0

    def __repr__(self) -> str:
        return f'Client({self.address})'

    @property
    def address(self) -> str:
        """Where the next request goes first: ``host:port``."""
        return f'{_bracketed(self._order[0])}:{self._access.port}'

    def close(self) -> None:
        self._session.close()

    def path(self, *parts: str, tenant: bool = True) -> str:
        """A path below the base URL, each part quoted."""
        if tenant and self._access.tenant is not None:
            parts = (self._access.tenant, *parts)
        return '/'.join(parse.quote(part, safe='') for part in parts)

    def get(self, path: str, what: str,
            params: Mapping[str, str] | None = None) -> reading.Cursor:
        """The answer to a question.

        :param what: what is asked for, for the errors: ``cannot WHAT``.
        """
        status, cursor = self._ask('GET', path, what, params=params)
        self._judge(status, cursor, what, frozenset())
        assert cursor is not None
        return cursor

    def do(self, method: Method, path: str, what: str, *,
           body: Mapping[str, Any] | None = None,
           accept: frozenset[str] = frozenset(),
           once: bool = False) -> str:
        """Have something done; returns the status word.

        :param accept: status words that are as good as Success.
        :param once: doing it twice is not the same as once: when it was
            sent and no answer came, it is not sent to the next address.
        """
        status, cursor = self._ask(method, path, what, body=body, once=once)
        if cursor is not None and cursor.value != []:
            cursor.mapping()
        return self._judge(status, cursor, what, accept)

    # -- what an answer means --

    def _judge(self, status: int, cursor: reading.Cursor | None, what: str,
               accept: frozenset[str]) -> str:
        word, told = _envelope(cursor)
        if word in accept:
            return word
        if status < 300 and word == SUCCESS:
            return word
        said = f'{word}: {told}' if told else word
        if word == SUCCESS:
            said = f'HTTP status {status}'
        sentence = self._clean(
            f'cannot {what}: because KumoScale says {said}')
        if status in (401, 403):
            raise exception.ProvisionerRefused(
                self._clean(f'cannot {what}: because KumoScale denies '
                            f'access (HTTP status {status})'),
                hint='check token and cert_file')
        if word in GONE or status == 404:
            raise NoSuchThing(sentence)
        if word in REFUSALS or (word == SUCCESS
                                and status not in NOT_NOW):
            raise exception.ProvisionerRefused(sentence)
        raise exception.ProvisionerError(sentence)

    def _clean(self, text: str) -> str:
        if self._access.token is not None:
            text = text.replace(self._access.token, '(secret)')
        return text

    # -- asking one address after the other --

    def _ask(self, method: Method, path: str, what: str, *,
             params: Mapping[str, str] | None = None,
             body: Mapping[str, Any] | None = None,
             once: bool = False) -> tuple[int, reading.Cursor | None]:
        causes, hint = [], None
        kind = exception.ProvisionerUnreachable
        for address in self._order:
            try:
                status, text = self._send(method, address, path,
                                          params, body, once)
            except kumoscale_failure.Failure as failure:
                causes.append(f'{_bracketed(address)}:{self._access.port} '
                              f'{failure.cause}')
                hint = hint or failure.hint
                if once and failure.sent:
                    kind = Uncertain
                    break
                continue
            except exception.ProvisionerError as error:
                error.sentence = f'cannot {what}: because {error.sentence}'
                raise
            self._prefer(address)
            return status, self._read(text, status, what)
        raise kind(self._clean(
            f'cannot {what}: because ' + '; '.join(causes)), hint=hint)

    def _read(self, text: bytes, status: int,
              what: str) -> reading.Cursor | None:
        if not text.strip():
            # KumoScale says Success with nothing at all, too.
            return reading.Cursor(value=[], source=what)
        try:
            return reading.load(text, f'the answer to "{what}"')
        except exception.ProvisionerNonsense:
            if status >= 400:
                return None
            raise

    def _prefer(self, address: str) -> None:
        if self._order[0] == address:
            return
        with self._lock:
            rest = tuple(a for a in self._order if a != address)
            self._order = (address, *rest)

    def _send(self, method: Method, address: str, path: str,
              params: Mapping[str, str] | None,
              body: Mapping[str, Any] | None,
              once: bool) -> tuple[int, bytes]:
        access = self._access
        # A kept-alive connection that the server has just closed fails in
        # a way that does not tell whether the request arrived.
        session = self._new_session() if once else self._session
        with self._lock:
            self.requests += 1
        time_s = access.connect_timeout_s + access.read_timeout_s
        try:
            with deadline.within(time_s, self._clock), session.request(
                    method,
                    f'https://{_bracketed(address)}:{access.port}/{path}',
                    params=params, json=body, stream=True,
                    allow_redirects=False,
                    timeout=(access.connect_timeout_s,
                             access.read_timeout_s)) as response:
                return response.status_code, self._body(address, response)
        except (requests.RequestException, urllib3.exceptions.HTTPError,
                OSError, ValueError) as error:
            raise kumoscale_failure.of(error, access) from None
        finally:
            if once:
                session.close()

    def _body(self, address: str, response: requests.Response) -> bytes:
        status = response.status_code
        if status >= 500:
            raise kumoscale_failure.Failure(
                f'answers with HTTP status {status}', sent=True)
        if 300 <= status < 400:
            raise exception.ProvisionerNonsense(
                f'{address} redirects elsewhere, where the token does not '
                'go', hint='prov_ip must be the provisioner itself')
        found = bytearray()
        for chunk in response.iter_content(CHUNK_BYTES):
            found += chunk
            if len(found) > ANSWER_BYTES_MAX:
                raise exception.ProvisionerNonsense(
                    f'{address} answers with more than {ANSWER_BYTES_MAX} '
                    'bytes')
        return bytes(found)

    def _tls(self) -> ssl.SSLContext:
        return _context(self._access)

    def _new_session(self) -> requests.Session:
        session = _Session()
        # The environment names proxies, another CA bundle, and ~/.netrc,
        # whose password would take the place of the token.
        session.trust_env = False
        session.verify = not self._access.insecure
        if self._access.token is not None:
            session.headers['Authorization'] = f'Bearer {self._access.token}'
        session.headers['Accept'] = 'application/json'
        session.headers['Accept-Encoding'] = 'identity'
        session.mount('https://', _Adapter(self._context,
                                           self._access.server_name))
        return session


def _envelope(cursor: reading.Cursor | None) -> tuple[str, str]:
    """The status word and the description; data alone means Success."""
    if cursor is None or not isinstance(cursor.value, dict):
        return SUCCESS, ''
    word = cursor.maybe('status')
    told = cursor.value.get('description', '')
    return (SUCCESS if word is None else word.text(),
            _printable(told) if isinstance(told, str) else '')


def _printable(text: str) -> str:
    shown = ''.join(c if c.isprintable() else ' ' for c in text)
    return shown[:TOLD_CHARS_MAX]


def _bracketed(address: str) -> str:
    return f'[{address}]' if ':' in address else address
