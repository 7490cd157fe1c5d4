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
"""Where nova is with each volume, as the connectors wrote it down."""

from collections.abc import Callable, Collection
import contextlib
import uuid

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.replica import model

#: The journal's rows that are of this wing.
KIND = 'replica'


class Attachments:
    """The journal's attachments, read again when somebody has written.

    :param process_start: the start time of a process, None if it is gone.
    """

    def __init__(self, journal: journal_lib.Journal,
                 process_start: Callable[[int], str | None]) -> None:
        self._journal = journal
        self._process_start = process_start
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
        self._rows = {_key(row.volume): row
                      for row in self._journal.attachments()
                      if row.kind == KIND}
        self._version = version
        return [k for k in {*old, *self._rows}
                if old.get(k) != self._rows.get(k)]

    def of(self, key: str) -> model.Attachment | None:
        """Where nova is with a volume at this moment. From any thread.

        What was read last may be a quarter of a second old, and nova may
        just have begun to disconnect: a journal written since is asked.
        """
        row = self._rows.get(key)
        with contextlib.suppress(exception.JournalError):
            if self._journal.data_version() != self._version:
                row = self._journal.attachment(
                    key if row is None else row.volume)
        if row is None or row.kind != KIND:
            return None
        state = self._journal.state_of(row, model.AttachState)
        alive = (state is not model.AttachState.ATTACHED
                 and self._process_start(row.pid) == row.pid_start)
        return model.Attachment(volume=model.VolumeId(key), alias=row.alias,
                                state=state, owner_alive=alive)


def _key(volume: str) -> str:
    """A volume id in the form that provisioners are held to."""
    try:
        return str(uuid.UUID(volume))
    except ValueError:
        return volume
