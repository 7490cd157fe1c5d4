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
"""Connections to servers that listen: real sockets, in virtual time.

What is handed over to the privileged side must be a real descriptor; who is
at its other end is known by its inode.
"""

import os
import socket
import struct
from typing import Any, TYPE_CHECKING

from os_brick_healer.tests.simulation.mapping import parts

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation.mapping import world as world_lib

_GREETING = b'NBDMAGIC' + b'IHAVEOPT' + struct.pack('>H', 3)
_REPLY_MAGIC = 0x3e889045565a9
_ANSWER_S = 0.001


class Talk(socket.socket):
    """A connection, with a played NBD server at its other end."""

    world: 'world_lib.World'
    link: parts.Link

    def begin(self, world: 'world_lib.World', link: parts.Link) -> None:
        self.world, self.link = world, link
        self._said = bytearray(_GREETING)
        self._heard = 0
        self._left_s = 0.0

    def settimeout(self, value: float | None, /) -> None:
        self._left_s = value or 0.0

    def sendall(self, data: Any, *_flags: int) -> None:
        """Flags first, then NBD_OPT_GO: it is told what there is."""
        if self._heard:
            image = self.link.proc.image
            assert image is not None
            self._said += _reply(3, struct.pack(
                '>HQH', 0, image.size_bytes, 1)) + _reply(1, b'')
        self._heard += 1

    def recv(self, size: int, *_flags: int) -> bytes:
        time, proc = self.world.time, self.link.proc
        end_s = time.now_s + self._left_s
        time.sleep(_ANSWER_S)
        while proc.state in (parts.STOPPED, parts.STUCK) or proc.half:
            if time.now_s >= end_s:
                raise TimeoutError
            time.sleep(0.05)
        if proc.state != parts.RUNS:
            return b''
        said, self._said = self._said[:size], self._said[size:]
        return bytes(said)


def _reply(kind: int, data: bytes) -> bytes:
    return struct.pack('>QIII', _REPLY_MAGIC, 7, kind, len(data)) + data


def dial(world: 'world_lib.World', path: str) -> socket.socket:
    """Connect to who listens on a path. :raises OSError: nobody does."""
    proc = world.processes.listening(path)
    if proc is None:
        raise ConnectionRefusedError(111, 'Connection refused')
    ours, theirs = socket.socketpair()
    talk = Talk(fileno=ours.detach())
    talk.begin(world, world.processes.accept(proc))
    world.talks[os.fstat(talk.fileno()).st_ino] = talk.link
    world.sockets.append(theirs)
    return talk


def at_the_end_of(world: 'world_lib.World', fd: int) -> parts.Link:
    """Who is at the other end of a descriptor."""
    return world.talks[os.fstat(fd).st_ino]
