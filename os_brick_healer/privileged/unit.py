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
"""Entry points for the agent's own unit: started, never stopped.

nova-compute runs as nova, whom polkit does not let start units. Both entry
points run one fixed command each.
"""

from collections.abc import Mapping, Sequence
import os
import pwd
import re
import stat
import sys

from os_brick_healer import exception, privileged
from os_brick_healer.privileged import check, command

SERVICE = 'os-brick-healer.service'
TRANSIENT = 'os-brick-healer-agent.service'
PATHS_MAX = 32
PATH_LENGTH_MAX = 1024


@privileged.entrypoint
def start_service(*, timeout_s: float) -> None:
    """Ask systemd to start the unit that this package ships.

    --no-block: the unit is of Type=notify and ready seconds later; who
    asks sees by the agent's lock what has come of it.
    """
    _run(['systemctl', 'start', '--no-block', SERVICE], timeout_s)


@privileged.entrypoint
def start_transient(*, config_files: tuple[str, ...],
                    config_dirs: tuple[str, ...], timeout_s: float) -> None:
    """Start the agent as a unit that exists only while it runs.

    It runs as the user who asked, with that user's own rights: sudo says
    who that is, so nobody gets another user's.
    """
    paths = _paths(config_files), _paths(config_dirs)
    uid = asking_uid(os.environ)
    if uid == 0:
        for path in (*paths[0], *paths[1]):
            only_roots(path)
    # What has failed before is kept by name and would be in the way.
    command.run(['systemctl', 'reset-failed', TRANSIENT],
                check.timeout(timeout_s))
    _run(transient_argv(uid, *paths), timeout_s)


def literal(argv: Sequence[str]) -> list[str]:
    """Words of a unit's command as they are: systemd replaces ``$NAME`` by
    what its environment has (systemd.service(5), "Command lines")."""
    return [word.replace('$', '$$') for word in argv]


def asking_uid(environ: Mapping[str, str]) -> int:
    """Who asked sudo to run the privileged process; root without sudo."""
    text = environ.get('SUDO_UID', '0')
    if not re.fullmatch('[0-9]{1,10}', text):
        raise exception.NotOurs(f'cannot accept SUDO_UID {text!r:.80}')
    return int(text)


def transient_argv(uid: int, config_files: Sequence[str],
                   config_dirs: Sequence[str]) -> list[str]:
    """The command; its properties are those of the shipped unit."""
    try:
        user = pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        raise exception.NotOurs(
            f'cannot start the agent for user id {uid}: because this host '
            'has no such user') from None
    argv = ['systemd-run', '--quiet', '--no-block', '--collect',
            f'--unit={TRANSIENT}', f'--uid={uid}', f'--gid={user.pw_gid}',
            '--description=os-brick-healer agent, started by a connector',
            *(f'--property={p}' for p in (
                'Type=notify', 'NotifyAccess=main', 'WatchdogSec=20',
                'Restart=on-failure', 'RestartSec=1',
                'RestartPreventExitStatus=3', 'KillMode=process',
                'TimeoutStopSec=20', 'OOMScoreAdjust=-900', 'Nice=-5',
                'LimitNOFILE=65536', 'UMask=0027',
                'RuntimeDirectory=os-brick-healer',
                'RuntimeDirectoryMode=0755', 'RuntimeDirectoryPreserve=yes',
                'StateDirectory=os-brick-healer',
                'StateDirectoryMode=0770')),
            '--', sys.executable, '-P', '-m', 'os_brick_healer.agent.main',
            '--run-mode', 'process']
    for path in literal(config_files):
        argv += ['--config-file', path]
    for path in literal(config_dirs):
        argv += ['--config-dir', path]
    return argv


def _run(argv: list[str], timeout_s: float) -> None:
    result = command.run(argv, check.timeout(timeout_s))
    if result.code != 0:
        raise exception.CommandError(
            f'cannot start the agent: `{argv[0]}` ended with {result.code} '
            f'and said: {result.said}')


def _paths(values: object) -> tuple[str, ...]:
    if not isinstance(values, tuple | list) or len(values) > PATHS_MAX:
        raise exception.NotOurs('cannot accept these configuration files: '
                                'no list, or too long a one')
    for value in values:
        if (not isinstance(value, str) or not value.startswith('/')
                or len(value) > PATH_LENGTH_MAX or not value.isprintable()):
            raise exception.NotOurs(
                f'cannot accept {value!r} as a configuration file: it is no '
                'absolute path')
    return tuple(values)


def only_roots(path: str) -> None:
    """Refuse what others can write: it names commands that root runs."""
    path = os.path.realpath(path)
    while True:
        try:
            found = os.stat(path)
        except OSError as e:
            raise exception.NotOurs(
                f'cannot accept {path}: because {e.strerror}') from e
        sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
        loose = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky
        if found.st_uid != 0 or loose:
            raise exception.NotOurs(
                f'cannot run as root with {path}: because others '
                'than root can write it',
                hint='chown root and chmod go-w, or run nova-compute as '
                     'nova')
        if path == '/':
            return
        path = os.path.dirname(path)
