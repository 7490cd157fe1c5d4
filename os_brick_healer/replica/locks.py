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
"""os-brick's own locks, with a deadline.

``connect_volume`` is held by os-brick while it connects or disconnects any
volume of this host, ``extend_volume`` while it extends one. Whoever changes
an array's members or its controllers holds both, in this order.
"""

from collections.abc import Iterator
import contextlib
import os
import stat
import threading
import time

from oslo_concurrency import lockutils
from oslo_config import cfg

from os_brick_healer import exception

#: The names that os-brick gives its locks, in the order they are taken.
NAMES = ('connect_volume', 'extend_volume')
PREFIX = 'os-brick-'


class LocksBusy(exception.HealerError):
    """Somebody else held a lock for all of the time that we could wait."""


def lock_path(conf: cfg.ConfigOpts) -> str:
    """The directory that os-brick.initiator.connectors.base uses.

    :raises ConfigError: neither of the two settings gives one.
    """
    group = conf.os_brick if 'os_brick' in conf else None
    path = getattr(group, 'lock_path', None) or lockutils.get_lock_path(conf)
    if not path:
        raise exception.ConfigError(
            'cannot find os-brick\'s locks: neither [os_brick] nor '
            '[oslo_concurrency] lock_path is set',
            hint='read the same nova.conf as nova-compute')
    return str(path)


class OsBrickLocks:
    """Holds both locks against other processes and other threads."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf

    @contextlib.contextmanager
    def hold(self, timeout_s: float) -> Iterator[None]:
        """Hold both locks; wait for them no longer than the timeout.

        :raises LocksBusy: they were not free in time.
        :raises ConfigError: no lock path.
        """
        deadline_s = time.monotonic() + timeout_s
        path = lock_path(self._conf)
        with contextlib.ExitStack() as held:
            for name in NAMES:
                held.enter_context(_threads(name, deadline_s))
                if not self._conf.oslo_concurrency.disable_process_locking:
                    held.enter_context(_processes(name, path, deadline_s))
            yield


def _left_s(deadline_s: float) -> float:
    return max(0.0, deadline_s - time.monotonic())


def _busy(name: str) -> LocksBusy:
    return LocksBusy(f'cannot take os-brick\'s lock {name}: it is held '
                     '(a volume is being attached, detached or extended)')


@contextlib.contextmanager
def _threads(name: str, deadline_s: float) -> Iterator[None]:
    """The semaphore that lockutils.lock takes before the file lock.

    POSIX record locks (fcntl) do not keep two threads of one process apart;
    an agent that is a thread of nova-compute shares this very semaphore
    with os-brick's decorator.
    """
    semaphore = lockutils.internal_lock(name)
    assert isinstance(semaphore, threading.Semaphore), semaphore
    if not semaphore.acquire(timeout=_left_s(deadline_s)):
        raise _busy(name)
    try:
        yield
    finally:
        semaphore.release()


@contextlib.contextmanager
def _processes(name: str, path: str, deadline_s: float) -> Iterator[None]:
    lock = lockutils.external_lock(name, lock_file_prefix=PREFIX,
                                   lock_path=path)
    try:
        gotten = lock.acquire(timeout=_left_s(deadline_s))
    except (OSError, threading.ThreadError) as error:
        raise exception.HealerError(
            f'cannot take os-brick\'s lock {name} in {path}: {error}',
            hint='the agent must be able to write in lock_path') from error
    try:
        if not gotten:
            raise _busy(name)
        _share(lock.path)
        yield
    finally:
        if gotten:
            lock.release()
        elif lock.lockfile is not None:
            lock.lockfile.close()


def _share(path: str | bytes) -> None:
    """Give a lock file that root has just made to the directory's owner.

    os-brick opens it for appending as user nova: a file that belongs to
    root would fail nova's next attach.
    """
    if os.geteuid() != 0:
        return
    name = os.fsdecode(path)
    with contextlib.suppress(OSError):
        owner, made = os.stat(os.path.dirname(name)), os.lstat(name)
        if (owner.st_uid != 0 and made.st_uid == 0 and made.st_size == 0
                and made.st_nlink == 1 and stat.S_ISREG(made.st_mode)):
            os.chown(name, owner.st_uid, owner.st_gid,
                     follow_symlinks=False)
