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
"""Targets that show the replicas of many volumes, as KumoScale's do."""

import contextlib

from bed.guest import agent as agent_module
from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.host import Attachment
from bed.guest.provisioner import Generation
from bed.guest.scenario import scenario, Stage
from bed.guest.shared_targets import SharedTargets
from bed.guest.storage import Cut
from bed.guest.world import World


@scenario(name='shared-subsystem', item='11', timeout_s=480)
def shared(stage: Stage) -> None:
    """A dead controller that another volume lives by is not deleted."""
    world = World.build(stage, array=SharedTargets(4))
    agent = Agent.configure(world, provisioner_interval='1',
                            grace_period='3600')
    agent.start()
    one, two = attach_across(world)
    stage.wait_until('the agent finds all legs in sync', lambda: all(
        agent.phase(each.volume.id) == 'healthy' for each in (one, two)), 60)
    writers = [world.write_to(each, pause_s=0.02) for each in (one, two)]
    common = world.array.nqn(one.volume.legs[0])
    stage.check('a leg of each volume is behind the same controller',
                common == world.array.nqn(two.volume.legs[1])
                and len(host.controllers(common)) == 1)

    stage.note('the second volume loses its other leg')
    world.array.cut(two.volume.legs[0], Cut.CLOSED)
    stage.wait_until('MD has dropped it', lambda:
                     host.md_attribute(two.md, 'degraded') == '1', 30)
    stage.note('and now the connection that both have in common')
    before = sorted(host.controllers(common))
    world.array.cut(one.volume.legs[0], Cut.CLOSED)
    stage.wait_until('the agent says that the controller is kept', lambda:
                     'also leads to' in agent.volume(
                         one.volume.id)['sentence'], 30)
    stage.stays('it is kept, and so are the legs behind it', lambda:
                sorted(host.controllers(common)) == before
                and len(host.legs(one.md)) == 2
                and 'in_sync' in host.legs(two.md).values(), 10, 0.5)
    world.array.mend(one.volume.legs[0])
    stage.wait_until('both guests go on', lambda: all(
        writer.flowing(2) for writer in writers), 60)
    for writer in writers:
        stage.check('it saw no error', not writer.failures, writer.failures)
    stage.check('the first volume lost nothing', host.is_whole(one.md))

    stage.note('the second volume gets its leg back; now both can spare it')
    world.array.mend(two.volume.legs[0])
    stage.wait_until('both are whole', lambda: all(
        host.is_whole(each.md) for each in (one, two)), 60)
    _one_is_out(stage, world, agent, one, two)
    stage.wait_until('the first guest goes on', lambda:
                     not host.controllers(common)
                     and writers[0].flowing(2), 30)
    _both_come_back(stage, world, one, two)
    agent_module.write_config({
        **agent_module.SETTINGS, 'provisioner_interval': '1',
        'grace_period': '3',
        'kumoscale_ca_file': str(world.kumoscale.pki.ca)})
    agent.ask('reload')
    world.array.cut(one.volume.legs[0], Cut.CLOSED)
    gone = (one.volume.legs[0], two.volume.legs[1])
    stage.wait_until('both volumes are whole again on new legs', lambda: all(
        host.is_whole(each.md) and len(each.volume.legs) == 2
        and not set(gone) & set(each.volume.legs) for each in (one, two)),
        180)
    stage.check('each asked for one replacement',
                world.kumoscale.count('add_replica') == 2)
    for attachment, writer in zip((one, two), writers, strict=True):
        world.prove_data(attachment, writer)


def _both_come_back(stage: Stage, world: World, one: Attachment,
                    two: Attachment) -> None:
    world.array.mend(one.volume.legs[0])
    stage.wait_until('both are whole', lambda: all(
        host.is_whole(each.md) for each in (one, two)), 60)


def _one_is_out(stage: Stage, world: World, agent: Agent, one: Attachment,
                two: Attachment) -> None:
    """The second volume's leg is out of its array when the connection goes
    that the first volume's has, too."""
    common = world.array.nqn(one.volume.legs[0])
    device = host.device_of(two.volume.legs[1])
    stage.note(f'{device} is taken out of the second volume, by hand')
    agent.ask('pause', reason='a leg is taken out by hand')
    host.command('mdadm', f'/dev/{two.md}', '--fail', f'/dev/{device}')
    stage.wait_until('it is out', lambda: _taken_out(two, device), 30)
    world.array.cut(one.volume.legs[0], Cut.CLOSED)
    stage.wait_until('the kernel has noticed', lambda:
                     'live' not in host.controllers(common).values(), 30)
    stage.check('the second volume has nothing behind it', device not in
                host.legs(two.md) and len(host.legs(one.md)) == 2)
    agent.ask('resume')


def _taken_out(attachment: Attachment, device: str | None) -> bool:
    with contextlib.suppress(OSError):      # a request may be under way
        host.command('mdadm', f'/dev/{attachment.md}', '--remove',
                     f'/dev/{device}')
    return device not in host.legs(attachment.md)


@scenario(name='one-target-for-all', item='1', timeout_s=360)
def one_target(stage: Stage) -> None:
    """The API's other generation: one target, its name, many namespaces."""
    array = SharedTargets(3, one_for_all=True)
    world = World.build(stage, array=array, generation=Generation.NAME)
    agent = Agent.configure(world, provisioner_interval='1',
                            grace_period='3')
    agent.start()
    attachment = world.attach(size_mib=16)
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    stage.wait_until('the agent finds all legs in sync',
                     lambda: agent.phase(volume.id) == 'healthy', 30)
    writer = world.write_to(attachment)
    connected = sorted(host.controllers(array.nqn(kept)))
    stage.note('a replica is lost; the target lives on without it')
    array.vanish(lost)
    stage.wait_until('MD has dropped the leg', lambda:
                     host.md_attribute(md, 'degraded') == '1', 60)
    stage.wait_until('the array is whole again on a new leg', lambda:
                     lost not in volume.legs and host.is_whole(md), 180)
    stage.wait_until('the agent says that all is well',
                     lambda: agent.phase(volume.id) == 'healthy', 30)
    stage.check('the replacement was asked for exactly once',
                world.kumoscale.count('add_replica') == 1)
    stage.check('the connection that all share was kept', set(connected)
                <= set(host.controllers(array.nqn(kept))))
    world.prove_data(attachment, writer, in_sync=[kept, volume.legs[-1]])


def attach_across(world: World) -> tuple[Attachment, Attachment]:
    """Two volumes; the first one's first leg and the second one's second
    lie on the same back end, their other legs on two others."""
    states = world.provisioner.backend_states
    one = world.attach('vol1', size_mib=16)      # on back ends 1 and 2
    states.update({'backend-2': 'Full', 'backend-4': 'Full'})
    two = world.attach('vol2', size_mib=16)      # on 3, the emptier, and 1
    states.clear()
    return one, two
