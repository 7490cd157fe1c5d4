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
"""A small NBD server for tests: one export in memory, and bad manners."""

import contextlib
import pathlib
import socket
import struct
import threading

OPTION_MAGIC = b'IHAVEOPT'
REPLY = 0x3e889045565a9
FLAGS = 1 | 4


class Server:
    """Listens on a unix socket until it is closed.

    :ivar greeting: what it says first.
    :ivar old: it does not know NBD_OPT_GO.
    :ivar refusal: what it answers to every option, None: it agrees.
    :ivar silent: it accepts, and says nothing.
    :ivar flags: what it can do, in NBD's flags.
    """

    def __init__(self, path: pathlib.Path, size_bytes: int = 1 << 20) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self.greeting = b'NBDMAGIC' + OPTION_MAGIC + struct.pack('>H', 3)
        self.old = False
        self.refusal: str | None = None
        self.answer: bytes | None = None
        self.silent = False
        self.flags = FLAGS
        self.exports: list[bytes] = []
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(path))
        self._door.listen(8)
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for link in self._open:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._door.accept()
                self._open.append(link)
                if not self.silent:
                    threading.Thread(target=self._serve, args=(link,),
                                     daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError, struct.error):
            link.sendall(self.greeting)
            flags = struct.unpack('>I', self._take(link, 4))[0]
            while True:
                _magic, kind, size = struct.unpack(
                    '>8sII', self._take(link, 16))
                data = self._take(link, size)
                if kind == 1:
                    self.exports.append(data)
                    link.sendall(struct.pack('>QH', self.size_bytes,
                                             self.flags))
                    if not flags & 2:
                        link.sendall(bytes(124))
                    return
                if self._option(link, kind, data):
                    return

    def _option(self, link: socket.socket, kind: int, data: bytes) -> bool:
        if self.answer is not None:
            link.sendall(self.answer)
            return True
        if self.refusal is not None:
            text = self.refusal.encode()
            link.sendall(struct.pack('>QIII', REPLY, kind, 1 << 31 | 6,
                                     len(text)) + text)
            return True
        if self.old:
            link.sendall(struct.pack('>QIII', REPLY, kind, 1 << 31 | 1, 0))
            return False
        size = struct.unpack_from('>I', data)[0]
        self.exports.append(data[4:4 + size])
        info = struct.pack('>HQH', 0, self.size_bytes, self.flags)
        link.sendall(struct.pack('>QIII', REPLY, kind, 3, 6) + b'\0\1desc')
        link.sendall(struct.pack('>QIII', REPLY, kind, 3, len(info)) + info)
        link.sendall(struct.pack('>QIII', REPLY, kind, 1, 0))
        return True

    @staticmethod
    def _take(link: socket.socket, size: int) -> bytes:
        data = b''
        while len(data) < size:
            more = link.recv(size - len(data))
            if not more:
                raise OSError('hung up')
            data += more
        return data
