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
"""File systems that a process mounts: served again where they were. No hands.

Not transparent: who has the dead mount open keeps it. The place is bare from
the moment the dead mount is taken away until the new one is there, so the
storage is asked first, and nothing is taken away while it does not answer.
"""

from collections.abc import Callable, Collection
import dataclasses
from typing import Any

from os_brick_healer import exception
from os_brick_healer.engine import verdict
from os_brick_healer.fuse import parse
from os_brick_healer.mapping import model
from os_brick_healer.mapping import servers as servers_lib
from os_brick_healer.sysfs import mounts, reader

Outcome = verdict.Outcome
#: For one look at a mount, or to take it away, seconds.
LOOK_S = 15.0
#: What a mount that is taken over forbids: the next one will, too.
NO_PRIVILEGE = frozenset(('nosuid', 'nodev'))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The mounts of mapped volumes. :ivar root: the privileged side."""

    root: servers_lib.Mounts
    servers: servers_lib.Servers

    def serve(self, mapping: model.Mapping, until_s: float,
              started: Callable[[model.Process], None]) -> Outcome:
        """Take the dead mount away, and have a new process mount it again.

        :raises HealerError: it failed, and no process is left of it.
        """
        words = _words(mapping)
        place = mapping.order.device
        self.servers.must_be_there(mapping, until_s)
        self.root.take(**words, timeout_s=LOOK_S)
        server = self.servers.start(mapping, until_s)
        self.servers.wait_for(
            mapping, server, until_s,
            lambda: self.root.serves(**words, timeout_s=LOOK_S))
        started(server)
        return Outcome(changed=True, detail=(
            f'{server} has mounted {place} anew; files that were open there '
            'are lost to who had them open'))

    def prove(self, mapping: model.Mapping, timeout_s: float) -> Outcome:
        """Whether the file system answers; it says nothing of the process.
        """
        if self.root.serves(**_words(mapping), timeout_s=timeout_s):
            return Outcome(changed=False, detail='it answers')
        word = self.root.look(**_words(mapping), timeout_s=timeout_s)
        return Outcome(
            changed=False,
            error=f'{mapping.order.device} is {word}, and its process lives')


def device(place: str, whose: str, *, connected: bool = True
           ) -> model.Device:
    """A mount, in the words of a device. :param whose: in place of a cookie.
    """
    return model.Device(name=place, connected=connected, cookie=whose,
                        size_bytes=0, timer_ms=None, requests=None)


def unfit(tree: reader.Tree, place: str, kinds: Collection[str]
          ) -> str | None:
    """Why a mount cannot be looked after; None: it can."""
    found = parse.at(mounts.table(tree), place)
    if not found:
        return 'nothing is mounted there'
    if len(found) > 1:
        return (f'{len(found)} mounts are there, one above the other (an '
                'automount?)')
    if found[0].kind not in kinds:
        return (f'it is a mount of type {found[0].kind}, which no mounter '
                'serves')
    if not found[0].options >= NO_PRIVILEGE:
        return ('it was mounted with suid or dev, and would not be mounted '
                'so again')
    return None


def refuse(mapping: model.Mapping) -> exception.HealerError:
    """For connectors: there is nothing that they could be given."""
    return exception.HealerError(
        f'cannot map {mapping.order.volume}: because mounter '
        f'{mapping.mounter} makes no block device', transient=False,
        hint='mount it, and let os-brick-healer adopt the mount')


def _words(mapping: model.Mapping) -> dict[str, Any]:
    order = mapping.order
    assert order.device is not None
    return {'mounter': mapping.mounter, 'volume': order.volume,
            'source': dict(order.source), 'socket': order.socket,
            'place': order.device}
