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

"""The control socket, from both of its ends."""

from collections.abc import Iterator
import json
import pathlib
import queue
import socket
import threading
import typing
from typing import Any

from os_brick_healer import exception
from os_brick_healer.agent import client, control, verbs
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.tests.fuzz import law


class _Engine:
    """Turns nothing; pauses and tells as the real one does."""

    def __init__(self, path: pathlib.Path) -> None:
        self.journal = journal_lib.Journal(str(path), boot_id='a-boot')
        self.journal.tell('replica', 'v-1', 'all is well')

    def status(self) -> dict[str, Any]:
        return {'agent': {'paused': None}, 'volumes': [
            {'key': f'v-{i}', 'alias': f'vol-{i}', 'array': f'md{i}',
             'phase': 'healthy', 'action': None} for i in range(3)]}

    def wake(self, key: str | None = None) -> None:
        return None

    def pause(self, reason: str) -> None:
        self.journal.set_setting('paused', reason)

    def resume(self) -> None:
        self.journal.set_setting('paused', None)


class Control(law.Target):
    """The control socket, from the side of whoever asks."""

    name = 'control'
    huge_bytes = 1 << 17    # each line of it is a request
    words = (*law.JSON, b'{"verb": "', b'"}\n', b'\n', b'"key": "v-1"',
             b'"reason": ', b'"limit": ', b'status', b'explain', b'history',
             b'pause', b'resume', b'wake', b'release', b'ping', b'reload')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._engine = _Engine(directory / 'journal.sqlite')
        self._path = str(directory / control.NAME)
        self._server = control.Server(
            self._path, verbs.table(typing.cast(Any, self._engine), dict,
                                    tuple),
            lambda _uid: True, limits=control.Limits(request_bytes_max=4096))
        self._server.start()

    def seeds(self) -> Iterator[bytes]:
        yield b'{"verb": "status"}\n{"verb": "explain", "key": "v-1"}\n'
        yield (b'{"verb": "history", "key": "v-1", "limit": 5}\n'
               b'{"verb": "pause", "reason": "\\u00fc"}\n')
        yield b'{"verb": "release", "key": "v-2"}\n{"verb": "wake"}\n'
        yield b'{"verb": "resume"}\n{"verb": "ping"}\n{"verb": "none"}\n'

    def run(self, data: bytes) -> None:
        received = bytearray()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60.0)
            sock.connect(self._path)
            sender = threading.Thread(target=_send, args=(sock, data))
            sender.start()
            while chunk := _receive(sock):
                received += chunk
            sender.join()
        answers = received.split(b'\n')
        law.need(answers.pop() == b'' or not answers, 'half an answer')
        law.need(len(answers) <= data.count(b'\n') + 1, 'too many answers')
        for answer in map(json.loads, answers):
            error = answer.get('error', 'cannot')
            law.need(answer['ok'] is ('result' in answer)
                     and error.startswith('cannot')
                     and 'defect' not in error and len(error) < law.SAID_MAX,
                     repr(answer))

    def close(self) -> None:
        self._server.stop()
        self._engine.journal.close()


def _send(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return      # it has hung up on us, as it may


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b''


class Client(law.Target):
    """The control socket, from the side of the command."""

    name = 'client'
    words = (*law.JSON, b'{"ok": true, "result": ',
             b'{"ok": false, "error": "',
             b'"}\n', b'[[[[[[[[[[[[[[[[')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._path = str(directory / control.NAME)
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while (answer := self._answers.get()) is not None:
            peer, _ = self._listener.accept()
            with peer:
                peer.recv(65536)
                _send(peer, answer)

    def seeds(self) -> Iterator[bytes]:
        yield b'{"ok": true, "result": {"volumes": []}}\n'
        yield b'{"ok": false, "error": "cannot do that"}\n'

    def run(self, data: bytes) -> None:
        self._answers.put(data)
        try:
            client.Client(self._path, timeout_s=20.0).call('status')
        except client.AgentRefused:
            return      # in the agent's own words
        except exception.HealerError as error:
            said = str(error)
            law.need(said.startswith('cannot ask the agent for status'), said)
            law.need(isinstance(error, client.AgentSilent), repr(error))

    def close(self) -> None:
        self._answers.put(None)
        self._thread.join(5.0)
        self._listener.close()


TARGETS: tuple[type[law.Target], ...] = (Control, Client)
