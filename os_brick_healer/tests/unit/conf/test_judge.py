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
"""Laws of the configuration: nothing wrong in it passes in silence."""

import os
import pathlib
import subprocess
import sys

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import files, judge, opts
from os_brick_healer.tests import base


class ConfTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.temp_dir() / 'healer.conf'

    def load(self, text: str) -> cfg.ConfigOpts:
        self.path.write_text(text)
        conf = cfg.ConfigOpts()
        files.load(conf, ['--config-file', str(self.path)], prog='test')
        return conf

    def error(self, text: str) -> str:
        return str(self.assertRaises(exception.ConfigError, self.load,
                                     f'[{opts.GROUP}]\n{text}\n'))


class ValuesTest(ConfTestCase):
    def test_a_wrong_value_is_told_in_plain_words_with_its_place(
            self) -> None:
        for text, told in (
                ('heals_max = many', "'many' is not a whole number"),
                ('grace_period = soon', "'soon' is not a number"),
                ('paused = maybe', "'maybe' is neither true nor false"),
                ('grace_period = -1', 'greater than or equal to 0'),
                ('launch = often', "found 'often'")):
            error = self.error(text)
            name = text.partition(' ')[0]
            self.assertIn(f'because {name} in {self.path}: ', error)
            self.assertIn(told, error)
            for raw in ('LocationInfo', 'literal', 'convert', 'Unexpected'):
                self.assertNotIn(raw, error)

    def test_what_is_no_number_is_no_number_of_seconds(self) -> None:
        floats = [opt.dest for opt in opts.ALL_OPTS
                  if isinstance(opt, cfg.FloatOpt)]
        self.assertGreater(len(floats), 5)
        for name in floats:
            for word in ('nan', '-nan', 'inf'):
                self.assertIn(name, self.error(f'{name} = {word}'))

    def test_what_refers_to_itself_or_to_nothing_names_its_option(
            self) -> None:
        self.assertIn('profile: it names itself',
                      self.error('profile = $profile'))
        self.assertIn('grace_period: no such option foo',
                      self.error('grace_period = $foo'))
        self.assertIn(f'root_helper in {self.path}: ',
                      self.error('root_helper = "sudo'))

    def test_a_place_is_the_same_for_every_process(self) -> None:
        for name, paths in (
                ('state_path', ('', 'here', './here')),
                ('run_path', ('', 'here', './here')),
                ('local_file', ('', 'here', './here')),
                ('metrics_textfile', ('here.prom', './here.prom'))):
            for path in paths:
                error = self.error(f'{name} = {path}')
                self.assertIn(f"because {name} in {self.path}: '{path}' is "
                              'no absolute path', error)
        for unset in ('', f'[{opts.GROUP}]\nmetrics_textfile =\n'):
            self.assertFalse(
                self.load(unset)[opts.GROUP].metrics_textfile)

    def test_a_directory_is_no_file(self) -> None:
        error = self.assertRaises(
            exception.ConfigError, files.load, cfg.ConfigOpts(),
            ['--config-file', str(self.path.parent)], prog='test')
        self.assertIn(f'because {self.path.parent} cannot be read: it is a '
                      'directory', str(error))

    def test_a_file_is_no_directory(self) -> None:
        self.path.write_text('')
        error = self.assertRaises(
            exception.ConfigError, files.load, cfg.ConfigOpts(),
            ['--config-dir', str(self.path)], prog='test')
        self.assertIn(f'because {self.path} is no directory', str(error))

    def test_what_no_one_may_write_to_is_not_waited_for(self) -> None:
        conf = self.load('')
        os.unlink(self.path)
        os.mkfifo(self.path)
        for read in (
                lambda: files.load(
                    cfg.ConfigOpts(), ['--config-file', str(self.path)],
                    prog='test'),
                lambda: files.load(
                    cfg.ConfigOpts(), ['--config-dir',
                                       str(self.path.parent)], prog='test'),
                lambda: files.reload(conf)):
            error = self.assertRaises(exception.ConfigError, read)
            self.assertIn(f'because {self.path} cannot be read: it is no '
                          'regular file', str(error))
        nova = self.new_conf()
        self.assertIs(nova, files.beside(nova, our_file=str(self.path),
                                         our_dir='/nonexistent'))

    def test_a_pipe_that_is_open_already_is_read(self) -> None:
        out, into = os.pipe()
        self.addCleanup(os.close, out)
        os.write(into, f'[{opts.GROUP}]\ngrace_period = 7\n'.encode())
        os.close(into)
        conf = cfg.ConfigOpts()
        files.load(conf, ['--config-file', f'/dev/fd/{out}'], prog='test')
        self.assertEqual(7, conf[opts.GROUP].grace_period)

    def test_a_file_may_be_put_out_of_use(self) -> None:
        self.path.symlink_to(os.devnull)
        for name in (os.devnull, str(self.path)):
            conf = cfg.ConfigOpts()
            files.load(conf, ['--config-file', name, '--config-dir',
                              str(self.path.parent)], prog='test')
            files.reload(conf)

    def test_a_file_that_is_not_text_is_named(self) -> None:
        first = self.write_file(self.temp_dir() / 'nova.conf', '')
        self.path.write_bytes(b'[os_brick_healer]\nlocal_file = \xe9\n')
        error = self.assertRaises(
            exception.ConfigError, files.load, cfg.ConfigOpts(),
            ['--config-file', str(first), f'--config-file={self.path}'],
            prog='test')
        self.assertIn(f'because {self.path} is not UTF-8 text', str(error))

    def test_a_reload_names_it_too(self) -> None:
        conf = self.load('')
        self.path.write_bytes(b'\xe9')
        error = self.assertRaises(exception.ConfigError, files.reload, conf)
        self.assertIn(f'{self.path} is not UTF-8', str(error))


class UnknownTest(ConfTestCase):
    def unknown(self, text: str) -> list[str]:
        return files.unknown(self.load(text))

    def test_a_misspelt_option_is_told_with_the_one_that_was_meant(
            self) -> None:
        found = self.unknown('[os_brick_healer]\ngrace_perid = 5\n'
                             'heals-max = 3\n')
        self.assertEqual(
            [f'[os_brick_healer] grace_perid in {self.path} is no option: '
             'did you mean grace_period?',
             f'[os_brick_healer] heals-max in {self.path} is no option: '
             'did you mean heals_max?'], found)

    def test_an_option_like_none_of_ours_is_told(self) -> None:
        self.assertIn('nobody reads it',
                      self.unknown('[os_brick_healer]\nzzz = 5\n')[0])

    def test_a_misspelt_section_is_told(self) -> None:
        for name in ('os_brick_healr', 'os-brick-healer', 'Os_Brick_Heeler'):
            self.assertEqual(
                [f'section [{name}] in {self.path} is read by nobody: did '
                 'you mean [os_brick_healer]?'],
                self.unknown(f'[{name}]\ngrace_period = 5\n'))

    def test_every_option_and_the_sections_of_others_are_fine(self) -> None:
        ours = '\n'.join(f'{o.dest} = {o.default}' for o in opts.ALL_OPTS
                         if o.default is not None and o.dest not in (
                             'control_users',))
        self.assertEqual([], self.unknown(
            '[DEFAULT]\nmy_ip = 1\n[os_brick]\nx = 1\n[OS_BRICK_HEALER]\n'
            f'{ours}\n[privsep_os_brick_healer]\nuser = root\n'))

    def test_files_of_directories_are_looked_at(self) -> None:
        place = pathlib.Path(self.temp_dir())
        self.write_tree(place, {'b.conf': '[os_brick_healer]\nwhat = 1\n',
                                'c.txt': '[os_brick_healer]\nelse = 1\n'})
        self.assertEqual(1, len(judge.unknown(
            judge.every_file([], [str(place)]))))

    def test_the_agent_says_so_when_it_starts(self) -> None:
        in_the_way = self.write_file(self.temp_dir() / 'run', 'a file')
        self.path.write_text('[os_brick_healer]\ngrace_perid = 5\n'
                             f'run_path = {in_the_way}\n'
                             f'state_path = {self.temp_dir()}\n')
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m',
             'os_brick_healer.agent.main', '--config-file', str(self.path)],
            capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(4, done.returncode)
        self.assertIn('did you mean grace_period?',
                      done.stdout + done.stderr)

    def test_a_reload_says_so(self) -> None:
        conf = self.load('')
        self.path.write_text('[os_brick_healer]\ngrace_perid = 5\n')
        files.reload(conf)
        self.assertIn('did you mean grace_period?', self.log.output)
