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

from collections.abc import Callable
import string
import uuid as uuid_

from hypothesis import given, settings
from hypothesis import strategies as st

from os_brick_healer.sysfs import parse
from os_brick_healer.tests import base

_HOSTILE = st.one_of(
    st.text(max_size=200),
    st.text(alphabet=string.digits + ' /,-_:=[]()none\nmdabcdefx',
            max_size=400),
    st.sampled_from(('', '\x00', '9' * 5000, '-1', '1_0', '\u0661', 'nan',
                     'none none', 'traddr=', 'traddr=,trsvcid=1',
                     'md0 : ', 'md0 : active ()', '1 / ', ' / ')))

_PARSERS: tuple[Callable[[str], object], ...] = (
    lambda t: parse.integer(t, 'x'),
    lambda t: parse.maybe_integer(t, 'x'),
    lambda t: parse.word(t, 'x'),
    lambda t: parse.words(t, 'x'),
    parse.raid_disks, parse.slot, parse.sync_completed, parse.uuid,
    parse.nvme_address, parse.block_stat, parse.mdstat,
    parse.udev_properties, parse.exported, parse.ip)

_MDSTAT = '''\
Personalities : [raid1]
md126 : active (auto-read-only) raid1 nvme2n1[2](S) nvme0n1[0](W)(F)
      64512 blocks super 1.2 [2/1] [_U]
        resync=PENDING
      bitmap: 1/1 pages [4KB], 65536KB chunk

md127 : active raid1 nvme2n1[2] nvme0n1[0]
      64512 blocks super 1.2 [2/1] [U_]
      [=======>....]  recovery = 37.7% (24704/64512) finish=0.1min speed=4K/s
      bitmap: 1/1 pages [4KB], 65536KB chunk

md5 : inactive nvme7n1[1](S)
      64512 blocks super 1.2

unused devices: <none>
'''


class HostileTextTest(base.TestCase):

    @settings(deadline=None)
    @given(_HOSTILE)
    def test_a_parser_answers_or_tells_what_it_cannot_read(
            self, text: str) -> None:
        for parser in _PARSERS:
            try:
                parser(text)
            except parse.ParseError as e:
                self.assertIn('cannot understand', str(e))
                self.assertLessEqual(len(e.text), 80)
                self.assertFalse(e.transient)

    def test_text_without_end_is_refused(self) -> None:
        for parser in _PARSERS[:10]:
            self.assertRaises(parse.ParseError, parser, '1,' * 10**6)
        for parser in _PARSERS[10:12]:
            self.assertRaises(parse.ParseError, parser,
                              ' ' * (parse.TEXT_MAX + 1))

    def test_an_attribute_is_taken_up_to_its_bound(self) -> None:
        most = parse.ATTRIBUTE_MAX
        self.assertEqual(7, parse.integer('7' + ' ' * (most - 1), 'x'))
        e = self.assertRaises(parse.ParseError, parse.integer,
                              '7' + ' ' * most, 'x')
        self.assertEqual(80, len(e.text))
        self.assertEqual(65536, most)
        most = parse.TEXT_MAX
        for parser in (parse.mdstat, parse.udev_properties):
            self.assertFalse(parser(' ' * most))
        self.assertEqual(4 << 20, most)


class NumberTest(base.TestCase):

    @settings(deadline=None)
    @given(st.integers(0, 2**64 - 1))
    def test_what_the_kernel_prints_is_read(self, number: int) -> None:
        self.assertEqual(number, parse.integer(f'{number}\n', 'x'))

    def test_unknown_is_none_and_never_zero(self) -> None:
        for text in ('none\n', 'max\n', 'delayed\n'):
            self.assertIsNone(parse.maybe_integer(text, 'x'))
        for text in ('none', 'delayed'):
            self.assertIsNone(parse.sync_completed(text))
        self.assertIsNone(parse.slot('none'))
        self.assertIsNone(parse.slot('journal'))

    def test_only_plain_decimal_digits_are_a_number(self) -> None:
        for text in ('', '-1', '+1', '1_000', '0x10', '1 2', '\u0661'):
            self.assertRaises(parse.ParseError, parse.integer, text, 'x')

    def test_an_error_names_the_input_and_what_it_says(self) -> None:
        e = self.assertRaises(parse.ParseError, parse.integer, 'two',
                              'md/raid_disks')
        self.assertEqual("cannot understand md/raid_disks: because it says "
                         "'two'", str(e))


class MdTest(base.TestCase):

    def test_flags_are_words_with_commas(self) -> None:
        self.assertEqual(
            frozenset(('faulty', 'blocked', 'write_error')),
            parse.words('faulty,blocked,write_error\n', 'state'))
        self.assertEqual(frozenset(), parse.words('\n', 'state'))

    def test_raid_disks_of_a_reshape_are_the_new_ones(self) -> None:
        self.assertEqual(2, parse.raid_disks('2\n'))
        self.assertEqual(3, parse.raid_disks('3 (2)\n'))

    def test_sync_completed_is_done_and_total(self) -> None:
        self.assertEqual((49408, 129024),
                         parse.sync_completed('49408 / 129024\n'))

    def test_mdstat_as_the_kernel_prints_it(self) -> None:
        self.assertEqual((
            parse.MdstatArray(
                name='md126', active=True, level='raid1',
                members=(('nvme2n1', frozenset('S')),
                         ('nvme0n1', frozenset('WF'))), map='_U'),
            parse.MdstatArray(
                name='md127', active=True, level='raid1',
                members=(('nvme2n1', frozenset()), ('nvme0n1', frozenset())),
                map='U_'),
            parse.MdstatArray(
                name='md5', active=False, level=None,
                members=(('nvme7n1', frozenset('S')),), map=None),
        ), parse.mdstat(_MDSTAT))

    def test_mdstat_that_is_odd_is_refused(self) -> None:
        for text in ('md1 : active raid1 nvme0n1[0] nvme1n1',
                     'md1 : active raid1 raid5 nvme0n1[0]',
                     'md1 : active r\x7fid1 nvme0n1[0]'):
            error = self.assertRaises(parse.ParseError, parse.mdstat, text)
            self.assertEqual('/proc/mdstat', error.what)
        (found,) = parse.mdstat('md1 : active (read-only) (x) raid1 a[0]')
        self.assertEqual(('raid1', (('a', frozenset()),)),
                         (found.level, found.members))

    def test_a_name_of_an_array_is_no_line_of_its_own(self) -> None:
        self.assertEqual(
            {'MD_NAME': 'x\x0bMD_EVENTS=9', 'MD_UUID': 'a=b', 'MD_EMPTY': ''},
            parse.exported('mdadm: hello\nMD_NAME=x\x0bMD_EVENTS=9\n'
                           'MD_UUID=a=b\nMD_EMPTY=\n'))

    def test_udev_tells_properties_a_line_each(self) -> None:
        self.assertEqual(
            {'MD_UUID': 'a:b', 'MD_NAME': 'x=y', 'EMPTY': ''},
            parse.udev_properties(
                'S:md/vol\nE:MD_UUID=a:b\nE:MD_NAME=x=y\nE:EMPTY\n'
                'I:E:NO=no\n'))


class UuidTest(base.TestCase):

    @settings(deadline=None)
    @given(st.uuids())
    def test_every_spelling_is_the_same_uuid(self, uuid: uuid_.UUID) -> None:
        h = uuid.hex
        mdadm = ':'.join((h[:8], h[8:16], h[16:24], h[24:]))
        for text in (str(uuid), h, h.upper(), mdadm, f' {uuid}\n'):
            self.assertEqual(str(uuid) if int(h, 16) else None,
                             parse.uuid(text))

    def test_zeros_are_no_uuid(self) -> None:
        self.assertIsNone(
            parse.uuid('00000000-0000-0000-0000-000000000000'))

    def test_something_else_is_an_error(self) -> None:
        for text in ('', '1234', 'g' * 32, '0' * 31, '0' * 33):
            self.assertRaises(parse.ParseError, parse.uuid, text)


class AddressTest(base.TestCase):

    def test_tcp(self) -> None:
        self.assertEqual(
            parse.Address(traddr='127.0.0.2', trsvcid=4420,
                          src_addr='127.0.0.1'),
            parse.nvme_address(
                'traddr=127.0.0.2,trsvcid=4420,src_addr=127.0.0.1\n'))

    def test_one_ipv6_address_has_one_spelling(self) -> None:
        for text in ('fd00:0:0::0001', 'FD00::1', 'fd00::1'):
            found = parse.nvme_address(f'traddr={text},trsvcid=4420')
            self.assertEqual(
                parse.Address(traddr='fd00::1', trsvcid=4420), found)

    def test_fibre_channel_has_no_port(self) -> None:
        self.assertEqual(
            parse.Address(traddr='nn-0x1:pn-0x2', trsvcid=None),
            parse.nvme_address('traddr=nn-0x1:pn-0x2,trsvcid=none'))

    def test_an_address_without_an_address_is_refused(self) -> None:
        for text in ('traddr=,trsvcid=1', 'src_traddr=a'):
            self.assertRaises(parse.ParseError, parse.nvme_address, text)

    def test_a_local_drive_has_no_address(self) -> None:
        self.assertIsNone(parse.nvme_address('0000:3b:00.0'))


class StatTest(base.TestCase):

    def test_every_kind_of_request_counts_as_completed(self) -> None:
        text = ' 1 0 0 0 20 0 0 0 7 0 0 300 0 0 0 4000 0\n'
        self.assertEqual(parse.BlockStat(completed=4321, in_flight=7),
                         parse.block_stat(text))

    def test_merges_sectors_and_times_count_as_nothing(self) -> None:
        text = ' 1 9 9 9 20 9 9 9 7 9 9 300 9 9 9 4000 9\n'
        self.assertEqual(parse.BlockStat(completed=4321, in_flight=7),
                         parse.block_stat(text))

    def test_older_kernels_have_fewer_fields(self) -> None:
        self.assertEqual(parse.BlockStat(completed=21, in_flight=7),
                         parse.block_stat('1 0 0 0 20 0 0 0 7 0 0'))

    def test_too_few_fields_are_an_error(self) -> None:
        self.assertRaises(parse.ParseError, parse.block_stat, '1 2 3')
