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
"""One volume of a guest, for the terms that the simulator shares with it.

Imports the product, so it is for the guest only.
"""

import time

from bed.guest import host, real_time, terms
from bed.guest import lab as lab_lib
from bed.guest.host import Attachment
from bed.guest.provisioner import MIB
from bed.guest.scenario import Failed
from bed.guest.world import World
from os_brick_healer.privileged import md as privileged_md
from os_brick_healer.privileged import nvme as privileged_nvme
from os_brick_healer.provisioner import base
from os_brick_healer.replica import observe, tools
from os_brick_healer.sysfs import reader

SIZE_MIB = 16


def play(world: World) -> None:
    """Every term, each on a volume of its own."""
    for number, term in enumerate(terms.TERMS):
        sentence = term.__name__.replace('_', ' ')
        world.stage.note(sentence)
        lab = Lab(world, f'lab{number}')
        try:
            term(lab)
        except lab_lib.Broken as broken:
            raise Failed(f'{sentence}: does not hold: {broken}') from None
        lab.close()
        world.stage.check(sentence, True)


class Lab(real_time.Lab):
    """A new volume on this guest. See ``lab_lib.Lab``."""

    keep_alive_s = 3
    md: tools.Md = privileged_md
    nvme: tools.Nvme = privileged_nvme

    def __init__(self, world: World, alias: str) -> None:
        self.world = world
        self.stage = world.stage
        self.host_nqn = str(world.host.properties['nqn'])
        self.attachment: Attachment = world.attach(alias, SIZE_MIB)
        self.writer = world.write_to(self.attachment)
        self._observer = observe.Observer(reader.Tree(), time.monotonic)
        self._away: set[str] = set()
        array = self._look(None).array
        assert array is not None
        self._uuid = array.uuid
        for leg in self.attachment.volume.legs:
            # os-brick sets it, and the agent is not there to clear it.
            privileged_md.clear_failfast(
                array=array.name, array_uuid=array.uuid,
                device=host.device_of(leg) or '')

    @property
    def volume(self) -> base.Volume:
        volume = self.attachment.volume
        return base.Volume(
            id=base.VolumeId(volume.id), alias=volume.alias,
            size_bytes=volume.size_bytes, replica_count=2, hosts=None,
            replicas=tuple(map(self._replica, volume.legs)))

    def _replica(self, leg: str) -> base.Replica:
        return base.Replica(
            id=base.ReplicaId(leg), nqn=self.world.array.nqn(leg),
            namespace_uuid=leg, state=base.ReplicaState.AVAILABLE,
            portals=tuple(base.Portal(address=p.address, port=int(p.port))
                          for p in self.world.array.home(leg).portals))

    def look(self) -> observe.Observation:
        return self._look(self._uuid)

    def _look(self, uuid: str | None) -> observe.Observation:
        volume = self.volume
        return self._observer.look(volume.id, volume, uuid, {})

    def cut(self, replica: base.ReplicaId, how: str) -> None:
        self._away.add(replica)
        self.world.array.cut(replica, how)

    def mend(self, replica: base.ReplicaId) -> None:
        self._away.discard(replica)
        self.world.array.mend(replica)

    def add_replica(self, kind: str) -> base.ReplicaId:
        provisioner, volume = self.world.provisioner, self.attachment.volume
        if kind == lab_lib.SMALL:
            provisioner.next_size_bytes = SIZE_MIB * MIB // 2
        new = provisioner.add_replica(volume.id)
        if kind == lab_lib.FOREIGN:
            self.world.array.wear_filesystem(new)
        volume.replicas[-1].visible_at_s = 0.0
        me = self.world.host.properties
        self.world.host.cinder.initialize_connection(volume, me)
        return base.ReplicaId(new)

    def close(self) -> None:
        """Every leg in sync holds every acknowledged write; then all goes."""
        for replica in list(self._away):
            self.mend(base.ReplicaId(replica))
        self.stage.wait_until('the guest goes on with all that is back',
                              lambda: self.flows(1.0), lab_lib.LATE_S)
        whole = list(map(str, lab_lib.in_sync(self)))
        self.world.prove_data(self.attachment, self.writer, in_sync=whole)
        self.world.host.disconnect(self.attachment)
