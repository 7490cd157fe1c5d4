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

from collections.abc import Sequence
import logging
import os
import shlex
import socket

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import opts

LOG = logging.getLogger(__name__)

PROJECT = 'nova'
OUR_FILE = '/etc/os-brick-healer/os-brick-healer.conf'
OUR_DIR = '/etc/os-brick-healer/os-brick-healer.conf.d'
_WHY_MAX = 1000
#: What oslo.config raises; RecursionError: an option that names itself.
_WRONG = (cfg.Error, ValueError, RecursionError)


def default_files() -> list[str]:
    """The files to read when none is named; only what can be read.

    nova-compute.conf is where distributions keep the compute node's part.
    """
    found = cfg.find_config_files(project=PROJECT, prog='nova-compute')
    return [f for f in _once([*found, OUR_FILE]) if os.access(f, os.R_OK)]


def default_dirs() -> list[str]:
    """The directories to read when none is named."""
    found = cfg.find_config_dirs(project=PROJECT, prog='nova-compute')
    return [d for d in _once([*found, OUR_DIR])
            if os.access(d, os.R_OK | os.X_OK) and os.path.isdir(d)]


def load(conf: cfg.ConfigOpts, args: Sequence[str], *, prog: str) -> None:
    """Parse arguments and files; whatever is wrong becomes ConfigError.

    nova's ``host`` is this host's name for the provisioner.

    :param conf: of a process of ours; nova registers its ``host`` itself.
    """
    opts.register(conf)
    conf.register_opt(cfg.StrOpt('host', default=socket.gethostname()))
    try:
        conf(args=list(args), project=PROJECT, prog=prog,
             default_config_files=default_files(),
             default_config_dirs=default_dirs())
        read_all(conf)
    except _WRONG as e:
        raise _wrong(e) from e


def read_all(conf: cfg.ConfigOpts) -> None:
    """Read each of our options once: oslo.config judges values lazily."""
    group = conf[opts.GROUP]
    for opt in opts.ALL_OPTS:
        getattr(group, opt.dest)
    try:
        shlex.split(group.root_helper)
    except ValueError as e:
        raise ValueError(f'root_helper is no command: {e}') from e


def reload(conf: cfg.ConfigOpts) -> None:
    """Read the files again; on any error the old values stay in force.

    A second ConfigOpts reads first: oslo.config would take a file whose
    values are wrong and raise only when one of them is used.

    :raises ConfigError: what is wrong.
    """
    trial = cfg.ConfigOpts()
    opts.register(trial)
    try:
        trial(args=[], project=PROJECT, prog='os-brick-healer-agent',
              default_config_files=list(conf.config_file or ()),
              default_config_dirs=list(conf.config_dir or ()))
        read_all(trial)
    except _WRONG as e:
        raise _wrong(e) from e
    if not conf.reload_config_files():
        raise exception.ConfigError(
            'cannot reload the configuration: because oslo.config refused '
            'it', hint='the log says why')


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
        merged(args=[], project=PROJECT, prog='os-brick-healer',
               default_config_files=[*names, *more],
               default_config_dirs=[*directories, *more_dirs])
        read_all(merged)
    except _WRONG as e:
        LOG.error('%s; only the files of this service count', _wrong(e))
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
    """
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


def _wrong(e: Exception) -> exception.ConfigError:
    why = ' '.join(str(e).split())      # it may quote a value as it stands
    if len(why) > _WHY_MAX:
        why = f'{why[:_WHY_MAX]}...'
    return exception.ConfigError(
        f'cannot use the configuration: because {why}')


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))
