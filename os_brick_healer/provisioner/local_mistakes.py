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
"""What a person may have got wrong in the file of the local provisioner.

The agent reads of it what it needs, and keeps every key that it does not
know: somebody's notes. Here the whole file is looked at, other hosts'
volumes too, and what looks like a slip of the pen is told.
"""

from collections.abc import Collection, Iterator
import dataclasses
import difflib

from os_brick_healer import exception
from os_brick_healer.provisioner import base, local_file, reading

_TOP = frozenset(('format', 'volumes', 'spares', 'retired'))
_VOLUME = frozenset(('alias', 'size_bytes', 'replica_count', 'grace_s',
                     'hosts', 'replicas', 'requests'))
_REPLICA = frozenset(('id', 'nqn', 'namespace_uuid', 'portals', 'state',
                      'size_bytes'))
_PORTAL = frozenset(('address', 'port', 'transport'))
_ALIKE = 0.7
_BEGINNING_MIN = 3

MEND = 'mend it; the vendor\'s guide has the format'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One of them. :ivar serious: healing will not work for it."""

    sentence: str
    serious: bool
    hint: str = MEND


def find(document: reading.Cursor) -> list[Mistake]:
    """All that is wrong, or looks so. :param document: as it is loaded."""
    found = [*_misspelt(document, _TOP)]
    owners: dict[str, str] = {}
    for name, entry in document.key('volumes').items():
        found += _volume(name, entry)
        found += _twice(entry.maybe('replicas'), owners)
    spares = document.maybe('spares')
    for one in () if spares is None else spares.each():
        found += _spare(one)
    return [*found, *_twice(spares, owners)]


def counted(document: reading.Cursor) -> str:
    """How much is in it."""
    spares = document.mapping().get('spares') or ()
    return (f'volumes: {len(document.key("volumes").mapping())}, '
            f'spare replicas: {len(spares)}')


def _volume(name: str, entry: reading.Cursor) -> Iterator[Mistake]:
    try:
        local_file.hosts(entry)
        local_file.check_name(name, entry)
        local_file.volume(base.VolumeId(name), entry, frozenset())
    except exception.ProvisionerNonsense as e:
        yield Mistake(sentence=e.sentence, serious=True)
        return
    yield from _misspelt(entry, _VOLUME)
    for one in entry.key('replicas').each():
        yield from _replica(one)


def _spare(entry: reading.Cursor) -> Iterator[Mistake]:
    try:
        local_file.replica(entry)
    except exception.ProvisionerNonsense as e:
        # Nothing can be replaced: spares are looked at one by one.
        yield Mistake(sentence=e.sentence, serious=True)
        return
    yield from _replica(entry)
    if local_file.size(entry) is None:
        yield Mistake(
            sentence=f'{entry.path} is never taken: it has no size_bytes',
            serious=False, hint='write its size in bytes')


def _replica(entry: reading.Cursor) -> Iterator[Mistake]:
    yield from _misspelt(entry, _REPLICA)
    portals = entry.key('portals')
    if not portals.value:
        yield Mistake(
            sentence=f'{portals.path} is empty: the replica cannot be '
            'reached', serious=False, hint='write where it listens')
    for one in portals.each():
        yield from _misspelt(one, _PORTAL)


def _twice(replicas: reading.Cursor | None,
           owners: dict[str, str]) -> Iterator[Mistake]:
    """An id, or a namespace, that the file lists in two places."""
    if replicas is None or not isinstance(replicas.value, list):
        return
    for one in replicas.each():
        value = one.value if isinstance(one.value, dict) else {}
        for key in ('id', 'namespace_uuid'):
            word = value.get(key)
            if not isinstance(word, str):
                continue
            other = owners.setdefault(f'{key} {word.lower()}', one.path)
            if other != one.path:
                yield Mistake(
                    sentence=f'{one.path} and {other} have one {key}',
                    serious=key == 'namespace_uuid',
                    hint='each replica and each spare has its own')


def _misspelt(entry: reading.Cursor,
              known: Collection[str]) -> Iterator[Mistake]:
    """Keys that mean nothing, and nearly are what means something."""
    there = entry.mapping().keys()
    for key in sorted(there - set(known)):
        meant = _meant(key, [one for one in known if one not in there])
        if meant is not None:
            where = f'in {entry.path}' if entry.path else 'at the top'
            yield Mistake(
                sentence=f'the key {key[:80]!r} {where} means '
                f'nothing: is it {meant}?', serious=False,
                hint='mend it, or call the note otherwise')


def _meant(key: str, absent: list[str]) -> str | None:
    beginnings = [one for one in sorted(absent) if one.startswith(key)
                  and len(key) >= _BEGINNING_MIN]
    alike = difflib.get_close_matches(key.lower(), absent, 1, _ALIKE)
    return next(iter([*alike, *beginnings]), None)
