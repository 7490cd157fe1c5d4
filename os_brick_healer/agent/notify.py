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
"""What systemd wants to hear from a unit of Type=notify.

sd_notify(3): datagrams of NAME=value lines to the socket that
$NOTIFY_SOCKET names ('@' stands for the abstract namespace's NUL).
"""

from collections.abc import Mapping
import contextlib
import os
import re
import socket
import time

STATUS_MAX = 400


class Notifier:
    """Speaks to systemd, or to nobody when systemd did not start us."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get('NOTIFY_SOCKET', '')
        self._address = ('\0' + address[1:] if address.startswith('@')
                         else address)
        self.watchdog_s = _watchdog_s(environ)
        # systemd.exec(5): the directories of RuntimeDirectory=.
        self._made = [os.path.realpath(one) for one in environ.get(
            'RUNTIME_DIRECTORY', '').split(':') if one]

    @property
    def speaks(self) -> bool:
        """Whether there is anybody to tell."""
        return self._address != ''

    def makes(self, directory: str) -> bool:
        """Whether systemd makes it when it starts the agent again."""
        return self.speaks and os.path.realpath(directory) in self._made

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # A full or absent socket must never stop the agent: the watchdog
        # notices what matters.
        with contextlib.suppress(OSError), socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        ) as sock:
            sock.setblocking(False)
            sock.connect(self._address)
            sock.send('\n'.join(lines).encode())

    def ready(self) -> None:
        """The agent serves (also: a reload is over)."""
        self._send('READY=1')

    def reloading(self) -> None:
        """The configuration is being read again.

        MONOTONIC_USEC is what Type=notify-reload asks for; Type=notify
        ignores it.
        """
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send('RELOADING=1', f'MONOTONIC_USEC={usec}')

    def stopping(self) -> None:
        """The agent is about to leave."""
        self._send('STOPPING=1')

    def alive(self) -> None:
        """The loop turns."""
        self._send('WATCHDOG=1')

    def status(self, sentence: str) -> None:
        """One sentence for ``systemctl status``."""
        one_line = ' '.join(sentence.split())
        self._send(f'STATUS={one_line[:STATUS_MAX]}')


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """The time within which systemd expects a sign of life, or None."""
    if environ.get('WATCHDOG_PID', str(os.getpid())) != str(os.getpid()):
        return None
    text = environ.get('WATCHDOG_USEC', '')
    # The kernel's u64 is what systemd has it in.
    if not re.fullmatch('[0-9]{1,20}', text) or int(text) == 0:
        return None
    return int(text) / 1e6
