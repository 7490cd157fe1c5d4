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
"""A storage array whose targets show many replicas each.

One subsystem for each back end, with a namespace for each of its replicas:
so a controller leads to legs of many volumes. Or one for the whole array,
at the portals of all of its back ends, as the generation of the API that
calls a target by its ``name`` has it.
"""

import os
import pathlib

from bed.guest import array as plain
from bed.guest.storage import target_nqn


class SharedTargets(plain.NvmetArray):
    """The same words as NvmetArray; cut() takes all that share away."""

    def __init__(self, backends: int = 4, portals: int = 1, *,
                 one_for_all: bool = False) -> None:
        self._one_for_all = one_for_all
        self._homes: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        super().__init__(backends, portals)

    def create(self, replica: str, size_bytes: int, backend: str) -> None:
        self._homes[replica] = backend
        self._numbers[replica] = len(self._numbers) + 1
        super().create(replica, size_bytes, backend)

    def nqn(self, replica: str) -> str:
        return target_nqn('array' if self._one_for_all
                          else self._homes[replica])

    def delete(self, replica: str) -> None:
        with self._lock:
            known = self._known(replica)
            plain.write(self._namespace(replica) / 'enable', '0')
            self._namespace(replica).rmdir()
            plain.loop_detach(known.loop)
            known.file.unlink()
            del self._replicas[replica]

    def _namespace(self, replica: str) -> pathlib.Path:
        return (self._subsystem(replica) / 'namespaces'
                / str(self._numbers[replica]))

    def _make_subsystem(self, replica: str) -> None:
        subsystem = self._subsystem(replica)
        if not subsystem.exists():
            subsystem.mkdir()
            plain.write(subsystem / 'attr_serial', os.urandom(10).hex())
            plain.write(subsystem / 'attr_allow_any_host', '0')
        self._make_namespace(replica)

    def _portals(self, replica: str, index: int | None) -> set[str]:
        if self._one_for_all:
            return set(self._addresses())
        return super()._portals(replica, index)

    def _apply_links(self, replica: str) -> None:
        mates = [known for name, known in self._replicas.items()
                 if self.nqn(name) == self.nqn(replica)]
        shown = any(known.hosts for known in mates)
        closed = {a for known in mates for a in known.closed}
        self._set_links(replica, self._portals(replica, None) - closed
                        if shown else ())
