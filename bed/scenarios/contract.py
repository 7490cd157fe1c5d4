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
"""The simulator's terms, kept by a real kernel."""

import importlib
from typing import Any

from bed.guest.agent import Agent
from bed.guest.mapped import MappedHost
from bed.guest.scenario import scenario, Stage
from bed.guest.world import World


@scenario(name='contract', item='sim', timeout_s=1800)
def contract(stage: Stage) -> None:
    """What the simulator claims of MD and NVMe over TCP is so."""
    world = World.build(stage, backends=4)
    Agent.configure(world)      # and nobody starts it: nothing heals
    lab: Any = importlib.import_module('bed.guest.real_lab')
    lab.play(world)


@scenario(name='contract-nbd', item='sim', timeout_s=1200)
def contract_nbd(stage: Stage) -> None:
    """What the simulator claims of nbd and its servers is so."""
    mapped = MappedHost.build(stage)      # and nobody starts the agent
    lab: Any = importlib.import_module('bed.guest.real_nbd_lab')
    lab.play(mapped)
