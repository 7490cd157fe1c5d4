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
"""What mountinfo says, and what may be taken away by that."""

from os_brick_healer.fuse import parse
from os_brick_healer.tests import base

KIND = 'fuse.ceph-fuse'
#: Linux 6.1, ceph-fuse 16.2.15.
LINE = ('81 71 0:44 / /mnt/c rw,nosuid,nodev,relatime shared:14 - '
        'fuse.ceph-fuse ceph-fuse rw,user_id=0,group_id=0,allow_other')
ROOT = '71 70 254:1 / / rw - ext4 /dev/vda rw'
ALWAYS = frozenset(('nosuid', 'nodev'))


class ParseTest(base.TestCase):
    def why(self, *lines: str, options: frozenset[str] = ALWAYS) -> str:
        return parse.forbids(parse.mounts('\n'.join(lines)), '/mnt/c', KIND,
                             options) or ''

    def test_a_line_is_a_mount(self) -> None:
        self.assertEqual((parse.Mount(
            number=81, place='/mnt/c', kind=KIND, options=frozenset(
                ('rw', 'nosuid', 'nodev', 'relatime'))),),
            parse.mounts(LINE))

    def test_a_place_is_written_with_escapes(self) -> None:
        (one,) = parse.mounts(LINE.replace('/mnt/c', '/mnt/a\\040b\\134'))
        self.assertEqual('/mnt/a b\\', one.place)

    def test_what_is_no_mount_is_left_out(self) -> None:
        for line in ('', ' - ', '81 71 0:44 / /mnt/c rw', 'x' * 9000,
                     LINE.replace('81', 'xx'), '81 71 - fuse.ceph-fuse c r',
                     '81 71 0:44 / /mnt/c - fuse.ceph-fuse c r'):
            self.assertEqual((), parse.mounts(line))

    def test_a_name_of_a_place_breaks_no_line(self) -> None:
        for odd in '\r\v\f\x1c\x1d\x1e\x85\u2028':
            (one,) = parse.mounts(LINE.replace('/mnt/c', f'/mnt/c/x{odd}y'))
            self.assertEqual(f'/mnt/c/x{odd}y', one.place)

    def test_a_number_has_digits_and_not_too_many(self) -> None:
        for number in ('\u00b2', '\u0663', '9' * 5000, '9' * 11, ''):
            self.assertEqual((), parse.mounts(LINE.replace(
                '81 ', f'{number} ', 1)))
        (one,) = parse.mounts(LINE.replace('81 ', f'{"9" * 10} ', 1))
        self.assertEqual(9999999999, one.number)

    def test_the_uppermost_is_the_last(self) -> None:
        found = parse.mounts('\n'.join((ROOT, LINE, LINE.replace(
            '81 71', '82 81'))))
        self.assertEqual([81, 82], [
            one.number for one in parse.at(found, '/mnt/c')])
        self.assertEqual((), parse.at(found, '/mnt'))

    def test_one_that_is_alone_and_of_its_kind_may_be_replaced(self) -> None:
        self.assertEqual('', self.why(ROOT, LINE))
        self.assertEqual('', self.why(LINE, LINE.replace(
            '/mnt/c', '/mnt/cc')))

    def test_another_number_of_mounts_is_not_touched(self) -> None:
        self.assertIn('0 mounts', self.why(ROOT))
        self.assertIn('2 mounts', self.why(LINE, LINE))

    def test_another_kind_is_not_touched(self) -> None:
        self.assertIn('of type ext4', self.why(LINE.replace(KIND, 'ext4')))
        self.assertIn('of type fuse.sshfs', self.why(
            LINE.replace(KIND, 'fuse.sshfs')))

    def test_what_lies_below_it_is_not_taken_along(self) -> None:
        self.assertIn('/mnt/c/x is mounted below', self.why(
            LINE, ROOT.replace(' / rw', ' /mnt/c/x rw'),
            ROOT.replace(' / rw', ' /mnt/c/y rw')))
        # Who may mount there gives it a name.
        self.assertIn('is mounted below', self.why(
            LINE, ROOT.replace(' / rw', ' /mnt/c/x\vy rw')))

    def test_what_it_forbids_stays_forbidden(self) -> None:
        strict = LINE.replace('rw,nosuid', 'ro,noexec,nosuid', 1)
        self.assertIn('mounted noexec, ro, and', self.why(strict))
        self.assertEqual('', self.why(
            strict, options=ALWAYS | {'ro', 'noexec'}))
        self.assertIn('nosuid', self.why(LINE, options=frozenset()))
