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
"""A read that hangs, while the device's figures change."""

import os
import threading
import time

from os_brick_healer import exception
from os_brick_healer.nbd import parse
from os_brick_healer.privileged import flowing, tree
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.privileged import test_blocks

KEY, OTHER = test_blocks.KEY, test_blocks.OTHER
IDLE = '1 0 0 0 0 0 0 0 0 0 0\n'
UNDER_WAY = '1 0 0 0 0 0 0 0 1 0 0\n'
TWO_UNDER_WAY = '1 0 0 0 0 0 0 0 2 0 0\n'
ENDED = '2 0 0 0 0 0 0 0 0 0 0\n'
OLD = parse.Process(pid=100, start='7')
NEW = parse.Process(pid=101, start='9')


class FlowsTest(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.root = self.temp_dir()
        test_blocks.add(self.root, 'nbd3', KEY)
        self.stat = self.root / 'sys/block/nbd3/stat'
        self.device = self.root / 'dev/nbd3'
        self.device.parent.mkdir()
        os.mkfifo(self.device)      # open() for reading waits for a writer
        self.addCleanup(self.let_go)

    def let_go(self) -> None:
        """The reads end, with an error: a fifo has no direct I/O."""
        if self.device.is_fifo():
            os.close(os.open(self.device, os.O_RDWR))

    def waiting(self) -> int:
        """Threads that wait for this device."""
        name = f'read {self.device}'[:60]
        return sum(thread.name == name for thread in threading.enumerate())

    def flows(self, before: str, after: str,
              server: parse.Process = OLD) -> str:
        answers: list[str] = []

        def ask() -> None:
            answers.append(flowing.flows(
                tree.Tree(str(self.root)), device='nbd3', volume=KEY,
                server=server, timeout_s=1.0))

        self.stat.write_text(before)
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.3)
        self.stat.write_text(after)
        asking.join()
        return answers[0]

    def test_a_request_more_under_way_was_sent(self) -> None:
        self.assertEqual('sent', self.flows(IDLE, UNDER_WAY))

    def test_requests_that_end_show_a_connection(self) -> None:
        self.assertEqual('sent', self.flows(UNDER_WAY, ENDED))

    def test_nothing_more_under_way_was_not_sent(self) -> None:
        self.assertEqual('unsent', self.flows(UNDER_WAY, UNDER_WAY))

    def test_a_second_question_compares_with_the_first_ones_moment(
            self) -> None:
        self.assertEqual('unsent', self.flows(IDLE, IDLE))
        self.assertEqual('sent', self.flows(UNDER_WAY, UNDER_WAY))
        self.assertEqual('sent', self.flows(UNDER_WAY, UNDER_WAY))

    def test_a_read_that_an_old_server_was_sent_says_nothing_of_a_new_one(
            self) -> None:
        self.assertEqual('sent', self.flows(IDLE, UNDER_WAY))
        self.assertEqual('unsent', self.flows(UNDER_WAY, UNDER_WAY, NEW))
        self.assertEqual('sent', self.flows(
            UNDER_WAY, TWO_UNDER_WAY, NEW))

    def test_a_read_that_was_not_sent_is_not_begun_twice(self) -> None:
        self.flows(IDLE, IDLE)
        self.flows(IDLE, IDLE, NEW)
        flowing.flows(tree.Tree(str(self.root)), device='nbd3', volume=KEY,
                      server=NEW, timeout_s=0.1)
        self.assertEqual(1, self.waiting())

    def test_a_full_queue_says_nothing_of_the_connection(self) -> None:
        queue = self.root / 'sys/block/nbd3/queue/nr_requests'
        queue.write_text('2\n')
        self.assertEqual('unsent', self.flows(UNDER_WAY, UNDER_WAY))
        queue.write_text('1\n')
        self.assertEqual('sent', self.flows(UNDER_WAY, UNDER_WAY))

    def test_an_error_of_a_read_is_told(self) -> None:
        self.device.unlink()
        self.assertRaises(FileNotFoundError, self.flows_once)

    def test_a_read_that_is_over_is_not_shared(self) -> None:
        self.device.unlink()
        self.device.write_bytes(bytes(4096))
        for _ in range(2):
            self.assertEqual('read', self.flows_once())

    def flows_once(self) -> str:
        return flowing.flows(
            tree.Tree(str(self.root)), device='nbd3', volume=KEY,
            server=OLD, timeout_s=5.0)

    def test_another_volumes_device_is_not_read(self) -> None:
        self.assertRaises(
            exception.NotOurs, flowing.flows, tree.Tree(str(self.root)),
            device='nbd3', volume=OTHER, server=OLD, timeout_s=1.0)
