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
"""Where and how the agent logs, whatever nova.conf says of logs.

oslo.log's options are nova-compute's, too, and oslo.log raises anything for
one that it cannot use. None of them is a reason to leave guests alone.
"""

from collections.abc import Iterator, Mapping, Sequence
import configparser
import copy
import importlib.util
import logging as pylogging
import os
import stat

from oslo_config import cfg
from oslo_log import _options, formatters, handlers
from oslo_log import log as logging

from os_brick_healer import exception, regular, version
from os_brick_healer.conf import files, judge
from os_brick_healer.engine import columns

LOG = logging.getLogger(__name__)

_FILE = ('--log-file', '--logfile', '--log-dir', '--logdir')
_CONFIG = ('--log-config-append', '--log-config', '--log_config')
#: What a file of log_config_append cannot do without.
_SECTIONS = ('loggers', 'handlers', 'formatters')
_LINE = '%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s [-] '
#: What makes up a line of a process without requests.
_FORMATS: Mapping[str, object] = {
    'logging_default_format_string': f'{_LINE}%(message)s',
    'logging_debug_format_suffix': '', 'logging_exception_prefix': _LINE}
#: Those of oslo.log. (They have a place on the command line only where
#: oslo.log registers them itself.)
OPTIONS = tuple(one for _, group in _options.list_opts() for one in group)
_HELPER = 'it may keep the privileged helper from starting, too'


def unusable(conf: cfg.ConfigOpts) -> Iterator[tuple[Mapping[str, object],
                                                     str]]:
    """Options of oslo.log that have a value, and one it cannot use.

    :returns: what to use instead, and why. The first is what is wrong.
    :raises cfg.Error: one is no value at all.
    """
    if conf.log_config_append:
        why = _no_config(conf.log_config_append)
        if why is not None:
            yield {'log_config_append': None}, why
    found = _no_file(conf)
    if found is not None:
        option, why = found
        yield {option: None, 'log_dir': None, 'log_file': None}, why
    for pair in conf.default_log_levels:
        level = pair.partition('=')[2]
        if not level.lstrip('-').isdecimal() and (
                level not in pylogging.getLevelNamesMapping()):
            yield ({'default_log_levels': logging.get_default_log_levels()},
                   f"'{pair}' is not of the form LOGGER=LEVEL")
            break
    # No part of oslo.log's interface: a release of it may be without.
    find = getattr(logging, '_find_facility', None)
    if find is not None and (conf.use_journal or conf.use_syslog):
        try:
            find(conf.syslog_log_facility)
        except TypeError:
            yield ({'syslog_log_facility': 'LOG_USER'},
                   f"'{conf.syslog_log_facility}' is no facility")
    if conf.use_journal and getattr(handlers, 'journal', None) is None:
        yield ({'use_journal': False},
               'the Python module systemd is not installed')
    if conf.publish_errors and not importlib.util.find_spec('oslo_messaging'):
        yield {'publish_errors': False}, 'oslo.messaging is not installed'
    if conf.log_rotation_type == 'interval' and conf.log_rotate_interval < 1:
        yield {'log_rotation_type': 'none'}, 'log_rotate_interval is not > 0'
    why = None if conf.use_json else _no_format(conf)
    if why is not None:
        yield _FORMATS, why


def wrong(conf: cfg.ConfigOpts) -> Iterator[str]:
    """The same as sentences, of a configuration without oslo.log's options.

    :param conf: has read its files.
    """
    trial = cfg.ConfigOpts()
    trial.register_opts(OPTIONS)
    names, directories = files.named_files(conf)
    try:
        trial(args=[], project=files.PROJECT, default_config_files=names,
              default_config_dirs=directories)
        judge.others(trial, OPTIONS)
        for instead, why in unusable(trial):
            yield f'{next(iter(instead))}: {_plain(why)}'
    except judge.WRONG as e:
        yield _plain(judge.named(e))


def _no_config(path: str) -> str | None:
    parser = configparser.ConfigParser()
    try:
        regular.check(path)
        with open(path, encoding='utf-8') as stream:
            parser.read_file(stream)
    except OSError as e:
        return f'{path} cannot be read: {e.strerror}'
    except (ValueError, configparser.Error) as e:
        return f'{path} cannot be read: {_plain(e)}'
    missing = [s for s in _SECTIONS if not parser.has_section(s)]
    return f'{path} has no section [{missing[0]}]' if missing else None


def _no_file(conf: cfg.ConfigOpts) -> tuple[str, str] | None:
    """The option that says where the file is, and why there can be none.

    What is not for this user to see may be for the helper, and a relative
    path is another one for each process.
    """
    path = os.path.join(conf.log_dir or '', conf.log_file or '')
    place = os.path.dirname(path)
    if not os.path.isabs(place):
        return None
    by_file = not conf.log_dir or os.path.isabs(conf.log_file or '')
    option = 'log_file' if by_file else 'log_dir'
    try:
        if not stat.S_ISDIR(os.stat(place).st_mode):
            return option, f'{place} is no directory'
    except PermissionError:
        return None
    except OSError as e:
        return option, f'{place} cannot be used: {e.strerror}'
    if conf.log_file and os.path.isdir(path):
        return 'log_file', f'{path} is a directory'
    return None


def _no_format(conf: cfg.ConfigOpts) -> str | None:
    error = ValueError('to see whether it can be written')
    record = pylogging.LogRecord(
        __name__, pylogging.DEBUG, __file__, 1, 'a line', (),
        (type(error), error, None))
    try:
        formatters.ContextFormatter(config=conf).format(record)
    except cfg.Error:
        raise
    except Exception as e:  # noqa: BLE001 - whatever % makes of it
        return f'no line can be written with it: {type(e).__name__}: {e}'
    return None


def choose(conf: cfg.ConfigOpts, argv: Sequence[str], prog: str) -> None:
    """Log beside nova-compute, never into its file.

    nova.conf's log_file is nova-compute's: two processes that rotate one
    file lose lines. Ours has our name, in the same directory. What
    log_config_append of nova.conf names has nova-compute's files in it.
    (For oslo.config an option is located in its file even where the command
    line wins, so the arguments themselves are looked at.)
    """
    words = {word.partition('=')[0] for word in argv}
    if not words.intersection(_CONFIG) and not _ours(
            conf, 'log_config_append'):
        conf.set_override('log_config_append', None)
    if words.intersection(_FILE) or _ours(conf, 'log_file'):
        return
    if _is_device(conf.log_file):
        conf.set_override('log_file', None)
        conf.set_override('log_dir', None)
    elif conf.log_dir or conf.log_file:
        directory = conf.log_dir or os.path.dirname(conf.log_file)
        conf.set_override('log_file', f'{prog}.log')
        conf.set_override('log_dir', directory)


def _is_device(name: str | None) -> bool:
    """/dev/null or /dev/stdout: no file of ours belongs beside it."""
    return name is not None and os.path.dirname(name) == '/dev'


def _ours(conf: cfg.ConfigOpts, name: str) -> bool:
    where = conf.get_location(name)
    return where is not None and str(where.detail).startswith(
        os.path.dirname(files.OUR_FILE))


class Formatter(formatters.ContextFormatter):
    """oslo.log's, with one line for each sentence, and without the exception
    that is being handled.

    It would be added to a sentence that says it already, with the name of
    its class. Its text leaves out a few classes: one of them it finds here.
    What a journal, a kernel or a provisioner says may hold anything.
    """

    def format(self, record: pylogging.LogRecord) -> str:
        said = record.getMessage()
        if not said.isprintable():
            record = copy.copy(record)
            record.msg, record.args = columns.one_line(said), ()
        try:
            raise ValueError
        except ValueError:
            return super().format(record)


def set_up(conf: cfg.ConfigOpts, argv: Sequence[str], *, prog: str) -> None:
    """Open the log. What cannot be used is said in it, and left out.

    :raises ConfigError: a value is none, as of our own options.
    """
    try:
        said = []
        for instead, why in unusable(conf):
            said.append(_sentence(next(iter(instead)), why))
            for name, value in instead.items():
                conf.set_override(name, value)
        option = 'log_dir' if conf.log_dir else 'log_file'
        choose(conf, argv, prog)
        said += _open(conf, prog, option)
    except judge.WRONG as e:
        raise exception.ConfigError(
            f'cannot use the configuration: because {judge.named(e)}') from e
    for sentence in said:
        LOG.error('%s', sentence)
    for handler in pylogging.getLogger().handlers:
        old = handler.formatter
        if isinstance(old, formatters.ContextFormatter):
            handler.setFormatter(Formatter(
                project=old.project, version=old.version, config=old.conf,
                datefmt=old.datefmt))


def _open(conf: cfg.ConfigOpts, prog: str, option: str) -> list[str]:
    """As chosen, or with what can be opened. :returns: what cannot.

    :param option: what said in which directory the file is.
    """
    said = []
    while True:
        try:
            logging.setup(conf, prog, version.version_string())
        except cfg.Error:
            raise
        except Exception as e:
            if conf.log_config_append:
                said.append(_sentence('log_config_append', e))
                conf.set_override('log_config_append', None)
            elif conf.log_file or conf.log_dir:
                said.append(_sentence(option, e))
                conf.set_override('log_file', None)
                conf.set_override('log_dir', None)
            else:
                raise
        else:
            return said


def _sentence(option: str, why: object) -> str:
    return (f'cannot log as {option} says: because {_plain(why)}; mend it: '
            f'{_HELPER}')


def _plain(why: object) -> str:
    return columns.one_line(' '.join(str(why).split()))
