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
"""What may cross the wall about servers of volumes."""

from collections.abc import Callable

from os_brick_healer import exception
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.privileged import check
from os_brick_healer.tests import base

VOLUME = '12345678-1234-4234-8234-123456789abc'


class ServingTest(base.TestCase):

    def expect(self, function: Callable[[object], object],
               good: tuple[str, ...], bad: tuple[object, ...]) -> None:
        for right in good:
            self.assertEqual(right, function(right))
        for value in (*bad, None, 7, b'x', '', *(v + '\n' for v in good)):
            self.assertRaises(exception.NotOurs, function, value)

    def test_a_device_is_a_kernel_name(self) -> None:
        self.expect(check.nbd, ('nbd0', 'nbd15'),
                    ('nbd', 'nbd0p1', '/dev/nbd0', 'sda'))

    def test_a_place_is_an_absolute_path_without_detours(self) -> None:
        self.expect(check.place, ('/mnt/c', '/a b', '/' + 'x' * 1023),
                    ('mnt', '/', '/a/', '/a/../b', '/a//b', '/a\tb', '/ä',
                     '/' + 'x' * 1024))

    def test_a_volume_is_one_plain_word(self) -> None:
        self.expect(check.volume, (
            VOLUME, '0001-0009-rook-ceph-0000000000000002-' + VOLUME,
            'pvc_1.a', 'x' * 128),
            ('{' + VOLUME + '}', 'a/b', '../a', '-c', '.a', 'a b', 'x' * 129,
             'a%s', 'ä'))

    def test_a_long_volume_has_a_short_socket(self) -> None:
        volume = '0001-0009-rook-ceph-0000000000000002-' + VOLUME
        name = mounter_base.in_path(volume)
        self.assertEqual(36, len(name))
        self.assertNotEqual(name, mounter_base.in_path(volume + '0'))
        good = f'/run/os-brick-healer/{name}.sock'
        self.assertEqual(good, check.socket_of(good, volume))
        self.assertRaises(exception.NotOurs, check.socket_of,
                          f'/run/{volume}.sock', volume)

    def test_a_plugin_is_a_name(self) -> None:
        self.expect(check.plugin, ('nbd', 'rbd-nbd'), ('../nbd', '-nbd'))

    def test_a_start_is_a_count_of_ticks(self) -> None:
        self.expect(check.start, ('12345',), ('-1', '1.5', 'now'))

    def test_a_connection_is_handed_over_at_a_place_of_ours(self) -> None:
        self.expect(check.handover, (), ('/run/x', '../x', ' '))

    def test_a_server_s_socket_names_its_volume(self) -> None:
        good = f'/run/os-brick-healer/{VOLUME}.sock'
        self.assertEqual(good, check.socket_of(good, VOLUME))
        for bad in (f'run/{VOLUME}.sock', '/run/other.sock', 7,
                    f'/run/../etc/{VOLUME}.sock', f'/r\n/{VOLUME}.sock',
                    f'/r\xe9/{VOLUME}.sock',
                    f'/{"x" * check.SOCKET_BYTES_MAX}/{VOLUME}.sock'):
            self.assertRaises(exception.NotOurs, check.socket_of, bad,
                              VOLUME)

    def test_a_socket_s_path_has_107_bytes_at_most(self) -> None:
        """sun_path of unix(7) has 108, its end among them."""
        for size, taken in ((107, True), (108, False)):
            name = f'/{VOLUME}.sock'
            path = '/' + 'x' * (size - 1 - len(name)) + name
            self.assertEqual(size, len(path))
            if taken:
                self.assertEqual(path, check.socket_of(path, VOLUME))
            else:
                self.assertRaises(exception.NotOurs, check.socket_of, path,
                                  VOLUME)
