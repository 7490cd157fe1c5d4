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
"""The project's code as a drive: a tar that the guest unpacks at boot.

The project goes in as pip would install it: a wheel is built from a copy of
the tree and laid out into the guest's virtual environment, console scripts
and entry points included. The bed's own package, which no wheel carries, is
put beside it.
"""

from collections.abc import Iterator
import compileall
import configparser
import hashlib
import os
import pathlib
import py_compile
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

from bed import image

VENV = pathlib.PurePosixPath('venv')
SITE = VENV / 'lib' / 'python3.11' / 'site-packages'
# What git would list is what goes into a wheel; these are never part of it
# in a tree without git (an unpacked release).
NOT_SOURCE = {'build', 'dist', '.git', '.tox', '.venv', '__pycache__',
              '.stestr', '.mypy_cache', '.ruff_cache', '.hypothesis'}
# A guest with one purpose needs no log-ins, timers or hardware: on an
# emulated CPU each of them costs a second of every systemd boot.
MASKED = (
    'apt-daily-upgrade.timer', 'apt-daily.timer', 'dev-hugepages.mount',
    'dev-mqueue.mount', 'dpkg-db-backup.timer', 'e2scrub_all.timer',
    'e2scrub_reap.service', 'fstrim.timer', 'getty.target',
    'mdcheck_continue.timer', 'mdcheck_start.timer',
    'modprobe@dm_mod.service', 'modprobe@drm.service',
    'modprobe@efi_pstore.service', 'modprobe@fuse.service',
    'modprobe@loop.service', 'nvmf-autoconnect.service',
    'proc-sys-fs-binfmt_misc.automount', 'serial-getty@ttyS0.service',
    'sys-kernel-debug.mount', 'sys-kernel-tracing.mount',
    'systemd-binfmt.service', 'systemd-logind.service',
    'systemd-machine-id-commit.service', 'systemd-pcrphase.service',
    'systemd-random-seed.service', 'systemd-sysusers.service',
    'systemd-timesyncd.service', 'systemd-udev-trigger.service',
    'systemd-update-utmp-runlevel.service', 'systemd-update-utmp.service',
    'systemd-user-sessions.service', 'uuidd.socket')
WHEEL_PARTS = ('pyproject.toml', 'setup.cfg',
               'os_brick/initiator/connectors/nvmeof_agent.py')
CONSOLE_SCRIPT = """#!/venv/bin/python3
import sys
from {module} import {attribute}
sys.exit({attribute}())
"""
MODES = {'etc/sudoers.d': 0o440}
WHEEL_DEADLINE_S = 600
PAYLOAD_KEPT_S = 1800.0


# Changing a page of documentation must not build a wheel.
BESIDE_THE_CODE = {'.ci', 'doc', 'examples', 'releasenotes', 'tools'}


def ensure(project_dir: pathlib.Path, out_dir: pathlib.Path) -> pathlib.Path:
    """The payload of the tree as it is now, under ``out_dir``.

    It is named by the hash of every source file, so a second run of an
    unchanged tree does not build it again.
    """
    files = sorted(sources(project_dir))
    digest = hashlib.sha256(sys.version.encode())
    for relative in files:
        digest.update(f'{relative}\0'.encode())
        digest.update((project_dir / relative).read_bytes())
    payload = out_dir / f'payload-{digest.hexdigest()[:16]}.tar'
    if not payload.exists():
        out_dir.mkdir(parents=True, exist_ok=True)
        for old in out_dir.glob('payload-*.tar'):
            # a younger one may be about to be booted by somebody else
            if time.time() - old.stat().st_mtime > PAYLOAD_KEPT_S:
                old.unlink(missing_ok=True)
        _build(project_dir, files, payload)
    return payload


def sources(project_dir: pathlib.Path) -> Iterator[str]:
    """Every source file's path, relative to the tree."""
    listed = subprocess.run(
        ['git', 'ls-files', '-z', '--cached', '--others',
         '--exclude-standard'], cwd=project_dir, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    if listed.returncode == 0:
        names = (os.fsdecode(n) for n in listed.stdout.split(b'\0') if n)
    else:
        names = (str(path.relative_to(project_dir))
                 for path in project_dir.rglob('*'))
    for name in names:
        parts = pathlib.PurePath(name).parts
        if (parts[0] not in BESIDE_THE_CODE
                and not NOT_SOURCE.intersection(parts)
                and not name.endswith('.pyc')
                and (project_dir / name).is_file()):
            yield name


def _build(project_dir: pathlib.Path, files: list[str],
           payload: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory(prefix='obh-payload-') as scratch:
        work = pathlib.Path(scratch)
        copy, top = work / 'project', work / 'root'
        for relative in files:
            place = copy / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project_dir / relative, place)
        site = top / SITE
        site.mkdir(parents=True)
        if all((copy / part).exists() for part in WHEEL_PARTS):
            _lay_out_wheel(_wheel(copy, work / 'wheel'), top)
        else:
            image.say('the tree is too young for a wheel: copying packages')
            _copy_packages(copy, site)
        shutil.copytree(copy / 'bed', site / 'bed')
        shutil.copytree(site / 'bed' / 'guest' / 'rootfs', top,
                        dirs_exist_ok=True)
        _place_service_files(top)
        for unit in MASKED:
            (top / 'etc/systemd/system' / unit).symlink_to('/dev/null')
        # The guest's Python is a 3.11 as well; its CPU is emulated.
        if sys.version_info[:2] == (3, 11):
            compileall.compile_dir(
                site, quiet=2, stripdir=str(top), prependdir='/',
                invalidation_mode=(
                    py_compile.PycInvalidationMode.UNCHECKED_HASH))
        partial = payload.with_suffix(f'.partial-{os.getpid()}')
        with tarfile.open(partial, 'w') as archive:
            archive.add(top, arcname='.', filter=_as_root)
        os.replace(partial, payload)


def _wheel(tree: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    # pbr takes the list of data files from git and the version from its
    # tags; the copy is a new repository without any.
    env = {**os.environ, 'PBR_VERSION': '0.0.0.dev1'}
    if shutil.which('git'):
        image.run(['git', 'init', '--quiet'], cwd=tree)
        image.run(['git', 'add', '--all'], cwd=tree)
    image.say('building the wheel')
    image.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps',
               '--disable-pip-version-check', '--wheel-dir', str(out),
               str(tree)], env=env, deadline_s=WHEEL_DEADLINE_S)
    return next(out.glob('*.whl'))


def _copy_packages(tree: pathlib.Path, site: pathlib.Path) -> None:
    for name in ('os_brick_healer', 'os_brick'):
        if (tree / name).is_dir():
            shutil.copytree(tree / name, site / name)


def _lay_out_wheel(wheel: pathlib.Path, top: pathlib.Path) -> None:
    """What pip does with a wheel, for the one virtual environment we know."""
    site = top / SITE
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for data in list(site.glob('*.data')):
        for kind in sorted(data.iterdir()):
            place = {'purelib': site, 'platlib': site, 'data': top / VENV,
                     'scripts': top / VENV / 'bin'}[kind.name]
            shutil.copytree(kind, place, dirs_exist_ok=True)
        shutil.rmtree(data)
    for listing in site.glob('*.dist-info/entry_points.txt'):
        _write_scripts(listing, top / VENV / 'bin')


def _write_scripts(listing: pathlib.Path, bin_dir: pathlib.Path) -> None:
    points = configparser.ConfigParser(delimiters=('=',),
                                       interpolation=None)
    points.optionxform = str  # type: ignore[method-assign,assignment]
    points.read(listing)
    if not points.has_section('console_scripts'):
        return
    bin_dir.mkdir(parents=True, exist_ok=True)
    for name, target in points.items('console_scripts'):
        module, _, attribute = target.partition(':')
        script = bin_dir / name
        script.write_text(CONSOLE_SCRIPT.format(
            module=module.strip(), attribute=attribute.strip()))
        script.chmod(0o755)
        # a distribution's package would put it where units look for it
        link = bin_dir.parent.parent / 'usr' / 'bin' / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f'/{VENV}/bin/{name}')


def _place_service_files(top: pathlib.Path) -> None:
    """Copies what a distribution's package would place outside the venv."""
    venv = top / VENV
    for pattern, place in (('*.service', 'etc/systemd/system'),
                           ('*.filters', 'etc/nova/rootwrap.d'),
                           ('tmpfiles.d/*.conf', 'etc/tmpfiles.d')):
        for file in venv.rglob(pattern):
            (top / place).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, top / place / file.name)


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if '__pycache__' in member.name and not member.name.startswith(
            f'./{SITE}'):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = 'root'
    executable = member.isdir() or member.mode & 0o100
    member.mode = 0o755 if executable else 0o644
    for prefix, mode in MODES.items():
        if member.isfile() and member.name.startswith(f'./{prefix}/'):
            member.mode = mode
    return member
