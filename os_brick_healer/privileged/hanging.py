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
"""Giving up a connection of which only an ended process has the other end."""

from collections.abc import Callable
import time
from typing import Protocol

from os_brick_healer import exception
from os_brick_healer.nbd import kernel, parse
from os_brick_healer.privileged import blocks, check
from os_brick_healer.privileged import tree as trees
from os_brick_healer.sysfs import process

#: Who has made its last system call is gone after this, if nothing keeps it.
_LEAVES_S = 1.0
#: The shortest of the driver's own timeouts, seconds.
_EXPIRES_S = 1
_POLL_S = 0.02


class Deaths(Protocol):
    """Hears the deaths of connections; see :class:`kernel.Deaths`."""

    def take(self) -> frozenset[str] | None: ...

    def close(self) -> None: ...


def hang_up(tree: trees.Tree, *, device: object, volume: object,
            timer_ms: object, server: parse.Process, timeout_s: float,
            expire: Callable[..., None] = kernel.expire,
            listen: Callable[[], Deaths] = kernel.Deaths) -> bool:
    """Give up a connection of which only an ended process has the other end.

    A process that had this device open closes it when it ends, and may have
    to wait there: for its last block to be written, or for somebody who reads
    its table of partitions. Both wait for the process, which has its end of
    the connection open as long. So nobody hears of its death, and a new
    server would get no connection. The driver's own timeout ends that.

    :returns: False: there was no need, the process is gone.
    :raises NotOurs: the process may still run, or the device is another's.
    :raises OSError: the kernel refuses.
    """
    if _gone(tree, server, _LEAVES_S):
        return False
    index, cookie = blocks.verify(tree, device, volume), check.volume(volume)
    ear = listen()
    try:
        expire(index, cookie=cookie, after_s=_EXPIRES_S, timeout_s=timeout_s)
        try:
            _heard(ear, f'nbd{index}', timeout_s)
        finally:
            expire(index, cookie=cookie, after_s=0, timeout_s=timeout_s)
            blocks.set_timer(tree, device=device, volume=volume,
                             timer_ms=timer_ms, timeout_s=timeout_s)
    finally:
        ear.close()
    return True


def _gone(tree: trees.Tree, server: parse.Process, wait_s: float) -> bool:
    until_s = time.monotonic() + wait_s
    while True:
        found = process.same(tree, server)
        if found is None:
            return True
        if not found.leaving:
            raise exception.NotOurs(
                f'cannot give up the connection of {server}: it may still be '
                'at work')
        if time.monotonic() >= until_s:
            return False
        time.sleep(_POLL_S)


def _heard(ear: Deaths, name: str, wait_s: float) -> None:
    """Wait for the death of a connection. Where it is not told of (it was
    dead before, or the kernel dropped the message), the time is over."""
    until_s = time.monotonic() + wait_s
    while time.monotonic() < until_s:
        told = ear.take()
        if told is None or name in told:
            return
        time.sleep(_POLL_S)
