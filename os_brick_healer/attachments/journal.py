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
"""The journal of this host: what its connectors wrote down."""

from collections.abc import Mapping
import contextlib
import os
from typing import Any

from os_brick_healer import exception
from os_brick_healer.attachments import base
from os_brick_healer.conf import opts
from os_brick_healer.engine import journal

#: assembly.JOURNAL, and the mapping wing's kind of rows.
FILE = 'journal.sqlite'
KIND = 'mapping'
_NAMES = ('pool', 'namespace', 'image')


class JournalSource(base.AttachmentSource):
    """The default, and always the one that counts. Reads, never writes."""

    guarantees = base.Guarantees(authoritative=True, knows_hosts=False,
                                 knows_images=True)

    def probe(self) -> str:
        """See :class:`base.AttachmentSource`."""
        return f'{self._path()}: {len(self._rows())} attachments'

    def listing(self, about: frozenset[str]) -> base.Listing:
        """See :class:`base.AttachmentSource`."""
        del about
        return base.Listing(here={
            row.volume: _attached(row) for row in self._rows()
            if row.kind == KIND})

    def concerns(self, volume: str, mounter: str) -> bool:
        """See :class:`base.AttachmentSource`."""
        del volume, mounter
        return True

    def _path(self) -> str:
        return os.path.join(self.conf[opts.GROUP].state_path, FILE)

    def _rows(self) -> tuple[journal.AttachRow, ...]:
        try:
            with contextlib.closing(journal.Journal(
                    self._path(), boot_id='', read_only=True)) as book:
                return book.attachments()
        except exception.JournalError as e:
            raise exception.SourceError(
                e.sentence, hint=e.hint, transient=e.transient) from e


def _attached(row: journal.AttachRow) -> base.Attached:
    done = row.state == base.State.ATTACHED.value
    return base.Attached(
        volume=row.volume, alias=row.alias, served=True,
        state=base.State.ATTACHED if done else base.State.CHANGING,
        names=_names(row.connection.get('source')))


def _names(source: Any) -> dict[str, str]:
    if not isinstance(source, Mapping):
        return {}
    return {name: str(source[name]) for name in _NAMES if name in source}
