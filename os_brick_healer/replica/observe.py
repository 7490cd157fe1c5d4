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
"""The host's side of the picture: arrays, namespaces, paths.

Names (md127, nvme0n1, nvme3) are looked up afresh each time and never taken
for identities. An array is known by its UUID; a leg by its subsystem's NQN
and its namespace's uuid, both compared exactly.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import math
import threading
from typing import Generic, Protocol, TypeVar

from os_brick_healer.replica import model
from os_brick_healer.replica import pulse as pulse_
from os_brick_healer.sysfs import md, nvme, parse, reader

#: A directory is not listed again within this time; what was found through
#: a listing is always read again before it is believed.
LISTING_FRESH_S = 0.05

#: What was read of names that nobody looks at is read again after this.
IDENTITY_FRESH_S = 5.0

#: An answer of a portal that is older than this says nothing any more.
PROBE_FRESH_S = 2.0

_SYNCS = frozenset(('recover', 'resync', 'reshape', 'check', 'repair'))

_STATES = {s.value: s for s in model.PathState} | {
    'deleting (no IO)': model.PathState.DELETING}


class ProbeResult(Protocol):
    """What our own probe of a portal came to.

    :ivar answers: whether the last finished probe was answered; None when
        none has finished.
    :ivar silent_for_s: how long it has not answered, 0.0 when it does.
    :ivar age_s: how old the last finished probe is.
    """

    @property
    def answers(self) -> bool | None: ...

    @property
    def silent_for_s(self) -> float | None: ...

    @property
    def age_s(self) -> float | None: ...


_T = TypeVar('_T')

Probes = Mapping[model.Portal, ProbeResult]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Everything that this host has; what is not ours included.

    :ivar unreadable: arrays and subsystems that could not be understood.
    """

    arrays: tuple[model.Array, ...]
    namespaces: tuple[model.Namespace, ...]
    paths: tuple[model.Path, ...]
    unreadable: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What this host has of one volume.

    :ivar array: the volume's array, None when there is none or when it
        cannot be told which one it is.
    :ivar candidates: names of all arrays that hold a leg of the volume.
    :ivar legs: whose leg each member is, by the member's device; also of
        a member whose device is gone, while its subsystem is still known.
    :ivar foreign: members that no replica named now explains; empty when
        the volume is not named at all.
    :ivar sharing: by replica: other block devices behind its controllers.
        Deleting a controller takes these away from whoever uses them.
    :ivar former: by replica: what is connected of those not named any more.
    """

    array: model.Array | None
    namespaces: Mapping[model.ReplicaId, model.Namespace]
    paths: Mapping[model.ReplicaId, tuple[model.Path, ...]]
    foreign: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    legs: Mapping[str, model.ReplicaId] = dataclasses.field(
        default_factory=dict)
    sharing: Mapping[model.ReplicaId, tuple[str, ...]] = dataclasses.field(
        default_factory=dict)
    former: Mapping[model.ReplicaId, model.Former] = dataclasses.field(
        default_factory=dict)


class Observer:
    """Reads the host. Thread-safe; reads only, and needs no privilege.

    :param clock: monotonic seconds, the same that Pulse.sample() is given.
    :param pulse: where the ages of states and the stalls come from.
    """

    def __init__(self, tree: reader.Tree, clock: Callable[[], float],
                 pulse: pulse_.Pulse | None = None) -> None:
        self._tree = tree
        self._clock = clock
        self._pulse = pulse
        self._ages = _Ages()
        self._controllers: nvme.Known = {}
        self._subsystems: _Index[nvme.Subsystem] = _Index(
            tree, clock, nvme.SUBSYSTEMS, nvme.subsystem_nqn)
        self._arrays: _Index[md.Array] = _Index(
            tree, clock, 'sys/block', _array_uuid)

    def host(self) -> Host:
        """Everything, in one pass: at the start, or to start over."""
        unreadable: list[str] = []
        subsystems = _each(nvme.subsystem_names(self._tree), nvme.subsystem,
                           self._tree, unreadable)
        paths = {c.name: self._path(c, {}) for s in subsystems
                 for c in s.controllers if _is_fabric(c)}
        self._ages.keep(paths)
        return Host(
            arrays=tuple(self._array(a, None) for a in _each(
                md.names(self._tree), md.array, self._tree, unreadable)
                if a.uuid is not None),
            namespaces=tuple(_namespace(n, paths, n.uuid or n.nguid)
                             for s in subsystems for n in s.namespaces),
            paths=tuple(paths.values()), unreadable=tuple(unreadable))

    def look(self, key: model.VolumeId, volume: model.Volume | None,
             array_uuid: str | None, probes: Probes,
             former: Iterable[model.Replica] = ()) -> Observation:
        """What this host has of one volume, read now.

        :param array_uuid: the array remembered as this volume's: then no
            other array is ever taken for it.
        :param former: replicas that were its and are not named any more.
        :raises HealerError: the kernel says something that cannot be
            understood, or it does not let us read.
        """
        replicas = () if volume is None else volume.replicas
        subsystems = {r.id: self._of_nqn(r.nqn) for r in replicas}
        paths = {c.name: self._path(c, probes)
                 for found in subsystems.values() for s in found
                 for c in s.controllers if _is_fabric(c)}
        matching = {r.id: _matching(r, subsystems[r.id]) for r in replicas}
        candidates = _holders(matching.values())
        array = self._find_array(array_uuid, candidates, matching)
        name = None if array is None else array.name
        chosen = {replica: _choose(found, name)
                  for replica, found in matching.items() if found}
        legs = {} if array is None else _legs(array, replicas, matching,
                                              subsystems)
        return Observation(
            array=None if array is None else self._array(array, key),
            namespaces={
                r.id: _namespace(chosen[r.id], paths, r.namespace_uuid)
                for r in replicas if r.id in chosen},
            paths={r.id: tuple(paths[c.name] for s in subsystems[r.id]
                               for c in s.controllers if c.name in paths)
                   for r in replicas},
            foreign=() if array is None or volume is None else tuple(
                m.device for m in array.members if m.device not in legs),
            candidates=candidates, legs=legs,
            sharing={r.id: _sharing(subsystems[r.id], matching[r.id])
                     for r in replicas},
            former={r.id: found for r in former
                    if r.nqn not in {x.nqn for x in replicas}
                    and (found := self._former(r, probes)) is not None})

    def _former(self, replica: model.Replica,
                probes: Probes) -> model.Former | None:
        """None: nothing of it is connected, or not of it alone."""
        subsystems = self._of_nqn(replica.nqn)
        own = _matching(replica, subsystems)
        every = [n for s in subsystems for n in s.namespaces]
        if len(every) > 1 or any(n not in own or n.holders for n in every):
            return None
        paths = tuple(self._path(c, probes) for s in subsystems
                      for c in s.controllers if _is_fabric(c))
        return None if not paths else model.Former(
            paths=paths, device=every[0].device if every else None)

    def _of_nqn(self, nqn: str | None) -> tuple[nvme.Subsystem, ...]:
        if nqn is None:
            return ()

        def _read(name: str) -> nvme.Subsystem | None:
            found = nvme.subsystem(self._tree, name, self._controllers)
            return found if found is not None and found.nqn == nqn else None

        return self._subsystems.find(nqn, _read)

    def _find_array(self, array_uuid: str | None, candidates: Iterable[str],
                    matching: '_Matching') -> md.Array | None:
        if array_uuid is not None:
            found = self._arrays_of(
                parse.uuid(array_uuid, 'remembered array uuid'))
        else:
            read = (md.array(self._tree, name) for name in candidates)
            found = tuple(a for a in read if a is not None and
                          a.uuid is not None and _has_leg(a, matching))
        started = tuple(a for a in found
                        if a.state not in ('clear', 'inactive'))
        found = started or found
        return found[0] if len(found) == 1 else None

    def _arrays_of(self, uuid: str | None) -> tuple[md.Array, ...]:
        def _read(name: str) -> md.Array | None:
            found = md.array(self._tree, name)
            return found if found is not None and found.uuid == uuid else None

        return () if uuid is None else self._arrays.find(uuid, _read)

    def _array(self, array: md.Array,
               key: model.VolumeId | None) -> model.Array:
        stuck_s = 0.0
        if self._pulse is not None and key is not None:
            stuck_s = self._pulse.stuck_s(key, self._clock())
        return _array(array, stuck_s)

    def _path(self, controller: nvme.Controller,
              probes: Probes) -> model.Path:
        now = self._clock()
        age_s = self._ages.saw(controller.name, controller.birth,
                               controller.state, now)
        if self._pulse is not None:
            age_s = max(age_s, self._pulse.age_s(
                controller.name, controller.birth, controller.state, now))
        portal = _portal(controller)
        probe = probes.get(portal)
        if probe is None or probe.age_s is None or (
                probe.age_s > PROBE_FRESH_S):
            answers = silent_for_s = None
        else:
            answers, silent_for_s = probe.answers, probe.silent_for_s
        return model.Path(
            controller=controller.name, nqn=controller.nqn, portal=portal,
            host_nqn=controller.host_nqn,
            state=_STATES.get(controller.state, model.PathState.UNKNOWN),
            state_for_s=age_s, portal_answers=answers,
            silent_for_s=silent_for_s, keep_alive_s=controller.keep_alive_s)


_Matching = Mapping[model.ReplicaId, tuple[nvme.Namespace, ...]]


def _array_uuid(tree: reader.Tree, name: str) -> str | None:
    return md.uuid(tree, name) if name.startswith('md') else None


def _each(names: Iterable[str], read: Callable[[reader.Tree, str], _T | None],
          tree: reader.Tree, unreadable: list[str]) -> list[_T]:
    found = []
    for name in names:
        try:
            one = read(tree, name)
        except parse.ParseError as e:
            unreadable.append(e.sentence)
            continue
        if one is not None:
            found.append(one)
    return found


def _is_fabric(controller: nvme.Controller) -> bool:
    # A local PCIe drive is nobody's path to a replica.
    return controller.transport not in ('pcie', 'apple-nvme', '')


def _portal(controller: nvme.Controller) -> model.Portal:
    address = controller.address
    if address is None:
        return model.Portal(address='', port=0,
                            transport=controller.transport)
    return model.Portal(address=address.traddr, port=address.trsvcid or 0,
                        transport=controller.transport)


def _matching(replica: model.Replica, subsystems: Iterable[nvme.Subsystem],
              ) -> tuple[nvme.Namespace, ...]:
    # Without native multipath each path has a block device of its own, so
    # there may be several; all of them are this replica.
    wanted = replica.namespace_uuid
    if wanted is None:
        return ()
    wanted = wanted.lower()
    return tuple(n for s in subsystems for n in s.namespaces
                 if wanted in (n.uuid, n.nguid))


def _holders(matching: Iterable[tuple[nvme.Namespace, ...]],
             ) -> tuple[str, ...]:
    return tuple(sorted({h for found in matching for n in found
                         for h in n.holders if h.startswith('md')}))


def _has_leg(array: md.Array, matching: _Matching) -> bool:
    ours = {n.device for found in matching.values() for n in found
            if array.name in n.holders}
    return any(m.device in ours for m in array.members)


def _choose(found: tuple[nvme.Namespace, ...],
            array: str | None) -> nvme.Namespace:
    return min(found, key=lambda n: (
        array not in n.holders, not n.holders, not n.controllers, n.device))


def _legs(array: md.Array, replicas: Iterable[model.Replica],
          matching: _Matching,
          subsystems: Mapping[model.ReplicaId, tuple[nvme.Subsystem, ...]],
          ) -> dict[str, model.ReplicaId]:
    live = {n.device: replica for replica, found in matching.items()
            for n in found if array.name in n.holders}
    legs = {m.device: live[m.device] for m in array.members
            if m.device in live}
    # The device of a dead member is gone, its subsystem is not: the array
    # still has the device open. That tells whose it was, when the
    # subsystem stands for one replica only.
    for member in array.members:
        if member.device in legs or member.present:
            continue
        owners = [r.id for r in replicas if member.parent in {
            s.name for s in subsystems[r.id]} | {
            c.name for s in subsystems[r.id] for c in s.controllers}]
        if len(owners) == 1:
            legs[member.device] = owners[0]
    return legs


def _sharing(subsystems: Iterable[nvme.Subsystem],
             own: tuple[nvme.Namespace, ...]) -> tuple[str, ...]:
    mine = {n.device for n in own}
    return tuple(sorted(
        n.device for s in subsystems for n in s.namespaces
        if n.device not in mine and n.controllers))


def _namespace(namespace: nvme.Namespace, paths: Mapping[str, model.Path],
               uuid: str | None) -> model.Namespace:
    return model.Namespace(
        device=namespace.device, nqn=namespace.nqn, uuid=uuid,
        size_bytes=namespace.size_bytes, holders=namespace.holders,
        paths=tuple(paths[c] for c in namespace.controllers if c in paths))


def _array(array: md.Array, stuck_s: float) -> model.Array:
    assert array.uuid is not None
    return model.Array(
        name=array.name, uuid=array.uuid, level=array.level,
        state=array.state, raid_disks=array.raid_disks,
        # The attribute appears when the array is started: before that none
        # of its legs serves anybody.
        degraded=array.raid_disks if array.degraded is None
        else array.degraded,
        component_bytes=array.component_bytes, size_bytes=array.size_bytes,
        members=tuple(model.Member(
            device=m.device, flags=m.flags, slot=m.slot,
            recovery_start=m.recovery_start) for m in array.members),
        sync=_sync(array), stuck_s=stuck_s,
        frozen=array.sync_action == 'frozen')


def _sync(array: md.Array) -> model.Sync | None:
    if array.sync_action not in _SYNCS:
        return None
    done, total = array.completed or (None, None)
    return model.Sync(action=array.sync_action or '', done_sectors=done,
                      total_sectors=total, speed_kib_s=array.speed_kib_s)


class _Index(Generic[_T]):
    """Which kernel objects say a given identity, without reading them all.

    The names of one identity are remembered and asked again each time. All
    names are listed only when none answers to it (any more), and of those
    only the new ones are read.
    """

    def __init__(self, tree: reader.Tree, clock: Callable[[], float],
                 at: str,
                 identity: Callable[[reader.Tree, str], str | None]) -> None:
        self._tree = tree
        self._clock = clock
        self._at = at
        self._identity = identity
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int], str | None] = {}
        self._by_identity: dict[str, tuple[str, ...]] = {}
        self._listed_s = -math.inf
        self._read_s = -math.inf

    def find(self, identity: str,
             read: Callable[[str], _T | None]) -> tuple[_T, ...]:
        """Those that say this identity now.

        :param read: reads the object of a name; None when there is none of
            this identity (any more).
        """
        with self._lock:
            names = self._by_identity.get(identity, ())
            found = [read(name) for name in names]
            if not names or None in found:
                self._list(stale=bool(names))
                found = [read(name) for name
                         in self._by_identity.get(identity, ())]
            return tuple(one for one in found if one is not None)

    def _list(self, *, stale: bool) -> None:
        now_s = self._clock()
        if not stale and 0 <= now_s - self._listed_s < LISTING_FRESH_S:
            return
        # An array can be stopped and another started under its name and
        # its very inode, so what was read once is not true for ever.
        if stale or now_s - self._read_s > IDENTITY_FRESH_S:
            self._known = {}
            self._read_s = now_s
        known = {}
        by_identity: dict[str, list[str]] = {}
        for entry in sorted(self._tree.entries(self._at)):
            # An identity may come later than the name (udev tells it, or
            # the array is not started yet): ask again until there is one.
            found = self._known.get(entry)
            if found is None:
                found = self._read(entry[0])
            known[entry] = found
            if found is not None:
                by_identity.setdefault(found, []).append(entry[0])
        self._known = known
        self._by_identity = {i: tuple(n) for i, n in by_identity.items()}
        self._listed_s = now_s

    def _read(self, name: str) -> str | None:
        # One that cannot be understood is not the one that is looked for,
        # and must not hide it.
        try:
            return self._identity(self._tree, name)
        except parse.ParseError:
            return None


class _Ages:
    """Since when each controller has been seen in its state."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[int | None, str, float]] = {}

    def saw(self, name: str, birth: int | None, state: str,
            now_s: float) -> float:
        """Note what was seen; answers how long it has been so."""
        known = self._since.get(name)
        if known is None or known[:2] != (birth, state):
            self._since[name] = (birth, state, now_s)
            return 0.0
        return max(0.0, now_s - known[2])

    def keep(self, names: Iterable[str]) -> None:
        """Forget all others."""
        kept = set(names)
        for name in list(self._since):
            if name not in kept:
                self._since.pop(name, None)
