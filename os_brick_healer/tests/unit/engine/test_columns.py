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

"""Laws of what the journal's columns are taken for."""

import math

import hypothesis
from hypothesis import strategies as st

from os_brick_healer.engine import columns
from os_brick_healer.tests import base

#: Whatever SQLite gives back.
VALUES = st.none() | st.integers() | st.floats() | st.text() | st.binary()


class ColumnsTest(base.TestCase):

    @hypothesis.given(VALUES)
    def test_whatever_stands_there_is_taken_for_something(
            self, value: object) -> None:
        self.assertIsInstance(columns.text(value), str)
        self.assertTrue(math.isfinite(columns.number(value)))
        self.assertIsInstance(columns.mapping(value), dict)

    def test_what_is_right_is_taken_as_it_is(self) -> None:
        self.assertEqual('well', columns.text('well'))
        self.assertEqual(1.5, columns.number(1.5))
        self.assertEqual(2.0, columns.number(2))
        self.assertEqual({'a': 1}, columns.mapping('{"a": 1}'))

    def test_what_is_none_of_it_is_nothing(self) -> None:
        self.assertEqual('', columns.text(None))
        self.assertEqual('7', columns.text(7))
        for value in (None, 'then', b'1', math.inf, -math.inf, math.nan):
            self.assertEqual(0.0, columns.number(value))
        for text in (None, 7, '', '{', '[1]', 'null', '[' * 100000, b'{}'):
            self.assertEqual({}, columns.mapping(text))

    @hypothesis.given(st.text(st.characters(codec=None), max_size=20))
    def test_what_is_readable_can_be_written(self, text: str) -> None:
        columns.readable(text).encode()

    def test_only_half_a_pair_is_written_otherwise(self) -> None:
        self.assertEqual('\u00fc\U0001f600', columns.readable(
            '\u00fc\U0001f600'))
        self.assertEqual('a\\ud800b', columns.readable('a\ud800b'))

    def test_one_line_moves_no_cursor_and_ends_once(self) -> None:
        self.assertEqual('\u00fc b', columns.one_line('\u00fc b'))
        self.assertEqual('a\\n\\x1b[2J\\u202e', columns.one_line(
            'a\n\x1b[2J\u202e'))
