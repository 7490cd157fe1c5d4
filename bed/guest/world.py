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
"""The usual cast of a scenario: array, provisioner, host, and writers."""

import dataclasses
import os
import pathlib

from bed.guest import host as host_module
from bed.guest.array import NvmetArray
from bed.guest.host import Attachment, Cinder, Host
from bed.guest.kumoscale import KumoScaleServer
from bed.guest.nova_compute import NovaCompute
from bed.guest.provisioner import Generation, Provisioner
from bed.guest.scenario import Stage
from bed.guest.writer import Report, Writer

DIRECTORY = pathlib.Path('/run/bed-kumoscale')
PORT = 8090
WARM_UP_WRITES = 20


@dataclasses.dataclass(slots=True, kw_only=True)
class World:
    """All that a scenario acts on; build() it, and it cleans up itself."""
    stage: Stage
    array: NvmetArray
    provisioner: Provisioner
    kumoscale: KumoScaleServer
    host: Host
    writers: list[Writer] = dataclasses.field(default_factory=list)

    @classmethod
    def build(cls, stage: Stage, *, backends: int = 4, portals: int = 1,
              multipath: bool = False,
              addresses: tuple[str, ...] = ('127.0.0.1',),
              client_certificate: bool = False,
              nova_user: str | None = None,
              array: NvmetArray | None = None,
              generation: Generation = Generation.TARGET_NAME) -> 'World':
        """A storage array, its provisioner, and a compute host.

        :param backends: storage servers; a volume's replicas are on
            different ones, so a replacement needs a spare one
        :param portals: addresses of each server (native multipath)
        :param addresses: of the provisioner's API
        :param nova_user: gives nova-compute a process of its own that runs
            as this user; without it, it is this process, as root
        :param array: a special one, in place of the usual
        """
        stage.note('building the storage array and its provisioner')
        if array is None:
            array = NvmetArray(backends, portals)
        provisioner = Provisioner(array, generation)
        server = KumoScaleServer(
            provisioner, DIRECTORY, addresses=addresses, port=PORT,
            client_certificate=client_certificate)
        server.start()
        stage.at_exit('stop the provisioner', server.stop)
        host = cls._nova(Cinder(server), multipath, nova_user)
        world = cls(stage=stage, array=array, provisioner=provisioner,
                    kumoscale=server, host=host)
        stage.at_exit('look at the host a last time', world._leave_traces)
        return world

    @staticmethod
    def _nova(cinder: Cinder, multipath: bool, user: str | None) -> Host:
        if user is None:
            return Host(cinder, multipath=multipath)
        nova = NovaCompute(cinder, multipath=multipath, user=user)
        nova.start()
        return nova

    @property
    def nova(self) -> NovaCompute:
        """nova-compute as a process that can be stopped and killed."""
        assert isinstance(self.host, NovaCompute), 'build with nova_user'
        return self.host

    def attach(self, alias: str = 'vol1', size_mib: int = 64,
               replicas: int = 2) -> Attachment:
        """Creates a volume and attaches it as nova does."""
        volume = self.provisioner.create_volume(alias, size_mib, replicas)
        self.stage.note(f'attaching {alias} through os-brick')
        attachment = self.host.attach(volume)
        self.stage.check(f'{attachment.path} is an array of {replicas} legs '
                         'in sync', host_module.is_whole(attachment.md),
                         host_module.legs(attachment.md))
        return attachment

    def attach_many(self, count: int, *, size_mib: int = 16,
                    replicas: int = 2) -> list[Attachment]:
        """Volumes many-0, many-1, ..., attached without os-brick."""
        self.stage.note(f'attaching {count} volumes')
        volumes = [self.provisioner.create_volume(f'many-{number}', size_mib,
                                                  replicas)
                   for number in range(count)]
        attached = [self.host.attach_directly(each) for each in volumes]
        self.stage.check(f'all {count} are whole', all(
            host_module.is_whole(each.md) for each in attached))
        return attached

    def write_to(self, attachment: Attachment, *, pause_s: float = 0.005,
                 span_mib: int | None = None) -> Writer:
        writer = Writer(os.path.realpath(attachment.path), pause_s=pause_s,
                        span_mib=span_mib)
        self.writers.append(writer)
        self.stage.at_exit('end the writer', writer.close)
        self.stage.wait_until(f'the guest writes to {attachment.path}',
                              lambda: writer.writes >= WARM_UP_WRITES)
        return writer

    def settle(self, writer: Writer) -> Report:
        """Stops a writer and notes its stalls; claims nothing yet."""
        report = writer.stop()
        self.stage.stalled(report.worst_stall_s)
        return report

    def prove_data(self, attachment: Attachment, writer: Writer,
                   in_sync: list[str] | None = None) -> Report:
        """Claims that no write is lost, on the array and on every leg.

        Stops the writer and the array; ``in_sync`` names the replicas that
        must hold everything (default: all of the volume's).
        """
        stage = self.stage
        report = self.settle(writer)
        stage.check('the guest saw no I/O error', not report.failures,
                    report.failures[:3])
        stage.check('every read-back was right', not report.bad_reads,
                    report.bad_reads[:3])
        wrong = writer.verify(os.path.realpath(attachment.path))
        stage.check(f'all {report.writes} acknowledged writes are on the '
                    'array', not wrong, wrong[:3])
        host_module.command('mdadm', '--stop',
                            os.path.realpath(attachment.path))
        for leg in (attachment.volume.legs if in_sync is None else in_sync):
            wrong = writer.verify_medium(self.array.medium(leg))
            stage.check(f'leg {leg[:8]} alone holds them all, too',
                        not wrong, wrong[:3])
        return report

    def _leave_traces(self) -> None:
        for name in ('/proc/mdstat', host_module.LOG_FILE):
            path = pathlib.Path(name)
            if path.exists():
                self.stage.artifact(path.name, path.read_text())
        lines = [f'{name}: {state}' for name, state in
                 host_module.controllers().items()]
        self.stage.artifact('controllers.txt', '\n'.join(lines) + '\n')
        log = [f'{r.at_s:10.2f} {r.kind:20} {r.answer:18} {r.method} '
               f'{r.path} {r.body or ""}' for r in self.kumoscale.requests]
        self.stage.artifact('requests.txt', '\n'.join(log) + '\n')
