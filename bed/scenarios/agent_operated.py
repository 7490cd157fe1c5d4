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
"""An operator at the agent: a second one, pause, stop and start again."""

import subprocess
import time

from bed.guest import agent as agent_module
from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World
from bed.scenarios import heal_in_trouble as trouble

SECOND_STATUS = 3  # what the unit's RestartPreventExitStatus= names


@scenario(name='agent-stopped-and-paused', item='8', timeout_s=600)
def agent_stopped_and_paused(stage: Stage) -> None:
    """A second agent leaves; a pause holds; SIGTERM in a heal, and on."""
    world = World.build(stage, backends=3)
    began_s = stage.now_s()
    agent, attachment, writer = trouble.begin(stage, world)
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    refuse_second(stage, agent)
    trouble.copy_slowly(md)
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('MD has dropped the leg', lambda:
                     trouble.degraded(md), 60)
    agent.ask('pause', reason='the network is being rewired')
    asked = world.kumoscale.count
    before = asked('add_replica')
    stage.stays('nothing more is asked for while it is paused',
                lambda: asked('add_replica') == before,
                3 * trouble.GRACE_S)
    held = agent.volume(volume.id)
    stage.check('it says that it is paused, why, and what it would do',
                held['phase'] == 'held' and 'is being rewired' in
                held['sentence'], held['sentence'])
    stage.note('the agent is stopped and started: the pause holds')
    stop(stage, agent)
    agent.start()
    stage.stays('nothing is asked for after the start', lambda:
                asked('add_replica') == before, 2 * trouble.GRACE_S)
    agent.ask('resume')
    stage.wait_until('a new leg has a tenth of the copy', lambda:
                     (trouble.copied(md) or 0.0) > 0.1, 120)
    stage.note('the agent is stopped in the middle of the heal')
    stop(stage, agent)
    stage.check('the guest goes on', writer.flowing(5))
    stage.wait_until('the copy has ended without it',
                     lambda: host.is_whole(md), 120)
    stage.check('the old replica is still named', lost in volume.legs)
    agent.start()
    stage.wait_until('the lost replica is gone',
                     lambda: lost not in volume.legs, 90)
    stage.wait_until('the agent says that all is well',
                     lambda: agent.phase(volume.id) == 'healthy', 60)
    stage.check('the replacement was asked for exactly once',
                asked('add_replica') == 1)
    stage.check('this host had a uuid from the start',
                'finds no uuid' not in agent_module.LOG_FILE.read_text())
    stage.figure('took_s', stage.now_s() - began_s)
    trouble.nothing_leaked(world, attachment)
    world.prove_data(attachment, writer, in_sync=[kept, volume.legs[-1]])


def refuse_second(stage: Stage, agent: Agent) -> None:
    """One agent runs on a host; who comes second says so and leaves."""
    stage.note('somebody starts a second agent')
    second = subprocess.run(
        [agent_module.AGENT, '--config-file', host.NOVA_CONF,
         '--config-file', str(agent_module.CONFIG)], capture_output=True,
        text=True, timeout=300, check=False)
    stage.check('it leaves with the status that stands for that',
                second.returncode == SECOND_STATUS, second.returncode)
    assert agent.process is not None
    # Its log, which is not a file here, or standard error.
    said = second.stdout + second.stderr
    stage.check('it says who is there already', 'second agent' in
                said and str(agent.process.pid) in said, said)
    stage.check('the first one goes on',
                agent.ask('ping')['pid'] == agent.process.pid)


def stop(stage: Stage, agent: Agent) -> None:
    began_s = time.monotonic()
    status = agent.stop()
    stage.check('SIGTERM ends it cleanly', status == 0, status)
    stage.figure('stop_s', time.monotonic() - began_s)
    stage.wait_until('it no longer answers', lambda: not agent.up(), 10)
