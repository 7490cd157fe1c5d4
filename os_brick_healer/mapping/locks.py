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
"""One lock for each volume: the agent and connectors, one at a time.

flock(2) on a file beside the volume's socket: it goes with the process that
holds it, however that ends, and with the last call of root's to which it was
lent. Other volumes never wait for it.

The file stays when the volume has left, empty, until the host boots: it is
below /run, one for each volume that was ever mapped since. Who removed it
would let somebody hold the old file, for which he had waited, beside somebody
else with a new one of that name. Each holder could look whether his is still
the one of that name; one of another version of this package would not.
"""

from collections.abc import Callable, Iterator
import contextlib
import errno
import fcntl
import os
import time
from typing import Protocol

from os_brick_healer import exception
from os_brick_healer.engine import whose
from os_brick_healer.mounter import base

DIRECTORY = 'mappings'
_POLL_S = 0.02
#: sun_path of unix(7), without its end.
PATH_BYTES_MAX = 107


class Busy(exception.HealerError):
    """Somebody else is at work on this volume."""


#: Hands an open file to root: gives the place where it gets it.
Offer = Callable[[int], contextlib.AbstractContextManager[str]]


class Locks(Protocol):
    """One lock for each volume; see :class:`VolumeLocks`."""

    def hold(self, volume: str, wait_s: float
             ) -> contextlib.AbstractContextManager[None]: ...

    def lend(self, volume: str, offer: Offer
             ) -> contextlib.AbstractContextManager[str]: ...


def directory(run_path: str) -> str:
    """Where sockets and locks of mapped volumes are; made if need be.

    :raises HealerError: it cannot be made.
    """
    path = os.path.join(run_path, DIRECTORY)
    try:
        os.makedirs(run_path, mode=0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode=0o700)
            _give_away(path, run_path)
    except OSError as e:
        raise exception.HealerError(
            f'cannot make {path}: because {e.strerror}',
            hint='it belongs to the user of nova-compute and of the '
                 'agent') from e
    return path


def socket_path(run_path: str, volume: str) -> str:
    """Where the server of a volume listens.

    :raises ConfigError: run_path is too long for that.
    """
    path = os.path.join(run_path, DIRECTORY, f'{base.in_path(volume)}.sock')
    if len(path.encode()) > PATH_BYTES_MAX:
        raise exception.ConfigError(
            f'cannot use run_path {run_path}: because it is too long for '
            'the path of a socket')
    return path


def _give_away(path: str, beside: str) -> None:
    """What a command of root's has made is the agent's, as run_path is."""
    owner = os.stat(beside)
    if os.geteuid() == 0 != owner.st_uid:
        # That owner can put a link in its place meanwhile.
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                     | os.O_CLOEXEC)
        try:
            os.fchown(fd, owner.st_uid, owner.st_gid)
        finally:
            os.close(fd)


class VolumeLocks:
    """Locks below one directory. :param run_path: as configured."""

    def __init__(self, run_path: str) -> None:
        self._run_path = run_path
        self._held: dict[str, int] = {}

    @contextlib.contextmanager
    def hold(self, volume: str, wait_s: float) -> Iterator[None]:
        """Hold a volume's lock.

        :raises Busy: somebody else holds it for longer than that.
        :raises HealerError: the file cannot be used.
        """
        path = os.path.join(directory(self._run_path), f'{volume}.lock')
        fd = _open(path)
        try:
            whose.give_away(fd, os.path.dirname(path))
            _take(fd, volume, time.monotonic() + wait_s)
            self._held[volume] = fd
            try:
                yield
            finally:
                del self._held[volume]
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def lend(self, volume: str, offer: Offer) -> Iterator[str]:
        """Let root hold a lock, too, that is held here: where it gets it.

        What root has begun goes on when we are killed, or have given up:
        nobody else has the lock before that is over.
        """
        with offer(self._held[volume]) as place:
            yield place


def _open(path: str) -> int:
    """No link is followed: the directory is the agent's user's, and a
    command of root's makes the file, and gives it away."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                       | os.O_NOFOLLOW, 0o600)
    except OSError as e:
        raise exception.HealerError(
            f'cannot lock {path}: because {e.strerror}',
            hint=whose.of_file(path, '[os_brick_healer] run_path')) from e


def _take(fd: int, volume: str, until_s: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno != errno.EWOULDBLOCK:
                raise
        else:
            return
        if time.monotonic() >= until_s:
            raise Busy(f'cannot touch {volume}: because somebody else is at '
                       'work on it')
        time.sleep(_POLL_S)
