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
"""What the agent sees of the simulated host: observer, pulse, prober."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import functools
from typing import TYPE_CHECKING

from os_brick_healer import exception
from os_brick_healer.provisioner import base
from os_brick_healer.replica import model, observe, probe
from os_brick_healer.tests.simulation import parts

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation import world as world_lib

RTT_S = 0.004
DEADLINE_S = 0.5


class Observer:
    """Stands for ``replica.observe.Observer``."""

    def __init__(self, world: 'world_lib.World') -> None:
        self._world = world

    def look(self, key: model.VolumeId, volume: model.Volume | None,
             array_uuid: str | None, probes: observe.Probes,
             former: Iterable[model.Replica] = (),
             ) -> observe.Observation:
        """What this host has of one volume now."""
        if key in self._world.unreadable:
            raise exception.HealerError(f'cannot read {key}: because of a '
                                        'fault')
        replicas = () if volume is None else volume.replicas
        disks = {r.id: self._disk(r) for r in replicas}
        array = self._array(array_uuid, disks)
        paths = {r.id: tuple(
            self._path(c, probes) for c in self._world.fabric.of_nqn(
                r.nqn or '')) for r in replicas}
        explained = [d for d in disks.values() if d is not None]
        return observe.Observation(
            array=None if array is None else self._md(array, key),
            namespaces={
                i: self._namespace(d, paths[i]) for i, d in disks.items()
                if d is not None},
            paths=paths,
            foreign=() if array is None or volume is None else tuple(
                m.device for m in array.members if m.disk not in explained),
            sharing={r.id: self._sharing(r, disks[r.id]) for r in replicas},
            former={r.id: found for r in former
                    if r.nqn not in {x.nqn for x in replicas}
                    and (found := self._former(r, probes)) is not None})

    def _former(self, replica: base.Replica,
                probes: observe.Probes) -> model.Former | None:
        fabric = self._world.fabric
        target = fabric.targets.get(replica.nqn or '')
        controllers = fabric.of_nqn(replica.nqn or '')
        shown = [] if target is None else [
            d for d in target.disks if fabric.connected(d)]
        if (not controllers or len(shown) > 1
                or any(d.uuid != replica.namespace_uuid
                       or self._world.md.holder(d) is not None
                       or self._world.holders.get(d.id) for d in shown)):
            return None
        return model.Former(
            paths=tuple(self._path(c, probes) for c in controllers),
            device=fabric.device(shown[0]) if shown else None)

    def _disk(self, replica: base.Replica) -> parts.Disk | None:
        target = self._world.fabric.targets.get(replica.nqn or '')
        for disk in () if target is None else target.disks:
            if (disk.uuid == replica.namespace_uuid
                    and self._world.fabric.connected(disk)):
                return disk
        return None

    def _array(self, uuid: str | None, disks: Mapping[
            model.ReplicaId, parts.Disk | None]) -> parts.Array | None:
        arrays = self._world.md.arrays.values()
        if uuid is not None:
            found = [a for a in arrays if a.uuid == uuid]
        else:
            mine = [d for d in disks.values() if d is not None]
            found = [a for a in arrays if any(
                m.present and m.disk in mine for m in a.members)]
        return found[0] if len(found) == 1 else None

    def _md(self, array: parts.Array, key: str) -> model.Array:
        sync = None
        if array.syncing is not None:
            left = len(array.syncing.to_copy)
            sync = model.Sync(
                action='recover', done_sectors=array.synced,
                total_sectors=array.synced + left, speed_kib_s=1000)
        return model.Array(
            name=array.name, uuid=array.uuid, level='raid1',
            state='broken' if array.broken else 'active',
            raid_disks=array.raid_disks,
            degraded=max(0, array.raid_disks - len(array.in_sync)),
            component_bytes=array.component_bytes,
            size_bytes=array.component_bytes,
            members=tuple(model.Member(
                device=m.device, slot=m.slot, flags=frozenset(
                    [m.role] + ['failfast'] * m.failfast))
                for m in array.members),
            sync=sync, stuck_s=self._world.pulse_stuck_s(array))

    def _path(self, one: parts.Controller,
              probes: observe.Probes) -> model.Path:
        told = probes.get(one.portal)
        fresh = (told is not None and told.age_s is not None
                 and told.age_s <= observe.PROBE_FRESH_S)
        return model.Path(
            controller=one.name, nqn=one.nqn, portal=one.portal,
            host_nqn='nqn.host', state=one.state,
            state_for_s=self._world.time.now_s - one.since_s,
            portal_answers=told.answers if told and fresh else None,
            silent_for_s=told.silent_for_s if told and fresh else None,
            keep_alive_s=one.kato_s)

    def _namespace(self, disk: parts.Disk,
                   paths: tuple[model.Path, ...]) -> model.Namespace:
        held = self._world.md.holder(disk)
        other = self._world.holders.get(disk.id, ())
        return model.Namespace(
            device=self._world.fabric.device(disk), nqn=disk.nqn,
            uuid=disk.uuid, size_bytes=disk.size_bytes,
            holders=(() if held is None else (held.name,)) + other,
            paths=paths)

    def _sharing(self, replica: base.Replica,
                 own: parts.Disk | None) -> tuple[str, ...]:
        fabric = self._world.fabric
        target = fabric.targets.get(replica.nqn or '')
        if target is None or not fabric.of_nqn(target.nqn):
            return ()
        return tuple(fabric.device(d) for d in target.disks
                     if d is not own and fabric.connected(d))


class Pulse:
    """Stands for ``replica.pulse.Pulse``: names volumes that changed."""

    uneasy = False

    def __init__(self, world: 'world_lib.World', stuck_s: float) -> None:
        self._world = world
        self._stuck_s = stuck_s
        self._keys: dict[base.VolumeId, str | None] = {}
        self._last: dict[base.VolumeId, tuple[object, ...]] = {}
        self._version = -1
        self._alarm_s: dict[base.VolumeId, float] = {}

    def watch(self, key: base.VolumeId, controllers: Iterable[str],
              array: str | None) -> None:
        self._keys[key] = array
        self._watched(key, tuple(controllers), array)

    def _watched(self, key: base.VolumeId, controllers: tuple[str, ...],
                 array: str | None) -> None:
        known = self._last.get(key)
        if known is None or known[:2] != (controllers, array):
            self._last[key] = (controllers, array, None)
            self._version = -1

    def forget(self, key: base.VolumeId) -> None:
        self._keys.pop(key, None)
        self._last.pop(key, None)

    def sample(self, now_s: float) -> frozenset[base.VolumeId]:
        """Keys whose picture changed, or whose I/O is stuck."""
        named = set()
        md = self._world.md
        if self._version != md.version:
            self._version = md.version
            for key, last in list(self._last.items()):
                picture = self._picture(last)
                if picture != last:
                    self._last[key] = picture
                    named.add(key)
        for key, name in self._keys.items():
            array = md.arrays.get(name or '')
            stuck_s = 0.0 if array is None else (
                self._world.stuck_s(array))
            alarm_s = self._alarm_s.get(key, self._stuck_s)
            if stuck_s >= alarm_s:
                named.add(key)
                self._alarm_s[key] = 2 * stuck_s
            elif not stuck_s and key in self._alarm_s:
                named.add(key)
                del self._alarm_s[key]
        return frozenset(named)

    def _picture(self, last: tuple[object, ...]) -> tuple[object, ...]:
        controllers, name = last[0], last[1]
        assert isinstance(controllers, tuple)
        array = self._world.md.arrays.get(str(name))
        about = None if array is None else (
            array.broken, len(array.in_sync), array.syncing is None)
        found = self._world.fabric.controllers
        states = tuple(found[c].state if c in found else None
                       for c in controllers)
        return (controllers, name, (states, about))


class Prober:
    """Stands for ``replica.probe.TcpProber``.

    :param wake: called with a portal whose probe has ended.
    """

    def __init__(self, world: 'world_lib.World',
                 wake: Callable[[base.Portal], None]) -> None:
        self._world = world
        self._wake = wake
        self._flying: set[base.Portal] = set()
        self._known: dict[base.Portal, tuple[float, float | None]] = {}
        self._stopped = False

    def ask(self, portals: Iterable[base.Portal]) -> None:
        for portal in portals:
            if portal not in self._flying:
                self._flying.add(portal)
                self._world.court.probes(str(portal))
                begun_s = self._world.time.now_s
                wait_s = probe_s(self._world, portal)
                self._world.time.after(
                    wait_s, functools.partial(self._land, portal, begun_s))

    def _land(self, portal: base.Portal, begun_s: float) -> None:
        self._flying.discard(portal)
        if self._stopped:
            return
        answers = self._world.fabric.portal_reach(portal) == parts.UP
        known = self._known.get(portal)
        silent_s = None if answers else begun_s
        if not answers and known is not None and known[1] is not None:
            silent_s = known[1]
        self._known[portal] = (self._world.time.now_s, silent_s)
        self._wake(portal)

    def result(self, portal: base.Portal) -> probe.Result:
        known = self._known.get(portal)
        if known is None:
            return probe.Result()
        now_s = self._world.time.now_s
        return probe.Result(
            answers=known[1] is None, age_s=now_s - known[0],
            silent_for_s=0.0 if known[1] is None else now_s - known[1])

    def stop(self) -> None:
        self._stopped = True


def probe_s(world: 'world_lib.World', portal: base.Portal) -> float:
    """How long a probe of a portal takes."""
    if world.fabric.portal_reach(portal) == parts.SILENT:
        return DEADLINE_S
    return RTT_S


def probe_now(world: 'world_lib.World', portals: Sequence[base.Portal], *,
              one_is_enough: bool) -> dict[base.Portal, bool]:
    """Stands for ``replica.probe.probe_now``."""
    waits = {p: probe_s(world, p) for p in sorted(set(portals), key=str)}
    if not waits:
        return {}
    quick = {p for p, s in waits.items() if s < DEADLINE_S}
    enough = one_is_enough and any(
        world.fabric.portal_reach(p) == parts.UP for p in quick)
    world.time.sleep(RTT_S if enough or len(quick) == len(waits)
                     else DEADLINE_S)
    return {p: world.fabric.portal_reach(p) == parts.UP
            for p in (quick if enough else waits)}
