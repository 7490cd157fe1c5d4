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
"""Laws of the rootwrap filters that are shipped."""

import configparser
import pathlib

from oslo_rootwrap import wrapper

import os_brick_healer
from os_brick_healer.tests import base

FILTERS = (pathlib.Path(os_brick_healer.__file__).parent.parent
           / 'etc/os-brick-healer/rootwrap.d')
CONTEXT = 'os_brick_healer.privileged.context'
SOCK = '/tmp/tmpab12/privsep.sock'


def command(*options: str, context: str = CONTEXT,
            sock: str = SOCK) -> list[str]:
    return ['privsep-helper', *options, '--privsep_context', context,
            '--privsep_sock_path', sock]


class TestFilters(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        if not FILTERS.is_dir():
            self.skipTest('not in a source tree')
        # oslo.rootwrap adds a filter of its own that allows privsep-helper
        # with whatever arguments; ours must do without it.
        self.filters = [one for one in wrapper.load_filters([str(FILTERS)])
                        if one.name != 'privsep-helper']

    def allowed(self, argv: list[str]) -> bool:
        return any(one.match(argv) for one in self.filters)

    def test_each_set_of_configuration_files_is_allowed(self) -> None:
        nova, compute, ours = (
            '/etc/nova/nova.conf', '/etc/nova/nova-compute.conf',
            '/etc/os-brick-healer/os-brick-healer.conf')
        options = ['--config-file', '/usr/share/nova/nova-dist.conf']
        self.assertTrue(self.allowed(command()))
        for name in (nova, compute, ours):
            self.assertTrue(self.allowed(command(*options)), options)
            options += ['--config-file', name]
        for name in ('/etc/nova/nova.conf.d',
                     '/etc/os-brick-healer/os-brick-healer.conf.d'):
            options += ['--config-dir', name]
            self.assertTrue(self.allowed(command(*options)), options)

    def test_only_our_context_is_allowed(self) -> None:
        for context in ('os_brick.privileged.default', 'os.system',
                        CONTEXT + 'x',
                        'os_brick_healerxprivileged.context'):
            self.assertFalse(self.allowed(command(context=context)))

    def test_configuration_is_read_where_only_root_writes(self) -> None:
        for name in ('/tmp/evil.conf', '/etc/../tmp/evil.conf',
                     '/etc/nova/../../tmp/evil.conf', 'nova.conf',
                     '/var/lib/nova/x.conf'):
            self.assertFalse(self.allowed(command('--config-file', name)))
            self.assertFalse(self.allowed(command('--config-dir', name)))

    def test_nothing_else_is_allowed(self) -> None:
        for argv in ([], ['mdadm'], ['privsep-helper'],
                     command('--privsep_context', 'os.system'),
                     [*command(), '--config-file', '/etc/x'],
                     command(sock='/run/x'),
                     command('--user', 'root')):
            self.assertFalse(self.allowed(argv), argv)

    def test_rootwrap_can_read_every_line(self) -> None:
        parser = configparser.RawConfigParser()
        parser.read(sorted(map(str, FILTERS.iterdir())))
        self.assertEqual(len(parser.items('Filters')), len(self.filters))
