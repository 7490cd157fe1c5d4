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
"""What a provisioner drives: storage that holds replicas on back ends.

Two implementations stand behind this interface: array.NvmetArray, with real
NVMe-oF targets in the guest's kernel, and MemoryStorage, for tests on any
machine.
"""

from collections.abc import Sequence
import dataclasses
import enum
from typing import Protocol

PORT = '4420'


class StorageError(Exception):
    """The storage cannot do what it was told; the text says why."""


class Cut(enum.StrEnum):
    """The two ways in which a leg goes away; their stalls differ a lot."""
    CLOSED = 'closed'  # the target closes the connection and refuses new ones
    SILENT = 'silent'  # packets vanish in both directions


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    address: str
    port: str = PORT
    transport: str = 'TCP'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A storage server: its replicas share its portals."""
    id: str
    rack: str
    portals: tuple[Portal, ...]


class Storage(Protocol):
    """Every method is synchronous and raises StorageError."""

    @property
    def backends(self) -> Sequence[Backend]: ...

    def create(self, replica: str, size_bytes: int, backend: str) -> None: ...

    def nqn(self, replica: str) -> str:
        """The subsystem that shows this replica to its hosts."""
        ...

    def publish(self, replica: str, host_nqn: str) -> None: ...

    def unpublish(self, replica: str, host_nqn: str) -> None: ...

    def resize(self, replica: str, size_bytes: int) -> None: ...

    def delete(self, replica: str) -> None: ...


def make_backends(count: int, portals: int = 1) -> tuple[Backend, ...]:
    """Back ends 1..count at 127.0.<back end>.<portal>, one rack each."""
    return tuple(
        Backend(id=f'backend-{number}', rack=f'rack-{number}',
                portals=tuple(Portal(address=f'127.0.{number}.{path}')
                              for path in range(1, portals + 1)))
        for number in range(1, count + 1))


class MemoryStorage:
    """A Storage that only remembers: no kernel, no root."""

    def __init__(self, backends: int = 4, portals: int = 1) -> None:
        self._backends = make_backends(backends, portals)
        self.sizes: dict[str, int] = {}
        self.homes: dict[str, str] = {}
        self.hosts: dict[str, set[str]] = {}

    @property
    def backends(self) -> Sequence[Backend]:
        return self._backends

    def create(self, replica: str, size_bytes: int, backend: str) -> None:
        self.sizes[replica] = size_bytes
        self.homes[replica] = backend
        self.hosts[replica] = set()

    def nqn(self, replica: str) -> str:
        return target_nqn(replica)

    def publish(self, replica: str, host_nqn: str) -> None:
        self._known(replica).add(host_nqn)

    def unpublish(self, replica: str, host_nqn: str) -> None:
        self._known(replica).discard(host_nqn)

    def resize(self, replica: str, size_bytes: int) -> None:
        self._known(replica)
        self.sizes[replica] = size_bytes

    def delete(self, replica: str) -> None:
        self._known(replica)
        del self.sizes[replica], self.homes[replica], self.hosts[replica]

    def _known(self, replica: str) -> set[str]:
        if replica not in self.hosts:
            raise StorageError(f'cannot find replica {replica}: because it '
                               'was never created, or is deleted')
        return self.hosts[replica]


def target_nqn(replica: str) -> str:
    return f'nqn.2026-11.test.bed:{replica}'
