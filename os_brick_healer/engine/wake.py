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
"""What wakes the loop: kernel events, other threads, time.

An event names at most a kernel device; it never carries a decision. A lost
event costs time (the next poll finds the change), never correctness.

* ``NETLINK_KOBJECT_UEVENT`` group 1 (readable unprivileged): md raises
  ``change`` on its array, the block layer ``add`` and ``remove``. Linux 6.1
  raises nothing when a controller changes its state.
* ``/proc/mdstat`` answers poll() with POLLPRI|POLLERR on each md event,
  once its start has been read (drivers/md/md.c, mdstat_poll). No more of it
  is read: an array whose bitmap is being written to silent legs would not let
  the reader go (md_seq_show takes bitmap_info.mutex; 6.1.192).
"""

from collections.abc import Callable, Iterable
import contextlib
import dataclasses
import logging as std_logging
import math
import os
import re
import select
import socket
import threading
import time
from typing import Any

from oslo_log import log as logging

from os_brick_healer.engine import written

LOG: std_logging.LoggerAdapter[Any] = logging.getLogger(__name__)

_UEVENT_GROUP_KERNEL = 1
_UEVENT_MAX = 8192
_MDSTAT_RETRY_S = 2.0
_RECEIVE_BUFFER = 4 * 1024 * 1024
#: Who has no time to wait is not told more often of events, seconds.
GLANCE_S = 0.001
_NAME = re.compile(rb'/([^/\0]+)\Z')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """What happened: names of kernel devices, and whether md moved.

    :ivar lost: the kernel dropped events: look at everything.
    """

    devices: frozenset[str] = frozenset()
    md: bool = False
    lost: bool = False


NOTHING = Woken()


def parse_uevent(message: bytes) -> str | None:
    """The device that a kernel uevent is about; None if it is not one.

    The form is ``ACTION@DEVPATH\\0KEY=VALUE\\0...`` (lib/kobject_uevent.c).
    """
    head = message.partition(b'\0')[0]
    action, at, path = head.partition(b'@')
    if not at or not action.isalpha():
        return None
    found = _NAME.search(path)
    if found is None:
        return None
    return found.group(1).decode('utf-8', 'replace')


class Waker:
    """Waits for events and for calls of :meth:`post` from other threads."""

    def __init__(self, *, mdstat: str | None = '/proc/mdstat',
                 uevents: bool = True,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._poll = select.poll()
        self._posted: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._pipe_r, self._pipe_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._pipe_r, select.POLLIN)
        self._mdstat_path = mdstat
        self._mdstat_next_s = 0.0
        self._mdstat: int | None = None
        self._polled_s = -math.inf
        self._watch_mdstat()
        self._sources: dict[int, Callable[[], Iterable[str]]] = {}
        self._written: list[written.Written] = []
        # poll(2) walks all it is given, each time: a thousand descriptors of
        # processes would cost more than all else that the loop does.
        self._epoll = select.epoll()
        self._poll.register(self._epoll.fileno(), select.POLLIN)
        self._uevents = self._open_uevents() if uevents else None
        self.problems: list[str] = []
        if uevents and self._uevents is None:
            self.problems.append('kernel uevents cannot be received')

    def _watch_mdstat(self) -> None:
        """The file is there once md is loaded, maybe long after us."""
        now_s = self._clock()
        if self._mdstat_path is None or now_s < self._mdstat_next_s:
            return
        self._mdstat_next_s = now_s + _MDSTAT_RETRY_S
        try:
            fd = os.open(self._mdstat_path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        _note(fd)
        self._poll.register(fd, select.POLLPRI)
        self._mdstat = fd

    def _open_uevents(self) -> socket.socket | None:
        try:
            sock = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
                15)     # NETLINK_KOBJECT_UEVENT
        except OSError:
            return None
        try:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                _RECEIVE_BUFFER)
            sock.bind((0, _UEVENT_GROUP_KERNEL))
        except OSError:
            sock.close()
            return None
        self._poll.register(sock.fileno(), select.POLLIN)
        return sock

    def listen(self, fd: int, take: Callable[[], Iterable[str]]) -> None:
        """Wait for a wing's own descriptor, too. On the loop's thread.

        :param take: called when it is readable; the kernel devices that it
            concerns. What stays readable for ever (the descriptor of a
            process that has ended) must be taken off the list by it.
        """
        self._sources[fd] = take
        self._epoll.register(fd, select.EPOLLIN)

    def on_write(self, directory: str, call: Callable[[], None]) -> bool:
        """See ``parts.Waits``. For as long as the waker lives."""
        try:
            heard = written.Written(directory)
        except OSError as e:
            LOG.info('the kernel does not tell of what is written in %s '
                     '(%s): it is looked at more often', directory, e)
            return False

        def _take() -> Iterable[str]:
            heard.take()
            call()
            return ()

        self._written.append(heard)
        self.listen(heard.fileno(), _take)
        return True

    def unlisten(self, fd: int) -> None:
        """No longer; before the descriptor is closed."""
        if self._sources.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def post(self, call: Callable[[], None]) -> None:
        """Have the loop's thread make a call soon. From any thread."""
        with self._lock:
            self._posted.append(call)
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._pipe_w, b'.')

    def wait(self, seconds: float) -> Woken:
        """Wait at most so long; make the posted calls; say what woke.

        The loop also comes here between any two of its works, without time
        to wait. Most of them take less of it than to ask the kernel does.
        """
        if seconds <= 0.0 and self._clock() < self._polled_s + GLANCE_S:
            self._call_posted()
            return NOTHING
        if self._mdstat is None:
            self._watch_mdstat()
        found = self._poll.poll(max(0.0, seconds) * 1000.0)
        self._polled_s = self._clock()
        woken = self._hear(found) if found else NOTHING
        self._call_posted()
        return woken

    def _hear(self, found: list[tuple[int, int]]) -> Woken:
        devices: set[str] = set()
        md = lost = False
        for fd, _events in found:
            if fd == self._pipe_r:
                with contextlib.suppress(BlockingIOError):
                    while os.read(fd, 4096):
                        continue
            elif fd == self._mdstat:
                md = True
                _note(fd)
            elif fd == self._epoll.fileno():
                devices.update(self._take())
            elif self._uevents is not None:
                lost = self._receive(self._uevents, devices) or lost
        return Woken(devices=frozenset(devices), md=md, lost=lost)

    def _take(self) -> set[str]:
        """What the wings' own descriptors that are readable concern."""
        devices: set[str] = set()
        for fd, _events in self._epoll.poll(0):
            take = self._sources.get(fd)
            if take is not None:    # another one may have taken it off
                devices.update(take())
        return devices

    def _call_posted(self) -> None:
        if not self._posted:
            return
        with self._lock:
            calls, self._posted = self._posted, []
        while calls:
            call = calls.pop(0)
            try:
                call()
            except BaseException:
                # The others are not lost: they are made with the next wait.
                with self._lock:
                    self._posted = calls + self._posted
                self._ring()
                raise

    @staticmethod
    def _receive(sock: socket.socket, devices: set[str]) -> bool:
        for _ in range(1024):
            try:
                message, sender = sock.recvfrom(_UEVENT_MAX)
            except BlockingIOError:
                return False
            except OSError:      # ENOBUFS: the kernel had to drop some
                return True
            # Only the kernel (port 0) is listened to: any process may send.
            if sender[0] == 0 and (name := parse_uevent(message)):
                devices.add(name)
        return False

    def close(self) -> None:
        """Give back the file descriptors."""
        for fd in (self._pipe_r, self._pipe_w, self._mdstat):
            if fd is not None:
                os.close(fd)
        self._epoll.close()
        for heard in self._written:
            heard.close()
        if self._uevents is not None:
            self._uevents.close()


def _note(fd: int) -> None:
    """Read the beginning: md then counts this event as seen."""
    with contextlib.suppress(OSError):
        os.pread(fd, 1, 0)
