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
import json
from typing import Any

import hypothesis
from hypothesis import strategies as st

from os_brick_healer import exception
from os_brick_healer.provisioner import reading
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.provisioner import documents

STEPS: list[Any] = [
    lambda c: c.mapping(), lambda c: list(c.items()),
    lambda c: list(c.each()), lambda c: c.maybe('other'),
    lambda c: c.key('other'), lambda c: c.text(), lambda c: c.uuid(),
    lambda c: c.integer(0, 10), lambda c: c.number(0.0, 10.0)]


def read(value: object) -> reading.Cursor:
    return reading.load(json.dumps(value), 'it')


class ReadingTest(base.TestCase):
    @documents.settings
    @hypothesis.given(st.binary(max_size=200) | st.text(max_size=200))
    def test_no_text_at_all_surprises(self, text: bytes | str) -> None:
        try:
            reading.load(text, 'it')
        except exception.ProvisionerNonsense as error:
            self.assertTrue(str(error).isprintable())

    @documents.settings
    @hypothesis.given(documents.ANYTHING, st.sampled_from(STEPS))
    def test_no_step_surprises(self, value: object, step: Any) -> None:
        cursor = reading.Cursor(value=value, source='it')
        try:
            step(cursor)
        except exception.ProvisionerNonsense as error:
            self.assertTrue(str(error).isprintable())

    def test_what_json_does_not_know_is_not_json(self) -> None:
        for text in ('NaN', '[Infinity]', '{"a": 1, "a": 2}', '', '{',
                     '1e999', '{"a": -1e999}',
                     '[' * 100000, '1' * 100000, b'\xff', '"\ud800'):
            self.assertRaises(exception.ProvisionerNonsense,
                              reading.load, text, 'it')

    def test_of_ever_so_many_keys_the_one_that_comes_twice_is_named(
            self) -> None:
        text = ', '.join(f'"k{n}": 1' for n in (*range(300_000), 299_999))
        error = self.assertRaises(exception.ProvisionerNonsense,
                                  reading.load, f'{{{text}}}', 'it')
        self.assertIn('k299999', str(error))

    def test_an_error_names_the_place_and_not_the_content(self) -> None:
        cursor = read({'volumes': {'v1': {'replicas': [{'id': 'secret'}]}}})
        entry = next(cursor.key('volumes').key('v1').key('replicas').each())
        error = self.assertRaises(
            exception.ProvisionerNonsense, entry.key('id').integer, 0, 1)
        self.assertEqual(
            'cannot use it: because volumes.v1.replicas[0].id is a string, '
            'not a whole number', str(error))

    def test_a_key_that_stands_twice_is_named(self) -> None:
        for text, key in (('{"a": {"b": 1, "c": 2, "b": "secret"}}', 'b'),
                          ('{"\\u001b": 1, "\\u001b": 2}', '(odd key)')):
            error = self.assertRaises(exception.ProvisionerNonsense,
                                      reading.load, text, 'it')
            self.assertEqual('cannot read it: because one object names the '
                             f'key {key} twice', str(error))

    def test_a_missing_key_is_named(self) -> None:
        error = self.assertRaises(exception.ProvisionerNonsense,
                                  read({'a': {}}).key('a').key, 'b')
        self.assertEqual('cannot use it: because a.b is missing',
                         str(error))

    def test_text_that_would_upset_a_terminal_is_refused(self) -> None:
        for text in ('\x1b[2J', 'a\nb', '\u202ea', '', 'x' * 5000):
            self.assertRaises(exception.ProvisionerNonsense,
                              read(text).text)

    def test_a_uuid_is_lower_case_with_hyphens(self) -> None:
        wanted = '0f0e0d0c-0b0a-4908-8706-050403020100'
        for text in (wanted, wanted.upper(), wanted.replace('-', '')):
            self.assertEqual(wanted, read(text).uuid())
        for text in ('{' + wanted + '}', 'urn:uuid:' + wanted, wanted[1:]):
            self.assertRaises(exception.ProvisionerNonsense,
                              read(text).uuid)

    def test_a_number_is_within_its_bounds(self) -> None:
        self.assertEqual(7, read('7').integer(0, 7))
        self.assertEqual(7, read(7.0).integer(0, 7))
        for value in (8, -1, 6.5, True, '+7', '', None, [7], '1e1'):
            self.assertRaises(exception.ProvisionerNonsense,
                              read(value).integer, 0, 7)
        self.assertRaises(exception.ProvisionerNonsense,
                          read(1e300).number, 0.0, 1e9)
