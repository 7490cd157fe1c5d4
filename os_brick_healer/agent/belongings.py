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
"""What keeps other agents away and lets people find this one: its files.

Two locks: whoever runs on this host is found by the one in run_path, and no
agent anywhere uses a journal that another one has, whatever its run_path.

All of it may be taken away from a running agent (a directory that is
renamed, a temporary file system that is cleaned). The locks and the socket
are made anew: guests wait for this agent, whether or not anybody can ask it.
A journal cannot be: what nova says of its volumes, and what a person says of
pauses, is in another file from then on.
"""

import contextlib
import os
import threading

from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.agent import control, lock, ports
from os_brick_healer.engine import journal as journal_lib

LOG = logging.getLogger(__name__)

#: Whoever is refused one lock has held the other for so long at most, four
#: times over: an agent that takes it anew must not make way for that one.
AGAIN_S = 4 * lock.TRY_S


class Belongings:
    """The files of one agent. :meth:`look` is the main thread's.

    :param launch: how this agent was launched.
    :param renewed: whether who starts the agent anew makes run_path anew.
    """

    def __init__(self, *, run_path: str, state_path: str, launch: str,
                 renewed: bool = False) -> None:
        self._run_path = run_path
        self._state_path = state_path
        self._launch = launch
        self._renewed = renewed
        self._host: lock.AgentLock | None = None
        self._book: lock.AgentLock | None = None
        self._at_state = False
        # The engine's thread leaves the journal, whenever it ends.
        self._mutex = threading.Lock()
        self._trouble: dict[bool, str] = {}

    def take(self) -> None:
        """Hold both locks; on an error, none.

        :raises AgentRuns: another agent has one of them.
        :raises HealerError: a directory cannot be used.
        """
        # The journal's first: who is refused it has not been in the way of
        # an agent whose run_path was taken away, and which takes it anew.
        journal_lib.make_directory(self._state_path)
        self._book = self._lock_book()
        try:
            if not self._is_one():      # whose lock cannot be had twice
                self._host = self._lock_host()
        except exception.HealerError:
            self.leave_journal()
            raise

    def _is_one(self) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samefile(self._run_path, self._state_path)
        return False

    def _lock_host(self, try_s: float = lock.TRY_S) -> lock.AgentLock:
        return lock.AgentLock(self._run_path, launch=self._launch,
                              try_s=try_s)

    def _lock_book(self, try_s: float = lock.TRY_S) -> lock.AgentLock:
        return lock.AgentLock(self._state_path, launch=self._launch,
                              try_s=try_s, option='state_path')

    def leave_host(self) -> None:
        """The agent ends."""
        if self._host is not None:
            self._host.release()

    def leave_journal(self) -> None:
        """Nothing of this agent uses the journal any more."""
        with self._mutex:
            if self._book is not None:
                self._book.release()
            self._book = None

    def look(self, server: control.Server, journal: ports.History) -> None:
        """Whether they are still there: one directory a call, as two calls
        to the kernel each time are enough.

        :raises HealerError: the agent cannot go on.
        """
        self._at_state = not self._at_state
        if self._at_state and journal.gone:
            raise exception.JournalError(
                f'cannot use the journal in {self._state_path} any more: '
                'because it was removed or replaced',
                hint='the next agent begins with what is there now')
        try:
            if self._at_state:
                self._look_at_state()
            else:
                self._look_at_run(server)
        except lock.AgentRuns:
            raise
        except exception.HealerError as e:
            if self._renewed and not self._at_state:
                raise
            self._complain(f'{e}; volumes are healed all the same, but '
                           'others do not find this agent')
        else:
            self._trouble.pop(self._at_state, None)

    def _look_at_state(self) -> None:
        with self._mutex:
            if self._book is not None and self._book.gone:
                self._book = _instead(self._book, self._lock_book(AGAIN_S))

    def _look_at_run(self, server: control.Server) -> None:
        wrong: exception.HealerError | None = None
        if self._host is not None and self._host.gone:
            try:
                self._host = _instead(self._host, self._lock_host(AGAIN_S))
            except lock.AgentRuns:
                raise       # the socket, if there is one, is that agent's
            except exception.HealerError as e:
                wrong = e
        try:
            if server.gone:
                server.put_back()
                _made_anew(server.path)
        finally:
            if wrong is not None:
                raise wrong

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble.get(self._at_state):
            LOG.error('%s', trouble)
        self._trouble[self._at_state] = trouble


def _instead(old: lock.AgentLock, new: lock.AgentLock) -> lock.AgentLock:
    old.release()
    _made_anew(new.path)
    return new


def _made_anew(path: str) -> None:
    LOG.error('%s was removed or replaced while the agent ran: it has been '
              'made anew', path)
