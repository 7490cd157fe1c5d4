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
"""Makes the guest tree's virtual environment, with the guest's own python.

Runs as ``unshare --mount python3 -m bed.chroot TREE REQUIREMENT...``: the
mounts below vanish with this process, however it ends.

pip inside the tree must see what pip outside sees. A machine may be set up
with an index, or with folders of packages on its own disk; nothing of that
is known here. So the settings are read from pip itself, and every file and
folder that they name is mounted at the same place in the tree.
"""

import ast
from collections.abc import Iterable, Mapping, Sequence
import os
import pathlib
import re
import subprocess
import sys

VENV = '/venv'
PIP_DEADLINE_S = 1200
PASSED_ON = re.compile(
    r'^(PIP_.*|https?_proxy|no_proxy|all_proxy|SSL_CERT_FILE)$',
    re.IGNORECASE)
ALWAYS_SHARED = ('/etc/resolv.conf', '/etc/hosts',
                 '/etc/ssl/certs/ca-certificates.crt')
# A user as nova's packages make it; its sudo and rootwrap rules come with
# the payload.
USERS = (
    ('groupadd', '--system', '--gid', '641', 'nova'),
    ('useradd', '--system', '--uid', '641', '--gid', 'nova',
     '--home-dir', '/var/lib/nova', '--create-home',
     '--shell', '/usr/sbin/nologin', 'nova'),
)


def pip_settings(listing: str) -> dict[str, str]:
    """The global settings out of ``pip config list``'s output.

    >>> pip_settings("global.find-links='/srv/wheels'")
    {'find-links': '/srv/wheels'}
    """
    settings = {}
    for line in listing.splitlines():
        match = re.fullmatch(r"(?:global|install)\.([a-z-]+)=(.+)", line)
        if match:
            settings[match[1]] = str(ast.literal_eval(match[2]))
    return settings


def named_paths(values: Iterable[str]) -> list[str]:
    """Every existing absolute path that settings name, parents first."""
    words = (word.removeprefix('file://')
             for value in values for word in value.split())
    found = {os.path.normpath(word) for word in words
             if word.startswith('/') and os.path.exists(word)}
    # a simple index may link to files beside it: share its parent as well
    found |= {os.path.dirname(path) for path in found
              if os.path.basename(path) == 'simple'}
    return sorted(found - {'/'})


def share(tree: pathlib.Path, path: str) -> None:
    """Mounts a file or folder of this machine at the same place in TREE."""
    place = tree / path.lstrip('/')
    source = os.path.realpath(path)
    if os.path.isdir(source):
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()
        place.touch()
    subprocess.run(['mount', '--rbind', source, str(place)], check=True,
                   timeout=30)


def environment(outside: Mapping[str, str]) -> dict[str, str]:
    passed = {name: value for name, value in outside.items()
              if PASSED_ON.match(name)}
    return {**passed, 'PATH': '/usr/sbin:/usr/bin:/sbin:/bin',
            'HOME': '/root', 'LANG': 'C.UTF-8',
            'PIP_ROOT_USER_ACTION': 'ignore', 'PIP_NO_CACHE_DIR': '1'}


def populate(tree: pathlib.Path, requirements: Sequence[str]) -> None:
    listing = subprocess.run(
        [sys.executable, '-m', 'pip', 'config', 'list'], check=False,
        text=True, stdout=subprocess.PIPE, timeout=60).stdout
    settings = pip_settings(listing)
    env = environment(os.environ)
    paths = named_paths([*settings.values(), *env.values()])
    shared = [p for p in ALWAYS_SHARED if os.path.exists(p)]
    for path in dict.fromkeys([*shared, *paths]):
        if not path.startswith(('/usr', '/bin', '/sbin', '/root')):
            share(tree, path)
    for path in ('/proc', '/dev'):
        share(tree, path)
    config = tree / 'etc' / 'pip.conf'
    config.write_text('[global]\n' + ''.join(
        f'{name} = {value}\n' for name, value in settings.items()))
    # compileall at build time, not at every boot of an emulated CPU
    pip = [f'{VENV}/bin/pip', '--quiet', 'install', '--compile',
           '--disable-pip-version-check', *requirements]
    inside = ['chroot', str(tree)]
    for command in (['/usr/bin/python3', '-m', 'venv', VENV], pip, *USERS):
        subprocess.run([*inside, *command], check=True, env=env,
                       timeout=PIP_DEADLINE_S)
    config.unlink()


def main(arguments: Sequence[str]) -> int:
    subprocess.run(['mount', '--make-rprivate', '/'], check=True, timeout=30)
    populate(pathlib.Path(arguments[0]), arguments[1:])
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
