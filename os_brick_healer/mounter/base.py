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
"""What a mounter is: who serves a block device from a userspace process.

A mounter is a *description*. It says which program serves a volume, how its
process is told from every other one, and what that program can and cannot
do. It starts nothing and opens nothing: that is done by hands that know
about privilege, and that ask the mounter again on the privileged side of the
wall. So a method here gets plain values, gives plain values back, and always
gives the same ones for the same ones.
"""

import abc
from collections.abc import Mapping, Sequence
import dataclasses
import enum
import hashlib
import re
from typing import ClassVar

from os_brick_healer import exception
from os_brick_healer.nbd import parse

#: What names the volume's data, in the mounter's own words; strings only.
Source = Mapping[str, str]

#: Where servers that run as root have sockets of their own; root makes it.
ROOT_SOCKETS = '/run/os-brick-healer-servers'
SOURCE_KEYS_MAX = 32
WORD_CHARACTERS_MAX = 1024
#: A volume's id that is also the cookie of its device: a uuid, or what
#: somebody else chose. It is part of the names of files.
_KEY = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,127}')
#: Longer ids are shortened where the path of a socket must be short.
_KEY_IN_PATH_MAX = 36


class Style(enum.Enum):
    """How a served volume becomes a block device."""

    #: The process listens on a unix socket and speaks NBD; we shake hands
    #: with it and give the connection to the kernel.
    SOCKET = 'socket'
    #: The process itself gives the kernel a connection (rbd-nbd).
    ITSELF = 'itself'
    #: The process mounts a file system (FUSE): there is no block device.
    MOUNT = 'mount'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a mounter declares; the conformance suite holds it to it.

    :ivar transparent: with a new process the same device goes on, and who
        has it open notices a pause at most.
    :ivar can_fence: a dead client can be kept from coming back, where the
        storage makes a new one wait for it. Its process writes over a
        network alone: when none of its threads will make a system call
        again, a new one is started although it may not be gone.
    :ivar detects_hang: a process that lives and does not serve can be told
        from storage that is slow.
    """

    transparent: bool
    can_fence: bool
    detects_hang: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One volume that is to be served.

    :ivar volume: its id; also the cookie of its device.
    :ivar source: as :meth:`Mounter.normalize` gave it.
    :ivar socket: where a process of style SOCKET listens.
    :ivar device: the kernel name of its device, for style MOUNT the place
        where it is mounted; None: it has none yet.
    :ivar reattach_s: how long requests wait for a new process.
    """

    volume: str
    source: Source
    socket: str
    device: str | None = None
    reattach_s: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The process that serves.

    :ivar argv: the program's name without a path, and its arguments; it
        stays in the foreground, and nothing secret is among them.
    :ivar as_root: whether it needs to run as root; else it runs as who
        asked for it, and can read no more than they can.
    :ivar deaf: it fails requests when it is asked to end (SIGTERM), so it
        is not to hear that; it is ended by SIGKILL.
    """

    argv: tuple[str, ...]
    as_root: bool = False
    deaf: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """How a server is asked whether it lives: any answer says yes.

    :ivar socket: the unix socket that it is asked on.
    :ivar words: what is sent; nothing, if it speaks first.
    :ivar as_root: whether only root can connect.
    """

    socket: str
    words: bytes = b''
    as_root: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the command line of a process says that it serves.

    :ivar volume: the cookie of its device.
    :ivar source: the words that name the data, and the way to it; not
        checked yet.
    :ivar device: as :class:`Order` has it; None: it does not say.
    :ivar lacks: why no other process could be started with these words:
        one of them is a secret, for example; empty: one could.
    """

    volume: str
    source: Source
    device: str | None = None
    lacks: str = ''


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A client that the storage lets nobody pass by.

    :ivar client: its name, as the storage gives it to one client only.
    :ivar address: where it is, in the storage's words.
    :ivar claim: what it holds by, in the storage's words.
    """

    client: str
    address: str
    claim: str

    def __str__(self) -> str:
        return f'{self.client} ({self.address})'


class Mounter(abc.ABC):
    """One kind of server. Without state: every method is a function.

    :cvar names: the words of a source that name the data itself, and not
        the way to it; empty: what others have mapped cannot be adopted.
    """

    abilities: ClassVar[Abilities]
    style: ClassVar[Style]
    #: The command's name as /proc/PID/cmdline shows it.
    program: ClassVar[str]
    names: ClassVar[tuple[str, ...]] = ()
    #: The command that asks the storage; '': it is not asked.
    tool: ClassVar[str] = ''
    #: The type that mountinfo shows of what it mounts (style MOUNT).
    file_system: ClassVar[str] = ''

    @abc.abstractmethod
    def normalize(self, given: Mapping[str, object]) -> Source:
        """Check the words that name the data, and give them back.

        Called on both sides of the wall, also with its own result.

        :raises MounterRefused: they name nothing that this mounter serves,
            or something that it must not.
        """

    @abc.abstractmethod
    def server(self, order: Order) -> Server:
        """The process that is to serve; the same order, the same words."""

    @abc.abstractmethod
    def marks(self, order: Order) -> tuple[str, ...]:
        """Words of the process's arguments that together no process of
        another volume has. Not empty."""

    def claim(self, argv: Sequence[str]) -> Claim | None:
        """What a process of this program serves, whoever started it.

        None: its command line does not tell. By that a process that
        somebody else has started is known, watched, and killed when it
        hangs: what is not sure is not said.
        """
        del argv
        return None

    def same_data(self, one: Source, other: Source) -> bool:
        """Whether two sources name the same data."""
        return bool(self.names) and all(
            one.get(name) == other.get(name) for name in self.names)

    def continues(self, mapped: Source, given: Source) -> bool:
        """Whether a volume that is mapped is what is to be mapped now: the
        same data, and the same way to it but for what may change while a
        volume is attached."""
        return dict(mapped) == dict(given)

    def serves(self, order: Order, argv: Sequence[str]) -> bool:
        """Whether a process serves a volume: one that was started for it,
        or one that says so by its cookie and its data."""
        if parse.carries(argv, self.program, self.marks(order)):
            return True
        if self.program not in parse.programs(argv):
            return False
        said = self.claim(argv)
        return (said is not None and said.volume == order.volume
                and self.same_data(said.source, order.source))

    def export(self, order: Order) -> str:
        """The export's name in NBD's handshake (style SOCKET)."""
        del order
        return ''

    def question(self, order: Order) -> Question | None:
        """How to ask whether a server lives; None: it cannot be asked."""
        if self.style is Style.SOCKET:
            return Question(socket=order.socket)    # NBD's server greets
        return None

    def obeyed(self, order: Order) -> tuple[str, ...]:
        """Files that a server that runs as root takes orders from: it is
        not started if others than root can write them."""
        del order
        return ()

    def is_gone(self, order: Order, words: str) -> bool:
        """Whether the last words of a server that ended, or of the command
        of :meth:`ask_data`, say that the data itself is not there: then it
        is not tried again and again."""
        del order, words
        return False

    def ask_data(self, order: Order) -> tuple[str, ...]:
        """The command of :attr:`tool` that fails if the data is not there;
        empty: a server itself says so. It is asked when one has ended."""
        del order
        return ()

    def lacks(self, order: Order, told: str) -> str:
        """What the data lacks for a heal that keeps what this mounter
        promises, from what the command of :meth:`ask_data` printed: a
        sentence; empty: nothing, or it is not understood. Data that lacks
        something must not keep a new server from serving: only then is
        anybody shut out."""
        del order, told
        return ''

    def size_bytes(self, order: Order, told: str) -> int | None:
        """How large the data is, from what the command of :meth:`ask_data`
        printed; None: it does not say. It is asked where a server that goes
        on has not made its device follow data that has grown."""
        del order, told
        return None

    # Fencing (abilities.can_fence) ------------------

    def client(self, line: str) -> str | None:
        """The name of the storage's client that a server is, if it says so
        in this line of its log."""
        del line
        return None

    def ask_holders(self, order: Order) -> tuple[str, ...]:
        """The command of :attr:`tool` that lists who holds the data; empty:
        nobody can hold it."""
        del order
        return ()

    def holders(self, listed: str) -> tuple[Holder, ...]:
        """Who holds the data, from what that command printed.

        :raises ValueError: it is not understood.
        """
        del listed
        return ()

    def shut_out(self, order: Order, holder: Holder) -> tuple[str, ...]:
        """The command of :attr:`tool` that ends this hold, and keeps this
        client from ever writing again; it fails if another holds by now."""
        del order, holder
        raise NotImplementedError


def words(given: Mapping[str, object], *, required: tuple[str, ...],
          optional: tuple[str, ...] = ()) -> dict[str, str]:
    """Take out known words; for :meth:`Mounter.normalize`.

    :raises MounterRefused: one is missing, unknown, or no plain text.
    """
    unknown = sorted(set(given) - set(required) - set(optional))
    if unknown or len(given) > SOURCE_KEYS_MAX:
        raise exception.MounterRefused(
            f'cannot serve this: because nobody knows {", ".join(unknown)}')
    found = {}
    for name in (*required, *optional):
        value = given.get(name)
        if value is None and name in optional:
            continue
        if (not isinstance(value, str) or not value.isprintable()
                or not 0 < len(value) <= WORD_CHARACTERS_MAX):
            raise exception.MounterRefused(
                f'cannot serve this: because {name} is no text')
        found[name] = value
    return found


def path(value: str, name: str) -> str:
    """An absolute path without detours.

    :raises MounterRefused: it is none.
    """
    parts = value.split('/')
    if not value.startswith('/') or value == '/' or any(
            part in ('', '.', '..') for part in parts[1:]):
        raise exception.MounterRefused(
            f'cannot serve this: because {name} {value!r} is no plain '
            'absolute path')
    return value


def is_key(text: object) -> bool:
    """Whether a text can be a volume's id, and its device's cookie."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def place_key(place: str) -> str:
    """The id of a volume that is known by where it is mounted alone."""
    return f'mount-{hashlib.sha256(place.encode()).hexdigest()[:24]}'


def is_place(name: str) -> bool:
    """Whether a device's name is the place of a mount, not a kernel name.
    """
    return name.startswith('/')


def in_path(volume: str) -> str:
    """A volume's id as the path of its socket has it, which must be short.
    """
    if len(volume) <= _KEY_IN_PATH_MAX:
        return volume
    return hashlib.sha256(volume.encode()).hexdigest()[:_KEY_IN_PATH_MAX]


def root_socket(volume: str, suffix: str) -> str:
    """A socket of a volume's server that runs as root."""
    return f'{ROOT_SOCKETS}/{in_path(volume)}.{suffix}'
