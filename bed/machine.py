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
"""Boots a guest, watches it, and never leaves it behind."""

import base64
from collections.abc import Callable, Mapping
import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time
from typing import Any
import uuid

from bed import image
from bed.guest.scenario import Mode

QEMU = 'qemu-system-x86_64'
PROBE_DEADLINE_S = 15.0
PROBE_MARK = 'BED-PROBE-OK'
POLL_S = 0.1
# The kernel kills the guest should the driver be killed with -9.
DIE_WITH_PARENT = ('setpriv', '--pdeathsig', 'KILL', '--')

Event = dict[str, Any]

# Set it, and every guest of this driver is killed at once.
give_up = threading.Event()

INIT = {Mode.SCRIPT: '/bed/init', Mode.SYSTEMD: '/sbin/init'}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One boot: what to run, in how much memory, and for how long."""
    scenario: str
    mode: Mode = Mode.SCRIPT
    timeout_s: float = 300.0
    memory_mib: int = 1024
    params: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a guest left: its events, its console, and how it ended.

    :ivar interrupted: the driver was told to end before the guest had.
    """
    events: tuple[Event, ...]
    console: str
    timed_out: bool
    host_s: float
    interrupted: bool = False

    def last(self, kind: str) -> Event | None:
        return next((event for event in reversed(self.events)
                     if event.get('event') == kind), None)


def run(order: Order, built: image.Image, payload: pathlib.Path,
        out_dir: pathlib.Path,
        on_event: Callable[[Event], None] = lambda _event: None) -> Outcome:
    """Runs one scenario in a guest of its own."""
    out_dir.mkdir(parents=True, exist_ok=True)
    for old in out_dir.iterdir():
        if old.is_file():
            old.unlink()
    console, results = out_dir / 'console.log', out_dir / 'events.jsonl'
    results.touch()
    began = time.monotonic()
    guest = _start(command_line(order, built, payload, f'file:{console}',
                                results), out_dir / 'qemu.log')
    tail = _Tail(results, on_event)
    try:
        timed_out = _watch(guest, tail, began + order.timeout_s)
    finally:
        _stop(guest)
    tail.read()
    return Outcome(events=tuple(tail.events), timed_out=timed_out,
                   interrupted=give_up.is_set(),
                   console=console.read_text(errors='replace'),
                   host_s=time.monotonic() - began)


def _watch(guest: 'subprocess.Popen[bytes]', tail: '_Tail',
           deadline: float) -> bool:
    """Waits for the guest's end; True if it had to be given up."""
    while guest.poll() is None:
        tail.read()
        if any(event.get('event') == 'result' for event in tail.events):
            # The last thing that a guest says. Its root drive is a throw-away
            # snapshot, so nothing is gained by an orderly power-off (which
            # a stuck array would hold up).
            return False
        if time.monotonic() >= deadline or give_up.wait(POLL_S):
            return True
    return False


def _stop(guest: 'subprocess.Popen[bytes]') -> None:
    if guest.poll() is None:
        guest.kill()
    guest.wait()


class _Tail:
    """Reads the results file as it grows, a whole line at a time."""

    def __init__(self, path: pathlib.Path,
                 on_event: Callable[[Event], None]) -> None:
        self.events: list[Event] = []
        self._path = path
        self._offset = 0
        self._on_event = on_event

    def read(self) -> None:
        with self._path.open('rb') as file:
            file.seek(self._offset)
            new = file.read()
        end = new.rfind(b'\n') + 1
        self._offset += end
        for line in new[:end].splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                event = {'event': 'garbage', 'text': line.decode('latin-1')}
            self.events.append(event)
            self._on_event(event)


def command_line(order: Order, built: image.Image, payload: pathlib.Path,
                 serial: str, results: pathlib.Path,
                 init: str | None = None) -> list[str]:
    """QEMU's, with ``serial`` as its -serial and ``init`` as process 1."""
    params = base64.urlsafe_b64encode(
        json.dumps(dict(order.params)).encode()).decode()
    # no_timer_check: a busy machine emulates the timer late, and the kernel
    # would give up at once.
    words = ['console=ttyS0', 'quiet', 'panic=-1', 'no_timer_check',
             'log_buf_len=4M',
             'mitigations=off', 'apparmor=0', 'audit=0',
             f'bed.init={init or INIT[order.mode]}',
             f'bed.scenario={order.scenario}', f'bed.params={params}']
    if order.mode is Mode.SYSTEMD:
        words += ['systemd.show_status=0', 'systemd.log_level=warning',
                  'systemd.wants=bed-scenario.service']
    return [
        *_base_command(accelerator(built)), '-m', f'{order.memory_mib}M',
        '-uuid', str(uuid.uuid4()),
        '-kernel', str(built.kernel), '-initrd', str(built.initrd),
        '-append', ' '.join(words), '-serial', serial,
        '-drive', f'file={built.root},if=virtio,format=raw,snapshot=on',
        '-drive', f'file={payload},if=virtio,format=raw,readonly=on',
        '-device', 'virtio-serial-pci',
        '-chardev', f'file,id=results,path={results},append=on',
        '-device', 'virtserialport,chardev=results,name=bed.results']


def _start(command: list[str],
           log_file: pathlib.Path) -> 'subprocess.Popen[bytes]':
    with log_file.open('wb') as log:
        return subprocess.Popen([*DIE_WITH_PARENT, *command], stdout=log,
                                stdin=subprocess.DEVNULL, stderr=log)


def shell(built: image.Image, payload: pathlib.Path,
          memory_mib: int) -> int:
    """A guest with a root shell on this terminal; Ctrl-A X kills it."""
    order = Order(scenario='none', memory_mib=memory_mib)
    with tempfile.TemporaryDirectory(prefix='obh-shell-') as scratch:
        command = command_line(
            order, built, payload, 'mon:stdio',
            pathlib.Path(scratch) / 'events', init='/bed/shell')
        return subprocess.run(command, check=False).returncode


def _base_command(accel: str) -> list[str]:
    return [QEMU, '-accel', accel, '-cpu', 'max', '-smp', '2',
            '-display', 'none', '-no-reboot', '-nic', 'none',
            '-nodefaults']


def accelerator(built: image.Image) -> str:
    """KVM where a guest really boots with it, else the threaded emulator.

    /dev/kvm may be there and still leave a guest hanging in its firmware,
    so one short boot decides, once per boot of this machine.
    """
    chosen = os.environ.get('OBH_BED_ACCEL')
    if chosen:
        return chosen
    boot_id = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text()
    memo = image.cache_dir() / f'accel-{boot_id.strip()}'
    if not memo.exists():
        found = 'kvm' if _boots('kvm', built) else 'tcg,thread=multi'
        image.say(f'guests run with {found}')
        memo.parent.mkdir(parents=True, exist_ok=True)
        memo.write_text(found)
    return memo.read_text()


def _boots(accel: str, built: image.Image) -> bool:
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return False
    with tempfile.TemporaryDirectory(prefix='obh-probe-') as scratch:
        console = pathlib.Path(scratch) / 'console'
        guest = subprocess.Popen(
            [*DIE_WITH_PARENT, *_base_command(accel), '-m', '512M',
             '-kernel', str(built.kernel), '-initrd', str(built.initrd),
             '-append',
             'console=ttyS0 quiet panic=-1 no_timer_check bed.probe',
             '-serial', f'file:{console}'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            guest.wait(PROBE_DEADLINE_S)
        except subprocess.TimeoutExpired:
            return False
        finally:
            _stop(guest)
        return (console.exists()
                and PROBE_MARK in console.read_text(errors='replace'))
