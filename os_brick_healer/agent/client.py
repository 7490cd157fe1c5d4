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
"""The other end of the control socket."""

import contextlib
import json
import os
import socket
import time
from typing import Any

from os_brick_healer import exception
from os_brick_healer.agent import control

_CHUNK = 262144
#: Where systemd is the one that starts services, this is a directory.
SYSTEMD_RUNS = '/run/systemd/system'


class AgentDown(exception.HealerError):
    """Nobody listens: the agent does not run."""


class AgentDenied(exception.HealerError):
    """This user may not talk to the agent."""

    transient = False


class AgentSilent(exception.HealerError):
    """The agent did not answer in time, or left while answering."""


class AgentRefused(exception.HealerError):
    """The agent answered, with a no."""


def socket_path(run_path: str) -> str:
    """Where the agent of this host listens."""
    return os.path.join(run_path, control.NAME)


class Client:
    """Asks the agent; a connection for each call.

    :param timeout_s: for one call as a whole.
    :param answer_bytes_max: longer answers are not read to their end.
    """

    def __init__(
            self, path: str, timeout_s: float = 5.0, *,
            answer_bytes_max: int = control.ANSWER_BYTES_MAX) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self._answer_bytes_max = answer_bytes_max

    def call(self, verb: str, **args: Any) -> Any:
        """Ask, wait, and give back the result.

        :raises AgentDown, AgentDenied, AgentSilent, AgentRefused: each a
            HealerError whose text an operator understands.
        """
        give_up_s = time.monotonic() + self.timeout_s
        request = json.dumps({'verb': verb, **args}).encode() + b'\n'
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                self._connect(sock, give_up_s)
                answer = self._exchange(sock, request, give_up_s)
            except TimeoutError as e:
                raise AgentSilent(
                    f'cannot ask the agent for {verb}: because it did not '
                    f'answer within {self.timeout_s:g} s') from e
            except OSError as e:
                raise AgentSilent(
                    f'cannot ask the agent for {verb}: because the '
                    f'connection broke ({e.strerror or e})') from e
        return self._judge(verb, answer)

    def _connect(self, sock: socket.socket, give_up_s: float) -> None:
        _arm(sock, give_up_s)
        try:
            sock.connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError) as e:
            raise AgentDown(
                'cannot talk to the agent: because it does not run (nobody '
                f'listens on {self.path})',
                hint='systemctl start os-brick-healer'
                if os.path.isdir(SYSTEMD_RUNS)
                else 'start os-brick-healer-agent') from e
        except PermissionError as e:
            raise AgentDenied(
                f'cannot talk to the agent: because this user may not use '
                f'{self.path}',
                hint='run it as root or as the user of nova-compute') from e
        except BlockingIOError as e:    # its queue of connections is full
            raise TimeoutError from e
        except TimeoutError:
            raise
        except OSError as e:    # no directory, or too long for a socket
            raise AgentSilent(
                f'cannot talk to the agent: because {self.path} cannot be '
                f'a socket ({e.strerror or e})',
                hint='set run_path to a directory of its own, as the '
                'agent has it') from e

    def _exchange(self, sock: socket.socket, request: bytes,
                  give_up_s: float) -> bytes:
        # A broken pipe: it has refused us already, and the reason waits.
        with contextlib.suppress(BrokenPipeError):
            sock.sendall(request)
        received = bytearray()
        while not received.endswith(b'\n'):
            _arm(sock, give_up_s)
            data = sock.recv(_CHUNK)
            if not data:
                raise ConnectionResetError(None, 'closed by the agent')
            received += data
            if len(received) > self._answer_bytes_max:
                raise ConnectionAbortedError(None, 'its answer has no end')
        return bytes(received)

    def _judge(self, verb: str, answer: bytes) -> Any:
        try:
            reply = json.loads(answer)
        except (ValueError, RecursionError):
            reply = None
        match reply:
            case {'ok': True, 'result': result}:
                return result
            case {'ok': False, 'error': str(error)}:
                raise AgentRefused(error)
            case _:
                raise nonsense(verb)


def nonsense(verb: str) -> AgentSilent:
    """An answer that is not what was asked for."""
    return AgentSilent(
        f'cannot ask the agent for {verb}: because its answer makes no sense',
        hint='are both of one version?')


def _arm(sock: socket.socket, give_up_s: float) -> None:
    left_s = give_up_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    sock.settimeout(left_s)
