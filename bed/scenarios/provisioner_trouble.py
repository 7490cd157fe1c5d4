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
"""The provisioner is down, slow, mad or an impostor."""

import pathlib

from bed.guest import agent as agent_module
from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.host import Attachment
from bed.guest.kumoscale import Fault
from bed.guest.patient import Patient
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World
from bed.guest.writer import Writer

GRACE_S = 4.0
#: Each fault, and a word of the reason that the operator must get to see.
FAULTS = (
    (Fault.DOWN, 'refuses connections'),
    (Fault.SLOW, 'does not answer within'),
    (Fault.ERROR_500, '500'),
    (Fault.GARBAGE, 'JSON'),
    (Fault.TRUNCATED, 'breaks off'),
    (Fault.UNAUTHORIZED, 'denies access'),
    (Fault.WRONG_CERTIFICATE, 'certificate'),
)
#: Whatever changes a volume at the provisioner.
CHANGES = ('add_replica', 'mark_replica', 'confirm_deletion',
           'migrate_volume', 'unpublish', 'publish')


@scenario(name='provisioner-misbehaves', item='9', core=True, timeout_s=420)
def misbehaves(stage: Stage) -> None:
    """Whatever ails the provisioner, I/O flows and nothing is changed."""
    patient = Patient.admit(
        stage, size_mib=16, grace_period=f'{GRACE_S:g}',
        provisioner_interval='1', kumoscale_connect_timeout='2',
        kumoscale_read_timeout='4')
    world, agent, attachment, writer = patient.cast
    lost, kept = patient.legs
    world.kumoscale.break_down(Fault.DOWN)
    stage.wait_until('the agent misses the provisioner',
                     lambda: trouble(agent), 30)
    world.kumoscale.forget_requests()
    stage.note('losing a leg while nobody answers')
    patient.lose(lost, Cut.CLOSED)
    for fault, word in FAULTS:
        endure(world, agent, attachment, writer, fault, word)
    contradict(world, agent, attachment, writer)
    stage.figure('stall_s', writer.worst_stall_s)
    stage.note('the provisioner is mended')
    world.kumoscale.mend()
    patient.becomes_whole()
    stage.wait_until('the lost replica is gone',
                     lambda: lost not in patient.legs, 60)
    patient.becomes_well()
    patient.check_replacements(1)
    patient.check_rules()
    stage.check('the token is in no log and no status',
                not told_the_token(world, agent))
    world.prove_data(attachment, writer, in_sync=[kept, patient.legs[-1]])


def endure(world: World, agent: Agent, attachment: Attachment,
           writer: Writer, fault: Fault, word: str) -> None:
    """One fault, for longer than the grace."""
    stage = world.stage
    stage.note(f'fault: {fault.value}')
    # Longer than the agent waits for an answer.
    world.kumoscale.break_down(fault, delay_s=8)
    key = attachment.volume.id
    stage.wait_until(f'the status tells why ("{word}")',
                     lambda: word in trouble(agent), 40)
    stage.stays('nothing is changed', lambda: untouched(world, attachment),
                GRACE_S + 1 if fault is Fault.DOWN else 2, every_s=0.5)
    told = agent.volume(key)
    stage.check('the volume is held, and the sentence says why',
                told['phase'] == 'held' and word in told['sentence'], told)
    stage.check('the guest goes on', writer.flowing(3))


def contradict(world: World, agent: Agent, attachment: Attachment,
               writer: Writer) -> None:
    """Every second answer tells another story."""
    stage = world.stage
    stage.note(f'fault: {Fault.CONTRADICTION.value}')
    world.kumoscale.break_down(Fault.CONTRADICTION)
    stage.wait_until('the agent hears it', lambda: len(
        world.kumoscale.requests_of('volumes')) >= 3, 40)
    stage.stays('nothing is changed', lambda: untouched(world, attachment),
                2 * GRACE_S, every_s=0.5)
    told = agent.volume(attachment.volume.id)
    stage.check('the volume is held', told['phase'] == 'held', told)
    stage.note(told['sentence'])
    stage.check('the guest goes on', writer.flowing(3))


def trouble(agent: Agent) -> str:
    """Why the agent has no provisioner; empty if it has."""
    return str(agent.status()['agent']['provisioner'].get('error') or '')


def untouched(world: World, attachment: Attachment) -> bool:
    """Nothing requested, added or removed, here or there."""
    asked = [r for kind in CHANGES for r in world.kumoscale.requests_of(kind)]
    if asked:
        world.stage.note(f'asked for: {asked[0]}')
    states = list(host.legs(attachment.md).values())
    return (not asked and len(attachment.volume.legs) == 2
            and states.count('in_sync') == 1
            and all('faulty' in each for each in states if each != 'in_sync'))


def told_the_token(world: World, agent: Agent) -> list[str]:
    token = world.kumoscale.token
    texts = {'log': agent_module.LOG_FILE.read_text(errors='replace'),
             'nova log': pathlib.Path(host.LOG_FILE).read_text(
                 errors='replace'),
             'status': str(agent.status()),
             'history': str(agent.ask('history', limit=1000))}
    return [name for name, text in texts.items() if token in text]
