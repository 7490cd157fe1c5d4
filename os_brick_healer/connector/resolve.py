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
"""Which legs a volume has now. Pure.

The connection dictionary that nova keeps is as old as the attachment: it
names replicas that have been replaced since. So the provisioner's words win,
if there are any; if not, what nova passed is used together with what the
connector of this host wrote down last, and it is said.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from os_brick_healer.connector import legs as legs_lib
from os_brick_healer.provisioner import base

Leg = legs_lib.Leg


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A volume as it is to be connected or disconnected.

    :ivar key: the volume's name in the journal and for the agent.
    :ivar legs: may be connected and assembled.
    :ivar bad: named, but never to be read from.
    :ivar replica_count: how many legs a whole array has.
    :ivar size_bytes: what the provisioner says, or None.
    :ivar fresh: the provisioner was heard.
    """

    key: str
    alias: str
    legs: tuple[Leg, ...]
    bad: tuple[Leg, ...]
    replica_count: int
    size_bytes: int | None
    fresh: bool
    sentence: str


def volume_key(props: Mapping[str, Any]) -> str:
    """The volume's id in the one form that is written down."""
    return legs_lib.lower_uuid(props.get('vol_uuid')) or str(
        props.get('alias'))


def find(props: Mapping[str, Any],
         volumes: Mapping[base.VolumeId, base.Volume]) -> base.Volume | None:
    """The provisioner's entry for the volume, however it writes UUIDs."""
    key = volume_key(props)
    exact = volumes.get(base.VolumeId(key))
    if exact is not None:
        return exact
    same = [v for k, v in volumes.items() if legs_lib.lower_uuid(k) == key]
    return same[0] if len(same) == 1 else None


def resolve(props: Mapping[str, Any], volume: base.Volume | None,
            error: str | None, remembered: tuple[Leg, ...]) -> Resolved:
    """Settle on the legs.

    :param volume: what the provisioner says, None when it does not name it.
    :param error: why the provisioner could not be asked, else None.
    :param remembered: legs that this host wrote down for the volume.
    """
    passed = legs_lib.of_connection(props)
    if volume is None:
        why = error or 'the provisioner does not name it for this host'
        return _unheard(props, legs_lib.union(remembered, passed), why)
    if volume.nonsense is not None:
        return _unheard(props, legs_lib.union(remembered, passed),
                        f'the provisioner is not clear: {volume.nonsense}')
    return _heard(props, volume, passed)


def _count(props: Mapping[str, Any], passed: int) -> int:
    return int(props.get('replica_count') or passed)


def _unheard(props: Mapping[str, Any], legs: tuple[Leg, ...],
             why: str) -> Resolved:
    passed = len(props.get('volume_replicas') or ())
    key = volume_key(props)
    return Resolved(
        key=key, alias=str(props.get('alias')), legs=legs, bad=(),
        replica_count=_count(props, passed), size_bytes=None, fresh=False,
        sentence=f'volume {key} is taken as nova and the journal know it, '
                 f'which may be out of date: because {why}')


def _heard(props: Mapping[str, Any], volume: base.Volume,
           passed: tuple[Leg, ...]) -> Resolved:
    said = tuple(_completed(leg, passed) for leg in map(
        legs_lib.of_replica, volume.replicas) if leg is not None)
    good = tuple(x for x in said if x.state not in base.BAD_STATES)
    bad = tuple(x for x in said if x.state in base.BAD_STATES)
    return Resolved(
        key=str(volume.id), alias=str(props.get('alias')), legs=good,
        bad=bad, size_bytes=volume.size_bytes, fresh=True,
        # Not the provisioner's: while a replacement is under way it may
        # count that as one more replica, and the array has no slot for it.
        replica_count=_count(props, len(passed)),
        sentence=_sentence(volume, good, bad, passed))


def _completed(leg: Leg, passed: tuple[Leg, ...]) -> Leg:
    """What only nova knows of a leg (the host's NQN, ...) added to it."""
    for other in passed:
        if other.nqn == leg.nqn and leg.uuid in (None, other.uuid):
            return dataclasses.replace(
                leg, uuid=other.uuid, nguid=other.nguid, ns_id=other.ns_id,
                host_nqn=other.host_nqn)
    host_nqns = {x.host_nqn for x in passed}
    if len(host_nqns) == 1:
        return dataclasses.replace(leg, host_nqn=host_nqns.pop())
    return leg


def _sentence(volume: base.Volume, good: tuple[Leg, ...],
              bad: tuple[Leg, ...], passed: tuple[Leg, ...]) -> str:
    text = (f'volume {volume.id} has {len(good)} of '
            f'{volume.replica_count} legs that may be used')
    for leg in bad:
        assert leg.state is not None
        text += f'; {leg.key} is left out: it is {leg.state.value}'
    keys = {leg.key for leg in passed}
    if keys - {leg.key for leg in (*good, *bad)}:
        text += '; what nova passed names legs that are gone'
    return text
