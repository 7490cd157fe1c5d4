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
"""Laws of starting the agent with privilege: fixed commands, own rights."""

import os
import pathlib
import unittest

from os_brick_healer import exception
from os_brick_healer.privileged import unit
from os_brick_healer.tests import base


class TransientTest(base.TestCase):
    def test_the_agent_gets_the_rights_of_who_asked(self) -> None:
        self.assertEqual(1234, unit.asking_uid({'SUDO_UID': '1234'}))
        self.assertEqual(0, unit.asking_uid({}))
        for text in ('', '-1', 'root', '1 2', '\u0661', '9' * 5000):
            self.assertRaises(exception.NotOurs, unit.asking_uid,
                              {'SUDO_UID': text})

    def test_who_is_not_of_this_host_gets_none(self) -> None:
        for uid in (4294967294, 9999999999):
            error = self.assertRaises(exception.NotOurs,
                                      unit.transient_argv, uid, [], [])
            self.assertIn(str(uid), str(error))

    def test_the_command_is_fixed_but_for_user_and_files(self) -> None:
        argv = unit.transient_argv(os.getuid(), ['/etc/a'], ['/etc/b'])
        self.assertEqual('systemd-run', argv[0])
        self.assertIn(f'--uid={os.getuid()}', argv)
        cut = argv.index('--')
        self.assertEqual(
            ['-P', '-m', 'os_brick_healer.agent.main', '--run-mode',
             'process', '--config-file', '/etc/a', '--config-dir', '/etc/b'],
            argv[cut + 2:])

    def test_its_properties_are_those_of_the_shipped_unit(self) -> None:
        shipped = (pathlib.Path(__file__).parents[4] / 'etc' / 'systemd'
                   / unit.SERVICE)
        if not shipped.exists():
            self.skipTest('not run from a source tree')
        lines = shipped.read_text().splitlines()
        for word in unit.transient_argv(os.getuid(), [], []):
            name, _, value = word.partition('=')
            if name == '--property' and not value.startswith('Restart='):
                self.assertIn(value, lines)

    def test_what_is_no_absolute_path_is_refused(self) -> None:
        for value in ('relative', '', '/a\nb', '/' + 'x' * 2000, 7, None):
            self.assertRaises(exception.NotOurs, unit._paths, (value,))
        self.assertRaises(exception.NotOurs, unit._paths, '/a')
        self.assertRaises(exception.NotOurs, unit._paths, ('/a',) * 100)
        self.assertEqual(('/a b',), unit._paths(['/a b']))

    @unittest.skipUnless(os.geteuid() == 0, 'needs root')
    def test_root_reads_no_file_that_others_can_write(self) -> None:
        place = self.temp_dir()
        path = self.write_file(place / 'x' / 'a.conf', '')
        path.chmod(0o644)
        path.parent.chmod(0o755)
        unit.only_roots(str(path))
        path.chmod(0o666)
        self.assertRaises(exception.NotOurs, unit.only_roots, str(path))
        path.chmod(0o644)
        path.parent.chmod(0o777)
        self.assertRaises(exception.NotOurs, unit.only_roots, str(path))
        path.parent.chmod(0o755)
        os.chown(path, 65533, 0)
        self.assertRaises(exception.NotOurs, unit.only_roots, str(path))
        self.assertRaises(exception.NotOurs, unit.only_roots,
                          str(place / 'gone'))
