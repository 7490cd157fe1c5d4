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
"""Entry points: network block devices and the processes that serve them."""

import os

from os_brick_healer import exception, privileged
from os_brick_healer.mounter import asking, base
from os_brick_healer.nbd import parse
from os_brick_healer.privileged import (
    blocks,
    check,
    fencing,
    flowing,
    handing,
    hanging,
    mounts,
    serverlog,
    serving,
    tree,
)
from os_brick_healer.privileged import unit as units


@privileged.entrypoint
def prepare(*, mounter: str, timeout_s: float = 30.0) -> None:
    """Load what a heal will need: the driver, and the mounter's code."""
    check.timeout(timeout_s)
    if serving.mounter(check.plugin(mounter)).style is not base.Style.MOUNT:
        blocks.load_driver()


@privileged.entrypoint
def start(*, mounter: str, volume: str, source: dict[str, str], socket: str,
          device: str | None, reattach_s: int, timeout_s: float
          ) -> tuple[int, str]:
    """Start the server of a volume that has none: its pid, and its start.

    :param device: that a server of style ITSELF is to serve again; where
        one of style MOUNT is to mount.
    """
    job = serving.job(mounter, volume, source, socket, device=device,
                      reattach_s=reattach_s)
    if job.mounter.style is base.Style.MOUNT:
        mounts.Places(tree=tree.Tree()).may_mount(
            job, check.timeout(timeout_s))
    elif device is not None:
        blocks.verify(tree.Tree(), device, volume)
    starter = serving.Starter(tree=tree.Tree(),
                              uid=units.asking_uid(os.environ))
    found = starter.start(job, check.timeout(timeout_s))
    return found.pid, found.start


@privileged.entrypoint
def kill(*, mounter: str, volume: str, source: dict[str, str], socket: str,
         pid: int, start: str, grace_s: float, timeout_s: float) -> bool:
    """Kill the server of a volume; whether it is gone.

    :param grace_s: after so long only, and asked to end before; 0: at once.
    """
    server = _process(pid, start)
    return serving.kill(
        tree.Tree(), serving.job(mounter, volume, source, socket),
        server.pid, server.start,
        0.0 if not grace_s else check.timeout(grace_s),
        check.timeout(timeout_s))


@privileged.entrypoint
def answers(*, mounter: str, volume: str, source: dict[str, str],
            socket: str, timeout_s: float) -> tuple[bool, str]:
    """Whether a server that only root can ask answers, and what is seen."""
    job = serving.job(mounter, volume, source, socket)
    question = job.mounter.question(job.order)
    if question is None:
        raise exception.NotOurs(f'cannot ask: {mounter} has no question')
    return asking.ask(question, check.timeout(timeout_s))


@privileged.entrypoint
def fence(*, mounter: str, volume: str, source: dict[str, str], socket: str,
          timeout_s: float) -> str:
    """Shut out who died and holds a volume's data: a sentence, or ''."""
    return fencing.fence(
        tree.Tree(), serving.job(mounter, volume, source, socket),
        check.timeout(timeout_s))


@privileged.entrypoint
def missing(*, mounter: str, volume: str, source: dict[str, str],
            socket: str, timeout_s: float) -> str:
    """What the storage says of data that cannot be opened; '': it can."""
    return fencing.missing(serving.job(mounter, volume, source, socket),
                           check.timeout(timeout_s))


@privileged.entrypoint
def lacks(*, mounter: str, volume: str, source: dict[str, str], socket: str,
          timeout_s: float) -> str:
    """What the data of a volume lacks for a good heal: a sentence, or ''."""
    return fencing.lacks(serving.job(mounter, volume, source, socket),
                         check.timeout(timeout_s))


@privileged.entrypoint
def grow(*, mounter: str, volume: str, source: dict[str, str], socket: str,
         device: str, timeout_s: float) -> int:
    """Have a device follow its data, which has grown, as the storage says;
    its size then, bytes, 0: nobody says."""
    seconds = check.timeout(timeout_s)
    size = fencing.size_bytes(serving.job(mounter, volume, source, socket),
                              seconds)
    return 0 if size is None else blocks.grow(
        tree.Tree(), device=device, volume=volume, size_bytes=size,
        timeout_s=seconds)


@privileged.entrypoint
def last_words(*, volume: str) -> str:
    """What the servers of a volume said last."""
    return serverlog.last_words(volume)


@privileged.entrypoint
def connect(*, volume: str, handover: str, size_bytes: int,
            server_flags: int, reattach_s: int, timer_ms: int,
            timeout_s: float) -> tuple[str, int]:
    """Make a device of a connection: its name, and its timer before (ms)."""
    seconds = check.timeout(timeout_s)
    blocks.load_driver()
    with handing.take(handover, _offerers(), seconds) as link:
        return blocks.connect(
            tree.Tree(), link, volume=volume, size_bytes=size_bytes,
            server_flags=server_flags, reattach_s=reattach_s,
            timer_ms=timer_ms, timeout_s=seconds)


@privileged.entrypoint
def reconnect(*, device: str, volume: str, handover: str, size_bytes: int,
              reattach_s: int, timeout_s: float) -> None:
    """Give a device whose connection is dead a new one."""
    seconds = check.timeout(timeout_s)
    with handing.take(handover, _offerers(), seconds) as link:
        blocks.reconnect(tree.Tree(), link, device=device, volume=volume,
                         size_bytes=size_bytes, reattach_s=reattach_s,
                         timeout_s=seconds)


@privileged.entrypoint
def disconnect(*, device: str, volume: str, held: str, timer_ms: int,
               timeout_s: float) -> bool:
    """End a device; False: there was none.

    :param held: where the volume's lock is offered. Late, and without it,
        this would end the device that the volume has by then.
    """
    seconds = check.timeout(timeout_s)
    with handing.keep(held, _offerers(), seconds):
        return blocks.disconnect(
            tree.Tree(), device=device, volume=volume, timer_ms=timer_ms,
            timeout_s=seconds)


@privileged.entrypoint
def set_timer(*, device: str, volume: str, timer_ms: int,
              timeout_s: float) -> bool:
    """Set how long (ms) a request waits; whether it was another value."""
    return blocks.set_timer(
        tree.Tree(), device=device, volume=volume, timer_ms=timer_ms,
        timeout_s=check.timeout(timeout_s))


@privileged.entrypoint
def hang_up(*, device: str, volume: str, pid: int, start: str, timer_ms: int,
            timeout_s: float) -> bool:
    """Give up a connection of which only a process that has ended has the
    other end; False: it is gone, and that with it."""
    return hanging.hang_up(
        tree.Tree(), device=device, volume=volume, timer_ms=timer_ms,
        server=_process(pid, start), timeout_s=check.timeout(timeout_s))


@privileged.entrypoint
def flows(*, device: str, volume: str, pid: int, start: str,
          timeout_s: float) -> str:
    """Read one block: ``read``, or it is ``sent``, or ``unsent``."""
    return flowing.flows(tree.Tree(), device=device, volume=volume,
                         server=_process(pid, start),
                         timeout_s=check.timeout(timeout_s))


def _process(pid: object, start: object) -> parse.Process:
    return parse.Process(pid=check.number(pid, 2, 1 << 22, 'a process'),
                         start=check.start(start))


def _offerers() -> frozenset[int]:
    return frozenset((0, units.asking_uid(os.environ)))
