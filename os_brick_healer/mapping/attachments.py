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
"""What connectors wrote down about mapped volumes."""

from collections.abc import Callable, Collection
import contextlib

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.mapping import model, remember


class Attachments:
    """The journal's rows of this wing, read again when they have changed.

    :param process_start: the start time of a process, None if it is gone.
    :param abilities: of a mounter by its name.
    """

    def __init__(self, journal: journal_lib.Journal,
                 process_start: Callable[[int], str | None],
                 abilities: remember.AbilitiesOf) -> None:
        self._journal = journal
        self._process_start = process_start
        self._abilities = abilities
        self._rows: dict[str, journal_lib.AttachRow] = {}
        self._version = -1

    def keys(self) -> Collection[str]:
        """Every volume that is written down, as of the last refresh."""
        return self._rows.keys()

    def refresh(self) -> list[str]:
        """Read them again; which volumes changed. On the loop's thread.

        :raises JournalError: the journal cannot be read.
        """
        version = self._journal.data_version()
        if version == self._version:
            return []
        old = self._rows
        self._rows = {row.volume: row for row in self._journal.attachments()
                      if row.kind == model.KIND}
        self._version = version
        return [k for k in {*old, *self._rows}
                if old.get(k) != self._rows.get(k)]

    def of(self, key: str) -> model.Attachment | None:
        """Where a connector is with a volume now. From any thread."""
        row = self._rows.get(key)
        with contextlib.suppress(exception.JournalError):
            if self._journal.data_version() != self._version:
                row = self._journal.attachment(key)
        if row is None or row.kind != model.KIND:
            return None
        state = self._journal.state_of(row, model.AttachState)
        alive = (state is not model.AttachState.ATTACHED
                 and self._process_start(row.pid) == row.pid_start)
        try:
            mapping: model.Mapping | None = remember.load_mapping(
                key, row.connection, self._abilities)
        except ValueError:
            mapping = None
        return model.Attachment(volume=key, alias=row.alias, state=state,
                                owner_alive=alive, mapping=mapping)
