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
"""A connection handed over to the privileged side; or a lock.

privsep carries plain values only. Who has shaken hands with a server listens
on an abstract unix socket of a random name and tells that name; the
privileged side connects, makes sure whom it talks to, and is sent the
descriptor. So nothing that a server says is read by root. A lock goes the same
way: flock(2) is of the open file, and ends when both sides have closed it.

The name is free for anybody to connect to: the sender, too, makes sure that
root is at the other end before the descriptor goes.
"""

from collections.abc import Iterator
import contextlib
import os
import secrets
import socket
import stat
import struct
import threading

from os_brick_healer import exception
from os_brick_healer.privileged import check

_PREFIX = 'os-brick-healer-'
_CREDENTIALS = struct.Struct('=iII')
_MARK = b'c'


def _peer(link: socket.socket) -> int:
    """The user id at the other end (unix(7), SO_PEERCRED)."""
    data = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED,
                           _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])


@contextlib.contextmanager
def offer(link: socket.socket | int, timeout_s: float) -> Iterator[str]:
    """Hand a connection, or an open file, to root; gives the place to tell
    it."""
    name = _PREFIX + secrets.token_hex(16)
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f'\0{name}')
        door.listen(4)
        door.settimeout(timeout_s)
        giver = threading.Thread(target=_give, args=(door, link, over),
                                 name='hand-over', daemon=True)
        giver.start()
        try:
            yield name
        finally:
            over.set()
            _knock(name)
            giver.join()


def _knock(name: str) -> None:
    """Wake who waits for a visitor: shutdown(2) of a door does not."""
    with contextlib.suppress(OSError), socket.socket(
            socket.AF_UNIX) as visitor:
        visitor.settimeout(1.0)
        visitor.connect(f'\0{name}')


def _give(door: socket.socket, link: socket.socket | int,
          over: threading.Event) -> None:
    """Give the connection to the first visitor who is root."""
    fd = link if isinstance(link, int) else link.fileno()
    with contextlib.suppress(OSError):     # nobody came in time
        while not over.is_set():
            visitor, _ = door.accept()
            with visitor:
                if not over.is_set() and _peer(visitor) in (
                        0, os.geteuid()):
                    socket.send_fds(visitor, [_MARK], [fd])
                    return


def take(name: str, uids: frozenset[int],
         timeout_s: float) -> socket.socket:
    """The connection that is offered at a place.

    :param uids: who may offer.
    :raises NotOurs: nobody offers, somebody else does, or it is none.
    """
    return _checked(_received(name, uids, timeout_s))


@contextlib.contextmanager
def keep(name: str, uids: frozenset[int], timeout_s: float
         ) -> Iterator[None]:
    """Hold the lock that is offered at a place, as long as something lasts.

    Who offered it may be killed meanwhile: nobody else has the lock until
    this is over. Who is gone before this begins offers nothing any more.

    :param uids: who may offer.
    :raises NotOurs: nobody offers, somebody else does, or it is no file.
    """
    fd = _received(name, uids, timeout_s)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise exception.NotOurs('cannot hold the lock: it is no file')
        yield
    finally:
        os.close(fd)


def _received(name: str, uids: frozenset[int], timeout_s: float) -> int:
    """The descriptor that is offered; no program that is started keeps it."""
    place = check.handover(name)
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(timeout_s)
        try:
            visitor.connect(f'\0{place}')
            uid = _peer(visitor)
            if uid not in uids:
                raise exception.NotOurs(
                    f'cannot take what user {uid} hands over: it did not '
                    'ask')
            _, fds, _, _ = socket.recv_fds(visitor, 1, 1)
        except OSError as error:
            raise exception.NotOurs(
                f'cannot take what is handed over: {error}') from error
    if len(fds) != 1:
        raise exception.NotOurs('cannot take what is handed over: '
                                'nothing came')
    os.set_inheritable(fds[0], False)   # recv_fds() passes on no flags
    return fds[0]


def _checked(fd: int) -> socket.socket:
    """A connected stream, or NotOurs."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        os.close(fd)
        raise exception.NotOurs('cannot take the connection: it is none')
    link = socket.socket(fileno=fd)
    try:
        if link.type != socket.SOCK_STREAM or link.family not in (
                socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
            raise exception.NotOurs(
                'cannot take the connection: it is no stream')
        link.getpeername()
    except BaseException as error:
        link.close()
        if isinstance(error, OSError):
            raise exception.NotOurs(
                f'cannot take the connection: {error}') from error
        raise
    return link
