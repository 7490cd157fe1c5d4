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
"""Whether I/O of a network block device flows, shown by reads of our own."""

import dataclasses
import mmap
import os
import threading
import time

from os_brick_healer.nbd import parse, reads
from os_brick_healer.privileged import blocks, bounded, check
from os_brick_healer.privileged import tree as trees
from os_brick_healer.sysfs import nbd

_PAGE_BYTES = 4096


@dataclasses.dataclass(slots=True, kw_only=True)
class _Pending:
    read: reads.Read
    call: bounded.Call[int]


_lock = threading.Lock()
#: Reads of a device that nobody has seen come back, oldest first.
_pending: dict[str, list[_Pending]] = {}


def flows(tree: trees.Tree, *, device: object, volume: object,
          server: parse.Process, timeout_s: float) -> str:
    """Read one block, past every cache: what came of it in time.

    Who asks again shares the read that is under way, as long as that tells
    something (see :mod:`os_brick_healer.nbd.reads`).

    :param server: who serves the device now.
    :returns: ``read``; ``sent``: requests have moved since, or one more is
        under way, or no more can be; ``unsent``: none.
    :raises OSError: it is read with an error.
    """
    blocks.verify(tree, device, volume)
    name = check.nbd(device)
    path = tree.path(f'/dev/{name}')
    with _lock:
        there = [one for one in _pending.get(path, ()) if not one.call.over]
        shared = reads.shared([one.read for one in there], server,
                              time.monotonic())
        if shared is None:
            there.append(_Pending(
                read=reads.Read(server=server, begun_s=time.monotonic(),
                                before=_requests(tree, name)),
                call=bounded.Call(lambda: _read(path), f'read {path}')))
        _pending[path] = there
        mine = there[-1]
    if mine.call.wait(timeout_s).done:
        return 'read'
    mine.read = reads.after(mine.read, _requests(tree, name),
                            nbd.depth(tree, name))
    return 'sent' if mine.read.sent else 'unsent'


def _read(path: str) -> int:
    # The first open() reads the table of partitions: it may hang, too.
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, _PAGE_BYTES) as page:
            return os.preadv(fd, [page], 0)
    finally:
        os.close(fd)


def _requests(tree: trees.Tree, name: str) -> parse.Requests | None:
    found = nbd.device(tree, name)
    return None if found is None else found.requests
