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
"""Our own mounters pass the suite that vendors run over theirs."""

from collections.abc import Mapping

from os_brick_healer import exception
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.mounter import nbd
from os_brick_healer.testing import mounters
from os_brick_healer.tests import base


class NbdConformanceTest(mounters.MounterConformance, base.TestCase):
    def make_mounter(self) -> mounter_base.Mounter:
        return nbd.NbdMounter()

    def make_source(self, name: str) -> Mapping[str, str]:
        path = self.place / f'{name}.img'
        with path.open('wb') as file:
            file.truncate(1 << 20)
        return {'file': str(path)}

    def test_no_path_with_detours_is_served(self) -> None:
        for path in ('relative', '/', '/a/../etc/shadow', '/a//b', '/a/./b',
                     '/a/'):
            self.assertRaises(exception.MounterRefused,
                              self.mounter.normalize, {'file': path})

    def test_readonly_is_asked_for_by_one_word(self) -> None:
        source = self.mounter.normalize({'file': '/a', 'readonly': 'true'})
        order = self.order(source=source)
        self.assertIn('--readonly', self.mounter.server(order).argv)
        self.assertRaises(exception.MounterRefused, self.mounter.normalize,
                          {'file': '/a', 'readonly': 'no'})

    def test_a_file_that_is_gone_is_told_from_other_trouble(self) -> None:
        order = self.order(source={'file': '/srv/a.img'})
        for gone, words in (
                (True, 'nbdkit: error: open: /srv/a.img: No such file or '
                       'directory'),
                (False, 'nbdkit: error: open: /srv/a.img: Permission denied'),
                (False, 'nbdkit: error: bind: /run/x.sock: No such file or '
                        'directory')):
            self.assertEqual(gone, self.mounter.is_gone(order, words))
