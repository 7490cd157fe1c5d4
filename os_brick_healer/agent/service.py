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
"""The agent as a process, or as a thread of another one.

The engine turns in a thread of its own, so that the main thread can always
serve signals and can see that the engine no longer turns: systemd then gets
no sign of life and restarts the unit.
"""

from collections.abc import Callable, Mapping
import contextlib
import gc
import os
import selectors
import signal
import threading
import time
from typing import Any, Protocol
import weakref

from oslo_config import cfg
from oslo_log import log as logging

from os_brick_healer import exception, version
from os_brick_healer.agent import (
    belongings,
    client,
    control,
    lock,
    logs,
    notify,
    ports,
    record,
    tell,
    verbs,
)
from os_brick_healer.conf import files, opts
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.metrics import catalogue

LOG = logging.getLogger(__name__)

#: Objects made and not given back before garbage is looked for. Python's 700
#: would walk a thousand volumes with each answer of the provisioner; these
#: are a few MB at most.
_GARBAGE_OBJECTS = 50_000

EXIT_CLEAN = 0
EXIT_CRASH = 1
EXIT_USAGE = files.USAGE
EXIT_SECOND = 3
EXIT_CONFIG = 4

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: The longest pause between two signs of life, seconds. Whatever ends, or is
#: told from outside, wakes the main thread at once.
BEAT_S = 3.0
#: Options that are read once; a reload says that they wait for a restart.
FIXED = ('launch', 'state_path', 'run_path', 'root_helper', 'provisioner',
         'profile', 'paused', 'history_max', 'attachment_sources')


class Build(Protocol):
    """Puts an engine together; may take seconds, may raise."""

    def __call__(self, conf: cfg.ConfigOpts, *,
                 run_mode: str) -> ports.Engine: ...


class Service:
    """One agent: locks, engine, control socket, signals, systemd.

    :param build: called in the engine's thread.
    :param run_mode: systemd, process or thread: how it was launched.
    :param own_process: whether signals and the configuration are ours;
        in a thread of nova-compute they are nova's.
    :param lacks: what this host lacks for healing (see ``lacks``).
    """

    def __init__(self, conf: cfg.ConfigOpts, build: Build, *, run_mode: str,
                 notifier: notify.Notifier | None = None,
                 own_process: bool = True,
                 lacks: Callable[[], Mapping[str, str]] = dict) -> None:
        self.conf = conf
        self.run_mode = run_mode
        self.crash: BaseException | None = None
        self._group = conf[opts.GROUP]
        self._fixed = {name: self._group[name] for name in FIXED}
        self._run_path: str = self._group.run_path
        self._build = build
        self._own_process = own_process
        self._lacks = lacks
        self._notifier = notifier or notify.Notifier({})
        self._belongings = belongings.Belongings(
            run_path=self._run_path, state_path=self._group.state_path,
            launch=run_mode, renewed=self._notifier.makes(self._run_path))
        self._engine: ports.Engine | None = None
        self._server: control.Server | None = None
        self._state = threading.Lock()
        self._reloading = threading.Lock()
        self._stopping = False
        self._ended = False
        self._announced = False
        self._permitted: frozenset[int] = frozenset()
        self._started_wall = time.time()
        self._wake_in, self._wake_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Not after run(): a hung engine may write to it long afterwards.
        weakref.finalize(self, _close, self._wake_in,
                         self._wake_out).atexit = False
        self._thread = threading.Thread(
            target=self._work, name='engine', daemon=True)
        self._teller = tell.Teller(self._group, self._notifier)

    # The main thread -----------------------------------------------

    def run(self) -> int:
        """Live until told to stop. :returns: the exit code."""
        with self._signals(), contextlib.ExitStack() as stack:
            try:
                self._belongings.take()
            except lock.AgentRuns as e:
                self.crash = e
                LOG.error('%s', e)
                return EXIT_SECOND
            except exception.HealerError as e:
                self.crash = e
                LOG.error('%s', e)
                return EXIT_CONFIG
            stack.callback(self._belongings.leave_host)
            self._resolve_users()
            record.take_over(self._group.state_path)
            self._thread.start()
            self._live()
            return self._leave()

    def stop(self) -> None:
        """Make :meth:`run` return soon; from any thread."""
        with self._state:
            self._stopping = True
            if self._engine is not None:
                self._engine.stop()
        self._nudge()

    def _live(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_in, selectors.EVENT_READ)
            while not self._stopping and not self._ended:
                if selector.select(self._pause_s()):
                    self._take_signals()
                self._beat()

    def _pause_s(self) -> float:
        """Until the next sign of life is due."""
        watchdog_s = self._notifier.watchdog_s
        wanted_s: float = self._group.metrics_interval
        if watchdog_s is not None:
            wanted_s = min(wanted_s, watchdog_s / 3)
        return min(BEAT_S, wanted_s)

    def _beat(self) -> None:
        with self._state:
            engine, server = self._engine, self._server
        if engine is None or server is None:
            return
        try:
            self._belongings.look(server, engine.journal)
        except exception.HealerError as e:
            self._give_up(e)
            self.stop()
            return
        if not self._announced:
            self._announced = True
            LOG.info('the agent serves: process %d, launched as %s',
                     os.getpid(), self.run_mode)
            self._notifier.ready()
        self._teller.beat(engine, self._facts)

    def _leave(self) -> int:
        """Stop within bounds; what is unfinished is in the journal."""
        self.stop()
        self._notifier.stopping()
        self._thread.join(self._group.stop_timeout)
        self._teller.close()
        if self._thread.is_alive():
            LOG.warning('the engine did not stop within %g s: left as it '
                        'is, the journal knows what was under way',
                        self._group.stop_timeout)
        if isinstance(self.crash, lock.AgentRuns):
            return EXIT_SECOND
        if self.crash is not None:
            # What is expected to go wrong before it serves is what it was
            # given: options, and the directories that they name.
            given = isinstance(self.crash, exception.HealerError) and (
                self._engine is None)
            return EXIT_CONFIG if given else EXIT_CRASH
        LOG.info('the agent has stopped')
        return EXIT_CLEAN

    # Signals -----------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Any:
        """Let signals arrive as bytes in the pipe that run() waits on."""
        if not self._own_process:
            yield
            return
        before = {s: signal.signal(s, _ignore) for s in SIGNALS}
        fd = signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take_signals(self) -> None:
        try:
            arrived = set(os.read(self._wake_in, 4096))
        except BlockingIOError:
            return
        if arrived & {signal.SIGTERM, signal.SIGINT}:
            LOG.info('told to stop')
            self.stop()
        elif signal.SIGHUP in arrived:
            with contextlib.suppress(exception.HealerError):
                self.reload()       # it has said in the log what is wrong

    def _nudge(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_out, b'\0')

    # The engine's thread -----------------------------------------------

    def _work(self) -> None:
        try:
            self._serve()
        except exception.HealerError as e:
            self._give_up(e)
        except BaseException as e:
            self.crash = e
            LOG.exception('the agent cannot go on: because of a defect')
        finally:
            self._belongings.leave_journal()
            self._ended = True
            self._nudge()

    def _give_up(self, e: exception.HealerError) -> None:
        self.crash = e
        LOG.error('the agent cannot go on: %s', e)

    def _serve(self) -> None:
        engine = self._build(self.conf, run_mode=self.run_mode)
        if self._own_process:
            # The modules stay: full collections need not walk them again.
            gc.freeze()
            gc.set_threshold(_GARBAGE_OBJECTS)
        server = control.Server(
            client.socket_path(self._run_path),
            verbs.table(engine, self._facts, self.reload),
            lambda uid: uid in self._permitted,
            group=verbs.socket_group(self._group.control_users))
        server.start()
        try:
            engine.on_beat(self._teller.turned)
            self._teller.turned()
            with self._state:
                self._engine, self._server = engine, server
                stopping = self._stopping
            self._nudge()
            if not stopping:
                engine.run()
        finally:
            server.stop()

    def _facts(self) -> Mapping[str, Any]:
        return {'pid': os.getpid(), 'version': version.version_string(),
                'launch': self.run_mode, 'started_wall': self._started_wall,
                'lacks': dict(self._lacks()),
                'provisioner': {'name': self._fixed['provisioner']}}

    # Reload -----------------------------------------------

    def reload(self) -> list[str]:
        """Read the configuration again; an error keeps the old one.

        :returns: what of it is not in force; it is in the log, too.
        :raises HealerError: what is wrong (it is in the log, too).
        """
        with self._reloading:
            self._notifier.reloading()
            try:
                return self._reload()
            except exception.HealerError as e:
                catalogue.RELOAD_FAILURES.add()
                LOG.error('%s; the old configuration stays in force', e)
                raise
            finally:
                self._notifier.ready()

    def _reload(self) -> list[str]:
        if not self._own_process:
            raise exception.ConfigError(
                'cannot reload the configuration: because the agent is a '
                "thread of another service, and it is that service's",
                hint='restart that service')
        notes = files.reload(self.conf, logs.OPTIONS)
        notes += [f'[os_brick_healer] {name} has changed; it takes effect '
                  'when the agent is restarted'
                  for name, value in self._fixed.items()
                  if self._group[name] != value]
        notes += _plugin_lacks(self._group.provisioner)
        for note in notes:
            LOG.warning('%s', note)
        notes += self._resolve_users() + files.unknown(self.conf)
        with self._state:
            engine = self._engine
        if engine is not None:
            engine.reload()
        LOG.info('the configuration has been reloaded')
        return notes

    def _resolve_users(self) -> list[str]:
        self._permitted, unknown = verbs.permitted(self._group.control_users)
        notes = [f'[os_brick_healer] control_users names {name}, whom this '
                 'host does not know' for name in unknown]
        for note in notes:
            LOG.warning('%s', note)
        return notes


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _ignore(_number: int, _frame: object) -> None:
    """The wake-up descriptor has what is needed."""


def _plugin_lacks(name: str) -> list[str]:
    # Imported here as the engine is: see below.
    from os_brick_healer.provisioner import loader  # noqa: PLC0415
    known = loader.installed()
    if name in known:
        return []
    return [f'[os_brick_healer] provisioner names {name}, and there is no '
            f'such plugin (there are: {", ".join(known) or "none"})']


def build_engine(conf: cfg.ConfigOpts, *, run_mode: str,
                 journal: journal_lib.Journal | None = None) -> ports.Engine:
    """The real engine.

    Imported here: nova-compute loads this module through the hook, and has
    no use for the engine unless the agent is a thread of it.
    """
    from os_brick_healer import assembly  # noqa: PLC0415
    return assembly.build(conf, run_mode=run_mode, journal=journal)


