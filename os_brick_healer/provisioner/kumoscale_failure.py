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
"""Why one address of KumoScale gave no usable answer, and the way out."""

import socket
import ssl

import urllib3
from urllib3.util import ssl_match_hostname

from os_brick_healer.provisioner import kumoscale_conf

_TRUST = ('ca_file (or kumoscale_ca_file) must hold the certificate that '
          'signed it, and server_name its name where that is not the '
          'address')


class Failure(Exception):
    """One address gave no usable answer.

    :ivar sent: the request may have arrived there.
    :ivar hint: the way out, where one is known.
    """

    def __init__(self, cause: str, *, sent: bool,
                 hint: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.sent = sent
        self.hint = hint


def of(error: Exception, access: kumoscale_conf.Access) -> Failure:
    """What an exception of the HTTP library means to an operator."""
    roots = _roots(error)
    for kind, cause, sent, hint in (
            (ssl.SSLCertVerificationError,
             'shows a certificate that is not accepted', False, _TRUST),
            (ssl_match_hostname.CertificateError,
             'shows a certificate for another name', False, _TRUST),
            (ConnectionRefusedError, 'refuses connections', False, None),
            (socket.gaierror, 'is a name that cannot be resolved', False,
             "see prov_ip and this host's DNS"),
            (urllib3.exceptions.NewConnectionError, 'cannot be reached',
             False, None),
            (urllib3.exceptions.ConnectTimeoutError,
             f'is silent for {access.connect_timeout_s:g} s', False, None),
            (TimeoutError, 'does not answer within '
             f'{access.read_timeout_s:g} s', True, None),
            (urllib3.exceptions.TimeoutError, 'does not answer within '
             f'{access.read_timeout_s:g} s', True, None),
            (ssl.SSLError, 'does not agree on TLS', True,
             'see prov_port: is it the one that speaks TLS?')):
        for root in roots:
            if isinstance(root, kind):
                told = getattr(root, 'verify_message',
                               getattr(root, 'reason', None))
                more = f' ({told})' if isinstance(told, str) else ''
                return Failure(cause + more, sent=sent, hint=hint)
    return Failure(f'breaks off ({type(error).__name__})', sent=True)


def _roots(error: BaseException | None) -> list[BaseException]:
    """An exception and all that it wraps, the outermost first."""
    found: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(found) < 32:
        one = queue.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            queue += [*one.args, getattr(one, 'reason', None),
                      one.__cause__, one.__context__]
    return found
