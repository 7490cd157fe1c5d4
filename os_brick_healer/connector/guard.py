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
"""What may be assembled from the legs that are present. Pure.

os-brick runs ``mdadm --assemble --run``, which starts an array from whatever
it is given. Given only a leg that missed writes, it serves old data, and what
was acknowledged since is lost for good. MD itself cannot tell: a leg that was
lost does not know that it was. So what this host remembers, and what the
provisioner says, decide.
"""

from collections.abc import Iterable, Mapping
import dataclasses
from typing import assert_never

from os_brick_healer.connector import legs as legs_lib

#: mdadm takes a leg one event behind as current (Assemble.c event_margin).
EVENT_MARGIN = 1

OVERRIDE = ('bring an up-to-date leg back and connect again; or, if what was '
            'written since is to be given up, set [os_brick_healer]'
            'connect_stale_legs')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Super:
    """An MD superblock. :ivar events: grows with each change of state."""

    array_uuid: str
    events: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Blank:
    """No MD superblock and no other known signature."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Something that is not an MD leg."""

    what: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """It could not be examined."""

    why: str


Content = Super | Blank | Foreign | Unreadable


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A leg that is connected. :ivar device: its path, ``/dev/nvme0n1``."""

    device: str
    leg: legs_lib.Leg
    content: Content


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What this host remembers of a volume's array.

    :ivar events: of the last superblock that was seen, a lower bound.
    :ivar in_sync: keys of the legs in sync when it was last disconnected;
        None when it was not disconnected since.
    :ivar lost: keys or ids of legs that the agent saw leave and not come back;
        meaningful only when it was not disconnected since.
    """

    array_uuid: str | None = None
    events: int | None = None
    in_sync: frozenset[str] | None = None
    lost: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Assemble:
    """Start the array from these; notes say what was left out and why."""

    legs: tuple[Present, ...]
    array_uuid: str
    notes: tuple[str, ...] = ()

    @property
    def events(self) -> int | None:
        """Of the newest superblock among them."""
        return _newest(self.legs)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make a new array: all legs are there and all of them are blank."""

    legs: tuple[Present, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Neither: ``cannot X: because Y``, and the way out."""

    sentence: str
    hint: str


Plan = Assemble | Create | Refuse


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the volume should be.

    :ivar replica_count: how many legs it should have.
    :ivar absent: keys of legs that may be used and are not connected.
    :ivar stale_allowed: the operator gives up what only a lost leg has.
    """

    alias: str
    replica_count: int
    absent: frozenset[str]
    stale_allowed: bool


def plan(wanted: Wanted, present: tuple[Present, ...], known: Known) -> Plan:
    """Decide what to do with the legs that are connected."""
    if any(isinstance(p.content, Super) for p in present):
        return _assemble(wanted, present, known)
    return _create(wanted, present, known)


def _create(wanted: Wanted, present: tuple[Present, ...],
            known: Known) -> Plan:
    start = f'cannot create array {wanted.alias}: because'
    odd = [p for p in present if not isinstance(p.content, Blank)]
    if odd:
        return Refuse(sentence=f'{start} {_told(odd[0])}',
                      hint='creating it would destroy what is there')
    if known.array_uuid is not None:
        return Refuse(
            sentence=f'{start} this volume already had an array '
                     f'({known.array_uuid}) and none of the legs that are '
                     f'present ({_names(present)}) carries it',
            hint='bring a leg that was in sync back and connect again')
    if len(present) < wanted.replica_count:
        return Refuse(
            sentence=f'{start} only {len(present)} of '
                     f'{wanted.replica_count} legs are present',
            hint='connect again when all of them can be reached')
    return Create(legs=present)


def _assemble(wanted: Wanted, present: tuple[Present, ...],
              known: Known) -> Plan:
    start = f'cannot assemble array {wanted.alias}: because'
    array_uuid = _whose(present, known, wanted.stale_allowed)
    if array_uuid is None:
        return Refuse(
            sentence=f'{start} it is not clear which array is the volume: '
                     + _names(present)
                     + (f'; this host knows it as {known.array_uuid}'
                        if known.array_uuid is not None else ''),
            hint='let the provisioner name only the right legs; or set '
                 '[os_brick_healer]connect_stale_legs to take what most '
                 'legs carry')
    ours = tuple(p for p in present if _uuid_of(p) == array_uuid)
    stale = {p.device: why for p in ours
             if (why := _stale(p, known)) is not None}
    if (len(stale) == len(ours) and not wanted.stale_allowed
            and not _all_there(wanted, ours)):
        return Refuse(
            sentence=f'{start} only legs that missed writes are present: '
                     + _listed(stale), hint=OVERRIDE)
    chosen = tuple(p for p in ours if p.device not in stale) or ours
    return Assemble(legs=chosen, array_uuid=array_uuid, notes=(
        *(f'{p.device} is left out: {_why_out(p, array_uuid)}'
          for p in present if p not in ours),
        *(f'{p.device} {stale[p.device]}'
          + ('' if p in chosen else ': it is left out')
          for p in ours if p.device in stale)))


def _all_there(wanted: Wanted, ours: tuple[Present, ...]) -> bool:
    """Nothing newer can exist anywhere: a snapshot was restored, maybe."""
    return not wanted.absent and len(ours) >= wanted.replica_count


def _listed(stale: Mapping[str, str]) -> str:
    return '; '.join(f'{device} {why}' for device, why in stale.items())


def _whose(present: tuple[Present, ...], known: Known,
           any_array: bool) -> str | None:
    """The array that the volume is: the remembered one, or the majority's.

    None: none of them, or it cannot be told.
    """
    votes: dict[str, int] = {}
    for one in present:
        uuid = _uuid_of(one)
        if uuid is not None:
            votes[uuid] = votes.get(uuid, 0) + 1
    if known.array_uuid in votes:
        return known.array_uuid
    if known.array_uuid is not None and not any_array:
        return None
    most = max(votes.values())
    winners = [u for u, n in votes.items() if n == most]
    return winners[0] if len(winners) == 1 else None


def _stale(one: Present, known: Known) -> str | None:
    """Why a leg is known to have missed writes, None when it is not."""
    assert isinstance(one.content, Super)   # its UUID is the array's
    events = one.content.events
    behind = (known.events is not None and events is not None
              and events < known.events - EVENT_MARGIN)
    if behind:
        return (f'is at event {events} and the array was at {known.events} '
                'when this host had it last')
    if known.in_sync is None:
        if {one.leg.key, one.leg.id} & known.lost:
            return 'was lost, and the agent did not see it come back in sync'
        return None
    ahead = (known.events is not None and events is not None
             and events > known.events)
    if ahead or one.leg.key in known.in_sync:
        return None     # ahead: the volume has been elsewhere since
    return 'was not in sync when this host disconnected the volume'


def _uuid_of(one: Present) -> str | None:
    content = one.content
    return content.array_uuid if isinstance(content, Super) else None


def _why_out(one: Present, array_uuid: str) -> str:
    if isinstance(one.content, Super):
        return (f'its superblock is of array {one.content.array_uuid}, not '
                f'of {array_uuid}')
    return _told(one)


def _told(one: Present) -> str:
    match one.content:
        case Super(array_uuid=uuid):
            return f'{one.device} is a leg of array {uuid}'
        case Blank():
            return f'{one.device} carries no superblock'
        case Foreign(what=what):
            return f'{one.device} carries something else: {what}'
        case Unreadable(why=why):
            return f'{one.device} could not be examined: {why}'
        case _:
            assert_never(one.content)


def _newest(legs: Iterable[Present]) -> int | None:
    return max((p.content.events for p in legs
                if isinstance(p.content, Super)
                and p.content.events is not None), default=None)


def _names(present: tuple[Present, ...]) -> str:
    return ', '.join(_told(p) for p in present)
