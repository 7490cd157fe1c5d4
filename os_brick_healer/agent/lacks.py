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
"""What this host lacks for healing, told before a guest needs it.

An agent that can change nothing still watches, and nothing is wrong with any
volume until the first leg is lost: without this, that would be the moment
at which an operator learns of it.
"""

from collections.abc import Callable, Mapping
import os
import shutil
import threading
from typing import Any

from oslo_log import log as logging

LOG = logging.getLogger(__name__)

#: The programs that the privileged helper runs, and where it looks for them
#: (a test holds both to what it does).
COMMANDS = ('mdadm', 'nvme', 'wipefs')
SEARCH_PATH = '/usr/sbin:/usr/bin:/sbin:/bin'


class Lacks:
    """Looks each time it is asked: what was mended is not said any more.

    :param lock_path: the directory of os-brick's locks, None: it is not set.
    :param which: where a program is, or None.
    """

    def __init__(self, lock_path: Callable[[], str | None], *,
                 which: Callable[[str], str | None] = lambda name:
                 shutil.which(name, path=SEARCH_PATH)) -> None:
        self._lock_path = lock_path
        self._which = which
        self._helper: str | None = None
        self._logged: Mapping[str, str] = {}
        self._lock = threading.Lock()

    def helper(self, problem: str | None) -> None:
        """Why the privileged helper cannot be started; None: it runs."""
        self._helper = problem
        self.now()

    def now(self) -> dict[str, str]:
        """A sentence for each thing that lacks, by its name for a metric.

        Each is logged when it appears and when it is gone.
        """
        found = {'helper': self._helper, 'commands': self._commands(),
                 'lock_path': self._locks()}
        lacking = {what: why for what, why in found.items()
                   if why is not None}
        with self._lock:
            for what, why in lacking.items():
                if self._logged.get(what) != why:
                    LOG.error('nothing can be healed on this host: %s', why)
            for what in self._logged.keys() - lacking.keys():
                LOG.info('%s does not lack any more', what)
            self._logged = lacking
        return lacking

    def _commands(self) -> str | None:
        missing = [name for name in COMMANDS if self._which(name) is None]
        if not missing:
            return None
        return (f'{", ".join(missing)}: not installed in {SEARCH_PATH}, and '
                'needed to change arrays')

    def _locks(self) -> str | None:
        path = self._lock_path()
        if not path:
            return ('neither [os_brick] nor [oslo_concurrency] lock_path is '
                    "set, and without os-brick's locks no array is changed "
                    '(let the agent read the nova.conf of nova-compute)')
        # What is not there is made when a lock is taken.
        place = path if os.path.isdir(path) else os.path.dirname(path)
        if os.access(place, os.W_OK | os.X_OK):
            return None
        return (f"{path} cannot be written by user id {os.geteuid()}, and "
                "without os-brick's locks no array is changed")


def of(conf: Any) -> Lacks:
    """With the lock directory that a configuration names.

    :param conf: one that ``files.share_lock_path`` has been called for.
    """
    return Lacks(lambda: (conf.os_brick.lock_path
                          or conf.oslo_concurrency.lock_path))
