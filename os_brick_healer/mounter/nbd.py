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
"""A file or block device, served by nbdkit: no storage cluster is needed.

The embedded mounter: for one host, for the demonstration, for tests. nbdkit
runs as the user who asked, with that user's rights to the file. It answers
what the page cache has taken, so what it acknowledged outlives it.

Told to end, nbdkit answers what it is sent from then on with ESHUTDOWN, and
the kernel makes an I/O error of that. So it is started without ears for it.
"""

from collections.abc import Mapping, Sequence

from os_brick_healer import exception
from os_brick_healer.mounter import base

_THREADS = '16'


class NbdMounter(base.Mounter):
    """``{'file': '/srv/volumes/a.img'}``, and ``'readonly': 'true'``."""

    abilities = base.Abilities(transparent=True, can_fence=False,
                               detects_hang=True)
    style = base.Style.SOCKET
    program = 'nbdkit'
    names = ('file',)

    def normalize(self, given: Mapping[str, object]) -> base.Source:
        """See :class:`base.Mounter`."""
        found = base.words(given, required=('file',), optional=('readonly',))
        base.path(found['file'], 'file')
        if found.get('readonly', 'true') != 'true':
            raise exception.MounterRefused(
                "cannot serve this: because readonly is 'true' or not there")
        return found

    def server(self, order: base.Order) -> base.Server:
        """See :class:`base.Mounter`."""
        readonly = ('--readonly',) if 'readonly' in order.source else ()
        return base.Server(deaf=True, argv=(
            self.program, '--foreground', '--threads', _THREADS, *readonly,
            '--unix', order.socket, 'file', f'file={order.source["file"]}'))

    def marks(self, order: base.Order) -> tuple[str, ...]:
        """See :class:`base.Mounter`. The socket is the volume's alone."""
        return ('--unix', order.socket)

    def is_gone(self, order: base.Order, words: str) -> bool:
        """See :class:`base.Mounter`."""
        return (order.source['file'] in words
                and 'No such file or directory' in words)

    def claim(self, argv: Sequence[str]) -> base.Claim | None:
        """See :class:`base.Mounter`. The socket has the volume's name."""
        words = list(argv)
        if words.count('--unix') != 1 or words[-1] == '--unix':
            return None
        place = words[words.index('--unix') + 1]
        files = [w for w in words if w.startswith('file=')]
        volume = place.rpartition('/')[2].removesuffix('.sock')
        if len(files) != 1 or 'file' not in words or not base.is_key(volume):
            return None
        readonly = {'readonly': 'true'} if '--readonly' in words else {}
        return base.Claim(volume=volume, source={
            'file': files[0].removeprefix('file='), **readonly})
