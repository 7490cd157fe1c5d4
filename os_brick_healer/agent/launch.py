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
"""How a connector makes sure that the agent of this host runs.

Called inside nova's connect lock: it looks at one file and returns. What
takes time happens in a daemon thread. It never raises, and it never forks:
nova-compute has many threads.
"""

from collections.abc import Callable
import dataclasses
import threading
import time

from oslo_config import cfg
from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.agent import act, client, lock, record
from os_brick_healer.conf import files, opts
from os_brick_healer.metrics import catalogue

LOG = logging.getLogger(__name__)

#: A launched agent must answer within this time.
APPEAR_S = 60.0
APPEAR_INTERVAL_S = 0.1
ANSWER_S = 1.0
#: After a failure the next attempt waits this long.
RETRY_S = 5.0
SAID_MAX = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LaunchResult:
    """What is known when the connector goes on.

    :ivar started: an attempt to start the agent has begun just now.
    :ivar error: why no agent runs, as far as known; None: nothing is wrong.
    """

    sentence: str
    started: bool
    error: str | None


class Launcher:
    """Starts one host's agent, at most one attempt at a time.

    :param settings: run_path, state_path and launch; copied by the caller
        out of the configuration.
    :param start: one attempt; may take seconds, raises HealerError.
    """

    def __init__(self, *, run_path: str, state_path: str, launch: str,
                 start: Callable[[], str],
                 clock: Callable[[], float] = time.monotonic,
                 appear_s: float = APPEAR_S,
                 retry_s: float = RETRY_S) -> None:
        self._run_path = run_path
        self._state_path = state_path
        self._launch = launch
        self._start = start
        self._clock = clock
        self._appear_s = appear_s
        self._retry_s = retry_s
        self._mutex = threading.Lock()
        self._attempt: threading.Thread | None = None
        self._next_s = 0.0
        self._error: str | None = None
        self._said: set[str] = set()

    def ensure(self) -> LaunchResult:
        """Return at once; see :func:`ensure_running`."""
        try:
            holder = lock.holder(self._run_path)
        except exception.HealerError as e:
            self._say(str(e))
            return self._result('it is not known whether an agent runs',
                                error=str(e))
        if holder is not None:
            self._error = None
            return self._result(f'the agent runs: {holder}')
        if self._launch == 'none':
            sentence = ('no agent runs, and [os_brick_healer] launch = none: '
                        'nothing will be healed')
            self._say(sentence)
            return self._result(sentence)
        with self._mutex:
            return self._begin()

    def _begin(self) -> LaunchResult:
        if self._attempt is not None and self._attempt.is_alive():
            return self._result('the agent is being started',
                                error=self._error)
        if self._clock() < self._next_s:
            return self._result('the agent could not be started and will be '
                                'tried again', error=self._error)
        self._attempt = threading.Thread(
            target=self._try, name='start-agent', daemon=True)
        self._attempt.start()
        return self._result(f'the agent is being started ({self._launch})',
                            started=True, error=self._error)

    def _try(self) -> None:
        try:
            sentence = self._start()
            self._await_agent()
        except exception.HealerError as e:
            self._failed(str(e))
        except Exception as e:  # noqa: BLE001 - the edge: nova goes on
            self._failed('cannot start the agent: because of '
                         f'{type(e).__name__}: {e}')
        else:
            self._error = None
            self._said.clear()
            LOG.info('%s', sentence)

    def _await_agent(self) -> None:
        give_up_s = time.monotonic() + self._appear_s
        while not _answers(self._run_path):
            if time.monotonic() >= give_up_s:
                raise exception.HealerError(
                    'cannot start the agent: because it was launched but '
                    f'did not appear within {self._appear_s:g} s',
                    hint='its own log says why: journalctl -u '
                         'os-brick-healer')
            time.sleep(APPEAR_INTERVAL_S)

    def _failed(self, error: str) -> None:
        self._next_s = self._clock() + self._retry_s
        self._error = error
        catalogue.START_FAILURES.add()
        record.failed(self._state_path, self._launch, error)
        self._say(f'{error}. Volumes stay attached, but nothing heals them '
                  'until an agent runs')

    def _say(self, sentence: str) -> None:
        """Log each cause once: there is a connect for each volume."""
        if sentence not in self._said and len(self._said) < SAID_MAX:
            self._said.add(sentence)
            LOG.error('%s', sentence)

    @staticmethod
    def _result(sentence: str, *, started: bool = False,
                error: str | None = None) -> LaunchResult:
        return LaunchResult(sentence=sentence, started=started, error=error)

    def wait(self, timeout_s: float) -> str | None:
        """Wait for the attempt under way. :returns: why it failed."""
        attempt = self._attempt
        if attempt is not None:
            attempt.join(timeout_s)
        return self._error


def _answers(run_path: str) -> bool:
    """Whether an agent serves; a refusal is an answer, too.

    The lock alone would not tell: it is taken before the engine is built.
    """
    asked = client.Client(client.socket_path(run_path), ANSWER_S)
    try:
        asked.call('ping')
    except (client.AgentRefused, client.AgentDenied):
        return True
    except exception.HealerError:
        return False
    return True


_launchers: dict[tuple[str, str], Launcher] = {}
_launchers_mutex = threading.Lock()


def launcher_for(conf: cfg.ConfigOpts) -> Launcher:
    """The one launcher of this process for the agent that conf names."""
    conf = files.beside(conf)
    group = conf[opts.GROUP]
    with _launchers_mutex:
        slot = (group.run_path, group.launch)
        if slot not in _launchers:
            _launchers[slot] = Launcher(
                run_path=group.run_path, state_path=group.state_path,
                launch=group.launch, start=lambda: act.start(conf))
        return _launchers[slot]


def ensure_running(conf: cfg.ConfigOpts,
                   connector: object = None) -> LaunchResult:
    """Make sure that the agent runs; returns within milliseconds.

    :param connector: what os-brick hands to the hook; its privileged
        helper is nova's already, so nothing is needed of it.
    """
    del connector
    try:
        return launcher_for(conf).ensure()
    except Exception as e:
        LOG.exception('cannot make sure that the agent runs')
        return LaunchResult(
            sentence='it is not known whether an agent runs', started=False,
            error=f'{type(e).__name__}: {e}')
