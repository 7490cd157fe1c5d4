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
"""Messages of generic netlink, and what the nbd driver is told by them."""

import socket
import struct
import sys

from hypothesis import given
from hypothesis import strategies as st

from os_brick_healer import exception
from os_brick_healer.nbd import genl, kernel
from os_brick_healer.tests import base

HEADER = struct.Struct('=IHHII')


def message(kind: int, body: bytes, sequence: int = 2) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, 0, sequence,
                       0) + body


class MessageTest(base.TestCase):
    def test_what_is_packed_comes_apart_again(self) -> None:
        data = genl.request(31, 3, 7, [(1, genl.u32(5)),
                                       (10, genl.text('abc'))])
        (found,) = genl.messages(data)
        self.assertEqual((31, 7, 3), (found.kind, found.sequence,
                                      found.command))
        self.assertEqual({1: genl.u32(5), 10: b'abc\0'}, found.attributes)

    def test_a_request_is_what_the_kernel_s_headers_say(self) -> None:
        """linux/netlink.h and linux/genetlink.h, Linux 6.1."""
        self.assertEqual(
            (1, 4, 0x300, 2, 3, 0x8000, 16, 3),
            (genl.REQUEST, genl.ACK, genl.DUMP, genl.ERROR, genl.DONE,
             genl.NESTED, genl.CONTROL, genl.CONTROL_GET_FAMILY))
        self.assertEqual(
            HEADER.pack(28, 31, 1 | 4, 7, 0) + b'\5\1\0\0'
            + struct.pack('=HH', 7, 9) + b'abc\0',
            genl.request(31, 5, 7, [(9, b'abc')]))
        self.assertEqual(
            HEADER.pack(20, 31, 1 | 0x300, 7, 0) + b'\5\2\0\0',
            genl.request(31, 5, 7, [], flags=genl.DUMP, version=2))
        self.assertEqual(
            HEADER.pack(28, 16, 1 | 4, 9, 0) + b'\3\1\0\0'
            + struct.pack('=HH', 8, 2) + b'nbd\0',
            genl.ask_family('nbd', 9))

    def test_each_length_is_aligned_and_comes_apart_again(self) -> None:
        for size in range(9):
            pairs = {1: b'x' * size, 2: b'end'}
            self.assertEqual(pairs, genl.attributes(
                genl.nest(*pairs.items())), str(size))
            first = message(16, b'y' * size)
            first = first.ljust(len(first) + -size % 4, b'\0')
            self.assertEqual(
                [b'y' * size, b''],
                [m.body for m in genl.messages(first + message(17, b''))])
        self.assertEqual({3: b''}, genl.attributes(genl.nest((3, b''))))

    def test_what_is_too_short_says_nothing(self) -> None:
        for size, command in ((0, -1), (3, -1), (4, 5)):
            (told,) = genl.messages(message(16, b'\5\1\0\0'[:size]))
            self.assertEqual(command, told.command)
        for size, error in ((0, None), (3, None), (4, 0)):
            (told,) = genl.messages(message(genl.ERROR, bytes(size)))
            self.assertEqual(error, told.error)
        (other,) = genl.messages(message(genl.DONE, bytes(4)))
        self.assertIsNone(other.error)

    def test_a_number_has_a_width_of_a_number(self) -> None:
        for width in range(10):
            value = (7).to_bytes(width or 1, sys.byteorder)[:width]
            self.assertEqual(7 if width in {1, 2, 4, 8} else None,
                             genl.number(value))

    def test_the_kernel_s_no_has_its_name(self) -> None:
        error = genl.refused(22, 'no')
        self.assertEqual((22, 'no: EINVAL'), (error.errno, error.strerror))

    def test_attributes_are_aligned(self) -> None:
        self.assertEqual(0, len(genl.nest((1, b'a'), (2, b'bcdef'))) % 4)

    def test_an_acknowledgement_is_an_errno(self) -> None:
        no = message(genl.ERROR, struct.pack('=i', -22))
        yes = message(genl.ERROR, struct.pack('=i', 0))
        self.assertEqual([22, 0], [m.error for m in genl.messages(no + yes)])

    def test_the_family_and_its_groups_are_found(self) -> None:
        group = genl.nest((1, genl.text('nbd_mc_group')), (2, genl.u32(9)))
        body = b'\1\2\0\0' + genl.nest(
            (1, struct.pack('=H', 31)), (2, genl.text('nbd')),
            (7 | genl.NESTED, genl.nest((1 | genl.NESTED, group))))
        (told,) = genl.messages(message(16, body))
        self.assertEqual(genl.Family(number=31,
                                     groups={'nbd_mc_group': 9}),
                         genl.family(told))

    def test_a_length_that_cannot_be_ends_the_reading(self) -> None:
        good = message(16, b'')
        for size in (0, HEADER.size - 1, HEADER.size + 1):
            bad = HEADER.pack(size, 16, 0, 2, 0)
            self.assertEqual(1, len(list(genl.messages(good + bad))))
        pair = genl.nest((1, b'abcd'))
        for size in (0, 3, 9):
            bad = struct.pack('=HH', size, 2)
            self.assertEqual({1: b'abcd'}, genl.attributes(pair + bad))

    def test_a_group_without_a_number_is_none(self) -> None:
        group = genl.nest((1, genl.text('nbd_mc_group')))
        body = b'\1\2\0\0' + genl.nest(
            (1, struct.pack('=H', 31)),
            (7 | genl.NESTED, genl.nest((1 | genl.NESTED, group))))
        (told,) = genl.messages(message(16, body))
        self.assertEqual({}, genl.family(told).groups)

    def test_an_answer_without_a_number_is_no_family(self) -> None:
        (told,) = genl.messages(message(16, b'\1\2\0\0'))
        self.assertRaises(exception.HealerError, genl.family, told)

    @given(st.binary(max_size=400))
    def test_hostile_bytes_come_to_an_end(self, data: bytes) -> None:
        for found in genl.messages(data):
            self.assertIsInstance(found.command, int)
            for kind, value in found.attributes.items():
                self.assertLessEqual(kind, 0x3fff)
                genl.number(value)

    @given(st.integers(0, 2 ** 32 - 1), st.integers(0, 2 ** 64 - 1))
    def test_numbers_keep_their_value(self, small: int, large: int) -> None:
        self.assertEqual(small, genl.number(genl.u32(small)))
        self.assertEqual(large, genl.number(genl.u64(large)))
        self.assertIsNone(genl.number(b'abc'))
        self.assertIsNone(genl.number(None))


class DeathTest(base.TestCase):
    def test_the_device_of_a_death_is_named(self) -> None:
        dead = genl.request(31, kernel.LINK_DEAD, 0, [(1, genl.u32(4))])
        other = genl.request(31, kernel.CONNECT, 0, [(1, genl.u32(5))])
        self.assertEqual(['nbd4'], list(kernel._dead(dead + other)))

    @given(st.binary(max_size=200))
    def test_hostile_bytes_name_no_strange_device(self,
                                                  data: bytes) -> None:
        for name in kernel._dead(data):
            self.assertRegex(name, r'\Anbd\d+\Z')

    def test_without_the_module_that_is_said(self) -> None:
        try:
            link = kernel.open_link(2.0)
        except OSError as e:
            self.skipTest(f'no generic netlink here: {e}')
        with link:
            try:
                found = kernel.family(link)
            except kernel.NoDriver as e:
                self.assertIn('modprobe nbd', str(e))
            else:
                self.assertIn(kernel.GROUP, found.groups)

    def test_a_family_that_everybody_has_is_found(self) -> None:
        try:
            link = kernel.open_link(2.0)
        except OSError as e:
            self.skipTest(f'no generic netlink here: {e}')
        with link:
            link.send(genl.ask_family('nlctrl', 5))
            found = genl.family(kernel._answer(link, 5))
        self.assertEqual(genl.CONTROL, found.number)
        self.assertIsInstance(link, socket.socket)
