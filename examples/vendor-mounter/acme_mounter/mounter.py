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
"""Acme's images as os-brick-healer wants them described."""

from collections.abc import Mapping
import re

from os_brick_healer import exception
from os_brick_healer.mounter import base

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,63}')


class AcmeMounter(base.Mounter):
    """``{'store': '/srv/acme', 'image': 'a'}``."""

    abilities = base.Abilities(transparent=True, can_fence=False,
                               detects_hang=True)
    style = base.Style.SOCKET
    program = 'acme-nbd'

    def normalize(self, given: Mapping[str, object]) -> base.Source:
        """A plain name in a plain directory, and nothing else."""
        found = base.words(given, required=('store', 'image'))
        base.path(found['store'], 'store')
        if _NAME.fullmatch(found['image']) is None:
            raise exception.MounterRefused(
                f'cannot serve {found["image"]!r}: because it is no name of '
                'an image')
        return found

    def server(self, order: base.Order) -> base.Server:
        """It ends in an orderly way when it is asked to: not deaf."""
        return base.Server(argv=(
            self.program, '--socket', order.socket, '--store',
            order.source['store'], '--image', order.source['image']))

    def marks(self, order: base.Order) -> tuple[str, ...]:
        """The socket is the volume's alone."""
        return ('--socket', order.socket)

    def is_gone(self, order: base.Order, words: str) -> bool:
        """What acme-nbd says when there is no such image."""
        return f'no image {order.source["image"]!r}' in words
