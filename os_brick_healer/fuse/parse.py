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
"""What mountinfo says, as values. Pure.

One line for each mount (proc_pid_mountinfo(5))::

    81 71 0:44 / /mnt/a rw,nosuid - fuse.ceph-fuse ceph-fuse rw,user_id=0

The number of a mount is used again as soon as it is free, and so is that of
its device: neither tells a mount from one that came later.
"""

from collections.abc import Sequence
import dataclasses
import re

#: Flags of a mount that forbid something; what replaces it has them, too.
FORBIDDING = frozenset(('ro', 'nosuid', 'nodev', 'noexec'))
_ESCAPED = re.compile(r'\\([0-7]{3})')
_NUMBER = re.compile(r'[0-9]{1,10}')
_POINT, _OPTIONS = 4, 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount. :ivar kind: of its file system: fuse.ceph-fuse."""

    number: int
    place: str
    kind: str
    options: frozenset[str]


def mounts(text: str) -> tuple[Mount, ...]:
    """All mounts, those that lie above others behind them.

    Of what would break a line the kernel escapes nothing but the line feed:
    all else may stand in the name of a place.
    """
    return tuple(one for line in text.split('\n')
                 if (one := _mount(line)) is not None)


def _mount(line: str) -> Mount | None:
    before, dash, after = line.partition(' - ')
    words, kind = before.split(' '), after.partition(' ')[0]
    if not dash or len(words) <= _OPTIONS or (
            _NUMBER.fullmatch(words[0]) is None):
        return None
    return Mount(
        number=int(words[0]), kind=kind, place=_ESCAPED.sub(
            lambda found: chr(int(found[1], 8)), words[_POINT]),
        options=frozenset(words[_OPTIONS].split(',')))


def at(found: Sequence[Mount], place: str) -> tuple[Mount, ...]:
    """What is mounted at a place, the uppermost last."""
    return tuple(one for one in found if one.place == place)


def forbids(found: Sequence[Mount], place: str, kind: str,
            options: frozenset[str]) -> str | None:
    """Why the mount at a place may not be replaced; None: it may, as far
    as the table of mounts tells.

    :param options: what the one that replaces it will be mounted with.
    """
    here = at(found, place)
    if len(here) != 1:
        return f'{len(here)} mounts are there, and one was expected'
    if here[0].kind != kind:
        return f'it is a mount of type {here[0].kind}, not {kind}'
    below = [one.place for one in found
             if one.place.startswith(f'{place}/')]
    if below:
        return f'{below[0]} is mounted below it, and would go with it'
    lost = sorted((here[0].options & FORBIDDING) - options)
    if lost:
        return (f'it is mounted {", ".join(lost)}, and the new one would '
                'not be')
    return None
