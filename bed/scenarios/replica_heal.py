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
"""A leg is lost for good, and the volume heals under a running guest."""

from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World


@scenario(name='leg-lost-closed', item='1', core=True, timeout_s=240)
def leg_lost_closed(stage: Stage) -> None:
    """A leg is lost for good, its connection closed: it is replaced."""
    heal(stage, Cut.CLOSED)


@scenario(name='leg-lost-silent', item='2', core=True, timeout_s=240)
def leg_lost_silent(stage: Stage) -> None:
    """A leg is lost for good, in silence: it is replaced."""
    heal(stage, Cut.SILENT)


@scenario(name='leg-lost-closed-fast', item='1', timeout_s=240)
def leg_lost_closed_fast(stage: Stage) -> None:
    """As leg-lost-closed, with the profile for the shortest stalls."""
    heal(stage, Cut.CLOSED, profile='fast')


@scenario(name='leg-lost-silent-fast', item='2', timeout_s=240)
def leg_lost_silent_fast(stage: Stage) -> None:
    """As leg-lost-silent, with the profile for the shortest stalls."""
    heal(stage, Cut.SILENT, profile='fast')


def heal(stage: Stage, how: Cut, **settings: str) -> None:
    world = World.build(stage, backends=3)
    agent = Agent.configure(world, **settings)
    agent.start()
    attachment = world.attach(size_mib=64)
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    stage.wait_until('the agent finds all legs in sync',
                     lambda: agent.phase(volume.id) == 'healthy', 60)
    writer = world.write_to(attachment)
    writer.forget_stalls()
    stage.note('losing a leg for good')
    world.array.cut(lost, how)
    stage.wait_until('MD has dropped the leg', lambda:
                     host.md_attribute(md, 'degraded') == '1', 60)
    stage.check('the guest goes on', writer.flowing(2))
    stage.figure('stall_s', writer.worst_stall_s)
    stage.wait_until('the array is whole again',
                     lambda: host.is_whole(md), 120)
    stage.wait_until('the lost replica is gone',
                     lambda: lost not in volume.legs, 60)
    stage.wait_until('the agent says that all is well',
                     lambda: agent.phase(volume.id) == 'healthy', 60)
    stage.check('the replacement was asked for exactly once',
                world.kumoscale.count('add_replica') == 1)
    stage.check('the provisioner saw no breach of its rules',
                not world.provisioner.violations,
                world.provisioner.violations)
    fresh = volume.legs[-1]
    stage.check('the lost leg is gone from the host',
                host.device_of(lost) is None)
    world.prove_data(attachment, writer, in_sync=[kept, fresh])
