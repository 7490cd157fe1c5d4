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
"""The host with mapped volumes, its storage and its guests."""

import dataclasses
import random
import socket

from os_brick_healer.mapping import model
from os_brick_healer.mounter import base, loader
from os_brick_healer.mounter import nbd as mounter_nbd
from os_brick_healer.mounter import rbd_nbd as mounter_rbd
from os_brick_healer.tests.simulation import timeline
from os_brick_healer.tests.simulation.mapping import (
    asking,
    files,
    kernel,
    parts,
    processes,
    storage,
    tools,
)
from os_brick_healer.tests.simulation.mapping import (
    court as court_lib,
)
from os_brick_healer.tests.simulation.mapping import (
    guest as guest_lib,
)

RUN_PATH = '/simulated'
MOUNTERS: dict[str, type[base.Mounter]] = {
    'nbd': mounter_nbd.NbdMounter, 'rbd-nbd': mounter_rbd.RbdNbdMounter}
#: Guests with no request older than this are well.
WELL_S = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the world is like before anything happens.

    :ivar kinds: of the volumes in turn: files, images in Ceph.
    :ivar exclusive: images have the exclusive lock.
    """

    volumes: int = 2
    kinds: tuple[str, ...] = (parts.RBD, parts.FILE)
    exclusive: bool = False
    heals_max: int = 4
    attach_s: float = 15.0
    reattach_s: int = 86400

    def policy(self) -> model.Policy:
        """The defaults with this setup's numbers."""
        return model.Policy(attach_s=self.attach_s,
                            heals_max=self.heals_max)


@dataclasses.dataclass(slots=True, kw_only=True)
class Volume:
    """What nova knows of a volume.

    :ivar size_bytes: when it was mapped.
    :ivar disconnecting: a disconnect was begun, and is not over.
    :ivar taken: somebody ended its device behind our back.
    :ivar tampered: somebody has changed its device's timer.
    """

    key: str
    mounter: str
    size_bytes: int = 0
    attached: bool = False
    disconnecting: bool = False
    taken: bool = False
    tampered: bool = False


@dataclasses.dataclass(slots=True, kw_only=True)
class Host:
    """How the privileged side is today: the next calls fail, or hang.

    :ivar hit_s: when one last did.
    """

    slow_s: float = 0.0
    hang: int = 0
    fail: int = 0
    hit_s: float = -1e9

    @property
    def troubled(self) -> bool:
        return bool(self.slow_s or self.hang or self.fail)


class World:
    """All but the agent and nova.

    :ivar locks: who holds each volume's lock; ...
    :ivar lent: ... and those that a call of root's under way holds, too.
    :ivar agent_since_s: since when an agent lives, None: none does.
    :ivar paused_s: since when healing may be paused; ...
    :ivar held_s: ... and is, by an operator's last word.
    :ivar logs: the directory of the servers' logs.
    :ivar clients: how many clients the cluster has had.
    :ivar sockets, talks: the far ends of connections, and who is there.
    """

    timer_ms = 200

    def __init__(self, seed: str, setup: Setup, directory: str) -> None:
        self.setup = setup
        self.policy = setup.policy()
        self.time = timeline.Timeline()
        self.rng = random.Random(f'{seed}/world')
        self.story: list[tuple[float, str]] = []
        self.faults = 0
        self.court = court_lib.Court(self)
        self.nbd = kernel.Nbd(
            self.time, random.Random(f'{seed}/kernel'), directory,
            setup.volumes + 2)
        self.storage = storage.Storage(
            self.time, random.Random(f'{seed}/storage'))
        self.processes = processes.Processes(
            self.time, random.Random(f'{seed}/processes'), self.nbd,
            self.storage, self.tell)
        self.logs, self.clients = directory, 0
        self.processes.opened = lambda proc: asking.opened(self, proc)
        self.tree = files.Tree(self)
        self.host = Host()
        self.locks: dict[str, tools.Life] = {}
        self.lent: list[str] = []
        self.agent_since_s: float | None = None
        self.paused_s: float | None = None
        self.held_s: float | None = None
        self.nova_alive = True
        self.talks: dict[int, parts.Link] = {}
        self.sockets: list[socket.socket] = []
        self.mounters = loader.Mounters(lambda: tuple(MOUNTERS),
                                        lambda name: MOUNTERS[name])
        self.images = self.storage.images
        self.volumes: dict[str, Volume] = {}
        self.guests: dict[str, guest_lib.Guest] = {}
        self.nbd.bound = self._bound
        self.storage.landed = lambda image, block: self.court.data(
            image.key, block)
        self.time.check = self.court.check
        for number in range(setup.volumes):
            self._volume(seed, number)
        self._kick = 0
        self.time.after(0.5, self._turn)

    def _volume(self, seed: str, number: int) -> None:
        key = f'{number:08x}-aaaa-4bbb-8ccc-000000000000'
        kind = self.setup.kinds[number % len(self.setup.kinds)]
        self.images[key] = parts.Image(
            key=key, kind=kind, size_bytes=64 * parts.MIB,
            exclusive=kind == parts.RBD and self.setup.exclusive)
        self.volumes[key] = Volume(key=key, mounter=parts.MOUNTERS[kind])
        self.guests[key] = guest_lib.Guest(
            self, key, random.Random(f'{seed}/guest/{number}'))

    def tell(self, sentence: str) -> None:
        """A line of the story."""
        self.story.append((self.time.now_s, sentence))

    def fault(self, sentence: str | None = None) -> None:
        """One more fault has been injected."""
        self.faults += 1
        if sentence is not None:
            self.tell(sentence)

    def close(self) -> None:
        """Give back what is open."""
        self.nbd.close()
        for one in self.sockets:
            one.close()

    # Facts -----------

    def mounter(self, name: str) -> base.Mounter | None:
        return self.mounters.get(name)

    def socket_path(self, key: str) -> str:
        return f'{RUN_PATH}/{key}.sock'

    def image_of(self, key: str, source: dict[str, str]) -> parts.Image:
        """What a source names."""
        found = [i for i in self.images.values() if i.source == source]
        return found[0]

    def _bound(self, device: parts.Device, proc: parts.Proc) -> None:
        key = device.cookie
        if proc.image is not None and key in self.volumes:
            self.court.bound(key, proc.image, device.size_bytes)

    def server(self, key: str) -> parts.Proc | None:
        """The process that the kernel's connection leads to."""
        device = self.nbd.with_cookie(key)
        return None if device is None else device.server

    def waits_for_lock(self, key: str) -> bool:
        """The exclusive lock is with one that does not answer."""
        image = self.images[key]
        return (image.owner is not None and image.owner.deaf_s is not None
                and self.time.now_s - image.owner.deaf_s
                < storage.WATCH_S + 2.0)

    # The guests -----------

    def _turn(self, kick: int = 0) -> None:
        if kick != self._kick:
            return
        for guest in self.guests.values():
            guest.turn()
        self.time.after(
            guest_lib.CALM_TICK_S if self.calm() else guest_lib.TICK_S,
            lambda: self._turn(kick))

    def kick(self) -> None:
        """The guests are busy again, now that something may be wrong."""
        self._kick += 1
        kick = self._kick
        self.time.after(0.1, lambda: self._turn(kick))

    def calm(self) -> bool:
        """Every volume is served, and nobody works on anything."""
        return (self.storage.monitors and not self.host.troubled
                and not (self.locks or self.lent) and self.paused_s is None
                and all(v.attached and not v.disconnecting and self._fine(v)
                        for v in self.volumes.values()))

    def _fine(self, volume: Volume) -> bool:
        """It is mapped, as it should be, and its guest goes on."""
        device = self.nbd.with_cookie(volume.key)
        server = self.server(volume.key)
        image = self.images[volume.key]
        return (device is not None and server is not None
                and not volume.taken and server.state == parts.RUNS
                and self.processes.servers(volume.key) == [server]
                and self.guests[volume.key].device == device.name
                and self.guests[volume.key].waits_s < WELL_S
                and device.timer_ms == self.timer_ms
                and image.exists and self.time.now_s > image.slow_until_s)

    def leaked(self) -> list[str]:
        """Devices, processes and timers that belong to nobody."""
        found = []
        for device in self.nbd.devices.values():
            if device.connected and device.cookie not in self.volumes:
                found.append(f'{device.name} with {device.cookie}')
            if not device.connected and device.timer_ms != parts.TIMER_MS:
                found.append(f'the timer of {device.name}')
        return found

    def describe(self, key: str) -> str:
        """For a broken law."""
        device = self.nbd.with_cookie(key)
        waiting = [] if device is None else [
            f'{r.kind} {r.state}' for r in device.requests]
        return '; '.join((
            f'{device and device.name}: {", ".join(waiting)}',
            f'linked: {device and device.server and device.server.pid}',
            *(f'process {p.pid} {p.state} half={p.half} linked={p.linked}'
              for p in self.processes.servers(key))))
