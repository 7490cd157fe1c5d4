# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

import re

from oslo_config import cfg

from os_brick_healer import version
from os_brick_healer.tests import base


class BaseTestCaseTest(base.TestCase):
    def test_each_directory_is_new_and_empty(self) -> None:
        first, second = self.temp_dir(), self.temp_dir()
        self.assertNotEqual(first, second)
        self.assertEqual([], [*first.iterdir(), *second.iterdir()])

    def test_tree_is_written_as_named(self) -> None:
        root = self.temp_dir()
        self.write_tree(root, {'sys/block/md127/md/degraded': '1\n'})
        text = (root / 'sys/block/md127/md/degraded').read_text()
        self.assertEqual('1\n', text)

    def test_configuration_reads_only_what_it_is_given(self) -> None:
        path = self.write_file(self.temp_dir() / 'a.conf', '[g]\nx = 7\n')
        conf = self.new_conf(path)
        conf.register_opt(cfg.IntOpt('x', default=1), group='g')
        other = self.new_conf()
        other.register_opt(cfg.IntOpt('x', default=1), group='g')
        self.assertEqual((7, 1), (conf.g.x, other.g.x))


class VersionTest(base.TestCase):
    def test_version_is_a_version_or_says_unknown(self) -> None:
        known = re.compile(r'\d+\.\d+|unknown$')
        self.assertRegex(version.version_string(), known)
