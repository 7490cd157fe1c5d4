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
"""nova-compute stops or is killed, and the agent outlives it."""

import os
import pathlib
import pwd

from bed.guest import host
from bed.guest.agent_unit import NOVA_UNIT, UnitAgent
from bed.guest.host import Attachment
from bed.guest.scenario import Mode, scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World

CGROUP = pathlib.Path('/sys/fs/cgroup/system.slice')


@scenario(name='agent-outlives-nova-systemd', item='8', core=True,
          mode=Mode.SYSTEMD, timeout_s=600)
def agent_outlives_nova_systemd(stage: Stage) -> None:
    """nova's unit is stopped and killed; the agent's unit heals on."""
    outlive(stage, 'systemd')


@scenario(name='agent-outlives-nova-process', item='8', mode=Mode.SYSTEMD,
          timeout_s=600)
def agent_outlives_nova_process(stage: Stage) -> None:
    """nova's unit is stopped and killed; the detached process heals on."""
    outlive(stage, 'process')


def outlive(stage: Stage, launch: str) -> None:
    world = World.build(stage, backends=3, nova_user='nova')
    agent = UnitAgent.configure(world, launch=launch)
    stage.note('nova-compute attaches a volume, and nothing else starts the '
               'agent')
    attachment = world.attach(size_mib=32)
    agent.wait_until_up()
    pid = agent.pid
    stage.check('the agent runs as nova', owner(pid) == 'nova', owner(pid))
    stage.check(f'it says that it was launched as {launch}',
                agent.status()['agent']['launch'] == launch)
    key = attachment.volume.id
    stage.wait_until('the agent finds all legs in sync',
                     lambda: agent.phase(key) == 'healthy', 60)
    writer = world.write_to(attachment)

    stage.note('an operator stops nova-compute')
    world.nova.stop()
    stage.check('nothing of nova-compute is left', not members(NOVA_UNIT),
                members(NOVA_UNIT))
    stage.check('the agent is the same process', agent.pid == pid)
    world.nova.start()
    stage.note('nova-compute is killed with its whole control group')
    world.nova.kill()
    stage.wait_until('nothing of nova-compute is left',
                     lambda: not members(NOVA_UNIT), 30)
    stage.check('the agent is the same process', agent.pid == pid)
    stage.check('the guest goes on', writer.flowing(5))
    lose_and_heal(world, attachment)
    stage.check('the agent is the same process', agent.pid == pid)
    world.prove_data(attachment, writer)


def lose_and_heal(world: World, attachment: Attachment) -> None:
    """A leg is lost, and a new one takes its place."""
    stage, volume, md = world.stage, attachment.volume, attachment.md
    lost = volume.legs[0]
    stage.note('losing a leg for good')
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('MD has dropped the leg', lambda:
                     host.md_attribute(md, 'degraded') == '1', 60)
    stage.wait_until('the array is whole again on its new leg', lambda:
                     lost not in volume.legs and host.is_whole(md), 240)
    stage.check('the replacement was asked for exactly once',
                world.kumoscale.count('add_replica') == 1)
    stage.check('the provisioner saw no breach of its rules',
                not world.provisioner.violations,
                world.provisioner.violations)


def members(unit: str) -> list[int]:
    """The processes in a unit's control group."""
    try:
        words = (CGROUP / unit / 'cgroup.procs').read_text().split()
    except OSError:
        return []  # the group goes with its last process
    return [int(word) for word in words]


def owner(pid: int) -> str:
    return pwd.getpwuid(os.stat(f'/proc/{pid}').st_uid).pw_name


@scenario(name='agent-thread-dies-with-nova', item='8', mode=Mode.SYSTEMD,
          timeout_s=600)
def agent_thread_dies_with_nova(stage: Stage) -> None:
    """A thread of nova-compute dies with it, is missed, and comes back."""
    world = World.build(stage, backends=3, nova_user='nova')
    agent = UnitAgent.configure(world, launch='thread')
    attachment = world.attach(size_mib=32)
    agent.wait_until_up()
    key = attachment.volume.id
    stage.check('it says that it is a thread',
                agent.status()['agent']['launch'] == 'thread')
    stage.check("the agent is a thread of nova-compute's process",
                agent.pid == world.nova.pid)
    stage.wait_until('the agent finds all legs in sync',
                     lambda: agent.phase(key) == 'healthy', 60)
    writer = world.write_to(attachment)
    world.nova.kill()
    stage.wait_until('the agent has gone with nova-compute',
                     lambda: not agent.up(), 30)
    told = agent.cli('status')
    stage.check('the command says that no agent runs, and fails',
                told.returncode != 0 and 'NO AGENT RUNS' in told.stdout,
                (told.returncode, told.stdout, told.stderr))
    stage.check('the guest goes on', writer.flowing(5))
    world.nova.start()
    stage.note('the next volume brings the agent back')
    other = world.attach('vol2', size_mib=16)
    agent.wait_until_up()
    stage.wait_until('the agent knows both volumes', lambda: {
        key, other.volume.id} <= {
            each['key'] for each in agent.status()['volumes']}, 60)
    lose_and_heal(world, attachment)
    world.prove_data(attachment, writer)
