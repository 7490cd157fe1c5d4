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
"""What a check found, and the host it looks at."""

from collections.abc import Callable, Sequence
import dataclasses
import enum
import os
import pwd
import shutil
import subprocess
import sys
from typing import Any

from os_brick_healer.sysfs import reader

#: Where the privileged side looks for commands, whatever PATH says.
SEARCH_PATH = '/usr/sbin:/usr/bin:/sbin:/bin'
#: A command that says how old it is may take so long, seconds.
RUN_S = 10.0


class Level(enum.Enum):
    """How bad it is."""

    OK = 'OK'
    WARN = 'WARN'      # healing works, or it cannot be told
    FAIL = 'FAIL'      # healing will not work


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the check. :ivar hint: the way out; None when OK."""

    level: Level
    subject: str
    sentence: str
    hint: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), 'level': self.level.value}


def ok(subject: str, sentence: str) -> Finding:
    return Finding(level=Level.OK, subject=subject, sentence=sentence)


def warn(subject: str, sentence: str, hint: str) -> Finding:
    return Finding(level=Level.WARN, subject=subject, sentence=sentence,
                   hint=hint)


def fail(subject: str, sentence: str, hint: str) -> Finding:
    return Finding(level=Level.FAIL, subject=subject, sentence=sentence,
                   hint=hint)


def _which(name: str) -> str | None:
    beside = os.path.dirname(sys.executable)
    return shutil.which(name, path=f'{SEARCH_PATH}:{beside}')


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return (pwd.getpwuid(int(name)) if name.isdecimal()
                else pwd.getpwnam(name))
    except (KeyError, OverflowError, ValueError):
        return None


def _read_only(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False    # that it is not there has been said


def _run(argv: Sequence[str]) -> str | None:
    """What a command says, on both of its outputs."""
    try:
        done = subprocess.run(
            argv, check=False, timeout=RUN_S, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode('utf-8', 'replace') or None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The host under test; a test passes a copy of one.

    :ivar tree: its files. :ivar release: of its kernel.
    :ivar which: where a command is, or None.
    :ivar user: the entry of a user (name or id), or None.
    :ivar run: what a command says, None: it cannot be run.
    :ivar read_only: whether the file system of a real path is.
    """

    tree: reader.Tree = dataclasses.field(default_factory=reader.Tree)
    release: str = dataclasses.field(
        default_factory=lambda: os.uname().release)
    which: Callable[[str], str | None] = _which
    user: Callable[[str], pwd.struct_passwd | None] = _user
    run: Callable[[Sequence[str]], str | None] = _run
    read_only: Callable[[str], bool] = _read_only
