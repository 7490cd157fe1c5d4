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
"""Network block devices and the processes that serve them, as values. Pure.

What the kernel's files say is taken apart here, and read elsewhere.
"""

from collections.abc import Sequence
import dataclasses

#: Fields of /sys/block/X/stat that count completed requests
#: (Documentation/block/stat.rst): read, write, discard, flush.
_COMPLETED = (0, 4, 11, 15)
_IN_FLIGHT = 8
#: States of /proc/PID/stat (proc(5)): it has ended, it is stopped.
_ENDED = frozenset('ZXx')
_STOPPED = frozenset('Tt')
#: Of 2**64.
_DIGITS_MAX = 20
#: After the command's name: the state first, the start 19 words later.
_START = 19
#: Six words after the state: the task's flags, and the one that the kernel
#: sets when a thread has made its last system call (PF_EXITING).
_FLAGS, _EXITING = 6, 0x4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """How requests move.

    :ivar completed: how many have ended since the boot.
    :ivar in_flight: how many are under way now.
    """

    completed: int
    in_flight: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device at one moment.

    :ivar connected: somebody has connected it, and nobody ended that.
    :ivar cookie: what it was connected with, None without one.
    :ivar timer_ms: of a request that does not come back.
    """

    name: str
    connected: bool
    cookie: str | None
    size_bytes: int
    timer_ms: int | None
    requests: Requests | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process. :ivar start: clock ticks since boot, as text."""

    pid: int
    start: str

    def __str__(self) -> str:
        return f'process {self.pid}'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A process that is there.

    :ivar argv: its command line.
    :ivar dying: it is ending, and threads of it are still in the kernel:
        they may be at work on a write. A thread of the kernel looks so, too.
    :ivar uids: every user it is, empty: that was not read. What it says of
        itself (argv) is worth no more than they are.
    :ivar leaving: it is dying, and none of its threads will make a system
        call again: all that is left is to give back what it had open.
    """

    pid: int
    start: str
    stopped: bool
    argv: tuple[str, ...]
    dying: bool = False
    uids: frozenset[int] = frozenset()
    leaving: bool = False

    def __str__(self) -> str:
        return f'process {self.pid}'

    @property
    def process(self) -> Process:
        """Who it is, without how it is."""
        return Process(pid=self.pid, start=self.start)


def is_number(text: str) -> bool:
    """Whether it is a number as the kernel prints one, of 64 bits."""
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


def requests(text: str) -> Requests | None:
    """Parse ``/sys/block/X/stat``; None: it is nothing of that kind."""
    words = text.split()
    if len(words) <= _IN_FLIGHT or not all(map(is_number, words)):
        return None
    return Requests(
        completed=sum(int(words[i]) for i in _COMPLETED if i < len(words)),
        in_flight=int(words[_IN_FLIGHT]))


def running(pid: int, stat: str, cmdline: str,
            threads: int = 1, leaving: bool = False) -> Running | None:
    """A process from its files; None: it has ended, or they are torn.

    :param threads: entries of /proc/PID/task. The first thread becomes a
        zombie before the others have left the kernel, and has no command
        line from then on.
    :param leaving: whether each of them is, see :func:`exits`.
    """
    # The command's name may hold spaces and brackets: count after the last.
    words = stat.rpartition(')')[2].split()
    if len(words) <= _START or not is_number(words[_START]):
        return None
    if words[0] in _ENDED:
        return None if threads < 2 else Running(
            pid=pid, start=words[_START], stopped=False, argv=(), dying=True,
            leaving=leaving)
    if not cmdline:     # exit(2) gives memory back first, then all else
        return Running(pid=pid, start=words[_START], stopped=False, argv=(),
                       dying=True, leaving=leaving)
    return Running(pid=pid, start=words[_START],
                   stopped=words[0] in _STOPPED,
                   argv=tuple(cmdline.rstrip('\0').split('\0')))


def uids(status: str) -> frozenset[int]:
    """The users of ``/proc/PID/status``: real, effective, saved, and of its
    files; none: they are not there.

    The real one counts as well: whoever starts a program of mode setuid
    says which arguments it gets.
    """
    # Not splitlines(): a process says what it is called, in a line above, and
    # the kernel escapes nothing there but the line feed.
    for line in status.split('\n'):
        name, _, rest = line.partition(':')
        words = rest.split()
        if name == 'Uid' and words and all(map(is_number, words)):
            return frozenset(map(int, words))
    return frozenset()


def exits(stat: str) -> bool:
    """Whether a thread, by its file ``stat``, will never run a program
    again: it was killed, and is past its last system call."""
    words = stat.rpartition(')')[2].split()
    return len(words) > _START and is_number(words[_FLAGS]) and bool(
        int(words[_FLAGS]) & _EXITING)


def programs(words: Sequence[str]) -> frozenset[str]:
    """What a command line may be called: of a script, the interpreter is
    the first word and the script the second."""
    return frozenset(word.rpartition('/')[2] for word in words[:2])


def carries(argv: Sequence[str], name: str, marks: Sequence[str]) -> bool:
    """Whether a command line is of a program and has all these words."""
    return bool(marks) and name in programs(argv) and all(
        mark in argv[1:] for mark in marks)
