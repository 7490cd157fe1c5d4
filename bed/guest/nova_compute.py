# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""nova-compute as a process of its own, to be stopped, killed, restarted.

The process (``python -m bed.guest.nova_compute SOCKET``) does with os-brick
what Host does in the scenario's own, on request over a unix socket: one JSON
object per connection and direction. NovaCompute is the scenario's end of it.
Under systemd it is nova-compute.service with KillMode=control-group; else it
is a child of the scenario. It may run as user nova, and then reaches root
through sudo, nova-rootwrap and privsep-helper as in production.
"""

from collections.abc import Sequence
import json
import os
import pathlib
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import time
from typing import Any

from bed.guest import host as host_module
from bed.guest.host import (
    Cinder,
    command,
    Host,
    prepare_directories,
    Properties,
)

SOCKET = pathlib.Path('/run/nova/bed.sock')
UNIT = 'nova-compute.service'
DROP_IN = pathlib.Path(f'/run/systemd/system/{UNIT}.d/bed.conf')
START_DEADLINE_S = 60.0
CALL_DEADLINE_S = 180.0


class NovaCompute(Host):
    """The same words as Host, done in another process."""

    def __init__(self, cinder: Cinder | None, *, multipath: bool = False,
                 user: str = 'root') -> None:
        if cinder is not None:
            self.cinder = cinder
        self.multipath = multipath
        self._properties: Properties | None = None
        self._user = user
        self._child: subprocess.Popen[bytes] | None = None
        self._systemd = pathlib.Path('/run/systemd/system').is_dir()
        prepare_directories()

    @property
    def pid(self) -> int:
        """The main process's, 0 if there is none."""
        if self._systemd:
            return int(command('systemctl', 'show', '--value', '--property',
                               'MainPID', UNIT))
        alive = self._child is not None and self._child.poll() is None
        return self._child.pid if self._child and alive else 0

    def start(self) -> None:
        """Starts it and returns once it takes requests."""
        SOCKET.unlink(missing_ok=True)
        if self._systemd:
            DROP_IN.parent.mkdir(parents=True, exist_ok=True)
            DROP_IN.write_text(f'[Service]\nUser={self._user}\n')
            command('systemctl', 'daemon-reload')
            command('systemctl', 'start', UNIT,
                    deadline_s=CALL_DEADLINE_S)
        else:
            self._child = subprocess.Popen(
                [sys.executable, '-m', 'bed.guest.nova_compute',
                 str(SOCKET)], user=self._user, group=self._user,
                cwd='/var/lib/nova', stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_DEADLINE_S
        while not SOCKET.exists():
            if time.monotonic() > deadline:
                raise TimeoutError('cannot start nova-compute: because it '
                                   'took too long, see its log')
            time.sleep(0.05)

    def stop(self) -> None:
        """As an operator does: the unit's whole control group goes."""
        if self._systemd:
            command('systemctl', 'stop', UNIT)
        elif self._child is not None:
            self._child.terminate()
            self._child.wait(20)

    def kill(self) -> None:
        """-9, to everything that still is in the unit's control group."""
        if self._systemd:
            command('systemctl', 'kill', '--signal=KILL', UNIT)
        elif self._child is not None:
            self._child.send_signal(signal.SIGKILL)
            self._child.wait(20)

    @property
    def properties(self) -> Properties:
        if self._properties is None:
            self._properties = _call('properties',
                                     multipath=self.multipath)
        return self._properties

    def connector(self, protocol: str = 'NVMEOF') -> Any:
        return _RemoteConnector(self.multipath, protocol)


class _RemoteConnector:
    """The methods of os-brick's connector that nova calls."""

    def __init__(self, multipath: bool, protocol: str) -> None:
        self._multipath = multipath
        self._protocol = protocol

    def connect_volume(self, connection: Properties) -> Any:
        return _call('connect', multipath=self._multipath,
                     protocol=self._protocol, connection=connection)

    def disconnect_volume(self, connection: Properties,
                          device_info: Properties, force: bool = False,
                          ignore_errors: bool = False) -> None:
        _call('disconnect', multipath=self._multipath, force=force,
              protocol=self._protocol, connection=connection,
              device_info=device_info, ignore_errors=ignore_errors)

    def extend_volume(self, connection: Properties) -> Any:
        return _call('extend', multipath=self._multipath,
                     protocol=self._protocol, connection=connection)


def _call(operation: str, **arguments: object) -> Any:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(CALL_DEADLINE_S)
        client.connect(str(SOCKET))
        client.sendall(json.dumps(
            {'operation': operation, **arguments}).encode() + b'\n')
        answer = json.loads(client.makefile().readline() or
                            '{"error": "nova-compute hung up"}')
    if 'error' in answer:
        raise OSError(f'cannot {operation} in nova-compute: because '
                      f'{answer["error"]}')
    return answer['result']


# The process itself ------------------------------


def _perform(order: Properties) -> Any:
    host = _LocalHost(order['multipath'])
    protocol = order.get('protocol', 'NVMEOF')
    match order['operation']:
        case 'properties':
            return host.properties
        case 'connect':
            return host.connector(protocol).connect_volume(
                order['connection'])
        case 'disconnect':
            return host.connector(protocol).disconnect_volume(
                order['connection'], order['device_info'],
                force=order['force'], ignore_errors=order['ignore_errors'])
        case 'extend':
            return host.connector(protocol).extend_volume(
                order['connection'])
        case unknown:
            raise ValueError(f'no such operation: {unknown}')


class _LocalHost(Host):
    """A Host without a cinder: the scenario is the control plane."""

    def __init__(self, multipath: bool) -> None:
        self.multipath = multipath
        self._properties = None
        host_module.setup_os_brick()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        try:
            answer = {'result': _perform(json.loads(self.rfile.readline()))}
        except Exception as error:  # noqa: BLE001 - it goes to the caller
            answer = {'error': f'{type(error).__name__}: {error}'}
        self.wfile.write(json.dumps(answer).encode() + b'\n')


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def _notify_ready() -> None:
    address = os.environ.get('NOTIFY_SOCKET')
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(b'READY=1', address)


def main(arguments: Sequence[str]) -> int:
    path = pathlib.Path(arguments[0])
    host_module.setup_os_brick()
    path.unlink(missing_ok=True)
    # os.replace: who sees the socket can connect to it
    with _Server(f'{path}.new', _Handler) as server:
        shutil.move(f'{path}.new', path)
        _notify_ready()
        server.serve_forever()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
