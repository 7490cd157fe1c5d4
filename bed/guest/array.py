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
"""The simulated storage array: nvmet-tcp targets that come, go and lie.

A replica is a sparse file on tmpfs behind a loop device, shown as namespace
1 of a subsystem of its own. A back end is a set of portals, one nvmet port
each. So a single leg can be cut by taking its subsystem off the ports
(nvmet deletes its controllers: the connection closes), while silence, which
drops packets by address, hits every replica of a back end, as it would in
a machine room.
"""

from collections.abc import Iterable, Sequence
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import struct
import subprocess
import threading

from bed.guest import superblock
from bed.guest.storage import (
    Backend,
    Cut,
    make_backends,
    StorageError,
    target_nqn,
)

CONFIGFS = pathlib.Path('/sys/kernel/config/nvmet')
MODULES = ('nvmet', 'nvmet-tcp', 'nvme-tcp', 'loop', 'raid1', 'nf_tables')
FILES = pathlib.Path('/run/bed-array')
# linux/loop.h
LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LOOP_CLR_FD = 0x4C01
LOOP_SET_CAPACITY = 0x4C07
LOOP_CONFIG_FORMAT = '<II232s64x'  # fd, block_size, loop_info64, reserved
COMMAND_DEADLINE_S = 30
# Documentation/filesystems/ext4/super.rst: enough for libblkid
EXT2_SUPERBLOCK_AT, EXT2_SUPERBLOCK_BYTES = 1024, 1024
EXT2_MAGIC_AT, EXT2_MAGIC = 56, 0xEF53
EXT2_UUID_AT = 104
# Documentation/block/stat.rst: the seventh word, in 512-byte sectors
SECTORS_WRITTEN = 6
SECTOR_BYTES = 512
NFT_RULES = """
table inet bed {
    set cut { type ipv4_addr; }
    chain out {
        type filter hook output priority 0;
        ip daddr @cut drop
        ip saddr @cut drop
    }
}
"""


@dataclasses.dataclass(slots=True, kw_only=True)
class _Replica:
    """What the array keeps of a replica; None is what it has not now."""
    backend: Backend
    file: pathlib.Path
    loop: str
    namespace_uuid: str
    hosts: set[str] = dataclasses.field(default_factory=set)
    closed: set[str] = dataclasses.field(default_factory=set)


class NvmetArray:
    """Storage with real NVMe-oF targets; must run as root in the guest."""

    def __init__(self, backends: int = 4, portals: int = 1) -> None:
        self._backends = make_backends(backends, portals)
        self._replicas: dict[str, _Replica] = {}
        self._lock = threading.RLock()
        self._silent: set[str] = set()
        self._slow: dict[str, float] = {}
        _run('modprobe', '-a', *MODULES)
        FILES.mkdir(parents=True, exist_ok=True)
        _run('nft', '-f', '-', stdin=NFT_RULES)
        for number, address in enumerate(self._addresses(), 1):
            self._make_port(number, address)

    # What the provisioner does ------------------------------

    @property
    def backends(self) -> Sequence[Backend]:
        return self._backends

    def create(self, replica: str, size_bytes: int, backend: str) -> None:
        home = next(b for b in self._backends if b.id == backend)
        file = FILES / replica
        with file.open('xb') as new:
            new.truncate(size_bytes)
        with self._lock:
            self._replicas[replica] = _Replica(
                backend=home, file=file, loop=_loop_attach(file),
                namespace_uuid=replica)
            self._make_subsystem(replica)

    def nqn(self, replica: str) -> str:
        return target_nqn(replica)

    def publish(self, replica: str, host_nqn: str) -> None:
        with self._lock:
            known = self._known(replica)
            host = CONFIGFS / 'hosts' / host_nqn
            host.mkdir(exist_ok=True)
            link = self._subsystem(replica) / 'allowed_hosts' / host_nqn
            if not link.is_symlink():
                link.symlink_to(host)
            known.hosts.add(host_nqn)
            self._apply_links(replica)

    def unpublish(self, replica: str, host_nqn: str) -> None:
        with self._lock:
            known = self._known(replica)
            link = self._subsystem(replica) / 'allowed_hosts' / host_nqn
            link.unlink(missing_ok=True)
            known.hosts.discard(host_nqn)
            # Taking a host off the list leaves its controllers alone; only
            # leaving the port disconnects. Another host reconnects.
            self._set_links(replica, ())
            self._apply_links(replica)

    def resize(self, replica: str, size_bytes: int) -> None:
        with self._lock:
            known = self._known(replica)
            os.truncate(known.file, size_bytes)
            with open(known.loop, 'rb') as loop:
                fcntl.ioctl(loop, LOOP_SET_CAPACITY)
            write(self._namespace(replica) / 'revalidate_size', '1')

    def delete(self, replica: str) -> None:
        with self._lock:
            known = self._known(replica)
            self._set_links(replica, ())
            subsystem = self._subsystem(replica)
            for link in (subsystem / 'allowed_hosts').iterdir():
                link.unlink()
            write(self._namespace(replica) / 'enable', '0')
            self._namespace(replica).rmdir()
            subsystem.rmdir()
            loop_detach(known.loop)
            known.file.unlink()
            del self._replicas[replica]

    # What befalls a leg ------------------------------

    def cut(self, replica: str, how: Cut | str,
            portal: int | None = None) -> None:
        """Takes a leg away, all its portals or the one with that index."""
        with self._lock:
            addresses = self._portals(replica, portal)
            match Cut(how):
                case Cut.CLOSED:
                    self._known(replica).closed |= addresses
                    self._apply_links(replica)
                case Cut.SILENT:
                    self._set_silent(self._silent | addresses)

    def mend(self, replica: str, portal: int | None = None) -> None:
        """Undoes cut(), whichever way it was."""
        with self._lock:
            addresses = self._portals(replica, portal)
            self._set_silent(self._silent - addresses)
            self._known(replica).closed -= addresses
            self._apply_links(replica)

    def cut_all(self, replicas: Iterable[str], how: Cut | str) -> None:
        """Cuts several legs at the same instant, or as near as can be."""
        with self._lock:
            legs = list(replicas)
            if Cut(how) is Cut.SILENT:
                gone = {a for leg in legs for a in self._portals(leg, None)}
                self._set_silent(self._silent | gone)
            else:
                for leg in legs:
                    self.cut(leg, how)

    def destroy(self, replica: str) -> None:
        """The leg and its data are gone for good."""
        self.delete(replica)

    def vanish(self, replica: str) -> None:
        """The namespace goes; its target and the connections live on."""
        write(self._namespace(replica) / 'enable', '0')

    def slow(self, replica: str, delay_s: float) -> None:
        """Delays every packet of the replica's back end; 0 ends it."""
        with self._lock:
            for address in self._portals(replica, None):
                self._slow.pop(address, None)
                if delay_s:
                    self._slow[address] = delay_s
            self._apply_slow()

    def wear_superblock(self, replica: str) -> None:
        """Leaves another array's superblock on the replica."""
        known = self._known(replica)
        _scribble(known.file, superblock.OFFSET_BYTES,
                  superblock.foreign(known.file.stat().st_size))

    def wear_filesystem(self, replica: str) -> None:
        """Leaves somebody's file system on the replica."""
        block = bytearray(EXT2_SUPERBLOCK_BYTES)
        struct.pack_into('<H', block, EXT2_MAGIC_AT, EXT2_MAGIC)
        block[EXT2_UUID_AT:EXT2_UUID_AT + 16] = os.urandom(16)
        _scribble(self._known(replica).file, EXT2_SUPERBLOCK_AT,
                  bytes(block))

    def wear_swap(self, replica: str) -> None:
        """Leaves somebody's swap space on the replica."""
        _run('mkswap', str(self._known(replica).file))

    def masquerade(self, replica: str, namespace_uuid: str) -> None:
        """The replica's target shows a namespace with another identity."""
        with self._lock:
            self._known(replica).namespace_uuid = namespace_uuid
            namespace = self._namespace(replica)
            write(namespace / 'enable', '0')
            write(namespace / 'device_uuid', namespace_uuid)
            write(namespace / 'device_nguid', namespace_uuid)
            write(namespace / 'enable', '1')

    def corrupt(self, replica: str, offset_bytes: int, data: bytes) -> None:
        """Writes behind everybody's back, straight to the medium."""
        _scribble(self._known(replica).file, offset_bytes, data)

    def medium(self, replica: str) -> pathlib.Path:
        """The file that holds the replica's bytes, superblock and all."""
        return self._known(replica).file

    def written_bytes(self, replica: str) -> int:
        """How much was ever written to the medium, by guest or by copy."""
        loop = pathlib.Path(self._known(replica).loop).name
        words = pathlib.Path(f'/sys/block/{loop}/stat').read_text().split()
        return int(words[SECTORS_WRITTEN]) * SECTOR_BYTES

    def home(self, replica: str) -> Backend:
        """The storage server that the replica lies on."""
        return self._known(replica).backend

    def replicas(self) -> list[str]:
        return list(self._replicas)

    def connections(self, replica: str) -> int:
        """TCP connections to the back end of the replica: none, none leaks."""
        addresses = {f'{a}:4420' for a in self._portals(replica, None)}
        listing = _run('ss', '-Htn', 'state', 'established')
        return sum(word in addresses for line in listing.splitlines()
                   for word in line.split()[2:3])

    # configfs ------------------------------

    def _addresses(self) -> list[str]:
        return [portal.address for backend in self._backends
                for portal in backend.portals]

    def _portals(self, replica: str, index: int | None) -> set[str]:
        portals = self._known(replica).backend.portals
        chosen = portals if index is None else portals[index:index + 1]
        return {portal.address for portal in chosen}

    def _known(self, replica: str) -> _Replica:
        try:
            return self._replicas[replica]
        except KeyError:
            raise StorageError(
                f'cannot find replica {replica}: because it was never '
                'created, or is destroyed') from None

    def _subsystem(self, replica: str) -> pathlib.Path:
        return CONFIGFS / 'subsystems' / self.nqn(replica)

    def _namespace(self, replica: str) -> pathlib.Path:
        return self._subsystem(replica) / 'namespaces' / '1'

    def _make_port(self, number: int, address: str) -> None:
        port = CONFIGFS / 'ports' / str(number)
        port.mkdir()
        for name, value in (('addr_trtype', 'tcp'), ('addr_adrfam', 'ipv4'),
                            ('addr_traddr', address),
                            ('addr_trsvcid', '4420')):
            write(port / name, value)

    def _make_subsystem(self, replica: str) -> None:
        subsystem = self._subsystem(replica)
        subsystem.mkdir()
        write(subsystem / 'attr_serial', replica.replace('-', '')[-20:])
        write(subsystem / 'attr_allow_any_host', '0')
        self._make_namespace(replica)

    def _make_namespace(self, replica: str) -> None:
        known, namespace = self._known(replica), self._namespace(replica)
        namespace.mkdir()
        write(namespace / 'device_path', known.loop)
        write(namespace / 'device_uuid', known.namespace_uuid)
        write(namespace / 'device_nguid', known.namespace_uuid)
        write(namespace / 'enable', '1')

    def _apply_links(self, replica: str) -> None:
        known = self._known(replica)
        wanted = self._portals(replica, None) if known.hosts else set()
        self._set_links(replica, wanted - known.closed)

    def _set_links(self, replica: str, addresses: Iterable[str]) -> None:
        wanted = set(addresses)
        all_addresses = self._addresses()
        for address in self._portals(replica, None):
            number = all_addresses.index(address) + 1
            link = (CONFIGFS / 'ports' / str(number) / 'subsystems'
                    / self.nqn(replica))
            if address in wanted and not link.is_symlink():
                link.symlink_to(self._subsystem(replica))
            elif address not in wanted and link.is_symlink():
                link.unlink()

    # the network ------------------------------

    def _set_silent(self, addresses: set[str]) -> None:
        if addresses == self._silent:
            return
        elements = ', '.join(sorted(addresses))
        script = 'flush set inet bed cut\n'
        if elements:
            script += f'add element inet bed cut {{ {elements} }}\n'
        _run('nft', '-f', '-', stdin=script)
        self._silent = set(addresses)

    def _apply_slow(self) -> None:
        with contextlib.suppress(StorageError):
            _run('tc', 'qdisc', 'del', 'dev', 'lo', 'root')
        if not self._slow:
            return
        _run('modprobe', '-a', 'sch_htb', 'sch_netem', 'cls_u32')
        _run('tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'handle', '1:',
             'htb')
        for number, (address, delay_s) in enumerate(self._slow.items(), 1):
            _run('tc', 'class', 'add', 'dev', 'lo', 'parent', '1:',
                 'classid', f'1:{number}', 'htb', 'rate', '10gbit')
            _run('tc', 'qdisc', 'add', 'dev', 'lo', 'parent', f'1:{number}',
                 'netem', 'limit', '100000', 'delay',
                 f'{delay_s * 1000:.0f}ms')
            _run('tc', 'filter', 'add', 'dev', 'lo', 'parent', '1:',
                 'protocol', 'ip', 'u32', 'match', 'ip', 'src',
                 f'{address}/32', 'flowid', f'1:{number}')


def write(path: pathlib.Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        raise StorageError(f'cannot set {path} to {value!r}: because '
                           f'{error.strerror}') from error


def _scribble(file: pathlib.Path, offset_bytes: int, data: bytes) -> None:
    with file.open('r+b', buffering=0) as medium:
        os.pwrite(medium.fileno(), data, offset_bytes)


def _loop_attach(file: pathlib.Path) -> str:
    """losetup -f --show, without a process each: 64 legs take a second."""
    with (open('/dev/loop-control', 'rb') as control,
          file.open('r+b') as backing):
        number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        device = f'/dev/loop{number}'
        with open(device, 'r+b') as loop:
            fcntl.ioctl(loop, LOOP_CONFIGURE, struct.pack(
                LOOP_CONFIG_FORMAT, backing.fileno(), 512, b''))
    return device


def loop_detach(device: str) -> None:
    with open(device, 'rb') as loop:
        fcntl.ioctl(loop, LOOP_CLR_FD)


def _run(*command: str, stdin: str = '') -> str:
    done = subprocess.run(command, input=stdin, text=True, check=False,
                          timeout=COMMAND_DEADLINE_S,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise StorageError(f'cannot run {" ".join(command)}: because it '
                           f'ended with {done.returncode}: '
                           f'{done.stdout.strip()}')
    return done.stdout
