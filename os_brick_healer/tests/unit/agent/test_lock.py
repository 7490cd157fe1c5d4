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
"""Laws of the lock: one agent on a host, whatever happens to it."""

import os
import pathlib
import subprocess
import sys

from os_brick_healer import exception
from os_brick_healer.agent import lock
from os_brick_healer.tests import base

HOLD = ('import sys; from os_brick_healer.agent import lock; '
        'l = lock.AgentLock(sys.argv[1], launch="process"); '
        'print("held", flush=True); sys.stdin.read()')

FULL = ('import resource; '
        'resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); ')


class LockTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.place = self.temp_dir() / 'run'

    def take(self) -> lock.AgentLock:
        held = lock.AgentLock(str(self.place), launch='systemd', try_s=0.1)
        self.addCleanup(held.release)
        return held

    def elsewhere(self, hold: str = HOLD) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, '-c', hold, str(self.place)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdin is not None and child.stdout is not None
        for close in (child.stdout.close, child.stdin.close, child.wait,
                      child.kill):
            self.addCleanup(close)
        self.assertEqual(b'held\n', child.stdout.readline())
        return child

    def test_the_second_learns_who_is_first(self) -> None:
        self.take()
        error = self.assertRaises(lock.AgentRuns, self.take)
        self.assertIn(f'process {os.getpid()} (systemd)', str(error))

    def test_who_cannot_leave_a_name_holds_it_all_the_same(self) -> None:
        """As on a full disk."""
        child = self.elsewhere(FULL + HOLD)
        error = self.assertRaises(lock.AgentRuns, self.take)
        self.assertIn('did not leave its name', str(error))
        child.kill()
        child.wait()
        self.take()

    def test_another_process_is_kept_out_until_it_is_killed(self) -> None:
        child = self.elsewhere()
        self.assertRaises(lock.AgentRuns, self.take)
        holder = lock.holder(str(self.place))
        self.assertEqual(lock.Holder(pid=child.pid, launch='process'), holder)
        child.kill()
        child.wait()
        self.assertIsNone(lock.holder(str(self.place)))
        self.take()

    def test_looking_neither_takes_nor_drops_the_lock(self) -> None:
        self.assertIsNone(lock.holder(str(self.place)))
        held = self.take()
        for _ in range(3):
            self.assertIsNotNone(lock.holder(str(self.place)))
        self.assertRaises(lock.AgentRuns, self.take)
        held.release()
        held.release()
        self.assertIsNone(lock.holder(str(self.place)))

    def test_what_the_holder_wrote_may_be_garbage(self) -> None:
        held = self.take()
        for garbage in ('', '{', '[]', '{"pid": "x", "launch": 3}'):
            pathlib.Path(held.path).write_text(garbage)
            holder = lock.holder(str(self.place))
            self.assertEqual(lock.Holder(pid=None, launch=None), holder)

    def test_what_is_no_file_in_its_place_is_to_be_removed(self) -> None:
        """A link is not followed."""
        for make, told in (
                (os.mkfifo, 'it is no regular file'),
                (os.mkdir, 'it is a directory'),
                (lambda path: os.symlink('/dev/null', path),
                 'it is a symbolic link')):
            self.place = self.temp_dir()
            path = f'{self.place}/{lock.NAME}'
            make(path)
            for error in (
                    self.assertRaises(lock.NoLockFile, self.take),
                    self.assertRaises(lock.NoLockFile, lock.holder,
                                      str(self.place))):
                self.assertIn(f'{told} (remove {path}', str(error))

    def test_a_directory_that_cannot_be_made_is_said(self) -> None:
        self.place.write_text('a file')
        error = self.assertRaises(exception.HealerError, self.take)
        self.assertIn('run_path', str(error))
