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
"""Which users' processes are believed when they say that they serve.

A command line is whatever the one who starts a process writes: anybody on
this host can start one that looks like a volume's server.
"""

import contextlib
import os

from os_brick_healer.mounter import base
from os_brick_healer.nbd import parse

_ROOT = 0


def of(socket: str, *, as_root: bool) -> frozenset[int]:
    """The users as whom a server of a volume may run.

    :param socket: of the volume; who owns the directory is who attaches
        volumes here.
    :param as_root: whether its server runs as root.
    """
    found = {_ROOT, os.geteuid()}
    if not as_root:
        with contextlib.suppress(OSError):
            found.add(os.stat(os.path.dirname(socket)).st_uid)
    return frozenset(found)


def believed(one: parse.Running, users: frozenset[int]) -> bool:
    """Whether a process is of these users alone."""
    return bool(one.uids) and one.uids <= users


def serves(mounter: base.Mounter, order: base.Order,
           one: parse.Running) -> bool:
    """Whether a process serves a volume: it says so, and is believed."""
    return mounter.serves(order, one.argv) and believed(
        one, of(order.socket, as_root=mounter.server(order).as_root))
