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
"""nova attaches and detaches volumes that are not as they once were."""

import pathlib

from bed.guest import host, superblock
from bed.guest.agent import Agent
from bed.guest.host import Attachment
from bed.guest.patient import Patient
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World
from bed.guest.writer import Writer

#: KiB per second: a resync of 32 MiB that somebody can get in the way of.
SLOW_SYNC = '512'


@scenario(name='detach-during-heal', item='14', core=True, timeout_s=420)
def during_heal(stage: Stage) -> None:
    """Detached in the middle of a copy, attached again with old legs."""
    patient = Patient.admit(stage, provisioner_interval='1')
    world, agent, attachment, writer = patient.cast
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    slow_sync(md)
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('the copy to the new leg is under way', lambda:
                     host.md_attribute(md, 'sync_action') == 'recover'
                     and agent.phase(volume.id) == 'resyncing', 120)
    fresh = volume.legs[-1]
    settle(world, writer)
    stage.note('the guest goes, nova detaches with the legs of long ago')
    world.host.disconnect(attachment)
    nothing_left(world, agent, attachment, [lost, kept, fresh])

    stage.note('attaching again, with the legs of long ago')
    again = world.host.connect(volume, attachment.connection)
    stage.check('the array is the volume: every acknowledged write is there',
                not writer.verify(again.path))
    second = world.write_to(again)
    stage.wait_until('the array is whole again',
                     lambda: host.is_whole(again.md), 120)
    stage.wait_until('the lost replica is gone',
                     lambda: lost not in volume.legs, 60)
    stage.check('the replacement was asked for exactly once',
                world.kumoscale.count('add_replica') == 1)
    stage.check('the two legs are the ones that the volume has now',
                sorted(host.legs(again.md)) == devices([kept, fresh]))

    stage.note('once more: whole, replaced, and nova knows nothing of it')
    settle(world, second)
    world.host.disconnect(again)
    nothing_left(world, agent, attachment, [lost, kept, fresh])
    last = world.host.connect(volume, attachment.connection)
    stage.wait_until('both of the new legs are in sync at once',
                     lambda: host.is_whole(last.md), 10)
    stage.check('the two legs are the ones that the volume has now',
                sorted(host.legs(last.md)) == devices([kept, fresh]))
    stage.check('the provisioner saw no breach of its rules',
                not world.provisioner.violations,
                world.provisioner.violations)
    world.prove_data(last, second, in_sync=[kept, fresh])
    same_data(world, kept, fresh)


@scenario(name='attach-leg-missing', item='14', timeout_s=420)
def leg_missing(stage: Stage) -> None:
    """Attached with a leg away; it returns, or is replaced for good."""
    world = World.build(stage, backends=3)
    agent = Agent.configure(world, provisioner_interval='1',
                            grace_period='20')
    agent.start()
    attachment = world.attach(size_mib=16)
    volume = attachment.volume
    first, second = volume.legs
    writer = world.write_to(attachment)
    settle(world, writer)
    world.host.disconnect(attachment)

    stage.note('attaching while a leg is away')
    world.array.cut(first, Cut.CLOSED)
    again = world.host.connect(volume, attachment.connection)
    stage.check('the array runs on the one leg that is there',
                sorted(host.legs(again.md)) == devices([second]))
    stage.check('every acknowledged write is there',
                not writer.verify(again.path))
    other = world.write_to(again)
    world.array.mend(first)
    stage.wait_until('the leg is back in sync',
                     lambda: host.is_whole(again.md), 90)
    stage.check('no replacement was asked for',
                not world.kumoscale.requests_of('add_replica'))
    # Until it is told, the provisioner lets nobody attach from this leg.
    stage.wait_until('the provisioner knows that it is good', lambda:
                     world.provisioner.volume(volume.id).replicas[0].state
                     == 'Available', 30)
    settle(world, other)
    for leg in (first, second):
        stage.check(f'leg {leg[:8]} holds what was written meanwhile',
                    not other.verify_medium(world.array.medium(leg)))
    world.host.disconnect(again)

    stage.note('attaching while a leg is away for good')
    world.array.cut(second, Cut.SILENT)
    last = world.host.connect(volume, attachment.connection)
    stage.check('the array runs on the one leg that is there',
                sorted(host.legs(last.md)) == devices([first]))
    final = world.write_to(last)
    stage.wait_until('the leg is replaced', lambda: second not in volume.legs
                     and host.is_whole(last.md), 150)
    stage.check('no controller of the lost leg is left',
                not host.controllers(world.array.nqn(second)))
    world.prove_data(last, final, in_sync=[first, volume.legs[-1]])
    same_data(world, first, volume.legs[-1])


@scenario(name='attach-stale-only', item='14', timeout_s=300)
def stale_only(stage: Stage) -> None:
    """Only a leg that missed writes can be reached: refused and said."""
    patient = Patient.admit(stage, size_mib=16, provisioner_interval='1',
                            grace_period='600')
    world, agent, attachment, writer = patient.cast
    volume, md = attachment.volume, attachment.md
    stale, good = volume.legs
    world.array.cut(stale, Cut.CLOSED)
    stage.wait_until('MD has dropped the leg', lambda:
                     host.md_attribute(md, 'degraded') == '1', 30)
    stage.wait_until('the provisioner knows that it is stale', lambda:
                     world.provisioner.volume(volume.id).replicas[0].state
                     == 'Missing', 30)
    before = writer.writes
    stage.wait_until('it misses writes',
                     lambda: writer.writes > before + 20, 30)
    settle(world, writer)
    world.host.disconnect(attachment)
    nothing_left(world, agent, attachment, [stale, good])

    stage.note('the good leg goes, the stale one is back')
    world.array.cut(good, Cut.CLOSED)
    world.array.mend(stale)
    # os-brick's own words: only the good leg was tried, and it is away
    refused(world, attachment, world.array.nqn(good))
    stage.note('now the provisioner itself calls the stale leg good')
    world.provisioner.set_state(volume.id, stale, 'Available')
    refused(world, attachment, 'only legs that missed writes')
    stage.check('no array was left running',
                not list(pathlib.Path('/sys/block').glob('md*')))
    stage.check('no controller was left',
                not host.controllers(world.array.nqn(stale)),
                host.controllers())

    stage.note('the good leg is back')
    world.array.mend(good)
    again = world.host.connect(volume, attachment.connection)
    stage.check('every acknowledged write is there',
                not writer.verify(again.path))
    second = world.write_to(again)
    stage.wait_until('the stale leg catches up',
                     lambda: host.is_whole(again.md), 90)
    world.prove_data(again, second, in_sync=[stale, good])
    same_data(world, stale, good)


@scenario(name='extend-and-heal', item='14', timeout_s=420)
def extend(stage: Stage) -> None:
    """Extended during a heal and after it: every leg grows with it."""
    patient = Patient.admit(stage, provisioner_interval='1')
    world, _, attachment, writer = patient.cast
    volume, md = attachment.volume, attachment.md
    lost, kept = volume.legs
    slow_sync(md)
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('the copy to the new leg is under way', lambda:
                     host.md_attribute(md, 'sync_action') == 'recover', 120)
    fresh = volume.legs[-1]
    stage.note('extending in the middle of the copy')
    size = world.host.extend(attachment, 48)
    stage.wait_until('the copy goes on', lambda: host.md_attribute(
        md, 'sync_action') == 'recover', 10)
    slow_sync(md, 'system')
    stage.check('the array has grown', size > 44 << 20, size)
    stage.wait_until('the array is whole again',
                     lambda: host.is_whole(md), 120)
    stage.wait_until('the lost replica is gone',
                     lambda: lost not in volume.legs, 60)

    stage.note('extending after the replacement, with the old legs')
    size = world.host.extend(attachment, 64)
    stage.check('the array has grown again', size > 60 << 20, size)
    settle(world, writer)
    stage.check('every acknowledged write is there',
                not writer.verify(attachment.path))
    wide = world.write_to(attachment)
    stage.wait_until('the guest has written to the new part, too',
                     lambda: wide.writes > 300, 90)
    stage.wait_until('the new part is in sync',
                     lambda: host.is_whole(md), 60)
    for leg in (kept, fresh):
        stage.check(f'leg {leg[:8]} has its new size', world.array.medium(
            leg).stat().st_size == 64 << 20)
    world.prove_data(attachment, wide, in_sync=[kept, fresh])
    same_data(world, kept, fresh)


def settle(world: World, writer: Writer) -> None:
    """The guest is shut down; nothing may have gone wrong until here."""
    report = world.settle(writer)
    world.stage.check('the guest saw no I/O error', not report.failures,
                      report.failures[:3])
    world.stage.check('every read-back was right', not report.bad_reads,
                      report.bad_reads[:3])


def refused(world: World, attachment: Attachment, word: str) -> None:
    """An attach that would serve old data; nova gets to see why."""
    try:
        world.host.connect(attachment.volume, attachment.connection)
    except Exception as error:  # noqa: BLE001 - nova would see just that
        world.stage.note(f'refused: {error}')
        world.stage.check(f'the attach is refused, and says "{word}"',
                          word in str(error), error)
    else:
        world.stage.check('the attach is refused', False)


def nothing_left(world: World, agent: Agent, attachment: Attachment,
                 legs: list[str]) -> None:
    stage = world.stage
    stage.check('no array of the volume is left', not list(
        pathlib.Path('/sys/block').glob('md*')))
    left = {leg: found for leg in legs
            if (found := host.controllers(world.array.nqn(leg)))}
    stage.check('no controller of the volume is left', not left, left)
    stage.wait_until('the agent has let go', lambda: agent.phase(
        attachment.volume.id) in (None, 'gone'), 30)
    stage.stays('nothing of the volume comes back', lambda: not any(
        host.controllers(world.array.nqn(leg)) for leg in legs), 4)


def same_data(world: World, one: str, other: str) -> None:
    """Legs of a stopped array: what guests of long ago wrote is there, too.

    A writer knows only its own writes; a copy that was broken off and taken
    for whole would lack those of the guest before.
    """
    datas = [data_of(world.array.medium(leg)) for leg in (one, other)]
    size = min(map(len, datas))
    differs = [at for at in range(0, size, 4096)
               if datas[0][at:at + 4096] != datas[1][at:at + 4096]]
    world.stage.check('the two legs are the same, byte for byte',
                      not differs, f'{len(differs)} blocks differ, the first '
                                   f'at {differs[:1]}')


def data_of(medium: pathlib.Path) -> bytes:
    found = superblock.parse(medium.read_bytes()[superblock.OFFSET_BYTES:])
    assert found is not None
    return medium.read_bytes()[
        found.data_offset_bytes:
        found.data_offset_bytes + found.component_bytes]


def devices(legs: list[str]) -> list[str]:
    """The block devices of replicas, as host.legs() names them."""
    return sorted(str(host.device_of(leg)) for leg in legs)


def slow_sync(md: str, kib_s: str = SLOW_SYNC) -> None:
    for name in ('sync_speed_max', 'sync_speed_min'):
        value = '64' if kib_s != 'system' and 'min' in name else kib_s
        pathlib.Path(f'/sys/block/{md}/md/{name}').write_text(value)
