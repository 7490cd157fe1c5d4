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
"""An agent under measurement, seen from outside by its process's books."""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
import time

from bench import child
from bench.ground import Ground

KNOWN_S = 120.0
_TICKS = os.sysconf('SC_CLK_TCK')
_KIB = 1024


@dataclasses.dataclass(slots=True)
class Agent:
    """A running agent.

    :ivar known_s: from its process's start until it had found every volume
        healthy, by the provisioner's words and the host's files.
    """

    ground: Ground
    process: subprocess.Popen[bytes]
    known_s: float

    def cpu_s(self) -> float:
        """CPU time of all its threads so far, user and system."""
        return cpu_s(self.process.pid)

    def resident_mb(self, field: str = 'VmHWM') -> float:
        """Memory: the peak so far, or as VmRSS what it has now."""
        for line in self._proc('status').splitlines():
            if line.startswith(field + ':'):
                return int(line.split()[1]) * _KIB / 1e6
        raise OSError(f'cannot read {field} of process {self.process.pid}')

    def socket(self) -> str:
        """Where it answers."""
        return str(self.ground.home / 'control.sock')

    def _proc(self, name: str) -> str:
        return pathlib.Path(f'/proc/{self.process.pid}/{name}').read_text()


def cpu_s(pid: int) -> float:
    """CPU time of all threads of a process so far, user and system."""
    text = pathlib.Path(f'/proc/{pid}/stat').read_text()
    words = text.rpartition(')')[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


@contextlib.contextmanager
def agent(ground: Ground, *profiler: str) -> Iterator[Agent]:
    """Start one on the ground, wait until it knows everything, end it."""
    ground.known.unlink(missing_ok=True)
    began_s = child.now_s()
    process = subprocess.Popen(
        [sys.executable, *profiler, '-m', 'bench.child', str(ground.tree),
         str(ground.home), str(ground.volumes)], stdin=subprocess.DEVNULL)
    try:
        yield Agent(ground, process, _wait(ground, process) - began_s)
    finally:
        process.terminate()
        process.wait(30)


def _wait(ground: Ground, process: subprocess.Popen[bytes]) -> float:
    end_s = time.monotonic() + KNOWN_S
    while time.monotonic() < end_s:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return float(ground.known.read_text())
        if process.poll() is not None:
            break
        time.sleep(0.01)
    log = ground.home / 'agent.log'
    tail = log.read_text()[-2000:] if log.exists() else 'no log'
    raise OSError('cannot measure: because the agent did not come to know '
                  f'its volumes; its log ends: {tail}')
