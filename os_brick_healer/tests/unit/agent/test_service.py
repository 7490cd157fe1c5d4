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
"""Laws of the agent's process, held by real processes and signals."""

import gc
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.agent import client, lock, notify, ports, service
from os_brick_healer.conf import opts
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.agent import fakes

WAIT_S = 30.0


class ServiceTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # A socket's path has 108 bytes: a test's directory may be longer.
        place = tempfile.TemporaryDirectory(dir='/tmp')
        self.addCleanup(place.cleanup)
        self.run_path = pathlib.Path(place.name)
        self.state = self.temp_dir()
        self.conf_file = self.temp_dir() / 'agent.conf'
        self.configure()

    def configure(self, **settings: Any) -> None:
        lines = {'run_path': self.run_path, 'state_path': self.state,
                 'stop_timeout': 1.0, 'metrics_interval': 1.0, **settings}
        self.write_file(self.conf_file, '[os_brick_healer]\n' + ''.join(
            f'{k} = {v}\n' for k, v in lines.items()))

    def start(self, what: str = '',
              **environ: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-m',
             'os_brick_healer.tests.unit.agent.process', str(self.conf_file),
             *filter(None, [what])], stderr=subprocess.PIPE, text=True,
            env={**os.environ, **environ})
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        assert child.stderr is not None
        self.addCleanup(child.stderr.close)
        return child

    def ask(self, verb: str, **more: Any) -> Any:
        path = client.socket_path(str(self.run_path))
        return client.Client(path, WAIT_S).call(verb, **more)

    def await_agent(self, pid: int) -> None:
        """Wait until this very process answers."""
        self.until(lambda: self._pid() == pid, 'the agent does not answer')

    def _pid(self) -> int | None:
        try:
            return int(self.ask('ping')['pid'])
        except client.AgentDown:
            return None

    def until(self, holds: Any, message: str) -> None:
        give_up = time.monotonic() + WAIT_S
        while not holds():
            if time.monotonic() > give_up:
                self.fail(message)
            time.sleep(0.02)

    def end(self, child: subprocess.Popen[str]) -> tuple[int, str]:
        _, said = child.communicate(timeout=WAIT_S)
        return child.returncode, said


class ProcessTest(ServiceTestCase):
    def test_a_second_agent_says_who_runs_and_leaves_with_3(self) -> None:
        first = self.start()
        self.await_agent(first.pid)
        code, said = self.end(self.start())
        self.assertEqual(service.EXIT_SECOND, code)
        self.assertIn(f'process {first.pid} (process)', said)
        self.assertEqual(first.pid, self.ask('ping')['pid'])

    def test_sigterm_and_sigint_stop_it_cleanly(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            child = self.start()
            self.await_agent(child.pid)
            child.send_signal(number)
            self.assertEqual(0, self.end(child)[0])
            self.assertFalse((self.run_path / 'control.sock').exists())
            self.assertIsNone(lock.holder(str(self.run_path)))

    def test_killed_at_once_it_can_be_started_again(self) -> None:
        first = self.start()
        self.await_agent(first.pid)
        first.kill()
        self.end(first)
        second = self.start()
        self.await_agent(second.pid)

    def test_an_engine_that_does_not_stop_is_left(self) -> None:
        child = self.start('deaf')
        self.await_agent(child.pid)
        begin = time.monotonic()
        child.terminate()
        code, said = self.end(child)
        self.assertEqual(0, code)
        self.assertLess(time.monotonic() - begin, base.PATIENCE_S)
        self.assertIn('did not stop within 1 s', said)

    def test_it_can_be_stopped_while_it_is_being_built(self) -> None:
        child = self.start('slow')
        self.until(lambda: lock.holder(str(self.run_path)), 'no lock')
        child.terminate()
        self.assertEqual(0, self.end(child)[0])

    def test_a_defect_ends_it_so_that_systemd_begins_anew(self) -> None:
        code, said = self.end(self.start('raises'))
        self.assertEqual(service.EXIT_CRASH, code)
        self.assertIn('a defect', said)

    def test_a_wrong_configuration_has_its_own_code(self) -> None:
        code, said = self.end(self.start('wrong'))
        self.assertEqual(service.EXIT_CONFIG, code)
        self.assertIn('because I am told so', said)

    def test_a_journal_that_cannot_be_used_is_no_defect(self) -> None:
        self.configure(state_path='/dev/null/state')
        code, said = self.end(self.start('real'))
        self.assertEqual(service.EXIT_CONFIG, code)
        self.assertIn('cannot make the directory /dev/null/state', said)
        self.configure()
        self.write_file(self.state / 'journal.sqlite' / 'a', 'directory')
        code, said = self.end(self.start('real'))
        self.assertEqual(service.EXIT_CONFIG, code)
        self.assertIn('it is a directory', said)

    def test_sighup_takes_the_new_configuration(self) -> None:
        child = self.start()
        self.await_agent(child.pid)
        self.configure(control_users='root')
        child.send_signal(signal.SIGHUP)
        self.until(lambda: self.ask('ping'), 'gone')
        self.ask('reload')
        child.terminate()
        code, said = self.end(child)
        self.assertEqual(0, code)
        self.assertEqual(2, said.count('has been reloaded'))

    def test_a_wrong_new_configuration_keeps_the_old(self) -> None:
        child = self.start()
        self.await_agent(child.pid)
        for name, section in (('grace_period', ''), ('debug', '[DEFAULT]\n')):
            self.configure(**{f'{section}{name}': 'soon'})
            error = self.assertRaises(client.AgentRefused, self.ask, 'reload')
            self.assertIn(f"{name} in {self.conf_file}: 'soon' is", str(error))
        self.conf_file.unlink()
        self.assertRaises(client.AgentRefused, self.ask, 'reload')
        child.send_signal(signal.SIGHUP)
        child.terminate()
        code, said = self.end(child)
        self.assertEqual(0, code)
        self.assertIn('the old configuration stays in force', said)

    def test_what_needs_a_restart_is_said(self) -> None:
        child = self.start()
        self.await_agent(child.pid)
        self.configure(provisioner='kumoscle', paused=True, grace_perid=5)
        for _ in range(2):      # it is still not in force
            told = self.ask('reload')
            for said in ('provisioner has changed; it takes effect when',
                         'paused has changed', 'did you mean grace_period',
                         'names kumoscle, and there',
                         '(there are: kumoscale, local)'):
                self.assertIn(said, told)
        self.configure(control_users='root')
        self.assertEqual('reloaded', self.ask('reload'))
        for path, told in (('a', ''), ('b', '\nlock_path has changed; ')):
            with self.conf_file.open('a') as more:
                more.write(f'[oslo_concurrency]\nlock_path = /{path}\n')
            self.assertIn(f'reloaded{told}', self.ask('reload'))
        child.terminate()
        self.assertIn('provisioner has changed; it takes effect when',
                      self.end(child)[1])

    def test_metrics_are_written_and_taken_away_at_the_end(self) -> None:
        path = self.state / 'healer.prom'
        self.configure(metrics_textfile=path)
        child = self.start()
        self.until(path.exists, 'no metrics')
        self.assertIn(
            'os_brick_healer_volumes{kind="replica",phase="healthy"} 1\n',
            path.read_text())
        child.terminate()
        self.assertEqual(0, self.end(child)[0])
        self.assertFalse(path.exists())

    def test_a_metrics_file_that_is_named_no_more_is_taken_away(
            self) -> None:
        first, second = self.state / 'a.prom', self.state / 'b.prom'
        self.configure(metrics_textfile=first)
        child = self.start()
        self.until(first.exists, 'no metrics')
        self.configure(metrics_textfile=second)
        self.ask('reload')
        self.until(second.exists, 'no metrics after the reload')
        self.assertFalse(first.exists())
        self.configure()
        self.ask('reload')
        self.until(lambda: not second.exists(), 'it stays')
        child.terminate()
        self.assertEqual(0, self.end(child)[0])

    def test_what_the_host_lacks_is_told(self) -> None:
        path = self.state / 'healer.prom'
        self.configure(metrics_textfile=path)
        child = self.start('lacking')
        self.await_agent(child.pid)
        about = self.ask('status')['agent']
        self.assertEqual({'helper': 'sudo says no'}, about['lacks'])
        self.until(path.exists, 'no metrics')
        self.assertIn('os_brick_healer_lacks{what="helper"} 1\n',
                      path.read_text())


class SystemdTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.address = str(self.run_path / 'notify')
        self.socket.bind(self.address)
        self.socket.settimeout(WAIT_S)

    def hear(self, seconds: float = 0.0) -> list[str]:
        """Messages for so long; at least one is waited for."""
        heard = [self.socket.recv(4096).decode()]
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                heard.append(self.socket.recv(4096).decode())
            except TimeoutError:
                break
        self.socket.settimeout(WAIT_S)
        return heard

    def test_systemd_hears_ready_status_alive_reload_and_stop(self) -> None:
        child = self.start(NOTIFY_SOCKET=self.address,
                           WATCHDOG_USEC='600000')
        heard = self.hear(1.5)
        self.assertEqual('READY=1', heard[0])
        self.assertIn('STATUS=1 volume: 1 healthy', heard)
        self.assertGreater(heard.count('WATCHDOG=1'), 3)
        child.send_signal(signal.SIGHUP)
        heard = self.hear(0.5)
        reloading = next(i for i, m in enumerate(heard)
                         if m.startswith('RELOADING=1\nMONOTONIC_USEC='))
        self.assertIn('READY=1', heard[reloading:])
        child.terminate()
        self.assertIn('STOPPING=1', self.hear(0.5))
        self.assertEqual(0, self.end(child)[0])

    def test_a_loop_that_hangs_gives_no_sign_of_life(self) -> None:
        self.start('mute', NOTIFY_SOCKET=self.address,
                   WATCHDOG_USEC='600000')
        self.hear(0.8)
        self.socket.settimeout(1.5)
        self.assertRaises(TimeoutError, self.socket.recv, 4096)

    def test_ready_is_said_only_when_the_agent_serves(self) -> None:
        self.start('slow', NOTIFY_SOCKET=self.address)
        self.until(lambda: lock.holder(str(self.run_path)), 'no lock')
        self.socket.settimeout(0.5)
        self.assertRaises(TimeoutError, self.socket.recv, 4096)


class NotifierTest(base.TestCase):
    def test_without_systemd_nothing_is_said(self) -> None:
        silent = notify.Notifier({})
        silent.ready()
        self.assertFalse(silent.speaks)
        self.assertIsNone(silent.watchdog_s)

    def test_an_abstract_socket_is_spoken_to(self) -> None:
        name = f'os-brick-healer-test-{os.getpid()}'
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind('\0' + name)
            notify.Notifier({'NOTIFY_SOCKET': '@' + name}).status('a\nb')
            self.assertEqual(b'STATUS=a b', sock.recv(100))

    def test_a_socket_that_is_gone_stops_nothing(self) -> None:
        notify.Notifier({'NOTIFY_SOCKET': '/nonexistent/socket'}).ready()

    def test_the_watchdog_is_for_the_process_it_names(self) -> None:
        mine = {'WATCHDOG_USEC': '2000000', 'WATCHDOG_PID': str(os.getpid())}
        self.assertEqual(2.0, notify.Notifier(mine).watchdog_s)
        self.assertIsNone(notify.Notifier(
            {**mine, 'WATCHDOG_PID': '1'}).watchdog_s)
        for text in ('', 'x', '0', '-1'):
            self.assertIsNone(
                notify.Notifier({'WATCHDOG_USEC': text}).watchdog_s)


class ThreadTestCase(ServiceTestCase):
    """The agent as a thread of somebody else's process."""

    def setUp(self) -> None:
        super().setUp()
        self.engine = fakes.FakeEngine([fakes.volume(1)])
        self.conf = self.new_conf()
        opts.register(self.conf)
        for name, value in (('run_path', str(self.run_path)),
                            ('state_path', str(self.state)),
                            ('stop_timeout', 5.0)):
            self.conf.set_override(name, value, group=opts.GROUP)

    def _build(self, conf: cfg.ConfigOpts, *, run_mode: str) -> ports.Engine:
        return self.engine

    def run_it(self) -> service.Service:
        agent = service.Service(self.conf, self._build, run_mode='thread',
                                own_process=False)
        thread = threading.Thread(target=agent.run, daemon=True)
        thread.start()
        self.addCleanup(thread.join, WAIT_S)
        self.addCleanup(agent.stop)
        self.await_agent(os.getpid())
        return agent


class ThreadTest(ThreadTestCase):
    def test_it_serves_and_leaves_the_signals_alone(self) -> None:
        before = [signal.getsignal(s) for s in service.SIGNALS]
        self.run_it()
        self.assertEqual('thread', self.ask('status')['agent']['launch'])
        self.assertEqual(before,
                         [signal.getsignal(s) for s in service.SIGNALS])

    def test_it_gives_a_sign_of_life_as_often_as_anybody_wants(self) -> None:
        watchdog = {'WATCHDOG_PID': str(os.getpid())}
        for usec, interval_s, pause_s in (
                (None, 15.0, service.BEAT_S), (None, 1.0, 1.0),
                ('60000000', 15.0, service.BEAT_S), ('3000000', 15.0, 1.0),
                ('6000000', 1.0, 1.0)):
            self.conf.set_override('metrics_interval', interval_s,
                                   group=opts.GROUP)
            agent = service.Service(
                self.conf, self._build, run_mode='thread',
                notifier=notify.Notifier({} if usec is None else {
                    **watchdog, 'WATCHDOG_USEC': usec}))
            self.assertEqual(pause_s, agent._pause_s())

    def test_it_leaves_the_other_services_garbage_alone(self) -> None:
        before = gc.get_threshold(), gc.get_freeze_count()
        self.run_it()
        self.ask('status')
        self.assertEqual(before,
                         (gc.get_threshold(), gc.get_freeze_count()))

    def test_it_does_not_touch_the_other_services_configuration(self) -> None:
        agent = self.run_it()
        self.assertRaises(exception.ConfigError, agent.reload)

    def test_status_names_the_provisioner_that_is_in_force(self) -> None:
        agent = self.run_it()
        self.conf.set_override('provisioner', 'kumoscale', group=opts.GROUP)
        self.assertEqual('local', agent._facts()['provisioner']['name'])

    def test_it_holds_the_lock_of_the_host(self) -> None:
        self.run_it()
        second = service.Service(self.conf, self._build, run_mode='thread',
                                 own_process=False)
        self.assertEqual(service.EXIT_SECOND, second.run())
        self.assertIsInstance(second.crash, lock.AgentRuns)

    def test_stopped_it_lets_another_one_run(self) -> None:
        agent = self.run_it()
        agent.stop()
        self.until(lambda: lock.holder(str(self.run_path)) is None,
                   'the lock is still held')
