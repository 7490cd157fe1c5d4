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
"""Plays one scenario in the guest and reports it to the driver."""

import base64
from collections.abc import Mapping
import faulthandler
import io
import json
import os
import pathlib
import shutil
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
from typing import Any

from bed import scenarios
from bed.guest.scenario import Failed, Scenario, Stage

PORT_NAME = 'bed.results'
LEAVE_DEADLINE_S = 20.0
#: After so long, seconds, the kernel says that a task hangs: its default.
HUNG_TASK = pathlib.Path('/proc/sys/kernel/hung_task_timeout_secs')
HUNG_TASK_S = 120.0


class Channel:
    """The virtio port to the driver: one JSON object per line."""

    def __init__(self) -> None:
        self._file = self._open()
        self._lock = threading.Lock()

    @staticmethod
    def _open() -> io.RawIOBase:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for name in pathlib.Path('/sys/class/virtio-ports').glob('*/name'):
                if name.read_text().strip() == PORT_NAME:
                    device = pathlib.Path('/dev') / name.parent.name
                    return device.open('wb', buffering=0)
            time.sleep(0.05)
        raise OSError('cannot report to the driver: because there is no '
                      f'virtio port {PORT_NAME}')

    def send(self, event: Mapping[str, Any]) -> None:
        line = memoryview(json.dumps(dict(event)).encode() + b'\n')
        with self._lock:
            while line:
                line = line[self._file.write(line) or 0:]


def command_line() -> dict[str, str]:
    words = pathlib.Path('/proc/cmdline').read_text().split()
    return dict(word.removeprefix('bed.').split('=', 1) for word in words
                if word.startswith('bed.') and '=' in word)


def kernel_log() -> str:
    """All that the kernel has said, whatever the console's level was."""
    lines = []
    with open('/dev/kmsg', 'rb', buffering=0) as kmsg:
        os.set_blocking(kmsg.fileno(), False)
        while True:
            try:
                record = os.read(kmsg.fileno(), 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # overwritten while we read; go on with the next
            head, _, text = record.decode(errors='replace').partition(';')
            level, _, stamp, *_rest = (*head.split(','), '0', '0')
            lines.append(f'<{int(level) & 7}>[{int(stamp) / 1e6:12.6f}] '
                         f'{text.splitlines()[0] if text else ""}')
    return '\n'.join(lines)


class Player:
    """Plays the scenario; whatever happens, sends exactly one result."""

    def __init__(self, chosen: Scenario, channel: Channel,
                 params: Mapping[str, str]) -> None:
        self._chosen = chosen
        self._channel = channel
        self._stage = Stage(channel.send, params)
        self._once = threading.Lock()
        self._began = Stage.now_s()

    def play(self) -> None:
        self._be_patient()
        watchdog = threading.Thread(target=self._watch, daemon=True)
        watchdog.start()
        try:
            self._chosen.play(self._stage)
        except Failed as failed:
            self._where()
            self._finish(str(failed))
        except Exception as error:  # noqa: BLE001 - any end is a result
            self._where()
            self._finish(f'{type(error).__name__}: {error} (while '
                         f'{self._stage.doing})')
        else:
            self._finish('')

    def _be_patient(self) -> None:
        """What waits for a slow machine does not hang for the kernel."""
        limit_s = HUNG_TASK_S * max(1.0, self._stage.patience)
        HUNG_TASK.write_text(f'{limit_s:.0f}')

    def _where(self) -> None:
        self._stage.artifact('traceback.txt', traceback.format_exc())

    def _watch(self) -> None:
        timeout_s = self._chosen.timeout_s * self._stage.patience
        time.sleep(timeout_s)
        # Its main thread may be stuck in the kernel: speak for it.
        with tempfile.TemporaryFile('w+') as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            self._stage.artifact('stacks.txt', file.read())
        self._finish(f'not over after {timeout_s:g} s, still '
                     f'{self._stage.doing}')

    def _finish(self, reason: str) -> None:
        if not self._once.acquire(blocking=False):
            return
        took_s = Stage.now_s() - self._began
        # What is stuck may stick again: the result must come all the same.
        leaving = threading.Thread(target=self._stage.leave, daemon=True)
        leaving.start()
        leaving.join(LEAVE_DEADLINE_S)
        self._stage.artifact('kernel.log', kernel_log())
        self._channel.send({
            'event': 'result', 'name': self._chosen.name,
            'verdict': 'failed' if reason else 'passed', 'reason': reason,
            'guest_s': round(took_s, 2), 'boot_s': round(self._began, 2),
            'worst_stall_s': self._stage.worst_stall_s,
            'figures': self._stage.figures})


def uninstall_healer() -> None:
    """What pip uninstall does; the root drive is a throw-away anyway."""
    site = pathlib.Path(sysconfig.get_path('purelib'))
    (site / 'os_brick/initiator/connectors/nvmeof_agent.py').unlink(
        missing_ok=True)
    for directory in site.glob('os_brick_healer*'):
        shutil.rmtree(directory)


def main() -> int:
    words = command_line()
    params = json.loads(base64.urlsafe_b64decode(words.get('params', 'e30=')))
    channel = Channel()
    registry = scenarios.load()
    chosen = registry[words['scenario']]
    if not chosen.healer:
        uninstall_healer()
    Player(chosen, channel, params).play()
    time.sleep(5)  # the driver ends the guest as soon as it has the result
    return 0


if __name__ == '__main__':
    sys.exit(main())
