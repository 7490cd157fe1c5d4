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
"""The command's configuration, as far as it can be used."""

from collections.abc import Iterable
import contextlib
import dataclasses

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import files, opts

#: The options that lead to the agent and to its journal.
THE_WAY = ('run_path', 'state_path')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What was read.

    :ivar error: what is wrong with it, None: nothing.
    :ivar unread: files of which nothing is known, so that the agent may
        be elsewhere; None: all were read.
    """

    conf: cfg.ConfigOpts
    error: str | None = None
    unread: str | None = None


def read(names: Iterable[str], directories: Iterable[str], *,
         whole: bool) -> Configuration:
    """Read what is named, else the files of nova and our own.

    :param whole: every value is needed; otherwise a wrong one is told, and
        the way to the agent is still taken from the files.
    """
    argv: list[str] = []
    for name in names:
        argv += ['--config-file', name]
    for name in directories:
        argv += ['--config-dir', name]
    try:
        return _read(argv)
    except exception.HealerError as e:
        error = str(e)
    if not whole:
        with contextlib.suppress(exception.HealerError):   # it is in error
            return dataclasses.replace(_read(argv, THE_WAY), error=error)
    plain = cfg.ConfigOpts()
    opts.register(plain)
    plain(args=[], project=files.PROJECT, default_config_files=[],
          default_config_dirs=[])
    files.share_lock_path(plain)
    return Configuration(conf=plain, error=error,
                         unread='the configuration')


def _read(argv: list[str],
          judged: Iterable[str] | None = None) -> Configuration:
    conf = cfg.ConfigOpts()
    files.load(conf, argv, prog='os-brick-healer', judged=judged)
    with contextlib.nullcontext() if judged is None else (
            contextlib.suppress(exception.ConfigError)):
        files.share_lock_path(conf)
    unread = [] if argv else files.unreadable()
    return Configuration(conf=conf, unread=', '.join(unread) or None)
