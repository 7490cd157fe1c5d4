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
"""Laws of the check of the agent itself: which runs, and how one is begun."""

import dataclasses
import os
import pathlib
import socket

from os_brick_healer.agent import control, lock
from os_brick_healer.cli import check_agent, check_files
from os_brick_healer.cli.finding import Finding, Level
from os_brick_healer.conf import opts
from os_brick_healer.sysfs import reader
from os_brick_healer.tests.unit.cli import test_check


class AgentTest(test_check.CheckTestCase):
    def test_an_agent_that_runs_as_root_needs_no_sudo(self) -> None:
        run = self.temp_dir()
        self.set(run_path=str(run))
        held = lock.AgentLock(str(run), launch='process')
        self.addCleanup(held.release)
        self.missing = {'sudo'}
        for uid, level in ((0, Level.OK), (1000, Level.FAIL)):
            self.write_tree(self.root, {
                f'proc/{os.getpid()}/status':
                f'Name:\tpython3\nUid:\t7\t{uid}\t7\t7\n'})
            runs_as = check_agent.runs_as(self.host, self.conf)
            self.assertEqual(uid, runs_as)
            self.assertIs(level, self.worst(list(check_files.privilege(
                self.host, self.conf, runs_as))))

    def test_an_agent_with_another_run_path_is_no_agent_that_is_down(
            self) -> None:
        state = str(self.temp_dir())
        self.set(run_path=str(self.temp_dir()), state_path=state)
        self.assertIn('does not run',
                      check_agent._running(self.host, self.conf).sentence)
        held = lock.AgentLock(state, launch='process', option='state_path')
        self.addCleanup(held.release)
        found = check_agent._running(self.host, self.conf)
        self.assertIs(Level.FAIL, found.level)
        self.assertIn(f'process {os.getpid()} (process) runs, and is not '
                      'found', found.sentence)

    def hold(self, directory: str) -> None:
        held = lock.AgentLock(directory, launch='process')
        self.addCleanup(held.release)

    def test_an_agent_that_does_not_answer_does_not_just_run(self) -> None:
        run = str(self.temp_dir())
        self.set(run_path=run, launch='none')
        self.hold(run)

        def said() -> Finding:
            (found,) = (f for f in check_agent.launch(
                self.host, self.conf, ask_s=0.1) if f.subject == 'agent')
            self.assertIs(Level.WARN, found.level)
            self.assertIn(f'process {os.getpid()} (process) holds the lock, '
                          'and does not answer', found.sentence)
            self.assertIn('restart it', found.hint or '')
            return found

        self.assertIn('nobody listens on', said().sentence)
        with socket.socket(socket.AF_UNIX) as stopped:
            stopped.bind(f'{run}/{control.NAME}')
            stopped.listen()
            self.assertIn('within 0.1 s', said().sentence)

    def test_an_agent_with_another_state_path_fails(self) -> None:
        run, state, other = (str(self.temp_dir()) for _ in range(3))
        self.set(run_path=run, state_path=state)
        host = dataclasses.replace(self.host, tree=reader.Tree())
        self.hold(run)
        # An older release holds no other lock.
        self.assertIs(Level.OK, check_agent._running(host, self.conf).level)
        self.hold(other)
        found = check_agent._running(host, self.conf)
        self.assertIs(Level.FAIL, found.level)
        self.assertIn(f'runs with another state_path than {state}: it holds '
                      f'{other}/{lock.NAME}', found.sentence)
        self.hold(state)
        self.assertIs(Level.OK, check_agent._running(host, self.conf).level)
        pathlib.Path(state, lock.NAME).write_text('{"pid": 1}')
        found = check_agent._running(host, self.conf)
        self.assertIs(Level.FAIL, found.level)
        self.assertIn('process 1 (unknown) holds the lock in that',
                      found.sentence)

    def test_what_is_no_lock_keeps_every_agent_from_starting(self) -> None:
        for option in ('run_path', 'state_path'):
            for make, told in (
                    (os.mkfifo, 'it is no regular file'),
                    (os.mkdir, 'it is a directory'),
                    (lambda path: os.symlink('/dev/null', path),
                     'it is a symbolic link')):
                self.set(run_path=str(self.temp_dir()),
                         state_path=str(self.temp_dir()))
                path = f'{self.conf[opts.GROUP][option]}/{lock.NAME}'
                make(path)
                found = check_agent._running(self.host, self.conf)
                self.assertIs(Level.FAIL, found.level)
                self.assertIn(f'{path}: {told}', found.sentence)
                self.assertIn(f'remove {path}', found.hint or '')

    def test_where_there_is_no_systemd_it_is_not_advised(self) -> None:
        self.set(run_path=str(self.temp_dir()))
        for tree, advised in (({}, False),
                              ({'run/systemd/system/x': ''}, True)):
            self.write_tree(self.root, tree)
            hint = check_agent._running(self.host, self.conf).hint or ''
            self.assertEqual(advised, 'systemctl' in hint)

    def test_a_question_that_waits_for_its_answer_is_said(self) -> None:
        place = self.temp_dir()
        self.set(run_path=str(place), launch='none')
        waiting: dict[str, object] = {}
        server = control.Server(
            str(place / control.NAME), {'status': lambda _: {
                'agent': {'provisioner': waiting}}}, lambda _: True)
        server.start()
        self.addCleanup(server.stop)

        def said() -> list[str]:
            return [f.sentence for f in check_agent.launch(
                self.host, self.conf) if f.subject == 'provisioner']

        for waiting_s in (None, 9.0, 'x'):
            waiting['waiting_s'] = waiting_s
            self.assertEqual([], said())
        waiting['waiting_s'] = 75.0
        self.assertEqual(['the agent asked it 1m15s ago, and has no answer '
                          'yet'], said())

    def test_a_lock_that_another_user_has_left_is_said(self) -> None:
        for place in ('run', 'state'):
            path = f'/{place}/{lock.NAME}'
            self.set(**{f'{place}_path': f'/{place}'}, control_users=['nova'])
            self.write_tree(self.root, {path[1:]: ''})
            (self.root / path[1:]).chmod(0o644)
            found = check_agent._running(self.host, self.conf)
            self.assertIs(Level.WARN, found.level)
            self.assertIn(f'could not as nova, who cannot write {path}',
                          found.sentence)
            self.assertEqual(f'chown nova {path}', found.hint)
            (self.root / path[1:]).chmod(0o666)
        self.set(control_users=[self.me.pw_name])
        self.assertEqual('does not run', check_agent._running(
            self.host, self.conf).sentence)

    def launch(self, mode: str) -> list[Level]:
        self.set(launch=mode, run_path=str(self.root / 'run'),
                 state_path=str(self.root / 'state'))
        return [f.level for f in check_agent.launch(self.host, self.conf)]

    def test_the_unit_must_be_installed_and_ought_to_be_enabled(
            self) -> None:
        self.assertEqual([Level.FAIL, Level.WARN], self.launch('systemd'))
        unit = f'/usr/local/lib/systemd/system/{check_agent.UNIT}'
        self.write_tree(self.root, {unit.lstrip('/'): '[Unit]'})
        self.assertEqual([Level.OK, Level.WARN, Level.WARN],
                         self.launch('systemd'))
        wants = self.root / check_agent.WANTS.lstrip('/')
        wants.parent.mkdir(parents=True)
        wants.symlink_to(unit)
        self.assertEqual([Level.OK, Level.OK, Level.WARN],
                         self.launch('systemd'))

    def test_ways_to_run_that_promise_less_warn(self) -> None:
        self.assertEqual([Level.WARN, Level.WARN], self.launch('process'))
        (self.root / 'run/systemd/system').mkdir(parents=True)
        self.assertEqual([Level.OK, Level.WARN], self.launch('process'))
        self.missing = {'systemd-run'}
        for mode in ('process', 'thread', 'none'):
            self.assertEqual([Level.WARN, Level.WARN], self.launch(mode))
