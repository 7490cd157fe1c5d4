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
"""Questions to one HTTPS server, with the standard library alone.

What is defended against: a server that answers never, a byte at a time, or
without end; a redirect that would carry the token elsewhere; a token that
would show in an error. There is no way to ask without TLS.
"""

from collections.abc import Callable, Mapping
import http.client
import json
import socket
import ssl
from typing import Any
from urllib import parse as urls

from os_brick_healer import deadline, exception, regular

ANSWER_BYTES_MAX = 64 * 1024 * 1024
_CHUNK_BYTES = 65536


class NotThere(exception.SourceError):
    """The server knows no such thing (404)."""


class Client:
    """One server. Thread-safe: each question has a connection of its own.

    :param url: ``https://host[:port]``, without a path.
    :param ca_file: what the server is verified with, None: the system's.
    :param token: called for each question: tokens are renewed in place.
    :param timeout_s: for one question, everything included.
    :raises ConfigError: it cannot be asked that way.
    """

    def __init__(self, url: str, *, ca_file: str | None,
                 token: Callable[[], str], timeout_s: float,
                 option: str) -> None:
        parts = urls.urlsplit(url)
        if (parts.scheme != 'https' or not parts.hostname
                or parts.path not in ('', '/')):
            raise exception.ConfigError(
                f'cannot ask {url}: because it is no https://HOST:PORT',
                hint=f'see {option}')
        self.host = parts.hostname
        self.port = parts.port or 443
        self._token = token
        self._timeout_s = timeout_s
        self._context = _context(ca_file)

    def __repr__(self) -> str:
        return f'Client({self.host}:{self.port})'

    def get(self, path: str, what: str,
            params: Mapping[str, str] | None = None) -> Any:
        """The answer, as JSON.

        :param what: for the errors: ``cannot WHAT``.
        :raises SourceError: there is none that can be used.
        """
        query = f'?{urls.urlencode(params)}' if params else ''
        link = http.client.HTTPSConnection(
            self.host, self.port, timeout=self._timeout_s,
            context=self._context)
        try:
            with deadline.within(self._timeout_s):
                status, body = self._ask(link, path + query)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise exception.SourceError(
                f'cannot {what}: because {self.host}:{self.port} '
                f'{_cause(error, self._timeout_s)}',
                hint=_hint(error)) from None
        finally:
            link.close()
        if status != http.HTTPStatus.OK:
            raise self._refusal(status, what)
        return _json(body, what)

    def _ask(self, link: http.client.HTTPSConnection,
             target: str) -> tuple[int, bytes]:
        link.request('GET', target, headers={
            'Accept': 'application/json', 'Connection': 'close',
            'Authorization': f'Bearer {self._token()}'})
        answer = link.getresponse()
        found = bytearray()
        while chunk := answer.read(_CHUNK_BYTES):
            found += chunk
            if len(found) > ANSWER_BYTES_MAX:
                raise ValueError('too long')
        if answer.length:
            raise http.client.IncompleteRead(b'')
        return answer.status, bytes(found)

    def _refusal(self, status: int, what: str) -> exception.SourceError:
        where = f'{self.host}:{self.port}'
        match status:
            case 401 | 403:
                return exception.SourceError(
                    f'cannot {what}: because {where} denies access (HTTP '
                    f'status {status})', transient=False,
                    hint='see the token, and what its account may read')
            case 404:
                return NotThere(f'cannot {what}: because it is not there')
            case _ if 300 <= status < 400:
                return exception.SourceNonsense(
                    f'cannot {what}: because {where} redirects elsewhere, '
                    'where the token does not go')
        return exception.SourceError(
            f'cannot {what}: because {where} answers with HTTP status '
            f'{status}')


def _context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = deadline.Tls
    try:
        if ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=ca_file)
    except OSError as error:     # SSLError is one
        raise exception.ConfigError(
            f'cannot verify a server: because the certificates in {ca_file} '
            f'cannot be used ({error.strerror or error})') from None
    return context


def _json(body: bytes, what: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise exception.SourceNonsense(
            f'cannot {what}: because the answer is not JSON') from None


def _cause(error: Exception, timeout_s: float) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return ('shows a certificate that is not accepted '
                    f'({error.verify_message})')
        case ssl.SSLError():
            return 'does not agree on TLS'
        case ConnectionRefusedError():
            return 'refuses connections'
        case socket.gaierror():
            return 'is a name that cannot be resolved'
        case TimeoutError():
            return f'does not answer within {timeout_s:g} s'
        case ValueError():
            return ('answers with more than '
                    f'{ANSWER_BYTES_MAX} bytes, or with none that are HTTP')
        case OSError() if error.strerror:
            return f'cannot be asked ({error.strerror})'
    return f'breaks off ({type(error).__name__})'


def _hint(error: Exception) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return 'the file of certificates must hold the one that signed it'
    return None


def read_secret(path: str, option: str) -> str:
    """A secret from a file; it is read anew each time, and kept nowhere.

    :raises SourceError: it cannot be read, or holds no line of text.
    """
    try:
        found = regular.read(path, _CHUNK_BYTES).decode('ascii').strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, 'strerror', None) or 'it is no text'
        raise exception.SourceError(
            f'cannot read {path}: because {why}', hint=f'see {option}'
            ) from None
    if not found or not found.isprintable():
        raise exception.SourceError(
            f'cannot use {path}: because it holds no token',
            hint=f'see {option}')
    return found
