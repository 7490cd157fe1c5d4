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
"""The peer of the idle cost: a process for each array every 30 seconds."""

from collections.abc import Sequence
import json
import os
import resource
import shutil
import subprocess
import sys
import time

PERIOD_S = 30.0


def command() -> list[str]:
    """mdadm --detail; where there is no mdadm, a process that does nothing.

    That one costs less than any mdadm, so the peer looks better than it is.
    """
    mdadm = shutil.which('mdadm')
    if mdadm is not None:
        return [mdadm, '--detail', '/dev/md/none']
    return [shutil.which('true') or '/bin/true']


def name() -> str:
    """What the peer is, for the figure."""
    what = ('mdadm --detail' if shutil.which('mdadm')
            else '/bin/true (no mdadm here)')
    return f'{what} for each array every 30 s'


def percent(arrays: int, seconds: float) -> float:
    """CPU of such a poller, per cent of one core."""
    told = subprocess.run(
        [sys.executable, '-m', 'bench.poller', str(arrays), str(seconds)],
        stdout=subprocess.PIPE, check=True)
    return float(json.loads(told.stdout))


def _spent_s() -> float:
    spent = [resource.getrusage(who) for who in
             (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def main(argv: Sequence[str]) -> int:
    """Spawn them evenly over the time, and print what it cost."""
    arrays, seconds = int(argv[0]), float(argv[1])
    words = command()
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0)
            for fd in (1, 2)]
    began_s, before_s, spawned = time.monotonic(), _spent_s(), 0
    while (now_s := time.monotonic() - began_s) < seconds:
        due = int(arrays * now_s / PERIOD_S)
        while spawned < due:
            pid = os.posix_spawn(words[0], words, os.environ,
                                 file_actions=null)
            os.waitpid(pid, 0)
            spawned += 1
        time.sleep(0.05)
    print(json.dumps(100 * (_spent_s() - before_s)
                     / (time.monotonic() - began_s)))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
