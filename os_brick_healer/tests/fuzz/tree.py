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

"""A whole /proc, /sys and /run, in the form of ``tests.captures``."""

from collections.abc import Iterator
import functools
import os

from os_brick_healer import exception
from os_brick_healer.provisioner import base
from os_brick_healer.replica import observe
from os_brick_healer.sysfs import md, nvme, parse, reader
from os_brick_healer.tests import captures
from os_brick_healer.tests.fuzz import law

_HOPS_MAX = 16


class Tree(reader.Tree):
    """Files, directories and links as a text lists them."""

    __slots__ = ('_files', '_links', '_names')

    def __init__(self, text: str) -> None:
        super().__init__('/')
        self._files: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._names: dict[str, set[str]] = {'': set()}
        target = ''
        for line in text.split('\n'):
            kind, rest = line[:1], line[2:]
            if kind == '|':
                self._files[target] = (self._files.get(target, '')
                                       + line[1:] + '\n')
                continue
            name, _, to = rest.partition(' -> ')
            target = os.path.normpath('/' + name).strip('/')
            if kind == 'F':
                self._add(target)
                self._files.setdefault(target, '')
            elif kind == 'D':
                self._add(target)
                self._names.setdefault(target, set())
            elif kind == 'L':
                self._add(target)
                self._links[target] = to

    def _add(self, path: str) -> None:
        while path:
            parent, _, name = path.rpartition('/')
            self._names.setdefault(parent, set()).add(name)
            path = parent

    def _real(self, path: str) -> str | None:
        """Every link on the way followed; None where it ends nowhere."""
        done: list[str] = []
        todo = path.strip('/').split('/')[::-1]
        hops = 0
        while todo:
            name = todo.pop()
            if name in ('', '.'):
                continue
            if name == '..':
                done = done[:-1]
                continue
            here = '/'.join((*done, name))
            to = self._links.get(here)
            if to is None:
                done.append(name)
                continue
            hops += 1
            if hops > _HOPS_MAX:
                return None
            if to.startswith('/'):
                done = []
            todo += to.split('/')[::-1]
        return '/'.join(done)

    def read(self, path: str,
             limit: int = reader.ATTRIBUTE_BYTES_MAX) -> str | None:
        real = self._real(path)
        found = None if real is None else self._files.get(real)
        return None if found is None else found[:limit].strip()

    def listdir(self, path: str) -> tuple[str, ...]:
        real = self._real(path)
        return tuple(sorted(self._names.get(real, ()) if real is not None
                            else ()))

    def entries(self, path: str) -> frozenset[tuple[str, int]]:
        return frozenset((name, self.birth(f'{path}/{name}') or 0)
                         for name in self.listdir(path))

    def readlink(self, path: str) -> str | None:
        parent, _, name = path.strip('/').rpartition('/')
        real = self._real(parent)
        return None if real is None else self._links.get(
            f'{real}/{name}' if real else name)

    def birth(self, path: str) -> int | None:
        real = self._real(path)
        there = real is not None and (real in self._files
                                      or real in self._names)
        return hash(real) & 0xffff if there else None


_LEGS = tuple(
    base.Replica(id=base.ReplicaId(f'r{i}'),
                 nqn=f'nqn.2024-01.org.example:leg{i}',
                 namespace_uuid=f'11111111-0000-4000-8000-00000000000{i}',
                 portals=(base.Portal(address=f'127.0.0.{i + 2}',
                                      port=4420),),
                 state=base.ReplicaState.AVAILABLE) for i in range(2))


class Host(law.Target):
    """What the kernel shows of arrays and controllers, as a whole."""

    name = 'host'
    huge_bytes = 1 << 20
    words = (b'\nF sys/block/md127/md/', b'\nF sys/class/nvme/nvme0/',
             b'\nD ', b'\nL ', b' -> ', b'\n|', b'state', b'slot', b'uuid',
             b'level', b'raid_disks', b'degraded', b'sync_action',
             b'sync_completed', b'address', b'subsysnqn', b'dev-nvme0n1',
             b'../', b'faulty', b'in_sync', b'live', b'connecting', b'none')

    def seeds(self) -> Iterator[bytes]:
        for state in captures.states():
            yield (captures.HERE / state / 'tree').read_bytes()

    def run(self, data: bytes) -> None:
        tree = Tree(data.decode('ascii', 'backslashreplace'))
        for name in md.names(tree):
            array = law.attempt(functools.partial(md.array, tree, name),
                                'cannot understand', parse.ParseError)
            if array is not None:
                _check_array(array)
        for name in nvme.subsystem_names(tree):
            law.attempt(functools.partial(nvme.subsystem, tree, name),
                        'cannot understand', parse.ParseError)
        law.attempt(lambda: nvme.controllers(tree), 'cannot understand',
                    parse.ParseError)
        self._observe(tree)

    def _observe(self, tree: Tree) -> None:
        observer = observe.Observer(tree, lambda: 1000.0)
        everything = observer.host()     # one odd array blinds it for none
        law.need(all(a.uuid for a in everything.arrays), 'no UUID')
        volume = base.Volume(
            id=base.VolumeId('v'), alias='v', size_bytes=None,
            replica_count=2, replicas=_named(everything), hosts=None)
        for remembered in (None, *{a.uuid for a in everything.arrays}):
            seen = law.attempt(
                functools.partial(observer.look, volume.id, volume,
                                  remembered, {}),
                'cannot ', exception.HealerError)
            law.need(seen is None or remembered is None
                     or seen.array is None
                     or seen.array.uuid == remembered, 'another array')


def _named(found: observe.Host) -> tuple[base.Replica, ...]:
    """Two replicas, as far as this host has what could be theirs."""
    there = [(n.nqn, n.uuid) for n in found.namespaces if n.uuid]
    return tuple(
        base.Replica(id=leg.id, nqn=nqn, namespace_uuid=uuid,
                     portals=leg.portals, state=leg.state)
        for leg, (nqn, uuid) in zip(_LEGS, there, strict=False)) or _LEGS


def _check_array(array: md.Array) -> None:
    law.need(array.raid_disks >= 0 and array.size_bytes >= 0,
             f'{array} has less than nothing')
    law.need(array.uuid is None or len(array.uuid) == 36,
             f'a UUID {array.uuid!r}')
    for member in array.members:
        law.need(member.slot is None or member.slot >= 0,
                 f'{member} is in no slot')
