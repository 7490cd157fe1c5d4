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
"""Hearing of deaths."""

from collections.abc import Callable, Iterable
import os
import subprocess
import sys

from os_brick_healer import exception
from os_brick_healer.mapping import events, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import test_parts


class Ear:
    """The kernel's words, as a test says them."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        self.said: frozenset[str] | None = frozenset()

    def fileno(self) -> int:
        return self.read_fd

    def take(self) -> frozenset[str] | None:
        return self.said

    def close(self) -> None:
        os.close(self.read_fd)
        os.close(self.write_fd)


class Listener:
    def __init__(self) -> None:
        self.takes: dict[int, Callable[[], Iterable[str]]] = {}

    def listen(self, fd: int, take: Callable[[], Iterable[str]]) -> None:
        assert fd not in self.takes
        self.takes[fd] = take

    def unlisten(self, fd: int) -> None:
        self.takes.pop(fd, None)


class EventsTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock, self.listener, self.ear = (
            test_parts.Clock(), Listener(), Ear())
        self.loaded = True
        self.events = events.Events(self.listener, self.clock, self.hear)
        self.addCleanup(self.ear.close)

    def hear(self) -> events.Hears:
        if not self.loaded:
            raise exception.HealerError('cannot use nbd: no module')
        return self.ear

    def child(self) -> 'subprocess.Popen[bytes]':
        child = subprocess.Popen([sys.executable, '-c', 'input()'],
                                 stdin=subprocess.PIPE)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def test_the_kernels_word_names_the_device_and_its_moment(self) -> None:
        self.assertTrue(self.events.hear())
        self.ear.said = frozenset(('nbd3',))
        self.assertEqual({'nbd3'},
                         set(self.listener.takes[self.ear.fileno()]()))
        self.assertEqual({'nbd3': (1000.0, 1000.0)},
                         self.events.link_dead_s)

    def test_a_word_may_have_waited_since_the_turn_before_the_last(
            self) -> None:
        """The agent did not run meanwhile: the last one was just now."""
        for now_s in (1000.0, 1001.0, 1031.0):
            self.clock.now_s = now_s
            self.events.hear()
        self.ear.said = frozenset(('nbd3',))
        self.clock.now_s = 1031.1
        list(self.listener.takes[self.ear.fileno()]())
        self.assertEqual({'nbd3': (1031.1, 1001.0)},
                         self.events.link_dead_s)

    def test_words_that_were_dropped_concern_everybody(self) -> None:
        self.events.hear()
        self.events.lost = lambda: ('nbd1', 'nbd2')
        self.ear.said = None
        self.assertEqual({'nbd1', 'nbd2'},
                         set(self.listener.takes[self.ear.fileno()]()))

    def test_a_driver_that_comes_later_is_heard_then(self) -> None:
        self.loaded = False
        self.assertFalse(self.events.hear())
        self.assertIn('no module', str(self.events.problem))
        self.loaded = True
        self.assertFalse(self.events.hear())    # not at every look
        self.clock.now_s += events.RETRY_S
        self.assertTrue(self.events.hear())
        self.assertIsNone(self.events.problem)

    def test_the_end_of_a_server_is_heard_once(self) -> None:
        child = self.child()
        one = model.Process(pid=child.pid, start='1')
        self.assertTrue(self.events.watch('nbd3', one))
        self.assertTrue(self.events.watch('nbd3', one))
        ((_fd, take),) = self.listener.takes.items()
        self.assertEqual(('nbd3',), take())
        self.assertEqual({}, self.listener.takes)

    def test_a_server_that_ended_before_is_said_to_have(self) -> None:
        child = self.child()
        child.kill()
        child.wait()
        self.assertFalse(self.events.watch(
            'nbd3', model.Process(pid=child.pid, start='1')))

    def test_nothing_stays_open(self) -> None:
        before = len(os.listdir('/proc/self/fd'))
        for _ in range(3):
            child = self.child()
            self.events.watch('nbd3', model.Process(pid=child.pid,
                                                    start='1'))
            assert child.stdin is not None
            child.stdin.close()
        self.events.watch('nbd3', None)
        self.assertEqual({}, self.listener.takes)
        self.assertEqual(before, len(os.listdir('/proc/self/fd')))
