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
"""A connection goes to root, and to nobody else."""

import os
import socket
import threading
import time

from os_brick_healer import exception
from os_brick_healer.privileged import handing, nbd
from os_brick_healer.tests import base

ME = frozenset((os.geteuid(),))


class HandingTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.near, self.far = socket.socketpair()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)

    def test_what_is_taken_is_the_same_connection(self) -> None:
        with handing.offer(self.near, 5.0) as place:
            taken = handing.take(place, ME, 5.0)
        with taken:
            taken.sendall(b'hello')
        self.assertEqual(b'hello', self.far.recv(10))

    def test_an_offer_that_nobody_takes_ends_at_once(self) -> None:
        begin_s = time.monotonic()
        with handing.offer(self.near, 30.0):
            pass
        self.assertLess(time.monotonic() - begin_s, base.PATIENCE_S)

    def test_it_is_taken_once(self) -> None:
        with handing.offer(self.near, 5.0) as place:
            handing.take(place, ME, 5.0).close()
            self.assertRaises(exception.NotOurs, handing.take, place, ME,
                              0.2)

    def test_nothing_is_taken_from_somebody_else(self) -> None:
        with handing.offer(self.near, 5.0) as place:
            error = self.assertRaises(exception.NotOurs, handing.take,
                                      place, frozenset((12345,)), 5.0)
        self.assertIn('did not ask', str(error))

    def test_nobody_there_is_an_error(self) -> None:
        self.assertRaises(exception.NotOurs, handing.take,
                          'os-brick-healer-' + '0' * 32, ME, 1.0)

    def test_no_device_is_ended_without_its_volumes_lock(self) -> None:
        error = self.assertRaises(
            exception.NotOurs, vars(nbd.disconnect)['__wrapped__'],
            device='nbd0', volume='v', held='os-brick-healer-' + '0' * 32,
            timer_ms=30000, timeout_s=1.0)
        self.assertIn('what is handed over', str(error))

    def test_only_a_name_of_ours_is_visited(self) -> None:
        for name in ('', 'x', 'os-brick-healer-', 'os-brick-healer-\0' +
                     '0' * 31, '/tmp/x', 7, None):
            self.assertRaises(exception.NotOurs, handing.take, name, ME, 1.0)

    def give(self, fd: int) -> str:
        """Offer any descriptor, as a liar would."""
        name = 'os-brick-healer-' + os.urandom(16).hex()
        door = socket.socket(socket.AF_UNIX)
        self.addCleanup(door.close)
        door.bind(f'\0{name}')
        door.listen(1)

        def serve() -> None:
            visitor, _ = door.accept()
            with visitor:
                socket.send_fds(visitor, [b'c'], [fd])

        threading.Thread(target=serve, daemon=True).start()
        return name

    def test_what_is_no_connected_stream_is_refused(self) -> None:
        datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        alone = socket.socket(socket.AF_UNIX)
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        read, write = os.pipe()
        for one in (datagram, alone, netlink):
            self.addCleanup(one.close)
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        for fd in (datagram.fileno(), alone.fileno(), netlink.fileno(),
                   read):
            self.assertRaises(exception.NotOurs, handing.take, self.give(fd),
                              ME, 5.0)
            keep = handing.keep(self.give(fd), ME, 5.0)
            self.assertRaises(exception.NotOurs, keep.__enter__)

    def test_a_lock_is_no_connection_and_no_program_inherits_it(self) -> None:
        file = (self.temp_dir() / 'lock').open('w')
        self.addCleanup(file.close)
        self.assertRaises(exception.NotOurs, handing.take,
                          self.give(file.fileno()), ME, 5.0)
        with handing.offer(file.fileno(), 5.0) as place, (
                handing.keep(place, ME, 5.0)):
            path = os.readlink(f'/proc/self/fd/{file.fileno()}')
            kept = [int(fd) for fd in os.listdir('/proc/self/fd')
                    if self.leads_to(fd, path) and int(fd) != file.fileno()]
            self.assertEqual([False], [os.get_inheritable(fd)
                                       for fd in kept])

    def leads_to(self, fd: str, path: str) -> bool:
        try:
            return os.readlink(f'/proc/self/fd/{fd}') == path
        except OSError:
            return False
