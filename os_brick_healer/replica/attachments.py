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

from collections.abc import Callable
import uuid

from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import rows
from os_brick_healer.replica import model

#: The journal's rows that are of this wing.
KIND = 'replica'


class Attachments(rows.Rows):
    """The journal's attachments, read again when somebody has written.

    :param process_start: the start time of a process, None if it is gone.
    """

    def __init__(self, journal: journal_lib.Journal,
                 process_start: Callable[[int], str | None]) -> None:
        super().__init__(journal, process_start, KIND, _key)

    def of(self, key: str) -> model.Attachment | None:
        """Where nova is with a volume at this moment. From any thread."""
        now = self.now(key, model.AttachState)
        if now is None:
            return None
        return model.Attachment(volume=model.VolumeId(key),
                                alias=now.row.alias, state=now.state,
                                owner_alive=now.owner_alive)


def _key(volume: str) -> str:
    """A volume id in the form that provisioners are held to."""
    try:
        return str(uuid.UUID(volume))
    except ValueError:
        return volume
