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
"""The embedded provisioner: volumes and spare replicas in one file."""

from collections.abc import Mapping
import datetime
from typing import Any, ClassVar

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import opts
from os_brick_healer.provisioner import base, local_file, reading

#: How many requests a volume's entry remembers.
REQUESTS_MAX = 64


class LocalProvisioner(base.Provisioner):
    """Volumes and spares of ``[os_brick_healer] local_file``.

    For a host whose storage has no provisioner of its own, for tests, and
    for trying things out. A replacement is taken from the list of spares;
    a replica that is no longer needed goes to the list ``retired`` with
    its data untouched, for a person to wipe and make a spare again.

    A volume without ``hosts`` belongs to whichever host reads the file, so
    a file that several hosts share should name them.
    """

    guarantees: ClassVar[base.Guarantees] = base.Guarantees(
        batch=True, knows_hosts=True, idempotent_replacement=True)

    def __init__(self, conf: cfg.ConfigOpts,
                 host: base.HostIdentity) -> None:
        super().__init__(conf, host)
        self._path: str = conf[opts.GROUP].local_file

    def probe(self) -> str:
        local_file.load(self._path)
        # Not only when the first leg is lost: that is too late.
        local_file.check_changeable(self._path)
        return (f'local provisioner: {self._path}, read for host '
                f'{self.host.name}')

    def volumes(self) -> Mapping[base.VolumeId, base.Volume]:
        document = local_file.load(self._path)
        every = {base.VolumeId(key): entry
                 for key, entry in document.key('volumes').items()}
        read = [(name, self._volume(name, entry))
                for name, entry in every.items()]
        return _unshared({
            volume.id: volume for name, volume in read if volume is not None
            and (volume.id == name or volume.id not in every)})

    def _volume(self, name: base.VolumeId,
                entry: reading.Cursor) -> base.Volume | None:
        holders = frozenset((self.host.name,))
        try:
            told = local_file.hosts(entry)
            if told is not None:
                holders = told
            if self.host.name not in holders:
                return None
            local_file.check_name(name, entry)
            return local_file.volume(name, entry, holders)
        except exception.ProvisionerNonsense as error:
            return base.Volume(
                id=base.VolumeId(local_file.shown(name)), alias='',
                size_bytes=None, replica_count=0, replicas=(), hosts=holders,
                nonsense=error.sentence)

    def report(self, volume: base.VolumeId, replica: base.ReplicaId,
               state: base.ReplicaState) -> None:
        what = f'report replica {replica} as {state.value}'
        if state in (base.ReplicaState.UNKNOWN,
                     base.ReplicaState.TERMINATING):
            raise exception.ProvisionerRefused(
                f'cannot {what}: because that is not for a host to say')
        with local_file.changing(self._path) as document:
            entry = _entry(document, volume, what)
            _found(entry, volume, replica, what)['state'] = state.value

    def request_replacement(self, volume: base.VolumeId,
                            replica: base.ReplicaId,
                            request_id: str) -> None:
        what = f'replace replica {replica} of volume {volume}'
        with local_file.changing(self._path) as document:
            entry = _entry(document, volume, what)
            made = local_file.requests(entry)
            if request_id in made:
                return
            lost = _found(entry, volume, replica, what)
            spare = _take_spare(document, _size_needed(entry, what), what)
            if lost.get('state') != base.ReplicaState.TERMINATING.value:
                lost['state'] = base.ReplicaState.MISSING.value
            spare['state'] = base.ReplicaState.SYNCHRONIZING.value
            entry.mapping()['replicas'].append(spare)
            made[request_id] = spare['id']
            entry.mapping()['requests'] = dict(
                list(made.items())[-REQUESTS_MAX:])

    def publish(self, volume: base.VolumeId) -> None:
        what = f'publish volume {volume} to {self.host.name}'
        with local_file.changing(self._path) as document:
            entry = _entry(document, volume, what)
            listed = entry.mapping().get('hosts')
            if listed is not None and self.host.name not in listed:
                listed.append(self.host.name)

    def confirm_removal(self, volume: base.VolumeId,
                        replica: base.ReplicaId) -> None:
        what = f'retire replica {replica} of volume {volume}'
        with local_file.changing(self._path) as document:
            if volume not in document.key('volumes').mapping():
                return
            entry = _entry(document, volume, what)
            replicas: list[dict[str, Any]] = entry.mapping()['replicas']
            doomed = [one for one in replicas if one['id'] == replica]
            if not doomed:
                return
            _check_not_last(entry, replica, what)
            replicas.remove(doomed[0])
            root = document.mapping()
            if root.get('retired') is None:
                root['retired'] = []
            root['retired'].append({
                **doomed[0], 'volume': volume,
                'retired_at': datetime.datetime.now(
                    datetime.UTC).isoformat(timespec='seconds')})


def _unshared(known: dict[base.VolumeId, base.Volume]
              ) -> dict[base.VolumeId, base.Volume]:
    """A namespace that two volumes name would mix up two guests' data."""
    owners: dict[tuple[str | None, str | None], base.VolumeId] = {}
    mixed: dict[base.VolumeId, base.VolumeId] = {}
    for volume in known.values():
        for replica in volume.replicas:
            identity = (replica.nqn, replica.namespace_uuid)
            other = owners.setdefault(identity, volume.id)
            if other != volume.id:
                mixed[volume.id], mixed[other] = other, volume.id
    return {name: volume if name not in mixed else base.Volume(
                id=name, alias=volume.alias, size_bytes=None,
                replica_count=volume.replica_count, replicas=(),
                hosts=volume.hosts,
                nonsense=f'the file lists one namespace here and in volume '
                         f'{mixed[name]}')
            for name, volume in known.items()}


def _entry(document: reading.Cursor, volume: base.VolumeId,
           what: str) -> reading.Cursor:
    """A volume's entry, checked as a whole before any of it is changed."""
    for key, entry in document.key('volumes').items():
        if key == volume:
            local_file.hosts(entry)
            local_file.volume(volume, entry, frozenset())
            return entry
    raise exception.ProvisionerRefused(
        f'cannot {what}: because the file lists no volume {volume}')


def _found(entry: reading.Cursor, volume: base.VolumeId,
           replica: base.ReplicaId, what: str) -> dict[str, Any]:
    for one in entry.key('replicas').each():
        if one.mapping()['id'] == replica:
            return one.mapping()
    raise exception.ProvisionerRefused(
        f'cannot {what}: because volume {volume} has no replica {replica}')


def _size_needed(entry: reading.Cursor, what: str) -> int:
    told = [local_file.size(entry),
            *map(local_file.size, entry.key('replicas').each())]
    sizes = [one for one in told if one is not None]
    if not sizes:
        raise exception.ProvisionerRefused(
            f'cannot {what}: because the size it needs is not known',
            hint="give the volume's entry a size_bytes")
    return max(sizes)


def _take_spare(document: reading.Cursor, needed_bytes: int,
                what: str) -> dict[str, Any]:
    """The smallest spare that is large enough, taken off the list."""
    listed = document.maybe('spares')
    in_use = _identities(document)
    candidates: list[tuple[int, dict[str, Any]]] = []
    for one in () if listed is None else listed.each():
        spare = local_file.replica(one)
        size_bytes = local_file.size(one) or 0
        if (size_bytes >= needed_bytes
                and not in_use & {spare.id, spare.namespace_uuid}):
            candidates.append((size_bytes, one.mapping()))
    if candidates:
        found = min(candidates, key=lambda pair: pair[0])[1]
        document.mapping()['spares'].remove(found)
        return found
    raise exception.ProvisionerError(
        f'cannot {what}: because no spare replica of {needed_bytes} bytes '
        'is left', hint='add one to the list "spares"')


def _identities(document: reading.Cursor) -> frozenset[str | None]:
    """What the replicas of all volumes are known by."""
    found: set[str | None] = set()
    for _, entry in document.key('volumes').items():
        replicas = entry.maybe('replicas')
        for one in () if replicas is None else replicas.each():
            told = local_file.replica(one)
            found |= {told.id, told.namespace_uuid}
    return frozenset(found)


def _check_not_last(entry: reading.Cursor, doomed: base.ReplicaId,
                    what: str) -> None:
    told = [local_file.replica(one) for one in entry.key('replicas').each()]
    if not any(one.state not in base.BAD_STATES and one.id != doomed
               for one in told):
        raise exception.ProvisionerRefused(
            f'cannot {what}: because the volume has no other good replica')
