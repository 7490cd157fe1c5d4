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
"""The hands of the launcher: one way to start an agent for each mode."""

from collections.abc import Callable
import itertools
import os
import subprocess
import sys
import threading
import time
from typing import IO

from oslo_config import cfg
from oslo_log import log as logging

from os_brick_healer import exception, privileged, regular
from os_brick_healer.agent import client, lacks, service
from os_brick_healer.conf import files, opts
from os_brick_healer.engine import pacing
from os_brick_healer.privileged import nvme, unit

LOG = logging.getLogger(__name__)

COMMAND_S = 10.0
#: Pauses between two attempts to start the privileged helper, seconds.
HELPER_FIRST_S, HELPER_LAST_S = 10.0, 600.0
OUTPUT = 'agent.log'
OUTPUT_BYTES_MAX = 10485760
#: They say to which unit a process belongs: nova-compute's, not the agent's.
NOT_INHERITED = ('NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID',
                 'LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES',
                 'INVOCATION_ID', 'JOURNAL_STREAM')


def start(conf: cfg.ConfigOpts) -> str:
    """Start an agent as ``launch`` says; a sentence about how.

    :raises HealerError: it could not be started.
    """
    match conf[opts.GROUP].launch:
        case 'systemd':
            return start_service()
        case 'process':
            return start_process(conf)
        case 'thread':
            return start_thread(conf)
        case launch:
            raise exception.ConfigError(
                f'cannot start an agent: because launch is {launch}')


def start_helper(conf: cfg.ConfigOpts,
                 told: Callable[[str | None], None]) -> None:
    """Start the privileged process, without waiting for it.

    It takes as long to come up as the agent itself, so both come up at
    once. An agent without it still tells, and tells that, too.

    :param told: see :func:`start_until_it_runs`.
    """
    helper = conf[opts.GROUP].root_helper
    privileged.prepare(helper)

    def _work() -> None:
        start_until_it_runs(lambda: privileged.start(helper), told)
        _warm_up()

    threading.Thread(target=_work, name='start-helper', daemon=True).start()


def start_until_it_runs(start: Callable[[], None],
                        told: Callable[[str | None], None],
                        wait: Callable[[float], None] = time.sleep) -> None:
    """Try again and again: what is wrong is mended on a live host.

    :param told: why it does not run, after each attempt; None: it runs.
    """
    for tries in itertools.count(1):
        try:
            start()
        except Exception as e:  # noqa: BLE001 - privsep raises anything
            told(str(e))
        else:
            told(None)
            return
        wait(pacing.backoff_s(tries, first_s=HELPER_FIRST_S,
                              last_s=HELPER_LAST_S))


def _warm_up() -> None:
    """Have the kernel load what the first cut will need.

    The first question to sock_diag makes the kernel load its modules, for a
    second or two: too late while a guest waits.
    """
    try:
        problem = nvme.warm_up()
    except Exception as e:  # noqa: BLE001 - privsep raises anything
        problem = str(e)
    if problem:
        LOG.warning('a silent leg is noticed by its keep-alive only: '
                    'because sock_diag cannot be used: %s', problem)


def start_service() -> str:
    """Start the unit that this package ships."""
    if not os.path.isdir(client.SYSTEMD_RUNS):
        raise exception.HealerError(
            'cannot start the agent: because systemd does not run here',
            hint='set [os_brick_healer] launch = process')
    unit.start_service(timeout_s=COMMAND_S)
    return 'the agent has been started by systemd'


def start_process(conf: cfg.ConfigOpts) -> str:
    """Start a process that outlives this one where that can be had."""
    names, directories = agent_files(conf)
    if os.path.isdir(client.SYSTEMD_RUNS):
        try:
            unit.start_transient(config_files=tuple(names),
                                 config_dirs=tuple(directories),
                                 timeout_s=COMMAND_S)
            return 'the agent has been started as a transient unit'
        except Exception as e:  # noqa: BLE001 - privsep raises anything
            LOG.warning('cannot start the agent outside of the control '
                        'group of this service: because %s; it is started '
                        'inside, and dies when systemd stops the service '
                        'with KillMode=control-group', e)
    child = spawn(names, directories, conf[opts.GROUP].state_path)
    return f'the agent has been started as process {child.pid}'


def agent_files(conf: cfg.ConfigOpts) -> tuple[list[str], list[str]]:
    """What the agent reads: the caller's files, then our own."""
    names, directories = files.named_files(conf)
    if files.OUR_FILE not in names and os.path.exists(files.OUR_FILE):
        names.append(files.OUR_FILE)
    if files.OUR_DIR not in directories and os.path.isdir(files.OUR_DIR):
        directories.append(files.OUR_DIR)
    return names, directories


def command(names: list[str], directories: list[str]) -> list[str]:
    """The agent's command line, with this very interpreter.

    -P: the working directory is no place to import from.
    """
    argv = [sys.executable, '-P', '-m', 'os_brick_healer.agent.main',
            '--run-mode', 'process']
    for name in names:
        argv += ['--config-file', name]
    for directory in directories:
        argv += ['--config-dir', directory]
    return argv


def spawn(names: list[str], directories: list[str],
          state_path: str) -> subprocess.Popen[bytes]:
    """Start the agent in a session of its own.

    subprocess forks and executes in C without running Python in the child:
    safe in a process with threads. What the agent says before it has a log
    goes to a file in state_path.
    """
    environ = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
    with open(os.devnull, 'rb') as nothing, _output(state_path) as output:
        child = subprocess.Popen(
            command(names, directories), stdin=nothing, stdout=output,
            stderr=output, cwd='/', env=environ, start_new_session=True,
            close_fds=True)
    # Somebody must take its exit status, or a dead agent stays a zombie.
    threading.Thread(target=child.wait, name='reap-agent',
                     daemon=True).start()
    return child


def _output(state_path: str) -> IO[bytes]:
    path = os.path.join(state_path, OUTPUT)
    try:
        os.makedirs(state_path, mode=0o770, exist_ok=True)
        full = os.path.exists(path) and (
            os.path.getsize(path) > OUTPUT_BYTES_MAX)
        return os.fdopen(regular.opened(
            path, os.O_WRONLY | os.O_CREAT
            | (os.O_TRUNC if full else os.O_APPEND), 0o666), 'ab')
    except OSError as e:
        LOG.warning('cannot keep the output of the agent: because %s', e)
        return open(os.devnull, 'ab')


def start_thread(conf: cfg.ConfigOpts) -> str:
    """Let the agent be a thread of this process."""
    files.share_lock_path(conf)
    agent = service.Service(conf, service.build_engine, run_mode='thread',
                            own_process=False, lacks=lacks.of(conf).now)
    threading.Thread(target=agent.run, name='os-brick-healer',
                     daemon=True).start()
    return 'the agent runs as a thread of this process'
