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
"""Laws of the grammar at the privileged border."""

import string

from hypothesis import given
from hypothesis import strategies as st

from os_brick_healer import exception
from os_brick_healer.privileged import check
from os_brick_healer.tests import base

WORDS = st.text(alphabet=string.printable + '\0é/', max_size=40)


def refused(function: object, value: object) -> bool:
    assert callable(function)
    try:
        function(value)
    except exception.NotOurs:
        return True
    return False


class TestNames(base.TestCase):

    @given(WORDS)
    def test_an_accepted_name_is_no_path_and_no_option(
            self, word: str) -> None:
        for function in (check.array, check.device, check.controller):
            if not refused(function, word):
                self.assertNotIn('/', word)
                self.assertFalse(word.startswith(('-', '.')))
                self.assertNotIn('..', word)
                self.assertEqual(word.split(), [word])

    def test_kernel_names_are_accepted_as_they_are(self) -> None:
        for function, name in ((check.array, 'md127'),
                               (check.array, 'md_vol-1.a'),
                               (check.device, 'nvme10n1'),
                               (check.controller, 'nvme3')):
            self.assertEqual(name, function(name))

    def test_partitions_and_paths_and_others_are_refused(self) -> None:
        for name in ('nvme0n1p1', 'nvme0c1n1', '/dev/nvme0n1', 'sda',
                     'nvme0n1\n', '', None, 7, b'nvme0n1'):
            self.assertTrue(refused(check.device, name), name)
        for name in ('md127p1', 'md/x', 'md', 'md_..', 'md_a..b', 'dm-0',
                     'md127\n'):
            self.assertTrue(refused(check.array, name), name)


class TestNqn(base.TestCase):

    def test_it_may_have_223_bytes_and_no_more(self) -> None:
        longest = 'nqn.' + 'x' * 219
        self.assertEqual(longest, check.nqn(longest))
        self.assertTrue(refused(check.nqn, longest + 'x'))

    def test_it_brings_no_options_of_its_own(self) -> None:
        for good in ('nqn.2024-01.org.example:uuid:1+2-3.4_5', 'nqn.!~'):
            self.assertEqual(good, check.nqn(good))
        for bad in ('nqn.a,ctrl_loss_tmo=0', 'nqn.,', 'nqn.a b', 'nqn.'):
            self.assertTrue(refused(check.nqn, bad), bad)

    @given(WORDS)
    def test_it_has_no_blank_and_no_control_character(self, word: str) -> None:
        value = 'nqn.' + word
        if not refused(check.nqn, value):
            self.assertTrue(all('!' <= c <= '~' for c in value))


class TestValues(base.TestCase):

    def test_addresses_are_written_as_the_kernel_does(self) -> None:
        self.assertEqual('fe80::1', check.address('FE80:0::1'))
        self.assertEqual('10.0.0.1', check.address('10.0.0.1'))

    def test_what_is_not_an_address_is_refused(self) -> None:
        for value in ('localhost', '10.0.0.1/24', '10.0.0', '-a', '', None,
                      167772161, '010.0.0.1', '1.2.3.4\n'):
            self.assertTrue(refused(check.address, value), value)

    def test_ports_are_bounded(self) -> None:
        for value in (0, 65536, -1, True, '4420', 4420.0, None):
            self.assertTrue(refused(check.port, value), value)
        self.assertEqual(4420, check.port(4420))

    def test_both_spellings_of_an_array_uuid_are_one(self) -> None:
        self.assertEqual(
            check.md_uuid('6a41b2c7:0d3e4f5a:9b8c7d6e:5f4a3b2c'),
            check.md_uuid('6A41B2C7-0d3e-4f5a-9b8c-7d6e5f4a3b2c'))

    def test_the_nil_uuid_names_nothing(self) -> None:
        nil = '00000000-0000-0000-0000-000000000000'
        self.assertTrue(refused(check.md_uuid, nil))
        self.assertTrue(refused(check.namespace_uuid, nil))

    def test_only_three_attributes_can_be_set_within_bounds(self) -> None:
        self.assertEqual(('fast_io_fail_tmo', -1),
                         check.attribute('fast_io_fail_tmo', -1))
        for name, value in (('delete_controller', 1), ('kato', 1),
                            ('../x', 1), ('reconnect_delay', 0),
                            ('ctrl_loss_tmo', '1')):
            self.assertRaises(exception.NotOurs, check.attribute, name,
                              value)

    def test_deadlines_are_finite(self) -> None:
        for value in (0, -1, float('inf'), float('nan'), '3', None, True):
            self.assertTrue(refused(check.timeout, value), value)

    def test_a_scope_is_an_interface_and_nothing_else(self) -> None:
        self.assertEqual('fe80::1%eth0.5', check.address('fe80::1%eth0.5'))
        for value in ('fe80::1%x,hostnqn=y', 'fe80::1%', 'fe80::1%a b',
                      'fe80::1%' + 'x' * 16, 'fe80::1%a\n'):
            self.assertTrue(refused(check.address, value), value)

    def test_only_known_transports_pass(self) -> None:
        self.assertEqual(['tcp', 'rdma'],
                         [check.transport(t) for t in ('tcp', 'rdma')])
        for value in ('fc', '', None, 'TCP', ['tcp']):
            self.assertTrue(refused(check.transport, value), value)

    def test_namespaces_have_names_and_uuids(self) -> None:
        one = '6a41b2c7-0d3e-4f5a-9b8c-7d6e5f4a3b2c'
        self.assertEqual({}, check.namespaces(None))
        self.assertEqual({'nvme1n1': one},
                         check.namespaces({'nvme1n1': one.upper()}))
        for value in ([('nvme1n1', one)], 'nvme1n1', {'md127': one},
                      {'nvme1n1': None}, {1: one}):
            self.assertTrue(refused(check.namespaces, value), value)

    def test_a_namespace_uuid_is_written_in_one_form(self) -> None:
        one = '6a41b2c7-0d3e-4f5a-9b8c-7d6e5f4a3b2c'
        self.assertEqual(one, check.namespace_uuid(one.upper()))
        for value in ('', 'x', one[:-1], None, 7):
            self.assertTrue(refused(check.namespace_uuid, value), value)
        for value in ('', 'g' * 32, '0' * 31, None, 7):
            self.assertTrue(refused(check.md_uuid, value), value)

    def test_bounds_belong_to_what_they_bound(self) -> None:
        self.assertEqual((1, 9), (check.number(1, 1, 9, 'x'),
                                  check.number(9, 1, 9, 'x')))
        for value in (0, 10):
            self.assertTrue(refused(
                lambda v: check.number(v, 1, 9, 'x'), value))
        self.assertEqual([1, 65535], [check.port(p) for p in (1, 65535)])
        most = check.TIMEOUT_S_MAX
        self.assertEqual(3600.0, most)
        self.assertEqual([0.1, most],
                         [check.timeout(t) for t in (0.1, most)])
        self.assertTrue(refused(check.timeout, most + 0.1))
        for name, low, high in (('fast_io_fail_tmo', -1, 3600),
                                ('reconnect_delay', 1, 3600),
                                ('ctrl_loss_tmo', -1, 86400)):
            for value in (low, high):
                self.assertEqual((name, value), check.attribute(name, value))
            for value in (low - 1, high + 1):
                self.assertRaises(exception.NotOurs, check.attribute, name,
                                  value)
        self.assertRaises(exception.NotOurs, check.attribute, 7, 1)

    def test_what_is_refused_is_shown_up_to_a_length(self) -> None:
        error = self.assertRaises(exception.NotOurs, check.device, 'x' * 999)
        self.assertEqual(
            f"cannot accept '{'x' * 79}...: it is not the kernel name of an "
            'NVMe namespace', str(error))
        error = self.assertRaises(exception.NotOurs, check.device, 'x' * 78)
        self.assertIn(f"'{'x' * 78}':", str(error))
