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
"""The journal's attachments of one wing, read again when they change."""

from collections.abc import Callable, Collection
import contextlib
import dataclasses
import enum
from typing import Generic, TypeVar

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib

_State = TypeVar('_State', bound=enum.Enum)
#: In every wing's states: no connector is at work.
ATTACHED = 'attached'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Now(Generic[_State]):
    """A row as it is at this moment.

    :ivar owner_alive: the connector that is at work on it lives.
    """

    row: journal_lib.AttachRow
    state: _State
    owner_alive: bool


class Rows:
    """What connectors wrote down about the volumes of one wing.

    :param process_start: the start time of a process, None if it is gone.
    :param kind: of the rows that are this wing's.
    :param key_of: a volume's key, from its id as it is written down.
    """

    def __init__(self, journal: journal_lib.Journal,
                 process_start: Callable[[int], str | None], kind: str,
                 key_of: Callable[[str], str] = str) -> None:
        self._journal = journal
        self._process_start = process_start
        self._kind = kind
        self._key_of = key_of
        self._rows: dict[str, journal_lib.AttachRow] = {}
        self._version = -1

    def keys(self) -> Collection[str]:
        """Every volume that is written down, as of the last refresh."""
        return self._rows.keys()

    def every(self) -> dict[str, journal_lib.AttachRow]:
        """All that is written down, as of the last refresh."""
        return dict(self._rows)

    def row(self, key: str) -> journal_lib.AttachRow | None:
        """What is written down of a volume, as of the last refresh."""
        return self._rows.get(key)

    def refresh(self, version: int) -> list[str]:
        """Read them again; which volumes changed. On the loop's thread.

        :param version: of the journal. What is written after it was asked
            for is read with the next one, or twice.
        :raises JournalError: the journal cannot be read.
        """
        if version == self._version:
            return []
        old = self._rows
        self._rows = {self._key_of(row.volume): row
                      for row in self._journal.attachments(whole=False)
                      if row.kind == self._kind}
        self._version = version
        return [k for k in {*old, *self._rows}
                if old.get(k) != self._rows.get(k)]

    def outdated(self) -> None:
        """This very process has written: read them at the next refresh.

        The journal's version tells of what other processes write only.
        """
        self._version = -1

    def now(self, key: str, states: type[_State]) -> Now[_State] | None:
        """A row at this moment, None: there is none. From any thread.

        What was read last may be up to a second old, and a connector
        may just have begun: a journal written since is asked.

        :raises JournalError: it is in no state that the wing knows.
        """
        row = self._rows.get(key)
        with contextlib.suppress(exception.JournalError):
            if self._journal.data_version() != self._version:
                row = self._journal.attachment(
                    key if row is None else row.volume, whole=False)
        if row is None or row.kind != self._kind:
            return None
        state = self._journal.state_of(row, states)
        return Now(row=row, state=state, owner_alive=(
            state.value != ATTACHED
            and self._process_start(row.pid) == row.pid_start))
