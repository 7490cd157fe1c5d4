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
"""Arrays and connections that are somebody else's."""

import pathlib
from typing import Any
import uuid

from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World
from bed.guest.writer import Writer

FILES = pathlib.Path('/run/bed-foreign')
MIB = 1 << 20
#: In silence Linux tears down within about twice the keep-alive (4 s).
KEEP_ALIVE_S = 60.0


@scenario(name='foreign-array', item='11', timeout_s=480)
def foreign(stage: Stage) -> None:
    """Ours heals; those beside it are not touched, in health or not."""
    world = World.build(stage, backends=3)
    local = local_array()
    legs = [remote_leg(world, number) for number in (1, 2)]
    remote = array_of('remote', [f'/dev/{host.wait_for_device(leg)}'
                                 for leg in legs])
    agent = Agent.configure(world, provisioner_interval='1')
    agent.start()
    attachment = world.attach(size_mib=16)
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    stage.wait_until('the agent finds all legs in sync',
                     lambda: agent.phase(volume.id) == 'healthy', 30)
    writer = world.write_to(attachment)
    others = Writer(f'/dev/{remote}')
    stage.at_exit('end the foreign writer', others.close)
    before = [portrait(local), portrait(remote)]
    known = connections(world, legs)

    stage.note('losing a leg of ours')
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('ours is whole again on a new leg', lambda:
                     lost not in volume.legs and host.is_whole(md), 120)
    stage.check('the foreign arrays are as they were',
                before == [portrait(local), portrait(remote)],
                [portrait(local), portrait(remote)])
    stage.check('and so are their connections',
                connections(world, legs) == known, connections(world, legs))
    stage.check('the foreign guest saw nothing', not others.failures)

    stage.note('a foreign leg is lost, on the back end of ours')
    world.array.cut(legs[0], Cut.CLOSED)
    stage.wait_until('its controller reconnects', lambda: list(
        host.controllers(world.array.nqn(legs[0])).values())
        == ['connecting'], 20)
    stage.stays('nobody touches it', lambda: (
        host.legs(remote) == before[1]['legs']
        and connections(world, legs).keys() == known.keys()), 15, 0.5)
    stage.check('the agent does not speak of it', not any(
        remote in str(each) for each in agent.status()['volumes']))
    world.array.mend(legs[0])
    stage.wait_until('the foreign guest goes on',
                     lambda: others.flowing(1), 60)

    stage.note('the back end that both use falls silent')
    kept_home = next(r.backend for r in volume.replicas if r.id == kept)
    shared = [leg for leg in legs if world.array.home(leg) == kept_home]
    stage.check('a foreign leg shares the portal of one of ours', shared)
    names = connections(world, legs).keys()
    writer.forget_stalls()
    world.array.cut(kept, Cut.SILENT)
    stage.wait_until('ours goes on, without a cut',
                     lambda: host.md_attribute(md, 'degraded') == '1',
                     KEEP_ALIVE_S)
    stage.check('the guest goes on', writer.flowing(3))
    stage.figure('stall_s', writer.worst_stall_s)
    history = str(agent.ask('history', limit=500))
    stage.check('cutting the shared connection was refused, and said',
                'is not known to be ours' in history, history[-2000:])
    stage.check('no foreign controller was deleted',
                connections(world, legs).keys() == names,
                connections(world, legs))
    world.array.mend(kept)
    stage.wait_until('ours is whole again', lambda: host.is_whole(md)
                     and len(volume.legs) == 2, 120)
    stage.wait_until('the foreign guest goes on',
                     lambda: others.flowing(1), 60)
    stage.check('it lost no leg', host.legs(remote) == before[1]['legs'],
                host.legs(remote))
    stage.check('the local array is as it was', portrait(local) == before[0])
    report = others.stop()
    stage.check('the foreign guest saw no error', not report.failures,
                report.failures[:3])
    stage.check('the foreign data is whole',
                not others.verify(f'/dev/{remote}'))
    world.prove_data(attachment, writer, in_sync=list(volume.legs))


def local_array() -> str:
    """An array over loop devices, one of its legs gone already."""
    FILES.mkdir()
    loops = []
    for number in range(2):
        file = FILES / f'leg-{number}'
        with file.open('xb') as new:
            new.truncate(16 * MIB)
        loops.append(host.command('losetup', '-f', '--show',
                                  str(file)).strip())
    name = array_of('local', loops)
    host.command('mdadm', '--manage', f'/dev/{name}', '--fail', loops[1])
    return name


def remote_leg(world: World, backend: int) -> str:
    """A namespace that no provisioner names for us, connected by hand."""
    leg, me = str(uuid.uuid4()), world.host.properties
    world.array.create(leg, 16 * MIB, f'backend-{backend}')
    world.array.publish(leg, me['nqn'])
    host.fabrics_connect({
        'target_nqn': world.array.nqn(leg),
        'portals': [(portal.address, portal.port, 'tcp') for portal in
                    world.array.home(leg).portals]}, me)
    return leg


def array_of(name: str, devices: list[str]) -> str:
    path = f'/dev/md/{name}'
    host.command('mdadm', '-C', path, '-R', '-N', name, '--level', '1',
                 f'--raid-devices={len(devices)}', '--bitmap=internal',
                 '--homehost=any', '--assume-clean', *devices)
    return pathlib.Path(path).resolve().name


def portrait(md: str) -> dict[str, Any]:
    """What nobody but its owner may change."""
    return {'uuid': host.md_attribute(md, 'uuid'), 'legs': host.legs(md),
            'degraded': host.md_attribute(md, 'degraded'),
            'flags': host.md_attribute(md, 'consistency_policy')}


def connections(world: World, legs: list[str]) -> dict[str, str]:
    return {name: state for leg in legs for name, state in
            host.controllers(world.array.nqn(leg)).items()}
