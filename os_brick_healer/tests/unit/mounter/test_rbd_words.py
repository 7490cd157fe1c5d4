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
"""Command lines of rbd-nbd, as different people write them."""

import shlex

from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.mounter import rbd_words
from os_brick_healer.tests import base

HANDLE = '0001-0009-rook-ceph-0000000000000002-0dcf8b3f'


def claim(words: str) -> mounter_base.Claim | None:
    return rbd_words.claim(('rbd-nbd', *shlex.split(words)))


class ClaimTest(base.TestCase):
    def test_ceph_csi_s_is_understood(self) -> None:
        found = claim(
            f'attach p/csi-vol-1 --device /dev/nbd3 --try-netlink '
            f'--reattach-timeout=300 --io-timeout=0 --cookie={HANDLE} '
            '--id csi-node -m 10.0.0.1,10.0.0.2 --keyfile=/tmp/csi/keys/1')
        self.assertEqual(mounter_base.Claim(
            volume=HANDLE, device='nbd3', lacks='its key is not in a '
            'keyring', source={
                'pool': 'p', 'image': 'csi-vol-1', 'user': 'csi-node',
                'monitors': '10.0.0.1,10.0.0.2'}), found)

    def test_options_stand_before_the_verb_and_behind_it(self) -> None:
        wanted = mounter_base.Claim(volume='c', source={
            'pool': 'p', 'namespace': 'n', 'image': 'i', 'snapshot': 's',
            'user': 'u', 'conf': '/etc/ceph/a.conf', 'keyring': '/etc/ceph/k',
            'readonly': 'true', 'exclusive': 'true'})
        for words in (
                '-n client.u -c /etc/ceph/a.conf -k /etc/ceph/k --read-only '
                '--exclusive --cookie c map p/n/i@s',
                'map p/n/i@s --cookie=c --name=client.u --cluster a '
                '--keyring=/etc/ceph/k --read-only --exclusive -f',
                'map --pool p --namespace n i@s --cookie c --id u '
                '--conf=/etc/ceph/a.conf -k /etc/ceph/k --read-only '
                '--exclusive --debug-monc=5/10 --log-to-stderr=true'):
            self.assertEqual(wanted, claim(words), words)

    def test_a_configuration_that_is_named_wins_over_a_cluster(self) -> None:
        found = claim('map i --cookie c --cluster a -c /etc/ceph/b.conf')
        assert found is not None
        self.assertEqual({'pool': 'rbd', 'image': 'i',
                          'conf': '/etc/ceph/b.conf'}, dict(found.source))

    def test_what_cannot_be_told_is_not_said(self) -> None:
        for words in (
                '', 'map', 'map p/i', 'map p/i q/j --cookie c',
                'list-mapped --cookie c', 'unmap /dev/nbd0 --cookie c',
                'map p/i --cookie c --what else', 'map p/i --cookie',
                'map p/n/i/j --cookie c', 'map p/ --cookie c',
                'map /i --cookie c', 'map p/i@ --cookie c',
                'map p/i --cookie ../c', "map p/i --cookie ''",
                'map p/i --cookie c --snap-id 4'):
            self.assertIsNone(claim(words), words)

    def test_who_could_not_be_replaced_is_said_to_be(self) -> None:
        for words, why in (
                ('--key AQ==', 'keyring'), ('-K /tmp/k', 'keyring'),
                ('--encryption-format luks2 --keyfile=x', 'decrypts')):
            found = claim(f'map p/i --cookie c {words}')
            assert found is not None
            self.assertIn(why, found.lacks)
            self.assertNotIn('AQ==', repr(found))
