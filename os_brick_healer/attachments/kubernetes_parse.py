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
"""VolumeAttachments and PersistentVolumes as attachments. Pure.

They are chosen as ceph-csi chooses them when its node plugin starts: by the
node's name, by the attacher (the driver's name), by a bound volume that is
not being deleted and names the mounter rbd-nbd, and by ``attached``.
"""

from collections.abc import Collection, Iterable, Mapping

from os_brick_healer.attachments import base, parse

MOUNTER = 'rbd-nbd'
BOUND = 'Bound'


def of_driver(attachments: Iterable[parse.Document],
              drivers: Collection[str]) -> list[parse.Document]:
    """Those that one of our drivers attaches, and that name a volume."""
    return [one for one in attachments
            if parse.text(_spec(one), 'attacher') in drivers
            and volume_name(one)]


def node(attachment: parse.Document) -> str:
    """The node it is for."""
    return parse.text(_spec(attachment), 'nodeName')


def volume_name(attachment: parse.Document) -> str:
    """The name of its PersistentVolume; empty: it names none."""
    return parse.optional(parse.inner(attachment, 'spec', 'source'),
                          'persistentVolumeName')


def is_settled(attachment: parse.Document) -> bool:
    """It is attached, and nobody is about to detach it.

    :raises SourceNonsense: ``attached`` is neither true nor false.
    """
    attached = parse.inner(attachment, 'status').get('attached', False)
    if not isinstance(attached, bool):
        raise parse.nonsense('status.attached is neither true nor false')
    return attached and not parse.inner(attachment, 'metadata').get(
        'deletionTimestamp')


def handle(volume: parse.Document) -> str | None:
    """The volume's id as the driver knows it; None: it is no such volume."""
    csi = parse.inner(volume, 'spec', 'csi')
    if not csi or parse.optional(
            parse.inner(csi, 'volumeAttributes'), 'mounter') != MOUNTER:
        return None
    return base.volume_id(csi.get('volumeHandle'))


def attached(attachment: parse.Document,
             volume: parse.Document) -> base.Attached | None:
    """An attachment of this node; None: a process does not serve it."""
    key = handle(volume)
    phase = parse.optional(parse.inner(volume, 'status'), 'phase')
    metadata = parse.inner(volume, 'metadata')
    if key is None or phase != BOUND or metadata.get('deletionTimestamp'):
        return None
    return base.Attached(
        volume=key, alias=parse.text(metadata, 'name'), served=True,
        state=(base.State.ATTACHED if is_settled(attachment)
               else base.State.CHANGING), names=_names(volume))


def _names(volume: parse.Document) -> dict[str, str]:
    told = parse.inner(volume, 'spec', 'csi', 'volumeAttributes')
    found = {'pool': parse.optional(told, 'pool'),
             'namespace': parse.optional(told, 'radosNamespace'),
             'image': parse.optional(told, 'imageName')}
    return {name: value for name, value in found.items() if value}


def elsewhere(attachments: Iterable[parse.Document],
              handles: Mapping[str, str], about: Collection[str],
              ) -> dict[str, tuple[str, ...]]:
    """The nodes that have volumes attached, where nobody is at work.

    :param handles: ids of volumes by the names of PersistentVolumes.
    """
    nodes: dict[str, set[str]] = {}
    changing = set()
    for one in attachments:
        key = handles.get(volume_name(one))
        if key is None or key not in about:
            continue
        nodes.setdefault(key, set()).add(node(one))
        if not is_settled(one):
            changing.add(key)
    return {key: tuple(sorted(found)) for key, found in nodes.items()
            if key not in changing}


def _spec(attachment: parse.Document) -> parse.Document:
    return parse.inner(attachment, 'spec')
