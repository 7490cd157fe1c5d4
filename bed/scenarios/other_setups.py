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
"""Without the mixin, and without a vendor's provisioner."""

import importlib
import json
import pathlib
from typing import Any
import uuid

from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.host import Properties
from bed.guest.provisioner import MIB
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World

STOCK = 'os_brick.initiator.connectors.nvmeof.NVMeOFConnector'
LOCAL_FILE = pathlib.Path('/var/lib/os-brick-healer/volumes.json')


@scenario(name='hook-only', item='hook', timeout_s=300)
def hook_only(stage: Stage) -> None:
    """os-brick's own connector: the hook starts the agent, which heals."""
    world = World.build(stage, backends=3)
    agent = Agent.configure(world, launch='process',
                            provisioner_interval='1')
    use_stock_connector(world)
    stage.check('no agent runs', not agent.up())
    attachment = world.attach(size_mib=32)
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    agent.wait_until_up()
    stage.wait_until('the agent has found the array', lambda:
                     agent.phase(volume.id) == 'healthy', 60)
    stage.wait_until('the failfast flag is cleared on every leg', lambda:
                     list(host.legs(md).values()) == ['in_sync'] * 2, 30)
    writer = world.write_to(attachment)
    stage.note('losing both legs for 6 s: a queue, not an error')
    world.array.cut_all([lost, kept], Cut.CLOSED)
    stage.wait_until('no write gets through',
                     lambda: writer.stall_now_s() > 6, 30)
    for leg in (lost, kept):
        world.array.mend(leg)
    stage.wait_until('the guest goes on', lambda: writer.flowing(2), 60)
    stage.check('the guest saw no I/O error', not writer.failures,
                writer.failures)
    stage.wait_until('the array is whole', lambda: host.is_whole(md), 60)
    stage.note('losing one of them for good')
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('the array is whole again on a new leg', lambda:
                     lost not in volume.legs and host.is_whole(md), 120)
    stage.check('the replacement was asked for exactly once',
                world.kumoscale.count('add_replica') == 1)
    stage.check('no controller of the lost leg is left',
                not host.controllers(world.array.nqn(lost)))
    world.prove_data(attachment, writer, in_sync=[kept, volume.legs[-1]])


def use_stock_connector(world: World) -> None:
    """As if somebody else had registered a class: ours is not used."""
    assert world.host.properties
    module: Any = importlib.import_module('os_brick.initiator.connector')
    # written with another name, so that our hook leaves it alone
    stock: Any = importlib.import_module(
        'os_brick.initiator.connectors.nvmeof')
    stock.SomebodyElses = stock.NVMeOFConnector
    for protocol in ('NVME', 'NVMEOF'):
        module._connector_mapping_linux[protocol] = STOCK.replace(
            'NVMeOFConnector', 'SomebodyElses')
    world.stage.check('os-brick makes its own connector', type(
        world.host.connector()).__module__ == STOCK.rpartition('.')[0])


@scenario(name='local-provisioner', item='1', timeout_s=300)
def local(stage: Stage) -> None:
    """The embedded provisioner: a leg is lost, a spare of the file used."""
    world = World.build(stage, backends=3)
    volume = world.provisioner.create_volume('vol1', 32, 2)
    lost, kept = volume.legs
    spare = str(uuid.uuid4())
    me = world.host.properties
    world.array.create(spare, 32 * MIB, 'backend-3')
    world.array.publish(spare, me['nqn'])
    LOCAL_FILE.parent.mkdir(parents=True, exist_ok=True)
    LOCAL_FILE.write_text(json.dumps({
        'format': 1, 'volumes': {volume.id: {
            'alias': 'vol1', 'size_bytes': 32 * MIB, 'replica_count': 2,
            'replicas': [entry(world, leg) for leg in volume.legs]}},
        'spares': [{**entry(world, spare), 'size_bytes': 32 * MIB}]}))
    agent = Agent.configure(world, provisioner='local', grace_period='3',
                            provisioner_interval='1')
    agent.start()
    attachment = world.host.attach(volume)
    md = attachment.md
    stage.wait_until('the agent finds all legs in sync',
                     lambda: agent.phase(volume.id) == 'healthy', 30)
    writer = world.write_to(attachment)
    world.array.cut(lost, Cut.SILENT)
    stage.wait_until('MD has dropped the leg', lambda:
                     host.md_attribute(md, 'degraded') == '1', 60)
    stage.wait_until('the file has retired the lost replica',
                     lambda: listed('retired') == [lost], 120)
    stage.check('the array is whole', host.is_whole(md), host.legs(md))
    stage.check('the spare is a leg of the volume now', [
        each['id'] for each in json.loads(LOCAL_FILE.read_text())['volumes'][
            volume.id]['replicas']] == [kept, spare])
    stage.check('no spare is left', listed('spares') == [])
    stage.check('no controller of the lost leg is left',
                not host.controllers(world.array.nqn(lost)))
    stage.check('the medium of the lost leg is kept',
                world.array.medium(lost).exists())
    world.prove_data(attachment, writer, in_sync=[kept, spare])


def entry(world: World, leg: str) -> Properties:
    return {'id': leg, 'nqn': world.array.nqn(leg), 'namespace_uuid': leg,
            'portals': [{'address': portal.address,
                         'port': int(portal.port)} for portal in
                        world.array.home(leg).portals]}


def listed(name: str) -> list[str]:
    return [str(each['id']) for each in
            json.loads(LOCAL_FILE.read_text()).get(name) or ()]
