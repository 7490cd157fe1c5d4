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
"""What the kernel's nbd driver can be told and tells, over netlink.

``include/uapi/linux/nbd-netlink.h`` and ``drivers/block/nbd.c`` (Linux 6.1).
Connecting, reconfiguring and disconnecting need CAP_SYS_ADMIN; asking and
listening need nothing.

* A device that was connected with a backend identifier (the *cookie*) can be
  reconfigured only by who knows it; /sys/block/nbdX/backend shows it.
* RECONFIGURE gives each dead connection of the device a new socket. With none
  dead it answers success and drops the socket: whoever calls must see
  whether I/O flows.
* LINK_DEAD is sent to the group when a connection dies that nobody asked to
  end, a few milliseconds after the death.
"""

from collections.abc import Iterator
import contextlib
import errno
import socket

from os_brick_healer import exception
from os_brick_healer.nbd import genl

FAMILY = 'nbd'
GROUP = 'nbd_mc_group'
CONNECT, DISCONNECT, RECONFIGURE, LINK_DEAD = 1, 2, 3, 4
(_INDEX, _SIZE_BYTES, _BLOCK_SIZE_BYTES, _TIMEOUT, _SERVER_FLAGS,
 _CLIENT_FLAGS, _SOCKETS, _DEAD_CONN_TIMEOUT, _DEVICES,
 _BACKEND) = range(1, 11)
_SOCKET_ITEM, _SOCKET_FD = 1, 1

_NETLINK_GENERIC = 16
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_RECEIVE_BYTES = 65536
#: Logical block of our devices: what guests expect, and what every NBD
#: server can do. The driver's own default would be 1024.
BLOCK_BYTES = 512


class NoDriver(exception.HealerError):
    """The module nbd is not loaded."""


def open_link(timeout_s: float) -> socket.socket:
    """A socket of generic netlink with a deadline for each answer."""
    link = socket.socket(socket.AF_NETLINK,
                         socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                         _NETLINK_GENERIC)
    link.settimeout(timeout_s)
    link.bind((0, 0))
    return link


def family(link: socket.socket) -> genl.Family:
    """The driver's numbers.

    :raises NoDriver: it is not there.
    """
    link.send(genl.ask_family(FAMILY, 1))
    try:
        return genl.family(_answer(link, 1))
    except FileNotFoundError as e:
        raise NoDriver("cannot use nbd: because the kernel's module is not "
                       'loaded', hint='modprobe nbd') from e


def _answer(link: socket.socket, sequence: int) -> genl.Message:
    """The answer to a request; of an acknowledgement alone, that.

    :raises OSError: the kernel says no, or nothing in time.
    """
    told: genl.Message | None = None
    while True:
        for message in genl.messages(link.recv(_RECEIVE_BYTES)):
            if message.sequence != sequence:
                continue
            if message.error is None:
                told = message
            elif message.error:
                raise genl.refused(message.error, 'the kernel refuses')
            else:
                return told or message


def _order(command: int, *pairs: tuple[int, bytes],
           timeout_s: float) -> genl.Message:
    with open_link(timeout_s) as link:
        number = family(link).number
        link.send(genl.request(number, command, 2, pairs))
        return _answer(link, 2)


def _sockets(fd: int) -> tuple[int, bytes]:
    item = genl.nest((_SOCKET_FD, genl.u32(fd)))
    return _SOCKETS | genl.NESTED, genl.nest(
        (_SOCKET_ITEM | genl.NESTED, item))


def connect(fd: int, *, size_bytes: int, server_flags: int, cookie: str,
            reattach_s: int, timeout_s: float) -> int:
    """A new device on a socket after its handshake; the device's number.

    The driver's own request timeout stays 0: with another one a slow server
    is cut off and its requests fail.

    :param reattach_s: how long new requests wait for a new server once the
        old one has died, before they fail.
    :raises OSError: the kernel refuses.
    """
    told = _order(
        CONNECT, (_SIZE_BYTES, genl.u64(size_bytes)),
        (_BLOCK_SIZE_BYTES, genl.u64(BLOCK_BYTES)),
        (_TIMEOUT, genl.u64(0)), (_SERVER_FLAGS, genl.u64(server_flags)),
        (_CLIENT_FLAGS, genl.u64(0)),
        (_DEAD_CONN_TIMEOUT, genl.u64(reattach_s)),
        (_BACKEND, genl.text(cookie)), _sockets(fd), timeout_s=timeout_s)
    index = genl.number(told.attributes.get(_INDEX))
    if index is None:
        raise OSError(errno.EPROTO, 'the kernel names no device')
    return index


def reconfigure(fd: int, index: int, *, size_bytes: int, cookie: str,
                reattach_s: int, timeout_s: float) -> None:
    """A new socket for the dead connection of a device.

    :raises OSError: the kernel refuses (EINVAL: the cookie is another one).
    """
    _order(RECONFIGURE, (_INDEX, genl.u32(index)),
           (_SIZE_BYTES, genl.u64(size_bytes)),
           (_BLOCK_SIZE_BYTES, genl.u64(BLOCK_BYTES)),
           (_DEAD_CONN_TIMEOUT, genl.u64(reattach_s)),
           (_BACKEND, genl.text(cookie)), _sockets(fd), timeout_s=timeout_s)


def grow(index: int, *, size_bytes: int, cookie: str,
         timeout_s: float) -> None:
    """Tell a device that is served of data that has grown.

    :raises OSError: the kernel refuses (EINVAL: the cookie is another one).
    """
    _order(RECONFIGURE, (_INDEX, genl.u32(index)),
           (_SIZE_BYTES, genl.u64(size_bytes)),
           (_BACKEND, genl.text(cookie)), timeout_s=timeout_s)


def expire(index: int, *, cookie: str, after_s: int, timeout_s: float
           ) -> None:
    """Set the driver's own request timeout; 0, as it was connected: none.

    With one, the connection on which a request waits for so long is given
    up, and is dead then; the request waits for the next connection. With 0
    the block layer's timer is its default again, 30 s.

    :raises OSError: the kernel refuses (EINVAL: the cookie is another one).
    """
    _order(RECONFIGURE, (_INDEX, genl.u32(index)),
           (_TIMEOUT, genl.u64(after_s)), (_BACKEND, genl.text(cookie)),
           timeout_s=timeout_s)


def disconnect(index: int, *, timeout_s: float) -> None:
    """End a device; requests under way fail.

    :raises OSError: the kernel refuses.
    """
    _order(DISCONNECT, (_INDEX, genl.u32(index)), timeout_s=timeout_s)


class Deaths:
    """Hears the deaths of connections, as names of devices.

    :raises NoDriver: the module is not loaded (yet).
    :raises OSError: the kernel refuses.
    """

    def __init__(self) -> None:
        self._link = open_link(2.0)
        try:
            group = family(self._link).groups.get(GROUP)
            if group is None:
                raise exception.HealerError(
                    'cannot hear of deaths: because this kernel has no '
                    f'group {GROUP}')
            self._link.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except BaseException:
            self._link.close()
            raise
        self._link.setblocking(False)

    def fileno(self) -> int:
        """For poll()."""
        return self._link.fileno()

    def take(self) -> frozenset[str] | None:
        """Devices that lost a connection; None: some were not told."""
        found: set[str] = set()
        while True:
            try:
                data, sender = self._link.recvfrom(_RECEIVE_BYTES)
            except BlockingIOError:
                return frozenset(found)
            except OSError:      # ENOBUFS: the kernel had to drop some
                return None
            if sender[0] == 0:   # any process may send to a netlink socket
                found.update(_dead(data))

    def close(self) -> None:
        """Give back the descriptor."""
        with contextlib.suppress(OSError):
            self._link.close()


def _dead(data: bytes) -> Iterator[str]:
    for message in genl.messages(data):
        index = genl.number(message.attributes.get(_INDEX))
        if message.command == LINK_DEAD and index is not None:
            yield f'nbd{index}'
