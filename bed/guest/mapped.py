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
"""A host whose volumes are served by processes: attach, watch, and prove.

No storage array and no provisioner: the mounter ``nbd`` serves files. The
connector is os-brick's factory's, with our package installed; the processes
are nbdkit's, on a real kernel.
"""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import importlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
from typing import Any, ClassVar, Self
import uuid

from bed.guest import agent as agent_module
from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.agent_unit import UnitAgent
from bed.guest.nova_compute import NovaCompute
from bed.guest.scenario import Stage
from bed.guest.writer import Report, Writer

DIRECTORY = pathlib.Path('/tmp/bed-volumes')
HOST_NQN = pathlib.Path('/etc/nvme/hostnqn')
LOCAL_FILE = pathlib.Path('/etc/os-brick-healer/volumes.json')
SERVER_LOGS = pathlib.Path('/var/log/os-brick-healer')
SETTINGS = {'provisioner': 'local', 'launch': 'none'}
PATIENT_S = 120.0
WARM_UP_WRITES = 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An attached volume."""

    id: str
    alias: str
    file: pathlib.Path
    device_path: str
    program: str = 'nbdkit'
    properties: dict[str, Any] | None = None

    @property
    def device(self) -> str:
        return os.path.basename(self.device_path)

    @property
    def connection(self) -> dict[str, Any]:
        """What nova gets of cinder."""
        return self.properties or {
            'volume_id': self.id, 'alias': self.alias,
            'source': {'file': str(self.file)}}

    def sysfs(self, name: str) -> str | None:
        """An attribute of the device, None: it is not there."""
        try:
            return pathlib.Path(
                f'/sys/block/{self.device}/{name}').read_text().strip()
        except OSError:
            return None

    # Who serves ------------------

    def servers(self) -> list[int]:
        """Every live process that serves it; there ought to be one."""
        found = []
        for path in pathlib.Path('/proc').glob('[0-9]*'):
            with contextlib.suppress(OSError):
                words = (path / 'cmdline').read_bytes().split(b'\0')
                state = (path / 'stat').read_text().rpartition(')')[2]
                # A snapshot's server names the image, too, before an @.
                if words[0].endswith(self.program.encode()) and any(
                        self.id.encode() in word and b'@' not in word
                        for word in words) and (
                        state.split()[0] not in 'ZX'):
                    found.append(int(path.name))
        return found

    @property
    def server(self) -> int:
        (pid,) = self.servers()
        return pid

    def signal(self, number: signal.Signals) -> int:
        """Send its server a signal; who that was."""
        pid = self.server
        os.kill(pid, number)
        return pid


def prepare(stage: Stage, kind: type[Agent],
            settings: Mapping[str, str]) -> Agent:
    """An agent that has no storage array; settings win over SETTINGS."""
    HOST_NQN.parent.mkdir(parents=True, exist_ok=True)
    HOST_NQN.write_text(f'nqn.2014-08.org.nvmexpress:uuid:{uuid.uuid4()}')
    agent_module.write_config({**SETTINGS, **settings})
    LOCAL_FILE.write_text('{"format": 1, "volumes": {}, "spares": []}')
    agent = kind(_Alone(stage))
    stage.at_exit('keep the agent\'s log', agent.leave_traces)
    stage.at_exit('end the agent', agent.kill)
    return agent


class _Alone:
    """All that an Agent asks of a World."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage


@dataclasses.dataclass(slots=True, kw_only=True)
class MappedHost:
    """nova-compute's part, in this process; build() it."""

    stage: Stage
    agent: Agent
    volumes: list[Served] = dataclasses.field(default_factory=list)
    nova: NovaCompute | None = None
    protocol: ClassVar[str] = 'NBD'

    @classmethod
    def build(cls, stage: Stage, **settings: str) -> Self:
        """A host with an agent that is configured and not yet started."""
        host.setup_os_brick()
        return cls.beside(stage, prepare(stage, Agent, settings))

    @classmethod
    def under_systemd(cls, stage: Stage, **settings: str) -> Self:
        """The agent and nova-compute are units, and run as user nova."""
        host.prepare_directories()
        nova = NovaCompute(None, user='nova')
        agent = prepare(stage, UnitAgent, {'launch': 'systemd', **settings})
        shutil.chown(LOCAL_FILE, 'nova', 'nova')
        nova.start()
        built = cls.beside(stage, agent)
        built.nova = nova
        DIRECTORY.chmod(0o755)
        return built

    @classmethod
    def beside(cls, stage: Stage, agent: Agent) -> Self:
        """The same, with an agent that there is already."""
        DIRECTORY.mkdir(exist_ok=True)
        built = cls(stage=stage, agent=agent)
        stage.at_exit('look at the host a last time', built._leave_traces)
        return built

    def connector(self) -> Any:
        """A new connector, as nova makes one for every operation."""
        if self.nova is not None:
            return self.nova.connector(self.protocol)
        module = importlib.import_module('os_brick.initiator.connector')
        importlib.import_module('os_brick.initiator.connectors.nvmeof')
        return module.InitiatorConnector.factory(
            self.protocol, host.ROOT_HELPER)

    def attach(self, alias: str = 'vol1', size_mib: int = 32, *,
               on: pathlib.Path | None = None) -> Served:
        """Make a file, and map it through os-brick's factory.

        :param on: a block device in place of a file.
        """
        volume = Served(id=str(uuid.uuid4()), alias=alias, device_path='',
                        file=on or DIRECTORY / f'{alias}.img')
        if on is None:
            with volume.file.open('wb') as file:
                file.truncate(size_mib << 20)
            if self.nova is not None:
                shutil.chown(volume.file, 'nova', 'nova')
        return self.connect(volume)

    def connect(self, volume: Served) -> Served:
        """connect_volume of a file that is there."""
        device = self.connector().connect_volume(volume.connection)
        served = dataclasses.replace(volume, device_path=device['path'])
        self.stage.check(
            f'{served.device_path} carries the volume\'s cookie',
            served.sysfs('backend') == served.id, served.sysfs('backend'))
        self.volumes.append(served)
        return served

    def detach(self, volume: Served) -> None:
        self.connector().disconnect_volume(
            volume.connection, {'type': 'block', 'path': volume.device_path})
        self.volumes.remove(volume)

    def start_agent(self) -> None:
        """Starts it, and waits until every volume is well."""
        self.agent.start()
        for volume in self.volumes:
            self.until_well(volume)

    def until_well(self, volume: Served) -> float:
        return self.stage.wait_until(
            f'the agent says that {volume.alias} is well',
            lambda: self.agent.phase(volume.id) == 'healthy', PATIENT_S)

    def sentence(self, volume: Served) -> str:
        return str(self.agent.volume(volume.id).get('sentence'))

    def until_says(self, volume: Served, *words: str) -> None:
        """Waits for the agent's sentence to have these words in it."""
        self.stage.wait_until(
            f'the agent says of {volume.alias}: {" ".join(words)}',
            lambda: all(w in self.sentence(volume) for w in words),
            PATIENT_S)

    # The guest's I/O ------------------

    def write_to(self, volume: Served, *, pause_s: float = 0.005,
                 span_mib: int | None = None) -> Writer:
        writer = Writer(volume.device_path, pause_s=pause_s,
                        span_mib=span_mib)
        self.stage.at_exit('end the writer', writer.close)
        self.stage.wait_until(f'the guest writes to {volume.device_path}',
                              lambda: writer.writes >= WARM_UP_WRITES)
        writer.forget_stalls()
        return writer

    def until_flowing(self, volume: Served, writer: Writer,
                      timeout_s: float = PATIENT_S) -> None:
        before = writer.writes
        self.stage.wait_until(f'the guest\'s writes to {volume.alias} go on',
                              lambda: writer.writes > before + 5, timeout_s)

    def prove(self, volume: Served, writer: Writer) -> Report:
        """Claims that no write is lost, on the device and in the file."""
        report = self.prove_device(volume, writer)
        wrong = writer.verify_file(str(volume.file))
        self.stage.check(f'all {report.writes} acknowledged writes are in '
                         f'{volume.file}', not wrong, wrong[:3])
        return report

    def prove_device(self, volume: Served, writer: Writer) -> Report:
        """Claims that no write is lost, on the device."""
        stage = self.stage
        report = writer.stop()
        stage.stalled(report.worst_stall_s)
        stage.check('the guest saw no I/O error', not report.failures,
                    report.failures[:3])
        stage.check('every read-back was right', not report.bad_reads,
                    report.bad_reads[:3])
        wrong = writer.verify(volume.device_path)
        stage.check(f'all {report.writes} acknowledged writes are on '
                    f'{volume.device_path}', not wrong, wrong[:3])
        return report

    # Traces ------------------

    def _leave_traces(self) -> None:
        for log in sorted(SERVER_LOGS.glob('*.log')):
            self.stage.artifact(f'server-{log.name}',
                                log.read_text(errors='replace'))
        log = pathlib.Path(host.LOG_FILE)
        if log.exists():
            self.stage.artifact(log.name, log.read_text(errors='replace'))
        self.stage.artifact('processes.txt', subprocess.run(
            ['ps', 'axo', 'pid,ppid,stat,user,args'], check=False,
            capture_output=True, text=True, timeout=20).stdout)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Storage that can be made slow: a device whose server is ours alone."""

    server: 'subprocess.Popen[bytes]'
    path: pathlib.Path

    @classmethod
    def lay(cls, stage: Stage, size_mib: int = 8) -> 'Ground':
        """Connects a device by hand: no agent knows of it."""
        handshake = importlib.import_module('os_brick_healer.nbd.handshake')
        kernel = importlib.import_module('os_brick_healer.nbd.kernel')
        image, place = DIRECTORY / 'ground.img', DIRECTORY / 'ground.sock'
        with image.open('wb') as file:
            file.truncate(size_mib << 20)
        host.command('modprobe', 'nbd')
        server = subprocess.Popen(['nbdkit', '--foreground', '--unix',
                                   str(place), 'file', str(image)])
        stage.at_exit('end the ground', server.kill)
        stage.wait_until('the ground is laid', place.exists)
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(place))
            export = handshake.negotiate(link, '', 20.0)
            index = kernel.connect(
                link.fileno(), size_bytes=export.size_bytes,
                server_flags=export.flags, cookie='ground', reattach_s=600,
                timeout_s=20.0)
        return cls(server=server, path=pathlib.Path(f'/dev/nbd{index}'))

    def freeze(self) -> None:
        """Every request waits from now on."""
        self.server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.server.send_signal(signal.SIGCONT)


def connected() -> dict[str, str]:
    """The cookie of every nbd device that is connected, by its name."""
    found = {}
    for path in pathlib.Path('/sys/block').glob('nbd*'):
        if re.fullmatch(r'nbd\d+', path.name) and (path / 'pid').exists():
            with contextlib.suppress(OSError):
                found[path.name] = (path / 'backend').read_text().strip()
    return found


def died(pid: int) -> Callable[[], bool]:
    """Whether a process has ended."""
    return lambda: not pathlib.Path(f'/proc/{pid}').exists()
