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
"""The storage's own command, and what servers say of themselves in logs.

For ``privileged.fencing``, which asks who holds an image and shuts out a
client that died. A server that opens an image is a new client of its cluster
and writes down its name.
"""

import importlib
import importlib.util
import json
import os
from typing import Any, TYPE_CHECKING

from os_brick_healer.nbd import parse
from os_brick_healer.privileged import command
from os_brick_healer.tests.simulation.mapping import parts

if TYPE_CHECKING:
    from os_brick_healer.tests.simulation.mapping import world as world_lib

_FENCING = 'os_brick_healer.privileged.fencing'
_LOGS = 'os_brick_healer.privileged.serverlog'
_SAID = 'monclient: authenticate success, global_id'


def fencing() -> Any:
    """The real room; None where this product does not fence."""
    return (importlib.import_module(_FENCING)
            if importlib.util.find_spec(_FENCING) else None)


def begin(world: 'world_lib.World', proc: parts.Proc) -> None:
    """A server is started: its section of the log begins."""
    if proc.volume is None or importlib.util.find_spec(_LOGS) is None:
        return
    logs: Any = importlib.import_module(_LOGS)
    logs.known(logs.begin(proc.volume, world.logs), parse.Running(
        pid=proc.pid, start=proc.start, stopped=False, argv=proc.argv))


def opened(world: 'world_lib.World', proc: parts.Proc) -> None:
    """A server has opened its image, and says which client it is."""
    world.clients += 1
    proc.client = world.clients
    with open(os.path.join(world.logs, f'{proc.volume}.log'), 'a',
              encoding='ascii') as log:
        log.write(f'{_SAID} {proc.client}\n')


class Rbd:
    """``rbd``, as the privileged side runs it."""

    def __init__(self, world: 'world_lib.World', image: parts.Image) -> None:
        self._world = world
        self._image = image

    def __call__(self, argv: Any, timeout_s: float) -> command.Result:
        words = ' '.join(argv)
        if not self._world.storage.monitors:
            return command.Result(code=110, out='', err='timed out')
        if not self._image.exists:
            return command.Result(code=2, out='', err=(
                'rbd: error opening image: (2) No such file or directory'))
        owner = self._image.owner
        if words.startswith('rbd lock ls'):
            return self._said([] if owner is None else [{
                'id': 'auto 1', 'locker': f'client.{owner.client}',
                'address': f'10.0.0.1:0/{owner.client}'}])
        if words.startswith('rbd lock rm'):
            if owner is None or argv[-1] != f'client.{owner.client}':
                return command.Result(code=2, out='', err='no such lock')
            self._world.court.shuts_out(owner)
            self._world.storage.fence(owner)
        return self._said({})

    @staticmethod
    def _said(what: object) -> command.Result:
        return command.Result(code=0, out=json.dumps(what), err='')
