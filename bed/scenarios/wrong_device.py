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
"""The provisioner names a device that must not be taken."""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import hashlib
import logging
import pathlib

from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.host import Attachment
from bed.guest.provisioner import MIB
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World
from bed.guest.writer import Writer

#: How long a replica that is refused is watched.
WATCHED_S = 6.0


@dataclasses.dataclass(slots=True, kw_only=True)
class Cast:
    """A volume that has lost a leg and gets the wrong ones for it."""

    world: World
    agent: Agent
    attachment: Attachment
    writer: Writer
    lost: str
    kept: str


@scenario(name='wrong-device', item='10', timeout_s=600)
def wrong_device(stage: Stage) -> None:
    """Too small, foreign, in use, or another's: refused, said, untouched."""
    cast = prepare(stage)
    world, volume = cast.world, cast.attachment.volume
    array = world.array

    stage.note('the replacement is too small')
    world.provisioner.next_size_bytes = 8 * MIB
    array.cut(cast.lost, Cut.CLOSED)
    stage.wait_until('the replacement is named',
                     lambda: len(volume.legs) == 3, 90)
    refused(cast, volume.legs[-1], ['bytes'])

    wrong = replaced(cast, array.wear_superblock)
    refused(cast, wrong, ['superblock', 'in use'])
    stop_holders(wrong)

    wrong = replaced(cast, array.wear_filesystem)
    refused(cast, wrong, ['ext2'])

    stage.note('in use without a holder: somebody swaps to it')
    wrong = replaced(cast, array.wear_swap, by_hand=True)
    device = f'/dev/{host.device_of(wrong)}'
    host.command('swapon', device)
    cast.agent.ask('resume')
    refused(cast, wrong, ['swap', 'in use', 'busy'])
    host.command('swapoff', device)

    stage.note('held: a blank one, in another array without superblocks')
    wrong = replaced(cast, by_hand=True)
    device = f'/dev/{host.device_of(wrong)}'
    host.command('mdadm', '--build', '/dev/md99', '--level=1',
                 '--raid-devices=2', '--assume-clean', device, 'missing')
    cast.agent.ask('resume')
    refused(cast, wrong, ['in use by md99'])
    host.command('mdadm', '--stop', '/dev/md99')

    stage.note('and now a right one')
    right = replaced(cast)
    healed(cast, right, cast.lost)
    stage.check('the agent itself asked for one replacement only',
                world.kumoscale.count('add_replica') == 1)
    stage.wait_until(
        'what was refused and then withdrawn is disconnected',
        lambda: set(host.controllers()) == {
            name for leg in (cast.kept, right)
            for name in connected(cast, leg)}, 150)
    masked, last = another_volumes(cast, right)
    world.prove_data(cast.attachment, cast.writer,
                     in_sync=[cast.kept, last])
    # Whose namespace it is that the masked target shows, nobody here can
    # prove: its controller is kept, and nova's log says so.
    with logged('os_brick_healer.connector') as log:
        world.host.disconnect(cast.attachment)
    kept = connected(cast, masked)
    stage.check('no other connection is left, not to the refused ones either',
                set(host.controllers()) == kept, host.controllers())
    stage.check('the log says which one stays connected, and why', all(
        any(f'{name} stays connected: ' in line for line in log)
        for name in kept), log)


def another_volumes(cast: Cast, lost: str) -> tuple[str, str]:
    """The target of the replacement shows another volume's namespace.

    Nothing at the provisioner mends that: the agent asks for another one.
    Answers both.
    """
    world, volume = cast.world, cast.attachment.volume
    stage, provisioner = world.stage, world.provisioner
    other = provisioner.create_volume('other', 32, 1).legs[0]
    stage.note("the target shows another volume's namespace")

    def disguise(leg: str) -> None:
        provisioner.on_replica = lambda _leg: None
        world.array.masquerade(leg, other)

    provisioner.on_replica = disguise
    world.array.cut(lost, Cut.CLOSED)
    stage.wait_until('the replacement is named',
                     lambda: len(volume.legs) == 3, 90)
    wrong = volume.legs[-1]
    before = digest(world.array.medium(wrong))
    with told(cast):
        stage.wait_until('the status says why', lambda:
                         'does not show its namespace' in cast.agent.volume(
                             volume.id)['sentence'], 90)
    stage.stays('what it shows does not join the array', lambda:
                other not in map(uuid_of, host.legs(cast.attachment.md)),
                2, 0.3)
    stage.check('not one byte of it has changed',
                digest(world.array.medium(wrong)) == before)
    stage.wait_until('the agent asks for another one', lambda:
                     world.kumoscale.count('add_replica') == 3, 90)
    healed(cast, volume.legs[-1], lost)
    stage.wait_until('the wrong one is given back',
                     lambda: wrong not in volume.legs, 60)
    return wrong, volume.legs[-1]


def connected(cast: Cast, leg: str) -> set[str]:
    """The controllers to a leg's target."""
    return set(host.controllers(cast.world.array.nqn(leg)))


@contextlib.contextmanager
def logged(name: str) -> Iterator[list[str]]:
    """What a logger of this process says meanwhile."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(  # type: ignore[method-assign]
        record.getMessage())
    logging.getLogger(name).addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger(name).removeHandler(handler)


def stop_holders(wrong: str) -> None:
    """As a person does, and nobody else may: udev may have begun to assemble
    what looks like somebody's array."""
    for holder in pathlib.Path(
            f'/sys/block/{host.device_of(wrong)}/holders').iterdir():
        host.command('mdadm', '--stop', f'/dev/{holder.name}')


def healed(cast: Cast, right: str, lost: str) -> None:
    stage, volume = cast.world.stage, cast.attachment.volume
    stage.wait_until('the array is whole again',
                     lambda: host.is_whole(cast.attachment.md), 120)
    stage.wait_until('the lost replica is gone, the right one is in',
                     lambda: lost not in volume.legs
                     and right in volume.legs, 60)
    stage.wait_until('the agent says that all is well', lambda:
                     cast.agent.phase(volume.id) == 'healthy', 30)


def prepare(stage: Stage) -> Cast:
    world = World.build(stage, backends=4)
    agent = Agent.configure(world, grace_period='3',
                            provisioner_interval='1')
    agent.start()
    attachment = world.attach(size_mib=16)
    lost, kept = attachment.volume.legs
    stage.wait_until('the agent finds all legs in sync', lambda:
                     agent.phase(attachment.volume.id) == 'healthy', 30)
    return Cast(world=world, agent=agent, attachment=attachment, lost=lost,
                writer=world.write_to(attachment), kept=kept)


def replaced(cast: Cast, wear: Callable[[str], None] | None = None, *,
             by_hand: bool = False) -> str:
    """At the provisioner the wrong replica goes, and another comes.

    :param wear: makes it a wrong one before anybody can see it.
    :param by_hand: the agent is paused, and it is connected by hand.
    """
    provisioner, volume = cast.world.provisioner, cast.attachment.volume
    if by_hand:
        cast.agent.ask('pause', reason='by hand')
    old = volume.legs[-1]
    if old not in (cast.lost, cast.kept):
        provisioner.mark_for_deletion(volume.id, old)
        provisioner.confirm_deletion(volume.id, old)
    # unseen until it is worn
    provisioner.replica_lag_s = 3600.0
    new = provisioner.add_replica(volume.id)
    provisioner.replica_lag_s = 0.0
    if wear is not None:
        wear(new)
    volume.replicas[-1].visible_at_s = 0.0
    if by_hand:
        me = cast.world.host.properties
        for target in cast.world.host.cinder.initialize_connection(
                volume, me)['volume_replicas']:
            if target['vol_uuid'] == new:
                host.fabrics_connect(target, me)
        host.wait_for_device(new)
    return new


def refused(cast: Cast, wrong: str, words: list[str]) -> None:
    """The replica is not taken, the status says why, its bytes stay."""
    stage, agent, key = cast.world.stage, cast.agent, cast.attachment.volume.id
    before = digest(cast.world.array.medium(wrong))
    stage.wait_until('the wrong replica is connected',
                     lambda: host.device_of(wrong), 60)
    with told(cast):
        stage.wait_until(f'the status says why ({" or ".join(words)})',
                         lambda: any(word in agent.volume(key)['sentence']
                                     for word in words), 90)
    stage.note(agent.volume(key)['sentence'])
    stage.stays('it does not join the array', lambda: wrong not in map(
        uuid_of, host.legs(cast.attachment.md)), WATCHED_S, every_s=0.3)
    stage.check('not one byte of it has changed',
                digest(cast.world.array.medium(wrong)) == before)
    stage.check('the good leg goes on', cast.writer.flowing(3))
    stage.check('the lost replica is kept meanwhile',
                cast.lost in cast.attachment.volume.legs)


@contextlib.contextmanager
def told(cast: Cast) -> Iterator[None]:
    """What the agent said, if the scenario fails here."""
    try:
        yield
    except Exception:
        cast.world.stage.note(str(cast.agent.volume(
            cast.attachment.volume.id)))
        raise


def uuid_of(device: str) -> str:
    try:
        return pathlib.Path(f'/sys/block/{device}/uuid').read_text().strip()
    except OSError:
        return ''


def digest(medium: pathlib.Path) -> str:
    return hashlib.sha256(medium.read_bytes()).hexdigest()
