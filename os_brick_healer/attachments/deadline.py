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
"""Requests of which each must be over by a deadline, whatever it is made of.

The timeout of a socket starts anew with every read, and both a header and a
body are read in as many reads as the server likes: a byte now and then would
keep the thread that asks busy for ever. So here each read may take only what
is left of the time of all that its thread is doing.
"""

from collections.abc import Iterator
import contextlib
import socket
import ssl
import threading
import time
from typing import Any

import urllib3
from urllib3 import connection, connectionpool
from urllib3.util import ssl_


class _Deadline(threading.local):
    """When what this thread asks must be over; None: it asks nothing."""

    at_s: float | None = None


_deadline = _Deadline()


@contextlib.contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """All reads of this thread's connections end in time.

    :param seconds: None: what the timeouts of the sockets say. Within
        another deadline the earlier one counts.
    """
    before = _deadline.at_s
    if seconds is not None:
        at_s = time.monotonic() + seconds
        _deadline.at_s = at_s if before is None else min(at_s, before)
    try:
        yield
    finally:
        _deadline.at_s = before


def _hurry(one: socket.socket) -> None:
    """Give a read no more than what is left.

    :raises TimeoutError: nothing is.
    """
    if _deadline.at_s is None:
        return
    left_s = _deadline.at_s - time.monotonic()
    if left_s <= 0.0:
        raise TimeoutError('the answer took too long')
    silence_s = one.gettimeout()
    one.settimeout(left_s if silence_s is None else min(left_s, silence_s))


class _Plain(socket.socket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        _hurry(self)
        return super().recv_into(*args, **kwargs)


class _Tls(ssl.SSLSocket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        _hurry(self)
        return super().recv_into(*args, **kwargs)


class _PlainLink(connection.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        made = self.sock
        silence_s = made.gettimeout()
        self.sock = _Plain(made.family, made.type, made.proto, made.detach())
        self.sock.settimeout(silence_s)


class _TlsLink(connection.HTTPSConnection):
    def connect(self) -> None:
        if self.ssl_context is None:    # the one that it would make
            self.ssl_context = ssl_.create_urllib3_context(
                cert_reqs=ssl_.resolve_cert_reqs(self.cert_reqs))
        self.ssl_context.sslsocket_class = _Tls
        super().connect()


class _PlainPool(connectionpool.HTTPConnectionPool):
    ConnectionCls = _PlainLink


class _TlsPool(connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TlsLink


def hold(manager: urllib3.PoolManager) -> None:
    """Have every connection that is made from now on keep to it."""
    manager.pool_classes_by_scheme = {'http': _PlainPool,
                                      'https': _TlsPool}
