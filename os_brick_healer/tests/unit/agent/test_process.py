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
"""Laws of the start: which files are read, where the log goes."""

import functools
import os
import pathlib
import subprocess
import sys

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.agent import act, lacks, process, verbs
from os_brick_healer.conf import files, opts, state
from os_brick_healer.replica import locks
from os_brick_healer.tests import base

#: As the engine does: a daemon makes the threads, and one of them waits.
LEAVE = '''
import threading, time
from os_brick_healer.agent import process
from os_brick_healer.engine import threads

def engine():
    runs = threads.Threads(lambda call: None, {'slow': 1})
    runs.submit('slow', lambda: time.sleep(3600), lambda result: None)

one = threading.Thread(target=engine, daemon=True)
one.start()
one.join()
process.leave(7)
'''


class LeaveTest(base.TestCase):

    def test_an_action_that_hangs_holds_nobody_up(self) -> None:
        done = subprocess.run([sys.executable, '-W', 'ignore', '-c', LEAVE],
                              check=False, timeout=120)
        self.assertEqual(7, done.returncode)


class _StartedError(Exception):
    """The helper would be starting now."""


def _started(*_: object) -> None:
    raise _StartedError


class BuildTest(base.TestCase):

    def test_without_a_journal_no_helper_is_started(self) -> None:
        place = self.temp_dir()
        journal = place / state.JOURNAL
        os.mkfifo(journal)
        conf = self.new_conf(self.write_file(
            place / 'nova.conf', f'[{opts.GROUP}]\nstate_path = {place}\n'))
        opts.register(conf)
        files.share_lock_path(conf)
        build = functools.partial(
            process.build, lacks.of(conf), conf, run_mode='process',
            start_helper=_started)
        self.assertRaises(exception.JournalError, build)
        journal.unlink()
        self.assertRaises(_StartedError, build)
        self.assertTrue(journal.is_file())


class FilesTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.temp_dir() / 'nova.conf'

    def load(self, text: str) -> cfg.ConfigOpts:
        self.path.write_text(text)
        conf = cfg.ConfigOpts()
        files.load(conf, ['--config-file', str(self.path)], prog='test')
        return conf

    def test_a_wrong_value_is_found_at_the_start(self) -> None:
        for text in ('[os_brick_healer]\ngrace_period = -1\n',
                     '[os_brick_healer]\nlaunch = often\n', 'garbage\n'):
            self.assertRaises(exception.ConfigError, self.load, text)

    def test_a_file_that_is_not_there_is_an_error(self) -> None:
        self.assertRaises(
            exception.ConfigError, files.load, cfg.ConfigOpts(),
            ['--config-file', '/nonexistent.conf'], prog='test')

    def test_a_reload_is_all_or_nothing(self) -> None:
        conf = self.load('[os_brick_healer]\ngrace_period = 5\n')
        self.path.write_text('[os_brick_healer]\ngrace_period = 6\n'
                             'heals_max = none\n')
        self.assertRaises(exception.ConfigError, files.reload, conf)
        self.assertEqual(5.0, conf.os_brick_healer.grace_period)
        self.path.write_text('[os_brick_healer]\ngrace_period = 7\n')
        files.reload(conf)
        self.assertEqual(7.0, conf.os_brick_healer.grace_period)

    def test_the_lock_path_is_os_bricks_or_oslos(self) -> None:
        conf = self.load('[oslo_concurrency]\nlock_path = /a\n')
        files.share_lock_path(conf)
        self.assertEqual('/a', conf.os_brick.lock_path)
        conf = self.load('[oslo_concurrency]\nlock_path = /a\n'
                         '[os_brick]\nlock_path = /b\n')
        files.share_lock_path(conf)
        self.assertEqual('/b', conf.os_brick.lock_path)

    def test_the_lock_path_may_be_below_novas_state_path(self) -> None:
        below = '[oslo_concurrency]\nlock_path = $state_path/tmp\n'
        conf = self.load(f'[DEFAULT]\nstate_path = /n\n{below}')
        files.share_lock_path(conf)
        files.reload(conf)
        self.assertEqual('/n/tmp', conf.os_brick.lock_path)
        error = self.assertRaises(
            exception.ConfigError, files.share_lock_path, self.load(below))
        self.assertIn('cannot use lock_path: because no such option',
                      str(error))

    def test_a_lock_path_that_was_in_use_stays_until_a_restart(self) -> None:
        for group in ('oslo_concurrency', 'os_brick'):
            conf = self.load(f'[{group}]\nlock_path = /a\n')
            files.share_lock_path(conf)
            self.path.write_text(f'[{group}]\nlock_path = /b\n')
            for _ in range(2):
                (note,) = files.reload(conf)
                self.assertEqual('lock_path has changed; it takes effect '
                                 'when the agent is restarted', note)
                self.assertEqual('/a', locks.lock_path(conf))
            self.path.write_text(f'[{group}]\nlock_path = /a\n')
            self.assertEqual([], files.reload(conf))

    def test_a_first_lock_path_is_in_force_after_a_reload(self) -> None:
        conf = self.load('')
        files.share_lock_path(conf)
        self.path.write_text('[oslo_concurrency]\nlock_path = /a\n')
        self.assertEqual([], files.reload(conf))
        self.assertEqual('/a', locks.lock_path(conf))
        self.path.write_text('[oslo_concurrency]\nlock_path = /b\n')
        self.assertEqual(1, len(files.reload(conf)))
        self.assertEqual('/a', locks.lock_path(conf))

    def test_a_lock_path_that_is_none_is_refused_at_a_reload(self) -> None:
        conf = self.load('[oslo_concurrency]\nlock_path = /a\n')
        files.share_lock_path(conf)
        self.path.write_text('[oslo_concurrency]\nlock_path = $nope\n')
        error = self.assertRaises(exception.ConfigError, files.reload, conf)
        self.assertIn('cannot use lock_path: because', str(error))
        self.assertEqual('/a', locks.lock_path(conf))

    def test_an_agent_in_novas_process_can_take_os_bricks_locks(self) -> None:
        path = str(self.temp_dir())
        conf = self.load(f'[oslo_concurrency]\nlock_path = {path}\n')
        files.share_lock_path(conf)
        files.share_lock_path(conf)     # the agent is started once more
        with locks.OsBrickLocks(conf).hold(1.0):
            self.assertEqual(
                {f'os-brick-{name}' for name in locks.NAMES},
                set(os.listdir(path)))

    def test_novas_name_of_the_host_is_known(self) -> None:
        self.assertEqual('compute-7',
                         self.load('[DEFAULT]\nhost = compute-7\n').host)

    def test_our_file_counts_for_nova_compute_too(self) -> None:
        ours = self.write_file(self.temp_dir() / 'ours.conf',
                               '[os_brick_healer]\nlaunch = process\n'
                               'grace_period = 9\n')
        nova = self.load('[os_brick_healer]\ngrace_period = 5\n')
        nova.set_override('run_path', '/r', group=opts.GROUP)
        merged = files.beside(nova, our_file=str(ours))
        group = merged.os_brick_healer
        self.assertEqual(('process', 9.0, '/r'),
                         (group.launch, group.grace_period, group.run_path))
        self.assertEqual('systemd', nova.os_brick_healer.launch)

    def test_our_file_cannot_break_nova_compute(self) -> None:
        nova = self.load('')
        ours = self.write_file(self.temp_dir() / 'ours.conf', 'garbage')
        self.assertIs(nova, files.beside(nova, our_file=str(ours)))
        self.assertIs(nova, files.beside(nova, our_file='/nonexistent'))

    def test_the_agent_reads_its_callers_files(self) -> None:
        names, _ = act.agent_files(self.load(''))
        self.assertEqual(str(self.path), names[0])


class UsersTest(base.TestCase):
    def test_root_and_ourselves_may_always_ask(self) -> None:
        ids, unknown = verbs.permitted(())
        self.assertEqual({0, os.geteuid()}, ids)
        self.assertEqual([], unknown)

    def test_users_are_names_or_numbers_and_others_are_named(self) -> None:
        ids, unknown = verbs.permitted(('root', '1234', 'no-such-user'))
        self.assertIn(1234, ids)
        self.assertEqual(['no-such-user'], unknown)

    def test_the_group_is_the_first_other_users(self) -> None:
        if os.geteuid() != 0:
            self.assertIsNone(verbs.socket_group(('nobody',)))
            return
        self.assertIsNone(verbs.socket_group(('root', 'no-such-user')))
        self.assertEqual(
            pathlib.Path('/etc/passwd').read_text().split('nobody:', 1)[1]
            .split(':')[2],
            str(verbs.socket_group(('root', 'no-such-user', 'nobody'))))
