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
"""Which configuration files are read, and how.

nova's own files come first (the lock directory must be the one that
nova-compute uses), then ours; later files win.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
import contextlib
import io
import logging
import os
import socket
import sys

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import judge, opts

LOG = logging.getLogger(__name__)

PROJECT = 'nova'
OUR_FILE = '/etc/os-brick-healer/os-brick-healer.conf'
OUR_DIR = '/etc/os-brick-healer/os-brick-healer.conf.d'
_WHY_MAX = 1000
#: Exit code of a process that was called wrongly (argparse's).
USAGE = 2


def default_files() -> list[str]:
    """The files to read when none is named; only what can be read.

    nova-compute.conf is where distributions keep the compute node's part.
    """
    found = cfg.find_config_files(project=PROJECT, prog='nova-compute')
    return [f for f in _once([*found, OUR_FILE]) if _readable(f)]


def default_dirs() -> list[str]:
    """The directories to read when none is named."""
    found = cfg.find_config_dirs(project=PROJECT, prog='nova-compute')
    return [d for d in _once([*found, OUR_DIR])
            if _readable(d) and os.path.isdir(d)]


def unreadable(our_file: str = OUR_FILE,
               our_dir: str = OUR_DIR) -> list[str]:
    """What would be read, is there, and is not for this user to read."""
    found = [*cfg.find_config_files(project=PROJECT, prog='nova-compute'),
             *cfg.find_config_dirs(project=PROJECT, prog='nova-compute'),
             our_file, our_dir]
    return [f for f in _once(found)
            if os.path.lexists(f) and not _readable(f)]


def _readable(path: str) -> bool:
    return os.access(path, os.R_OK | (
        os.X_OK if os.path.isdir(path) else 0))


def load(conf: cfg.ConfigOpts, args: Sequence[str], *, prog: str,
         judged: Iterable[str] | None = None) -> None:
    """Parse arguments and files; whatever is wrong becomes ConfigError.

    nova's ``host`` is this host's name for the provisioner, and lock_path
    and log_dir may be below its ``state_path``.

    :param conf: of a process of ours; nova registers its ``host`` itself.
    :param judged: the options whose values must be right, None: all of
        ours. Another one that is wrong raises when it is used.
    """
    opts.register(conf)
    _register_novas(conf)
    try:
        judge.places(*_named(args))
        with _words(args):
            conf(args=list(args), project=PROJECT, prog=prog,
                 default_config_files=default_files(),
                 default_config_dirs=default_dirs())
        judge.values(conf, judged)
    except judge.WRONG as e:
        raise _wrong(e, judge.every_file(*_named(args))) from e


def _register_novas(conf: cfg.ConfigOpts) -> None:
    conf.register_opts([
        cfg.StrOpt('host', default=socket.gethostname()),
        # As nova has it; where nova is, nobody knows who does not import it.
        cfg.StrOpt('state_path', default='$pybasedir')])


@contextlib.contextmanager
def _words(args: Sequence[str]) -> Iterator[None]:
    """oslo.config prints what is wrong with some options, and exits with 1.

    :raises ValueError: such an option is wrong in a file.
    :raises SystemExit: with 2, as for any wrong usage: in the arguments.
    """
    printed = io.StringIO()
    wrong = None
    try:
        with contextlib.redirect_stderr(printed):
            yield
    except SystemExit as e:
        said = printed.getvalue()
        if judge.on_command_line(said, args):
            e.code = USAGE
        else:
            wrong = judge.refused(said, judge.every_file(*_named(args)))
        if wrong is None:
            raise
    finally:
        err: object = sys.stderr    # None where it is closed
        if wrong is None and err is not None:
            sys.stderr.write(printed.getvalue())
    if wrong is not None:
        raise ValueError(wrong)


def _named(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The files and directories that arguments name; without any, those
    that are there.

    An option without its value is for the real parser to refuse.
    """
    reads = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reads.add_argument('--config-file', action='append', nargs='?')
    reads.add_argument('--config-dir', action='append', nargs='?')
    found, _ = reads.parse_known_args(list(args))
    return ([f for f in found.config_file if f]
            if found.config_file else default_files(),
            [d for d in found.config_dir if d]
            if found.config_dir else default_dirs())


def unknown(conf: cfg.ConfigOpts) -> list[str]:
    """What was meant for us in the files and is read by nobody."""
    return judge.unknown(judge.every_file(*named_files(conf)))


def warn_unknown(conf: cfg.ConfigOpts) -> None:
    """Say in the log what was meant for us and is read by nobody."""
    for sentence in unknown(conf):
        LOG.warning('%s', sentence)


def reload(conf: cfg.ConfigOpts,
           others: Sequence[cfg.Opt] = ()) -> list[str]:
    """Read the files again; on any error the old values stay in force.

    A second ConfigOpts reads first: oslo.config would take a file whose
    values are wrong and raise only when one of them is used.

    The directory of locks stays: nova-compute goes on with its own until it
    is restarted, and a lock of ours may be held.

    :param others: options of another library whose values must be right,
        too.
    :returns: what of it is not in force.
    :raises ConfigError: what is wrong.
    """
    trial = cfg.ConfigOpts()
    opts.register(trial)
    _register_novas(trial)
    trial.register_opts(others)
    try:
        judge.places(*named_files(conf))
        trial(args=[], project=PROJECT, prog='os-brick-healer-agent',
              default_config_files=list(conf.config_file or ()),
              default_config_dirs=list(conf.config_dir or ()))
        judge.values(trial)
        judge.others(trial, others)
    except judge.WRONG as e:
        raise _wrong(e, judge.every_file(*named_files(conf))) from e
    share_lock_path(trial)
    share_lock_path(conf)
    held = conf.os_brick.lock_path
    if held:
        conf.set_override('lock_path', held, group='os_brick')
    if not conf.reload_config_files():
        raise exception.ConfigError(
            'cannot reload the configuration: because oslo.config refused '
            'it', hint='the log says why')
    warn_unknown(conf)
    if held and held != trial.os_brick.lock_path:
        return ['lock_path has changed; it takes effect when the agent is '
                'restarted']
    return []


def beside(conf: cfg.ConfigOpts, *, our_file: str = OUR_FILE,
           our_dir: str = OUR_DIR) -> cfg.ConfigOpts:
    """A caller's configuration with our own files added.

    nova-compute reads nova.conf alone: what stands in our own file counts
    there as well. Files that cannot be read or used are left out, since an
    attach must not fail for them. What the caller has overridden stays so.
    """
    opts.register(conf)
    names, directories = named_files(conf)
    more = [f for f in (our_file,)
            if f not in names and os.access(f, os.R_OK)]
    more_dirs = [d for d in (our_dir,)
                 if d not in directories and os.access(d, os.R_OK | os.X_OK)]
    if not more and not more_dirs:
        return conf
    merged = cfg.ConfigOpts()
    opts.register(merged)
    merged.register_opt(cfg.StrOpt('host', default=socket.gethostname()))
    try:
        judge.places(more, more_dirs)
        merged(args=[], project=PROJECT, prog='os-brick-healer',
               default_config_files=[*names, *more],
               default_config_dirs=[*directories, *more_dirs])
        judge.values(merged)
    except judge.WRONG as e:
        read = judge.every_file([*names, *more], [*directories, *more_dirs])
        LOG.error('%s; only the files of this service count',
                  _wrong(e, read))
        return conf
    for opt in opts.ALL_OPTS:
        where = conf.get_location(opt.dest, group=opts.GROUP)
        if where is not None and (
                where.location is cfg.Locations.set_override):
            merged.set_override(opt.dest, conf[opts.GROUP][opt.dest],
                                group=opts.GROUP)
    return merged


def share_lock_path(conf: cfg.ConfigOpts) -> None:
    """Use the directory of locks that os-brick uses in nova-compute.

    This is what os_brick.setup() does. Both libraries register their
    options on ``cfg.CONF`` when they are imported; another ConfigOpts (of
    an agent that is a thread of nova-compute) gets the same ones.

    :raises ConfigError: lock_path is no value.
    """
    try:
        _share_lock_path(conf)
    except judge.WRONG as e:
        raise exception.ConfigError(
            f'cannot use lock_path: because {e}',
            hint='write lock_path, and state_path if it names that, as '
                 'nova-compute has them') from e


def _share_lock_path(conf: cfg.ConfigOpts) -> None:
    if conf is cfg.CONF:
        for group, module in (
                ('oslo_concurrency', 'oslo_concurrency.lockutils'),
                ('os_brick', 'os_brick.opts')):
            conf.import_opt('lock_path', module, group=group)
    else:
        # Not at the top: most of the command's verbs do without it.
        from oslo_concurrency import lockutils  # noqa: PLC0415
        lockutils.get_lock_path(conf)       # registers all of its options
        conf.register_opt(cfg.StrOpt('lock_path'), group='os_brick')
    conf.set_default('lock_path', conf.oslo_concurrency.lock_path,
                     group='os_brick')


def named_files(conf: cfg.ConfigOpts) -> tuple[list[str], list[str]]:
    """The files and directories that a configuration was read from."""
    try:
        return list(conf.config_file or ()), list(conf.config_dir or ())
    except cfg.NoSuchOptError:      # never called: nothing was read
        return [], []


def _wrong(e: Exception, read: Iterable[str]) -> exception.ConfigError:
    """:param read: the files, one of which may not be text."""
    said = str(e)
    if isinstance(e, UnicodeDecodeError):
        said = judge.not_text(read) or said
    if isinstance(e, OSError):
        said = f'{e.filename or "a file"} cannot be read: {e.strerror}'
    if isinstance(e, RecursionError):
        said = 'an option names itself'
    why = ' '.join(said.split())        # it may quote a value as it stands
    if len(why) > _WHY_MAX:
        why = f'{why[:_WHY_MAX]}...'
    return exception.ConfigError(
        f'cannot use the configuration: because {why}')


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))
