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
"""The hands of this wing: whatever it changes, it changes here.

An action was decided from a look that is some moments old. Before it is done
the volume's lock is taken, the world is read again and the laws are asked
again; the privileged side verifies a third time.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import os
import socket
import time
from typing import assert_never, Protocol

from os_brick_healer import exception
from os_brick_healer.engine import verdict
from os_brick_healer.mapping import laws, learn, model
from os_brick_healer.mounter import base
from os_brick_healer.nbd import handshake
from os_brick_healer.privileged import handing
from os_brick_healer.privileged import nbd as privileged_nbd
from os_brick_healer.sysfs import process, reader

Outcome = verdict.Outcome
Fresh = Callable[[], model.Seen]

#: A volume's lock is waited for so long, seconds.
LOCK_S = 1.0
#: A killed process is waited for so long, seconds.
KILLED_S = 2.0
#: For one call that only has to ask the kernel, seconds.
CALL_S = 5.0
#: For one that may have to load the driver, or to wait for requests.
CONNECT_S = 30.0
#: A server that is no longer needed may take so long to end by itself.
GRACE_S = 5.0
#: The block layer's own timer of requests.
TIMER_MS = 30000
_POLL_S = 0.01


class Nbd(Protocol):
    """The privileged side; see :mod:`os_brick_healer.privileged.nbd`."""

    def start(self, *, mounter: str, volume: str, source: dict[str, str],
              socket: str, timeout_s: float) -> tuple[int, str]: ...

    def kill(self, *, mounter: str, volume: str, source: dict[str, str],
             socket: str, pid: int, start: str, grace_s: float,
             timeout_s: float) -> bool: ...

    def last_words(self, *, volume: str) -> str: ...

    def connect(self, *, volume: str, handover: str, size_bytes: int,
                server_flags: int, reattach_s: int, timer_ms: int,
                timeout_s: float) -> tuple[str, int]: ...

    def reconnect(self, *, device: str, volume: str, handover: str,
                  size_bytes: int, reattach_s: int, timeout_s: float
                  ) -> None: ...

    def disconnect(self, *, device: str, volume: str, timer_ms: int,
                   timeout_s: float) -> bool: ...

    def set_timer(self, *, device: str, volume: str, timer_ms: int,
                  timeout_s: float) -> bool: ...

    def flows(self, *, device: str, volume: str, timeout_s: float
              ) -> str: ...


class Locks(Protocol):
    """One lock for each volume."""

    def hold(self, volume: str, wait_s: float
             ) -> contextlib.AbstractContextManager[None]: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that is agreed with, and the connection to it."""

    server: model.Process
    link: socket.socket
    export: handshake.Export


class NotServed(exception.HealerError):
    """A server came, and did not come to serve."""


class Gone(exception.HealerError):
    """The data that was mapped is no longer there, or is another's."""

    transient = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Does actions, one per call; safe to be used by several threads.

    :ivar mounter: an installed mounter by its name.
    :ivar policy: read anew for each action, so that a reload counts.
    """

    tree: reader.Tree
    locks: Locks
    mounter: Callable[[str], base.Mounter | None]
    policy: Callable[[], model.Policy]
    nbd: Nbd = privileged_nbd
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def do(self, action: model.Action, fresh: Fresh,
           started: Callable[[model.Process], None]) -> Outcome:
        """Do it, or say why not. Expected failures never raise.

        :param started: told of the process that a heal has started.
        """
        try:
            return self._do(action, fresh, started)
        except Gone as error:
            return Outcome(changed=False, error=str(error), transient=False,
                           detail=learn.REFUSED)
        except exception.HealerError as error:
            return Outcome(changed=False, error=str(error),
                           transient=error.transient)

    def _do(self, action: model.Action, fresh: Fresh,
            started: Callable[[model.Process], None]) -> Outcome:
        if isinstance(action, model.Prove):
            return self._prove(action, fresh())
        with self.locks.hold(action.volume, LOCK_S):
            seen = fresh()
            mapping = _allowed(action, seen)
            match action:
                case model.SetTimer():
                    return Outcome(changed=self.nbd.set_timer(
                        device=action.device, volume=action.volume,
                        timer_ms=action.timer_ms, timeout_s=CALL_S))
                case model.Kill():
                    return self._kill(action, mapping)
                case model.Serve():
                    return self._serve(action, mapping, started)
                case _:
                    assert_never(action)

    def _prove(self, action: model.Prove, seen: model.Seen) -> Outcome:
        """No lock: a read that hangs must not keep a heal waiting."""
        _allowed(action, seen)
        timeout_s = self.policy().proof_s
        found = self.nbd.flows(device=action.device, volume=action.volume,
                               timeout_s=timeout_s)
        if found == 'read':
            return Outcome(changed=False, detail='a block was read')
        told = 'sent, and' if found == learn.SENT else 'not even sent, and'
        return Outcome(
            changed=False, detail=found,
            error=f'a read from {action.device} was {told} has not come '
                  f'back in {timeout_s:g} s')

    def _kill(self, action: model.Kill, mapping: model.Mapping) -> Outcome:
        if self._end(mapping, action.server):
            return Outcome(changed=True, detail='it has ended')
        return Outcome(changed=True, error=f'{action.server} was sent '
                       'SIGKILL, and the kernel does not let it go')

    def _end(self, mapping: model.Mapping, server: model.Process,
             grace_s: float = 0.0) -> bool:
        order = mapping.order
        return self.nbd.kill(
            mounter=mapping.mounter, volume=order.volume,
            source=dict(order.source), socket=order.socket, pid=server.pid,
            start=server.start, grace_s=grace_s, timeout_s=KILLED_S)

    def _serve(self, action: model.Serve, mapping: model.Mapping,
               started: Callable[[model.Process], None]) -> Outcome:
        until_s = self.clock() + self.policy().attach_s
        served = self.bring_up(mapping, until_s)
        with served.link:
            try:
                if served.export.size_bytes < mapping.size_bytes:
                    raise Gone(
                        f'what is served has {served.export.size_bytes} '
                        f'bytes, and {mapping.size_bytes} were mapped')
                with handing.offer(served.link, CALL_S) as place:
                    self.nbd.reconnect(
                        device=action.device, volume=action.volume,
                        handover=place, timeout_s=CALL_S,
                        size_bytes=served.export.size_bytes,
                        reattach_s=mapping.order.reattach_s)
            except exception.HealerError:
                self._end(mapping, served.server)
                raise
        started(served.server)
        return Outcome(changed=True, detail=f'{served.server} serves')

    # For connectors ----------------------------------------------------

    def map(self, mapping: model.Mapping) -> model.Mapping:
        """Serve a volume and make a device of it; the mapping with that.

        :raises HealerError: it failed, and nothing is left of it.
        """
        served = self.bring_up(
            mapping, self.clock() + self.policy().attach_s)
        order = mapping.order
        with served.link:
            try:
                with handing.offer(served.link, CALL_S) as place:
                    device, before_ms = self.nbd.connect(
                        volume=order.volume, handover=place,
                        size_bytes=served.export.size_bytes,
                        server_flags=served.export.flags,
                        reattach_s=order.reattach_s,
                        timer_ms=mapping.timer_ms, timeout_s=CONNECT_S)
            except exception.HealerError:
                self._end(mapping, served.server)
                raise
        return dataclasses.replace(
            mapping, size_bytes=served.export.size_bytes,
            timer_before_ms=before_ms,
            order=dataclasses.replace(order, device=device))

    def unmap(self, mapping: model.Mapping,
              server: model.Process | None) -> None:
        """End a device and its server, whether it lives or not.

        :raises HealerError: the device could not be ended.
        """
        order = mapping.order
        if order.device is not None:
            self.nbd.disconnect(
                device=order.device, volume=order.volume,
                timer_ms=mapping.timer_before_ms or TIMER_MS,
                timeout_s=CONNECT_S)
        if server is not None:
            self._end(mapping, server, self._grace_s(mapping))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(order.socket)

    def _grace_s(self, mapping: model.Mapping) -> float:
        mounter = self.mounter(mapping.mounter)
        deaf = mounter is not None and mounter.server(mapping.order).deaf
        return 0.0 if deaf else GRACE_S

    # A server ----------------------------------------------------------

    def bring_up(self, mapping: model.Mapping, until_s: float) -> Served:
        """Start the server of a volume, and agree with it.

        What has been started and does not come to serve is killed.

        :param until_s: the deadline, by this object's clock.
        :raises Gone: its data is not there. :raises HealerError: it failed.
        """
        mounter = self.mounter(mapping.mounter)
        if mounter is None:
            raise exception.HealerError(
                f'cannot serve: because mounter {mapping.mounter} is not '
                'installed')
        order = mapping.order
        # What a dead server left: bind(2) would fail with EADDRINUSE.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(order.socket)
        try:
            pid, start = self.nbd.start(
                mounter=mapping.mounter, volume=order.volume,
                source=dict(order.source), socket=order.socket,
                timeout_s=max(0.1, until_s - self.clock()))
        except exception.CommandError as error:
            raise self._failure(mounter, order, str(error)) from error
        server = model.Process(pid=pid, start=start)
        link = None
        try:
            link = self._knock(mounter, order, server, until_s)
            export = handshake.negotiate(
                link, mounter.export(order),
                max(0.1, until_s - self.clock()))
        except BaseException:
            if link is not None:
                link.close()
            self._end(mapping, server)
            raise
        return Served(server=server, link=link, export=export)

    def _knock(self, mounter: base.Mounter, order: base.Order,
               server: model.Process, until_s: float) -> socket.socket:
        """Connect to a server as soon as it listens."""
        while True:
            link = socket.socket(socket.AF_UNIX)
            try:
                link.connect(order.socket)
            except OSError as error:
                link.close()
                if process.same(self.tree, server) is None:
                    raise self._failure(
                        mounter, order, f'{server} has ended') from error
                if self.clock() >= until_s:
                    raise NotServed(
                        f'cannot serve: because {server} does not listen '
                        f'({error.strerror})') from error
            else:
                return link
            self.sleep(_POLL_S)

    def _failure(self, mounter: base.Mounter, order: base.Order,
                 what: str) -> exception.HealerError:
        """Why a server ended, in its own words."""
        words = self.nbd.last_words(volume=order.volume)
        sentence = f'cannot serve: because {what}; it said: {words or "-"}'
        if mounter.is_gone(order, words):
            return Gone(sentence)
        return NotServed(sentence)


def _allowed(action: model.Action, seen: model.Seen) -> model.Mapping:
    sentence = laws.permits(action, seen)
    if sentence is not None:
        raise exception.HealerError(
            f'cannot {action.sentence()}: because {sentence}')
    assert seen.attachment is not None
    assert seen.attachment.mapping is not None
    return seen.attachment.mapping


def prepare(mounter: str) -> str:
    """Load what a heal will need; why it cannot, or nothing."""
    try:
        privileged_nbd.prepare(mounter=mounter)
    except exception.HealerError as error:
        return str(error)
    return ''


def ask(path: str, timeout_s: float) -> tuple[bool, str]:
    """Whether a server of style SOCKET greets who connects, and what was
    seen."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(timeout_s)
        try:
            link.connect(path)
            handshake.greets(link, timeout_s)
        except OSError as error:
            return False, f'nobody answers ({error.strerror or error})'
        except exception.HealerError as error:
            return False, str(error)
    return True, ''
