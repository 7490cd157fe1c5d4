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
"""Connections of urllib3 that keep a deadline (see ``deadline``)."""

import urllib3
from urllib3 import connection, connectionpool
from urllib3.util import ssl_

from os_brick_healer import deadline


class _PlainLink(connection.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        made = self.sock
        silence_s = made.gettimeout()
        self.sock = deadline.Plain(made.family, made.type, made.proto,
                                   made.detach())
        self.sock.settimeout(silence_s)


class _TlsLink(connection.HTTPSConnection):
    def connect(self) -> None:
        if self.ssl_context is None:    # the one that it would make
            self.ssl_context = ssl_.create_urllib3_context(
                cert_reqs=ssl_.resolve_cert_reqs(self.cert_reqs))
        self.ssl_context.sslsocket_class = deadline.Tls
        super().connect()


class _PlainPool(connectionpool.HTTPConnectionPool):
    ConnectionCls = _PlainLink


class _TlsPool(connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TlsLink


def hold(manager: urllib3.PoolManager) -> None:
    """Have every connection that is made from now on keep to it."""
    manager.pool_classes_by_scheme = {'http': _PlainPool,
                                      'https': _TlsPool}
