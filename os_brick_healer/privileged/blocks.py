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
"""Network block devices: each verified by its cookie before it is touched."""

import socket
from typing import Protocol

from os_brick_healer import exception
from os_brick_healer.nbd import kernel
from os_brick_healer.privileged import check, command
from os_brick_healer.privileged import tree as trees
from os_brick_healer.sysfs import nbd

TIMER_MS_MAX = 3600000
REATTACH_S_MAX = 30 * 86400
_MODPROBE_S = 20.0


class Kernel(Protocol):
    """The driver; see :mod:`os_brick_healer.nbd.kernel`."""

    def connect(self, fd: int, *, size_bytes: int, server_flags: int,
                cookie: str, reattach_s: int, timeout_s: float) -> int: ...

    def reconfigure(self, fd: int, index: int, *, size_bytes: int,
                    cookie: str, reattach_s: int, timeout_s: float
                    ) -> None: ...

    def grow(self, index: int, *, size_bytes: int, cookie: str,
             timeout_s: float) -> None: ...

    def disconnect(self, index: int, *, timeout_s: float) -> None: ...


def verify(tree: trees.Tree, device: object, volume: object) -> int:
    """The number of a device that is connected with a volume's cookie.

    :raises NotOurs: it is not, or not any more.
    """
    name, cookie = check.nbd(device), check.volume(volume)
    found = nbd.device(tree, name)
    if found is None or not found.connected:
        raise exception.NotOurs(f'cannot touch {name}: it is not connected')
    if found.cookie != cookie:
        raise exception.NotOurs(
            f'cannot touch {name}: its cookie is {found.cookie}, not '
            f'{cookie}')
    return int(name.removeprefix('nbd'))


def load_driver(run: command.Runner = command.run) -> None:
    """Have the kernel load the module; nothing happens if it is there.

    :raises CommandError: it cannot be loaded.
    """
    result = run(['modprobe', 'nbd'], _MODPROBE_S)
    if result.code != 0:
        raise exception.CommandError(
            f'cannot load the module nbd: {result.said}',
            hint='install the full package of modules of this kernel')


def connect(tree: trees.Tree, link: socket.socket, *, volume: object,
            size_bytes: object, server_flags: object, reattach_s: object,
            timer_ms: object, timeout_s: float,
            driver: Kernel = kernel) -> tuple[str, int]:
    """A new device on a connection; its name, and its timer before.

    :raises NotOurs: the volume has a device already.
    :raises OSError: the kernel refuses.
    """
    cookie = check.volume(volume)
    there = nbd.with_cookie(tree, cookie)
    if there is not None:
        raise exception.NotOurs(
            f'cannot connect {cookie}: {there} is connected with it already')
    index = driver.connect(
        link.fileno(), cookie=cookie, size_bytes=_size(size_bytes),
        server_flags=check.number(server_flags, 0, 65535, 'flags'),
        reattach_s=check.number(reattach_s, 1, REATTACH_S_MAX, 'seconds'),
        timeout_s=timeout_s)
    name = f'nbd{index}'
    found = nbd.device(tree, name)
    before = 30000 if found is None or found.timer_ms is None else (
        found.timer_ms)
    set_timer(tree, device=name, volume=cookie, timer_ms=timer_ms,
              timeout_s=timeout_s)
    return name, before


def _size(value: object) -> int:
    return check.number(value, kernel.BLOCK_BYTES, 1 << 62, 'a size')


def reconnect(tree: trees.Tree, link: socket.socket, *, device: object,
              volume: object, size_bytes: object, reattach_s: object,
              timeout_s: float, driver: Kernel = kernel) -> None:
    """A new connection for a device whose old one is dead.

    :raises NotOurs: the device is another volume's, or would shrink.
    :raises OSError: the kernel refuses.
    """
    index = verify(tree, device, volume)
    found = nbd.device(tree, f'nbd{index}')
    size = _size(size_bytes)
    if found is None or size < found.size_bytes:
        raise exception.NotOurs(
            f'cannot reconnect nbd{index}: what is served has {size} bytes, '
            f'the device {found and found.size_bytes}')
    driver.reconfigure(
        link.fileno(), index, size_bytes=size, cookie=check.volume(volume),
        reattach_s=check.number(reattach_s, 1, REATTACH_S_MAX, 'seconds'),
        timeout_s=timeout_s)


def grow(tree: trees.Tree, *, device: object, volume: object,
         size_bytes: object, timeout_s: float,
         driver: Kernel = kernel) -> int:
    """Have a device follow its data, which has grown; its size then, bytes.

    It is never made smaller: the guest may have written there.

    :raises NotOurs: the device is another volume's.
    :raises OSError: the kernel refuses.
    """
    index = verify(tree, device, volume)
    found = nbd.device(tree, f'nbd{index}')
    size, now = _size(size_bytes), 0 if found is None else found.size_bytes
    if found is not None and size > now:
        driver.grow(index, size_bytes=size, cookie=check.volume(volume),
                    timeout_s=timeout_s)
        return size
    return now


def disconnect(tree: trees.Tree, *, device: object, volume: object,
               timer_ms: object, timeout_s: float,
               driver: Kernel = kernel) -> bool:
    """End a device, and give its timer back; whether there was one.

    The timer goes first: it outlives the device, and the next to be
    connected under this name would inherit it.

    :raises NotOurs: it is another volume's, or in use.
    """
    name = check.nbd(device)
    found = nbd.device(tree, name)
    if found is None or not found.connected:
        return False
    index = verify(tree, name, volume)
    holders = tree.listdir(f'{nbd.BLOCK}/{name}/holders')
    if holders:
        raise exception.NotOurs(
            f'cannot disconnect {name}: {", ".join(holders)} holds it')
    set_timer(tree, device=name, volume=volume, timer_ms=timer_ms,
              timeout_s=timeout_s)
    driver.disconnect(index, timeout_s=timeout_s)
    return True


def set_timer(tree: trees.Tree, *, device: object, volume: object,
              timer_ms: object, timeout_s: float) -> bool:
    """How long a request waits before it is looked at; whether it changed."""
    value = check.number(timer_ms, 1, TIMER_MS_MAX, 'milliseconds')
    path = f'{nbd.BLOCK}/{check.nbd(device)}/queue/io_timeout'
    with tree.attribute(path) as attribute:
        verify(tree, device, volume)
        if tree.read(path) == str(value):
            return False
        attribute.write(str(value), timeout_s)
    return True
