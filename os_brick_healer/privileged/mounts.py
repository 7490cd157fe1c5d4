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
"""Dead mounts of userspace file systems, taken away and replaced. As root.

What may be taken away is a mount of the mounter's own type, alone at its
place, below directories that root alone can write, whose server has ended
and which answers ENOTCONN. That it was taken away is noted first, in a file
that root alone writes: on a bare place nothing is mounted without that note,
so nobody can have a file system put just anywhere.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import os
import sys

from os_brick_healer import exception
from os_brick_healer.fuse import dead, parse
from os_brick_healer.mounter import base
from os_brick_healer.privileged import command, serving, unit
from os_brick_healer.sysfs import mounts, reader

#: Always so, whatever is ordered: libfuse's default.
ALWAYS = frozenset(('nosuid', 'nodev'))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The mounts of this host.

    :ivar run: runs a command as root; only tests give another one.
    :ivar only_roots: refuses a path that others can write.
    """

    tree: reader.Tree
    run: command.Runner = command.run
    only_roots: Callable[[str], None] = unit.only_roots
    notes: str = mounts.NOTES

    def look(self, wanted: serving.Job, timeout_s: float) -> str:
        """What is at a volume's place, one of the words of ``fuse.dead``.

        :raises CommandError: it cannot be told, or not in time.
        """
        return self._ask(wanted, timeout_s, 'look')

    def take(self, wanted: serving.Job, timeout_s: float) -> bool:
        """Take a volume's dead mount away; False: that was done before.

        :raises NotOurs: it is not dead, or not what was mapped.
        """
        place = _place(wanted)
        above = os.path.dirname(place)
        if os.path.realpath(above) != above:
            raise _not_ours(place, f'{above} leads somewhere else')
        self.only_roots(above)
        server = serving.find(self.tree, wanted)
        if server is not None:
            raise _not_ours(place, f'{server} serves it')
        noted = self._noted(wanted)
        self._note(wanted)
        word = ''
        try:
            word = self._ask(wanted, timeout_s, 'take',
                             ','.join(sorted(_options(wanted))))
        except exception.CommandError as error:
            raise _not_ours(place, str(error)) from error
        finally:
            if not noted and word != dead.TAKEN and self._is_there(wanted):
                self._forget(wanted)
        if word == dead.BARE and not noted:
            self._forget(wanted)
            raise _not_ours(place, 'nothing is mounted there')
        return word == dead.TAKEN

    def may_mount(self, wanted: serving.Job, timeout_s: float) -> None:
        """Refuse to mount where we have not taken a dead mount away.

        :raises NotOurs: something is there, or it was not us.
        """
        place = _place(wanted)
        if not self._noted(wanted):
            raise _not_ours(place, 'no dead mount was taken away there')
        self.only_roots(os.path.dirname(place))
        word = self.look(wanted, timeout_s)
        if word != dead.BARE:
            raise _not_ours(place, f'it is not bare ({word})')

    def serves(self, wanted: serving.Job, timeout_s: float) -> bool:
        """Whether the new mount is there and answers; then it is done."""
        if self.look(wanted, timeout_s) != dead.LIVES:
            return False
        self._forget(wanted)
        return True

    def _ask(self, wanted: serving.Job, timeout_s: float,
             *words: str) -> str:
        result = self.run(
            (*command.IN_HOST, sys.executable, '-P', '-m', dead.__name__,
             wanted.mounter.file_system, _place(wanted), *words), timeout_s)
        if result.code != 0:
            raise exception.CommandError(result.said)
        return result.out.strip()

    def _is_there(self, wanted: serving.Job) -> bool:
        """Whether anything is mounted there: then nothing was taken."""
        return mounts.at(self.tree, _place(wanted)) is not None

    # Notes -----------

    def _noted(self, wanted: serving.Job) -> bool:
        try:
            with open(self._path(wanted), encoding='ascii') as note:
                return note.read().strip() == _place(wanted)
        except FileNotFoundError:
            return False

    def _note(self, wanted: serving.Job) -> None:
        os.makedirs(self.notes, mode=0o755, exist_ok=True)
        self.only_roots(self.notes)
        fd = os.open(self._path(wanted), os.O_WRONLY | os.O_CREAT
                     | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with open(fd, 'w', encoding='ascii') as note:
            note.write(f'{_place(wanted)}\n')

    def _forget(self, wanted: serving.Job) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(wanted))

    def _path(self, wanted: serving.Job) -> str:
        return os.path.join(self.notes, wanted.order.volume)


def _place(wanted: serving.Job) -> str:
    """Where a volume is mounted, checked."""
    place = wanted.order.device
    if wanted.mounter.style is not base.Style.MOUNT or place is None:
        raise exception.NotOurs(
            f'cannot touch {place}: it is the place of no mount')
    return place


def _options(wanted: serving.Job) -> frozenset[str]:
    """What the new mount will forbid, by its order."""
    given = wanted.order.source.get('options', '').split(',')
    return ALWAYS | (parse.FORBIDDING & frozenset(given))


def _not_ours(place: str, why: str) -> exception.NotOurs:
    return exception.NotOurs(f'cannot touch {place}: {why}')
