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
"""What mapped volumes bring in: the nbd driver, rbd-nbd, ceph-csi."""

from collections.abc import Iterator, Sequence
import functools
import json
import os
import pathlib
import struct

from os_brick_healer import exception
from os_brick_healer.mapping import adopt
from os_brick_healer.mounter import base, nbd, rbd_nbd
from os_brick_healer.nbd import genl, handshake, kernel, parse
from os_brick_healer.privileged import command, fencing, serverlog, serving
from os_brick_healer.sysfs import nbd as sysfs_nbd
from os_brick_healer.sysfs import reader
from os_brick_healer.tests.fuzz import law

KEY = '0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c11'
SOURCE = {'pool': 'p', 'image': 'i', 'user': 'cinder'}
_GRANTED = (b'2026-11-20T12:40:08.684+0000 7f3a55099fc0  5 monclient: '
            b'authenticate success, global_id ')


class RbdWords(law.Target):
    """A command line of anybody's process: words with NUL between them."""

    name = 'rbd-words'
    huge_bytes = 131072     # as much as is read of /proc/PID/cmdline
    words = (b'\0', b'map\0', b'attach\0', b'--cookie\0', b'--cookie=',
             b'--device\0/dev/nbd0', b'--pool=', b'--namespace\0',
             b'--id\0', b'--name=client.', b'--keyring=/etc/ceph/k',
             b'--conf\0/etc/ceph/c', b'-m\0', b'--snap-id=1', b'p/n/i@s',
             b'@', b'/', b'--unix\0', b'file=', b'--key=', b'--read-only\0',
             KEY.encode())

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._mounters: tuple[base.Mounter, ...] = (
            rbd_nbd.RbdNbdMounter(), nbd.NbdMounter())

    def seeds(self) -> Iterator[bytes]:
        for mounter, source in ((self._mounters[0], SOURCE), (
                self._mounters[1], {'file': '/srv/a.img'})):
            order = base.Order(volume=KEY, source=mounter.normalize(source),
                               socket=f'/run/{KEY}.sock', reattach_s=5)
            yield '\0'.join(mounter.server(order).argv).encode()
        yield (b'rbd-nbd\0attach\0--device\0/dev/nbd3\0--try-netlink\0'
               b'--cookie=0001-csi-vol-1\0p/csi-vol-1\0--id\0csi\0-m\0'
               b'10.0.0.1:6789\0--keyfile=/tmp/k\0')

    def run(self, data: bytes) -> None:
        text = data.decode('utf-8', 'backslashreplace')
        running = parse.running(7, '7 (x) S' + ' 1' * 20, text)
        assert running is not None
        for mounter in self._mounters:
            said = mounter.claim(running.argv)
            if said is None:
                continue
            law.need(law.typed(said, base.Claim) and base.is_key(said.volume),
                     repr(said))
            source = law.attempt(
                functools.partial(mounter.normalize, said.source),
                'cannot serve', exception.MounterRefused)
            if source is not None:
                self._served(mounter, said.volume, source)

    def _served(self, mounter: base.Mounter, volume: str,
                source: base.Source) -> None:
        """Who could take over says the same of itself."""
        order = base.Order(volume=volume, source=source,
                           socket=f'/run/{base.in_path(volume)}.sock',
                           reattach_s=5)
        argv = mounter.server(order).argv
        law.need(all(word.isprintable() and word for word in argv),
                 repr(argv))
        law.need(not any(a.startswith('-') and a == b
                         for a in argv for b in source.values()),
                 f'{source} has an option among its words')
        again = mounter.claim(argv)
        law.need(again is not None and mounter.same_data(
            source, again.source), f'{argv} serves other data than {source}')


class _Tool:
    """``rbd``, which says what it is told to."""

    def __init__(self) -> None:
        self.out = ''
        self.shut_out: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str],
                 _timeout_s: float) -> command.Result:
        if 'rm' in argv:
            self.shut_out.append(tuple(argv))
        return command.Result(code=0, out=self.out, err='')


class RbdLocks(law.Target):
    """``rbd lock ls --format json``, and the log of the servers before it;
    a line ``--`` stands between the two."""

    name = 'rbd-locks'
    words = (*law.JSON, b'"id": "auto 1"', b'"locker": "client.4112"',
             b'"address": "10.0.0.1:0/1"', b'\n--\n', b'global_id 4112\n',
             serverlog.BEGINS.encode() + b'\n', _GRANTED,
             b'os-brick-healer: it is process 5, since 35, in 0\n',
             b'\r', b'\x1c', b'\xff')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._logs = directory / 'log'
        self._logs.mkdir(mode=0o750)
        self._tree = reader.Tree(str(directory))
        self._tool = _Tool()
        self._mounter = rbd_nbd.RbdNbdMounter()
        self._job = serving.job('rbd-nbd', KEY, SOURCE, f'/run/{KEY}.sock',
                                lambda _: self._mounter)
        # It lives: process 6, which began at 42.
        (directory / 'proc/6').mkdir(parents=True)
        (directory / 'proc/6/cmdline').write_bytes(b'rbd-nbd\0')
        (directory / 'proc/6/stat').write_text(
            '6 (x) S' + ' 0' * 18 + ' 42 0\n')

    def seeds(self) -> Iterator[bytes]:
        begins = b'\n' + serverlog.BEGINS.encode() + b'\n'
        log = (begins + b'\nos-brick-healer: it is process 5, since 35\n'
               + _GRANTED + b'4112\n' + begins + _GRANTED + b'4120\n'
               b'\nos-brick-healer: it is process 6, since 42\n')
        for client in (4112, 4120, 4130):
            yield log + b'\n--\n' + json.dumps([{
                'id': 'auto 139888024428560', 'locker': f'client.{client}',
                'address': '10.0.0.1:0/2329868906'}]).encode()

    def run(self, data: bytes) -> None:
        log, _, listed = data.partition(b'\n--\n')
        place = self._logs / f'{KEY}.log'
        place.write_bytes(log)
        os.chmod(place, 0o640)
        said = serverlog.last_words(KEY, str(self._logs))
        law.need(len(said) <= 8 * serverlog.WORDS_BYTES_MAX, 'long words')
        self._tool.out = listed.decode('utf-8', 'backslashreplace')
        self._tool.shut_out.clear()
        told = law.attempt(
            lambda: fencing.fence(self._tree, self._job, 10.0, self._tool,
                                  str(self._logs), lambda _path: None),
            'cannot', exception.CommandError)
        law.need(told is None or told.isprintable(), repr(told))
        known = fencing.clients(
            serverlog.read(KEY, self._mounter.client, str(self._logs)),
            lambda one: (one.pid, one.start) == (6, '42'))
        law.need(not known.dead & known.live, 'a client is dead and lives')
        for argv in self._tool.shut_out:
            client = argv[-1].removeprefix('client.')
            law.need(argv[-1] in known.dead and (
                b'global_id ' + client.encode()) in log, f'{argv} unproven')


class NbdLink(law.Target):
    """Answers of the nbd driver over generic netlink."""

    name = 'nbd-netlink'
    huge_bytes = 65536      # as much as is received at once
    words = (struct.pack('=IHHII', 36, 16, 0, 1, 0),
             struct.pack('=IHHIIi', 20, 2, 0, 1, 0, -2),
             struct.pack('=IHHIIi', 20, 2, 0, 1, 0, 0),
             struct.pack('=HH', 8, 1), struct.pack('=HHI', 8, 2, 7),
             struct.pack('=HH', 0x8008, 7), b'nbd_mc_group\0', b'\4\1\0\0')

    def seeds(self) -> Iterator[bytes]:
        group = genl.nest((1, genl.text(kernel.GROUP)), (2, genl.u32(9)))
        told = genl.request(genl.CONTROL, 1, 1, [
            (1, struct.pack('=H', 31)), (2, genl.text('nbd')),
            (7 | genl.NESTED, genl.nest((1 | genl.NESTED, group)))])
        yield told + struct.pack('=IHHIIi', 20, genl.ERROR, 0, 1, 0, 0)
        yield genl.request(31, kernel.LINK_DEAD, 1, [(1, genl.u32(3))])
        yield struct.pack('=IHHIIi', 20, genl.ERROR, 0, 1, 0, -13)

    def run(self, data: bytes) -> None:
        for one in genl.messages(data):
            law.need(len(one.body) <= len(data), 'more than there is')
            law.need(sum(map(len, one.attributes.values())) <= len(one.body),
                     'attributes beyond their message')
            found = law.attempt(functools.partial(genl.family, one),
                                'netlink')
            law.need(found is None or law.typed(found, genl.Family),
                     repr(found))
        for name in kernel._dead(data):
            law.need(name.startswith('nbd') and name[3:].isdigit(), name)
        try:
            kernel._answer(_Link(data), 1)    # type: ignore[arg-type]
        except OSError:
            return


class _Link:
    """A socket that has this to say, and then nothing for too long."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def settimeout(self, _seconds: float) -> None:
        return None

    def sendall(self, _data: bytes) -> None:
        return None

    def recv(self, size: int) -> bytes:
        if not self._left:
            raise TimeoutError('timed out')
        data, self._left = self._left[:size], self._left[size:]
        return data


class Handshake(law.Target):
    """What an NBD server says before it serves."""

    name = 'nbd-handshake'
    words = (b'NBDMAGIC', b'IHAVEOPT', b'\0\3', b'\0\1',
             struct.pack('>QIII', 0x3e889045565a9, 7, 1, 0),
             struct.pack('>QIII', 0x3e889045565a9, 7, 3, 12),
             struct.pack('>QIII', 0x3e889045565a9, 7, (1 << 31) | 1, 0),
             struct.pack('>QIII', 0x3e889045565a9, 7, (1 << 31) | 6, 4),
             b'\0\0\0\0\0\0\x40\0\0\0\0\3', b'\x1b[2J')

    def seeds(self) -> Iterator[bytes]:
        begin = b'NBDMAGICIHAVEOPT\0\3'
        reply = 0x3e889045565a9
        yield (begin + struct.pack('>QIII', reply, 7, 3, 12)
               + struct.pack('>HQH', 0, 1 << 30, 3)
               + struct.pack('>QIII', reply, 7, 1, 0))
        yield (begin + struct.pack('>QIII', reply, 7, (1 << 31) | 1, 0)
               + struct.pack('>QH', 1 << 30, 1) + bytes(124))
        yield begin + struct.pack('>QIII', reply, 7, (1 << 31) | 6,
                                  4) + b'none'

    def run(self, data: bytes) -> None:
        said: list[str] = []

        def agree() -> handshake.Export:
            try:
                return handshake.negotiate(
                    _Link(data), 'a', 5.0)      # type: ignore[arg-type]
            except exception.HealerError as error:
                said.append(str(error))
                raise

        found = law.attempt(agree, 'NBD server')
        law.need(all(text.isprintable() for text in said), repr(said))
        law.need(found is None or 0 <= found.size_bytes < 1 << 64,
                 repr(found))


class NbdFiles(law.Target):
    """What sysfs shows of a device, and /proc of a process: one text, read
    as each of the files."""

    name = 'nbd-files'
    huge_bytes = 1 << 20
    words = (b') S ', b' 0', b' 18446744073709551615', b'9' * 30, b'\n',
             b'\xd9\xa3', b'nbd0', b'-1', b'(', b'Z')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._place = directory / 'sys/block/nbd0'
        (self._place / 'queue').mkdir(parents=True)
        self._tree = reader.Tree(str(directory))

    def seeds(self) -> Iterator[bytes]:
        yield (b'      90        0     4272       37      744        0     '
               b'5952     2034        2     2140     2075        3        0 '
               b'       0        0       11        3\n')
        yield b'2097152\n'
        yield b'4711 (a ) b) S 1' + b' 1' * 17 + b' 98765 0 0\n'

    def run(self, data: bytes) -> None:
        for name in ('size', 'stat', 'pid', 'backend', 'queue/io_timeout'):
            (self._place / name).write_bytes(data)
        found = law.attempt(lambda: sysfs_nbd.device(self._tree, 'nbd0'),
                            'nbd0')
        law.need(found is None or (
            law.typed(found, parse.Device) and found.size_bytes >= 0),
            repr(found))
        text = law.kernel_text(data)
        running = parse.running(1, text, text)
        law.need(running is None or parse.is_number(running.start),
                 repr(running))
        law.need(not sysfs_nbd.is_name(text) or text.isascii(), text)


class ProcessStatus(law.Target):
    """``/proc/PID/status``: as it is, and with the input as what a process
    calls itself, which the kernel has in 15 bytes."""

    name = 'process-status'
    huge_bytes = 1 << 20
    words = (b'Uid:\t0\t0\t0\t0', b'\n', b'\r', b'\x0b', b'\x0c', b'\x1c',
             b'Name:\t', b'\\n', b'9' * 5000, b'-1')

    def seeds(self) -> Iterator[bytes]:
        yield (b'Name:\trbd-nbd\nUmask:\t0022\nState:\tS (sleeping)\n'
               b'Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n')
        yield b'a) b Uid:\t0'

    def run(self, data: bytes) -> None:
        found = parse.uids(law.kernel_text(data))
        law.need(law.typed(found, frozenset[int]), repr(found))
        name = data.replace(b'\0', b'')[:15].replace(
            b'\\', b'\\\\').replace(b'\n', b'\\n')
        status = (b'Name:\t%s\nState:\tS (sleeping)\n'
                  b'Uid:\t7\t8\t9\t9\nGid:\t0\t0\t0\t0\n' % name)
        law.need(parse.uids(law.kernel_text(status)) == {7, 8, 9},
                 f'{name!r} says who it is')


class Stash(law.Target):
    """ceph-csi's ``image-meta.json``."""

    name = 'ceph-csi-stash'
    words = (*law.JSON, b'"accessType": true', b'"device": "/dev/nbd3"',
             b'"pool": ', b'"image": ', b'"radosNamespace": ',
             b'"\\u001b[2J"', b'"\\ud800"', b'/dev/')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._path = directory / 'image-meta.json'

    def seeds(self) -> Iterator[bytes]:
        yield json.dumps({
            'Version': 3, 'pool': 'replicapool', 'radosNamespace': 'n',
            'image': 'csi-vol-1', 'accessType': True, 'encrypted': False,
            'device': '/dev/nbd3', 'logDir': '/var/log/ceph'}).encode()

    def run(self, data: bytes) -> None:
        self._path.write_bytes(data)
        found = law.attempt(lambda: adopt.read_stash(str(self._path)),
                            str(self._path), adopt.Refused)
        if found is None:
            return
        law.need(law.typed(found, adopt.Stash), repr(found))
        law.need(all(word.isprintable() and len(word) <= 1024 for word in (
            found.device, *found.source.values())), repr(found))
        law.attempt(lambda: rbd_nbd.RbdNbdMounter().normalize(found.source),
                    'cannot serve', exception.MounterRefused)


TARGETS: tuple[type[law.Target], ...] = (
    RbdWords, RbdLocks, NbdLink, Handshake, NbdFiles, ProcessStatus, Stash)
