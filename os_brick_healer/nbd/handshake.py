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
"""The beginning of the NBD protocol, as a client.

Fixed newstyle negotiation, NBD_OPT_GO with NBD_OPT_EXPORT_NAME as the way
out for old servers; no TLS
(https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md). When it
has come to its end the socket is ready to be given to the kernel.
"""

import dataclasses
import socket
import struct
import time

from os_brick_healer import exception

_MAGIC = b'NBDMAGIC'
_OPTION_MAGIC = b'IHAVEOPT'
_REPLY_MAGIC = 0x3e889045565a9
_FIXED, _NO_ZEROES = 1, 2
_EXPORT_NAME, _GO = 1, 7
_REPLY_ACK, _REPLY_INFO = 1, 3
_INFO_EXPORT = 0
_ERROR = 1 << 31
_UNSUPPORTED = _ERROR | 1
#: NBD_FLAG_READ_ONLY of the transmission flags.
_READ_ONLY = 2
#: Longer words of a server are not ours to read.
_REPLY_BYTES_MAX = 65536
_REPLIES_MAX = 64
NAME_BYTES_MAX = 4096


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What the server offers. :ivar flags: NBD's transmission flags."""

    size_bytes: int
    flags: int

    @property
    def readonly(self) -> bool:
        """Whether writes would be refused."""
        return bool(self.flags & _READ_ONLY)


def negotiate(link: socket.socket, name: str, timeout_s: float) -> Export:
    """Agree on an export.

    :raises HealerError: the server refuses, is none, or takes too long.
    """
    talk = _Talk(link, timeout_s)
    flags = _greeting(talk)
    if not flags & _FIXED:
        raise _cannot('it is too old (no fixed newstyle)')
    talk.send(struct.pack('>I', flags & (_FIXED | _NO_ZEROES)))
    word = name.encode()
    if len(word) > NAME_BYTES_MAX:
        raise _cannot('the name of the export is too long')
    talk.send(_option(_GO, struct.pack('>I', len(word)) + word
                      + struct.pack('>H', 0)))
    found = _go(talk)
    if found is not None:
        return found
    talk.send(_option(_EXPORT_NAME, word))
    size, export_flags = struct.unpack('>QH', talk.read(10))
    if not flags & _NO_ZEROES:
        talk.read(124)
    return Export(size_bytes=size, flags=export_flags)


class _Talk:
    """Bytes in and out, before a deadline for all of it."""

    def __init__(self, link: socket.socket, timeout_s: float) -> None:
        self._link = link
        self._until_s = time.monotonic() + timeout_s

    def _arm(self) -> None:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise _cannot('it does not answer in time')
        self._link.settimeout(left_s)

    def send(self, data: bytes) -> None:
        try:
            self._arm()
            self._link.sendall(data)
        except OSError as e:
            raise _cannot(_why(e)) from e

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                self._arm()
                more = self._link.recv(size - len(data))
            except OSError as e:
                raise _cannot(_why(e)) from e
            if not more:
                raise _cannot('it hung up')
            data += more
        return bytes(data)


def _why(error: OSError) -> str:
    return ('it does not answer in time' if isinstance(error, TimeoutError)
            else str(error.strerror or error))


def _greeting(talk: _Talk) -> int:
    if talk.read(8) != _MAGIC or talk.read(8) != _OPTION_MAGIC:
        raise _cannot('it does not speak NBD')
    return int(struct.unpack('>H', talk.read(2))[0])


def _option(number: int, data: bytes) -> bytes:
    return _OPTION_MAGIC + struct.pack('>II', number, len(data)) + data


def _go(talk: _Talk) -> Export | None:
    """The answer to NBD_OPT_GO; None: the server does not know it."""
    export = None
    for _ in range(_REPLIES_MAX):
        magic, _number, kind, size = struct.unpack('>QIII', talk.read(20))
        if magic != _REPLY_MAGIC or size > _REPLY_BYTES_MAX:
            raise _cannot('its answer is no answer of NBD')
        data = talk.read(size)
        if kind == _REPLY_ACK and export is not None:
            return export
        if kind == _UNSUPPORTED:
            return None
        if kind & _ERROR:
            raise _cannot(f'it refuses: {_printable(data) or hex(kind)}')
        if kind == _REPLY_INFO and data[:2] == struct.pack(
                '>H', _INFO_EXPORT) and len(data) == 12:
            export = Export(size_bytes=struct.unpack('>Q', data[2:10])[0],
                            flags=struct.unpack('>H', data[10:])[0])
    raise _cannot('it comes to no end')


def _printable(data: bytes) -> str:
    """A server's own words, as far as a terminal may see them."""
    said = data.decode('utf-8', 'backslashreplace')[:200]
    return ''.join(c if c.isprintable() else ' ' for c in said).strip()


def _cannot(why: str) -> exception.HealerError:
    return exception.HealerError(
        f'cannot agree with the NBD server: because {why}')
