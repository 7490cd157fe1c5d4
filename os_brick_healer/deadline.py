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

from collections.abc import Callable, Iterator
import contextlib
import socket
import ssl
import threading
import time
from typing import Any


class _Deadline(threading.local):
    """When what this thread asks must be over; None: it asks nothing."""

    at_s: float | None = None
    clock: Callable[[], float] = staticmethod(time.monotonic)


_deadline = _Deadline()


@contextlib.contextmanager
def within(seconds: float | None, clock: Callable[[], float] = time.monotonic
           ) -> Iterator[None]:
    """All reads of this thread's connections end in time.

    :param seconds: None: what the timeouts of the sockets say. Within
        another deadline the earlier one counts.
    :param clock: seconds that never go back; one for each thread.
    """
    before = _deadline.at_s
    if seconds is not None:
        _deadline.clock = clock
        at_s = clock() + seconds
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
    left_s = _deadline.at_s - _deadline.clock()
    if left_s <= 0.0:
        raise TimeoutError('the answer took too long')
    silence_s = one.gettimeout()
    one.settimeout(left_s if silence_s is None else min(left_s, silence_s))


class Plain(socket.socket):
    """A socket whose reads keep to the deadline."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        _hurry(self)
        return super().recv_into(*args, **kwargs)


class Tls(ssl.SSLSocket):
    """The same with TLS, for ``SSLContext.sslsocket_class``."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        _hurry(self)
        return super().recv_into(*args, **kwargs)
