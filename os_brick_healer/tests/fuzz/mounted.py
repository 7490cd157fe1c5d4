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
"""What mounted volumes bring in: the table of mounts, ceph-fuse."""

from collections.abc import Iterator
import pathlib
import re

from os_brick_healer.fuse import dead, parse
from os_brick_healer.mounter import base, ceph_fuse
from os_brick_healer.sysfs import mounts, reader
from os_brick_healer.tests.fuzz import law, mapped

PLACE, KIND = '/mnt/c', 'fuse.ceph-fuse'
#: What the kernel escapes in the name of a place (seq_path).
_SPECIAL, _PATH_MAX = re.compile(rb'[ \t\n\\]'), 4096


class CephFuseWords(mapped.RbdWords):
    """The command line of what may be a ceph-fuse."""

    name = 'ceph-fuse-words'
    words = (b'\0', b'--admin-socket\0', b'--admin-socket=', b'-o\0',
             f'{base.ROOT_SOCKETS}/{mapped.KEY}.asok'.encode(), b'-f\0',
             b'--client_fs\0', b'--client-mountpoint=', b'-r\0/', b'--id=',
             b'--name\0client.', b'--cluster=', b'--conf\0/etc/ceph/c',
             b'-m\0[::1]:1', b'--keyring=/etc/ceph/k', b'--keyfile=', b',',
             b'ro,noexec', b'allow_other', b'--setuser\0', b'/mnt/c', b'=')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._mounters = (ceph_fuse.CephFuseMounter(),)

    def seeds(self) -> Iterator[bytes]:
        (mounter,) = self._mounters
        for source in (
                {'root': '/'},
                {'root': '/volumes/a', 'fs': 'cephfs', 'user': 'guest',
                 'conf': '/etc/ceph/c.conf', 'keyring': '/etc/ceph/k',
                 'monitors': '10.0.0.1:6789', 'options': 'ro,noatime'}):
            order = base.Order(
                volume=mapped.KEY, source=mounter.normalize(source),
                device=PLACE, socket='/run/unused.sock', reattach_s=5)
            yield '\0'.join(mounter.server(order).argv).encode()
        yield (b'ceph-fuse\0-n\0client.a\0--cluster=b\0-m\0[::1]:1,h\0'
               b'/mnt/c\0-o\0rw,noexec\0--client_mds_namespace=x\0')


class Mountinfo(law.Target):
    """The table of mounts: who may mount chooses names in it. As it is, and
    with the input as the names of places."""

    name = 'mountinfo'
    huge_bytes = 1 << 18
    words = (b' - ', b'\\040', b'\\134', b'\\777', b'\n', b'\r', b'\x0c',
             b'\x1c', b'\xc2\x85', b'\xe2\x80\xa8', b'\xff', b'\xc2\xb2',
             b'81 71 0:44 / ', b'9' * 5000, b' rw,nosuid', b' shared:1',
             f' {PLACE} '.encode(), f' {PLACE}/x '.encode(), KIND.encode())

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._path = directory / mounts.TABLE.lstrip('/')
        self._path.parent.mkdir(parents=True)
        self._tree = reader.Tree(str(directory))

    def seeds(self) -> Iterator[bytes]:
        yield (b'71 70 254:1 / / rw shared:1 - ext4 /dev/vda rw\n'
               b'81 71 0:44 / /mnt/c rw,nosuid,nodev,relatime shared:14 - '
               b'fuse.ceph-fuse ceph-fuse rw,user_id=0,allow_other\n'
               b'82 81 0:45 /a\\040b /mnt/c/x ro - tmpfs tmpfs rw\n')
        yield b'a b\0a\\040b\0mnt/c\0mnt/c/x'

    def run(self, data: bytes) -> None:
        self._path.write_bytes(data)
        for found in (mounts.table(self._tree), dead.table(str(self._path))):
            law.need(law.typed(found, tuple[parse.Mount, ...]), repr(found))
            here = parse.at(found, PLACE)
            why = parse.forbids(found, PLACE, KIND, frozenset())
            law.need(why is not None or (
                len(here) == 1 and here[0].kind == KIND
                and not here[0].options & parse.FORBIDDING), repr(found))
        self._named([b'/' + name
                     for name in data[:_PATH_MAX].split(b'\0')])

    def _named(self, places: list[bytes]) -> None:
        """Whatever a place is called: it is read as one mount there."""
        self._path.write_bytes(b''.join(
            b'%d 71 0:44 / %s rw,nosuid - %s x rw\n' % (
                number, _SPECIAL.sub(_escaped, place), KIND.encode())
            for number, place in enumerate(places)))
        law.need([one.place for one in dead.table(str(self._path))] == [
            place.decode('utf-8', 'surrogateescape') for place in places],
            f'{places} are read as others')
        read = [one.place for one in mounts.table(self._tree)]
        law.need(len(read) == len(places) and all(
            one.encode() == place or not place.isascii()
            for one, place in zip(read, places, strict=True)),
            f'{places} are read as {read}')


def _escaped(found: re.Match[bytes]) -> bytes:
    return b'\\%03o' % ord(found[0])


TARGETS: tuple[type[law.Target], ...] = (CephFuseWords, Mountinfo)
