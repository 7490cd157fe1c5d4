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
"""Running mdadm, nvme, wipefs, modprobe, nsenter and systemd's tools.

No shell, a fixed path, a deadline.
"""

from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess

from os_brick_healer import exception, privileged

PROGRAMS = frozenset(
    ('mdadm', 'modprobe', 'nsenter', 'nvme', 'systemctl', 'systemd-run',
     'wipefs'))
#: Runs what follows where the first process's mounts are, seen as it does:
#: the agent's service has a table of its own (ProtectSystem=), out of which
#: no mount reaches the host.
IN_HOST = ('nsenter', '--target', '1', '--mount', '--root', '--')
#: A killed process in uninterruptible sleep is waited for no longer.
KILLED_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Its complaint on one line, for a sentence."""
        text = self.err.strip() or self.out.strip()
        return '; '.join(text.splitlines())[:500] or 'nothing'


Runner = Callable[[Sequence[str], float], Result]


def run(argv: Sequence[str], timeout_s: float,
        path: str = privileged.SEARCH_PATH,
        programs: frozenset[str] = PROGRAMS) -> Result:
    """Run one of our programs.

    :param path: where it is looked for; only tests give another one.
    :param programs: a mounter has a tool of its own.
    :raises CommandError: it is not installed, or the deadline passed.
    """
    assert argv[0] in programs, argv[0]
    process = _start(argv, path)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise exception.CommandError(
            f'cannot finish `{" ".join(argv)}`: no end after '
            f'{timeout_s:g} s') from None
    return Result(code=process.returncode, out=out, err=err)


def _start(argv: Sequence[str], path: str) -> subprocess.Popen[str]:
    program = shutil.which(argv[0], path=path)
    if program is None:
        raise exception.CommandError(
            f'cannot run {argv[0]}: not found in {path}',
            hint='install it')
    try:
        # privsep's daemon runs with umask 0: /run/mdadm/map, which mdadm
        # writes, would be writable by anyone.
        return subprocess.Popen(
            [program, *argv[1:]], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            encoding='utf-8', errors='backslashreplace', cwd='/',
            env={'PATH': privileged.SEARCH_PATH, 'LC_ALL': 'C'},
            start_new_session=True, umask=0o022)
    except OSError as error:
        raise exception.CommandError(
            f'cannot run {argv[0]}: {error.strerror}') from error


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a command and its children; leave it if the kernel holds it.

    Popen reaps such a process some time later (subprocess._cleanup).
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.communicate(timeout=KILLED_S)
    except subprocess.TimeoutExpired:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
