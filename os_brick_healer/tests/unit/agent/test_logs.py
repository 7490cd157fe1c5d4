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
"""A wrong logging option keeps no volume unhealed, and is said."""

import io
import logging as pylogging
import os
import subprocess
import sys

from oslo_config import cfg
from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.agent import logs, process
from os_brick_healer.conf import files
from os_brick_healer.tests import base

START = """
import logging, sys
from oslo_config import cfg
from os_brick_healer.agent import process
process.configure(cfg.CONF, sys.argv[1:])
logging.getLogger('volumes').warning('\x1b[2J are looked after')
"""
#: A file of log_config_append: %s is the class of its handler, and a file.
CONFIG = """
[loggers]
keys = root
[handlers]
keys = one
[formatters]
keys =
[logger_root]
handlers = one
[handler_one]
class = %s
args = ('%s',)
"""


class StartTest(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.place = self.temp_dir()
        self.conf_file = self.place / 'nova.conf'

    def start(self, text: str, *argv: str) -> tuple[int, str]:
        """The exit code and what is written, without an agent."""
        self.conf_file.write_text(f'[DEFAULT]\n{text}\n')
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', START, '--config-file',
             str(self.conf_file), *argv], check=False, timeout=120,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertNotIn('Traceback', done.stdout)
        return done.returncode, done.stdout

    def config(self, handler: str) -> str:
        return str(self.write_file(
            self.place / 'logging.ini',
            CONFIG % (handler, self.place / 'compute.log')))

    def test_it_is_said_and_the_agent_starts_without_it(self) -> None:
        code, said = self.start(
            'default_log_levels = x\nlogging_default_format_string = %(no\n'
            'log_file = /proc/none/compute.log')
        self.assertEqual(0, code)
        for option in ('default_log_levels', 'logging_default_format_string'):
            self.assertIn(f'cannot log as {option} says: because', said)
        self.assertIn('cannot log as log_file says: because /proc/none cannot '
                      'be used: No such file or directory; mend it: it may '
                      'keep the privileged helper from starting', said)
        self.assertIn('are looked after', said)

    def test_a_file_that_cannot_be_opened_is_told_with_its_option(
            self) -> None:
        (self.place / 'os-brick-healer-agent.log').mkdir()
        for option, value in (('log_dir', self.place),
                              ('log_file', self.place / 'compute.log')):
            code, said = self.start(f'{option} = {value}')
            self.assertEqual(0, code)
            self.assertIn(f'cannot log as {option} says: because', said)
            self.assertIn('privileged helper', said)
            self.assertIn('are looked after', said)

    def test_a_configuration_of_logs_that_raises_is_left_out(self) -> None:
        code, said = self.start('', '--log-config-append',
                                self.config('NoSuchHandler'))
        self.assertEqual(0, code)
        self.assertIn('cannot log as log_config_append says: because', said)
        self.assertIn('are looked after', said)

    def test_novas_configuration_of_logs_is_novas(self) -> None:
        config = self.config('FileHandler')
        _, said = self.start(f'log_config_append = {config}')
        self.assertIn('are looked after', said)
        self.assertFalse((self.place / 'compute.log').exists())
        self.start('', f'--log-config-append={config}')
        self.assertIn('are looked after',
                      (self.place / 'compute.log').read_text())

    def test_what_is_logged_moves_no_cursor(self) -> None:
        _, said = self.start('')
        self.assertIn(r'\x1b[2J are looked after', said)


class LogTest(base.TestCase):
    """nova.conf says where nova-compute logs; that file is not ours."""

    def setUp(self) -> None:
        super().setUp()
        self.place = self.temp_dir()

    def conf(self, text: str, *argv: str) -> cfg.ConfigOpts:
        path = self.write_file(self.place / 'nova.conf', text)
        conf = cfg.ConfigOpts()
        logging.register_options(conf)
        conf.register_cli_opts(process._CLI_OPTS)
        files.load(conf, ['--config-file', str(path), *argv], prog='test')
        logs.choose(conf, argv, process.PROG)
        return conf

    def test_in_novas_directory_with_our_name(self) -> None:
        conf = self.conf('[DEFAULT]\nlog_dir = /var/log/nova\n')
        self.assertEqual(('/var/log/nova', 'os-brick-healer-agent.log'),
                         (conf.log_dir, conf.log_file))

    def test_it_may_be_below_novas_state_path(self) -> None:
        conf = self.conf('[DEFAULT]\nstate_path = /n\n'
                         'log_dir = $state_path/log\n')
        self.assertEqual('/n/log', conf.log_dir)

    def test_novas_own_file_is_not_shared(self) -> None:
        conf = self.conf('[DEFAULT]\nlog_file = /var/log/n/compute.log\n')
        self.assertEqual(('/var/log/n', 'os-brick-healer-agent.log'),
                         (conf.log_dir, conf.log_file))

    def test_what_is_said_on_the_command_line_holds(self) -> None:
        conf = self.conf('[DEFAULT]\nlog_file = /var/log/n/compute.log\n',
                         '--log-file', '/tmp/mine.log')
        self.assertEqual('/tmp/mine.log', conf.log_file)
        self.assertIsNone(conf.log_dir)

    def test_no_file_is_made_among_devices(self) -> None:
        for device in ('/dev/null', '/dev/stdout'):
            conf = self.conf(f'[DEFAULT]\nlog_file = {device}\n'
                             'log_dir = /var/log/nova\n')
            self.assertEqual((None, None), (conf.log_dir, conf.log_file))

    def test_without_either_it_goes_to_standard_error(self) -> None:
        conf = self.conf('')
        self.assertEqual((None, None), (conf.log_dir, conf.log_file))


class FormatterTest(base.TestCase):
    """A line of the log is one sentence, said once."""

    def lines(self, *, with_traceback: bool = False) -> list[str]:
        conf = cfg.ConfigOpts()
        logging.register_options(conf)
        conf(args=[], default_config_files=[], default_config_dirs=[])
        written = io.StringIO()
        handler = pylogging.StreamHandler(written)
        handler.setFormatter(logs.Formatter(config=conf))
        log = pylogging.getLogger(self.id())
        log.propagate = False
        log.addHandler(handler)
        try:
            raise exception.ConfigError('cannot do it: because of me')
        except exception.ConfigError as e:
            log.error('%s', e, exc_info=with_traceback)
        return written.getvalue().splitlines()

    def test_what_was_caught_and_said_is_not_said_again(self) -> None:
        (line,) = self.lines()
        self.assertTrue(line.endswith('cannot do it: because of me'), line)
        self.assertEqual(1, line.count('cannot do it'))
        self.assertNotIn('ConfigError', line)

    def test_the_traceback_of_a_defect_is_there(self) -> None:
        self.assertIn('Traceback', '\n'.join(
            self.lines(with_traceback=True)))


class UnusableTest(base.TestCase):

    def found(self, **values: object) -> list[str]:
        conf = cfg.ConfigOpts()
        logging.register_options(conf)
        conf(args=[], default_config_files=[], default_config_dirs=[])
        for name, value in values.items():
            conf.set_override(name, value)
        return [name for instead, _ in logs.unusable(conf)
                for name in instead]

    def test_each_is_found_by_its_name(self) -> None:
        fifo = str(self.temp_dir() / 'fifo')
        os.mkfifo(fifo)
        for name, value in (
                ('log_config_append', '/nonexistent'),
                ('log_config_append', fifo),
                ('log_config_append', __file__),
                ('default_log_levels', ['amqp=LOUD']),
                ('default_log_levels', ['amqp']),
                ('logging_exception_prefix', '%(nope)s')):
            self.assertIn(name, self.found(**{name: value}))
        self.assertEqual(['syslog_log_facility'], self.found(
            use_syslog=True, syslog_log_facility='nope'))
        self.assertEqual(['log_rotation_type'], self.found(
            log_rotation_type='interval', log_rotate_interval=0))

    def test_a_file_has_a_directory(self) -> None:
        place = self.temp_dir()
        nowhere = place / 'none'
        no_directory = self.write_file(place / 'file', '')
        for wrong, values in (
                ('log_dir', {'log_dir': nowhere}),
                ('log_dir', {'log_dir': no_directory, 'log_file': 'a.log'}),
                ('log_dir', {'log_dir': no_directory / 'below'}),
                ('log_file', {'log_file': nowhere / 'a.log'}),
                ('log_file', {'log_file': no_directory / 'a.log'}),
                ('log_file', {'log_file': place}),
                ('log_file', {'log_dir': place,
                              'log_file': nowhere / 'a.log'})):
            self.assertEqual(wrong, self.found(
                **{k: str(v) for k, v in values.items()})[0])
        for right in ({'log_dir': place}, {'log_file': place / 'a.log'},
                      {'log_dir': nowhere, 'log_file': place / 'a.log'},
                      {'log_file': '/dev/null'}, {'log_dir': 'relative'}):
            self.assertEqual([], self.found(
                **{k: str(v) for k, v in right.items()}))

    def test_what_can_be_used_is_not(self) -> None:
        self.assertEqual([], self.found(
            default_log_levels=['amqp=WARN', 'x=5', 'y=TRACE'],
            use_syslog=True, syslog_log_facility='local0'))


class ReloadTest(base.TestCase):

    def test_a_value_that_is_none_is_told_as_at_the_start(self) -> None:
        path = self.write_file(self.temp_dir() / 'nova.conf', '')
        conf = cfg.ConfigOpts()
        logging.register_options(conf)
        files.load(conf, ['--config-file', str(path)], prog='test')
        for text, why in (
                ('debug = maybe', "'maybe' is neither true nor false"),
                ('log_rotation_type = often', 'Valid values are'),
                ('log_dir = $nope', 'an option of nova alone')):
            path.write_text(f'[DEFAULT]\n{text}\n')
            error = self.assertRaises(exception.ConfigError, files.reload,
                                      conf, logs.OPTIONS)
            self.assertIn('cannot use the configuration: because '
                          f'{text.partition(" ")[0]}', str(error))
            self.assertIn(why, str(error))
        path.write_text('[DEFAULT]\ndebug = true\nstate_path = /n\n'
                        'log_dir = $state_path/log\n')
        files.reload(conf, logs.OPTIONS)
        self.assertEqual('/n/log', conf.log_dir)


class UsageTest(base.TestCase):
    """What is wrong in a file is 4, on the command line 2."""

    def end(self, text: str, *argv: str) -> tuple[int, str]:
        path = self.write_file(self.temp_dir() / 'nova.conf',
                               f'[DEFAULT]\n{text}\n')
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m',
             'os_brick_healer.agent.main', '--config-file', str(path), *argv],
            check=False, timeout=120, capture_output=True, text=True)
        return done.returncode, done.stderr.replace(str(path), 'FILE')

    def test_a_value_that_is_none_names_its_file(self) -> None:
        self.assertEqual(
            (4, 'os-brick-healer-agent: cannot use the configuration: '
                "because debug in FILE: 'maybe' is neither true nor "
                'false\n'), self.end('debug = maybe'))

    def test_a_value_that_is_read_late_is_no_different(self) -> None:
        code, said = self.end('log_rotation_type = often')
        self.assertEqual(4, code)
        self.assertIn('because log_rotation_type in FILE: ', said)
        self.assertEqual(1, said.count('\n'))

    def test_wrong_usage_is_2(self) -> None:
        for argv in (['--run-mode', 'bogus'], ['--no-such']):
            code, said = self.end('', *argv)
            self.assertEqual(2, code)
            self.assertIn(argv[-1], said)
