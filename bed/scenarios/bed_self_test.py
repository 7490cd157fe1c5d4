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
"""The bed proves itself, before it is asked to prove anything else."""

from bed.guest import host
from bed.guest.blocks import BLOCK_BYTES
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.superblock import OFFSET_BYTES, parse, SIZE_BYTES
from bed.guest.world import World


@scenario(name='bed-self-test', item='bed', core=True,
          timeout_s=180, healer=False)
def self_test(stage: Stage) -> None:
    """Array, API, writer and verification, with a heal by hand."""
    world = World.build(stage, backends=3)
    attachment = world.attach(size_mib=64)
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    writer = world.write_to(attachment)

    stage.note('losing a leg and healing it by hand')
    nvme = host.device_of(lost)
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('the host reconnects in vain', lambda: 'connecting' in
                     host.controllers(world.array.nqn(lost)).values(), 10)
    for name in host.controllers(world.array.nqn(lost)):
        host.command('nvme', 'disconnect', '-d', name)
    stage.wait_until('MD has dropped the leg', lambda:
                     host.md_attribute(md, 'degraded') == '1', 20)
    stage.check('the guest goes on', writer.flowing(2))

    api, me = world.host.cinder, world.host.properties['uuid']
    api.call('PATCH', f'replica/{volume.id}/{lost}/Missing')
    api.call('POST', f'replica/{volume.id}', {'sameRackAllowed': False})
    fresh = volume.legs[-1]
    api.call('POST', 'publish', {'hostId': me, 'volId': volume.id})
    target, = (each for each in world.provisioner.targets_json(me, volume.id)
               if fresh in each['targetName'])
    portal = world.array.backends[2].portals[0]
    host.command('nvme', 'connect', '-t', 'tcp', '-a', portal.address,
                 '-s', portal.port, '-n', target['targetName'])
    stage.wait_until('the new leg is there',
                     lambda: host.device_of(fresh), 10)
    host.command('udevadm', 'settle')
    host.command('mdadm', f'/dev/{md}', '--add-spare',
                 f'/dev/{host.device_of(fresh)}')
    stage.wait_until('the array is whole again',
                     lambda: host.is_whole(md), 60)
    api.call('PATCH', f'replica/{volume.id}/{lost}')
    api.call('DELETE', f'replica/{volume.id}/{lost}')
    stage.check('the replacement was asked for exactly once',
                world.kumoscale.count('add_replica') == 1)
    stage.check('the provisioner saw no breach of its rules',
                not world.provisioner.violations,
                world.provisioner.violations)
    stage.check('the lost leg is gone from the host', nvme is not None
                and host.device_of(lost) is None)

    world.prove_data(attachment, writer, in_sync=[kept, fresh])
    prove_the_proof(stage, world, kept, writer.some_block(),
                    writer.verify_medium)


def prove_the_proof(stage: Stage, world: World, leg: str, number: int,
                    verify: 'object') -> None:
    """A single changed byte, and nothing else, must be found."""
    assert callable(verify)
    medium = world.array.medium(leg)
    with medium.open('rb') as file:
        file.seek(OFFSET_BYTES)
        found = parse(file.read(SIZE_BYTES))
        assert found is not None
        at = found.data_offset_bytes + number * BLOCK_BYTES + 1234
        file.seek(at)
        byte = file.read(1)
    world.array.corrupt(leg, at, bytes([byte[0] ^ 0x40]))
    wrong = verify(medium)
    stage.check('a corrupted block is found out',
                wrong == [f'block {number} is torn: its checksum is wrong'],
                wrong)
    world.array.corrupt(leg, at, byte)
    stage.check('and found right again once it is restored',
                not verify(medium))
