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
"""Volumes and attachments of Cinder as ours. Pure."""

from collections.abc import Collection, Iterable, Mapping
import dataclasses

from os_brick_healer import exception
from os_brick_healer.attachments import base, parse

ATTACHED = 'attached'
RBD = 'rbd'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a volume is attached.

    :ivar host: as its connector called it; empty: it did not say.
    """

    attachment: str
    volume: str
    alias: str
    host: str


def places(volumes: Iterable[parse.Document]) -> list[Place]:
    """Every attachment in ``volumes/detail``."""
    return [_place(volume, one) for volume in volumes
            for one in parse.items(volume.get('attachments') or [],
                                   'attachments')]


def _place(volume: parse.Document, one: parse.Document) -> Place:
    key = base.volume_id(volume.get('id'))
    return Place(attachment=parse.text(one, 'attachment_id'), volume=key,
                 alias=parse.shown(volume, 'name') or key,
                 host=parse.optional(one, 'host_name'))


def must_know_hosts(found: Collection[Place]) -> None:
    """Cinder shows the host to an administrator, and says null to others.

    :raises SourceNonsense: not one attachment has a host.
    """
    if found and not any(place.host for place in found):
        raise exception.SourceNonsense(
            'cannot use this answer: because no attachment in it has a '
            'host_name',
            hint='the user needs the role admin: nobody else is told it')


def names(attachment: parse.Document) -> dict[str, str] | None:
    """The image of an attachment; None: it is no RBD image.

    Nothing else is taken out of ``connection_info``: it may hold secrets.
    """
    info = parse.inner(attachment, 'connection_info')
    if parse.optional(info, 'driver_volume_type') != RBD:
        return None
    return parse.image(parse.text(info, 'name'))


def is_settled(attachments: Iterable[parse.Document]) -> bool:
    """Whether nobody is at work on any attachment of a volume."""
    return all(parse.text(one, 'status') == ATTACHED for one in attachments)


def elsewhere(found: Iterable[Place], host: str,
              about: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The hosts of volumes that are attached, and not to this one."""
    hosts: dict[str, set[str]] = {}
    for place in found:
        if place.volume in about:
            hosts.setdefault(place.volume, set()).add(place.host)
    return {volume: tuple(sorted(there)) for volume, there in hosts.items()
            if host not in there and all(there)}


def attached(place: Place, image: Mapping[str, str]) -> base.Attached:
    """An attachment of this host; QEMU may have opened it itself."""
    return base.Attached(volume=place.volume, alias=place.alias,
                         state=base.State.ATTACHED, names=image)
