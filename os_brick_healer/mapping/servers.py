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
"""Servers: started, agreed with, waited for, ended.

What has been started and does not come to serve is killed: a heal that fails
leaves no process behind.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import os
import socket
import time
from typing import Protocol

from os_brick_healer import exception
from os_brick_healer.mapping import model
from os_brick_healer.mounter import base
from os_brick_healer.nbd import handshake
from os_brick_healer.sysfs import nbd, process, reader

#: A killed process is waited for so long, seconds.
KILLED_S = 2.0
#: A storage is asked for so long whether it has the data, seconds.
MISSING_S = 5.0
#: ... and so long how large they are when a volume is extended: nobody's I/O
#: waits for that, and nova calls the extend failed if it is not told.
GROW_S = 15.0
#: The kernel is given so long to give up a connection, seconds: it looks at
#: requests about once a second.
HANG_UP_S = 5.0
#: Who still reads a device that was disconnected is given so long, seconds.
LET_GO_S = 5.0
_POLL_S = 0.01


class Nbd(Protocol):
    """The privileged side; see :mod:`os_brick_healer.privileged.nbd`."""

    def prepare(self, *, mounter: str, timeout_s: float) -> None: ...

    def start(self, *, mounter: str, volume: str, source: dict[str, str],
              socket: str, device: str | None, reattach_s: int,
              timeout_s: float) -> tuple[int, str]: ...

    def kill(self, *, mounter: str, volume: str, source: dict[str, str],
             socket: str, pid: int, start: str, grace_s: float,
             timeout_s: float) -> bool: ...

    def fence(self, *, mounter: str, volume: str, source: dict[str, str],
              socket: str, timeout_s: float) -> str: ...

    def hang_up(self, *, device: str, volume: str, pid: int, start: str,
                timer_ms: int, timeout_s: float) -> bool: ...

    def missing(self, *, mounter: str, volume: str, source: dict[str, str],
                socket: str, timeout_s: float) -> str: ...

    def lacks(self, *, mounter: str, volume: str, source: dict[str, str],
              socket: str, timeout_s: float) -> str: ...

    def grow(self, *, mounter: str, volume: str, source: dict[str, str],
             socket: str, device: str, timeout_s: float) -> int: ...

    def last_words(self, *, volume: str) -> str: ...

    def connect(self, *, volume: str, handover: str, size_bytes: int,
                server_flags: int, reattach_s: int, timer_ms: int,
                timeout_s: float) -> tuple[str, int]: ...

    def reconnect(self, *, device: str, volume: str, handover: str,
                  size_bytes: int, reattach_s: int, timeout_s: float
                  ) -> None: ...

    def disconnect(self, *, device: str, volume: str, held: str,
                   timer_ms: int, timeout_s: float) -> bool: ...

    def set_timer(self, *, device: str, volume: str, timer_ms: int,
                  timeout_s: float) -> bool: ...

    def flows(self, *, device: str, volume: str, pid: int, start: str,
              timeout_s: float) -> str: ...


class Mounts(Protocol):
    """The same; see :mod:`os_brick_healer.privileged.mounting`."""

    def look(self, *, mounter: str, volume: str, source: dict[str, str],
             socket: str, place: str, timeout_s: float) -> str: ...

    def take(self, *, mounter: str, volume: str, source: dict[str, str],
             socket: str, place: str, timeout_s: float) -> bool: ...

    def serves(self, *, mounter: str, volume: str, source: dict[str, str],
               socket: str, place: str, timeout_s: float) -> bool: ...


#: Connects to who listens on a path; OSError: nobody does.
Dial = Callable[[str], socket.socket]


def dial(path: str) -> socket.socket:
    """A connection to a unix socket. :raises OSError: it is refused."""
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect(path)
    except OSError:
        link.close()
        raise
    return link


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that is agreed with, and the connection to it."""

    server: model.Process
    link: socket.socket
    export: handshake.Export


class NotServed(exception.HealerError):
    """A server came, and did not come to serve."""


class Ended(NotServed):
    """A server ended before it came to serve."""


class Gone(exception.HealerError):
    """The data that was mapped is no longer there, or is another's."""

    transient = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The processes of mapped volumes.

    :ivar mounters: an installed mounter by its name.
    """

    tree: reader.Tree
    mounters: Callable[[str], base.Mounter | None]
    nbd: Nbd
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    dial: Dial = dial

    def mounter(self, mapping: model.Mapping) -> base.Mounter:
        found = self.mounters(mapping.mounter)
        if found is None:
            raise exception.HealerError(
                f'cannot serve: because mounter {mapping.mounter} is not '
                'installed')
        return found

    def end(self, mapping: model.Mapping, server: model.Process,
             grace_s: float = 0.0) -> bool:
        order = mapping.order
        return self.nbd.kill(
            mounter=mapping.mounter, volume=order.volume,
            source=dict(order.source), socket=order.socket, pid=server.pid,
            start=server.start, grace_s=grace_s, timeout_s=KILLED_S)

    def wait_for(self, mapping: model.Mapping, server: model.Process,
               until_s: float, serves: Callable[[], bool]) -> None:
        """Wait for a server to serve; kill it if it does not.

        :raises HealerError: it ended, or the deadline passed.
        """
        try:
            while not serves():
                if process.same(self.tree, server) is None:
                    raise self._failure(mapping, f'{server} has ended',
                                        Ended)
                if self.clock() >= until_s:
                    raise NotServed(f'cannot serve: because {server} has '
                                    'not come to serve in time')
                self.sleep(_POLL_S)
        except BaseException:
            self.end(mapping, server)
            raise

    def bring_up(self, mapping: model.Mapping, until_s: float) -> Served:
        """Start the server of a volume, and agree with it.

        What has been started and does not come to serve is killed.

        :param until_s: the deadline, by this object's clock.
        :raises Gone: its data is not there. :raises HealerError: it failed.
        """
        mounter, order = self.mounter(mapping), mapping.order
        # What a dead server left: bind(2) would fail with EADDRINUSE.
        self._free(order)
        server = self.start(mapping, until_s)
        link = None
        try:
            link = self._knock(mapping, server, until_s)
            export = handshake.negotiate(
                link, mounter.export(order),
                max(0.1, until_s - self.clock()))
        except BaseException:
            if link is not None:
                link.close()
            self.end(mapping, server)
            raise
        return Served(server=server, link=link, export=export)

    def start(self, mapping: model.Mapping,
               until_s: float) -> model.Process:
        order = mapping.order
        try:
            pid, start = self.nbd.start(
                mounter=mapping.mounter, volume=order.volume,
                source=dict(order.source), socket=order.socket,
                device=order.device, reattach_s=order.reattach_s,
                timeout_s=max(0.1, until_s - self.clock()))
        except exception.CommandError as error:
            raise self._failure(mapping, str(error)) from error
        return model.Process(pid=pid, start=start)

    def follow(self, mapping: model.Mapping, left: model.Process | None,
               until_s: float) -> model.Process:
        """Start the server of a device after one that has left it.

        :param left: who is not gone yet, None: nobody.
        """
        order = mapping.order
        if left is not None and order.device is not None:
            self.nbd.hang_up(
                device=order.device, volume=order.volume, pid=left.pid,
                start=left.start, timer_ms=mapping.timer_ms,
                timeout_s=HANG_UP_S)
        return self.start(mapping, until_s)

    def flows(self, mapping: model.Mapping, server: model.Process,
              timeout_s: float) -> str:
        """What came of a read: see ``flowing``; empty: it failed."""
        order = mapping.order
        try:
            return self.nbd.flows(
                device=order.device or '', volume=order.volume,
                pid=server.pid, start=server.start, timeout_s=timeout_s)
        except exception.CommandError:
            return ''

    def fence(self, mapping: model.Mapping, until_s: float) -> str:
        """Shut out the client that died, if its storage makes others wait
        for it: what came of it, or nothing.

        A heal does not fail by it: without it the new server waits until
        the storage has forgotten the dead one. Half of the time that is left
        is the new server's.
        """
        order = mapping.order
        if not self.mounter(mapping).abilities.can_fence:
            return ''
        try:
            return self.nbd.fence(
                mounter=mapping.mounter, volume=order.volume,
                source=dict(order.source), socket=order.socket,
                timeout_s=max(0.1, (until_s - self.clock()) / 2.0))
        except exception.HealerError as error:
            return f'nobody was shut out: {error}'

    def lacks(self, mapping: model.Mapping) -> str:
        """What its data lacks for a good heal, or nothing; nothing as well
        if that cannot be asked: nobody waits long for it."""
        order = mapping.order
        try:
            return self.nbd.lacks(
                mounter=mapping.mounter, volume=order.volume,
                source=dict(order.source), socket=order.socket,
                timeout_s=MISSING_S)
        except exception.HealerError:
            return ''

    def grow(self, mapping: model.Mapping) -> None:
        """Have its device follow its data, if its server did not.

        :raises HealerError: it cannot be asked, or the kernel refuses.
        """
        order = mapping.order
        if order.device is not None:
            self.nbd.grow(
                mounter=mapping.mounter, volume=order.volume,
                source=dict(order.source), socket=order.socket,
                device=order.device, timeout_s=GROW_S)

    def clear_away(self, order: base.Order) -> None:
        """See a device go that was disconnected, and a socket of no server.

        The kernel forgets it when the last one closes it, and who looks for
        partitions (udev) may have it open for a moment. Until then it shows
        the volume's cookie, and an attach that comes at once is refused.
        """
        until_s = self.clock() + LET_GO_S
        while (order.device is not None and self.clock() < until_s
               and nbd.is_connected(self.tree, order.device, order.volume)):
            self.sleep(_POLL_S)
        self._free(order)

    def _free(self, order: base.Order) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(order.socket)

    def _knock(self, mapping: model.Mapping, server: model.Process,
               until_s: float) -> socket.socket:
        """Connect to a server as soon as it listens."""
        while True:
            try:
                return self.dial(mapping.order.socket)
            except OSError as error:
                if process.same(self.tree, server) is None:
                    raise self._failure(
                        mapping, f'{server} has ended', Ended) from error
                if self.clock() >= until_s:
                    raise NotServed(
                        f'cannot serve: because {server} does not listen '
                        f'({error.strerror})') from error
            self.sleep(_POLL_S)

    def _failure(self, mapping: model.Mapping, what: str,
                 kind: type[NotServed] = NotServed
                 ) -> exception.HealerError:
        """Why a server ended, in its own words, or in its storage's."""
        mounter, order = self.mounter(mapping), mapping.order
        words = self._missing(mapping) or self.nbd.last_words(
            volume=order.volume)
        sentence = f'cannot serve: because {what}; it said: {words or "-"}'
        if mounter.is_gone(order, words):
            return Gone(sentence)
        return kind(sentence)

    def must_be_there(self, mapping: model.Mapping, until_s: float) -> None:
        """Ask the storage for the data, before anything is given up for it.

        :raises Gone: it is not there. :raises HealerError: nobody answers.
        """
        words = self._missing(mapping, max(
            MISSING_S, (until_s - self.clock()) / 2.0))
        if not words:
            return
        sentence = ('cannot serve: because the storage does not give it; it '
                    f'said: {words}')
        if self.mounter(mapping).is_gone(mapping.order, words):
            raise Gone(sentence)
        raise NotServed(sentence)

    def _missing(self, mapping: model.Mapping,
                 timeout_s: float = MISSING_S) -> str:
        """What the storage says of data that is not there, or nothing."""
        order = mapping.order
        if not self.mounter(mapping).ask_data(order):
            return ''
        try:
            return self.nbd.missing(
                mounter=mapping.mounter, volume=order.volume,
                source=dict(order.source), socket=order.socket,
                timeout_s=timeout_s)
        except exception.HealerError as error:
            return str(error)
