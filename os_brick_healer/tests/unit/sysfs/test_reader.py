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

import os

from os_brick_healer.sysfs import reader
from os_brick_healer.tests import base


class TreeTest(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.root = self.temp_dir()
        self.write_tree(self.root, {'sys/a/state': 'live\n', 'sys/a/b': ''})
        (self.root / 'sys/link').symlink_to('a')
        (self.root / 'sys/dangling').symlink_to('gone')
        self.tree = reader.Tree(str(self.root))

    def test_text_comes_stripped_from_below_the_root(self) -> None:
        for path in ('sys/a/state', '/sys/a/state', '/sys/link/state'):
            self.assertEqual('live', self.tree.read(path))

    def test_what_is_not_there_is_none_or_empty(self) -> None:
        for path in ('sys/none', 'sys/a/state/x', 'sys/dangling/state'):
            self.assertIsNone(self.tree.read(path))
            self.assertEqual((), self.tree.listdir(path))
            self.assertEqual(frozenset(), self.tree.entries(path))
            self.assertIsNone(self.tree.readlink(path))
            self.assertFalse(self.tree.exists(path))
            self.assertIsNone(self.tree.birth(path))

    def test_an_empty_file_is_not_a_missing_one(self) -> None:
        self.assertEqual('', self.tree.read('sys/a/b'))

    def test_what_is_there_and_unreadable_is_an_error(self) -> None:
        # A directory in a file's place stands for EACCES, EMFILE, EIO:
        # errors that must never look like "gone".
        e = self.assertRaises(reader.ReadError, self.tree.read, 'sys/a')
        self.assertEqual('cannot read sys/a: because Is a directory', str(e))

    def test_a_dangling_link_is_read_and_does_not_exist(self) -> None:
        self.assertEqual('gone', self.tree.readlink('sys/dangling'))
        self.assertFalse(self.tree.exists('sys/dangling'))

    def test_of_a_long_file_only_the_first_line_may_be_read(self) -> None:
        for text, line in (('Personalities : [raid1] \nmd1 : x\n',
                            'Personalities : [raid1]'),
                           ('one', 'one'), ('', '')):
            self.write_file(self.root / 'proc/mdstat', text)
            self.assertEqual(line, self.tree.first_line('/proc/mdstat'))
        self.assertIsNone(self.tree.first_line('/proc/none'))
        self.assertRaises(reader.ReadError, self.tree.first_line, '/proc')

    def test_reading_stops_at_the_limit(self) -> None:
        self.write_file(self.root / 'proc/mdstat', 'x' * 300_000)
        self.assertEqual(reader.ATTRIBUTE_BYTES_MAX,
                         len(self.tree.read('proc/mdstat') or ''))
        self.assertEqual(200_000,
                         len(self.tree.read('proc/mdstat', 200_000) or ''))
        self.assertEqual(300_000,
                         len(self.tree.read('proc/mdstat', 400_000) or ''))

    def test_bytes_that_are_no_text_are_shown_not_raised(self) -> None:
        (self.root / 'sys/a/raw').write_bytes(b'\xff\x00ok')
        self.assertEqual('\\xff\x00ok', self.tree.read('sys/a/raw'))

    def test_entries_differ_when_an_object_is_another(self) -> None:
        before = self.tree.entries('sys')
        os.rename(self.root / 'sys/a', self.root / 'sys/old')
        self.write_file(self.root / 'sys/a/state', 'live\n')
        os.rename(self.root / 'sys/old', self.root / 'old')
        after = self.tree.entries('sys')
        self.assertEqual({n for n, _ in before}, {n for n, _ in after})
        self.assertNotEqual(before, after)

    def test_no_file_stays_open(self) -> None:
        before = len(os.listdir('/proc/self/fd'))
        for path in ('sys/a/state', 'sys/none'):
            self.tree.read(path)
            self.tree.listdir(path)
            self.tree.entries(path)
        self.assertEqual(before, len(os.listdir('/proc/self/fd')))
