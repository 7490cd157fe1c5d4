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
"""Laws of the command in bad company: wrong words, files and terminals."""

import json
import os
import subprocess
import sys

from os_brick_healer.cli import main, settings
from os_brick_healer.conf import files
from os_brick_healer.tests.unit.cli import test_main


class SecondsTest(test_main.CliTestCase):
    def test_only_what_can_be_waited_for_is_taken(self) -> None:
        for text in ('nan', 'inf', '0', '-1', '1e9', 'x'):
            for argv in (['--timeout', text, 'status'],
                         [f'--timeout={text}', 'status'],
                         ['status', f'--watch={text}']):
                code, _, err = self.run_it(*argv)
                self.assertEqual(4, code, str(argv))
                self.assertNotIn('Traceback', err)
        self.assertEqual(2.5, main.seconds('2.5'))

    def test_a_version_needs_no_agent(self) -> None:
        code, out, _ = self.run_it('--version')
        self.assertEqual(0, code)
        self.assertRegex(out, r'^os-brick-healer \d')

    def test_what_is_watched_by_a_script_is_one_document_a_line(
            self) -> None:
        self.serve()
        args = main.parser().parse_args(['status', '--json', '--watch'])
        text, _ = main.status_once(main.Session(args, settings.read(
            [str(self.conf_file)], [], whole=False)))
        self.assertEqual(1, len(text.splitlines()))
        self.assertIn('agent', json.loads(text))


class ConfigurationTest(test_main.CliTestCase):
    def break_it(self, line: str) -> None:
        text = self.conf_file.read_text()
        self.conf_file.write_text(f'{text}{line}\n')

    def test_a_wrong_value_does_not_hide_the_agent(self) -> None:
        self.serve()
        self.break_it('heals_max = many')
        code, out, err = self.run_it('status')
        self.assertEqual(0, code)
        self.assertIn('vol-1', out)
        self.assertIn('heals_max', err)

    def test_whoever_does_not_know_where_it_is_does_not_say_it_is_down(
            self) -> None:
        self.serve()
        self.break_it('garbage')
        for verb in ('status', 'pause', 'history', 'version'):
            code, out, err = self.run_it(verb)
            self.assertEqual(4, code, verb)
            self.assertNotIn('NO AGENT RUNS', out)
            self.assertIn('cannot tell whether an agent runs', err)

    def test_a_file_that_may_not_be_read_is_known_to_be_there(self) -> None:
        mine = self.write_file(self.temp_dir() / 'a.conf', '')
        self.assertEqual([], files.unreadable(str(mine), '/nonexistent'))
        if os.geteuid() == 0:
            self.skipTest('root may read everything')
        mine.chmod(0)
        self.assertEqual([str(mine)],
                         files.unreadable(str(mine), '/nonexistent'))


class TerminalTest(test_main.CliTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.serve()

    def print_to(self, path: str, **environment: str) -> tuple[int, str]:
        with open(path, 'w', encoding='utf-8') as out:
            done = subprocess.run(
                [sys.executable, '-W', 'ignore', '-m',
                 'os_brick_healer.cli.main',
                 '--config-file', str(self.conf_file), 'status'],
                stdout=out, stderr=subprocess.PIPE, text=True, timeout=60,
                check=False, env={**os.environ, 'PYTHONUNBUFFERED': '',
                                  **environment})
        return done.returncode, done.stderr

    def test_a_full_disk_is_said_and_is_no_defect(self) -> None:
        code, err = self.print_to('/dev/full')
        self.assertEqual(4, code)
        self.assertEqual('os-brick-healer: cannot print: because No space '
                         'left on device\n', err)

    def test_words_that_the_terminal_does_not_have_are_escaped(self) -> None:
        self.engine.pause('caf\u00e9')
        path = self.temp_dir() / 'out'
        code, err = self.print_to(str(path), PYTHONIOENCODING='ascii')
        self.assertEqual((1, ''), (code, err))
        self.assertIn('caf\\xe9', path.read_text())
