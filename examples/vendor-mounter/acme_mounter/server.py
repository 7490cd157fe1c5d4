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
"""``acme-nbd``: serves one image over NBD, to any number of clients.

What it answers it has written to the file: it may be killed at any moment.
"""

import argparse
from collections.abc import Sequence
import contextlib
import os
import socket
import struct
import sys
import threading

GREETING = b'NBDMAGIC' + b'IHAVEOPT' + struct.pack('>H', 3)
OPTION, REPLY = b'IHAVEOPT', 0x3e889045565a9
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
FLAGS = 1 | 4          # there are flags; flushes are taken
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
EIO, EINVAL = 5, 22
REQUEST_BYTES_MAX = 32 << 20


def take(link: socket.socket, size: int) -> bytes:
    """So many bytes. :raises ConnectionError: the client has gone."""
    data = bytearray()
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise ConnectionError('the client has gone')
        data += more
    return bytes(data)


def agree(link: socket.socket, size: int) -> bool:
    """The negotiation; whether it comes to requests."""
    link.sendall(GREETING)
    take(link, 4)
    while True:
        magic, option, length = struct.unpack('>8sII', take(link, 16))
        if magic != OPTION or length > 65536:
            return False
        take(link, length)
        if option == 7:     # NBD_OPT_GO
            info = struct.pack('>HQH', 0, size, FLAGS)
            link.sendall(struct.pack('>QIII', REPLY, option, 3, len(info))
                         + info
                         + struct.pack('>QIII', REPLY, option, 1, 0))
            return True
        if option == 2:     # NBD_OPT_ABORT
            return False
        link.sendall(struct.pack('>QIII', REPLY, option, 1 << 31 | 1, 0))


def answer(link: socket.socket, image: int, size: int) -> bool:
    """One request; whether there may be another."""
    magic, _flags, kind, handle, offset, length = struct.unpack(
        '>IHHQQI', take(link, 28))
    if magic != REQUEST_MAGIC or kind == DISCONNECT or (
            length > REQUEST_BYTES_MAX):
        return False
    data, error = take(link, length) if kind == WRITE else b'', 0
    if offset + length > size:
        kind, error = -1, EINVAL
    try:
        if kind == READ:
            data = os.pread(image, length, offset)
        elif kind == WRITE:
            os.pwrite(image, data, offset)
        elif kind == FLUSH:
            os.fdatasync(image)
    except OSError:
        error = EIO
    link.sendall(struct.pack('>IIQ', REPLY_MAGIC, error, handle)
                 + (data if kind == READ and not error else b''))
    return True


def serve(link: socket.socket, image: int) -> None:
    """One client, to its end."""
    size = os.fstat(image).st_size
    with link, contextlib.suppress(ConnectionError):
        if agree(link, size):
            while answer(link, image, size):
                pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog='acme-nbd')
    for name in ('--socket', '--store', '--image'):
        parser.add_argument(name, required=True)
    words = parser.parse_args(arguments)
    try:
        image = os.open(os.path.join(words.store, words.image), os.O_RDWR)
    except FileNotFoundError:
        print(f'acme-nbd: no image {words.image!r}', file=sys.stderr)
        return 1
    door = socket.socket(socket.AF_UNIX)
    door.bind(words.socket)
    door.listen(16)
    while True:
        link, _ = door.accept()
        threading.Thread(target=serve, args=(link, image),
                         daemon=True).start()


if __name__ == '__main__':
    sys.exit(main())
