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
"""A FUSE file system that knows two answers, and the story of its death.

Run in a table of mounts of its own::

    unshare --mount --propagation private python -m ...fuse.tiny DIRECTORY

It prints, as JSON, what ``fuse.dead`` said at each step. Needs root and
/dev/fuse; no library of FUSE's.
"""

from collections.abc import Callable
import contextlib
import ctypes
import json
import os
import signal
import struct
import sys

from os_brick_healer.fuse import dead

KIND = 'fuse.ceph-fuse'
_IN = struct.Struct('=IIQQIIII')
_OUT = struct.Struct('=IiQ')
_INIT, _STATFS = 26, 17
_ENOSYS = 38
_NOSUID_NODEV = 2 | 4
_FLAGS = 'nosuid,nodev'


def mount(fd: int, place: str) -> None:
    """What libfuse does as root."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = f'fd={fd},rootmode=40000,user_id=0,group_id=0'
    if libc.mount(b'tiny', place.encode(), KIND.encode(), _NOSUID_NODEV,
                  words.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), place)


def serve(fd: int) -> None:
    """Answer until there is nothing to read any more."""
    with contextlib.suppress(OSError):
        while True:
            data = os.read(fd, 1 << 18)
            _, kind, number, *_ = _IN.unpack_from(data)
            error, body = -_ENOSYS, b''
            if kind == _INIT:
                error, body = 0, struct.pack(
                    '=IIIIHHI', 7, 19, 0, 0, 0, 0, 4096)
            elif kind == _STATFS:
                error, body = 0, struct.pack('=QQQQQIII', *[1] * 5, 4096,
                                             255, 4096).ljust(80, b'\0')
            os.write(fd, _OUT.pack(_OUT.size + len(body), error, number)
                     + body)


def serving(place: str) -> int:
    """Mount, and serve in a process of its own; its number."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        fd = os.open('/dev/fuse', os.O_RDWR)
        mount(fd, place)
        os.write(done, b'.')
        serve(fd)
        os._exit(0)
    os.close(done)
    os.read(ready, 1)
    os.close(ready)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def said(call: Callable[[], str]) -> str:
    try:
        return call()
    except (OSError, dead.Refused) as error:
        return f'{type(error).__name__}: {error}'


def story(place: str) -> dict[str, str]:
    """What is said of a place while its server lives, and after."""
    options = frozenset(_FLAGS.split(','))

    def look() -> str:
        return said(lambda: dead.look(KIND, place, dead.table()))

    def take(kind: str = KIND, *, more: frozenset[str] = options) -> str:
        return said(lambda: dead.take(kind, place, more))

    told = {'bare': look(), 'take bare': take()}
    pid = serving(place)
    told |= {'lives': look(), 'take living': take(), 'still lives': look()}
    kill(pid)
    told |= {'dead': look(), 'take another kind': take('fuse.other'),
             'take loosely': take(more=frozenset()), 'still dead': look(),
             'other kind': said(lambda: dead.look(
                 'fuse.other', place, dead.table()))}
    second = os.path.join(place, 'x')
    told |= {'take dead': take(), 'bare again': look()}
    os.mkdir(second)
    first, above = serving(place), serving(place)
    kill(first)
    kill(above)
    told['take two'] = take()
    return told


if __name__ == '__main__':
    sys.stdout.write(json.dumps(story(sys.argv[1])))
