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
"""One mapped volume of a guest, for the terms that the simulator shares.

Imports the product, so it is for the guest only.
"""

from collections.abc import Callable
import os
import pathlib
import signal
import socket
import subprocess

from bed.guest import lab as lab_lib
from bed.guest import nbd_terms, real_time
from bed.guest.mapped import DIRECTORY, MappedHost, Served
from bed.guest.scenario import Failed
from os_brick_healer.connector import mapper
from os_brick_healer.mapping import act, model
from os_brick_healer.nbd import handshake, kernel
from os_brick_healer.sysfs import process, reader

SIZE_MIB = 16
SIGNALS = {nbd_terms.KILL: signal.SIGKILL, nbd_terms.STOP: signal.SIGSTOP,
           nbd_terms.GO_ON: signal.SIGCONT}


def play(mapped: MappedHost) -> None:
    """Every term, each on a volume of its own."""
    for number, term in enumerate(nbd_terms.TERMS):
        sentence = term.__name__.replace('_', ' ')
        mapped.stage.note(sentence)
        lab = RealLab(mapped, f'lab{number}')
        try:
            term(lab)
            lab.close()
        except lab_lib.Broken as broken:
            raise Failed(f'{sentence}: does not hold: {broken}') from None
        mapped.stage.check(sentence, True)


class RealLab(real_time.Lab):
    """See ``nbd_terms.NbdLab``."""

    def __init__(self, mapped: MappedHost, alias: str) -> None:
        self.stage = mapped.stage
        self._mapped = mapped
        self._volume: Served = mapped.attach(alias, SIZE_MIB)
        self._mapper = mapper.default()
        found = self._mapper._known(self._volume.id)
        assert found is not None
        self.mapping: model.Mapping = found
        self.writer = mapped.write_to(self._volume)
        self._deaths = kernel.Deaths()
        self._last = self.server

    @property
    def hands(self) -> act.Hands:
        return self._mapper.hands

    @property
    def tree(self) -> reader.Tree:
        return self._mapper.tree

    @property
    def server(self) -> model.Process:
        pids = self._volume.servers()
        if pids:
            found = process.running(self.tree, pids[0])
            if found is not None:
                self._last = found.process
        return self._last

    def signal(self, what: str) -> None:
        os.kill(self.server.pid, SIGNALS[what])

    def told(self) -> frozenset[str]:
        return self._deaths.take() or frozenset()

    def grow(self) -> int:
        size_bytes = 2 * SIZE_MIB << 20
        os.truncate(self._volume.file, size_bytes)
        return size_bytes

    def reconfigure(self, cookie: str, *,
                    ended: bool = False) -> Callable[[], None]:
        place = DIRECTORY / 'second.sock'
        place.unlink(missing_ok=True)
        server = subprocess.Popen([
            'nbdkit', '--foreground', '--unix', str(place), 'file',
            str(self._volume.file)])
        self.stage.at_exit('end the second server', server.kill)
        self.stage.wait_until('the second server listens', place.exists)

        def _end() -> None:
            server.kill()
            server.wait()

        try:
            self._offer(place, cookie, _end if ended else lambda: None)
        except OSError:
            _end()
            raise
        return _end

    def _offer(self, place: pathlib.Path, cookie: str,
               before: Callable[[], None]) -> None:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(place))
            export = handshake.negotiate(link, '', nbd_terms.TIMEOUT_S)
            before()
            kernel.reconfigure(
                link.fileno(), int(self._volume.device.removeprefix('nbd')),
                size_bytes=export.size_bytes, cookie=cookie,
                reattach_s=self.mapping.order.reattach_s,
                timeout_s=nbd_terms.TIMEOUT_S)

    def close(self) -> None:
        """Every acknowledged write is there, and nothing is left."""
        self._mapped.prove(self._volume, self.writer)
        nbd_terms.unmapped(self, lambda: self._mapped.detach(self._volume))
        self._deaths.close()
