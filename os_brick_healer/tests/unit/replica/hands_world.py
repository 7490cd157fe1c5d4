#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.
"""A world for the hands: what they see, and what changes it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
from typing import Any

from oslo_config import cfg

from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.replica import act, laws, locks, model
from os_brick_healer.tests import base

KEY = model.VolumeId('vol-1')
UUID = '6a41b2c7-0d3e-4f5a-9b8c-7d6e5f4a3b2c'
OTHER_UUID = '11111111-2222-4333-8444-555555555555'
GIB = 1 << 30
SETTINGS = act.Settings(command_timeout_s=30.0, lock_timeout_s=10.0,
                        keep_alive_s=2, reconnect_delay_s=1)
LAW = 'a-law'


def rid(index: int) -> model.ReplicaId:
    return model.ReplicaId(f'rep-{index}')


def portal(index: int, transport: str = 'tcp') -> model.Portal:
    return model.Portal(address=f'10.0.0.{index}', port=4420,
                        transport=transport)


def replica(index: int, state: model.ReplicaState
            = model.ReplicaState.AVAILABLE) -> model.Replica:
    return model.Replica(
        id=rid(index), nqn=f'nqn.x:{index}', portals=(portal(index),),
        namespace_uuid=f'0000000{index}-aaaa-4bbb-8ccc-000000000000',
        state=state)


def path(index: int, state: model.PathState = model.PathState.LIVE,
         **more: Any) -> model.Path:
    return model.Path(
        controller=f'nvme{index}', nqn=f'nqn.x:{index}',
        portal=portal(index), host_nqn='nqn.host', state=state,
        **{'state_for_s': 5.0, 'keep_alive_s': 2, **more})


def world() -> model.Seen:
    """Replica 1 in sync and live; 2 in the array and connecting; 3 new."""
    paths = {rid(1): (path(1),),
             rid(2): (path(2, model.PathState.CONNECTING),),
             rid(3): (path(3),)}
    return model.Seen(
        key=KEY, now_s=100.0, volume_age_s=1.0, provisioner_error=None,
        volume=model.Volume(
            id=KEY, alias='vol', size_bytes=GIB, replica_count=2,
            replicas=tuple(replica(i) for i in (1, 2, 3)),
            hosts=frozenset(('me',))),
        attachment=model.Attachment(
            volume=KEY, alias='vol', state=model.AttachState.ATTACHED,
            owner_alive=True),
        array=model.Array(
            name='md127', uuid=UUID, level='raid1', state='active',
            raid_disks=2, degraded=0, component_bytes=GIB, size_bytes=GIB,
            members=(member(1), member(2)), sync=None, stuck_s=1.0),
        namespaces={rid(i): model.Namespace(
            device=f'nvme{i}n1', nqn=f'nqn.x:{i}',
            uuid=replica(i).namespace_uuid, size_bytes=GIB,
            holders=('md127',) if i < 3 else (), paths=paths[rid(i)])
            for i in (1, 2, 3)},
        paths=paths, peers_hold=frozenset())


def member(index: int, *flags: str) -> model.Member:
    return model.Member(device=f'nvme{index}n1', slot=index - 1,
                        flags=frozenset(flags or ('in_sync',)))


class Locks:
    """os-brick's locks; ``busy`` when somebody else has them."""

    def __init__(self) -> None:
        self.busy = False
        self.held = False
        self.waited_s: float | None = None

    @contextlib.contextmanager
    def hold(self, timeout_s: float) -> Iterator[None]:
        self.waited_s = timeout_s
        if self.busy:
            raise locks.LocksBusy('cannot take the lock: it is held')
        self.held = True
        try:
            yield
        finally:
            self.held = False


class Owner(provisioner.Provisioner):
    """Remembers what it was told."""

    guarantees = provisioner.Guarantees(
        batch=True, knows_hosts=True, idempotent_replacement=True)

    def __init__(self, world: 'World') -> None:
        super().__init__(cfg.ConfigOpts(), provisioner.HostIdentity(
            name='me', nqn='nqn.host', uuid=None))
        self.world = world
        self.told: list[tuple[str, ...]] = []
        self.error: Exception | None = None

    def probe(self) -> str:
        return 'a fake'

    def volumes(self) -> Mapping[model.VolumeId, model.Volume]:
        self._say('volumes')
        found = self.world.newest
        return {} if found is None else {found.id: found}

    def report(self, volume: model.VolumeId, replica: model.ReplicaId,
               state: model.ReplicaState) -> None:
        self._say('report', replica, state.value)

    def request_replacement(self, volume: model.VolumeId,
                            replica: model.ReplicaId,
                            request_id: str) -> None:
        self._say('request', replica, request_id)

    def publish(self, volume: model.VolumeId) -> None:
        self._say('publish')

    def confirm_removal(self, volume: model.VolumeId,
                        replica: model.ReplicaId) -> None:
        self._say('confirm', replica)

    def _say(self, *words: str) -> None:
        assert not self.world.locks.held, 'the network under nova\'s lock'
        if self.error is not None:
            raise self.error
        self.told.append(words)


class World:
    """The kernel, in memory; md and nvme act on it, under the locks."""

    def __init__(self) -> None:
        self.seen = world()
        self.newest: model.Volume | None = self.seen.volume
        self.locks = Locks()
        self.answering = {portal(1), portal(3)}
        self.superblocks: dict[str, dict[str, str]] = {}
        self.signature: tuple[str, ...] = ()
        self.done: list[tuple[str, Any]] = []
        self.error: Exception | None = None
        self.deleting_hangs = False
        self.spared: dict[str, str] | None = None
        self.meet: Callable[[], object] = lambda: None
        self.done_locked: list[bool] = []

    def fresh(self) -> model.Seen:
        return self.seen

    def _did(self, what: str, on: Any) -> None:
        if self.error is not None:
            raise self.error
        self.done.append((what, on))
        self.done_locked.append(self.locks.held)

    # privileged.md
    def clear_failfast(self, *, array: str, array_uuid: str, device: str,
                       timeout_s: float = 5.0) -> bool:
        self._did('clear', device)
        return True

    def remove(self, *, array: str, array_uuid: str, device: str,
               timeout_s: float) -> bool:
        self._did('remove', device)
        return True

    def re_add(self, *, array: str, array_uuid: str, device: str, nqn: str,
               namespace_uuid: str, timeout_s: float) -> bool:
        self._did('re-add', (device, nqn, namespace_uuid))
        return True

    def add_spare(self, *, array: str, array_uuid: str, device: str,
                  nqn: str, namespace_uuid: str, min_size_bytes: int,
                  former: bool, timeout_s: float) -> bool:
        self._did('add', (device, min_size_bytes, former))
        return True

    def examine(self, *, device: str, nqn: str, namespace_uuid: str,
                timeout_s: float) -> dict[str, str]:
        self._did('examine', device)
        return self.superblocks.get(device, {})

    def signatures(self, *, device: str, nqn: str, namespace_uuid: str,
                   timeout_s: float) -> tuple[str, ...]:
        return self.signature

    # privileged.nvme
    def connect(self, *, nqn: str, address: str, port: int, transport: str,
                host_nqn: str, keep_alive_s: int, reconnect_delay_s: int,
                timeout_s: float) -> str:
        self._did('connect', (nqn, address))
        return 'nvme9'

    def delete_controller(self, *, controller: str, nqn: str, address: str,
                          port: int, device: str | None, idle: bool,
                          timeout_s: float,
                          spare: dict[str, str] | None = None) -> bool:
        self.meet()
        self.spared = spare
        self._did('delete', (controller, device, idle))
        return not self.deleting_hangs

    def cut(self, *, controller: str, nqn: str, address: str, port: int,
            ours: tuple[str, ...], timeout_s: float) -> int:
        self._did('cut', controller)
        return 2

    def probe_now(self, portals: Sequence[model.Portal], *,
                  deadline_s: float, one_is_enough: bool
                  ) -> Mapping[model.Portal, bool]:
        return {one: one in self.answering for one in portals
                if one.transport == 'tcp'}


class HandsTestCase(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.world = World()
        self.owner = Owner(self.world)
        self.hands = act.Hands(
            settings=lambda: SETTINGS, provisioner=lambda: self.owner,
            host_nqn=lambda: 'nqn.host', permits=laws.permits,
            locks=self.world.locks, md=self.world, nvme=self.world,
            probe_now=self.world.probe_now)

    def do(self, action: model.Action) -> act.Outcome:
        return self.hands.do(action, self.world.fresh)

    def change(self, **more: Any) -> None:
        self.world.seen = dataclasses.replace(self.world.seen, **more)

    def change_array(self, **more: Any) -> None:
        assert self.world.seen.array is not None
        self.change(array=dataclasses.replace(self.world.seen.array, **more))

    def change_paths(self, index: int, *paths: model.Path) -> None:
        self.change(paths={**self.world.seen.paths, rid(index): paths})

    def name_states(self, index: int, state: model.ReplicaState) -> None:
        volume = self.world.seen.volume
        assert volume is not None
        volume = dataclasses.replace(volume, replicas=tuple(
            replica(i, state) if i == index else replica(i)
            for i in (1, 2, 3)))
        self.world.newest = volume
        self.change(volume=volume)

    def assert_nothing(self, action: model.Action, word: str = '',
                       transient: bool | None = None) -> act.Outcome:
        """It is refused with a sentence, and nothing has happened."""
        outcome = self.do(action)
        self.assertFalse(outcome.changed, outcome)
        self.assertIn(word, outcome.error or '')
        self.assertTrue(outcome.error)
        if transient is not None:
            self.assertEqual(transient, outcome.transient)
        self.assertEqual([], self.world.done)
        self.assertEqual([], [x for x in self.owner.told
                              if x != ('volumes',)])
        return outcome
