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
"""What mapped volumes need: a driver, programs, a place for logs."""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import os
import re
import stat

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.cli import check_host, finding, offline
from os_brick_healer.cli.finding import Finding, Host
from os_brick_healer.conf import opts
from os_brick_healer.engine import journal
from os_brick_healer.mounter import base, loader
from os_brick_healer.sysfs import nbd

#: In the journal, the wing's rows (mapping.model.KIND).
KIND = 'mapping'
LOGS = '/var/log/os-brick-healer'
#: The first kernel that shows a device's cookie.
KERNEL = (5, 14)
RBD = 'rbd-nbd'
#: Without these words of its help an rbd-nbd cannot be healed (Ceph 16.2).
RBD_OPTIONS = ('--cookie', '--reattach-timeout', '--try-netlink')
CEPH_CONF = '/etc/ceph/ceph.conf'
#: drivers/block/nbd.c: partitions take the low bits of a minor number.
_MINOR_BITS, _MAX_PART_MAX, _NBDS_MAX = 20, 255, 16
_PARAMETERS = '/sys/module/nbd/parameters'
_MODPROBE = ('/etc/modprobe.d', '/run/modprobe.d', '/lib/modprobe.d')
_FULL = 0.9
Load = Callable[[str], base.Mounter]
FREE_BYTES_MIN = 16777216


def mapped(host: Host, conf: cfg.ConfigOpts,
           load: Load = loader.load) -> Iterator[Finding]:
    """All of it, where a volume is mapped or is to be."""
    rows = _rows(host, conf)
    wanted = sorted(_wanted(conf, rows))
    if not wanted:
        return
    if not all(_mounts(name, load) for name in wanted):
        yield from _kernel(host)
    for name in wanted:
        yield from _mounter(host, name, load)
    yield from _logs(host)
    yield from _lacking(rows)


def _lacking(rows: Iterable[journal.AttachRow]) -> Iterator[Finding]:
    """What volumes lacked when they were mapped."""
    lacking = [row for row in rows if row.connection.get('lacks')]
    for row in lacking[:1]:
        more = f' (and {len(lacking) - 1} more)' if lacking[1:] else ''
        yield finding.warn(
            'mapped volumes', f'{row.volume}{more}: '
            f'{row.connection["lacks"]}',
            'rbd feature enable IMAGE exclusive-lock, and attach it anew')


def _wanted(conf: cfg.ConfigOpts,
            rows: Iterable[journal.AttachRow]) -> set[str]:
    """Mounters that are configured, or in the journal."""
    found = {RBD} if conf[opts.GROUP].rbd_mounter == RBD else set()
    return found | {str(row.connection.get('mounter')) for row in rows}


def _rows(host: Host, conf: cfg.ConfigOpts) -> list[journal.AttachRow]:
    """Mapped volumes by the journal; none if it cannot be read."""
    path = host.tree.path(os.path.join(conf[opts.GROUP].state_path,
                                       offline.JOURNAL))
    with contextlib.suppress(exception.JournalError):   # said elsewhere
        book = journal.Journal(path, boot_id='', read_only=True)
        try:
            return [row for row in book.attachments(whole=False)
                    if row.kind == KIND]
        finally:
            book.close()
    return []


def _mounts(name: str, load: Load) -> bool:
    """Whether what it serves is no block device."""
    try:
        return load(name).style is base.Style.MOUNT
    except exception.HealerError:   # said elsewhere
        return False


def _kernel(host: Host) -> Iterator[Finding]:
    numbers = re.match(r'(\d+)\.(\d+)', host.release)
    if numbers and (int(numbers[1]), int(numbers[2])) < KERNEL:
        yield finding.fail(
            'kernel nbd', f'kernel {host.release} does not show the cookies '
            'of devices: none of them can be told from another',
            f'Linux {KERNEL[0]}.{KERNEL[1]} or later')
    yield check_host.module(host, 'nbd', 'mapped volumes', needed=True)
    yield _devices(host)


def _devices(host: Host) -> Finding:
    """Whether the driver can be loaded so, and has devices left."""
    subject = 'kernel nbd devices'
    parts = _parameter(host, 'max_part', 16)
    first = _parameter(host, 'nbds_max', _NBDS_MAX)
    room = 1 << (_MINOR_BITS - min(parts, _MAX_PART_MAX).bit_length())
    if parts > _MAX_PART_MAX or first > room:
        return finding.fail(
            subject, f'max_part={parts} and nbds_max={first} do not go '
            'together: the kernel refuses to load the driver',
            f'max_part at most {_MAX_PART_MAX}, nbds_max at most {room}, in '
            '/etc/modprobe.d')
    used = sum(1 for name in nbd.names(host.tree)
               if host.tree.exists(f'{nbd.BLOCK}/{name}/pid'))
    sentence = (f'{used} connected, {room} possible (max_part={parts}, '
                f'nbds_max={first})')
    if used > _FULL * room:
        return finding.warn(subject, sentence,
                            'load the driver with a smaller max_part')
    return finding.ok(subject, sentence)


def _parameter(host: Host, name: str, default: int) -> int:
    """As the driver has it; not loaded: as it would get it."""
    text = host.tree.read(f'{_PARAMETERS}/{name}')
    if text is None:
        for place in _MODPROBE:
            for file in host.tree.listdir(place):
                said = host.tree.read(f'{place}/{file}') or ''
                for one in re.findall(
                        rf'^\s*options\s+nbd\s.*?\b{name}=(\d+)', said,
                        re.MULTILINE):
                    text = one
    return int(text) if text and text.isdigit() else default


def _mounter(host: Host, name: str, load: Load) -> Iterator[Finding]:
    subject = f'mounter {name}'
    try:
        mounter = load(name)
    except exception.HealerError as e:
        yield finding.fail(subject, e.sentence, e.hint or 'install it')
        return
    where = host.which(mounter.program)
    if where is None:
        yield finding.fail(
            subject, f'{mounter.program} is not installed: what it served '
            'is not served again', f'install it into {finding.SEARCH_PATH}')
    elif name == RBD:
        yield from _rbd(host, subject, where)
    else:
        yield finding.ok(subject, where)


def _rbd(host: Host, subject: str, where: str) -> Iterator[Finding]:
    said = host.run((where, '--help'))
    if said is None:
        yield finding.warn(subject, f'{where} --help says nothing: it cannot '
                           'be told how old it is', 'is it whole?')
    elif lacks := [word for word in RBD_OPTIONS if word not in said]:
        yield finding.fail(
            subject, f'{where} is too old: it knows no {", ".join(lacks)}',
            'install the one of Ceph 16.2 or later')
    else:
        yield finding.ok(subject, where)
    if not host.tree.exists(CEPH_CONF):
        yield finding.warn(
            subject, f'{CEPH_CONF} is not there: images whose connection '
            'names no other one cannot be served', "install the cluster's, "
            "root's and writable by nobody else")


def _logs(host: Host) -> Iterator[Finding]:
    """Where each server says what is wrong."""
    subject = 'mapping logs'
    try:
        found = os.stat(host.tree.path(LOGS))
    except FileNotFoundError:
        yield finding.ok(subject, f'{LOGS} is made with the first server')
        return
    except OSError as e:
        yield finding.warn(subject, f'{LOGS} cannot be looked at: '
                           f'{e.strerror}', 'run this as root')
        return
    if not stat.S_ISDIR(found.st_mode):
        yield finding.fail(subject, f'{LOGS} is no directory: no server can '
                           'be started', 'remove it')
    elif found.st_mode & stat.S_IWOTH:
        yield finding.fail(subject, f'{LOGS} can be written by anybody',
                           f'chmod o-w {LOGS}')
    elif found.st_mode & stat.S_IWGRP or (
            found.st_uid != os.stat(host.tree.path('/')).st_uid):
        yield finding.fail(
            subject, f'{LOGS} can be written by others than root: what '
            'stands in it is not believed, and no dead client of Ceph is '
            'shut out', f'chown root {LOGS}; chmod go-w {LOGS}')
    else:
        yield _room(host)


def _room(host: Host) -> Finding:
    subject, path = 'mapping logs', host.tree.path(LOGS)
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_flag & os.ST_RDONLY:
        return finding.fail(
            'mapping logs', f'{LOGS} is on a read-only file system: no '
            'server can be started', 'mount it for writing')
    if free < FREE_BYTES_MIN:
        return finding.warn(
            subject, f'the file system of {LOGS} has {free >> 10} KiB left: '
            'what a server says may be lost',
            'make room, or lower mapping_log_size')
    return finding.ok(subject, f'{LOGS}, {free >> 20} MiB left')

