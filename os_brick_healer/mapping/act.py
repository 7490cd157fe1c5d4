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
import time
from typing import assert_never

from os_brick_healer import exception
from os_brick_healer.engine import verdict
from os_brick_healer.mapping import laws, learn, locks, model, places
from os_brick_healer.mapping import servers as servers_lib
from os_brick_healer.mounter import asking, base
from os_brick_healer.privileged import handing
from os_brick_healer.privileged import logs as privileged_logs
from os_brick_healer.privileged import mounting as privileged_mounting
from os_brick_healer.privileged import nbd as privileged_nbd
from os_brick_healer.sysfs import nbd, reader

Outcome = verdict.Outcome
Fresh = Callable[[], model.Seen]

#: A volume's lock is waited for so long, seconds.
LOCK_S = 1.0
#: For one call that only has to ask the kernel, seconds.
CALL_S = 5.0
#: For one that may have to load the driver, or to wait for requests.
CONNECT_S = 30.0
#: A server that is no longer needed may take so long to end by itself.
GRACE_S = 5.0
#: One read of those by which it is seen that a server serves.
READ_S = 0.25
#: For reading logs that have grown large.
TIDY_S = 60.0
#: The block layer's own timer of requests.
TIMER_MS = 30000
_DETAILS: dict[type[Exception], str] = {
    servers_lib.Gone: learn.REFUSED, servers_lib.Ended: learn.ENDED}


def offer(fd: int) -> contextlib.AbstractContextManager[str]:
    """Hand an open file to root, which may come for it for a while."""
    return handing.offer(fd, CONNECT_S)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Does actions, one per call; safe to be used by several threads.

    :ivar mounter: an installed mounter by its name.
    :ivar policy: read anew for each action, so that a reload counts.
    """

    tree: reader.Tree
    locks: locks.Locks
    mounter: Callable[[str], base.Mounter | None]
    policy: Callable[[], model.Policy]
    nbd: servers_lib.Nbd = privileged_nbd
    mounts: servers_lib.Mounts = privileged_mounting
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    dial: servers_lib.Dial = servers_lib.dial

    @property
    def servers(self) -> servers_lib.Servers:
        """The processes, with the same tools."""
        return servers_lib.Servers(
            tree=self.tree, mounters=self.mounter, nbd=self.nbd,
            sleep=self.sleep, clock=self.clock, dial=self.dial)

    @property
    def places(self) -> places.Places:
        """The mounts of those that make no device."""
        return places.Places(root=self.mounts, servers=self.servers)

    def do(self, action: model.Action, fresh: Fresh,
           started: Callable[[model.Process], None]) -> Outcome:
        """Do it, or say why not. Expected failures never raise.

        :param started: told of the process that a heal has started.
        """
        try:
            return self._do(action, fresh, started)
        except exception.HealerError as error:
            return Outcome(changed=False, error=str(error),
                           transient=error.transient,
                           detail=_DETAILS.get(type(error), ''))

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
                    return self._kill(action, mapping, seen)
                case model.Serve():
                    return self._serve(action, mapping, started)
                case _:
                    assert_never(action)

    def _prove(self, action: model.Prove, seen: model.Seen) -> Outcome:
        """No lock: a read that hangs must not keep a heal waiting, and who
        has died may be shut out whatever else is done."""
        mapping = _allowed(action, seen)
        policy, fenced = self.policy(), ''
        if self._style(mapping) is base.Style.MOUNT:
            return self.places.prove(mapping, policy.proof_s)
        if action.fence:
            # The agent ended in the middle of the heal that started it.
            fenced = self.servers.fence(mapping,
                                        self.clock() + policy.attach_s)
        found = self.nbd.flows(
            device=action.device, volume=action.volume,
            pid=action.server.pid, start=action.server.start,
            timeout_s=policy.proof_s)
        if found == learn.FLOWS:
            return Outcome(changed=False, detail=(
                f'{learn.READ}; {fenced}' if fenced else learn.READ))
        told = 'sent, and' if found == learn.SENT else 'not even sent, and'
        return Outcome(
            changed=False, detail=found,
            error=f'a read from {action.device} was {told} has not come '
                  f'back in {policy.proof_s:g} s')

    def _kill(self, action: model.Kill, mapping: model.Mapping,
              seen: model.Seen) -> Outcome:
        if not action.hung:
            # It may have waited for its turn, and the kernel's word too.
            found = self.servers.flows(mapping, action.server, READ_S)
            if found == learn.FLOWS:
                return Outcome(changed=False, detail=learn.READ)
            if found == learn.SENT and seen.link_dead_s is None:
                return Outcome(changed=False, detail=found, error=(
                    f'a read from {action.device} was sent after all'))
        if self.servers.end(mapping, action.server):
            return Outcome(changed=True, detail='it has ended')
        return Outcome(changed=True, error=f'{action.server} was sent '
                       'SIGKILL, and the kernel does not let it go')

    def _serve(self, action: model.Serve, mapping: model.Mapping,
               started: Callable[[model.Process], None]) -> Outcome:
        until_s = self.clock() + self.policy().attach_s
        fenced, style = '', self._style(mapping)
        if style is base.Style.MOUNT:
            return self.places.serve(mapping, until_s, started)
        if style is base.Style.ITSELF:
            server, fenced = self._comes_back(action, mapping, until_s)
        else:
            server = self._give(action, mapping, until_s)
        started(server)
        return Outcome(changed=True, detail=(
            f'{server}{learn.SERVES}{fenced}' if fenced
            else f'{server} serves'))

    def _style(self, mapping: model.Mapping) -> base.Style:
        return self.servers.mounter(mapping).style

    def _give(self, action: model.Serve, mapping: model.Mapping,
              until_s: float) -> model.Process:
        """A new server, whose connection we give to the kernel."""
        served = self.servers.bring_up(mapping, until_s)
        with served.link:
            try:
                if served.export.size_bytes < mapping.size_bytes:
                    raise servers_lib.Gone(
                        f'what is served has {served.export.size_bytes} '
                        f'bytes, and {mapping.size_bytes} were mapped')
                if served.export.readonly and self._is_written(
                        action.device):
                    raise servers_lib.NotServed(
                        'what is served can only be read, and '
                        f'{action.device} was mapped for writing')
                with handing.offer(served.link, CALL_S) as place:
                    self.nbd.reconnect(
                        device=action.device, volume=action.volume,
                        handover=place, timeout_s=CALL_S,
                        size_bytes=served.export.size_bytes,
                        reattach_s=mapping.order.reattach_s)
            except exception.HealerError:
                self.servers.end(mapping, served.server)
                raise
        return served.server

    def _is_written(self, device: str) -> bool:
        """Whether the kernel lets anybody write to a device: it is not told
        anew what its server can do."""
        return self.tree.read(f'{nbd.BLOCK}/{device}/ro') == '0'

    def _comes_back(self, action: model.Serve, mapping: model.Mapping,
                    until_s: float) -> tuple[model.Process, str]:
        """A new server that gives the kernel its connection itself, and what
        came of shutting out the dead one: while it comes up, or, where the
        data keeps no server waiting (``lacks``), when the guest goes on.

        A read tells when it has: until then it is not even sent, or fails
        at once, where the time for which requests wait was over already.
        """
        server = self.servers.follow(mapping, action.left, until_s)
        fenced = '' if mapping.lacks else self.servers.fence(mapping, until_s)

        def serves() -> bool:
            return self.servers.flows(mapping, server, READ_S) in (
                learn.FLOWS, learn.SENT)

        self.servers.wait_for(mapping, server, until_s, serves)
        found = nbd.device(self.tree, action.device)
        if found is None or found.size_bytes < mapping.size_bytes:
            self.servers.end(mapping, server)
            raise servers_lib.Gone(
                f'what is served has {found and found.size_bytes} bytes, '
                f'and {mapping.size_bytes} were mapped')
        return server, (self.servers.fence(mapping, until_s)
                        if mapping.lacks else fenced)

    # For connectors ----------------------------------------------------

    def map(self, mapping: model.Mapping) -> model.Mapping:
        """Serve a volume and make a device of it; the mapping with that.

        :raises HealerError: it failed, and nothing is left of it.
        """
        style = self._style(mapping)
        if style is base.Style.MOUNT:
            raise places.refuse(mapping)
        # The first call starts the privileged helper, which takes a while.
        self.nbd.prepare(mounter=mapping.mounter, timeout_s=CONNECT_S)
        there = nbd.with_cookie(self.tree, mapping.order.volume)
        if there is not None:
            raise exception.NotOurs(
                f'cannot map {mapping.order.volume}: {there} is connected '
                'with it already')
        until_s = self.clock() + self.policy().attach_s
        try:
            if style is base.Style.ITSELF:
                return self._map_by_itself(mapping, until_s)
            return self._map_by_us(mapping, until_s)
        except exception.HealerError:
            self._take_back(mapping)
            raise

    def _take_back(self, mapping: model.Mapping) -> None:
        """A device may have been made all the same: by a call that took too
        long, or by a server that was killed for it."""
        name = nbd.with_cookie(self.tree, mapping.order.volume)
        if name is not None:
            self._disconnect(mapping, name)

    def _disconnect(self, mapping: model.Mapping, device: str) -> None:
        """Once begun it goes on when we are killed, and ends what the volume
        has by then: the lock is root's as well until it is over."""
        volume = mapping.order.volume
        with self.locks.lend(volume, offer) as held:
            self.nbd.disconnect(
                device=device, volume=volume, held=held,
                timer_ms=mapping.timer_before_ms or TIMER_MS,
                timeout_s=CONNECT_S)

    def _map_by_us(self, mapping: model.Mapping,
                   until_s: float) -> model.Mapping:
        """We give the kernel a connection to the server."""
        served = self.servers.bring_up(mapping, until_s)
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
                self.servers.end(mapping, served.server)
                raise
        return dataclasses.replace(
            mapping, size_bytes=served.export.size_bytes,
            timer_before_ms=before_ms,
            order=dataclasses.replace(order, device=device))

    def _map_by_itself(self, mapping: model.Mapping,
                       until_s: float) -> model.Mapping:
        """The server makes the device; it is found by its cookie."""
        order = mapping.order
        server = self.servers.start(mapping, until_s)
        # Who served it before may have died before it was unmapped.
        self.servers.fence(mapping, until_s)

        def made() -> bool:
            return nbd.with_cookie(self.tree, order.volume) is not None

        self.servers.wait_for(mapping, server, until_s, made)
        name = nbd.with_cookie(self.tree, order.volume)
        found = None if name is None else nbd.device(self.tree, name)
        if name is None or found is None:
            self.servers.end(mapping, server)
            raise servers_lib.NotServed(
                'cannot map: because the device has gone')
        mapped = dataclasses.replace(
            mapping, size_bytes=found.size_bytes,
            timer_before_ms=found.timer_ms or TIMER_MS,
            order=dataclasses.replace(order, device=name))
        try:
            self.nbd.set_timer(device=name, volume=order.volume,
                               timer_ms=mapping.timer_ms, timeout_s=CALL_S)
        except exception.HealerError:
            self.unmap(mapped, server)
            raise
        return dataclasses.replace(mapped, lacks=self.servers.lacks(mapping))

    def unmap(self, mapping: model.Mapping,
              server: model.Process | None) -> None:
        """End a device and its server, whether it lives or not.

        :raises HealerError: the device or the server could not be ended.
        """
        order = mapping.order
        if order.device is not None:
            self._disconnect(mapping, order.device)
        if server is not None and not self.servers.end(
                mapping, server, self._grace_s(mapping)):
            raise exception.HealerError(
                f'cannot unmap {order.volume}: because {server} was sent '
                'SIGKILL, and the kernel does not let it go: it may be at '
                'work on a write', hint='when it has ended, detach again')
        self.servers.clear_away(order)

    def _grace_s(self, mapping: model.Mapping) -> float:
        mounter = self.mounter(mapping.mounter)
        deaf = mounter is not None and mounter.server(mapping.order).deaf
        return 0.0 if deaf else GRACE_S


def _allowed(action: model.Action, seen: model.Seen) -> model.Mapping:
    sentence = laws.permits(action, seen)
    if sentence is not None:
        raise exception.HealerError(
            f'cannot {action.sentence()}: because {sentence}')
    assert seen.attachment is not None
    assert seen.attachment.mapping is not None
    return seen.attachment.mapping


def tidy_logs(volumes: list[str], size_bytes: int, age_s: int) -> str:
    """Keep the logs of servers within bounds; why it cannot, or nothing."""
    try:
        privileged_logs.tidy_logs(volumes=volumes, size_bytes=size_bytes,
                                  age_s=age_s, timeout_s=TIDY_S)
    except exception.HealerError as error:
        return str(error)
    return ''


def prepare(mounter: str) -> str:
    """Load what a heal will need; why it cannot, or nothing."""
    try:
        privileged_nbd.prepare(mounter=mounter)
    except exception.HealerError as error:
        return str(error)
    return ''


def ask(mapping: model.Mapping, mounter: base.Mounter | None,
        timeout_s: float) -> tuple[bool | None, str]:
    """Whether a server answers, None: it cannot be asked; what was seen."""
    order = mapping.order
    question = None if mounter is None else mounter.question(order)
    if question is None:
        return None, 'nobody knows how to ask it'
    if not question.as_root:
        return asking.ask(question, timeout_s)
    try:
        return privileged_nbd.answers(
            mounter=mapping.mounter, volume=order.volume,
            source=dict(order.source), socket=order.socket,
            timeout_s=timeout_s)
    except exception.HealerError as error:
        return None, str(error)
