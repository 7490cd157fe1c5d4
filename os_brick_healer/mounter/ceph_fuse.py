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
"""CephFS, mounted by ceph-fuse (Ceph 16.2 and later). Not transparent.

When the process dies, the mount stays, and whatever is done with it fails
with ENOTCONN, for ever: the kernel gives the connection of a FUSE file system
to no other process. What can be healed is the place: the dead mount is taken
away, lazily, and another one put there. Who had files open there, or has
another mount of the same file system (a bind mount, a container), keeps the
dead one.

``fuse_mount`` comes after CephFS has let the client in: a ceph-fuse that
finds no monitor, no MDS or no such directory mounts nothing.

The secret is in a keyring that is named, and is never an argument. Only
files below /etc/ceph are named, which root alone writes.
"""

from collections.abc import Iterator, Mapping, Sequence
import re

from os_brick_healer.mounter import base, ceph

_ASK_S = 5
#: What of a mount is kept. nosuid and nodev always are: libfuse's default.
OPTIONS = ('ro', 'noexec', 'noatime', 'nodiratime')
_NOTHING = frozenset(
    ('rw', 'nosuid', 'nodev', 'relatime', 'allow_other',
     'default_permissions', 'nonempty', 'auto', 'noauto', '_netdev',
     'x-systemd.automount', 'defaults'))
_GONE = re.compile(
    r"ENOENT: filesystem '[^']{1,200}' not found|"
    r'ceph mount failed with \(2\) No such file or directory')
#: Options that take a value, by the name that is used here.
_VALUED = {
    '--id': 'user', '-i': 'user', '--name': 'name', '-n': 'name',
    '--conf': 'conf', '-c': 'conf', '--cluster': 'cluster',
    '--mon-host': 'monitors', '-m': 'monitors', '--keyring': 'keyring',
    '-k': 'keyring', '--keyfile': 'keyfile', '-K': 'keyfile',
    '--key': 'key', '--client-mountpoint': 'root', '-r': 'root',
    '--client-fs': 'fs', '--client-mds-namespace': 'fs',
    '--admin-socket': 'admin', '-o': 'options', '--log-file': '',
    '--pid-file': '', '--debug-client': '', '--debug-monc': '',
    '--debug-ms': '', '--setuser': 'setuser', '--setgroup': 'setuser'}
_FLAGS = frozenset(('-f', '-s', '--foreground', '--no-mon-config',
                    '--log-to-stderr'))


class CephFuseMounter(base.Mounter):
    """``{'fs': 'cephfs', 'root': '/volumes/a', 'user': 'guest'}``.

    All optional, and also: ``conf`` and ``keyring`` (below /etc/ceph),
    ``monitors``, ``options`` (of :data:`OPTIONS`, with commas).
    """

    abilities = base.Abilities(transparent=False, can_fence=False,
                               detects_hang=False)
    style = base.Style.MOUNT
    program = 'ceph-fuse'
    names = ('fs', 'root')
    tool = 'ceph'
    file_system = 'fuse.ceph-fuse'

    def normalize(self, given: Mapping[str, object]) -> base.Source:
        """See :class:`base.Mounter`."""
        found = base.words(given, required=('root',), optional=(
            'fs', 'user', 'conf', 'keyring', 'monitors', 'options'))
        if found['root'] != '/':
            base.path(found['root'], 'root')
        ceph.check(found, plain=('fs', 'user'))
        for option in found.get('options', 'ro').split(','):
            if option not in OPTIONS:
                raise ceph.refused(f'option {option!r} of the mount is not '
                                   f'one of {", ".join(OPTIONS)}')
        return found

    def server(self, order: base.Order) -> base.Server:
        """See :class:`base.Mounter`. In the foreground it is one process,
        which unmounts in an orderly way when it is asked to end."""
        source = order.source
        fs = ('--client_fs', source['fs']) if 'fs' in source else ()
        options = ('-o', source['options']) if 'options' in source else ()
        place = () if order.device is None else (order.device,)
        return base.Server(as_root=True, argv=(
            self.program, '-f', *ceph.access(source), *fs,
            '-r', source['root'], '--admin-socket', ceph.admin(order),
            *place, *options))

    def marks(self, order: base.Order) -> tuple[str, ...]:
        """See :class:`base.Mounter`."""
        return ('--admin-socket', ceph.admin(order))

    def claim(self, argv: Sequence[str]) -> base.Claim | None:
        """See :class:`base.Mounter`. Who mounts it tells no id: the place
        is one."""
        try:
            words = dict(_options(argv[1:]))
        except ValueError:
            return None
        place = words.get('place')
        admin = words.get('admin', '')
        if admin.startswith(f'{base.ROOT_SOCKETS}/'):
            volume = admin.rpartition('/')[2].removesuffix('.asok')
        elif place is not None and base.is_place(place):
            volume = base.place_key(place)
        else:
            return None
        if not base.is_key(volume):
            return None
        return base.Claim(volume=volume, device=place, source=_data(words),
                          lacks=_lacks(words))

    def is_gone(self, order: base.Order, words: str) -> bool:
        """See :class:`base.Mounter`."""
        del order
        return _GONE.search(words) is not None

    def ask_data(self, order: base.Order) -> tuple[str, ...]:
        """See :class:`base.Mounter`. Monitors that do not answer fail it,
        too."""
        source = order.source
        what = (('fs', 'get', source['fs']) if 'fs' in source
                else ('mds', 'stat'))
        return (self.tool, *ceph.access(source), '--connect-timeout',
                str(_ASK_S), *what)

    def obeyed(self, order: base.Order) -> tuple[str, ...]:
        """See :class:`base.Mounter`."""
        return (ceph.conf(order.source),)


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values of a command line.

    :raises ValueError: one is not known: what follows may be its value.
    """
    left, places, mounted = iter(words), list[str](), list[str]()
    for word in left:
        name, equals, value = word.partition('=')
        if name.startswith('--'):
            name = name.replace('_', '-')
        if not word.startswith('-'):
            places.append(word)
        elif name in _FLAGS:
            continue
        elif name not in _VALUED:
            raise ValueError(word)
        elif _VALUED[name] == 'options':
            mounted.append(value if equals else next(left, ''))
        else:
            yield _VALUED[name], value if equals else next(left, '')
    if len(places) > 1:
        raise ValueError(' '.join(places))
    if places:
        yield 'place', places[0]
    yield 'options', ','.join(mounted)


def _mounted(words: Mapping[str, str]) -> list[str]:
    return [o for o in words.get('options', '').split(',') if o]


def _data(words: Mapping[str, str]) -> dict[str, str]:
    """What is mounted, and the way to it."""
    found = {name: words[name] for name in (
        'fs', 'user', 'conf', 'keyring', 'monitors') if words.get(name)}
    found['root'] = words.get('root') or '/'
    if 'name' in words:
        found['user'] = words['name'].removeprefix('client.')
    if 'cluster' in words and 'conf' not in found:
        found['conf'] = f'{ceph.CONFIG}{words["cluster"]}.conf'
    kept = [o for o in _mounted(words) if o in OPTIONS]
    if kept:
        found['options'] = ','.join(kept)
    return found


def _lacks(words: Mapping[str, str]) -> str:
    if 'key' in words or 'keyfile' in words:
        return 'its key is not in a keyring'
    if 'setuser' in words:
        return 'it runs as another user than root'
    other = [o for o in _mounted(words)
             if o not in OPTIONS and o not in _NOTHING]
    return f'it is mounted with {", ".join(other)}' if other else ''
