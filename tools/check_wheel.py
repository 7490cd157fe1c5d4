# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Check that a built wheel is safe to install beside os-brick.

usage: check_wheel.py WHEEL

The wheel must carry the hook that os-brick looks for, and share no other
path with os-brick: what it overwrote, uninstalling it would take away.
"""

from importlib import metadata
import re
import sys
import zipfile

HOOK = 'os_brick/initiator/connectors/nvmeof_agent.py'
DATA = (
    'etc/os-brick-healer/rootwrap.d/os-brick-healer.filters',
    'lib/systemd/system/os-brick-healer.service',
)
PACKAGE = 'os_brick_healer/'


def wheel_files(path: str) -> set[str]:
    with zipfile.ZipFile(path) as wheel:
        return set(wheel.namelist())


def os_brick_files() -> set[str]:
    files = metadata.files('os-brick')
    if not files:
        raise SystemExit('cannot check the wheel: because os-brick is not '
                         'installed here; run this through `make wheel`')
    return {str(f) for f in files}


def faults(names: set[str], theirs: set[str]) -> list[str]:
    """Every reason not to ship a wheel with these names, as sentences."""
    in_os_brick = {n for n in names if n.startswith('os_brick/')}
    data = {re.sub(r'^[^/]+\.data/data/', '', n) for n in names}
    found = [f'{n} is also a file of os-brick' for n in names & theirs]
    found += [f'{n} does not belong in os_brick' for n in in_os_brick - {HOOK}]
    if HOOK not in names:
        found.append(f'{HOOK} is missing')
    found += [f'{n} is missing' for n in DATA if n not in data]
    if not any(n.startswith(PACKAGE) for n in names):
        found.append(f'{PACKAGE} is missing')
    return sorted(found)


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        print(f'usage: {argv[0]} WHEEL', file=sys.stderr)
        return 2
    names = wheel_files(argv[1])
    found = faults(names, os_brick_files())
    for fault in found:
        print(f'{argv[1]}: {fault}', file=sys.stderr)
    if not found:
        print(f'{argv[1]}: {len(names)} files, the hook among them; '
              'no file of os-brick')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
