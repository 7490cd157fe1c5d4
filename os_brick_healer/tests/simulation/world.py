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
"""The whole simulated world, without the agent."""

import dataclasses
import math
import random
from typing import Any

from os_brick_healer.engine import limits
from os_brick_healer.provisioner import base
from os_brick_healer.tests.simulation import (
    cloud as cloud_lib,
)
from os_brick_healer.tests.simulation import (
    court as court_lib,
)
from os_brick_healer.tests.simulation import (
    fabric as fabric_lib,
)
from os_brick_healer.tests.simulation import (
    md as md_lib,
)
from os_brick_healer.tests.simulation import (
    parts,
    timeline,
)
from os_brick_healer.tests.simulation.http import wire


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the world is like before anything happens.

    :ivar backends: storage servers with one address each.
    :ivar shared: one subsystem for each back end, a namespace each leg;
        else a subsystem for each leg.
    :ivar portals: paths of each leg.
    :ivar operator_s: how long after the last fault a person comes.
    :ivar uptime_s: how long the host has been up when it begins.
    :ivar http: the dialect of a KumoScale that the real plugin talks to;
        empty: the provisioner is played.
    :ivar repeats: the played provisioner promises to know a request again.
    """

    volumes: int = 2
    legs: int = 2
    backends: int = 4
    shared: bool = False
    portals: int = 1
    grace_s: float = 30.0
    interval_s: float = 5.0
    poll_s: float = 0.25
    heals_max: int = 4
    keep_alive_s: int = 4
    foreign: bool = True
    requests_max: int = 64
    operator_s: float = 0.0
    uptime_s: float = 0.0
    http: str = ''
    repeats: bool = True

    def policy(self) -> limits.Policy:
        """The default profile with this setup's numbers."""
        return limits.Policy(
            grace_s=self.grace_s, poll_s=self.poll_s,
            keep_alive_s=self.keep_alive_s, reconnect_delay_s=1,
            break_after_s=0.5, idle_break_after_s=5.0, silence_s=0.45,
            volume_age_max_s=30.0, provisioner_interval_s=self.interval_s,
            resync_check_s=2.0, flap_losses_max=3, flap_window_s=600.0,
            flap_delay_max_s=120.0, arrival_s=60.0,
            heals_max=self.heals_max, requests_per_hour_max=self.requests_max,
            brake_ratio=0.5)


@dataclasses.dataclass(slots=True, kw_only=True)
class Commands:
    """How the host's commands are today."""

    slow_s: float = 0.0
    hang: int = 0
    fail: int = 0


class World:
    """One host, its storage and its provisioner.

    :ivar holders: what else holds a disk's device (a partition, LVM).
    :ivar doomed: subsystems whose controllers are asked to be deleted: until
        when that may come to pass.
    :ivar lock: who has os-brick's locks, None when they are free.
    :ivar busy: volumes that nova works on, and what it does.
    :ivar recorded: volumes that the journal calls attached.
    :ivar boots: how often the host has been rebooted.
    :ivar booted_s: when that was the last time.
    :ivar kicked_s: when something went wrong the last time.
    :ivar busy_s: since when nova works on what it works on.
    :ivar orphan: what is done now was begun by an agent that has died.
    :ivar begun_s: when it was begun.
    """

    def __init__(self, seed: str, setup: Setup) -> None:
        self.setup = setup
        self.policy = setup.policy()
        self.time = timeline.Timeline()
        self.rng = random.Random(f'{seed}/world')
        self.story: list[tuple[float, str]] = []
        self.faults = 0
        self.court = court_lib.Court(self)
        self.fabric = fabric_lib.Fabric(
            self.time, random.Random(f'{seed}/fabric'), self._changed)
        self.md = md_lib.Md(
            self.time, random.Random(f'{seed}/md'), self.fabric,
            self.court.broke, self.tell)
        self.cloud = cloud_lib.Cloud(
            self.time, random.Random(f'{seed}/cloud'), self.make)
        self.md.knows = self.cloud.knows
        self.cloud.lets_go = self.court.lets_go
        self.cloud.deleted = self.court.deleted
        self.cloud.requested = self.court.requested
        self.cloud.reported = self.court.reported
        self.peer = wire.peer(seed, self) if setup.http else None
        self.commands = Commands()
        self.holders: dict[str, tuple[str, ...]] = {}
        self.doomed: dict[str, float] = {}
        self.lock: str | None = None
        self.busy: dict[str, str] = {}
        self.recorded: set[str] = set()
        self.arrays: dict[str, parts.Array] = {}     # by volume
        self.disks: dict[str, parts.Disk] = {}
        self.agent_since_s: float | None = None
        self.orphan = False
        self.begun_s = self.busy_s = 0.0
        self.events_lost = False
        self.boots = 0
        self.booted_s = -setup.uptime_s
        self.unreadable: set[str] = set()
        self._held: dict[tuple[str, str], list[tuple[float, float]]] = {}
        self.md.held = self._held_s
        self.nova_alive = True
        self.time.check = self.court.check
        self._made = 0
        for number in range(setup.volumes):
            self._volume(number)
        if setup.foreign:
            self._foreign()
        self._kick = 0
        self.kicked_s = 0.0
        self.time.after(0.5, self._guests)

    def tell(self, sentence: str) -> None:
        """A line of the story."""
        self.story.append((self.time.now_s, sentence))

    def fault(self, sentence: str | None = None) -> None:
        """One more fault has been injected; the guests will notice."""
        self.faults += 1
        self.kick()
        if sentence is not None:
            self.tell(sentence)

    # How it is built -----------

    def portals(self, backend: int) -> tuple[base.Portal, ...]:
        return tuple(base.Portal(address=f'10.0.{p}.{backend + 1}',
                                 port=4420)
                     for p in range(self.setup.portals))

    def every_portal(self) -> list[base.Portal]:
        return [p for b in range(self.setup.backends)
                for p in self.portals(b)]

    def make(self, key: str, size_bytes: int, kind: str,
             backend: int | None = None) -> cloud_lib.Replica:
        """A new replica; kind: good (empty), small or foreign."""
        self._made += 1
        number = self._made
        if backend is None:
            backend = self._some_backend(key)
        nqn = (f'nqn.backend-{backend}' if self.setup.shared
               else f'nqn.replica-{number}')
        target = self.fabric.targets.get(nqn)
        if target is None:
            target = parts.Target(nqn=nqn, portals=self.portals(backend))
            self.fabric.targets[nqn] = target
        disk = parts.Disk(
            id=f'replica-{number}', uuid=f'{number:08x}-0000-4000-8000-'
            f'{number:012x}', nqn=nqn, key=key, size_bytes=size_bytes)
        if kind == 'small':
            disk.size_bytes = size_bytes // 2
        elif kind == 'foreign':
            disk.foreign = 'ext4'
        elif kind == 'in-use':
            self.holders[disk.id] = ('dm-7',)
        elif kind == 'other-array':
            disk.array_uuid = 'ffffffff-0000-0000-0000-000000000000'
        target.disks.append(disk)
        self.disks[disk.id] = disk
        return cloud_lib.Replica(
            disk=disk, target=target, published=False,
            state=base.ReplicaState.SYNCHRONIZING)

    def _some_backend(self, key: str) -> int:
        """Preferably one that is up and has no replica of the volume."""
        taken = {self._backend(r.disk.nqn) for r
                 in self.cloud.volumes[key].replicas.values()}
        every = range(self.setup.backends)
        up = [b for b in every if all(
            self.fabric.portal_reach(p) == parts.UP
            for p in self.portals(b))]
        free = [b for b in every if b not in taken]
        best = [b for b in up if b in free]
        if self.peer is not None:
            # KumoScale names one target at a back end: two replicas of a
            # volume there could not be told apart.
            best = best or free
        return self.rng.choice(best or up or list(every))

    def _backend(self, nqn: str) -> int:
        return int(self.fabric.targets[nqn].portals[0].address
                   .rpartition('.')[2]) - 1

    def _volume(self, number: int) -> None:
        key = f'{number:08x}-aaaa-4bbb-8ccc-000000000000'
        size = 64 * parts.MIB
        volume = cloud_lib.Volume(key=key, count=self.setup.legs,
                                  size_bytes=size, replicas={})
        self.cloud.volumes[key] = volume
        for leg in range(self.setup.legs):
            made = self.make(key, size, '',
                             (number + leg) % self.setup.backends)
            made.state, made.published = base.ReplicaState.AVAILABLE, True
            volume.replicas[made.disk.id] = made
        self.attach(key, [r.disk for r in volume.replicas.values()])

    def attach(self, key: str, disks: list[parts.Disk]) -> None:
        """Connect and start a volume's array for the first time."""
        array = self._new_array(key, len(disks))
        self._connect(disks)
        self.md.start(array, disks)
        self.arrays[key] = array

    def _new_array(self, key: str | None, legs: int) -> parts.Array:
        number = len(self.md.by_uuid)
        return parts.Array(
            name='', uuid=f'{number:08x}-1111-2222-3333-444444444444',
            key=key, raid_disks=legs, component_bytes=63 * parts.MIB,
            members=[], copy_s=self.rng.choice((3.0, 10.0, 40.0)))

    def _connect(self, disks: list[parts.Disk]) -> None:
        for disk in disks:
            for portal in self.fabric.targets[disk.nqn].portals:
                self.fabric.connect(disk.nqn, portal,
                                    self.setup.keep_alive_s)

    def _foreign(self) -> None:
        """Somebody else's array; with shared subsystems it shares ours."""
        disks = []
        for leg in range(2):
            made = self.make('', 64 * parts.MIB, '', leg)
            made.disk.key = None
            disks.append(made.disk)
        self.start(self._new_array(None, 2), disks)

    def start(self, array: parts.Array, disks: list[parts.Disk]) -> None:
        """Connect the legs of somebody else's array, and run it."""
        self._connect(disks)
        if all(self.md.fabric.flow(d) == parts.OK for d in disks):
            self.md.start(array, disks)
        else:
            self.time.after(5.0, lambda: self.start(array, disks))

    def boot_id(self) -> str:
        return f'boot-{self.boots}'

    # What the guests do -----------

    def _guests(self, kick: int = 0) -> None:
        if kick != self._kick:
            return
        calm = self.calm()
        for array in list(self.md.arrays.values()):
            self.md.write(array)
        self.time.after(3600.0 if calm else 1.0,
                        lambda: self._guests(kick))

    def kick(self) -> None:
        """The guests write again, now that something may be wrong."""
        self._kick += 1
        kick, self.kicked_s = self._kick, self.time.now_s
        self.time.after(0.1, lambda: self._guests(kick))

    def calm(self) -> bool:
        """Nothing is wrong and nobody works on anything."""
        return (not self.fabric.cuts and not self.busy
                and not self.cloud.pending
                and all(a.whole and a.write is None and len(a.members)
                        == a.raid_disks for a in self.md.arrays.values())
                and all(len(v.kept) == v.count
                        for v in self.cloud.volumes.values()))

    def _changed(self, nqn: str) -> None:
        self.md.changed(nqn)

    def stuck_s(self, array: parts.Array) -> float:
        """How long the guest's write has waited."""
        if array.write is None:
            return 0.0
        return self.time.now_s - array.write.since_s

    def pulse_stuck_s(self, array: parts.Array) -> float:
        return self.stuck_s(array)

    # Facts for the laws -----------

    def is_doomed(self, nqn: str) -> bool:
        """Whether a deletion of its controllers is on its way."""
        return self.time.now_s < self.doomed.get(nqn, 0.0)

    def reachable(self, disk: parts.Disk) -> bool:
        """Whether a new connection to it would work."""
        target = self.fabric.targets[disk.nqn]
        return (target.exported and not disk.deleted and not disk.sick
                and not any(disk.nqn in c.nqns for c in self.fabric.cuts)
                and any(self.fabric.portal_reach(p) == parts.UP
                        for p in target.portals))

    def unfit(self, volume: cloud_lib.Volume, name: str) -> bool:
        """Whether a replica can never be a leg, for what it is."""
        disk = volume.replicas[name].disk
        return bool(disk.foreign or self.holders.get(name)
                    or disk.size_bytes < volume.size_bytes
                    or str(disk.array_uuid).startswith('ffff'))

    def serving(self, array: parts.Array) -> list[parts.Member]:
        """In-sync legs whose I/O flows now."""
        return [m for m in array.in_sync if self.md.flow(m) == parts.OK]

    def volume_of(self, key: str) -> cloud_lib.Volume | None:
        return self.cloud.volumes.get(key)

    def hold(self, key: str, why: str) -> None:
        """From now on nobody can, or may, do anything about a volume."""
        held = self._held.setdefault((key, why), [])
        if not held or held[-1][1] < math.inf:
            held.append((self.time.now_s, math.inf))

    def free(self, key: str, why: str) -> None:
        """One reason is over, however often it was given."""
        held = self._held[key, why]
        if held[-1][1] == math.inf:
            held[-1] = (held[-1][0], self.time.now_s)

    def _held_s(self, key: str | None) -> list[tuple[float, float]]:
        """From when to when, by the beginning."""
        return sorted(time for (name, _), held in self._held.items()
                      if name == key for time in held)

    def two_hosts_for_s(self, key: str) -> float:
        volume = self.cloud.volumes.get(key)
        if volume is None or volume.two_hosts_s is None:
            return 0.0
        return self.time.now_s - volume.two_hosts_s

    def describe(self) -> dict[str, Any]:
        """For a test's message."""
        return {
            key: {'members': [(m.device, m.role, self.md.flow(m))
                              for m in array.members],
                  'replicas': [(i, r.state.value, r.published,
                                self.reachable(r.disk))
                               for i, r in self.cloud.volumes[
                                   key].replicas.items()],
                  'stuck_s': self.stuck_s(array),
                  'stopped': array.stopped}
            for key, array in self.arrays.items()}
