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
"""The kernel's nbd driver, as Linux 6.1 has it.

* A request that finds its connection dead waits for another one, and is not
  under way meanwhile; after ``reattach_s`` it fails.
* A request that a dead server was sent stays under way until the queue's
  timer goes off and the device has another connection: then it is sent anew.
* RECONFIGURE answers success, and drops the socket, when no connection is
  dead; it refuses another cookie.
* LINK_DEAD is told some milliseconds after a death that nobody asked for;
  that its server ended before the socket was given makes no difference.
* The timer outlives the device.
"""

from collections.abc import Callable
import errno
import os
import random

from os_brick_healer.tests.simulation import timeline
from os_brick_healer.tests.simulation.mapping import parts

LINK_DEAD_S = 0.007
_TRAVEL_S = 0.0002
_STAT_BYTES = 96


class Nbd:
    """The driver and its devices.

    :param directory: where the ``stat`` files of the devices are.
    :ivar listeners: told the name of a device whose connection died.
    :ivar late_s: how much later than usual that is told.
    """

    def __init__(self, time: timeline.Timeline, rng: random.Random,
                 directory: str, count: int) -> None:
        self._time = time
        self._rng = rng
        self._directory = directory
        self.listeners: list[Callable[[str], None]] = []
        self.late_s: Callable[[], float] = lambda: 0.0
        self.receive: Callable[[parts.Request, parts.Link], None] = (
            lambda _request, _link: None)
        self.hung_up: Callable[[parts.Link], None] = lambda _link: None
        self.bound: Callable[[parts.Device, parts.Proc], None] = (
            lambda _device, _proc: None)
        self.devices = {f'nbd{n}': parts.Device(name=f'nbd{n}')
                        for n in range(count)}
        for device in self.devices.values():
            device.fd = os.open(self.stat_path(device.name),
                                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._count(device)

    def stat_path(self, name: str) -> str:
        return os.path.join(self._directory, f'{name}.stat')

    def stat(self, device: parts.Device) -> str:
        text = (f'{device.completed} 0 0 0 0 0 0 0 {device.in_flight} 0 0 '
                '0 0 0 0 0 0')
        return text.ljust(_STAT_BYTES - 1)

    def _count(self, device: parts.Device) -> None:
        os.pwrite(device.fd, (self.stat(device) + '\n').encode(), 0)

    def close(self) -> None:
        for device in self.devices.values():
            os.close(device.fd)

    def of(self, index: int) -> parts.Device:
        return self.devices[f'nbd{index}']

    def with_cookie(self, key: str) -> parts.Device | None:
        return next((d for d in self.devices.values() if d.connected
                     and d.cookie == key), None)

    # Netlink -----------

    def connect(self, link: parts.Link, *, size_bytes: int, cookie: str,
                reattach_s: int, index: int | None = None) -> int:
        """A new device; of no wanted number, the first that is free."""
        device = next((d for d in self.devices.values() if not d.connected
                       and index in (None, d.index)), None)
        if device is None:
            raise OSError(errno.ENODEV, 'no device is free')
        device.connected, device.cookie = True, cookie
        device.size_bytes, device.reattach_s = size_bytes, reattach_s
        device.mapper = link.proc.pid
        self._bind(device, link)
        return device.index

    def reconfigure(self, link: parts.Link, index: int, *, size_bytes: int,
                    cookie: str, reattach_s: int) -> None:
        device = self.of(index)
        if not device.connected:
            raise OSError(errno.EINVAL, 'not configured')
        if device.cookie != cookie:
            raise OSError(errno.EINVAL, 'another cookie')
        device.size_bytes, device.reattach_s = size_bytes, reattach_s
        if device.link is not None and not device.link.dead:
            link.dead = True        # no connection is dead: it is dropped
            return
        self._bind(device, link)

    def _bind(self, device: parts.Device, link: parts.Link) -> None:
        device.link, link.device = link, device
        link.proc.links.append(link)
        self.bound(device, link.proc)
        if not link.proc.lives:
            # recv_work begins with the socket, and the end of a process has
            # closed the other end: it reads EOF, as if that came later.
            self.died(link)
            return
        for request in list(device.requests):
            if request.state == parts.WAITING:
                self._send(device, link, request)
        self._count(device)

    def disconnect(self, index: int) -> None:
        """End a device: what is under way fails."""
        device = self.of(index)
        if not device.connected:
            raise OSError(errno.EINVAL, 'not connected')
        link, device.link = device.link, None
        device.connected, device.cookie = False, None
        device.size_bytes = 0
        for request in list(device.requests):
            self.end(device, request, error=True)
        if link is not None and not link.dead:
            link.dead = True
            self.hung_up(link)

    def died(self, link: parts.Link) -> None:
        """A connection breaks, and nobody asked for it."""
        device = link.device
        if link.dead:
            return
        link.dead = True
        if device is None or device.link is not link:
            return
        name = device.name
        self._time.after(LINK_DEAD_S + self.late_s(),
                         lambda: self._tell(name))

    def _tell(self, name: str) -> None:
        for call in list(self.listeners):
            call(name)

    # Requests -----------

    def submit(self, device: parts.Device, request: parts.Request) -> None:
        """A request comes; ``done`` is called when it has ended."""
        device.requests.append(request)
        self._begin(device, request)
        self._count(device)

    def _begin(self, device: parts.Device, request: parts.Request) -> None:
        if not device.connected:
            self.end(device, request, error=True)
        elif device.link is None or device.link.dead:
            request.state = parts.WAITING
            request.epoch += 1
            epoch = request.epoch
            self._time.after(device.reattach_s, lambda: self._expire(
                device, request, epoch))
        else:
            self._send(device, device.link, request)

    def _expire(self, device: parts.Device, request: parts.Request,
                epoch: int) -> None:
        if request.state == parts.WAITING and request.epoch == epoch:
            self.end(device, request, error=True)

    def _send(self, device: parts.Device, link: parts.Link,
              request: parts.Request) -> None:
        request.state, request.link = parts.SENT, link
        request.sent_s = self._time.now_s
        request.epoch += 1
        epoch = request.epoch
        timer_s = device.timer_ms / 1000.0
        self._time.after(_TRAVEL_S, lambda: self.receive(request, link))
        # The block layer's timer is one for all, and rounds up.
        self._time.after(timer_s + self._rng.random(), lambda: self._late(
            device, request, epoch, timer_s))

    def _late(self, device: parts.Device, request: parts.Request,
              epoch: int, timer_s: float) -> None:
        """The timer of a request that is under way has gone off."""
        if request.state != parts.SENT or request.epoch != epoch:
            return
        if device.link is not request.link and device.connected:
            self._begin(device, request)
            self._count(device)
            return
        self._time.after(timer_s + self._rng.random(), lambda: self._late(
            device, request, epoch, timer_s))

    def answered(self, request: parts.Request, link: parts.Link,
                 error: bool) -> None:
        """A server's answer arrives."""
        device = link.device
        if (link.dead or device is None or request.state != parts.SENT
                or request.link is not link):
            return      # the kernel waits for nothing of that name
        self.end(device, request, error=error)

    def end(self, device: parts.Device, request: parts.Request, *,
            error: bool) -> None:
        request.state, request.error = parts.DONE, error
        device.requests.remove(request)
        device.completed += 1
        device.ended_s = self._time.now_s
        self._count(device)
        request.done(request)
