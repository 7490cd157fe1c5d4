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
"""Builds the guest's root image, its kernel and its initramfs.

Everything that a code change does not touch lives here: Debian, a virtual
environment with os-brick and our runtime requirements, and the users. The
project's own code arrives on a second drive (see payload.py), so the image
is rebuilt only when its inputs change: they are hashed, and the hash names
a directory in the cache.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import gzip
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from bed import chroot, initramfs

SUITE = 'bookworm'
KERNEL_PACKAGE = 'linux-image-cloud-amd64'
GUEST_PACKAGES = (
    'ca-certificates', 'dbus', 'e2fsprogs', 'iproute2', 'kmod', 'mdadm',
    'mount', 'nbdkit', 'nftables', 'nvme-cli', 'openssl', 'procps',
    'python3', 'python3-venv', 'sudo', 'systemd-sysv', 'udev', 'util-linux',
    'uuid-runtime',
    KERNEL_PACKAGE)
# What the scenarios need beside the project's own requirements. The exact
# os-brick is the one that the documentation's figures were measured with.
GUEST_REQUIREMENTS = ('os-brick==7.1.1', 'oslo.rootwrap', 'fixtures')
FALLBACK_REQUIREMENTS = (
    'oslo.concurrency', 'oslo.config', 'oslo.log', 'oslo.privsep',
    'prometheus_client', 'requests', 'stevedore')
HOST_PACKAGES = {
    'qemu-system-x86_64': 'qemu-system-x86',
    'mmdebstrap': 'mmdebstrap',
    'busybox': 'busybox-static',
    'cpio': 'cpio',
    'mke2fs': 'e2fsprogs',
    'unshare': 'util-linux',
}
IMAGE_SIZE = '3G'
FORMAT = 1

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
INSTALL_DEADLINE_S = 900
BOOTSTRAP_DEADLINE_S = 1800


class ImageError(Exception):
    """The guest image cannot be had; the text says why and what helps."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A finished image; the files never change once they are in the cache."""
    root: pathlib.Path
    kernel: pathlib.Path
    initrd: pathlib.Path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that decides what is in an image."""
    suite: str = SUITE
    packages: tuple[str, ...] = GUEST_PACKAGES
    requirements: tuple[str, ...] = ()
    image_size: str = IMAGE_SIZE

    @property
    def base_hash(self) -> str:
        return _hash({'suite': self.suite, 'packages': self.packages,
                      'format': FORMAT})

    @property
    def hash(self) -> str:
        return _hash({'base': self.base_hash, 'size': self.image_size,
                      'requirements': self.requirements,
                      'initramfs': initramfs.INIT,
                      'chroot': pathlib.Path(chroot.__file__).read_text()})


def _hash(inputs: dict[str, object]) -> str:
    text = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def recipe(project_dir: pathlib.Path = PROJECT_DIR,
           extra_packages: Sequence[str] = ()) -> Recipe:
    """The recipe for a project tree.

    ``extra_packages`` (or OBH_BED_PACKAGES in the environment, separated by
    commas) is the hook for wings that need more than NVMe: nbd, Ceph.
    """
    named = os.environ.get('OBH_BED_PACKAGES', '')
    more = (*extra_packages, *(p for p in named.split(',') if p))
    return Recipe(
        packages=tuple(sorted({*GUEST_PACKAGES, *more})),
        requirements=(*GUEST_REQUIREMENTS,
                      *_project_requirements(project_dir)))


def _project_requirements(project_dir: pathlib.Path) -> tuple[str, ...]:
    file = project_dir / 'requirements.txt'
    if not file.exists():
        return FALLBACK_REQUIREMENTS
    lines = (re.sub(r'\s*#.*', '', line).strip()
             for line in file.read_text().splitlines())
    wanted = sorted(line for line in lines if line)
    # os-brick is pinned above; a second specifier would only confuse pip
    return tuple(line for line in wanted
                 if not re.match(r'os[-_.]brick\b', line, re.IGNORECASE))


def cache_dir() -> pathlib.Path:
    chosen = os.environ.get('OBH_BED_CACHE')
    if chosen:
        return pathlib.Path(chosen) / 'os-brick-healer-bed'
    home = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    return pathlib.Path(home) / 'os-brick-healer-bed'


def ensure_host_packages() -> None:
    """Installs what the host lacks; does nothing when all is there."""
    missing = sorted({package for tool, package in HOST_PACKAGES.items()
                      if shutil.which(tool) is None})
    if missing:
        _install(missing)


def _install(packages: Sequence[str]) -> None:
    if os.geteuid() != 0 or shutil.which('apt-get') is None:
        raise ImageError(
            f'cannot install {", ".join(packages)}: because that needs root '
            'and apt-get; install them by hand')
    env = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
    install = ['apt-get', 'install', '-y', '-q', '--no-install-recommends',
               *packages]
    say(f'installing {", ".join(packages)}')
    if _quiet(install, env=env, deadline_s=INSTALL_DEADLINE_S) == 0:
        return
    # a fresh container has no package lists yet
    _quiet(['apt-get', 'update', '-q'], env=env,
           deadline_s=INSTALL_DEADLINE_S)
    run(install, env=env, deadline_s=INSTALL_DEADLINE_S)


def ensure(wanted: Recipe | None = None, *, fresh: bool = False) -> Image:
    """The image of a recipe, built unless the cache has it."""
    chosen = recipe() if wanted is None else wanted
    home = cache_dir() / chosen.hash
    if fresh:
        shutil.rmtree(home, ignore_errors=True)
    if not home.is_dir():
        ensure_host_packages()
        _build(chosen, home)
    return Image(root=home / 'root.img', kernel=home / 'vmlinuz',
                 initrd=home / 'initrd.gz')


def _build(chosen: Recipe, home: pathlib.Path) -> None:
    if os.geteuid() != 0:
        raise ImageError('cannot build the guest image: because chroot '
                         'needs root, run this as root once')
    base = _ensure_base(chosen)
    with _workspace(home.parent) as work:
        tree = work / 'tree'
        tree.mkdir()
        say(f'building the guest image {home.name}')
        run(['tar', '-C', str(tree), '-xf', str(base)])
        run(['unshare', '--mount', sys.executable, '-m', 'bed.chroot',
             str(tree), *chosen.requirements],
            deadline_s=BOOTSTRAP_DEADLINE_S, cwd=PROJECT_DIR)
        done = work / 'done'
        done.mkdir()
        kernel = next((tree / 'boot').glob('vmlinuz-*'))
        shutil.copy(kernel, done / 'vmlinuz')
        version = kernel.name.removeprefix('vmlinuz-')
        archive = initramfs.archive(tree, version)
        (done / 'initrd.gz').write_bytes(gzip.compress(archive, 1))
        _slim(tree)
        run(['mke2fs', '-q', '-t', 'ext4', '-d', str(tree),
             str(done / 'root.img'), chosen.image_size])
        (done / 'recipe.json').write_text(
            json.dumps(dataclasses.asdict(chosen), indent=2))
        _publish(done, home)


def _ensure_base(chosen: Recipe) -> pathlib.Path:
    """Debian alone, without our venv: the slow half, kept on its own."""
    base = cache_dir() / f'base-{chosen.base_hash}.tar'
    if base.exists():
        return base
    with _workspace(base.parent) as work:
        say(f'bootstrapping Debian {chosen.suite} (about a minute)')
        run(['mmdebstrap', '--variant=apt',
             f'--include={",".join(chosen.packages)}',
             chosen.suite, str(work / 'base.tar')],
            deadline_s=BOOTSTRAP_DEADLINE_S)
        os.replace(work / 'base.tar', base)
    return base


def _slim(tree: pathlib.Path) -> None:
    """Takes out what a guest never reads, to keep mke2fs and hashing fast."""
    for relative in ('boot', 'var/cache/apt', 'usr/share/doc',
                     'usr/share/locale', 'usr/share/man'):
        shutil.rmtree(tree / relative, ignore_errors=True)
        (tree / relative).mkdir(parents=True, exist_ok=True)


def _publish(done: pathlib.Path, home: pathlib.Path) -> None:
    try:
        done.rename(home)
    except OSError:
        # somebody built the same image at the same time; theirs is as good
        if not home.is_dir():
            raise


class _workspace:
    """A scratch directory beside the cache, so that a rename is atomic."""

    def __init__(self, parent: pathlib.Path) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        self._path = pathlib.Path(tempfile.mkdtemp(prefix='.work-',
                                                   dir=parent))

    def __enter__(self) -> pathlib.Path:
        return self._path

    def __exit__(self, *_exc: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


def stale_images(keep: Sequence[Recipe]) -> Iterator[pathlib.Path]:
    """What is in the cache that no current recipe uses."""
    names = {name for one in keep
             for name in (one.hash, f'base-{one.base_hash}.tar')}
    if cache_dir().is_dir():
        for path in sorted(cache_dir().iterdir()):
            if path.name not in names and not path.name.startswith('accel'):
                yield path


def say(text: str) -> None:
    print(f'bed: {text}', file=sys.stderr, flush=True)


def _quiet(command: Sequence[str], *, env: dict[str, str],
           deadline_s: float) -> int:
    return subprocess.run(command, env=env, timeout=deadline_s, check=False,
                          stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode


def run(command: Sequence[str], *, env: dict[str, str] | None = None,
        cwd: pathlib.Path | None = None, deadline_s: float = 600) -> None:
    """Runs a host command; on failure the end of its output is the reason."""
    done = subprocess.run(command, env=env, cwd=cwd, timeout=deadline_s,
                          check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors='replace')
    if done.returncode != 0:
        tail = '\n'.join(done.stdout.splitlines()[-25:])
        raise ImageError(f'cannot run {command[0]}: because it ended with '
                         f'{done.returncode}:\n{tail}')
