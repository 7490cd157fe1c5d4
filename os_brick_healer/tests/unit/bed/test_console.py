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

from bed import chroot, console
from os_brick_healer.tests import base

OOPS = '<4>[   12.345678] WARNING: CPU: 1 PID: 7 at drivers/md/md.c:1'


class TestConsole(base.TestCase):

    def test_alarms_are_found_once_each(self) -> None:
        self.assertEqual(
            ['WARNING: CPU: 1 PID: 7 at drivers/md/md.c:1',
             'INFO: task md0_raid1:99 blocked for more than 120 seconds.'],
            console.alarms([
                'all is well', OOPS, OOPS,
                '[  99.0] INFO: task md0_raid1:99 blocked for more than 120 '
                'seconds.', 'md/raid1:md127: Disk failure on nvme0n1']))

    def test_an_allowed_line_is_no_alarm(self) -> None:
        allowed = console.Allowed(pattern=r'md\.c:1$', reason='known')
        self.assertEqual([], console.alarms([OOPS], [allowed]))

    def test_nothing_is_allowed_without_a_reason(self) -> None:
        self.assertRaises(ValueError, console.Allowed, pattern='x',
                          reason=' ')


class TestPipSettings(base.TestCase):

    def test_global_and_install_settings_are_read(self) -> None:
        listing = ("global.find-links='/srv/wheels'\n"
                   ":env:.cert='/etc/ca.crt'\n"
                   "install.index-url='https://example.org/simple'\n")
        self.assertEqual(
            {'find-links': '/srv/wheels',
             'index-url': 'https://example.org/simple'},
            chroot.pip_settings(listing))

    def test_only_existing_absolute_paths_are_shared(self) -> None:
        self.assertEqual(
            ['/etc'], chroot.named_paths(
                ['file:///etc https://example.org/ 180', '/nowhere/at/all']))
