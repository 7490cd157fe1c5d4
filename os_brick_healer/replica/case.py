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
"""One volume's facts joined leg by leg, for the deciding rooms. Pure."""

from collections.abc import Iterable
import dataclasses
import functools

from os_brick_healer.engine import limits
from os_brick_healer.replica import model


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the rest of the host means for this volume.

    :ivar brake: why nothing is requested now, None when it may be.
    :ivar requests_left: replacements that may be requested in this hour.
    """

    brake: str | None = None
    requests_left: int = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A replica with all that this host has of it."""

    replica: model.Replica
    member: model.Member | None
    namespace: model.Namespace | None
    paths: tuple[model.Path, ...]
    memory: model.ReplicaMemory
    portal_answers: bool | None

    @property
    def id(self) -> model.ReplicaId:
        return self.replica.id

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        if self.member is not None:
            return f'leg {self.member.device}'
        return f'replica {self.replica.id}'

    @property
    def in_sync(self) -> bool:
        return self.member is not None and self.member.in_sync

    @property
    def faulty(self) -> bool:
        return self.member is not None and 'faulty' in self.member.flags

    @property
    def filling(self) -> bool:
        """A member that MD writes to but does not read from yet."""
        return (self.member is not None and not self.in_sync
                and not self.faulty)

    @property
    def probed(self) -> bool:
        """Whether its portals are of a kind that can be probed."""
        return any(p.transport == 'tcp' for p in self.replica.portals)

    @property
    def live(self) -> bool:
        """At least one path is live, as far as the kernel knows."""
        return any(p.state is model.PathState.LIVE for p in self.paths)

    @property
    def silent_s(self) -> float | None:
        """How long none of its live paths has answered our probes.

        None while at least one answers, or is not known to be silent.
        """
        live = [p for p in self.paths if p.state is model.PathState.LIVE]
        waits = [p.silent_for_s for p in live]
        if not waits or any(not w for w in waits):
            return None
        return min(w for w in waits if w)

    @property
    def counts(self) -> bool:
        """In sync, and not away before MD has noticed it."""
        return self.in_sync and heard(self.paths)

    @property
    def dead_s(self) -> float | None:
        """How long every path has been known not to be live; else None."""
        if self.live or not self.paths:
            return None
        return min(p.state_for_s for p in self.paths)

    def proves_live(self, other_dead_s: float) -> bool:
        """Whether I/O over this leg can be counted on at this moment.

        A live path whose portal has just answered; or, where a portal
        cannot be probed, one that has outlived its keep-alive since the
        other leg went: a cut of both would show by now.
        """
        for path in self.paths:
            if path.state is not model.PathState.LIVE:
                continue
            if path.portal_answers:
                return True
            if (path.portal_answers is None
                    and path.portal.transport != 'tcp'
                    and other_dead_s > (path.keep_alive_s or 5) + 1.0):
                return True
        return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """Everything the decision about one volume stands on."""

    seen: model.Seen
    memory: model.Memory
    policy: limits.Policy
    around: Around

    @property
    def now_s(self) -> float:
        return self.seen.now_s

    @functools.cached_property
    def legs(self) -> tuple[Leg, ...]:
        """One entry for each replica that the provisioner names."""
        if self.seen.volume is None:
            return ()
        return tuple(self._leg(r) for r in self.seen.volume.replicas)

    def _leg(self, replica: model.Replica) -> Leg:
        paths = self.seen.paths.get(replica.id, ())
        return Leg(
            replica=replica,
            member=member_of(self.seen, replica.id),
            namespace=self.seen.namespaces.get(replica.id),
            paths=paths,
            memory=self.memory.replicas.get(replica.id,
                                            model.ReplicaMemory()),
            portal_answers=_any_answers(self.seen, replica))

    @property
    def members(self) -> tuple[Leg, ...]:
        return tuple(x for x in self.legs if x.member is not None)

    @property
    def outside(self) -> tuple[Leg, ...]:
        """Replicas that are not members, or that MD has failed."""
        return tuple(x for x in self.legs if x.member is None or x.faulty)

    @property
    def in_sync(self) -> tuple[Leg, ...]:
        return tuple(x for x in self.legs if x.in_sync)

    @property
    def whole(self) -> bool:
        """Every slot of the array is in sync (foreign members do not
        count)."""
        array = self.seen.array
        return (array is not None and array.degraded == 0
                and len(self.in_sync) >= array.raid_disks)

    def heirs(self, request: model.Request | None
              ) -> tuple[model.ReplicaId, ...]:
        """What came of a request; what came in that one's place; and so on.

        A replacement can be lost, and be replaced itself.
        """
        found: list[model.ReplicaId] = []
        while request is not None:
            heir = request.arrived
            if heir is None or heir in found:
                break
            found.append(heir)
            one = self.memory.replicas.get(heir)
            request = None if one is None else one.request
        return tuple(found)

    def family(self, key: model.ReplicaId) -> frozenset[model.ReplicaId]:
        """A replica, and all that ever came in its place, late or not."""
        found = [key]
        for name in found:
            one = self.memory.replicas.get(name, model.ReplicaMemory())
            for request in (one.request, *one.late):
                if (request is not None and request.arrived is not None
                        and request.arrived not in found):
                    found.append(request.arrived)
        return frozenset(found)

    @property
    def fresh(self) -> bool:
        """Whether the provisioner's words can be acted on."""
        return (self.seen.volume is not None
                and self.seen.provisioner_error is None
                and self.seen.volume_age_s is not None
                and self.seen.volume_age_s <= self.policy.volume_age_max_s)

    @property
    def grace_s(self) -> float:
        volume = self.seen.volume
        if volume is not None and volume.grace_s is not None:
            return volume.grace_s
        return self.policy.grace_s


def heard(paths: Iterable[model.Path]) -> bool:
    """Whether one path is live, and not known to be silent."""
    return any(p.state is model.PathState.LIVE and not p.silent_for_s
               and p.portal_answers is not False for p in paths)


def in_sync(seen: model.Seen, replica: model.ReplicaId) -> bool:
    """Whether it is a member of the array that MD reads from."""
    member = member_of(seen, replica)
    return member is not None and member.in_sync


def member_of(seen: model.Seen,
              replica: model.ReplicaId) -> model.Member | None:
    """The array's member that is this replica's namespace, by identity.

    A kernel name is not enough: a dead member keeps the name of a device
    that is gone, and a new device may get the name. The holder link ties
    the two.
    """
    namespace = seen.namespaces.get(replica)
    if seen.array is None or namespace is None:
        return None
    if seen.array.name not in namespace.holders:
        return None
    for member in seen.array.members:
        if member.device == namespace.device:
            return member
    return None


def _any_answers(seen: model.Seen, replica: model.Replica) -> bool | None:
    """Whether one portal answers; None while none does and not all told."""
    told = [seen.answers.get(p) for p in replica.portals
            if p.transport == 'tcp']
    if any(told):
        return True
    return None if not told or None in told else False
