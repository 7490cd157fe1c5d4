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
from typing import Any

from os_brick_healer.agent import client, control, verbs
from os_brick_healer.cli import main, printing, settings
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


    def test_whoever_reads_json_is_told_what_is_wrong_with_it(self) -> None:
        self.break_it('garbage')
        told = self.run_json('status')
        self.assertIn('cannot tell whether an agent runs', told['error'])
        self.assertIn(f'at {self.conf_file}:4', told['configuration'])

    def test_a_refused_reload_is_said_once(self) -> None:
        conf = self.new_conf(self.conf_file)

        def reload() -> list[str]:
            files.reload(conf)
            return []

        server = control.Server(
            client.socket_path(str(self.run_path)),
            verbs.table(self.engine, dict, reload), lambda _: True)
        server.start()
        self.addCleanup(server.stop)
        self.break_it('heals_max = many')
        code, out, err = self.run_it('reload')
        self.assertEqual((4, ''), (code, out))
        self.assertEqual(1, len(err.splitlines()), err)
        self.assertIn("heals_max in", err)


#: What is no answer to any verb, and what is none to status.
NO_ANSWER: tuple[Any, ...] = (
    None, 7, 'x', [7], {'x': 1}, [{'wall_s': 'x'}], [{'wall_s': [7]}])
NO_STATUS: tuple[Any, ...] = (
    {}, [], {'agent': {}}, {'agent': [], 'volumes': []},
    *({'agent': {}, 'volumes': volumes} for volumes in (
        7, {'a': 1}, [7], [{'since_s': 'x'}], [{'since_s': 1e999}],
        [{'legs': 7}], [{'sync': {'percent': 'x'}}])),
    {'agent': {'started_wall': 'x'}, 'volumes': []})


class AnswersTest(test_main.CliTestCase):
    def serve_answers(self) -> None:
        """Somebody else listens, and says whatever ``self.answer`` is."""
        server = control.Server(
            client.socket_path(str(self.run_path)),
            dict.fromkeys(('status', 'explain', 'history', 'version'),
                          lambda _: self.answer), lambda _: True)
        server.start()
        self.addCleanup(server.stop)

    def test_an_answer_of_another_shape_is_no_defect(self) -> None:
        self.serve_answers()
        cases = [(verb, answer) for answer in NO_ANSWER
                 for verb in ('status', 'explain', 'history', 'version')]
        for verb, self.answer in cases + [('status', one)
                                          for one in NO_STATUS]:
            words = [verb, 'x'] if verb in ('explain', 'history') else [verb]
            code, _, err = self.run_it(*words)
            self.assertEqual(
                (4, f'os-brick-healer: cannot ask the agent for {verb}: '
                 'because its answer makes no sense (are both of one '
                 'version?)\n'), (code, err), str((verb, self.answer)))

    def test_what_an_agent_says_does_not_move_the_cursor(self) -> None:
        self.answer = {'version': '\x1b[2J', 'pid': '\x1b'}
        self.serve_answers()
        code, out, _ = self.run_it('version')
        self.assertEqual(0, code)
        self.assertNotIn('\x1b', out)


class TerminalTest(test_main.CliTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.serve()

    def print_to(self, path: str, **environment: str) -> tuple[int, str]:
        with open(path, 'w', encoding='utf-8') as out:
            return self.run_with(out.fileno(), self.words(), environment)

    def words(self, *more: str) -> list[str]:
        return [sys.executable, '-W', 'ignore', '-m',
                'os_brick_healer.cli.main',
                '--config-file', str(self.conf_file), *(more or ['status'])]

    def run_with(self, out: int, words: list[str],
                 environment: dict[str, str]) -> tuple[int, str]:
        done = subprocess.run(
            words, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60,
            check=False, env={**os.environ, 'PYTHONUNBUFFERED': '',
                              **environment})
        return done.returncode, done.stderr

    def test_without_an_output_nothing_is_done_and_that_is_said(
            self) -> None:
        for words in (['status'], ['status', '--json', '--watch'],
                      ['pause'], ['--version']):
            code, err = self.run_with(subprocess.DEVNULL, [
                sys.executable, '-c', 'import os, sys\nos.close(1)\n'
                'os.execv(sys.executable, sys.argv[1:])',
                *self.words(*words)], {})
            self.assertEqual((4, f'os-brick-healer: {printing.CLOSED}\n'),
                             (code, err))
        self.assertIsNone(self.engine.paused)

    def test_who_stops_reading_is_told_nothing(self) -> None:
        for words in (['status'], ['status', '--watch', '0.1'], ['history'],
                      ['--version']):
            read, write = os.pipe()
            os.close(read)
            self.addCleanup(os.close, write)
            self.assertEqual((4, ''), self.run_with(
                write, self.words(*words), {}), str(words))

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
