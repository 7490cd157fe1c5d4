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
"""Laws of what an agent says before it is needed: that it cannot heal."""

import os
import pathlib

from oslo_config import cfg

from os_brick_healer import privileged
from os_brick_healer.agent import act, lacks, tell
from os_brick_healer.cli import check_host, render
from os_brick_healer.conf import files
from os_brick_healer.tests import base


class LacksTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path: str | None = str(self.temp_dir())
        self.installed = set(lacks.COMMANDS)
        self.lacks = lacks.Lacks(
            lambda: self.path,
            which=lambda name: name if name in self.installed else None)

    def test_a_host_that_has_all_lacks_nothing(self) -> None:
        self.lacks.helper(None)
        self.assertEqual({}, self.lacks.now())

    def test_each_lack_is_said_and_gone_when_it_is_mended(self) -> None:
        self.lacks.helper('sudo: not found')
        self.installed.discard('nvme')
        self.path = None
        told = self.lacks.now()
        self.assertEqual({'helper', 'commands', 'lock_path'}, set(told))
        self.assertIn('sudo: not found', told['helper'])
        self.assertTrue(told['commands'].startswith('nvme: not installed'))
        self.assertIn('[oslo_concurrency] lock_path', told['lock_path'])
        self.lacks.helper(None)
        self.installed.add('nvme')
        self.path = str(self.temp_dir())
        self.assertEqual({}, self.lacks.now())

    def test_a_lock_path_that_cannot_be_written_is_a_lack(self) -> None:
        self.path = f'{self.path}/file/locks'      # root's, too
        self.write_file(pathlib.Path(self.path).parent, '')
        self.assertEqual({'lock_path'}, set(self.lacks.now()))

    def test_locks_may_be_made_where_there_are_none_yet(self) -> None:
        self.path = f'{self.path}/locks'
        self.assertEqual({}, self.lacks.now())

    def test_it_is_logged_once_when_it_appears_and_when_it_is_gone(
            self) -> None:
        with self.assertLogs(lacks.LOG.logger) as logs:
            for problem in ('sudo: not found', 'sudo: not found', None):
                self.lacks.helper(problem)
                self.lacks.now()
        self.assertEqual(
            ['nothing can be healed on this host: sudo: not found',
             'helper does not lack any more'],
            [r.getMessage() for r in logs.records])

    def test_the_lock_path_is_the_one_that_os_brick_uses(self) -> None:
        conf = cfg.ConfigOpts()
        conf(args=[], default_config_files=[], default_config_dirs=[])
        files.share_lock_path(conf)
        conf.set_override('lock_path', None, group='oslo_concurrency')
        self.assertIn('lock_path', lacks.of(conf).now())
        conf.set_override('lock_path', self.path, group='os_brick')
        self.assertNotIn('lock_path', lacks.of(conf).now())

    def test_the_commands_are_those_of_the_helper_and_of_the_check(
            self) -> None:
        self.assertEqual({*lacks.COMMANDS, 'privsep-helper'},
                         set(check_host.COMMANDS))
        self.assertEqual(privileged.SEARCH_PATH, lacks.SEARCH_PATH)


class HelperTest(base.TestCase):
    def test_it_is_tried_again_ever_more_seldom_until_it_runs(self) -> None:
        told: list[str | None] = []
        waited: list[float] = []

        def start() -> None:
            if len(waited) < 9:
                raise OSError('no sudo')

        act.start_until_it_runs(start, told.append, waited.append)
        self.assertEqual(['no sudo'] * 9 + [None], told)
        self.assertEqual([10.0, 20.0, 40.0], waited[:3])
        self.assertEqual(act.HELPER_LAST_S, waited[-1])


class ToldTest(base.TestCase):
    STATUS = {'agent': {'pid': os.getpid(), 'lacks': {
        'helper': 'cannot start \x1b[2J', 'lock_path': 'is not set'}},
        'volumes': [{'phase': 'healthy'}]}

    def test_status_has_a_line_for_each_and_a_person_should_look(
            self) -> None:
        text = render.status(self.STATUS, now_wall=0.0)
        self.assertIn('\nHELPER       cannot start \\x1b[2J\n', text)
        self.assertIn('\nLOCK_PATH    is not set\n', text)
        self.assertEqual(render.EXIT_ATTENTION,
                         render.exit_code(self.STATUS))

    def test_systemd_hears_of_it(self) -> None:
        self.assertEqual(
            '1 volume: 1 healthy; nothing can be healed: helper, lock_path',
            tell.summary(self.STATUS))

    def test_the_docs_tell_of_each(self) -> None:
        page = (pathlib.Path(__file__).parents[4] / 'doc' / 'source'
                / 'admin' / 'failures.rst')
        if not page.exists():
            self.skipTest('not run from a source tree')
        for what in ('HELPER', 'COMMANDS', 'LOCK_PATH'):
            self.assertIn(f'*{what}*', page.read_text())
