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
"""The real plugin in the simulated agent."""

from collections.abc import Callable, Mapping
import pathlib

from oslo_config import cfg

from os_brick_healer.conf import opts
from os_brick_healer.provisioner import base, kumoscale, kumoscale_conf
from os_brick_healer.tests.simulation import cloud as cloud_lib
from os_brick_healer.tests.simulation import world as world_lib
from os_brick_healer.tests.simulation.http import array, wire

CONNECT_S, READ_S = 2.0, 5.0
FILE = 'provisioner.conf'


class Plugin(kumoscale.KumoScaleProvisioner):
    """KumoScale's, with a place to die at, and watched by the court."""

    def __init__(self, conf: cfg.ConfigOpts, world: world_lib.World,
                 peer: wire.Peer, crash: Callable[[str], None],
                 clock: Callable[[], float]) -> None:
        self._world = world
        self._peer = peer
        self._crash = crash
        super().__init__(conf, base.HostIdentity(
            name=cloud_lib.HERE, nqn=array.NQN,
            uuid=array.US if peer.books.dialect.uuid else None), clock=clock)

    def _new_client(self) -> wire.Client:
        return wire.Client(kumoscale_conf.load(self.conf), self._clock,
                           lambda: wire.Wire(self._peer, self._crash))

    def volumes(self) -> Mapping[base.VolumeId, base.Volume]:
        cloud, lies = self._peer.cloud, self._peer.lies
        begun_s = cloud.time.now_s
        found = super().volumes()
        if lies == self._peer.lies and not cloud.weather.forget:
            cloud.said_well(begun_s)
        return found

    def report(self, volume: base.VolumeId, replica: base.ReplicaId,
               state: base.ReplicaState) -> None:
        self._world.court.commands('report')
        super().report(volume, replica, state)

    def request_replacement(self, volume: base.VolumeId,
                            replica: base.ReplicaId,
                            request_id: str) -> None:
        self._world.court.commands('request')
        with self._peer.books.meaning(volume, replica):
            super().request_replacement(volume, replica, request_id)

    def publish(self, volume: base.VolumeId) -> None:
        self._world.court.commands('publish')
        super().publish(volume)

    def confirm_removal(self, volume: base.VolumeId,
                        replica: base.ReplicaId) -> None:
        self._world.court.commands('confirm')
        self._world.court.lets_go(volume, replica)
        super().confirm_removal(volume, replica)


def open_(world: world_lib.World, crash: Callable[[str], None],
          clock: Callable[[], float], journal: str) -> base.Provisioner:
    """What the agent opens: KumoScale's plugin, or the played one."""
    peer = world.peer
    if peer is None:
        kind = cloud_lib.Plugin if world.setup.repeats else cloud_lib.Once
        return kind(world.cloud, crash, world.fault, world.court.commands)
    path = pathlib.Path(journal).with_name(FILE)
    path.write_text(
        f'[DEFAULT]\nprov_ip = {", ".join(wire.ADDRESSES)}\n'
        f'token = {peer.written}\n')
    path.chmod(0o600)
    return Plugin(_conf(str(path)), world, peer, crash, clock)


def _conf(path: str) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    opts.register(conf)
    conf(args=[], default_config_files=[], default_config_dirs=[])
    for name, value in (('kumoscale_config_file', path),
                        ('kumoscale_connect_timeout', CONNECT_S),
                        ('kumoscale_read_timeout', READ_S)):
        conf.set_override(name, value, group=opts.GROUP)
    return conf
