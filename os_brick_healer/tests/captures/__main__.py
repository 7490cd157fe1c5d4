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
"""Take a captured directory in: see the package's docstring."""

from collections.abc import Iterator
import os
import pathlib
import re
import sys

from os_brick_healer.tests import captures

_WANTED = re.compile(
    r'proc/mdstat|run/udev/data/b9:\d+|run/mdadm/map'
    r'|commands/(mdadm-detail-export\.md\d+)'
    r'|sys/(class/nvme|class/nvme-subsystem|block)/(nvme|md)[^/]*'
    r'|.*/nvme\d+/(state|subsysnqn|address|transport|hostnqn|kato|cntlid'
    r'|reconnect_delay)'
    r'|.*/nvme-subsys\d+/(subsysnqn|nvme\d+)'
    r'|.*/nvme\d+n\d+/(uuid|nguid|nsid|size|holders/.*|holders)'
    r'|.*/nvme\d+c\d+n\d+/(size|ana_state)'
    r'|.*/md\d+/(size|stat|dev)'
    r'|.*/md\d+/md/(uuid|level|raid_disks|degraded|array_state|sync_action'
    r'|sync_completed|sync_speed|component_size|metadata_version|rd\d+'
    r'|dev-[^/]+/(state|slot|recovery_start|block))', re.ASCII)


def pack(root: pathlib.Path) -> str:
    """The wanted part of a captured directory as text."""
    return ''.join(f'{line}\n' for line in _pack(root))


def _pack(root: pathlib.Path) -> Iterator[str]:
    for at, directories, files in os.walk(root):
        directories.sort()
        for name in sorted(directories + files):
            real = pathlib.Path(at, name)
            path = str(real.relative_to(root))
            if not _WANTED.fullmatch(path):
                continue
            if real.is_symlink():
                yield f'L {path} -> {os.readlink(real)}'
            elif real.is_dir():
                if not os.listdir(real):
                    yield f'D {path}'
            else:
                yield f'F {path}'
                yield from ('|' + x for x in real.read_text().splitlines())


def main() -> None:
    """Take a captured directory in as a state."""
    source, state = pathlib.Path(sys.argv[1]), sys.argv[2]
    (captures.HERE / state).mkdir(exist_ok=True)
    (captures.HERE / state / 'tree').write_text(pack(source))
    (captures.HERE / state / 'origin').write_text(
        (source / 'CAPTURE.txt').read_text())


if __name__ == '__main__':
    main()
