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
"""The storage system that the conformance suite holds a plugin against."""

import abc
from collections.abc import Iterable, Sequence
import contextlib
import enum

from os_brick_healer.provisioner import base

#: The host whose agent is tested, and another one.
HERE = base.HostIdentity(
    name='conformance-here',
    nqn='nqn.2014-08.org.nvmexpress:uuid:'
        '11111111-1111-4111-8111-111111111111',
    uuid='11111111-1111-4111-8111-aaaaaaaaaaaa')
THERE = base.HostIdentity(
    name='conformance-there',
    nqn='nqn.2014-08.org.nvmexpress:uuid:'
        '22222222-2222-4222-8222-222222222222',
    uuid='22222222-2222-4222-8222-bbbbbbbbbbbb')


class Trouble(enum.Enum):
    """What can be wrong with a provisioner."""

    DOWN = 'it cannot be reached'
    SLOW = 'it answers later than the plugin waits'
    ERROR = 'it answers that it is broken'
    GARBAGE = 'its answers make no sense'
    UNTRUSTED = 'its identity cannot be verified'
    DENIED = 'it does not accept our credentials'


class World(abc.ABC):
    """A storage system in the hands of the suite; new for each test.

    :ivar deadline_s: the longest that one call of the plugin may take,
        whatever happens, as the plugin was configured.
    :ivar secrets: texts that must never show: passwords, tokens.
    :ivar troubles: what trouble() can cause.
    """

    deadline_s: float = 60.0
    secrets: Sequence[str] = ()
    troubles: frozenset[Trouble] = frozenset()

    @abc.abstractmethod
    def make_provisioner(self, host: base.HostIdentity) -> base.Provisioner:
        """A new instance of the plugin, as a restarted agent makes one.

        One that is made during trouble() is not asked for.
        """

    @abc.abstractmethod
    def create_volume(self, hosts: Iterable[base.HostIdentity], *,
                      replicas: int = 2) -> base.VolumeId:
        """Create a volume, all replicas good, published to the hosts.

        There must be room for one replacement of a replica of each volume.
        """

    @abc.abstractmethod
    def delete_volume(self, volume: base.VolumeId) -> None:
        """Make the volume disappear altogether."""

    def trouble(self, kind: Trouble
                ) -> contextlib.AbstractContextManager[None]:
        """Cause one of ``troubles`` until the context ends."""
        raise NotImplementedError(kind)

    def lost_answer(self) -> contextlib.AbstractContextManager[None] | None:
        """Do what is asked, but let the plugin never see the answer.

        None, the default, when this cannot be done.
        """
        return None

    def requests(self) -> int | None:
        """How many requests the plugin made so far; None = not known."""
        return None

    def close(self) -> None:
        """The test is over."""
        return
