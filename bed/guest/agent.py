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
"""The agent under test, as an operator sets it up, runs it and asks it."""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
import shutil
import signal
import socket
import subprocess
from typing import Any, Protocol, TYPE_CHECKING

from bed.guest import host as host_module
from bed.guest.scenario import Failed, Stage

if TYPE_CHECKING:
    from bed.guest.world import World

CONFIG = pathlib.Path('/etc/os-brick-healer/os-brick-healer.conf')
VENDOR_CONFIG = pathlib.Path('/etc/kioxia/provisioner.conf')
LOG_FILE = pathlib.Path('/var/log/os-brick-healer.log')
AGENT = '/venv/bin/os-brick-healer-agent'
CLI = '/venv/bin/os-brick-healer'
SOCKET = pathlib.Path('/run/os-brick-healer/control.sock')
UP_S = 120  # an emulated CPU that others use, too
SETTINGS = {'provisioner': 'kumoscale', 'grace_period': '5',
            'provisioner_interval': '2', 'launch': 'none'}


class Staged(Protocol):
    """What an agent needs of its world once it is configured."""

    stage: Stage


@dataclasses.dataclass(slots=True)
class Agent:
    """The agent of this host; configure() first."""

    world: Staged
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def configure(cls, world: 'World', **settings: str) -> 'Agent':
        """Writes the configuration files; settings win over SETTINGS."""
        VENDOR_CONFIG.parent.mkdir(parents=True, exist_ok=True)
        VENDOR_CONFIG.write_text(world.kumoscale.vendor_config())
        VENDOR_CONFIG.chmod(0o640)
        shutil.chown(VENDOR_CONFIG, group='nova')
        write_config({**SETTINGS, **settings,
                      'kumoscale_ca_file': str(world.kumoscale.pki.ca)})
        agent = cls(world)
        world.stage.at_exit('keep the agent\'s log', agent.leave_traces)
        world.stage.at_exit('end the agent', agent.kill)
        return agent

    def start(self) -> None:
        """Starts it by hand, and waits until it answers."""
        self.process = subprocess.Popen(
            [AGENT, '--config-file', host_module.NOVA_CONF, '--config-file',
             str(CONFIG)],
            stdout=LOG_FILE.open('ab'), stderr=subprocess.STDOUT)
        self.wait_until_up()

    def wait_until_up(self) -> None:
        self.world.stage.wait_until('the agent answers', self.up, UP_S)

    def up(self) -> bool:
        try:
            self.ask('status')
        except OSError:
            return False
        return True

    def ask(self, verb: str, **more: object) -> Any:
        """One question over the control socket, as the command asks it.

        Without the command: its imports take seconds on an emulated CPU.
        """
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20 * self.world.stage.patience)
            sock.connect(str(SOCKET))
            sock.sendall(json.dumps({'verb': verb, **more}).encode() + b'\n')
            text = b''
            while not text.endswith(b'\n'):
                more_text = sock.recv(65536)
                if not more_text:
                    raise ConnectionError('the agent hung up')
                text += more_text
        answer = json.loads(text)
        if not answer['ok']:
            raise Failed(f'the agent refuses {verb}: {answer["error"]}')
        return answer['result']

    def kill(self) -> None:
        """kill -9, wherever it is."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=30)
        self.process = None
        return status

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [CLI, '--config-file', host_module.NOVA_CONF, '--config-file',
             str(CONFIG), *words], capture_output=True, text=True,
            timeout=180, check=False)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask('status')
        return found

    def volume(self, key: str) -> dict[str, Any]:
        """What the agent says about one volume; {} if nothing."""
        for each in self.status()['volumes']:
            if each['key'] == key:
                return dict(each)
        return {}

    def phase(self, key: str) -> str | None:
        return self.volume(key).get('phase')

    def history(self) -> str:
        return self.cli('history').stdout

    def leave_traces(self) -> None:
        if LOG_FILE.exists():
            self.world.stage.artifact('agent.log',
                                      LOG_FILE.read_text(errors='replace'))
        self.world.stage.artifact('history.txt', self.history())


def write_config(settings: Mapping[str, str]) -> None:
    CONFIG.parent.mkdir(parents=True, exist_ok=True)
    lines = [f'{name} = {value}' for name, value in settings.items()]
    CONFIG.write_text('[DEFAULT]\ndebug = true\n[os_brick_healer]\n'
                      + '\n'.join(lines) + '\n')
