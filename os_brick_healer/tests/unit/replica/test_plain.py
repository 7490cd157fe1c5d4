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

"""Laws of what a memory's plain values are taken for."""

from collections.abc import Callable
import math

from os_brick_healer.replica import plain
from os_brick_healer.tests import base


class PlainTest(base.TestCase):

    def refused(self, kind: Callable[[object], object],
                *values: object) -> None:
        for value in values:
            error = self.assertRaises(ValueError, kind, value)
            self.assertLess(len(str(error)), 200)

    def test_text_is_text(self) -> None:
        self.assertEqual('', plain.text(''))
        self.refused(plain.text, None, 1, b'x', ['x' * 1000])

    def test_a_count_is_a_whole_number_from_0_on(self) -> None:
        for value in (0, 1, plain.COUNT_MAX):
            self.assertEqual(value, plain.count(value))
        self.refused(plain.count, -1, plain.COUNT_MAX + 1, 1.0, True, '1',
                     None, math.inf)

    def test_a_number_is_finite(self) -> None:
        for value in (0, -1, 1.5, 1e300):
            self.assertEqual(value, plain.number(value))
        self.assertIsInstance(plain.number(1), float)
        self.refused(plain.number, math.inf, -math.inf, math.nan, '1', None,
                     False)

    def test_a_flag_is_true_or_false(self) -> None:
        self.assertIs(True, plain.flag(True))
        self.assertIs(False, plain.flag(False))
        self.refused(plain.flag, 0, 1, None, 'true')

    def test_what_may_be_missing_is_none_or_of_its_kind(self) -> None:
        self.assertIsNone(plain.maybe(None, plain.text))
        self.assertEqual('x', plain.maybe('x', plain.text))
        self.refused(lambda v: plain.maybe(v, plain.text), 0)

    def test_all_in_a_list_is_of_one_kind(self) -> None:
        self.assertEqual((1, 2), plain.each([1, 2], plain.count))
        self.assertEqual((), plain.each([], plain.count))
        self.refused(lambda v: plain.each(v, plain.text), 'abc', None, {},
                     ['x', 1])
