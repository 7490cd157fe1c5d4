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
"""``make demo``: the main job, before your eyes."""

import pathlib
import signal
import time
from typing import Any

from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.mapped import MappedHost
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World

BAR = 30
#: Slow enough to watch: KiB per second.
SYNC_SPEED_MAX = '16384'


@scenario(name='demo', item='demo', timeout_s=600)
def demo(stage: Stage) -> None:
    """A replicated volume loses a leg, and then a mapped one its process."""
    world = World.build(stage, backends=3)
    agent = Agent.configure(world, launch='process', grace_period='8')
    stage.note('nova-compute attaches a volume; nothing else starts the '
               'agent')
    attachment = world.attach(size_mib=192)
    agent.wait_until_up()
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    pathlib.Path(f'/sys/block/{md}/md/sync_speed_max').write_text(
        SYNC_SPEED_MAX)
    stage.wait_until('the agent finds all legs in sync',
                     lambda: agent.phase(volume.id) == 'healthy', 60)
    writer = world.write_to(attachment)
    writer.forget_stalls()
    stage.note(f'the storage server of replica {lost[:8]} dies; the guest '
               f'goes on writing')
    world.array.cut(lost, Cut.CLOSED)
    watch(stage, agent, volume.id, lambda: lost not in volume.legs
          and host.is_whole(md))
    stage.note(f'the worst write waited {writer.worst_stall_s:.2f} s; '
               f'{writer.writes} writes so far, '
               f'{len(writer.failures)} errors')
    stage.note('what the agent did, from its history:')
    for line in agent.history().splitlines():
        stage.note(f'  {line}')
    world.prove_data(attachment, writer, in_sync=[kept, volume.legs[-1]])
    mapped_heal(stage, agent)


def mapped_heal(stage: Stage, agent: Agent) -> None:
    """The other kind of volume: the process that serves it is killed."""
    stage.note('a second volume: a process serves it over NBD')
    mapped = MappedHost.beside(stage, agent)
    volume = mapped.attach('vol2')
    mapped.until_well(volume)
    writer = mapped.write_to(volume)
    pid = volume.signal(signal.SIGKILL)
    stage.note(f'process {pid} is killed with -9; the guest goes on writing')
    mapped.until_flowing(volume, writer)
    mapped.until_well(volume)
    stage.note(f'[{agent.phase(volume.id)}] {mapped.sentence(volume)}')
    stage.note(f'the worst write waited {writer.worst_stall_s:.2f} s')
    mapped.prove(volume, writer)
    mapped.detach(volume)


def watch(stage: Stage, agent: Agent, key: str, done: Any) -> None:
    """Shows each new sentence of the agent, and the copy's progress."""
    said, end_s = '', stage.now_s() + 400
    while not done() and stage.now_s() < end_s:
        volume = agent.volume(key)
        line = describe(volume)
        if line != said:
            stage.note(line)
            said = line
        time.sleep(0.2)
    stage.check('the volume is whole again, on its new leg', done())


def describe(volume: dict[str, Any]) -> str:
    percent = (volume.get('sync') or {}).get('percent')
    if percent is None:
        return f'[{volume.get("phase")}] {volume.get("sentence")}'
    full = int(BAR * percent / 100)
    return f'[resync] {"#" * full}{"." * (BAR - full)} {percent:5.1f} %'
