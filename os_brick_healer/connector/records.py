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
"""What the connector writes down, and what it finds written.

The journal is how the agent knows what nova is doing. It is never worth an
attach: whatever goes wrong with it is told and counted, and nova goes on.
"""

from collections.abc import Callable, Mapping
import os
import time
from typing import Any

from os_brick_healer.connector import guard, trouble
from os_brick_healer.connector import host as host_lib
from os_brick_healer.connector import legs as legs_lib
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.replica import plain

#: Our kind of memory, by volume: {array_uuid, events, in_sync: [leg keys],
#: legs: as in a connection dictionary, wall_s}.
KIND = 'connection'
#: Volumes that are remembered; the oldest are forgotten first.
MEMORIES_MAX = 2000
#: The kind under which the agent's replica wing remembers volumes.
WING = 'replica'


class Records:
    """Writes and reads the journal. Never raises.

    :param journal: opens it; called each time, may raise.
    """

    def __init__(self, journal: Callable[[], journal_lib.Journal]) -> None:
        self._journal = journal

    def attach_begin(self, key: str, alias: str,
                     connection: Mapping[str, Any]) -> bool:
        """Whether it is written."""
        pid = os.getpid()
        start = journal_lib.process_start(pid) or ''
        return self._write(lambda j: j.attach_begin(
            key, alias, connection, pid, start))

    def attach_done(self, key: str) -> None:
        self._write(lambda j: j.attach_done(key))

    def attach_note(self, key: str, connection: Mapping[str, Any]) -> bool:
        """Whether it is written."""
        return self._write(lambda j: j.attach_note(key, connection))

    def attach_undo(self, key: str) -> None:
        self._write(lambda j: j.attach_undo(key))

    def extend_begin(self, key: str) -> None:
        self._write(lambda j: j.extend_begin(key))

    def extend_done(self, key: str) -> None:
        self._write(lambda j: j.extend_done(key))

    def detach_begin(self, key: str) -> None:
        self._write(lambda j: j.detach_begin(key))

    def detach_done(self, key: str) -> None:
        self._write(lambda j: j.detach_done(key))

    def remember(self, key: str, known: guard.Known,
                 legs: tuple[legs_lib.Leg, ...]) -> None:
        """What the array was like when it was connected or disconnected.

        :param legs: those that were in it.
        """
        value = {
            'array_uuid': known.array_uuid, 'events': known.events,
            'in_sync': (None if known.in_sync is None
                        else sorted(known.in_sync)),
            'legs': [legs_lib.to_replica(leg) for leg in legs],
            'wall_s': time.time()}
        self._write(lambda j: _save(j, key, value))

    def legs(self, key: str) -> tuple[legs_lib.Leg, ...]:
        """The legs that were in the array when this host had it last."""
        try:
            kept = self._journal().load_memory(KIND).get(key)
            return () if kept is None else legs_lib.of_record(
                {'volume_replicas': kept.value.get('legs')})
        except Exception as e:  # noqa: BLE001 - never worth an attach
            self._tell(e)
            return ()

    def former(self, key: str) -> tuple[legs_lib.Leg, ...]:
        """Every replica that the agent has had to do with, named or not.

        Without portals: they are to be disconnected, never connected.
        """
        try:
            kept = self._journal().load_memory(WING).get(key)
            replicas = {} if kept is None else kept.value.get('replicas')
            return tuple(
                legs_lib.Leg(nqn=str(one['nqn']), portals=(),
                             uuid=legs_lib.lower_uuid(
                                 one.get('namespace_uuid')))
                for one in (replicas or {}).values() if one.get('nqn'))
        except Exception as e:  # noqa: BLE001 - never worth a detach
            self._tell(e)
            return ()

    def row(self, key: str) -> journal_lib.AttachRow | None:
        """The attachment of a volume, however its id is written."""
        try:
            rows = self._journal().attachments(whole=False)
        except Exception as e:  # noqa: BLE001 - never worth an attach
            self._tell(e)
            return None
        return next((r for r in rows
                     if legs_lib.lower_uuid(r.volume) == key
                     or r.volume == key), None)

    def known(self, key: str) -> guard.Known:
        """What this host remembers of the volume's array."""
        try:
            journal = self._journal()
            ours = journal.load_memory(KIND).get(key)
            wing = journal.load_memory(WING).get(key)
            return merge(ours.value if ours else {},
                         wing.value if wing else {})
        except Exception as e:  # noqa: BLE001 - never worth an attach
            self._tell(e)
            return guard.Known()

    def _write(self, what: Callable[[journal_lib.Journal], None]) -> bool:
        try:
            what(self._journal())
        except Exception as e:  # noqa: BLE001 - never worth an attach
            self._tell(e)
            return False
        return True

    def _tell(self, e: Exception) -> None:
        trouble.tell('journal', f'{e}; the agent does not learn what nova '
                                'does with this volume')


def _save(journal: journal_lib.Journal, key: str,
          value: Mapping[str, Any]) -> None:
    journal.save_memory(KIND, key, value)
    every = journal.load_memory(KIND)
    oldest = sorted(every, key=lambda k: every[k].value.get('wall_s', 0.0))
    for old in oldest[:max(0, len(every) - MEMORIES_MAX)]:
        journal.forget(KIND, old)


def _texts(value: object) -> tuple[str, ...]:
    return plain.each(value, plain.text)


def merge(ours: Mapping[str, Any], wing: Mapping[str, Any]) -> guard.Known:
    """Our memory and the agent's. The agent's ends where ours says that
    the volume was disconnected: others may have had it since.

    :raises ValueError: one of them is damaged.
    """
    in_sync = plain.maybe(ours.get('in_sync'), _texts)
    uuid = plain.maybe(ours.get('array_uuid') or wing.get('array_uuid'),
                       plain.text)
    replicas = wing.get('replicas') or {}
    lost = frozenset(
        legs_lib.id_of(name)
        for name, memory in replicas.items()
        if isinstance(memory, dict) and memory.get('lost_s') is not None)
    return guard.Known(
        array_uuid=host_lib.bare_uuid(uuid),
        events=plain.maybe(ours.get('events'), plain.count),
        in_sync=None if in_sync is None else frozenset(in_sync),
        lost=lost if in_sync is None else frozenset())
