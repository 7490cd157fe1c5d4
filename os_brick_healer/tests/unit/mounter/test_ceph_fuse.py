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
"""ceph-fuse: what is ordered of it, and what its command line tells."""

from os_brick_healer import exception
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.mounter import ceph_fuse
from os_brick_healer.tests import base

PLACE = '/mnt/c'
KEY = mounter_base.place_key(PLACE)


class CephFuseTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mounter = ceph_fuse.CephFuseMounter()

    def order(self, **source: str) -> mounter_base.Order:
        return mounter_base.Order(
            volume=KEY, socket='/x', device=PLACE,
            source=self.mounter.normalize({'root': '/', **source}))

    def claim(self, line: str) -> mounter_base.Claim:
        said = self.mounter.claim(line.split())
        assert said is not None
        return said

    def test_it_stays_in_the_foreground_and_mounts_where_it_was(
            self) -> None:
        server = self.mounter.server(self.order(
            fs='a', user='u', monitors='192.0.2.1:6789', options='ro'))
        self.assertEqual(
            f'ceph-fuse -f --id u --mon-host 192.0.2.1:6789 --client_fs a '
            f'-r / --admin-socket /run/os-brick-healer-servers/{KEY}.asok '
            '/mnt/c -o ro', ' '.join(server.argv))
        self.assertTrue(server.as_root)
        self.assertFalse(server.deaf)

    def test_an_operators_process_is_known_by_its_place(self) -> None:
        said = self.claim(
            '/usr/bin/ceph-fuse -n client.u -c /etc/ceph/a.conf -m h:6789 '
            '--client_mds_namespace=a -r /v --keyring=/etc/ceph/k /mnt/c '
            '-o noexec,_netdev -o allow_other,noatime')
        self.assertEqual((KEY, PLACE, ''),
                         (said.volume, said.device, said.lacks))
        self.assertEqual(
            {'fs': 'a', 'root': '/v', 'user': 'u', 'monitors': 'h:6789',
             'conf': '/etc/ceph/a.conf', 'keyring': '/etc/ceph/k',
             'options': 'noexec,noatime'}, dict(said.source))
        self.assertTrue(self.mounter.serves(
            self.order(fs='a', root='/v'), ('ceph-fuse', '--client_fs', 'a',
                                            '-r', '/v', '/mnt/c')))

    def test_other_data_at_the_same_place_is_not_served(self) -> None:
        argv = ('ceph-fuse', '-r', '/other', '/mnt/c')
        self.assertFalse(self.mounter.serves(self.order(), argv))
        self.assertFalse(self.mounter.serves(
            self.order(), ('ceph-fuse', '/mnt/d')))

    def test_what_is_not_sure_is_not_said(self) -> None:
        for line in ('ceph-fuse', 'ceph-fuse -f', 'ceph-fuse c',
                     'ceph-fuse --new-option x /mnt/c',
                     'ceph-fuse /mnt/c /mnt/d'):
            self.assertIsNone(self.mounter.claim(line.split()), line)
        self.assertIsNone(self.mounter.claim(
            ('ceph-fuse', '/mnt/c', '--admin-socket',
             f'{mounter_base.ROOT_SOCKETS}/.asok')))

    def test_a_cluster_by_name_is_its_configuration(self) -> None:
        self.assertEqual('/etc/ceph/b.conf', self.claim(
            'ceph-fuse --cluster b /mnt/c').source['conf'])

    def test_what_could_not_be_done_again_is_said(self) -> None:
        for words, why in (
                ('--keyfile /etc/ceph/k', 'its key is not in a keyring'),
                ('--setuser nova', 'it runs as another user than root'),
                ('-o noatime,suid', 'it is mounted with suid')):
            self.assertEqual(why, self.claim(
                f'ceph-fuse {words} /mnt/c').lacks)

    def test_nothing_is_named_that_ceph_would_take_for_something_else(
            self) -> None:
        for more in ({'fs': '-c'}, {'user': 'a b'}, {'root': 'v'},
                     {'root': '/a/../b'}, {'conf': '/tmp/ceph.conf'},
                     {'keyring': '/root/k'}, {'monitors': 'a b'},
                     {'keyring': '/etc/ceph/a,/tmp/b'},
                     {'conf': '/etc/ceph/a;/tmp/b'}, {'monitors': '--conf'},
                     {'options': 'suid'}, {'options': 'ro,'}):
            self.assertRaises(exception.MounterRefused, self.order, **more)

    def test_the_monitors_are_asked_for_the_file_system(self) -> None:
        self.assertEqual(
            'ceph --id u --connect-timeout 5 fs get a',
            ' '.join(self.mounter.ask_data(self.order(fs='a', user='u'))))
        self.assertEqual('ceph --connect-timeout 5 mds stat',
                         ' '.join(self.mounter.ask_data(self.order())))

    def test_what_is_gone_is_told_from_other_trouble(self) -> None:
        for gone, words in (
                (True, "Error ENOENT: filesystem 'a' not found"),
                (True, 'ceph-fuse[7]: ceph mount failed with (2) No such '
                       'file or directory'),
                (False, 'timed out'),
                (False, 'ceph mount failed with (110) Connection timed out'),
                (False, 'Error EACCES: access denied')):
            self.assertEqual(gone, self.mounter.is_gone(self.order(), words))

    def test_a_configuration_is_obeyed(self) -> None:
        self.assertEqual(('/etc/ceph/ceph.conf',),
                         self.mounter.obeyed(self.order()))
        self.assertEqual(('/etc/ceph/b.conf',), self.mounter.obeyed(
            self.order(conf='/etc/ceph/b.conf')))
