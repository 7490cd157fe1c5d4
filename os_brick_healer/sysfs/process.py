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
"""Processes, told apart from others that got their numbers later."""

from collections.abc import Iterator
import dataclasses

from os_brick_healer.nbd import parse
from os_brick_healer.sysfs import reader

PROC = '/proc'
COMMAND_BYTES_MAX = 131072


def running(tree: reader.Tree, pid: int) -> parse.Running | None:
    """A process that has not ended (a zombie has).

    :raises ReadError: /proc cannot be read.
    """
    text = tree.read(f'{PROC}/{pid}/stat')
    if text is None:
        return None
    line = tree.read(f'{PROC}/{pid}/cmdline', COMMAND_BYTES_MAX)
    threads = [] if line else list(tree.listdir(f'{PROC}/{pid}/task'))
    leaving = bool(threads) and all(parse.exits(
        tree.read(f'{PROC}/{pid}/task/{one}/stat') or '') for one in threads)
    return parse.running(pid, text, line or '', len(threads) or 1, leaving)


def same(tree: reader.Tree, one: parse.Process) -> parse.Running | None:
    """The process as it is now; None: it has ended."""
    found = running(tree, one.pid)
    return found if found is not None and found.start == one.start else None


def of_programs(tree: reader.Tree,
                programs: frozenset[str]) -> Iterator[parse.Running]:
    """Every process whose command is one of these programs, and who it is.
    """
    for name in tree.listdir(PROC):
        if not name.isdigit():
            continue
        line = tree.read(f'{PROC}/{name}/cmdline', COMMAND_BYTES_MAX)
        if line and programs & parse.programs(line.split('\0', 2)):
            found = running(tree, int(name))
            if found is not None:
                status = tree.read(f'{PROC}/{name}/status') or ''
                yield dataclasses.replace(found, uids=parse.uids(status))
