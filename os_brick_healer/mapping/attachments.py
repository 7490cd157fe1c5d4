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

from collections.abc import Callable

from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import rows
from os_brick_healer.mapping import model, remember


class Attachments(rows.Rows):
    """The journal's rows of this wing, read again when they have changed.

    :param process_start: the start time of a process, None if it is gone.
    :param abilities: of a mounter by its name.
    """

    def __init__(self, journal: journal_lib.Journal,
                 process_start: Callable[[int], str | None],
                 abilities: remember.AbilitiesOf) -> None:
        super().__init__(journal, process_start, model.KIND)
        self._abilities = abilities

    def of(self, key: str) -> model.Attachment | None:
        """Where a connector is with a volume now. From any thread."""
        now = self.now(key, model.AttachState)
        if now is None:
            return None
        try:
            mapping: model.Mapping | None = remember.load_mapping(
                key, now.row.connection, self._abilities)
        except ValueError:
            mapping = None
        return model.Attachment(volume=key, alias=now.row.alias,
                                state=now.state, mapping=mapping,
                                owner_alive=now.owner_alive)
