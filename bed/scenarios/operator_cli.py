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
"""The operator's command, as an operator runs it."""

import json
import pathlib
import shutil
import subprocess

from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.kumoscale import TOKEN
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World

STATE_PATH = pathlib.Path('/var/lib/os-brick-healer')


@scenario(name='operator-cli', item='cli', core=True, timeout_s=420)
def operator(stage: Stage) -> None:
    """status, explain, history, check, pause: what they say and return."""
    world = World.build(stage, backends=3)
    agent = Agent.configure(world, provisioner_interval='1',
                            grace_period='3600')
    expect(stage, agent, 3, ('NO AGENT RUNS',), 'status')
    agent.start()
    attachment = world.attach(size_mib=16)
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    stage.wait_until('the agent finds all legs in sync',
                     lambda: agent.phase(volume.id) == 'healthy', 30)
    writer = world.write_to(attachment)
    expect(stage, agent, 0, (volume.id, 'vol1', 'healthy', 'KumoScale'),
           'status')

    stage.note('losing a leg')
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('MD has dropped the leg', lambda:
                     host.md_attribute(md, 'degraded') == '1', 30)
    stage.wait_until('the agent says so', lambda:
                     agent.phase(volume.id) == 'degraded', 30)
    told = json.loads(expect(stage, agent, 1, (), 'status', '--json'))
    stage.check('the status as JSON holds what the agent says', [
        leg['state'] for leg in told['volumes'][0]['legs']] == [
        'lost', 'in_sync'], told['volumes'])
    expect(stage, agent, 1, ('lost', lost, kept, 'replacement'),
           'explain', 'vol1')
    expect(stage, agent, 4, ('volume',), 'explain', 'no-such-volume')
    expect(stage, agent, 0, ('give the dead one up', 'replica ' + lost),
           'history')

    stage.note('pausing')
    expect(stage, agent, 0, (), 'pause', 'mending', 'the', 'switch')
    world.array.mend(lost)
    stage.wait_until('the agent would like to bring the leg back', lambda:
                     'without the pause' in agent.volume(
                         volume.id)['sentence'], 60)
    # held while the leg's portal has just answered, else degraded
    done = run(agent, 'status')
    stage.check('status says that it is paused, and why', all(
        word in done.stdout for word in ('PAUSED', 'mending the switch')),
        done.stdout)
    stage.check('and that not all is well', done.returncode in (1, 2), done)
    stage.check('a paused agent brings nothing back',
                host.md_attribute(md, 'degraded') == '1')
    expect(stage, agent, 0, (), 'resume')
    stage.wait_until('the leg is back in sync',
                     lambda: host.is_whole(md), 60)
    stage.wait_until('the agent says that all is well',
                     lambda: agent.phase(volume.id) == 'healthy', 30)
    stage.note('root ran the agent here, and nova can write its journal')
    found = failures(stage, agent)
    stage.check('check finds nothing that keeps healing from working',
                not found, found)
    stage.note('somebody takes the journal away from nova')
    for file in STATE_PATH.iterdir():
        shutil.chown(file, 'root', 'root')
    found = failures(stage, agent)
    stage.check('check finds what nova cannot write, and nothing else',
                found and all('cannot be written by nova' in each
                              for each in found), found)
    for file in STATE_PATH.iterdir():
        shutil.chown(file, 'nova')
    world.kumoscale.token = 'another-token'
    found = failures(stage, agent)
    stage.check('with that mended, it finds only that the token is refused',
                len(found) == 1 and 'denies access' in found[0], found)
    world.kumoscale.token = TOKEN
    world.prove_data(attachment, writer)


def failures(stage: Stage, agent: Agent) -> list[str]:
    """What check finds that keeps healing from working."""
    done = run(agent, 'check', '--online', '--json')
    found = [f'{each["subject"]}: {each["sentence"]}' for each in
             json.loads(done.stdout) if each['level'] == 'FAIL']
    stage.check('the exit status tells that there is something',
                (done.returncode == 2) == bool(found), done.returncode)
    return found


def run(agent: Agent, *words: str) -> subprocess.CompletedProcess[str]:
    began = agent.world.stage.now_s()
    done = agent.cli(*words)
    agent.world.stage.note(f'os-brick-healer {" ".join(words)}: exit status '
                           f'{done.returncode}, '
                           f'{agent.world.stage.now_s() - began:.1f} s')
    return done


def expect(stage: Stage, agent: Agent, code: int, words: tuple[str, ...],
           *command: str) -> str:
    """Runs the command; its exit status and these words must be right."""
    done = run(agent, *command)
    said = done.stdout + done.stderr
    missing = [word for word in words if word not in said]
    stage.check(f'{command[0]} returns {code} and says what it must',
                done.returncode == code and not missing,
                f'{done.returncode}, without {missing}: {said}')
    stage.check('no traceback', 'Traceback' not in said, said)
    return done.stdout
