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
"""What the hook and the mixin add to connect_volume, on a real kernel."""

import functools
import importlib
import statistics
from typing import Any

from bed.guest import host as host_module
from bed.guest.agent import Agent
from bed.guest.scenario import scenario, Stage
from bed.guest.world import World
from bed.scenarios.bench_stall import log_as_operators_do

ATTACHES = 7
STOCK = 'os_brick.initiator.connectors.nvmeof'


def stock_connector(multipath: bool, _protocol: str = 'NVMEOF') -> Any:
    """os-brick's own connector, as if we were not installed."""
    module = importlib.import_module(STOCK)
    return module.NVMeOFConnector(
        host_module.ROOT_HELPER, use_multipath=multipath,
        device_scan_attempts=3, enforce_multipath=False)


@scenario(name='bench-connect', item='bench', timeout_s=900)
def connect(stage: Stage) -> None:
    """connect_volume with us and without, in turn, in one boot."""
    world = World.build(stage, backends=2)
    agent = Agent.configure(world)
    log_as_operators_do()
    agent.start()
    ours = world.host.connector
    times: dict[str, list[float]] = {'ours': [], 'stock': []}
    volume = world.provisioner.create_volume('vol1', 32, 2)
    module: Any = importlib.import_module(STOCK)
    hook = module.nvmeof_agent
    stage.check('the hook is in place', hook is not None)
    for number in range(1 + int(stage.params.get('attaches', ATTACHES))):
        for who in ('ours', 'stock'):
            connection = world.host.cinder.initialize_connection(
                volume, world.host.properties)
            if who == 'stock':
                module.nvmeof_agent = None
                world.host.connector = (  # type: ignore[method-assign]
                    functools.partial(stock_connector,
                                      world.host.multipath))
            began_s = stage.now_s()
            attachment = world.host.connect(volume, connection)
            took_s = stage.now_s() - began_s
            module.nvmeof_agent = hook
            # The first of each loads modules and makes the superblocks.
            if number:
                times[who].append(took_s)
            stage.note(f'{who}: connect_volume took {took_s:.3f} s')
            world.host.disconnect(attachment)
            world.host.connector = ours  # type: ignore[method-assign]
    for who, taken in times.items():
        stage.figure(f'connect_volume_{who}_median_s',
                     statistics.median(taken))
    stage.figure('connect_volume_added_median_s', statistics.median(
        a - b for a, b in zip(times['ours'], times['stock'], strict=True)))
