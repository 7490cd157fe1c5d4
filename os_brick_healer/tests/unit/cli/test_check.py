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
"""Laws of the check: each lack is found, and the way out is named."""

import contextlib
import dataclasses
import os
import pathlib
import pwd
import sqlite3

from oslo_config import cfg

from os_brick_healer.agent import control
from os_brick_healer.cli import (
    check,
    check_config,
    check_files,
    check_host,
    finding,
    settings,
)
from os_brick_healer.cli.finding import Finding, Level
from os_brick_healer.conf import files, opts
from os_brick_healer.engine import journal
from os_brick_healer.sysfs import reader
from os_brick_healer.tests import base

RELEASE = '6.1.0-test'


class CheckTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = self.temp_dir()
        self.missing: set[str] = set()
        self.conf = self.new_conf()
        opts.register(self.conf)
        # An agent may run where the tests do.
        self.set(state_path=str(self.root / 'no-state'),
                 run_path=str(self.root / 'no-run'))
        files.share_lock_path(self.conf)
        self.me = pwd.getpwuid(os.getuid())
        self.host = finding.Host(
            tree=reader.Tree(str(self.root)), release=RELEASE,
            which=lambda name: (None if name in self.missing
                                else f'/usr/bin/{name}'),
            user={self.me.pw_name: self.me,
                  'nova': self._somebody()}.get)

    def _somebody(self) -> pwd.struct_passwd:
        return pwd.struct_passwd(
            ('nobody', 'x', 65533, 65533, '', '/', '/bin/false'))

    def set(self, **settings: object) -> None:
        for name, value in settings.items():
            self.conf.set_override(name, value, group=opts.GROUP)

    def worst(self, findings: list[Finding]) -> Level:
        for one in findings:
            self.assertEqual(one.level is Level.OK, one.hint is None)
        return max((f.level for f in findings), key=check.EXIT.__getitem__)


class LogTest(base.TestCase):
    """What nova.conf says of logs counts for the agent and its helper."""

    def said(self, text: str) -> list[str]:
        path = self.write_file(self.temp_dir() / 'nova.conf',
                               f'[DEFAULT]\n{text}\n')
        conf = cfg.ConfigOpts()
        files.load(conf, ['--config-file', str(path)], prog='test')
        return [f.sentence for f in check_config._log(
            settings.Configuration(conf=conf))]

    def test_an_option_that_cannot_be_used_is_named(self) -> None:
        for option, value in (
                ('debug', 'maybe'), ('default_log_levels', 'x'),
                ('log_config_append', '/nonexistent'),
                ('log_rotation_type', 'often'),
                ('log_dir', '/nonexistent'),
                ('log_file', '/nonexistent/compute.log'),
                ('log_file', '$log_file')):
            (one,) = self.said(f'{option} = {value}')
            self.assertIn(f'cannot be logged by: {option}', one)
            self.assertIn('names itself' if value.startswith('$') else
                          value.removesuffix('/compute.log'), one)

    def test_what_only_nova_knows_keeps_the_helper_from_starting(
            self) -> None:
        (one,) = self.said('state_path = /n\nlog_dir = $state_path')
        self.assertIn('log_dir names itself, or an option of nova', one)

    def test_nothing_is_said_of_what_can(self) -> None:
        self.assertEqual([], self.said('debug = true\nlog_dir = /'))


class HostTest(CheckTestCase):
    def test_each_command_is_needed(self) -> None:
        self.assertIs(Level.OK,
                      self.worst(list(check_host.commands(self.host))))
        for name in check_host.COMMANDS:
            self.missing = {name}
            found = [f for f in check_host.commands(self.host)
                     if f.level is Level.FAIL]
            self.assertEqual([f'command {name}'], [f.subject for f in found])

    def test_modules_may_be_loaded_built_in_or_on_disk(self) -> None:
        cases: list[dict[str, str]] = [
            {'sys/module/raid1/x': '', 'sys/module/nvme_tcp/x': ''},
            {'proc/mdstat': 'Personalities : [raid1] \nunused devices:\n',
             'sys/module/nvme_tcp/x': ''},
            {f'lib/modules/{RELEASE}/modules.dep':
             'kernel/drivers/md/raid1.ko: x\n'
             'kernel/drivers/nvme/host/nvme-tcp.ko.xz: y\n'},
            {f'lib/modules/{RELEASE}/modules.builtin':
             'kernel/drivers/md/raid1.ko\n'
             'kernel/drivers/nvme/host/nvme-tcp.ko\n'}]
        for number, case in enumerate(cases):
            self.root = self.temp_dir() / str(number)
            self.write_tree(self.root, case)
            host = finding.Host(tree=reader.Tree(str(self.root)),
                                release=RELEASE, which=self.host.which)
            found = list(check_host.kernel(host))[:2]
            self.assertIs(Level.OK, self.worst(found), str(case))

    def test_a_kernel_without_them_fails_and_an_unknown_one_warns(
            self) -> None:
        self.assertIs(Level.WARN,
                      self.worst(list(check_host.kernel(self.host))))
        self.write_tree(self.root, {
            f'lib/modules/{RELEASE}/modules.dep':
            'kernel/drivers/md/raid10.ko:\nkernel/x/nvme-tcp-other.ko:\n'})
        found = list(check_host.kernel(self.host))
        self.assertEqual([Level.FAIL, Level.FAIL, Level.WARN],
                         [f.level for f in found[:3]])
        self.assertIn('ending silent connections', found[2].sentence)

    def test_native_multipath_that_is_off_warns(self) -> None:
        path = 'sys/module/nvme_core/parameters/multipath'
        for value, level in (('Y\n', Level.OK), ('N\n', Level.WARN)):
            self.write_tree(self.root, {path: value})
            self.assertIs(level, list(check_host.kernel(self.host))[-1].level)

    def test_the_host_has_a_name(self) -> None:
        self.assertIs(Level.FAIL,
                      self.worst(list(check_host.host_nqn(self.host))))
        self.write_tree(self.root, {'etc/nvme/hostnqn': 'nqn.2014-08.x\n'})
        self.assertIs(Level.OK,
                      self.worst(list(check_host.host_nqn(self.host))))


class FilesTest(CheckTestCase):
    def place(self, name: str, mode: int = 0o755) -> pathlib.Path:
        path = self.root / name
        path.mkdir(parents=True)
        path.chmod(mode)
        return path

    def lock_path(self, path: str) -> Level:
        self.conf.set_override('lock_path', path, group='oslo_concurrency')
        return self.worst(list(check_files.lock_path(self.host, self.conf)))

    def test_without_a_lock_path_nothing_keeps_two_apart(self) -> None:
        self.assertIs(Level.FAIL, self.worst(list(
            check_files.lock_path(self.host, self.conf))))

    def test_a_lock_path_must_be_there_and_not_everybodys(self) -> None:
        self.set(control_users=[self.me.pw_name])
        self.assertIs(Level.FAIL, self.lock_path('/gone'))
        self.place('mine')
        self.assertIs(Level.OK, self.lock_path('/mine'))
        self.place('open', 0o777)
        self.assertIs(Level.FAIL, self.lock_path('/open'))
        self.place('sticky', 0o1777)
        self.assertIs(Level.OK, self.lock_path('/sticky'))
        (self.root / 'file').write_text('')
        self.assertIs(Level.FAIL, self.lock_path('/file'))

    def test_only_what_the_agent_makes_is_left_to_it(self) -> None:
        self.conf.set_override('lock_path', '/gone',
                               group='oslo_concurrency')
        self.set(state_path='/gone', run_path='/gone')
        locks = list(check_files.lock_path(self.host, self.conf))
        ours = [one for one in check_files.directories(self.host, self.conf)
                if one.subject in ('state_path', 'run_path')]
        self.assertEqual([False, True, True], [
            'start the agent' in (one.hint or '') for one in (*locks, *ours)])
        self.assertIn('install -d', locks[0].hint or '')

    def test_every_user_of_the_agent_must_be_able_to_write(self) -> None:
        self.set(control_users=['nova', 'unknown-here'])
        self.place('mine')
        self.assertIs(Level.FAIL, self.lock_path('/mine'))
        found = list(check_files.lock_path(self.host, self.conf))
        self.assertIn('cannot be written by nova', found[0].sentence)

    def test_nothing_is_written_on_a_read_only_file_system(self) -> None:
        self.set(state_path='/state', run_path='/run/x',
                 control_users=[self.me.pw_name])
        shut = [str(self.place(name)) for name in ('mine', 'state', 'run/x')]
        self.assertIs(Level.OK, self.lock_path('/mine'))
        self.host = dataclasses.replace(
            self.host, read_only=shut.__contains__)
        found = [*check_files.lock_path(self.host, self.conf),
                 *check_files.directories(self.host, self.conf)]
        self.assertEqual(
            [f'{path} is on a file system that is read-only'
             for path in ('/mine', '/state', '/run/x')],
            [f.sentence for f in found if f.level is Level.FAIL])

    def test_each_directory_on_the_way_must_let_its_users_pass(self) -> None:
        self.set(control_users=['nova'])
        self.root.chmod(0o755)
        self.place('way/place', 0o1777)
        (self.root / 'link').symlink_to('way/place')
        for path in ('/way/place', '/link'):
            for mode, level in ((0o755, Level.OK), (0o751, Level.OK),
                                (0o750, Level.FAIL)):
                (self.root / 'way').chmod(mode)
                self.assertIs(level, self.lock_path(path), path)
            (found,) = check_files.lock_path(self.host, self.conf)
            self.assertIn(f'{path} cannot be reached by nova, who may not '
                          'search /way', found.sentence)
        (self.root / 'way').chmod(0o755)
        (self.root / 'way/place').chmod(0o1776)
        self.assertIs(Level.FAIL, self.lock_path('/way/place'))

    def test_the_way_out_makes_a_directory_as_the_unit_does(self) -> None:
        self.set(state_path='/state', run_path='/run/x')
        hints = [f.hint or '' for f in
                 check_files.directories(self.host, self.conf)]
        self.assertIn('install -d -o nova -g nova -m 0770 /state', hints[0])
        self.assertIn('install -d -o nova -g nova -m 0755 /run/x', hints[1])

    def test_a_missing_state_fails_a_missing_run_directory_warns(
            self) -> None:
        self.set(state_path='/state', run_path='/run/x',
                 control_users=[self.me.pw_name])
        found = {f.subject: f.level for f in
                 check_files.directories(self.host, self.conf)}
        self.assertEqual({'state_path': Level.FAIL, 'run_path': Level.WARN},
                         found)
        self.place('state')
        self.assertIs(Level.WARN, self.worst(list(
            check_files.directories(self.host, self.conf))))

    def test_a_run_path_whose_socket_the_kernel_would_not_take_fails(
            self) -> None:
        for length, levels in ((90, [Level.WARN]),
                               (91, [Level.WARN, Level.FAIL])):
            self.set(run_path='/' + 'x' * (length - 1),
                     control_users=[self.me.pw_name])
            found = [f for f in check_files.directories(self.host, self.conf)
                     if f.subject == 'run_path']
            self.assertEqual(levels, [f.level for f in found], str(length))
        self.assertIn('control.sock is longer than the 103 bytes',
                      found[1].sentence)
        longest = f'{self.temp_dir()}/'.ljust(control.PATH_MAX, 'x')
        server = control.Server(longest, {}, lambda _: True)
        server.start()
        server.stop()

    def test_a_journal_that_nova_cannot_write_fails(self) -> None:
        self.set(state_path='/state', control_users=['nova'])
        self.place('state', 0o777)
        self.assertEqual([], list(check_files.journal(self.host, self.conf)))
        (self.root / 'state' / 'journal.sqlite').touch(0o660)
        self.assertIs(Level.FAIL, self.worst(list(
            check_files.journal(self.host, self.conf))))

    def test_a_journal_that_the_agent_could_not_use_fails(self) -> None:
        self.set(state_path='/state', control_users=[self.me.pw_name])
        path = self.root / 'state' / 'journal.sqlite'
        path.parent.mkdir()

        def said() -> list[str]:
            found = list(check_files.journal(self.host, self.conf))
            self.assertEqual([Level.FAIL] * len(found),
                             [f.level for f in found])
            return [f'{f.sentence} ({f.hint})' for f in found]

        journal.Journal(str(path), boot_id='b').close()
        self.assertEqual([], said())
        db = sqlite3.connect(path)
        db.execute(f'PRAGMA user_version={journal.VERSION + 98}')
        db.close()
        self.assertIn('has version 99', said()[0])
        path.write_bytes(b'no database' * 999)
        self.assertIn('it is damaged', said()[0])
        path.unlink()
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute('CREATE TABLE cookies (host TEXT)')
        self.assertIn('no journal of os-brick-healer', said()[0])
        self.assertIn('(move it away', said()[0])
        path.unlink()
        path.mkdir()
        self.assertIn('it is a directory', said()[0])
        path.rmdir()
        os.mkfifo(path)
        self.assertIn('it is no regular file (move it away)', said()[0])

    def test_an_empty_journal_is_a_warning(self) -> None:
        self.set(state_path='/state', control_users=[self.me.pw_name])
        path = self.root / 'state' / 'journal.sqlite'
        self.write_file(path, '')
        (found,) = check_files.journal(self.host, self.conf)
        self.assertIs(Level.WARN, found.level)
        self.assertIn('is empty', found.sentence)

    def test_attachments_that_make_no_sense_fail(self) -> None:
        self.set(state_path='/state', control_users=[self.me.pw_name])
        path = self.root / 'state' / 'journal.sqlite'
        path.parent.mkdir()
        book = journal.Journal(str(path), boot_id='b')
        self.addCleanup(book.close)
        for volume in ('good', 'odd', 'typed'):
            book.attach_begin(volume, 'vol', {}, 1, '1')
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE attachment SET state='resting' "
                       "WHERE volume='odd'")
            db.execute("UPDATE attachment SET pid='x' WHERE volume='typed'")
        odd, typed = check_files.journal(self.host, self.conf)
        self.assertIs(Level.FAIL, odd.level)
        self.assertIn("odd is 'resting'", odd.sentence)
        self.assertIn('newer release', odd.hint or '')
        self.assertIn('of typed is damaged', typed.sentence)
        self.assertIn('attach it again', typed.hint or '')

    def test_a_journal_with_a_torn_page_fails(self) -> None:
        self.set(state_path='/state', control_users=[self.me.pw_name])
        path = self.root / 'state' / 'journal.sqlite'
        path.parent.mkdir()
        book = journal.Journal(str(path), boot_id='b')
        for n in range(50):
            book.save_memory('replica', str(n), {'x': 'y' * 500})
        book.close()
        whole = bytearray(path.read_bytes())
        whole[4096:12000] = b'\xff' * (12000 - 4096)
        path.write_bytes(whole)
        (found,) = check_files.journal(self.host, self.conf)
        self.assertIn('is damaged', found.sentence)
        self.assertIn('sets it aside', found.hint or '')

    def privilege(self) -> Level:
        return self.worst(list(check_files.privilege(self.host, self.conf)))

    def test_the_filter_must_be_where_rootwrap_looks(self) -> None:
        self.assertIs(Level.FAIL, self.privilege())
        self.write_tree(self.root, {
            'etc/nova/rootwrap.conf':
            '[DEFAULT]\nfilters_path=/etc/nova/rootwrap.d,/usr/share/x\n'})
        self.assertIs(Level.FAIL, self.privilege())
        shipped = (pathlib.Path(__file__).parents[4] / 'etc'
                   / 'os-brick-healer' / 'rootwrap.d')
        for source in shipped.glob('*.filters'):
            self.write_tree(self.root, {
                f'usr/share/x/{source.name}': source.read_text()})
        self.assertIs(Level.OK, self.privilege())

    def test_without_sudo_there_is_no_privilege(self) -> None:
        self.missing = {'sudo'}
        self.assertIs(Level.FAIL, self.privilege())


class TextTest(base.TestCase):
    def test_below_each_lack_stands_the_way_out(self) -> None:
        found = [finding.ok('a', 'is there'),
                 finding.fail('b', 'is\x1bnot', 'do this')]
        self.assertEqual('OK    a: is there\nFAIL  b: is\\x1bnot\n'
                         '      -> do this', check.text(found))

    def test_the_worst_finding_is_the_exit_code(self) -> None:
        found = [finding.ok('a', 'x'), finding.warn('b', 'x', 'y')]
        self.assertEqual(0, check.exit_code(found[:1]))
        self.assertEqual(1, check.exit_code(found))
        self.assertEqual(2, check.exit_code(
            [*found, finding.fail('c', 'x', 'y')]))
