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
"""One agent on a host: a lock on a file, gone with the process.

flock(2), not lockf: a POSIX lock is dropped as soon as the process closes
*any* descriptor of the file, and a caller that merely looks would do that.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import stat
import time
from typing import Any

from os_brick_healer import exception, regular
from os_brick_healer.engine import place, whose

NAME = 'agent.lock'
#: Someone who only looks holds the lock for microseconds: try again.
TRY_S = 0.5
TRY_INTERVAL_S = 0.02
NOTE_MAX = 4096


class AgentRuns(exception.HealerError):
    """Another agent holds the lock of this host."""

    transient = False


class NoLockFile(exception.HealerError):
    """Something else than a file is in the lock's place."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds the lock, as it wrote down itself; None: it did not."""

    pid: int | None
    launch: str | None

    def __str__(self) -> str:
        if self.pid is None:
            return 'an agent that did not leave its name'
        return f'process {self.pid} ({self.launch or "unknown"})'


class AgentLock:
    """Held from construction to :meth:`release`.

    :param directory: what one agent alone may use.
    :param launch: how this agent was launched, for who comes second.
    :param option: names the directory.
    :raises AgentRuns: another one holds it.
    :raises HealerError: the directory cannot be used.
    """

    def __init__(self, directory: str, *, launch: str,
                 try_s: float = TRY_S, option: str = 'run_path') -> None:
        self.path = os.path.join(directory, NAME)
        self._option = f'[os_brick_healer] {option}'
        self._fd = self._take(directory, try_s)
        note = json.dumps({'pid': os.getpid(), 'launch': launch})
        # It only tells who comes second; a full disk must not keep us away.
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, note.encode() + b'\n', 0)

    def _take(self, directory: str, try_s: float) -> int:
        give_up = time.monotonic() + try_s
        while True:
            try:
                os.makedirs(directory, mode=0o755, exist_ok=True)
                fd = _open(self.path)
                whose.give_away(fd, directory)
            except OSError as e:
                _refuse_odd(f'cannot lock {self.path}: because', self.path)
                raise exception.HealerError(
                    f'cannot lock {self.path}: because {e.strerror}',
                    hint=whose.of_file(self.path, self._option)) from e
            self._place = place.Place(self.path, os.fstat(fd))
            if _try_lock(fd, fcntl.LOCK_EX) and not self._place.gone:
                return fd
            os.close(fd)
            if time.monotonic() >= give_up:
                raise AgentRuns(
                    'cannot run a second agent on this host: because '
                    f'{_read_holder(self.path)} holds {self.path}',
                    hint='stop that one first')
            time.sleep(TRY_INTERVAL_S)

    @property
    def gone(self) -> bool:
        """Whether another agent would find no lock, or lock another file."""
        return self._place.gone

    def release(self) -> None:
        """Let another agent run. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def holder(run_path: str) -> Holder | None:
    """Who runs on this host; None when nobody does. Takes microseconds.

    :raises NoLockFile: no agent can run before that is taken away.
    :raises HealerError: it cannot be told.
    """
    path = os.path.join(run_path, NAME)
    try:
        fd = regular.opened(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as e:
        _refuse_odd(f'cannot tell whether an agent runs: because {path}:',
                    path)
        raise exception.HealerError(
            f'cannot tell whether an agent runs: because {path}: '
            f'{e.strerror}', hint='see [os_brick_healer] run_path') from e
    try:
        if _try_lock(fd, fcntl.LOCK_SH):
            return None
    finally:
        os.close(fd)
    return _read_holder(path)


def _refuse_odd(what: str, path: str) -> None:
    """After an error: is it what stands there?

    :raises NoLockFile: it is.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        why = ('it is a symbolic link' if stat.S_ISLNK(mode) else
               'it is a directory' if stat.S_ISDIR(mode) else
               regular.WHY_NOT)
        raise NoLockFile(f'{what} {why}', hint=f'remove {path}: the agent '
                         'makes a file of its own there')


def _open(path: str) -> int:
    try:
        return regular.opened(
            path, os.O_NOFOLLOW | os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as e:
        if e.errno == errno.EROFS:
            # So a disk with errors ends. A lock that is there can be held
            # all the same, and guests wait.
            with contextlib.suppress(OSError):
                return regular.opened(path, os.O_NOFOLLOW)
        raise


def _try_lock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except OSError as e:
        if e.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
            return False
        raise
    return True


def _read_holder(path: str) -> Holder:
    note: Any = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        note = json.loads(regular.read(path, NOTE_MAX))
    if not isinstance(note, dict):
        return Holder(pid=None, launch=None)
    pid, launch = note.get('pid'), note.get('launch')
    return Holder(pid=pid if isinstance(pid, int) else None,
                  launch=launch if isinstance(launch, str) else None)
