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
"""Live migration: for a while two hosts have the volume."""

from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.host import Attachment
from bed.guest.patient import Patient
from bed.guest.provisioner import Host as ProvisionerHost
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World

OTHER = ProvisionerHost(
    id='00000000-1111-4222-8333-444444444444',
    nqn='nqn.2014-08.org.nvmexpress:uuid:the-other-host', name='target-host',
    client_type='Agent', version='1', duration_s=30, probed_at_s=0.0)
HELD_S = 12.0
CHANGES = ('add_replica', 'mark_replica', 'confirm_deletion')


@scenario(name='two-hosts', item='13', timeout_s=420)
def two_hosts(stage: Stage) -> None:
    """While a second host has the volume nothing heals; then all does."""
    patient = Patient.admit(stage, size_mib=16, provisioner_interval='1',
                            grace_period='3')
    world, agent, attachment, writer = patient.cast
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs

    stage.note('live migration: the volume is shown to a second host')
    begin(world, agent, attachment)
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('the leg has lost its connection', lambda: list(
        host.controllers(world.array.nqn(lost)).values())
        == ['connecting'], 30)
    stage.stays('both hosts see the same two legs: none is given up',
                lambda: held(world, agent, attachment, 2), HELD_S, 0.5)
    stage.note('the migration has ended: one host again')
    world.provisioner.unpublish(OTHER.id, volume.id)
    stage.wait_until('the guest goes on', lambda: writer.flowing(2), 60)
    stage.wait_until('the array is whole again on a new leg', lambda:
                     lost not in volume.legs and host.is_whole(md), 120)
    stage.wait_until('the agent says that all is well',
                     lambda: agent.phase(volume.id) == 'healthy', 30)

    stage.note('a second migration, of a volume that has just lost a leg')
    fresh = volume.legs[-1]
    agent.ask('pause', reason='the scenario sets the stage')
    world.array.cut(fresh, Cut.CLOSED)
    begin(world, agent, attachment, paused=True)
    agent.ask('resume')
    stage.stays('nothing is requested and nothing removed',
                lambda: held(world, agent, attachment, 2), HELD_S, 0.5)
    world.provisioner.unpublish(OTHER.id, volume.id)
    stage.wait_until('the array is whole again on another leg', lambda:
                     fresh not in volume.legs and host.is_whole(md), 120)
    stage.check('one replacement was asked for since then',
                world.kumoscale.count('add_replica') == 1)
    stage.check('the provisioner saw no breach of its rules',
                not world.provisioner.violations,
                world.provisioner.violations)
    world.prove_data(attachment, writer, in_sync=[kept, volume.legs[-1]])


def begin(world: World, agent: Agent, attachment: Attachment, *,
          paused: bool = False) -> None:
    """The volume is published to the other host, and the agent knows.

    One that is paused says nothing of it; its questions come in rounds, and
    it has the answers of each before it begins the next.
    """
    volume = attachment.volume
    world.provisioner.probe(OTHER)
    world.provisioner.publish(OTHER.id, volume.id)
    world.kumoscale.forget_requests()
    world.stage.wait_until('the agent has heard of the other host', lambda:
                           (paused and world.kumoscale.count('volumes') > 2)
                           or OTHER.name in agent.volume(
                               volume.id).get('sentence', ''), 30)


def held(world: World, agent: Agent, attachment: Attachment,
         legs: int) -> bool:
    told = agent.volume(attachment.volume.id)
    asked = [r for kind in CHANGES for r in world.kumoscale.requests_of(kind)]
    fine = (told['phase'] == 'held' and OTHER.name in told['sentence']
            and not asked and len(host.legs(attachment.md)) == legs)
    if not fine:
        world.stage.note(f'{told["phase"]}: {told["sentence"]}; asked for '
                         f'{asked[:1]}; legs {host.legs(attachment.md)}')
    return fine
