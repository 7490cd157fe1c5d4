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
"""Whether portals answer, asked of all of them at once.

``nvme connect`` to a portal that is silent waits in the kernel for TCP's
connect to give up (some two minutes, ``tcp_syn_retries``), and os-brick tries
three times, with its host-wide lock held. So it is tried here first.
"""

from collections.abc import Iterable
import errno
import selectors
import socket
import time

from os_brick_healer.connector import legs as legs_lib

_UNDER_WAY = (0, errno.EINPROGRESS)


def answering(portals: Iterable[legs_lib.Portal],
              timeout_s: float) -> frozenset[legs_lib.Portal]:
    """Those that accept a connection. Only TCP can be asked.

    :param timeout_s: for all of them together.
    """
    give_up_s = time.monotonic() + timeout_s
    found: set[legs_lib.Portal] = set()
    with selectors.DefaultSelector() as waiting:
        for portal in set(portals):
            _start(waiting, portal)
        while waiting.get_map() and time.monotonic() < give_up_s:
            for key, _ in waiting.select(give_up_s - time.monotonic()):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    found.add(key.data)
                waiting.unregister(sock)
                sock.close()
        for key in list(waiting.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
    return frozenset(found)


def _start(waiting: selectors.BaseSelector, portal: legs_lib.Portal) -> None:
    try:
        family = (socket.AF_INET6 if ':' in portal[0] else socket.AF_INET)
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return
    try:
        sock.setblocking(False)
        if sock.connect_ex((portal[0], int(portal[1]))) in _UNDER_WAY:
            waiting.register(sock, selectors.EVENT_WRITE, portal)
            return
    except (OSError, ValueError):
        pass    # not an address: nobody answers there
    sock.close()
