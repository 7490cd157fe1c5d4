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
"""Reads and writes through an NBD connection, without a kernel.

For tests of mounters: as much of the protocol's transmission phase as shows
whether a server serves.
"""

import socket
import struct

from os_brick_healer import exception
from os_brick_healer.nbd import handshake

_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3


class Client:
    """One connection. :param path: the server's unix socket."""

    def __init__(self, path: str, export: str = '',
                 timeout_s: float = 10.0) -> None:
        self._link = socket.socket(socket.AF_UNIX)
        self._link.settimeout(timeout_s)
        try:
            self._link.connect(path)
            self.export = handshake.negotiate(self._link, export, timeout_s)
            self._link.settimeout(timeout_s)
        except BaseException:
            self._link.close()
            raise
        self._handle = 0

    def read(self, offset: int, size: int) -> bytes:
        """Bytes at an offset. :raises HealerError: the server says no."""
        self._ask(_READ, offset, size)
        return self._take(size)

    def write(self, offset: int, data: bytes) -> None:
        """Write, and wait until it is acknowledged."""
        self._ask(_WRITE, offset, len(data), data)

    def flush(self) -> None:
        """What is acknowledged is on its medium."""
        self._ask(_FLUSH, 0, 0)

    def close(self) -> None:
        """Say good-bye."""
        try:
            self._link.sendall(struct.pack('>IHHQQI', _REQUEST_MAGIC, 0,
                                           _DISCONNECT, 0, 0, 0))
        except OSError:
            pass        # it is gone: what was meant
        finally:
            self._link.close()

    def _ask(self, kind: int, offset: int, size: int,
             data: bytes = b'') -> None:
        self._handle += 1
        self._link.sendall(struct.pack(
            '>IHHQQI', _REQUEST_MAGIC, 0, kind, self._handle, offset,
            size) + data)
        magic, error, handle = struct.unpack('>IIQ', self._take(16))
        if magic != _REPLY_MAGIC or handle != self._handle or error:
            raise exception.HealerError(
                f'cannot use the NBD server: because it answers with '
                f'error {error}')

    def _take(self, size: int) -> bytes:
        data = b''
        while len(data) < size:
            more = self._link.recv(size - len(data))
            if not more:
                raise exception.HealerError(
                    'cannot use the NBD server: because it hung up')
            data += more
        return data
