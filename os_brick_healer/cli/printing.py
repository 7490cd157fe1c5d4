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
"""What the command prints, and where it cannot."""

import contextlib
import datetime
import json
import os
import shutil
import sys

from os_brick_healer.cli import render

CLOSED = 'cannot print: because standard output is closed'


def is_closed() -> bool:
    """Whether there is no standard output at all: a shell's ``>&-``."""
    out: object = sys.stdout
    return out is None


def give_up(e: OSError) -> None:
    """Nobody takes what is printed: a closed pipe, a full disk."""
    if not isinstance(e, BrokenPipeError):      # | head
        with contextlib.suppress(OSError):
            complain(f'cannot print: because {e.strerror or e}')
    with contextlib.suppress(OSError, ValueError):
        # Python flushes once more when it ends, and must not fail then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(sentence: str) -> None:
    """Say what is wrong where it does not mix with answers."""
    err: object = sys.stderr
    if err is not None:     # print() would take None for standard output
        print(f'os-brick-healer: {render.safe(sentence)}', file=sys.stderr)


def say(answer: object) -> None:
    """What an agent has answered, each of its lines on one."""
    for line in str(answer).split('\n'):
        print(render.safe(line))


def when(wall_s: float) -> str:
    """Local time with its offset; a time that makes no sense as it is."""
    try:
        moment = datetime.datetime.fromtimestamp(wall_s, datetime.UTC)
        return moment.astimezone().isoformat(' ', 'seconds')
    except (OverflowError, ValueError, OSError):
        return str(wall_s)


def as_json(value: object, indent: int | None = 2) -> str:
    """JSON with ASCII only: nothing in it can move a cursor."""
    return json.dumps(value, indent=indent, sort_keys=True, default=str)


def dump(value: object) -> None:
    """The same, printed."""
    print(as_json(value))


def width() -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size((100, 24)).columns
