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
"""The control socket: requests and answers, one JSON object a line.

    {"verb": "status"}           ->  {"ok": true, "result": {...}}
    {"verb": "explain"}          ->  {"ok": false, "error": "cannot ..."}

One thread serves everybody. Nobody can make it wait: sockets do not block,
every peer has a deadline, a peer that does not read its answer is not read
from, and all sizes and numbers are bounded.
"""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import errno
import json
import os
import selectors
import socket
import struct
import threading
import time
from typing import Any

from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.engine import place, whose

LOG = logging.getLogger(__name__)

NAME = 'control.sock'
#: What the socket is called until it may be connected to.
_FRESH = '.new'
#: sun_path of sockaddr_un(7) holds 108 bytes with the closing NUL.
PATH_MAX = 107 - len(_FRESH)
#: struct ucred of unix(7): pid, uid, gid.
_UCRED = struct.Struct('=iII')
_CHUNK = 65536
_ACCEPT_AGAIN_S = 1.0
#: The status of some ten thousand volumes.
ANSWER_BYTES_MAX = 67108864

Verb = Callable[[Mapping[str, Any]], object]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the control socket.

    :ivar idle_s: how long a peer may take for a request.
    :ivar answer_s: how long a peer may take to read one answer.
    """

    request_bytes_max: int = 65536
    answer_bytes_max: int = ANSWER_BYTES_MAX
    peers_max: int = 64
    idle_s: float = 30.0
    answer_s: float = 30.0


@dataclasses.dataclass(slots=True, kw_only=True)
class _Peer:
    sock: socket.socket
    give_up_s: float
    received: bytearray = dataclasses.field(default_factory=bytearray)
    to_send: memoryview = dataclasses.field(
        default_factory=lambda: memoryview(b''))
    closing: bool = False


class Server:
    """Serves verbs on a unix socket from a thread of its own.

    :param path: where the socket is put; a leftover one is replaced, so
        the caller must hold the agent's lock.
    :param verbs: each gets the request and returns what json can write.
    :param permitted: whether a user id may ask.
    :param group: numeric id of the group that may connect; None: ours.
    """

    def __init__(self, path: str, verbs: Mapping[str, Verb],
                 permitted: Callable[[int], bool], *,
                 group: int | None = None,
                 limits: Limits | None = None) -> None:
        self.path = path
        self._group = group
        self._verbs = verbs
        self._permitted = permitted
        self._limits = limits or Limits()
        self._peers: dict[int, _Peer] = {}
        self._selector = selectors.DefaultSelector()
        self._listener, self._place = _listen(path, group)
        self._fresh: socket.socket | None = None
        self._moving = threading.Lock()
        self._accept_again_s: float | None = None
        self._wake_in, self._wake_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._stopping = False
        self._thread = threading.Thread(
            target=self._serve, name='control', daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Stop answering and take the socket away, if it is still ours."""
        with self._moving:
            again, self._stopping = self._stopping, True
            if not again:       # the pipe's number may be another's by now
                self._wake()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if not self._place.gone:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    @property
    def gone(self) -> bool:
        """Whether nobody who comes now would find us, who still serve."""
        return self._place.gone and not self._stopping

    def put_back(self) -> None:
        """Listen on the path anew; who is connected stays connected.

        :raises HealerError: it cannot be done.
        """
        with self._moving:
            if not self._stopping:      # by another thread, just now
                self._fresh, self._place = _listen(self.path, self._group)
                self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_out, b'x')

    def _woken(self) -> None:
        os.read(self._wake_in, _CHUNK)
        if self._fresh is None:
            return
        if self._accept_again_s is None:
            self._selector.unregister(self._listener)
        self._accept_again_s = None
        self._listener.close()
        self._listener, self._fresh = self._fresh, None
        self._selector.register(self._listener, selectors.EVENT_READ)

    def _serve(self) -> None:
        while not self._stopping:
            for key, events in self._selector.select(self._wait_s()):
                if key.fd == self._wake_in:
                    self._woken()
                elif key.fileobj is self._listener:
                    self._accept()
                elif key.fd in self._peers:
                    self._turn(self._peers[key.fd], events)
            self._expire(time.monotonic())
        for peer in list(self._peers.values()):
            self._drop(peer)
        self._listener.close()
        self._selector.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _wait_s(self) -> float | None:
        ends = [p.give_up_s for p in self._peers.values()]
        if self._accept_again_s is not None:
            ends.append(self._accept_again_s)
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _expire(self, now_s: float) -> None:
        for peer in list(self._peers.values()):
            if peer.give_up_s <= now_s:
                self._drop(peer)
        if self._accept_again_s is not None and now_s >= self._accept_again_s:
            self._accept_again_s = None
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError as e:    # out of descriptors or memory: wait a little
            LOG.warning('cannot accept on %s: because %s', self.path, e)
            self._selector.unregister(self._listener)
            self._accept_again_s = time.monotonic() + _ACCEPT_AGAIN_S
            return
        sock.setblocking(False)
        peer = _Peer(sock=sock,
                     give_up_s=time.monotonic() + self._limits.idle_s)
        self._peers[sock.fileno()] = peer
        self._selector.register(sock, selectors.EVENT_READ)
        refusal = self._refusal(sock)
        if refusal is not None:
            self._answer(peer, _error(refusal), closing=True)
            self._send(peer)

    def _refusal(self, sock: socket.socket) -> str | None:
        if len(self._peers) > self._limits.peers_max:
            return ('cannot serve this request: because '
                    f'{self._limits.peers_max} others are being served')
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED,
                                      _UCRED.size)
        _, uid, _ = _UCRED.unpack(credentials)
        if self._permitted(uid):
            return None
        LOG.warning('refused user id %s on %s', uid, self.path)
        return (f'cannot serve user id {uid}: because it is not among '
                '[os_brick_healer] control_users')

    def _turn(self, peer: _Peer, events: int) -> None:
        """Let one peer go on as far as it can without waiting."""
        if peer.to_send:
            self._send(peer)
        elif events & selectors.EVENT_READ:
            self._receive(peer)
        while not peer.to_send and not peer.closing and self._next(peer):
            self._send(peer)

    def _receive(self, peer: _Peer) -> None:
        try:
            data = peer.sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b''
        if not data:
            self._drop(peer)
            return
        peer.received += data

    def _next(self, peer: _Peer) -> bool:
        """Answer the next whole request, if there is one."""
        end = peer.received.find(b'\n')
        length = len(peer.received) if end < 0 else end
        if length > self._limits.request_bytes_max:
            peer.received.clear()
            self._answer(peer, _error(
                'cannot read this request: because it is longer than '
                f'{self._limits.request_bytes_max} bytes'), closing=True)
            return True
        if end < 0:
            return False
        # Cut off at the front, which copies nothing: a peer that sends
        # thousands of lines at once must not keep the others waiting.
        line = bytes(peer.received[:end])
        del peer.received[:end + 1]
        self._answer(peer, self._serve_one(line))
        return True

    def _serve_one(self, line: bytes) -> bytes:
        try:
            request = _parse(line)
            verb = self._verbs.get(request['verb'])
            if verb is None:
                return _error(f'cannot do {request["verb"]!r}: because there '
                              'is no such verb')
            answer = _encode({'ok': True, 'result': verb(request)})
        except exception.HealerError as e:
            return _error(str(e))
        except Exception as e:
            LOG.exception('a request on the control socket failed')
            return _error('cannot serve this request: because of a defect '
                          f'({type(e).__name__}); the log has the details')
        if len(answer) > self._limits.answer_bytes_max:
            return _error('cannot serve this request: because the answer '
                          'is too long')
        return answer

    def _answer(self, peer: _Peer, answer: bytes, *,
                closing: bool = False) -> None:
        peer.to_send = memoryview(answer)
        peer.closing = closing
        peer.give_up_s = time.monotonic() + self._limits.answer_s

    def _send(self, peer: _Peer) -> None:
        try:
            while peer.to_send:
                peer.to_send = peer.to_send[peer.sock.send(peer.to_send):]
        except (BlockingIOError, InterruptedError):
            self._selector.modify(peer.sock, selectors.EVENT_WRITE)
            return
        except OSError:
            self._drop(peer)
            return
        if peer.closing:
            self._drop(peer)
            return
        peer.give_up_s = time.monotonic() + self._limits.idle_s
        self._selector.modify(peer.sock, selectors.EVENT_READ)

    def _drop(self, peer: _Peer) -> None:
        fd = peer.sock.fileno()
        if fd < 0:
            return
        self._selector.unregister(peer.sock)
        del self._peers[fd]
        peer.sock.close()
        peer.closing = True


def is_too_long(path: str) -> bool:
    """Whether the kernel takes no socket of this name."""
    return len(os.fsencode(path)) > PATH_MAX


def _listen(path: str,
            group: int | None) -> tuple[socket.socket, place.Place]:
    """Listen on path; nobody can connect before its mode is right.

    bind() makes the file with the process's umask, which belongs to nova
    when the agent is a thread there: so bind elsewhere, set the mode, then
    move it into place.
    """
    if is_too_long(path):
        raise exception.ConfigError(
            f'cannot listen on {path}: because a socket path longer than '
            f'{PATH_MAX} bytes does not fit the kernel',
            hint='choose a shorter [os_brick_healer] run_path')
    fresh = path + _FRESH
    sock = None
    try:
        sock = socket.socket(socket.AF_UNIX,
                             socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        sock.bind(fresh)
        if group is not None:
            os.chown(fresh, -1, group)
        os.chmod(fresh, 0o660)
        sock.listen(128)
        sock.setblocking(False)
        found = os.stat(fresh)
        os.rename(fresh, path)
    except OSError as e:
        if sock is not None:
            sock.close()
        raise exception.HealerError(
            f'cannot listen on {path}: because {e.strerror}',
            hint=whose.of_file(path, '[os_brick_healer] run_path'),
            transient=e.errno != errno.EACCES) from e
    return sock, place.Place(path, found)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise exception.HealerError(
            'cannot read this request: because it is not JSON') from e
    if not isinstance(request, dict) or not isinstance(
            request.get('verb'), str):
        raise exception.HealerError(
            'cannot read this request: because it is no object with a verb')
    return request


def _encode(answer: Mapping[str, object]) -> bytes:
    return json.dumps(answer, separators=(',', ':')).encode() + b'\n'


def _error(sentence: str) -> bytes:
    return _encode({'ok': False, 'error': sentence})
