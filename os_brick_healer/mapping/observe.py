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
"""Reads the host: a device, and the process that serves it."""

from collections.abc import Callable
import dataclasses
import threading

from os_brick_healer.mapping import model, places
from os_brick_healer.mounter import base, owners
from os_brick_healer.nbd import parse
from os_brick_healer.sysfs import mounts, nbd, process, reader

#: A list of the host's processes is used for so long; hands take a new one.
LIST_KEPT_S = 0.25

MounterOf = Callable[[str], base.Mounter | None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the host shows of one volume."""

    device: model.Device | None
    server: model.Running | None


class Observer:
    """Looks at volumes. Thread-safe.

    :param mounter: an installed mounter by its name.
    :param programs: the commands of all installed mounters.
    """

    def __init__(self, tree: reader.Tree, clock: Callable[[], float],
                 mounter: MounterOf,
                 programs: Callable[[], frozenset[str]]) -> None:
        self._tree = tree
        self._clock = clock
        self._mounter = mounter
        self._programs = programs
        self._lock = threading.Lock()
        self._list: tuple[model.Running, ...] = ()
        self._list_s = float('-inf')

    def look(self, mapping: model.Mapping, known: model.Process | None, *,
             fresh: bool) -> Look:
        """The device and its server as they are now.

        :param known: the server of the last look: while it lives, nobody
            else is looked for.
        :param fresh: whether an older list of processes will not do.
        :raises ReadError: something is there and cannot be read.
        """
        name, server = mapping.order.device, self._server(
            mapping, known, fresh)
        if name is None:
            return Look(device=None, server=server)
        mounter = self._mounter(mapping.mounter)
        if mounter is not None and mounter.style is base.Style.MOUNT:
            return Look(server=server, device=self._mount(
                mounter, mapping.order.volume, name, server))
        return Look(device=nbd.device(self._tree, name), server=server)

    def _mount(self, mounter: base.Mounter, volume: str, place: str,
               server: model.Running | None) -> model.Device:
        """A mount, in the words of a device. It is the volume's if it is of
        the mounter's type, and no process says that it is another's.

        A place that root has made bare, to mount it anew, is as good.
        """
        found, whose = mounts.at(self._tree, place), volume
        if found is not None and found.kind != mounter.file_system:
            whose = f'a mount of type {found.kind}'
        elif found is not None and server is None:
            whose = self._claimed(mounter, place) or volume
        return places.device(
            place, whose, connected=found is not None
            or mounts.taken_away(self._tree, volume, place))

    def _claimed(self, mounter: base.Mounter, place: str) -> str | None:
        """Who says that it has mounted something else there."""
        users = owners.of('', as_root=True)
        for one in self._running(fresh=False):
            if (mounter.program not in parse.programs(one.argv)
                    or not owners.believed(one, users)):
                continue
            said = mounter.claim(one.argv)
            if said is not None and said.device == place and (
                    process.same(self._tree, one.process) is not None):
                return f'the mount of {one}'
        return None

    def _server(self, mapping: model.Mapping, known: model.Process | None,
                fresh: bool) -> model.Running | None:
        mounter = self._mounter(mapping.mounter)
        if mounter is None:
            return None
        if known is not None:
            found = process.same(self._tree, known)
            if found is not None and (found.dying or mounter.serves(
                    mapping.order, found.argv)):
                return found
        for one in self._running(fresh):
            if owners.serves(mounter, mapping.order, one):
                now = process.same(self._tree, one.process)
                if now is not None:
                    return now
        return None

    def _running(self, fresh: bool) -> tuple[model.Running, ...]:
        """Processes of mounters; many that die at once share one list."""
        with self._lock:
            now_s = self._clock()
            if fresh or now_s - self._list_s > LIST_KEPT_S:
                self._list = tuple(process.of_programs(
                    self._tree, self._programs()))
                self._list_s = now_s
            return self._list


@dataclasses.dataclass(slots=True, kw_only=True)
class _Track:
    device: str
    completed: int = -1
    waiting: int = 0
    moved_s: float = 0.0
    ended_s: float | None = None


class Motion:
    """When requests of each volume last moved. Thread-safe.

    A look and the regular samples feed it alike.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tracks: dict[str, _Track] = {}

    def feed(self, key: str, device: model.Device) -> float | None:
        """Take a reading; when requests last moved."""
        if device.requests is None:
            return None
        return self.sample(key, device.name, device.requests)

    def sample(self, key: str, device: str,
               requests: parse.Requests) -> float:
        """The same, from the two numbers that count."""
        with self._lock:
            track = self._tracks.get(key)
            if track is None or track.device != device:
                track = self._tracks[key] = _Track(device=device)
            if track.completed not in (-1, requests.completed):
                track.ended_s = self._clock()
            if (requests.completed != track.completed
                    or not requests.in_flight or not track.waiting):
                track.moved_s = self._clock()
            track.completed = requests.completed
            track.waiting = requests.in_flight
            return track.moved_s

    def silent_s(self, key: str) -> float | None:
        """For how long no request has ended that was there to be seen,
        since one last did; None: none was seen to end, or it was told.

        The block layer does not count a flush as under way: a device whose
        guest waits for nothing but a flush looks like one that is idle.
        """
        with self._lock:
            track = self._tracks.get(key)
            if track is None or track.ended_s is None or track.waiting:
                return None
            return self._clock() - track.ended_s

    def told(self, key: str) -> None:
        """It has been looked into why the device is silent."""
        with self._lock:
            track = self._tracks.get(key)
            if track is not None:
                track.ended_s = None

    def forget(self, key: str) -> None:
        """The volume is no longer here."""
        with self._lock:
            self._tracks.pop(key, None)
