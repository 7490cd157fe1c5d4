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

"""What the kernel, udev and the tools print."""

from collections.abc import Callable, Iterator, Sequence
import functools
import ipaddress
import re
import socket
import struct

from os_brick_healer import exception
from os_brick_healer.engine import journal, wake
from os_brick_healer.privileged import arrays, check, command, sockets
from os_brick_healer.sysfs import parse
from os_brick_healer.tests.fuzz import law

MDSTAT = b"""Personalities : [raid1]
md127 : active raid1 nvme1n1[2](F) nvme0n1[0](W)(R) sda[3](S)
      1046528 blocks super 1.2 [2/1] [U_]
      [=>...................]  recovery =  9.2% (97/1046528) finish=0.1min
      bitmap: 1/1 pages [4KB], 65536KB chunk

md126 : active (auto-read-only) raid1 nvme3n1[0]
        resync=PENDING
md0 : inactive nvme2n1[1](S)
unused devices: <none>
"""


class Mdstat(law.Target):
    """``/proc/mdstat``."""

    name = 'mdstat'
    words = (b'md1 : active raid1 nvme0n1[0]', b'(F)', b'(S)', b'[2/1] [U_]',
             b'      ', b'inactive', b'(auto-read-only)', b'recovery = ',
             b'resync=DELAYED', b'\n', b'\x0b', b'\x1c', b'\r', b'[')

    def seeds(self) -> Iterator[bytes]:
        yield MDSTAT
        yield b'Personalities : \nunused devices: <none>\n'

    def run(self, data: bytes) -> None:
        text = law.kernel_text(data)
        lines = text.split('\n')
        found = law.attempt(lambda: parse.mdstat(text), '/proc/mdstat',
                            parse.ParseError)
        for array in found or ():
            law.need(any(line.startswith(f'{array.name} : ')
                         for line in lines), f'no line for {array.name!r}')
            law.need(array.map is None or set(array.map) <= {'U', '_'},
                     f'a map {array.map!r}')
            law.need(all(device and '/' not in device and device.isascii()
                         for device, _ in array.members), repr(array))


_ATTRIBUTES: tuple[Callable[[str], object], ...] = (
    lambda text: parse.integer(text, 'x'),
    lambda text: parse.maybe_integer(text, 'x'),
    lambda text: parse.word(text, 'x'),
    lambda text: parse.words(text, 'x'),
    lambda text: parse.raid_disks(text, 'x'),
    lambda text: parse.slot(text, 'x'),
    lambda text: parse.sync_completed(text, 'x'),
    lambda text: parse.uuid(text, 'x'),
    lambda text: parse.nvme_address(text, 'x'),
    lambda text: parse.block_stat(text, 'x'))


class Attributes(law.Target):
    """One attribute of sysfs, read as each of those that we read."""

    name = 'attribute'
    words = (b'none', b'max', b'delayed', b'traddr=', b',trsvcid=4420',
             b',src_addr=', b' / ', b'-', b'(2)', b'journal', b'in_sync,',
             b'faulty', b'18446744073709551615', b'\x1c', b'%')

    def seeds(self) -> Iterator[bytes]:
        yield from (b'2\n', b'none\n', b'raid1\n', b'in_sync,failfast\n',
                    b'3 (2)\n', b'8 / 1024\n',
                    b'6a41b2c7-0d3e-4f5a-9b8c-7d6e5f4a3b2c\n',
                    b'traddr=10.0.0.1,trsvcid=4420,src_addr=10.0.0.9\n',
                    b'traddr=fe80::1%eth0,trsvcid=4420\n',
                    b'  1 0 8 4 2 0 16 5 1 9 9 0 0 0 0 3 4\n')

    def run(self, data: bytes) -> None:
        text = law.kernel_text(data)
        for parser in _ATTRIBUTES:
            found = law.attempt(functools.partial(parser, text), 'x',
                                parse.ParseError)
            law.need(not isinstance(found, int) or found >= 0,
                     f'a number below zero: {found}')


class Udev(law.Target):
    """A device's file in ``/run/udev/data``."""

    name = 'udev'
    words = (b'E:', b'MD_UUID=', b'MD_NAME=', b'\n', b'\x0b', b'\x1d', b'S:')

    def seeds(self) -> Iterator[bytes]:
        yield (b'S:md/vol\nI:123\nE:MD_LEVEL=raid1\nE:MD_NAME=host:vol\n'
               b'E:MD_UUID=6a41b2c7:0d3e4f5a:9b8c7d6e:5f4a3b2c\nG:systemd\n')

    def run(self, data: bytes) -> None:
        text = law.kernel_text(data)
        lines = text.split('\n')
        found = law.attempt(lambda: parse.udev_properties(text),
                            '/run/udev/data', parse.ParseError)
        for name, value in (found or {}).items():
            law.need(f'E:{name}={value}' in lines
                     or (not value and f'E:{name}' in lines),
                     f'{name!r} is no property of its own line')


class Uevent(law.Target):
    """A message of ``NETLINK_KOBJECT_UEVENT``."""

    name = 'uevent'
    words = (b'change@', b'add@/devices/', b'/', b'\0', b'ACTION=change')

    def seeds(self) -> Iterator[bytes]:
        yield (b'change@/devices/virtual/block/md127\0ACTION=change\0'
               b'DEVPATH=/devices/virtual/block/md127\0SEQNUM=1\0')
        yield b'libudev\0\xfe\xed\xca\xfe'

    def run(self, data: bytes) -> None:
        found = wake.parse_uevent(data)
        law.need(found is None or (found != '' and '/' not in found
                                   and '\0' not in found), repr(found))


class _Link:
    """A netlink socket that answers with the given datagrams."""

    def __init__(self, datagrams: Sequence[bytes]) -> None:
        self.datagrams = list(datagrams)

    def send(self, _request: bytes) -> None:
        return None

    def recv(self, size: int) -> bytes:
        if not self.datagrams:
            raise TimeoutError('timed out')
        return self.datagrams.pop(0)[:size]


class SockDiag(law.Target):
    """Answers of the kernel's sock_diag; ``--`` stands between two."""

    name = 'sock-diag'
    words = (b'--', struct.pack('=IHHII', 16, 3, 0, 1, 0),
             struct.pack('=IHHIIi', 20, 2, 0, 1, 0, -2),
             struct.pack('=IHHIIi', 20, 2, 0, 1, 0, 0),
             struct.pack('=IHHII', 88, 20, 2, 1, 0), b'\x0a\x00\x00\x01')

    def seeds(self) -> Iterator[bytes]:
        sock_id = (struct.pack('!HH', 50000, 4420) + bytes(16)
                   + bytes((10, 0, 0, 1)) + bytes(12) + bytes(12))
        one = (struct.pack('=IHHII', 16 + 4 + 48 + 20, 20, 2, 1, 0)
               + bytes((2, 1, 0, 0)) + sock_id + bytes(20))
        done = struct.pack('=IHHIIi', 20, 3, 2, 1, 0, 0)
        yield one + one + b'--' + done
        yield struct.pack('=IHHIIi', 20, 2, 0, 1, 0, -13) + bytes(16)

    def run(self, data: bytes) -> None:
        for address in ('10.0.0.1', 'fd00::1'):
            try:
                found = sockets.connections(
                    _Link(data.split(b'--')), address, 4420)
            except OSError:
                continue
            packed = ipaddress.ip_address(address).packed
            for family, sock_id in found:
                law.need(len(sock_id) == 48 and packed in sock_id
                         and family in (socket.AF_INET, socket.AF_INET6),
                         f'{sock_id!r} is not a connection to {address}')
        try:
            sockets.abort(_Link(data.split(b'--')), 1, socket.AF_INET,
                          bytes(48))
        except OSError:
            return


class Tools(law.Target):
    """What mdadm and wipefs write."""

    name = 'tools'
    words = (b'MD_UUID=', b'MD_EVENTS=', b'MD_NAME=', b'\n', b'\x0b',
             b'{"signatures": [', b'{"type": "ext4"}', b']}', b'\xc2\x85',
             b'[[[[', b'\xe2\x80\xa8')

    def seeds(self) -> Iterator[bytes]:
        yield (b'MD_LEVEL=raid1\nMD_DEVICES=2\nMD_NAME=host:vol\n'
               b'MD_UUID=6a41b2c7:0d3e4f5a:9b8c7d6e:5f4a3b2c\n'
               b'MD_UPDATE_TIME=1700000000\nMD_EVENTS=40\n')
        yield (b'{"signatures": [{"device":"nvme0n1","offset":"0x1000",'
               b'"type":"linux_raid_member","uuid":"x"},'
               b'{"device":"nvme0n1","offset":"0x438","type":"ext4"}]}')

    def run(self, data: bytes) -> None:
        text = data.decode('utf-8', 'backslashreplace')

        def said(_argv: Sequence[str], _timeout_s: float) -> command.Result:
            return command.Result(code=0, out=text, err='')

        found = law.attempt(
            lambda: arrays.superblock(said, 'nvme0n1', 1.0), 'nvme0n1',
            exception.CommandError)
        lines = text.split('\n')
        law.need(all(f'{name}={value}' in lines
                     for name, value in (found or {}).items()),
                 'a value that does not stand on a line of its own')
        law.attempt(
            lambda: arrays.foreign_signatures(said, 'nvme0n1', 1.0),
            'nvme0n1', exception.CommandError)


class ProcessStat(law.Target):
    """``/proc/PID/stat``: the name in it is the process's own choice."""

    name = 'process-stat'
    words = (b') ', b'(', b' ', b'\xff', b'S')

    def seeds(self) -> Iterator[bytes]:
        yield (b'42 (nova-compute) S 1 42 42 0 -1 4194560 100 0 0 0 5 5 0 0 '
               b'20 0 8 0 123456 1000 100 18446744073709551615\n')
        yield b'42 (a) b) (c\n) S' + b' 1' * 20 + b'\n'

    def run(self, data: bytes) -> None:
        (self.directory / '42').mkdir(exist_ok=True)
        (self.directory / '42' / 'stat').write_bytes(data)
        found = journal.process_start(42, str(self.directory))
        law.need(found is None or bool(re.fullmatch('[0-9]+', found)),
                 f'{found!r} is no start time')


_GRAMMAR: tuple[Callable[[object], object], ...] = (
    check.array, check.device, check.controller, check.nqn, check.address,
    check.transport, check.md_uuid, check.namespace_uuid)


class Arguments(law.Target):
    """What crosses to the privileged side."""

    name = 'arguments'
    words = (b'md127', b'nvme0n1', b'nvme0', b'nqn.', b'tcp', b'fe80::1%',
             b',', b'..', b'/', b'\xd9\xa3', b'urn:uuid:', b'-', b' ')

    def seeds(self) -> Iterator[bytes]:
        yield from (b'md127', b'md_vol-1', b'nvme0n1', b'nvme12',
                    b'nqn.2014-08.org.nvmexpress:uuid:1', b'10.0.0.1',
                    b'fe80::1%eth0', b'tcp',
                    b'6a41b2c7-0d3e-4f5a-9b8c-7d6e5f4a3b2c')

    def run(self, data: bytes) -> None:
        text = data.decode('utf-8', 'backslashreplace')
        for grammar in _GRAMMAR:
            found = law.attempt(functools.partial(grammar, text),
                                'cannot accept', exception.NotOurs)
            if found is None:
                continue
            law.need(isinstance(found, str) and found.isascii()
                     and found.isprintable() and ' ' not in found,
                     f'{grammar.__name__} lets {found!r} through')
            odd = ',' if grammar is check.nqn else '/,=\'"\\'
            law.need(not set(str(found)) & set(odd),
                     f'{grammar.__name__} lets {found!r} through')


TARGETS: tuple[type[law.Target], ...] = (
    Mdstat, Attributes, Udev, Uevent, SockDiag, Tools, ProcessStat,
    Arguments)
