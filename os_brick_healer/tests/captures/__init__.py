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
"""Trees captured on a real kernel, one directory for each state.

``origin`` says what was captured, when and where; ``tree`` holds those
files and links that this project reads:

    F path          a file; its lines follow, each after a bar
    D path          a directory without anything in it
    L path -> to    a symbolic link

A new one: copy /sys, /proc and /run/udev/data of the guest to a directory
and run ``python -m os_brick_healer.tests.captures DIRECTORY STATE``.
"""

import pathlib

from os_brick_healer.sysfs import reader

HERE = pathlib.Path(__file__).parent

def states() -> tuple[str, ...]:
    """Names of all captured states."""
    return tuple(sorted(p.parent.name for p in HERE.glob('*/tree')))


def unpack(state: str, root: pathlib.Path) -> reader.Tree:
    """Write a captured state below root; answers it as a Tree."""
    target = root
    for line in (HERE / state / 'tree').read_text().splitlines():
        kind, rest = line[:1], line[2:]
        if kind == '|':
            with target.open('a') as file:
                file.write(line[1:] + '\n')
            continue
        name, _, to = rest.partition(' -> ')
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == 'F':
            target.write_text('')
        elif kind == 'D':
            target.mkdir(exist_ok=True)
        else:
            target.symlink_to(to)
    return reader.Tree(str(root))
