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
"""What an agent costs and how fast it is with 100 to 10,000 volumes."""

from collections.abc import Callable, Iterator
import itertools
import os
import statistics
import subprocess
import sys
import time

from bench import agent as agent_lib
from bench import ground as ground_lib
from bench import poller
from bench.figures import Figure
from os_brick_healer.agent import client
from os_brick_healer.replica import decide

SIZES = (100, 1000, 10000)
#: The size that the goals are for.
GOAL_SIZE = 1000
PEER_SIZES = (100, 1000)
#: What the start has planned, and then put off, still wakes the agent.
PLANNED_S = 30.0
ASKS = 9
COMMANDS = 5


def run(idle_s: float) -> Iterator[Figure]:
    """All sizes; a figure as soon as it is there."""
    cpu: dict[int, float] = {}
    for size in SIZES:
        with ground_lib.ground(size) as ground:
            for one in _one_size(ground, idle_s):
                if one.name == f'idle_cpu_{size}':
                    cpu[size] = float(one.value)
                yield one
    for few, many in itertools.pairwise(SIZES):
        yield Figure(name=f'idle_cpu_growth_{few}_to_{many}', unit='times',
                     value=cpu[many] / max(cpu[few], 0.001),
                     goal=float(many // few))


def _one_size(ground: ground_lib.Ground, idle_s: float) -> Iterator[Figure]:
    size = ground.volumes
    goals = size == GOAL_SIZE
    with agent_lib.agent(ground) as agent:
        yield Figure(name=f'start_{size}_first', unit='s',
                     value=agent.known_s, goal=2.0 if goals else None)
        time.sleep(2.0)      # its journal knows the volumes now
    with agent_lib.agent(ground) as agent:
        yield Figure(name=f'start_{size}_again', unit='s',
                     value=agent.known_s, goal=2.0 if goals else None)
        _settle(agent)
        time.sleep(PLANNED_S)
        percent = _idle_percent(agent, idle_s) + _looks_percent(agent)
        peer_percent = (poller.percent(size, idle_s)
                        if size in PEER_SIZES else None)
        yield Figure(
            name=f'idle_cpu_{size}', unit='% of one core', value=percent,
            goal=1.0 if goals else None,
            peer=None if peer_percent is None else poller.name(),
            peer_value=peer_percent)
        if goals:
            yield from _status(agent)
        yield Figure(name=f'resident_peak_{size}', unit='MB',
                     value=agent.resident_mb(),
                     goal=80.0 if goals else None)


def _settle(agent: agent_lib.Agent) -> None:
    """Wait until the start is over: a second that costs next to nothing."""
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        before_s = agent.cpu_s()
        time.sleep(1.0)
        if agent.cpu_s() - before_s < 0.1:
            break
    time.sleep(2.0)


def _idle_percent(agent: agent_lib.Agent, idle_s: float) -> float:
    began_s, before_s = time.monotonic(), agent.cpu_s()
    time.sleep(idle_s)
    return 100 * (agent.cpu_s() - before_s) / (time.monotonic() - began_s)


def _looks_percent(agent: agent_lib.Agent) -> float:
    """What the looks cost that come for no reason, minutes apart.

    None falls into the time that was measured. So all volumes are looked at
    once, and the cost is spread over the time in which that happens.
    """
    before_s = agent.cpu_s()
    client.Client(agent.socket(), 10.0).call('wake')
    _settle(agent)
    # No key comes later than that, on average at three quarters of it.
    every_s = 0.75 * decide.seldom_s(decide.WELL_S, agent.ground.volumes)
    return 100 * (agent.cpu_s() - before_s) / every_s


def _status(agent: agent_lib.Agent) -> Iterator[Figure]:
    def ask() -> None:
        told = client.Client(agent.socket(), 10.0).call('status')
        assert len(told['volumes']) == agent.ground.volumes

    def command() -> None:
        subprocess.run(
            [sys.executable, '-m', 'os_brick_healer.cli.main',
             '--config-file', str(agent.ground.config), 'status'],
            stdout=subprocess.DEVNULL, check=True, env=_plain())

    def nothing() -> None:
        subprocess.run([sys.executable, '-c', 'import oslo_config.cfg'],
                       check=True)

    size = agent.ground.volumes
    yield Figure(name=f'status_{size}_answer', unit='s', goal=0.5,
                 value=_median(ask, ASKS))
    yield Figure(name=f'status_{size}_command', unit='s', goal=0.5,
                 value=_median(command, COMMANDS),
                 peer='python -c "import oslo_config.cfg"',
                 peer_value=_median(nothing, COMMANDS))


def _plain() -> dict[str, str]:
    return {**os.environ, 'COLUMNS': '100'}


def _median(what: Callable[[], None], times: int) -> float:
    taken = []
    for _ in range(times):
        began_s = time.monotonic()
        what()
        taken.append(time.monotonic() - began_s)
    return statistics.median(taken)
