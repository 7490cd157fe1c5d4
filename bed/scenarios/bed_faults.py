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
"""Every fault of the simulated array is what it claims to be."""

import http.client
import time

from bed.guest import host
from bed.guest.kumoscale import Fault
from bed.guest.provisioner import Host as ProvisionerHost
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World

VOLUMES = 32
MIB = 1 << 20


@scenario(name='bed-faults', item='bed', timeout_s=180, healer=False)
def faults(stage: Stage) -> None:
    """Silence, slowness, growth, false identities and foreign data."""
    world = World.build(stage, backends=4)
    attachment = world.attach()
    volume, array = attachment.volume, world.array
    first, second = volume.legs
    writer = world.write_to(attachment)

    stage.note('silencing a leg for 3 s')
    array.cut(first, Cut.SILENT)
    stage.wait_until('an I/O is stuck for 2 s',
                     lambda: writer.stall_now_s() > 2, 10)
    stage.check('the host has not noticed', list(host.controllers(
        array.nqn(first)).values()) == ['live'])
    array.mend(first)
    stage.wait_until('the guest goes on', lambda: writer.flowing(1), 40)

    stage.note('slowing a leg')
    writer.forget_stalls()
    array.slow(second, 0.4)
    stage.wait_until('an I/O takes longer than that',
                     lambda: writer.worst_stall_s >= 0.4, 10)
    array.slow(second, 0)
    stage.wait_until('the guest is brisk again',
                     lambda: writer.flowing(0.2), 10)

    stage.note('growing the volume under the guest')
    stage.figure('extended_mib',
                 world.host.extend(attachment, 96) / MIB)
    stage.check('the array has grown',
                float(stage.figures['extended_mib']) > 90)
    stage.wait_until('the new part is in sync',
                     lambda: host.is_whole(attachment.md), 30)
    world.prove_data(attachment, writer)
    host.command('nvme', 'disconnect-all')
    stage.wait_until('no connection is left',
                     lambda: not array.connections(first), 10)
    _false_replicas(stage, world)


def _false_replicas(stage: Stage, world: World) -> None:
    array = world.array
    volume = world.provisioner.create_volume('false', 64, 2)
    worn, false = volume.legs
    identity = 'aaaaaaaa-0000-4000-8000-000000000001'
    array.wear_superblock(worn)
    array.masquerade(false, identity)
    connection = world.host.cinder.initialize_connection(
        volume, world.host.properties)
    for target in connection['volume_replicas']:
        host.nvme_connect(target)
    stage.wait_until('the namespace shows a false identity',
                     lambda: host.device_of(identity), 10)
    stage.wait_until('the worn replica is there',
                     lambda: host.device_of(worn), 10)
    found = host.command('mdadm', '--examine', '--brief',
                         f'/dev/{host.device_of(worn)}')
    stage.check('it carries the superblock of another array',
                'elsewhere:precious' in found, found)
    for target in connection['volume_replicas']:
        host.command('nvme', 'disconnect', '-n', target['target_nqn'])
    array.destroy(false)
    stage.check('a destroyed leg is gone', false not in array.replicas())
    volume.replicas.pop()
    world.provisioner.next_size_bytes = 32 * MIB
    small = world.provisioner.add_replica(volume.id)
    stage.check('a replica may be too small',
                array.medium(small).stat().st_size == 32 * MIB)


@scenario(name='bed-multipath', item='bed', timeout_s=120, healer=False)
def multipath(stage: Stage) -> None:
    """A leg with two portals survives the loss of one of them."""
    world = World.build(stage, backends=2, portals=2, multipath=True)
    attachment = world.attach()
    leg = attachment.volume.legs[0]
    nqn = world.array.nqn(leg)
    stage.check('the leg has two controllers',
                len(host.controllers(nqn)) == 2, host.controllers(nqn))
    writer = world.write_to(attachment)
    world.array.cut(leg, Cut.CLOSED, portal=0)
    stage.wait_until('one path is down', lambda: sorted(
        host.controllers(nqn).values()) == ['connecting', 'live'], 10)
    stage.check('the guest goes on', writer.flowing(2))
    stage.check('the array is whole', host.is_whole(attachment.md))
    world.array.mend(leg, portal=0)
    world.prove_data(attachment, writer)


@scenario(name='bed-many-volumes', item='bed', timeout_s=600, healer=False,
          memory_mib=1536)
def many(stage: Stage) -> None:
    """32 volumes of two replicas: how fast the array and the API are."""
    world = World.build(stage, backends=3)
    assert world.host.properties
    began = stage.now_s()
    volumes = [each.volume for each in world.attach_many(VOLUMES)]
    stage.figure('attach_each_s', (stage.now_s() - began) / VOLUMES)
    began = stage.now_s()
    legs = [volume.legs[0] for volume in volumes]
    world.array.cut_all(legs, Cut.CLOSED)
    stage.figure('cut_all_s', stage.now_s() - began)
    stage.wait_until('every one has lost a leg', lambda: all(
        'connecting' in host.controllers(world.array.nqn(leg)).values()
        for leg in legs), 30)
    for leg in legs:
        world.array.mend(leg)


@scenario(name='bed-provisioner-faults', item='bed', timeout_s=60,
          healer=False)
def provisioner_faults(stage: Stage) -> None:
    """The provisioner's API dies, lies and comes back as told."""
    world = World.build(stage, backends=3)
    cinder, server = world.host.cinder, world.kumoscale
    world.provisioner.create_volume('told', 16, 2)
    for fault in Fault:
        if fault in (Fault.NONE, Fault.SLOW, Fault.CONTRADICTION):
            continue
        server.break_down(fault)
        try:
            cinder.call('GET', 'volumes')
        except (OSError, ValueError, http.client.HTTPException) as error:
            stage.note(f'{fault.value}: {error!r}')
        else:
            stage.check(f'the client notices that {fault.value}', False)
    server.break_down(Fault.SLOW, delay_s=1.0)
    began = time.monotonic()
    cinder.call('GET', 'volumes')
    stage.check('a slow answer is slow', time.monotonic() - began >= 1.0)
    server.break_down(Fault.CONTRADICTION)
    stage.check('two answers in a row do not agree',
                _states(world) != _states(world))
    server.mend()
    stage.check('and now they do', _states(world) == _states(world))
    _two_hosts(stage, world)


def _states(world: World) -> list[str]:
    return [location['replicaState']
            for volume in world.host.cinder.call('GET', 'volumes')
            for location in volume['location']]


def _two_hosts(stage: Stage, world: World) -> None:
    volume = world.provisioner.volumes()[0]
    world.host.cinder.initialize_connection(volume, world.host.properties)
    other = ProvisionerHost(
        id='other-host', nqn='nqn.2014-08.org.nvmexpress:uuid:other',
        name='other', client_type='Agent', version='1', duration_s=30,
        probed_at_s=0.0)
    world.provisioner.probe(other)
    world.provisioner.publish(other.id, volume.id)
    targets = world.host.cinder.call('GET', f'targets?volId={volume.id}')
    stage.check('a volume may be published to two hosts',
                len({each['hostId'] for each in targets}) == 2)
