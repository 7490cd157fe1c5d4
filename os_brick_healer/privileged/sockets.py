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
"""Aborting TCP connections to one portal, by the kernel's sock_diag.

The same as ``ss --kill``, without starting a process while a guest waits:
sock_diag(7), include/uapi/linux/inet_diag.h, net/ipv4/inet_diag.c. It needs
CAP_NET_ADMIN and CONFIG_INET_DIAG_DESTROY (Debian has it).
"""

from collections.abc import Iterator
import errno
import ipaddress
import socket
import struct
from typing import Any, Protocol

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 20, 21
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
#: TCP_ESTABLISHED and TCP_SYN_SENT.
_STATES = 1 << 1 | 1 << 2
_HEADER = struct.Struct('=IHHII')
_ID_BYTES = 48
#: struct inet_diag_msg: four bytes, the socket's id, what we do not read.
_SHORT = 4 + _ID_BYTES
_RECEIVE_BYTES = 65536
#: More connections to one portal than any host has (a queue each).
FOUND_MAX = 1 << 18


class Link(Protocol):
    """A netlink socket, or what stands in for it."""

    def send(self, data: bytes, /) -> Any: ...

    def recv(self, size: int, /) -> bytes: ...


def warm_up(timeout_s: float = 10.0) -> None:
    """Make the kernel load what it needs: the first dump takes a second.

    :raises OSError: the kernel has no sock_diag.
    """
    with _open(timeout_s) as link:
        connections(link, '127.0.0.1', 1)


def destroy(address: str, port: int, timeout_s: float) -> int:
    """Abort every connection to a portal; how many.

    :raises OSError: sock_diag refuses, or does not answer in time.
    """
    with _open(timeout_s) as link:
        found = connections(link, address, port)
    with _open(timeout_s) as link:
        return sum(abort(link, number, family, sock_id)
                   for number, (family, sock_id) in enumerate(found, 1))


def _open(timeout_s: float) -> socket.socket:
    link = socket.socket(socket.AF_NETLINK,
                         socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                         _NETLINK_SOCK_DIAG)
    link.settimeout(timeout_s)
    link.bind((0, 0))
    return link


def connections(link: Link, address: str,
                port: int) -> list[tuple[int, bytes]]:
    """Family and id of every connection to a portal.

    :raises OSError: sock_diag refuses, or writes what is not understood.
    """
    ip = ipaddress.ip_address(address)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    found: list[tuple[int, bytes]] = []
    link.send(_request(_SOCK_DIAG_BY_FAMILY, _DUMP, 1, family,
                       bytes(_ID_BYTES)))
    for kind, body in _messages(link):
        if kind == _ERROR:
            raise _refused(body)
        if len(body) < _SHORT:
            raise _garbled()
        # The id begins with sport and dport and has dst after 16 bytes of
        # src.
        sock_id = body[4:_SHORT]
        if (struct.unpack_from('!H', sock_id, 2)[0] == port
                and sock_id[20:20 + len(ip.packed)] == ip.packed):
            found.append((family, sock_id))
        if len(found) > FOUND_MAX:
            raise _garbled()
    return found


def abort(link: Link, number: int, family: int, sock_id: bytes) -> int:
    """Abort one connection; 0 when it went by itself.

    :raises OSError: sock_diag refuses, or writes what is not understood.
    """
    link.send(_request(_SOCK_DESTROY, _ACK, number, family, sock_id))
    for _kind, body in _messages(link):
        error = _errno(body)
        if error == 0:
            return 1
        if error != errno.ENOENT:
            raise _refused(body)
    return 0


def _request(kind: int, flags: int, number: int, family: int,
             sock_id: bytes) -> bytes:
    # struct inet_diag_req_v2
    body = struct.pack('=BBBxI', family, socket.IPPROTO_TCP, 0,
                       _STATES) + sock_id
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags,
                        number, 0) + body


def _messages(link: Link) -> Iterator[tuple[int, bytes]]:
    """Messages up to the end of a dump, or up to one acknowledgement."""
    while True:
        data = link.recv(_RECEIVE_BYTES)
        while len(data) >= _HEADER.size:
            length, kind, _flags, _number, _pid = _HEADER.unpack_from(data)
            if kind == _DONE or not _HEADER.size <= length <= len(data):
                return
            yield kind, data[_HEADER.size:length]
            if kind == _ERROR:
                return
            data = data[(length + 3) & ~3:]


def _errno(body: bytes) -> int:
    if len(body) < 4:
        raise _garbled()
    return -int(struct.unpack_from('=i', body)[0])


def _refused(body: bytes) -> OSError:
    return OSError(_errno(body), 'sock_diag refuses')


def _garbled() -> OSError:
    return OSError(errno.EBADMSG, 'sock_diag writes what no one understands')
