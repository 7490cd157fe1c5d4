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
"""Does a portal answer? Our own TCP connections to it, never waited for.

The kernel notices a silent target only when its keep-alive runs out. A TCP
handshake tells within a round trip whether anybody is there.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
import dataclasses
import errno
import ipaddress
import logging as std_logging
import selectors
import socket
import struct
import threading
import time
from typing import Any

from oslo_log import log as logging

from os_brick_healer.provisioner import base

LOG: std_logging.LoggerAdapter[Any] = logging.getLogger(__name__)

#: A pause after a failure of our own, so that it does not run hot.
START_OVER_S = 0.1

Clock = Callable[[], float]

#: Connections that may be under way at once; the others wait in line.
SOCKETS_MAX = 64
#: Portals of which a result is kept; the oldest results go first.
KNOWN_MAX = 4096
#: Transports whose portals speak TCP.
TRANSPORTS = frozenset(('tcp',))

# Close with a reset: no TIME_WAIT is left behind on either side.
_LINGER = struct.pack('ii', 1, 0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What is known of one portal.

    :ivar answers: the last probe's result; None: none has ended yet, or
        the transport cannot be probed. Refused is no answer.
    :ivar silent_for_s: since when (the start of the first probe that
        failed) nothing has answered; 0.0 when it answers.
    :ivar age_s: since when the last probe has ended.
    """

    answers: bool | None = None
    silent_for_s: float | None = None
    age_s: float | None = None


def can_probe(portal: base.Portal) -> bool:
    """Whether a TCP handshake says anything about it."""
    return portal.transport in TRANSPORTS


def _open(portal: base.Portal) -> socket.socket | bool:
    """Begin to connect; a socket that is under way, or the answer."""
    try:
        version = ipaddress.ip_address(portal.address).version
    except ValueError:
        return False
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return False
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    try:
        code = sock.connect_ex((portal.address, portal.port))
    except OSError as error:
        code = error.errno or errno.EINVAL
    if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
        return sock
    sock.close()
    return code == 0


def _answered(sock: socket.socket) -> bool:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def probe_now(portals: Iterable[base.Portal], *, deadline_s: float = 0.5,
              one_is_enough: bool = False,
              clock: Clock = time.monotonic) -> Mapping[base.Portal, bool]:
    """Probe a few portals at once and wait for all, at most the deadline.

    A portal that cannot be probed (rdma) is missing from the result.

    :param one_is_enough: come back with the first one that answers; those
        that were not waited for are missing from the result.
    """
    end_s = clock() + deadline_s
    found: dict[base.Portal, bool] = {}
    with selectors.DefaultSelector() as selector, \
            contextlib.ExitStack() as opened:
        for portal in {p for p in portals if can_probe(p)}:
            begun = _open(portal)
            if isinstance(begun, bool):
                found[portal] = begun
                continue
            opened.callback(begun.close)
            selector.register(begun, selectors.EVENT_WRITE, portal)
        while selector.get_map() and (left_s := end_s - clock()) > 0:
            if one_is_enough and any(found.values()):
                return found
            for key, _events in selector.select(left_s):
                assert isinstance(key.fileobj, socket.socket)
                found[key.data] = _answered(key.fileobj)
                selector.unregister(key.fileobj)
        found.update((key.data, False)
                     for key in selector.get_map().values())
    return found


@dataclasses.dataclass(slots=True, kw_only=True)
class _Flight:
    sock: socket.socket
    begun_s: float


class TcpProber:
    """Probes portals in one background thread; ask, then read results.

    Never more than one probe of a portal is under way, never more than
    SOCKETS_MAX in all; each ends by its deadline.

    :param wake: called with the portal whenever a probe has ended, in the
        background thread; it must not block.
    """

    def __init__(self, *, deadline_s: float = 0.5,
                 wake: Callable[[base.Portal], None] | None = None,
                 clock: Clock = time.monotonic,
                 sockets_max: int = SOCKETS_MAX) -> None:
        self._deadline_s = deadline_s
        self._wake = wake
        self._clock = clock
        self._sockets_max = sockets_max
        self._lock = threading.Lock()
        # A dict keeps the order of asking and holds each portal once.
        self._asked: collections.OrderedDict[base.Portal, None] = (
            collections.OrderedDict())
        self._flights: dict[base.Portal, _Flight] = {}
        self._known: dict[base.Portal, _Known] = {}
        self._selector = selectors.DefaultSelector()
        self._bell_in, self._bell_out = socket.socketpair()
        self._bell_in.setblocking(False)
        self._bell_out.setblocking(False)
        self._selector.register(self._bell_out, selectors.EVENT_READ)
        self._stopping = False
        self._thread: threading.Thread | None = None

    def ask(self, portals: Iterable[base.Portal]) -> None:
        """Probe these portals soon; those under way are not asked twice."""
        with self._lock:
            if self._stopping:
                return
            for portal in portals:
                if can_probe(portal) and portal not in self._flights:
                    self._asked[portal] = None
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name='prober', daemon=True)
                self._thread.start()
        self._ring()

    def result(self, portal: base.Portal) -> Result:
        """What is known of a portal now."""
        with self._lock:
            known = self._known.get(portal)
        if known is None:
            return Result()
        return known.result(self._clock())

    def forget(self, portals: Iterable[base.Portal]) -> None:
        """Drop what is known of portals that nobody asks for any more."""
        with self._lock:
            for portal in portals:
                self._known.pop(portal, None)

    def stop(self) -> None:
        """End the thread and close every socket."""
        with self._lock:
            self._stopping = True
            thread = self._thread
        self._ring()
        if thread is not None:
            thread.join(5.0)
        else:
            self._close()

    def _ring(self) -> None:
        # Full or closed: the thread is awake or gone, either is fine.
        with contextlib.suppress(OSError):
            self._bell_in.send(b'.')

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception:
                # Without probes no leg is proven live and none is given
                # up: whatever this was, the next probe begins anew.
                LOG.exception('probing portals failed: this is a bug')
                self._start_over()
        self._close()

    def _turn(self) -> None:
        self._launch()
        for key, _events in self._selector.select(self._wait_s()):
            if key.fileobj is self._bell_out:
                self._quiet()
            else:
                self._land(key.data)
        self._expire()

    def _start_over(self) -> None:
        with self._lock:
            flights = list(self._flights.values())
            self._flights.clear()
            self._asked.clear()
        for flight in flights:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(flight.sock)
            flight.sock.close()
        time.sleep(START_OVER_S)

    def _quiet(self) -> None:
        with contextlib.suppress(OSError):
            while self._bell_out.recv(4096):
                pass

    def _launch(self) -> None:
        for portal in self._next():
            now_s = self._clock()
            begun = _open(portal)
            if isinstance(begun, bool):
                self._note(portal, begun, now_s)
                continue
            with self._lock:
                self._flights[portal] = _Flight(sock=begun, begun_s=now_s)
            self._selector.register(begun, selectors.EVENT_WRITE, portal)

    def _next(self) -> Iterator[base.Portal]:
        while True:
            with self._lock:
                if (not self._asked
                        or len(self._flights) >= self._sockets_max):
                    return
                portal, _none = self._asked.popitem(last=False)
                if portal in self._flights:
                    continue     # asked for again while it took off
            yield portal

    def _wait_s(self) -> float | None:
        with self._lock:
            begun = [flight.begun_s for flight in self._flights.values()]
        if not begun:
            return None
        return max(0.0, min(begun) + self._deadline_s - self._clock())

    def _land(self, portal: base.Portal) -> None:
        with self._lock:
            flight = self._flights.pop(portal)
        self._selector.unregister(flight.sock)
        answers = _answered(flight.sock)
        flight.sock.close()
        self._note(portal, answers, flight.begun_s)

    def _expire(self) -> None:
        now_s = self._clock()
        with self._lock:
            late = [(portal, flight)
                    for portal, flight in self._flights.items()
                    if now_s >= flight.begun_s + self._deadline_s]
            for portal, _flight in late:
                del self._flights[portal]
        for portal, flight in late:
            self._selector.unregister(flight.sock)
            flight.sock.close()
            self._note(portal, False, flight.begun_s)

    def _note(self, portal: base.Portal, answers: bool,
              begun_s: float) -> None:
        with self._lock:
            before = self._known.get(portal)
            silent_s = None if answers else begun_s
            if not answers and before is not None:
                silent_s = (begun_s if before.silent_s is None
                            else before.silent_s)
            self._known.pop(portal, None)
            self._known[portal] = _Known(ended_s=self._clock(),
                                         silent_s=silent_s)
            while len(self._known) > KNOWN_MAX:
                del self._known[next(iter(self._known))]
        if self._wake is not None:
            self._wake(portal)

    def _close(self) -> None:
        for flight in self._flights.values():
            flight.sock.close()
        self._flights.clear()
        self._selector.close()
        self._bell_in.close()
        self._bell_out.close()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """:ivar silent_s: the clock when it fell silent; None: it answers."""

    ended_s: float
    silent_s: float | None

    def result(self, now_s: float) -> Result:
        silent_for_s = (0.0 if self.silent_s is None
                        else max(0.0, now_s - self.silent_s))
        return Result(answers=self.silent_s is None,
                      silent_for_s=silent_for_s,
                      age_s=max(0.0, now_s - self.ended_s))
