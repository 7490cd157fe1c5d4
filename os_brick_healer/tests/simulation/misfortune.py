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
"""Makes the faults of a plan happen, and takes them back in the end."""

from os_brick_healer.provisioner import base
from os_brick_healer.tests.simulation import (
    ambush,
    outages,
    parts,
    process,
    weather,
)
from os_brick_healer.tests.simulation import cloud as cloud_lib
from os_brick_healer.tests.simulation import nova as nova_lib
from os_brick_healer.tests.simulation import world as world_lib
from os_brick_healer.tests.simulation.http import weather as http_weather

#: What the agent asks a person for: a vendor's room is used up, or all that
#: could come is gone.
DEAD_ONES = 'remove the dead ones at the provisioner'
NO_OTHER = 'waits for a leg: the provisioner names none that could come'


class Misfortune(outages.Outages, weather.Weather, ambush.Ambush,
                 http_weather.HttpWeather):
    """All that can go wrong.

    :ivar operated: volumes of which a person has taken something away.
    """

    def __init__(self, world: world_lib.World, danger: process.Danger,
                 nova: nova_lib.Nova) -> None:
        super().__init__(world, danger, nova)
        self.operated: set[str] = set()

    def end(self) -> None:
        """The safety phase is over: all is mended that can be mended."""
        self.world.tell('--- no more faults from here on ---')
        self.over = True
        for undo in self.undo:
            undo()
        self.world.cloud.weather = cloud_lib.Weather()
        self.calm_wire()
        self.world.commands = world_lib.Commands()
        self.danger.armed, self.danger.full = None, False
        self.danger.wanted = None
        self.world.events_lost = False
        self.world.md.udev_delay = lambda: 0.1
        for volume in self.world.cloud.volumes.values():
            volume.hosts = {cloud_lib.HERE}
            volume.two_hosts_s = None
        self.world.time.after(self.world.setup.operator_s,
                              self._person_comes)

    def _person_comes(self) -> None:
        if self.world.setup.operator_s > 0:
            for key, array in self.world.arrays.items():
                self._judge(array, self.world.cloud.volumes[key])
        self._operate_all()

    def _judge(self, array: parts.Array, volume: cloud_lib.Volume) -> None:
        """With enough of its own legs a volume needs no person."""
        legs = [r.disk.id for r in volume.replicas.values()
                if r.disk.array_uuid == array.uuid
                and self.world.reachable(r.disk)]
        if len(legs) < array.raid_disks or array.stopped:
            return
        if array.syncing is not None:
            return      # one of them is being filled just now
        said = '' if self.agent is None else self.agent.said(volume.key)
        if not array.whole:
            self.world.court.broke('9.converge', (
                f'{array.name} is degraded and waits for a person, although '
                f'{", ".join(legs)} are all there'))
        elif DEAD_ONES in said and not self.world.court.journal_lost:
            self.world.court.broke('9.converge', (
                f'{array.name} is whole, and a person is asked to take away '
                'what it does not need'))

    def _operate_all(self) -> None:
        for volume in self.world.cloud.volumes.values():
            self._operate(volume)
            self._make_room(volume)
            self._vouch(volume)
            if volume.key in self.operated:
                self._tidy(volume)
            elif self.world.court.journal_lost:
                self._recount(volume)
        self.world.time.after(300.0, self._operate_all)

    def _tidy(self, volume: cloud_lib.Volume) -> None:
        """What came in place of what was taken away is nobody's."""
        array = self.world.arrays[volume.key]
        inside = {m.disk.id for m in array.members}
        if array.whole and not array.stopped:
            for name, replica in list(volume.replicas.items()):
                if name not in inside and replica.disk.array_uuid is None:
                    self._take(volume, name)

    def _recount(self, volume: cloud_lib.Volume) -> None:
        """Without its journal the agent cannot know what was replaced."""
        array = self.world.arrays[volume.key]
        inside = {m.disk.id for m in array.members}
        if (array.whole and not array.stopped
                and len(volume.replicas) > volume.count):
            for name in [n for n in volume.replicas if n not in inside]:
                self._take(volume, name)

    def _vouch(self, volume: cloud_lib.Volume) -> None:
        """Do what the connector says when its newest leg is not offered.

        Detached while nobody could be told that a leg is good again, a
        volume has none that may be read from.
        """
        array = self.world.arrays[volume.key]
        newest = [r for r in volume.replicas.values()
                  if nova_lib.is_newest(self.world, array, r.disk)]
        if array.stopped and all(r.state in base.BAD_STATES for r in newest):
            for replica in newest:
                self.world.tell(f'the operator calls {replica.disk.id} good')
                replica.state = base.ReplicaState.AVAILABLE

    def _make_room(self, volume: cloud_lib.Volume) -> None:
        """Do what the agent says that only a person can do."""
        array = self.world.arrays[volume.key]
        inside = {m.disk.id for m in array.members}
        said = '' if self.agent is None else self.agent.said(volume.key)
        if DEAD_ONES in said:
            for name, replica in list(volume.replicas.items()):
                if name not in inside and not self.world.reachable(
                        replica.disk):
                    self._take(volume, name)
        if NO_OTHER in said and volume.count > sum(
                replica.state is not base.ReplicaState.TERMINATING
                for replica in volume.replicas.values()):
            # Not where an answer has just left a lost one out.
            self.world.cloud.arrive(volume)

    def _take(self, volume: cloud_lib.Volume, name: str) -> None:
        self.world.tell(f'the operator takes {name} away')
        self.world.holders.pop(name, None)
        del volume.replicas[name]
        volume.asked.clear()

    def _operate(self, volume: cloud_lib.Volume) -> None:
        """An operator takes away new replicas that nobody can use."""
        for name in list(volume.replicas):
            if self.world.unfit(volume, name):
                # The agent no longer knows whose its controllers are; nova
                # disconnects them with the volume.
                self._take(volume, name)
                self.operated.add(volume.key)
