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
"""What is mounted on the host.

The first process's table: that of the agent's own service is another one.
"""

from os_brick_healer.fuse import parse
from os_brick_healer.sysfs import reader

TABLE = '/proc/1/mountinfo'
TABLE_BYTES_MAX = 16777216
#: Here root notes where it has taken a dead mount away: the volume's id is
#: the file's name, the place is in it.
NOTES = '/run/os-brick-healer-mounts'


def table(tree: reader.Tree) -> tuple[parse.Mount, ...]:
    """Every mount. :raises ReadError: the table cannot be read."""
    return parse.mounts(tree.read(TABLE, TABLE_BYTES_MAX) or '')


def at(tree: reader.Tree, place: str) -> parse.Mount | None:
    """The uppermost mount at a place."""
    here = parse.at(table(tree), place)
    return here[-1] if here else None


def taken_away(tree: reader.Tree, volume: str, place: str) -> bool:
    """Whether root has taken the dead mount of a volume away, and has not
    seen another one there yet."""
    return tree.read(f'{NOTES}/{volume}') == place
