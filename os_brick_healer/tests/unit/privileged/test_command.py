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
"""Laws of running commands and of calls that may hang."""

import os
import signal
import threading
import time

from os_brick_healer import exception
from os_brick_healer.privileged import bounded, command, tree
from os_brick_healer.tests import base


class TestCommand(base.TestCase):

    def test_only_our_programs_are_run(self) -> None:
        for name in ('sh', '/bin/sh', 'mdadm; reboot', ''):
            self.assertRaises(AssertionError, command.run, (name,), 1.0)

    def test_output_and_code_come_back(self) -> None:
        result = command.run(('wipefs', '--version'), 10.0)
        self.assertEqual(0, result.code)
        self.assertIn('wipefs', result.out)

    def test_a_complaint_is_one_bounded_line(self) -> None:
        result = command.Result(code=1, out='', err='a\nb\n' + 'x' * 9999)
        self.assertTrue(result.said.startswith('a; b; x'))
        self.assertLessEqual(len(result.said), 500)


class TestBounded(base.TestCase):

    def test_an_answer_comes_back(self) -> None:
        answer = bounded.run(lambda: 7, 5.0, 'seven')
        self.assertEqual((True, 7), (answer.done, answer.value))

    def test_an_error_comes_back(self) -> None:
        def fail() -> None:
            raise OSError(16, 'busy')

        self.assertRaises(OSError, bounded.run, fail, 5.0, 'fail')

    def test_a_hanging_call_is_left_behind(self) -> None:
        before_s = time.monotonic()
        answer = bounded.run(lambda: time.sleep(60), 0.1, 'hang')
        self.assertFalse(answer.done)
        self.assertLess(time.monotonic() - before_s, base.PATIENCE_S)


    def test_trying_again_waits_for_the_one_that_hangs(self) -> None:
        release = threading.Event()
        calls: list[int] = []
        left: list[int] = []

        def hang() -> int:
            calls.append(1)
            release.wait(30.0)
            return 7

        for _ in range(3):
            self.assertFalse(bounded.run(hang, 0.05, 'one',
                                         lambda: left.append(1)).done)
        self.assertEqual([1], calls)
        self.assertEqual([1, 1], left)
        release.set()
        for thread in threading.enumerate():
            if thread.name == 'one':
                thread.join(10.0)
        # It is over: its result is not the next one's.
        self.assertEqual(7, bounded.run(hang, 10.0, 'one').value)
        self.assertEqual([1, 1], calls)


class TestAttribute(base.TestCase):

    def test_a_write_reaches_the_object_that_was_opened(self) -> None:
        root = self.temp_dir()
        self.write_tree(root, {'sys/state': ''})
        with tree.Tree(str(root)).attribute('/sys/state') as attribute:
            os.rename(root / 'sys/state', root / 'old')
            self.write_tree(root, {'sys/state': ''})
            self.assertTrue(attribute.write('remove', 5.0))
        self.assertEqual('remove', (root / 'old').read_text())
        self.assertEqual('', (root / 'sys/state').read_text())

    def test_an_attribute_that_is_not_there_is_not_ours(self) -> None:
        attribute = tree.Tree(str(self.temp_dir())).attribute('/sys/state')
        self.assertRaises(exception.NotOurs, attribute.__enter__)

    def test_a_write_that_hangs_is_not_done(self) -> None:
        root = self.temp_dir()
        os.mkfifo(root / 'state')
        reader = os.open(root / 'state', os.O_RDONLY | os.O_NONBLOCK)
        with tree.Tree(str(root)).attribute('/state') as attribute:
            # A pipe takes 64 KiB and then blocks, as the kernel may.
            self.assertFalse(attribute.write('x' * (1 << 17), 0.1))
        os.close(reader)


class TestDeadline(base.TestCase):

    def test_a_command_past_its_deadline_is_killed(self) -> None:
        directory = self.temp_dir()
        script = self.write_file(directory / 'mdadm',
                                 '#!/bin/sh\n/bin/sleep 61 &\nwait\n')
        script.chmod(0o755)
        started_s = time.monotonic()
        error = self.assertRaises(
            exception.CommandError, command.run, ('mdadm', '--examine'), 0.3,
            str(directory))
        self.assertIn('no end after', str(error))
        self.assertLess(time.monotonic() - started_s, base.PATIENCE_S)
        self.assertEqual([], self._left(str(directory)))

    def test_a_command_sees_no_environment_of_ours(self) -> None:
        directory = self.temp_dir()
        script = self.write_file(directory / 'mdadm',
                                 '#!/bin/sh\n/usr/bin/env\numask\n')
        script.chmod(0o755)
        result = command.run(('mdadm',), 10.0, str(directory))
        names = {line.partition('=')[0] for line in result.out.splitlines()}
        self.assertEqual({'PATH', 'LC_ALL', '0022'},
                         names - {'PWD', 'SHLVL', '_', 'OLDPWD'})

    def test_a_missing_program_is_said(self) -> None:
        error = self.assertRaises(exception.CommandError, command.run,
                                  ('mdadm',), 1.0, str(self.temp_dir()))
        self.assertIn('install it', str(error))

    def _left(self, word: str) -> list[str]:
        """Processes whose command line has the word."""
        found = []
        for entry in os.listdir('/proc'):
            if entry.isdecimal() and int(entry) != os.getpid():
                try:
                    with open(f'/proc/{entry}/cmdline') as file:
                        line = file.read()
                    with open(f'/proc/{entry}/stat') as file:
                        state = file.read().rpartition(')')[2].split()[0]
                except OSError:
                    continue
                if word in line and state != 'Z':
                    os.kill(int(entry), signal.SIGKILL)
                    found.append(line)
        return found
