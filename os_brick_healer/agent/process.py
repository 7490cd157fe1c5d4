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
"""The agent as a process: configuration, log, then the service."""

from collections.abc import Callable, Sequence
import contextlib
import faulthandler
import functools
import logging as pylogging
import os
import resource
import sys
import threading

from oslo_config import cfg
from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.agent import act, lacks, logs, notify, ports, service
from os_brick_healer.conf import files, state
from os_brick_healer.engine import threads

PROG = 'os-brick-healer-agent'

_CLI_OPTS = [
    cfg.StrOpt(
        'run-mode', choices=['systemd', 'process'],
        help='How this agent was launched, for its status. Default: '
             'systemd if systemd waits to hear from it.'),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent in this process, with the global configuration.

    oslo.privsep starts its helper with the configuration files of
    ``cfg.CONF``: another ConfigOpts would leave it without them.
    """
    conf = cfg.CONF
    # The watchdog's SIGABRT leaves every thread's stack in the log.
    faulthandler.enable()
    notifier = notify.Notifier(os.environ)
    os.environ.pop('NOTIFY_SOCKET', None)   # helpers must not speak for us
    try:
        configure(conf, sys.argv[1:] if argv is None else argv)
    except exception.HealerError as e:
        print(f'{PROG}: {e}', file=sys.stderr)  # noqa: T201 - no log yet
        return service.EXIT_CONFIG
    allow_open_files()
    run_mode = conf.run_mode or ('systemd' if notifier.speaks else 'process')
    lacking = lacks.of(conf)
    agent = service.Service(conf, functools.partial(build, lacking),
                            run_mode=run_mode, notifier=notifier,
                            lacks=lacking.now)
    code = agent.run()
    if code != service.EXIT_CLEAN and conf.log_file is not None:
        # The log is elsewhere; systemd and nova-compute read this.
        print(f'{PROG}: {agent.crash}', file=sys.stderr)  # noqa: T201
    leave(code)
    return code


def build(lacking: lacks.Lacks, conf: cfg.ConfigOpts, *, run_mode: str,
          start_helper: Callable[[cfg.ConfigOpts,
                                  Callable[[str | None], None]],
                                 None] = act.start_helper) -> ports.Engine:
    """The engine, with its privileged helper running.

    In the engine's thread, after the lock: a second agent starts nothing.
    Neither does one without a journal, which ends: its helper would find
    nobody and leave a traceback. The rest takes as long as the helper.
    """
    journal = state.open_journal(conf)
    start_helper(conf, lacking.helper)
    return service.build_engine(conf, run_mode=run_mode, journal=journal)


def configure(conf: cfg.ConfigOpts, argv: Sequence[str]) -> None:
    """Configuration and log.

    :raises ConfigError: it cannot be used.
    """
    logging.register_options(conf)
    conf.register_cli_opts(_CLI_OPTS)
    files.load(conf, argv, prog=PROG)
    logs.set_up(conf, argv, prog=PROG)
    files.warn_unknown(conf)
    files.share_lock_path(conf)


def allow_open_files() -> None:
    """As many as the hard limit allows: each leg and array keeps one open,
    and the usual soft limit is 1024 for the sake of select(2), which nobody
    here uses."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def leave(code: int) -> None:
    """Exit without waiting for threads that did not come back in time.

    Python joins every non-daemon thread at exit, and those of an executor
    whether they are daemons or not: they are here, as the engine's thread is
    one. One that waits in a system call would hold us until SIGKILL.
    """
    left = [t for t in threading.enumerate()
            if t is not threading.current_thread()
            and (not t.daemon or t.name.startswith(threads.PREFIX))]
    if left:
        pylogging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
