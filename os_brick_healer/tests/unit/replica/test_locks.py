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
"""Laws of sharing os-brick's locks with os-brick."""

import os
import subprocess
import sys
import textwrap
import threading
import time

from oslo_concurrency import lockutils
from oslo_config import cfg

from os_brick.initiator.connectors import base as brick_base
from os_brick_healer import exception
from os_brick_healer.replica import locks
from os_brick_healer.tests import base

# Holds os-brick's lock as os-brick does, or both as the healer does, and
# notes each time when somebody else is inside.
CONTENDER = textwrap.dedent('''
    import os, sys, time
    import os_brick
    from os_brick.initiator.connectors import base
    from oslo_concurrency import lockutils
    from oslo_config import cfg
    from os_brick_healer.replica import locks
    who, path, inside, rounds = sys.argv[1:]
    cfg.CONF(args=[], project="test", default_config_files=[])
    lockutils.set_defaults(path)
    os_brick.setup(cfg.CONF)

    def critical():
        # O_EXCL fails when the other one is inside.
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
        time.sleep(0.001)
        os.unlink(inside)

    @base.synchronized("connect_volume", external=True)
    def connect():
        critical()

    @base.synchronized("extend_volume", external=True)
    def extend():
        critical()

    def heal():
        with locks.OsBrickLocks(cfg.CONF).hold(60.0):
            critical()

    for _ in range(int(rounds)):
        {"connect": connect, "extend": extend, "heal": heal}[who]()
''')


class LocksTestCase(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.path = str(self.temp_dir())
        self.conf = self.new_conf()
        self.conf.register_opts([cfg.StrOpt('lock_path')], group='os_brick')
        lockutils.get_lock_path(self.conf)
        self.conf.set_override('lock_path', self.path, group='os_brick')
        self.locks = locks.OsBrickLocks(self.conf)

    def free(self) -> bool:
        """Whether both locks can be had at once by somebody else."""
        found: list[bool] = []

        def take() -> None:
            try:
                with self.locks.hold(0.05):
                    found.append(True)
            except locks.LocksBusy:
                found.append(False)

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        return found[0]


class TestLocks(LocksTestCase):

    def test_what_is_held_is_released(self) -> None:
        with self.locks.hold(1.0):
            self.assertFalse(self.free())
        self.assertTrue(self.free())

    def test_an_error_inside_releases_them(self) -> None:
        with self.assertRaises(ZeroDivisionError) as _, \
                self.locks.hold(1.0):
            raise ZeroDivisionError
        self.assertTrue(self.free())

    def test_os_bricks_decorator_in_another_thread_is_honoured(self) -> None:
        for name in locks.NAMES:
            entered, leave = threading.Event(), threading.Event()

            def brick(entered: threading.Event = entered,
                      leave: threading.Event = leave) -> None:
                entered.set()
                leave.wait(60.0)

            thread = threading.Thread(target=brick_base.synchronized(
                name, external=True, lock_path=self.path)(brick))
            thread.start()
            entered.wait(10.0)
            started_s = time.monotonic()
            self.assertRaises(locks.LocksBusy,
                              self.locks.hold(0.2).__enter__)
            self.assertLess(time.monotonic() - started_s, base.PATIENCE_S)
            leave.set()
            thread.join()
            self.assertTrue(self.free())

    def test_a_busy_second_lock_gives_the_first_one_back(self) -> None:
        other = lockutils.external_lock('extend_volume', 'os-brick-',
                                        self.path)
        code = ('import sys,fasteners,time\n'
                'lock = fasteners.InterProcessLock(sys.argv[1])\n'
                'lock.acquire()\nprint("in", flush=True)\n'
                'sys.stdin.read()\n')
        with subprocess.Popen(
                [sys.executable, '-c', code, str(other.path.decode()
                 if isinstance(other.path, bytes) else other.path)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdout.readline()
            self.assertRaises(locks.LocksBusy,
                              self.locks.hold(0.1).__enter__)
            with lockutils.lock('connect_volume', 'os-brick-',
                                external=True, lock_path=self.path,
                                blocking=False):
                pass
            process.stdin.close()
        self.assertTrue(self.free())

    def test_no_descriptor_is_left_open(self) -> None:
        def count() -> int:
            return len(os.listdir('/proc/self/fd'))

        with self.locks.hold(1.0):
            pass
        before = count()
        for _ in range(20):
            with self.locks.hold(1.0):
                self.free()
        self.assertEqual(before, count())

    def test_without_a_lock_path_nothing_is_done(self) -> None:
        self.conf.set_override('lock_path', None, group='os_brick')
        self.assertRaises(exception.ConfigError,
                          self.locks.hold(0.1).__enter__)

    def test_oslo_concurrencys_path_is_the_failsafe(self) -> None:
        self.conf.set_override('lock_path', None, group='os_brick')
        self.conf.set_override('lock_path', self.path,
                               group='oslo_concurrency')
        self.assertEqual(self.path, locks.lock_path(self.conf))

    def test_a_path_that_cannot_be_written_is_an_error(self) -> None:
        self.conf.set_override('lock_path', '/proc/none', group='os_brick')
        self.assertRaises(exception.HealerError,
                          self.locks.hold(0.1).__enter__)
        # ... and holds up nobody.
        self.conf.set_override('lock_path', self.path, group='os_brick')
        self.assertTrue(self.free())

    def test_a_file_that_root_made_belongs_to_the_directorys_owner(
            self) -> None:
        if os.geteuid() != 0:
            self.skipTest('only root can give files away')
        os.chown(self.path, 12345, 12346)
        with self.locks.hold(1.0):
            found = [os.stat(os.path.join(self.path, name))
                     for name in os.listdir(self.path)]
        self.assertEqual({(12345, 12346)},
                         {(one.st_uid, one.st_gid) for one in found})


class TestProcesses(LocksTestCase):

    def test_two_processes_are_never_inside_at_once(self) -> None:
        script = self.write_file(self.temp_dir() / 'contender.py', CONTENDER)
        for brick in ('connect', 'extend', 'heal'):
            inside = str(self.temp_dir() / 'inside')
            running = [
                subprocess.Popen(
                    [sys.executable, '-W', 'ignore', str(script), who,
                     self.path, inside, '40'],
                    stderr=subprocess.PIPE, text=True)
                for who in ('heal', brick)]
            for process in running:
                _out, err = process.communicate(timeout=100)
                self.assertEqual(0, process.returncode, err)
