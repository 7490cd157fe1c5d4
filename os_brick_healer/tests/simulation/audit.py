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
"""What the provisioner is asked for, judged; and what was judged so far."""

import dataclasses
from typing import TYPE_CHECKING

from os_brick_healer.engine import limits
from os_brick_healer.provisioner import base
from os_brick_healer.replica import model
from os_brick_healer.tests.simulation import parts
from os_brick_healer.tests.simulation.lawbook import (
    BLINK_S,
    HEARD_S,
    LAWS,
    SLACK_S,
    TOLD_LATE_S,
)

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation import (
        cloud as cloud_lib,
    )
    from os_brick_healer.tests.simulation import (
        world as world_lib,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A law that was broken."""

    law: str
    at_s: float
    sentence: str


class Audit:
    """The part of the court that watches the provisioner's side.

    :ivar stop_at: laws with whose breach the run may end.
    """

    def __init__(self, world: 'world_lib.World') -> None:
        self._world = world
        self.broken: list[Broken] = []
        self.checks = 0
        self._requests_s: list[float] = []
        self._down: dict[str, float] = {}     # disk -> since when
        self._inside_s: dict[str, float] = {}
        self._synced_s: dict[str, float] = {}     # until when, and
        self._back_s: dict[str, float] = {}       # since when it was
        self._lost_s: dict[str, float] = {}
        self._sent: dict[str, dict[str, bool]] = {}
        self.journal_lost = False
        self.stop_at: tuple[str, ...] = ()
        self.stopped = False
        self.excused_until_s = 0.0

    def broke(self, law: str, sentence: str) -> None:
        """A law was broken; said once for each law."""
        assert law in LAWS, law
        if any(b.law == law for b in self.broken):
            return
        self.broken.append(Broken(
            law=law, at_s=self._world.time.now_s, sentence=sentence))
        self.stopped = self.stopped or law in self.stop_at
        self._world.tell(f'LAW {law} IS BROKEN ({LAWS[law]}): {sentence}')

    def destroys(self, replica: str, what: str) -> None:
        """Something that needs the provisioner's present word of it.

        An answer that leaves out another replica of the volume is one: what
        is left out may as well be gone.
        """
        age_s = (self._world.time.now_s
                 - self._world.cloud.good_word_s(replica))
        if age_s > self._world.policy.volume_age_max_s + SLACK_S:
            self.broke('6.truth', f'{what}, and the last good word is '
                                  f'{age_s:.0f} s old')

    def deleted(self, volume: 'cloud_lib.Volume',
                replica: 'cloud_lib.Replica') -> None:
        """The provisioner is told that a replica may be deleted."""
        world = self._world
        array = world.arrays.get(volume.key)
        disk = replica.disk
        self.destroys(disk.id, f'{disk.id} is deleted')
        sent = self._sent.pop(disk.uuid, {})
        if array is not None and not array.stopped:
            if any(m.disk is disk and m.works for m in array.members):
                self.broke('3.early-removal', f'{disk.id} is a leg of '
                                              f'{array.name}')
            good = {leg for leg in sent.keys() | {
                m.disk.id for m in array.in_sync}
                if leg != disk.id and sent.get(leg, True)}
            if len(good) < min(array.raid_disks, limits.COPIES_MIN):
                self.broke('3.early-removal', (
                    f'{disk.id} is deleted while {array.name} has '
                    f'{len(good)} of {array.raid_disks} legs in sync'))
        # What was made for nothing may be asked for again.
        volume.asked.pop(volume.made_for.get(disk.id, ''), None)
        world.tell(f'the provisioner deletes {disk.id}')
        disk.blocks[:] = [-1] * parts.BLOCKS
        if world.setup.shared:
            held = world.fabric.of_nqn(disk.nqn)
            disk.deleted = True
            if held:
                world.md.fabric.lost_devices(disk)
        else:
            world.fabric.unexport(disk.nqn)

    def lets_go(self, key: str, uuid: str) -> None:
        """The agent sends for the removal of a replica: a leg may be lost
        while that is on its way, and a sick disk is found out when it is
        asked. One that was away as it was sent was no leg to count on, be
        it in MD's eyes or not.
        """
        array = self._world.arrays.get(key)
        self._sent[uuid] = ({} if array is None else {
            m.disk.id: m.present and self._seems_live(m.disk)
            for m in array.in_sync})

    def _seems_live(self, disk: parts.Disk) -> bool:
        """Neither the kernel nor a probe can tell that it is away."""
        now_s = self._world.time.now_s
        return any(
            one.state is model.PathState.LIVE and not one.delete_begun
            and (one.silent_since_s is None
                 or now_s - one.silent_since_s < HEARD_S)
            for one in self._world.fabric.of_nqn(disk.nqn))

    def reported(self, key: str, replica: str,
                 state: base.ReplicaState) -> None:
        """The provisioner is told how a replica is."""
        synced_s = self._synced_s.get(replica, -1e9)
        array = self._world.arrays[key]
        if any(m.disk.id == replica for m in array.in_sync):
            synced_s = self._world.time.now_s
        if (state is base.ReplicaState.AVAILABLE
                and self._world.time.now_s - synced_s > TOLD_LATE_S):
            self.broke('3.told', f'{replica} of {key[:8]} is called good, '
                                 'and has not been in sync lately')

    def requested(self, volume: 'cloud_lib.Volume', replica: str,
                  request_id: str) -> None:
        """The provisioner begins to make a new replica."""
        world, now_s = self._world, self._world.time.now_s
        world.tell(f'the provisioner makes a new replica in place of '
                   f'{replica}')
        asked = volume.asked[replica]
        if (len(asked) > 1 and not self.journal_lost
                and not self._used_up(volume, replica, asked[-2])
                and not _went_to_another(volume, replica)):
            self.broke('8.twice', f'{request_id}: {replica} was asked for '
                                  f'{now_s - asked[-2]:.0f} s ago')
        pending = len(volume.requests)
        most = volume.count + limits.EXTRA_REPLICAS_MAX + 1
        if len(volume.replicas) > most:
            self.broke('8.pile', f'{len(volume.replicas)} replicas and '
                                 f'{pending} requests')
        self._requests_s = [t for t in self._requests_s
                            if now_s - t < 3600.0] + [now_s]
        if len(self._requests_s) > world.policy.requests_per_hour_max:
            self.broke('8.rate', f'{len(self._requests_s)} requests')
        self._grace(replica, now_s)
        self._brake(now_s)
        if world.two_hosts_for_s(volume.key) > 30.0:
            self.broke('5.two-hosts', f'a request for {replica}')

    def _used_up(self, volume: 'cloud_lib.Volume', replica: str,
                 asked_s: float) -> bool:
        """Whether another is needed: the lost one was back since.

        What came for the volume is or was a leg of it by now, and nothing
        more is on its way, or has not come while the lost one was back for
        so long that nobody waits for it.
        """
        until_s = self._synced_s.get(replica, -1e9)
        back_for_s = until_s - self._back_s.get(replica, until_s)
        forgotten = back_for_s > 2 * self._world.policy.arrival_s - 2.0
        # The last watch may have been before one was in sync.
        synced = self._synced_s.keys() | {
            m.disk.id for m in self._world.arrays[volume.key].in_sync}
        return (until_s > asked_s
                and (forgotten or not volume.coming.get(replica))
                and all(name in synced for name in volume.made_for
                        if name in volume.replicas
                        # What is being taken away is of no use to anybody.
                        and volume.replicas[name].state
                        is not base.ReplicaState.TERMINATING
                        # What came for another, and is refused for what it
                        # is, never takes the place of this one.
                        and (volume.made_for[name] == replica
                             or not self._world.unfit(volume, name))))

    def _grace(self, replica: str, now_s: float) -> None:
        disk = self._world.disks[replica]
        if self._world.reachable(disk):
            return
        down_s = now_s - self._down.get(replica, now_s)
        inside_s = self._inside_s.get(replica, -1e9)
        grace_s = self._world.policy.grace_s - 2.0
        if down_s < grace_s and now_s - inside_s < grace_s:
            self.broke('8.grace', f'{replica} has been away for '
                                  f'{down_s:.0f} s')

    def _unseen(self) -> set[str]:
        """Addresses that only volumes name which cannot be looked at: what
        becomes of these meanwhile nobody can tell.
        """
        unseen: set[str] = set()
        seen: set[str] = set()
        unreadable = self._world.unreadable
        volumes = self._world.cloud.volumes if unreadable else {}
        for key, volume in volumes.items():
            (unseen if key in unreadable else seen).update(
                portal.address for replica in volume.replicas.values()
                for portal in replica.target.portals)
        return unseen - seen

    def _brake(self, now_s: float) -> None:
        world = self._world
        every = {
            portal.address: now_s - self._lost_s.get(
                portal.address, now_s) > BLINK_S
            # The last watch may have been before it came back.
            and world.fabric.portal_reach(portal) != parts.UP
            for volume in world.cloud.volumes.values()
            if not world.arrays[volume.key].stopped
            for replica in volume.replicas.values() if replica.published
            for portal in replica.target.portals}
        lost_count = sum(every.values())
        if lost_count >= limits.BRAKE_BACKENDS_MIN and lost_count > (
                world.policy.brake_ratio * len(every)):
            self.broke('8.brake', f'{lost_count} of {len(every)} back ends '
                                  'are lost')


def _went_to_another(volume: 'cloud_lib.Volume', lost: str) -> bool:
    """Whether what was made for this one may count for another leg.

    Nothing was made for that one though it was asked for, and a new replica
    does not say whose it is: two for two lost legs. Each counts once.
    """
    other = min(volume.unserved - {lost}, default=None)
    if other is None:
        return False
    volume.unserved.discard(other)
    first = next((new for new, old in volume.made_for.items()
                  if old == lost), None)
    if first is not None:
        volume.made_for[first] = other
    volume.asked.setdefault(other, []).append(volume.asked[lost].pop(0))
    return True
