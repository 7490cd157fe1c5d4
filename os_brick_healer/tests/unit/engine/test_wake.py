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
"""Events wake the loop, whoever sends them and whatever they say."""

import functools
import os
import pathlib
import subprocess
import sys
import threading
import time

import fixtures
from hypothesis import given
from hypothesis import strategies as st

from os_brick_healer.engine import journal, wake
from os_brick_healer.tests import base

LO = pathlib.Path('/sys/class/net/lo/uevent')


class ParseTest(base.TestCase):
    def test_the_device_is_the_last_part_of_its_path(self) -> None:
        for message, device in (
                (b'change@/devices/virtual/block/md127\0ACTION=change',
                 'md127'),
                (b'add@/devices/nvme0n1', 'nvme0n1'),
                (b'libudev\0\xfe\xed\xca\xfe', None), (b'', None),
                (b'@/x', None), (b'add@', None), (b'add@/', None),
                (b'a-b@/x', None), (b'add@/x\xff', 'x\ufffd')):
            self.assertEqual(device, wake.parse_uevent(message))

    @given(st.binary(max_size=300))
    def test_hostile_bytes_are_a_device_or_nothing(self,
                                                   message: bytes) -> None:
        found = wake.parse_uevent(message)
        self.assertTrue(found is None or (found and '/' not in found))


class WakerTest(base.TestCase):
    def waker(self, mdstat: str | None = None,
              *, uevents: bool = False) -> wake.Waker:
        made = wake.Waker(mdstat=mdstat, uevents=uevents)
        self.addCleanup(made.close)
        return made

    def test_without_events_it_waits_so_long_and_no_longer(self) -> None:
        begin = time.monotonic()
        self.assertEqual(wake.Woken(), self.waker().wait(0.05))
        self.assertTrue(
            0.04 <= time.monotonic() - begin < base.PATIENCE_S)
        self.assertEqual(wake.Woken(), self.waker().wait(-1.0))

    def test_calls_from_other_threads_are_made_on_the_loops_thread(
            self) -> None:
        waker = self.waker()
        made: list[threading.Thread] = []

        def _post() -> None:
            for _ in range(500):
                waker.post(
                    lambda: made.append(threading.current_thread()))

        threads = [threading.Thread(target=_post) for _ in range(4)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 30
        while len(made) < 2000 and time.monotonic() < end:
            waker.wait(0.1)
        for thread in threads:
            thread.join()
        self.assertEqual(2000, len(made))
        self.assertEqual({threading.current_thread()}, set(made))

    def test_a_call_that_raises_does_not_lose_the_others(self) -> None:
        waker, made = self.waker(), []

        def _fail() -> None:
            raise ValueError('no')

        waker.post(lambda: made.append(1))
        waker.post(_fail)
        waker.post(lambda: made.append(2))
        self.assertRaises(ValueError, waker.wait, 1.0)
        begin = time.monotonic()
        waker.wait(60.0)
        self.assertLess(time.monotonic() - begin, base.PATIENCE_S)
        self.assertEqual([1, 2], made)

    def test_a_wing_may_have_descriptors_of_its_own(self) -> None:
        waker = self.waker()
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)

        def take() -> list[str]:
            os.read(read, 10)
            return ['nbd3', 'nbd4']

        waker.listen(read, take)
        self.assertEqual(wake.Woken(), waker.wait(0.01))
        os.write(write, b'.')
        self.assertEqual({'nbd3', 'nbd4'}, waker.wait(5.0).devices)
        waker.unlisten(read)
        os.write(write, b'.')
        self.assertEqual(wake.Woken(), waker.wait(0.01))
        waker.unlisten(read)

    def test_what_another_process_writes_in_a_journal_is_heard(self) -> None:
        waker, heard = self.waker(), []
        path = str(self.temp_dir() / 'journal.sqlite')
        ours = journal.Journal(path, boot_id='b')
        self.addCleanup(ours.close)
        self.assertTrue(waker.on_write(os.path.dirname(path),
                                       lambda: heard.append(1)))
        ours.data_version()
        self.assertEqual(wake.NOTHING, waker.wait(0.05))
        self.assertEqual([], heard)      # who reads is not heard
        for times in (1, 2):
            subprocess.run(
                [sys.executable, '-c',
                 'import sqlite3, sys\n'
                 'with sqlite3.connect(sys.argv[1]) as db:\n'
                 '    db.execute("INSERT INTO setting VALUES (?, ?)",'
                 ' (sys.argv[2], ""))', path, str(times)], check=True)
            begin = time.monotonic()
            self.assertEqual(wake.NOTHING, waker.wait(60.0))
            self.assertLess(time.monotonic() - begin, base.PATIENCE_S)
            self.assertEqual(times, len(heard))

    def test_a_file_that_is_made_anew_is_heard_of(self) -> None:
        waker, heard = self.waker(), []
        home = str(self.temp_dir())
        waker.on_write(home, lambda: heard.append(1))
        for times in (1, 2):
            with open(f'{home}/a', 'w') as f:
                f.write('x')
            waker.wait(60.0)
            self.assertEqual(times, len(heard))
            os.unlink(f'{home}/a')

    def test_a_directory_that_cannot_be_watched_is_told(self) -> None:
        log = self.useFixture(fixtures.FakeLogger())
        self.assertFalse(self.waker().on_write('/nonexistent', lambda: None))
        self.assertIn('/nonexistent ([Errno 2] No such file or directory)',
                      log.output)

    def test_its_descriptors_are_given_back(self) -> None:
        before = os.listdir('/proc/self/fd')
        waker = wake.Waker(mdstat=None, uevents=False)
        waker.on_write(str(self.temp_dir()), lambda: None)
        waker.close()
        self.assertEqual(before, os.listdir('/proc/self/fd'))

    def test_who_has_no_time_is_told_of_calls_at_once_of_events_soon(
            self) -> None:
        now_s = [50.0]
        waker = wake.Waker(mdstat=None, uevents=False, clock=lambda: now_s[0])
        self.addCleanup(waker.close)
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        waker.listen(read, lambda: ('nbd3',))
        os.write(write, b'.')
        told, made = frozenset({'nbd3'}), []
        self.assertEqual(told, waker.wait(0.0).devices)
        waker.post(lambda: made.append(1))
        self.assertEqual(wake.NOTHING, waker.wait(0.0))
        self.assertEqual([1], made)
        # With time to wait it always asks; without, once it is due again.
        self.assertEqual(told, waker.wait(0.01).devices)
        self.assertEqual(wake.NOTHING, waker.wait(-1.0))
        now_s[0] += wake.GLANCE_S
        self.assertEqual(told, waker.wait(0.0).devices)

    def test_one_that_another_takes_off_is_not_asked_any_more(self) -> None:
        waker = self.waker()
        pipes = [os.pipe() for _ in range(2)]
        for fd in (fd for pipe in pipes for fd in pipe):
            self.addCleanup(os.close, fd)
        asked: list[int] = []

        def take(mine: int, others: int) -> list[str]:
            asked.append(mine)
            waker.unlisten(mine)
            waker.unlisten(others)
            return ['nbd0']

        for (mine, write), (others, _) in (pipes, pipes[::-1]):
            waker.listen(mine, functools.partial(take, mine, others))
            os.write(write, b'.')
        self.assertEqual({'nbd0'}, waker.wait(5.0).devices)
        self.assertEqual(1, len(asked))

    def test_a_host_without_md_can_be_waited_on(self) -> None:
        waker = self.waker(str(self.temp_dir() / 'mdstat'))
        self.assertEqual(wake.Woken(), waker.wait(0.01))

    def test_mdstat_is_watched_and_not_read_to_its_end(self) -> None:
        """Of an array that is written to in vain the reader would hang."""
        path = '/proc/self/mounts'     # poll()s with POLLPRI, like mdstat
        waker = self.waker(path)
        self.assertEqual([], waker.problems)
        self.assertFalse(waker.wait(0.01).lost)
        (fd,) = (fd for fd in os.listdir('/proc/self/fd') if os.path.exists(
            f'/proc/self/fd/{fd}') and os.readlink(
                f'/proc/self/fd/{fd}').endswith('/mounts'))
        at = pathlib.Path(f'/proc/self/fdinfo/{fd}').read_text()
        self.assertEqual(['pos:', '0'], at.split()[:2])

    def test_the_kernels_uevents_are_heard(self) -> None:
        waker = self.waker(uevents=True)
        if waker.problems or not os.access(LO, os.W_OK):
            self.skipTest('uevents cannot be received or caused here')
        try:
            LO.write_text('change')
        except OSError as e:
            self.skipTest(f'an uevent cannot be caused here: {e}')
        devices: set[str] = set()
        end = time.monotonic() + 5
        while 'lo' not in devices and time.monotonic() < end:
            devices |= waker.wait(0.5).devices
        if 'lo' not in devices:
            self.skipTest('uevents do not reach this name space')
