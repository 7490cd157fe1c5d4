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
"""What sysfs tells about network block devices.

* ``/sys/block/nbdX/pid`` is there while the device is connected. It keeps
  the number of who connected it for ever: it says nothing about who serves.
* ``backend`` is the cookie that it was connected with (Linux 5.14 and later);
  not there when it was connected without one.
* ``queue/io_timeout`` (ms) outlives a disconnect: the next one inherits it.
* A request that was sent to a server that died waits for this timer; when it
  goes off and the device has a new connection, it is sent again.
"""

from collections.abc import Iterator
import re

from os_brick_healer.nbd import parse, reads
from os_brick_healer.sysfs import reader

BLOCK = '/sys/block'
SECTOR_BYTES = 512
_NAME = re.compile(r'nbd\d{1,7}', re.ASCII)


def is_name(text: str) -> bool:
    """Whether it is a kernel name of such a device."""
    return _NAME.fullmatch(text) is not None


def device(tree: reader.Tree, name: str) -> parse.Device | None:
    """A device by its kernel name, None when there is none.

    :raises ReadError: it is there and cannot be read.
    """
    base = f'{BLOCK}/{name}'
    sectors = tree.read(f'{base}/size')
    if sectors is None:
        return None
    stat = tree.read(f'{base}/stat')
    return parse.Device(
        name=name, connected=tree.read(f'{base}/pid') is not None,
        cookie=tree.read(f'{base}/backend'),
        size_bytes=(_number(sectors) or 0) * SECTOR_BYTES,
        timer_ms=_number(tree.read(f'{base}/queue/io_timeout')),
        requests=None if stat is None else parse.requests(stat))


def depth(tree: reader.Tree, name: str) -> int:
    """How many requests of a device can be under way at once."""
    told = _number(tree.read(f'{BLOCK}/{name}/queue/nr_requests'))
    return reads.DEPTH if told is None else min(told, reads.DEPTH)


def names(tree: reader.Tree) -> tuple[str, ...]:
    """Every device that the driver has, connected or not."""
    return tuple(n for n in tree.listdir(BLOCK) if is_name(n))


def is_connected(tree: reader.Tree, name: str, cookie: str) -> bool:
    """Whether a device is connected with a cookie."""
    return tree.read(f'{BLOCK}/{name}/backend') == cookie


def with_cookie(tree: reader.Tree, cookie: str) -> str | None:
    """The device that is connected with a cookie."""
    return next(all_with_cookie(tree, cookie), None)


def all_with_cookie(tree: reader.Tree, cookie: str) -> Iterator[str]:
    """Every one: nothing keeps two from having the same."""
    for name in names(tree):
        if is_connected(tree, name, cookie):
            yield name


def _number(text: str | None) -> int | None:
    return int(text) if text and parse.is_number(text) else None
