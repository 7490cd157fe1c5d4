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
"""Network block devices are touched only with their own cookie."""

import pathlib
import socket
from typing import Any

from os_brick_healer import exception
from os_brick_healer.privileged import blocks, command, tree
from os_brick_healer.tests import base

KEY = '0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c11'
OTHER = '6f0a4f3e-6c55-4b57-8c8f-0a8f5b7b2d22'
SIZE = 1 << 20


class Driver:
    """The kernel's driver: what it was told, and its effects."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.told: list[tuple[str, dict[str, Any]]] = []

    def connect(self, fd: int, *, size_bytes: int, server_flags: int,
                cookie: str, reattach_s: int, timeout_s: float) -> int:
        del fd, timeout_s
        self.told.append(('connect', {
            'size_bytes': size_bytes, 'server_flags': server_flags,
            'cookie': cookie, 'reattach_s': reattach_s}))
        add(self.root, 'nbd5', cookie)
        return 5

    def reconfigure(self, fd: int, index: int, *, size_bytes: int,
                    cookie: str, reattach_s: int, timeout_s: float) -> None:
        del fd, reattach_s, timeout_s
        self.told.append(('reconfigure', {
            'index': index, 'size_bytes': size_bytes, 'cookie': cookie}))

    def grow(self, index: int, *, size_bytes: int, cookie: str,
             timeout_s: float) -> None:
        del timeout_s
        self.told.append(('grow', {
            'index': index, 'size_bytes': size_bytes, 'cookie': cookie}))

    def disconnect(self, index: int, *, timeout_s: float) -> None:
        del timeout_s
        self.told.append(('disconnect', {'index': index}))


def add(root: pathlib.Path, name: str, cookie: str | None) -> None:
    place = root / 'sys/block' / name
    (place / 'queue').mkdir(parents=True)
    (place / 'holders').mkdir()
    (place / 'size').write_text(f'{SIZE // 512}\n')
    (place / 'pid').write_text('1\n')
    (place / 'stat').write_text('1 0 0 0 0 0 0 0 0 0 0\n')
    # A write to a file of sysfs replaces all of it: of one length, here.
    (place / 'queue/io_timeout').write_text('3000')
    if cookie is not None:
        (place / 'backend').write_text(f'{cookie}\n')


class BlocksTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = self.temp_dir()
        self.tree = tree.Tree(str(self.root))
        add(self.root, 'nbd3', KEY)
        self.driver = Driver(self.root)
        self.link, far = socket.socketpair()
        self.addCleanup(self.link.close)
        self.addCleanup(far.close)

    def timer(self, name: str = 'nbd3') -> str:
        return (self.root / f'sys/block/{name}/queue/io_timeout').read_text()

    def reconnect(self, **changes: Any) -> None:
        words = {'device': 'nbd3', 'volume': KEY, 'size_bytes': SIZE,
                 'reattach_s': 60, 'timeout_s': 1.0,
                 'driver': self.driver, **changes}
        blocks.reconnect(self.tree, self.link, **words)

    def connect(self, **changes: Any) -> tuple[str, int]:
        words = {'volume': OTHER, 'size_bytes': SIZE, 'server_flags': 5,
                 'reattach_s': 60, 'timer_ms': 1000, 'timeout_s': 1.0,
                 'driver': self.driver, **changes}
        return blocks.connect(self.tree, self.link, **words)

    def disconnect(self, **changes: Any) -> bool:
        words = {'device': 'nbd3', 'volume': KEY, 'timer_ms': 3000,
                 'timeout_s': 1.0, 'driver': self.driver, **changes}
        return blocks.disconnect(self.tree, **words)

    def refused(self, call: Any, **changes: Any) -> str:
        error = self.assertRaises(exception.NotOurs, call, **changes)
        self.assertEqual([], self.driver.told)
        return str(error)

    def test_a_dead_connection_gets_a_new_one(self) -> None:
        self.reconnect()
        self.assertEqual([('reconfigure', {
            'index': 3, 'size_bytes': SIZE, 'cookie': KEY})],
            self.driver.told)

    def test_another_volumes_device_is_refused(self) -> None:
        add(self.root, 'nbd4', OTHER)
        add(self.root, 'nbd6', None)
        for name in ('nbd4', 'nbd6'):
            for call in (self.reconnect, self.disconnect):
                self.assertIn('cookie', self.refused(call, device=name))

    def test_a_device_that_is_not_connected_is_refused(self) -> None:
        self.assertIn('not connected',
                      self.refused(self.reconnect, device='nbd9'))
        self.assertFalse(self.disconnect(device='nbd9'))

    def test_a_device_never_shrinks(self) -> None:
        self.assertIn('has', self.refused(self.reconnect,
                                          size_bytes=SIZE - 512))
        self.reconnect(size_bytes=SIZE * 2)

    def test_what_looks_like_no_device_is_refused(self) -> None:
        for name in ('sda', 'nbd3p1', '../nbd3', 'nbd', '', None, 3):
            self.refused(self.reconnect, device=name)

    def test_bounds_are_bounds(self) -> None:
        for changes in ({'size_bytes': 0}, {'size_bytes': -1},
                        {'size_bytes': True}, {'reattach_s': 0},
                        {'reattach_s': 1e9}, {'volume': 'x'}):
            self.refused(self.reconnect, **changes)
        for more in ({'timer_ms': 0}, {'timer_ms': '1'},
                     {'server_flags': 1 << 16}):
            self.driver.told.clear()
            try:
                self.connect(**more)
            except exception.NotOurs:
                continue
            self.fail(f'accepted {more}')

    def test_a_new_device_gets_the_timer_and_tells_the_old_one(self) -> None:
        self.assertEqual(('nbd5', 3000), self.connect())
        self.assertEqual('1000', self.timer('nbd5'))

    def test_a_volume_has_one_device(self) -> None:
        self.assertIn('nbd3', self.refused(self.connect, volume=KEY))

    def test_a_device_that_goes_gives_its_timer_back(self) -> None:
        blocks.set_timer(self.tree, device='nbd3', volume=KEY,
                         timer_ms=1000, timeout_s=1.0)
        self.assertEqual('1000', self.timer())
        self.assertTrue(self.disconnect())
        self.assertEqual('3000', self.timer())
        self.assertEqual([('disconnect', {'index': 3})], self.driver.told)

    def test_a_device_in_use_stays(self) -> None:
        (self.root / 'sys/block/nbd3/holders/dm-0').touch()
        self.assertIn('dm-0', self.refused(self.disconnect))

    def test_a_timer_that_is_right_is_left(self) -> None:
        call: dict[str, Any] = {'device': 'nbd3', 'volume': KEY,
                                'timeout_s': 1.0}
        self.assertTrue(blocks.set_timer(self.tree, timer_ms=2000, **call))
        self.assertFalse(blocks.set_timer(self.tree, timer_ms=2000, **call))

    def grow(self, size_bytes: int, volume: str = KEY) -> int:
        return blocks.grow(self.tree, device='nbd3', volume=volume,
                           size_bytes=size_bytes, timeout_s=1.0,
                           driver=self.driver)

    def test_a_device_follows_its_data_and_never_shrinks(self) -> None:
        for size in (SIZE, SIZE - 4096):
            self.assertEqual(SIZE, self.grow(size))
        self.assertEqual([], self.driver.told)
        self.assertEqual(SIZE + 4096, self.grow(SIZE + 4096))
        self.assertEqual([('grow', {
            'index': 3, 'size_bytes': SIZE + 4096, 'cookie': KEY})],
            self.driver.told)
        self.driver.told.clear()
        self.assertIn(KEY, self.refused(self.grow, size_bytes=2 * SIZE,
                                        volume=OTHER))

    def test_a_driver_that_cannot_be_loaded_is_an_error(self) -> None:
        def run(argv: Any, timeout_s: float) -> command.Result:
            del timeout_s
            self.assertEqual(['modprobe', 'nbd'], argv)
            return command.Result(code=1, out='', err='not found')

        error = self.assertRaises(exception.CommandError,
                                  blocks.load_driver, run)
        self.assertIn('not found', str(error))
