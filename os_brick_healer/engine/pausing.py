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
"""Whether healing is paused, and who said so last.

The journal's setting ``paused`` has three values: it is not set (nobody has
said anything), a reason (paused), or empty: a person has resumed. That last
one outlives the agent, too, or a configured pause would come back with its
next crash.
"""

from collections.abc import Callable
import contextlib
import threading

from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.engine import columns
from os_brick_healer.engine import journal as journal_lib

LOG = logging.getLogger(__name__)

#: The setting's value after a ``resume``.
RESUMED = ''
#: Kind and key of what the history has of the whole host.
HOST, KEY = 'host', 'all volumes'
#: Why it is paused, when the configuration says so.
CONFIGURED = 'by the configuration (paused = true)'


def reason(journal: journal_lib.Journal) -> str | None:
    """Why healing is paused as the journal has it; None: it is not."""
    return journal.setting(journal_lib.PAUSED) or None


class Pause:
    """The pause of a running agent. Thread-safe.

    It holds at once, even when the journal cannot be written: it is then
    written as soon as that can be done.

    :param attempt: has something written, and tells whether it was.
    :ivar reason: why healing is paused, None when it is not.
    :ivar damage: what became of a damaged journal, until a person has
        said once more whether healing is paused; None: nothing.
    """

    def __init__(self, journal: journal_lib.Journal,
                 attempt: Callable[[Callable[[], None]], bool]) -> None:
        self.reason: str | None = None
        self.damage: str | None = None
        self._journal = journal
        self._attempt = attempt
        self._unkept = False
        self._lock = threading.Lock()

    def load(self, configured: bool) -> None:
        """Go on as the agent before this one was told to.

        :param configured: the option ``paused``. A person's word goes
            before it, for as long as it stands there.
        """
        said = self._journal.setting(journal_lib.PAUSED)
        self.damage = self._journal.setting(journal_lib.DAMAGED)
        self.reason = said or None
        if configured and said is None:
            self.reason = CONFIGURED
            self._keep()
        elif not configured and said == RESUMED:
            self._attempt(lambda: self._journal.set_setting(
                journal_lib.PAUSED, None))
        if self.reason is not None:
            self._say(f'healing is paused: {self.reason}')

    def set(self, why: str | None) -> bool:
        """Pause, or with None resume.

        :returns: whether the next agent will know of it.
        """
        with self._lock:
            self.reason, self.damage, self._unkept = why, None, True
            self._say('healing is ' + (
                'no longer paused' if why is None else f'paused: {why}'))
            return self._keep()

    def _say(self, sentence: str) -> None:
        """In the log and in the history, which is written with the next."""
        LOG.warning('%s', columns.one_line(sentence))
        self._journal.tell(HOST, KEY, sentence)

    @property
    def waiting(self) -> bool:
        """Whether it could not be written so far."""
        return self._unkept

    def keep(self) -> None:
        """Write it down, if that could not be done before."""
        if self._unkept:
            with self._lock:
                self._keep()

    def leave(self) -> None:
        """Close the journal. If it was taken away, the one in its place
        gets the pause: somebody may be mending arrays by hand."""
        self.keep()
        gone, said = self._journal.gone, self.reason
        if gone and self._unkept:
            said = self._said()
        elif gone:
            with contextlib.suppress(exception.JournalError):
                said = self._journal.setting(journal_lib.PAUSED)
        self._journal.close()
        if not gone:
            return
        try:
            journal_lib.hand_over(self._journal.path, said)
        except (exception.JournalError, OSError) as e:
            LOG.error('cannot tell the next agent whether healing is '
                      'paused: because %s', e)

    def _said(self) -> str:
        return RESUMED if self.reason is None else self.reason

    def _keep(self) -> bool:
        self._unkept = not self._attempt(self._write)
        return not self._unkept

    def _write(self) -> None:
        self._journal.set_setting(journal_lib.PAUSED, self._said())
        self._journal.set_setting(journal_lib.DAMAGED, self.damage)
