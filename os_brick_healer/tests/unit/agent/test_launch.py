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
"""Laws of the launcher: nova never waits, never fails, and is told once."""

from collections.abc import Callable
import os
import signal
import subprocess
import tempfile
import threading
import time

from os_brick_healer import exception
from os_brick_healer.agent import act, client, control, launch, lock, record
from os_brick_healer.conf import opts
from os_brick_healer.metrics import catalogue
from os_brick_healer.tests import base

WAIT_S = 30.0


class LauncherTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # A socket's path has 108 bytes: a test's directory may be longer.
        place = tempfile.TemporaryDirectory(dir='/tmp')
        self.addCleanup(place.cleanup)
        self.run_path = os.path.join(place.name, 'run')
        self.state_path = str(self.temp_dir())
        self.now_s = 0.0
        self.attempts = 0

    def launcher(self, start: Callable[[], str], *, mode: str = 'systemd',
                 ) -> launch.Launcher:
        return launch.Launcher(
            run_path=self.run_path, state_path=self.state_path, launch=mode,
            start=start, clock=lambda: self.now_s, appear_s=0.2)

    def fails(self) -> str:
        self.attempts += 1
        raise exception.HealerError('cannot start the agent: because of rain')

    def succeeds(self) -> str:
        self.attempts += 1
        self.agent = lock.AgentLock(self.run_path, launch='systemd')
        self.addCleanup(self.agent.release)
        server = control.Server(client.socket_path(self.run_path),
                                {'ping': lambda _: 'pong'}, lambda _: True)
        server.start()
        self.addCleanup(server.stop)
        return 'the agent has been started'

    def test_an_agent_that_runs_is_left_alone(self) -> None:
        self.succeeds()
        result = self.launcher(self.fails).ensure()
        self.assertIsNone(result.error)
        self.assertFalse(result.started)
        self.assertIn(f'process {os.getpid()}', result.sentence)
        self.assertEqual(1, self.attempts)

    def test_none_means_none_and_says_so(self) -> None:
        result = self.launcher(self.fails, mode='none').ensure()
        self.assertEqual(0, self.attempts)
        self.assertIn('launch = none', result.sentence)
        self.assertIn('launch = none', self.log.output)

    def test_the_caller_does_not_wait_for_a_slow_start(self) -> None:
        release, over = threading.Event(), threading.Event()
        self.addCleanup(release.set)

        def hangs() -> str:
            self.attempts += 1
            release.wait(WAIT_S)
            over.set()
            return 'done'

        launcher = self.launcher(hangs)
        results = [launcher.ensure() for _ in range(10)]
        self.assertFalse(over.is_set())
        self.assertEqual([True] + [False] * 9, [r.started for r in results])
        self.assertEqual(1, self.attempts)

    def test_a_start_that_works_is_said_once(self) -> None:
        launcher = self.launcher(self.succeeds)
        self.assertTrue(launcher.ensure().started)
        self.assertIsNone(launcher.wait(WAIT_S))
        self.assertIn('the agent has been started', self.log.output)
        self.assertFalse(launcher.ensure().started)

    def test_a_failure_is_logged_once_counted_and_left_for_status(
            self) -> None:
        counted = catalogue.START_FAILURES.values().get((), 0.0)
        launcher = self.launcher(self.fails)
        for number in range(3):
            self.now_s = 100.0 * number
            self.assertTrue(launcher.ensure().started)
            self.assertIn('because of rain', launcher.wait(WAIT_S) or '')
        self.assertEqual(1, self.log.output.count('because of rain'))
        self.assertEqual(counted + 3, catalogue.START_FAILURES.values()[()])
        last = record.read(self.state_path)
        assert last is not None
        self.assertEqual(('systemd', 3), (last.launch, last.failures))
        self.assertIn('because of rain', last.error)
        self.assertIn('because of rain', launcher.ensure().error or '')

    def test_after_a_failure_it_is_not_tried_on_every_connect(self) -> None:
        launcher = self.launcher(self.fails)
        launcher.ensure()
        launcher.wait(WAIT_S)
        result = launcher.ensure()
        self.assertFalse(result.started)
        self.assertIn('because of rain', result.error or '')
        self.now_s = launch.RETRY_S
        self.assertTrue(launcher.ensure().started)
        launcher.wait(WAIT_S)

    def test_an_agent_that_never_appears_is_a_failure(self) -> None:
        launcher = self.launcher(lambda: 'launched')
        launcher.ensure()
        self.assertIn('did not appear', launcher.wait(WAIT_S) or '')

    def test_even_a_defect_stays_away_from_nova(self) -> None:
        def broken() -> str:
            raise ZeroDivisionError('oops')

        launcher = self.launcher(broken)
        launcher.ensure()
        self.assertIn('ZeroDivisionError', launcher.wait(WAIT_S) or '')

    def test_a_run_path_that_cannot_be_read_is_said(self) -> None:
        with open(self.run_path, 'w') as f:
            f.write('no directory')
        result = self.launcher(self.fails).ensure()
        self.assertIn('cannot tell', result.error or '')
        self.assertEqual(0, self.attempts)

    def test_an_agent_takes_the_count_over_and_forgets_it(self) -> None:
        for _ in range(2):
            record.failed(self.state_path, 'systemd', 'because')
        before = catalogue.START_FAILURES.values().get((), 0.0)
        record.take_over(self.state_path)
        self.assertEqual(before + 2, catalogue.START_FAILURES.values()[()])
        self.assertIsNone(record.read(self.state_path))
        record.take_over(self.state_path)
        self.assertEqual(before + 2, catalogue.START_FAILURES.values()[()])

    def test_what_cannot_be_written_down_is_left_out(self) -> None:
        record.failed('/nonexistent', 'systemd', 'because')
        self.assertIsNone(record.read('/nonexistent'))


class EnsureRunningTest(base.TestCase):
    def test_it_never_raises(self) -> None:
        conf = self.new_conf()
        opts.register(conf)
        conf.set_override('run_path', '\0', group=opts.GROUP)
        result = launch.ensure_running(conf, object())
        self.assertFalse(result.started)
        self.assertIsNotNone(result.error)


class SpawnTest(base.TestCase):
    """The real agent, started as a connector starts it."""

    def setUp(self) -> None:
        super().setUp()
        place = tempfile.TemporaryDirectory(dir='/tmp')
        self.addCleanup(place.cleanup)
        self.place = place.name
        self.state = self.temp_dir()
        self.conf_file = self.write_file(
            self.temp_dir() / 'agent.conf',
            f'[DEFAULT]\nlog_file =\n[oslo_concurrency]\n'
            f'lock_path = {self.temp_dir()}\n'
            f'[os_brick_healer]\nrun_path = {self.place}\n'
            f'state_path = {self.state}\nroot_helper = false\n')

    def test_the_agent_is_in_a_session_of_its_own_and_stops_on_term(
            self) -> None:
        child = act.spawn([str(self.conf_file)], [], str(self.state))
        self.addCleanup(self.end, child)
        give_up = time.monotonic() + WAIT_S
        while (holder := lock.holder(self.place)) is None:
            if time.monotonic() > give_up or child.poll() is not None:
                self.fail((self.state / act.OUTPUT).read_text())
            time.sleep(0.05)
        self.assertEqual(
            lock.Holder(pid=child.pid, launch='process'), holder)
        self.assertEqual(child.pid, os.getsid(child.pid))
        self.assertEqual('/', os.readlink(f'/proc/{child.pid}/cwd'))
        os.kill(child.pid, signal.SIGTERM)
        self.assertEqual(0, child.wait(WAIT_S),
                         (self.state / act.OUTPUT).read_text())

    def end(self, child: subprocess.Popen[bytes]) -> None:
        child.kill()
        child.wait()

    def test_systemds_variables_are_not_handed_on(self) -> None:
        for name in act.NOT_INHERITED:
            self.assertRegex(
                name, r'^(NOTIFY|WATCHDOG|LISTEN|INVOCATION|JOURNAL)_')
        self.assertIn('NOTIFY_SOCKET', act.NOT_INHERITED)

    def test_the_command_names_files_before_directories(self) -> None:
        argv = act.command(['/etc/a.conf', '/etc/b.conf'], ['/etc/c.d'])
        self.assertEqual(
            ['--config-file', '/etc/a.conf', '--config-file', '/etc/b.conf',
             '--config-dir', '/etc/c.d'], argv[-6:])
