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
"""An attachment's state is one that the wing knows, or an error."""

import contextlib
import sqlite3

from os_brick_healer import exception
from os_brick_healer.engine import journal
from os_brick_healer.mapping import attachments as mapped
from os_brick_healer.mapping import model as mapping_model
from os_brick_healer.replica import attachments as replicated
from os_brick_healer.tests import base

VOLUME = '12345678-1234-4234-8234-123456789abc'


class StateTest(base.TestCase):

    def written(self, kind: str, state: str) -> journal.Journal:
        path = str(self.temp_dir() / 'journal.sqlite')
        book = journal.Journal(path, boot_id='boot')
        self.addCleanup(book.close)
        book.attach_begin(VOLUME, 'vol', {'kind': kind}, 1, '1')
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute('UPDATE attachment SET state=?', (state,))
        return book

    def test_a_word_that_is_no_state_names_the_volume_and_the_way_out(
            self) -> None:
        for kind in (mapping_model.KIND, replicated.KIND):
            book = self.written(kind, 'resting')
            read = (mapped.Attachments(book, lambda _pid: None,
                                       lambda _name: None)
                    if kind == mapping_model.KIND
                    else replicated.Attachments(book, lambda _pid: None))
            error = self.assertRaises(exception.JournalError, read.of,
                                      VOLUME)
            self.assertIn(f"{VOLUME} is 'resting'", str(error))
            self.assertIn('newer release', str(error))
            self.assertFalse(error.transient)

    def test_a_known_word_is_a_state(self) -> None:
        book = self.written(mapping_model.KIND, 'attached')
        read = mapped.Attachments(book, lambda _pid: None, lambda _name: None)
        found = read.of(VOLUME)
        assert found is not None
        self.assertIs(mapping_model.AttachState.ATTACHED, found.state)
