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
"""Facts about a volume in two lines, and a host in which actions work."""

from collections.abc import Callable, Iterable
import dataclasses
import json
import re
from typing import Any

from os_brick_healer.engine import limits, verdict
from os_brick_healer.provisioner import base
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import decide as decide_lib
from os_brick_healer.replica import laws, learn, model, remember

UUID = '11111111-2222-3333-4444-555555555555'
KEY = model.VolumeId('99999999-0000-0000-0000-000000000001')
HOST = 'here'
MIB = 1024 * 1024
Reach = str    # 'up', 'closed' or 'silent'
State = model.ReplicaState

POLICY = limits.Policy(
    grace_s=60.0, poll_s=0.2, keep_alive_s=2, reconnect_delay_s=1,
    break_after_s=0.5, idle_break_after_s=5.0, silence_s=2.0,
    volume_age_max_s=60.0, provisioner_interval_s=10.0, resync_check_s=1.0,
    flap_losses_max=3, flap_window_s=600.0, flap_delay_max_s=300.0,
    arrival_s=60.0, heals_max=4, requests_per_hour_max=10, brake_ratio=0.5)


def portal(name: str) -> base.Portal:
    """Where a replica listens: an address of its own."""
    return base.Portal(address=f'192.0.2.{sum(name.encode()) % 250}',
                       port=4420)


def replica(name: str, state: State = State.AVAILABLE, *,
            published: bool = True, transport: str = 'tcp') -> base.Replica:
    """A replica as the provisioner names it."""
    at = dataclasses.replace(portal(name), transport=transport)
    return base.Replica(
        id=base.ReplicaId(name), nqn=f'nqn.test:{name}' if published else None,
        namespace_uuid=f'uuid-{name}' if published else None,
        portals=(at,) if published else (), state=state)


@dataclasses.dataclass(kw_only=True)
class Leg:
    """What is to be seen of one replica."""

    replica: base.Replica
    flags: str | None = 'in_sync'
    path: str | None = 'live'
    for_s: float = 100.0
    answers: bool | None = True
    silent_s: float | None = None
    device: str | None = None
    size: int = 64 * MIB
    holders: tuple[str, ...] = ()


def leg(name: str, flags: str | None = 'in_sync', *,
        path: str | None = 'live', state: State = State.AVAILABLE,
        for_s: float = 100.0, answers: bool | None = True,
        silent_s: float | None = None, device: bool = True,
        size: int = 64 * MIB, holders: tuple[str, ...] = (),
        published: bool = True, transport: str = 'tcp') -> Leg:
    """A leg: in sync and live by default; flags None: not in the array."""
    return Leg(replica=replica(name, state, published=published,
                               transport=transport),
               flags=flags, path=path, for_s=for_s, answers=answers,
               silent_s=silent_s, size=size, holders=holders,
               device=f'nvme-{name}' if device else None)


def volume(*legs: Leg, **changes: Any) -> base.Volume:
    """A volume as the provisioner names it."""
    made = base.Volume(
        id=KEY, alias='vol', size_bytes=64 * MIB, replica_count=2,
        replicas=tuple(x.replica for x in legs), hosts=frozenset((HOST,)))
    return dataclasses.replace(made, **changes)


def seen(*legs: Leg, raid_disks: int = 2, stuck_s: float = 0.0,
         now_s: float = 1000.0, sync: model.Sync | None = None,
         state: str = 'active', extra: tuple[model.Member, ...] = (),
         **changes: Any) -> model.Seen:
    """A look at a volume with these legs."""
    members: list[model.Member] = []
    namespaces, paths, answers = {}, {}, {}
    for x in legs:
        name = x.replica.id
        if x.answers is not None:
            answers.update(dict.fromkeys(x.replica.portals, x.answers))
        ways: tuple[model.Path, ...] = ()
        if x.path is not None:
            ways = tuple(model.Path(
                controller=f'nvme-ctl-{name}{i}', nqn=f'nqn.test:{name}',
                portal=p, host_nqn=None, state=model.PathState(x.path),
                state_for_s=x.for_s, portal_answers=x.answers,
                silent_for_s=x.silent_s, keep_alive_s=2)
                for i, p in enumerate(x.replica.portals))
            paths[name] = ways
        if x.device is not None:
            inside = () if x.flags is None else ('md127',)
            namespaces[name] = model.Namespace(
                device=x.device, nqn=f'nqn.test:{name}', uuid=f'uuid-{name}',
                size_bytes=x.size, holders=inside + x.holders, paths=ways)
        if x.flags is not None:
            members.append(model.Member(
                device=x.device or f'gone-{name}', slot=len(members),
                flags=frozenset(x.flags.split(','))))
    array = model.Array(
        name='md127', uuid=UUID, level='raid1', state=state,
        raid_disks=raid_disks, component_bytes=63 * MIB, size_bytes=63 * MIB,
        degraded=raid_disks - sum(m.in_sync for m in members),
        members=(*members, *extra), sync=sync, stuck_s=stuck_s)
    made = model.Seen(
        key=KEY, now_s=now_s, volume=volume(*legs), volume_age_s=1.0,
        provisioner_error=None, attachment=None, array=array,
        namespaces=namespaces, paths=paths, peers_hold=frozenset(),
        answers=answers)
    return dataclasses.replace(made, **changes)


def decide(at: model.Seen, memory: model.Memory | None = None,
           around: case_lib.Around | None = None,
           policy: limits.Policy = POLICY) -> model.Verdict:
    """decide() with the usual rest."""
    return decide_lib.decide(at, memory or model.Memory(), policy,
                             around or case_lib.Around())


def remembers(at: model.Seen, memory: model.Memory | None = None,
              **ones: dict[str, Any]) -> model.Memory:
    """The memory after a look, with changes to single replicas."""
    known = decide(at, memory).memory
    replicas = dict(known.replicas)
    for name, changes in ones.items():
        key = base.ReplicaId(name)
        replicas[key] = dataclasses.replace(
            replicas.get(key, model.ReplicaMemory()),
            **changes)
    return dataclasses.replace(known, replicas=replicas)


# A host in which actions work -----------------------------------------


@dataclasses.dataclass(kw_only=True)
class Disk:
    """A replica, on the storage side and on this host."""

    name: str
    state: State = State.AVAILABLE
    published: bool = True
    named: bool = True
    reach: Reach = 'up'
    connected: bool = True
    path: str = 'live'
    path_since_s: float = 0.0
    silent_since_s: float | None = None
    role: str | None = 'in_sync'      # None: not in the array
    content: str = 'ours'
    written: int = 0                  # the last write that it holds
    filled_s: float = 0.0
    bitmap: bool = True
    holder: str | None = None
    size: int = 64 * MIB

    @property
    def device(self) -> str:
        return f'nvme-{self.name}'


class BrokenLawError(AssertionError):
    """The world has come to harm."""


class Host:
    """One guest's array; time moves by :meth:`tick`.

    The kernel's side: connections that are lost and come back, MD that
    drops a leg whose controllers are deleted, a copy that takes its time.
    The storage's side: replacements that arrive late, removals, words.
    """

    def __init__(self, *names: str, raid_disks: int | None = None,
                 copy_s: float = 5.0, arrival_s: float = 3.0) -> None:
        self.now_s = 1000.0
        self.disks = {n: Disk(name=n) for n in names or ('a', 'b')}
        self.raid_disks = raid_disks or len(self.disks)
        self.copy_s = copy_s
        self.arrival_s = arrival_s
        self.writes = 0
        self.stuck_since_s: float | None = None
        self.stalls: list[float] = []
        self.requests: dict[str, str] = {}
        self.arrivals: list[tuple[float, str]] = []
        self.removed: list[str] = []
        self.reports: list[tuple[str, State]] = []
        self.error: str | None = None
        self.nonsense: str | None = None
        self.peers: frozenset[str] = frozenset()
        self.paused: str | None = None
        self.attachment: model.Attachment | None = None
        self.failing: dict[type, verdict.Outcome] = {}
        self.done: list[model.Action] = []
        self.asked_after = 0
        self.hide: frozenset[str] = frozenset()
        self._letter = ord('m')
        self.arriving: dict[str, Any] = {}

    # What is so -------------

    @property
    def members(self) -> list[Disk]:
        return [d for d in self.disks.values() if d.role is not None]

    @property
    def in_sync(self) -> list[Disk]:
        return [d for d in self.members if d.role == 'in_sync']

    @property
    def whole(self) -> bool:
        return len(self.in_sync) == self.raid_disks

    def kinds(self) -> list[str]:
        """Names of the actions that were done."""
        return [type(a).__name__ for a in self.done]

    def count(self, kind: type) -> int:
        return sum(isinstance(a, kind) for a in self.done)

    # What happens -------------

    def cut(self, name: str, how: Reach = 'closed') -> None:
        self.disks[name].reach = how

    def mend(self, name: str) -> None:
        self.disks[name].reach = 'up'

    def tick(self, dt_s: float = 0.25) -> None:
        """Time goes on."""
        self.now_s += dt_s
        for disk in self.disks.values():
            self._connection(disk)
        self._write()
        self._copy(dt_s)
        for at_s, name in list(self.arrivals):
            if self.now_s >= at_s:
                self.arrivals.remove((at_s, name))
                disk = Disk(
                    name=name, state=State.SYNCHRONIZING, published=False,
                    connected=False, role=None, content='blank')
                self.disks[name] = dataclasses.replace(
                    disk, **self.arriving)

    def _path(self, disk: Disk, state: str) -> None:
        if disk.path != state:
            disk.path, disk.path_since_s = state, self.now_s

    def _connection(self, disk: Disk) -> None:
        if disk.reach == 'silent' and disk.silent_since_s is None:
            disk.silent_since_s = self.now_s
        if disk.reach != 'silent':
            disk.silent_since_s = None
        if disk.reach == 'up':
            self._path(disk, 'live')
        elif disk.reach == 'closed' or (
                disk.silent_since_s is not None
                and self.now_s - disk.silent_since_s > 6.0):
            self._path(disk, 'connecting')

    def _write(self) -> None:
        """The guest never stops writing: a write needs every member."""
        members = [d for d in self.members if d.role != 'faulty']
        flows = bool(members) and all(
            d.reach == 'up' and d.connected for d in members)
        if flows:
            self.writes += 1
            for disk in members:
                disk.written = self.writes
            if self.stuck_since_s is not None:
                self.stalls.append(self.now_s - self.stuck_since_s)
            self.stuck_since_s = None
        elif self.stuck_since_s is None:
            self.stuck_since_s = self.now_s

    def _copy(self, dt_s: float) -> None:
        source = any(d.reach == 'up' for d in self.in_sync)
        for disk in self.members:
            if disk.role == 'spare' and source and disk.reach == 'up':
                disk.filled_s += dt_s
                if disk.filled_s >= self.copy_s:
                    disk.role = 'in_sync'
                return

    # What is seen -------------

    def volume(self) -> base.Volume | None:
        named = [d for d in self.disks.values()
                 if d.named and d.name not in self.hide]
        return base.Volume(
            id=KEY, alias='vol', size_bytes=64 * MIB,
            replica_count=self.raid_disks, replicas=tuple(
                replica(d.name, d.state, published=d.published)
                for d in named),
            hosts=frozenset((HOST, *self.peers)), nonsense=self.nonsense)

    def seen(self) -> model.Seen:
        legs = []
        for d in self.disks.values():
            silent_s = (0.0 if d.reach == 'up' else self.now_s
                        - (d.silent_since_s or d.path_since_s))
            legs.append(dataclasses.replace(
                leg(d.name, d.role, state=d.state, published=d.published,
                    path=d.path if d.connected else None, device=d.connected,
                    answers=d.reach == 'up', silent_s=silent_s, size=d.size,
                    for_s=self.now_s - d.path_since_s,
                    holders=() if d.holder is None else (d.holder,))))
        filling = [d for d in self.members if d.role == 'spare']
        at = seen(
            *legs, raid_disks=self.raid_disks, now_s=self.now_s,
            stuck_s=(0.0 if self.stuck_since_s is None
                     else self.now_s - self.stuck_since_s),
            sync=None if not filling else model.Sync(
                action='recover', total_sectors=1000, speed_kib_s=1000,
                done_sectors=int(1000 * filling[0].filled_s / self.copy_s)))
        return dataclasses.replace(
            at, volume=self.volume(), provisioner_error=self.error,
            volume_age_s=0.0, peers_hold=self.peers, paused=self.paused,
            attachment=self.attachment)

    # What is done -------------

    def do(self, action: model.Action) -> verdict.Outcome:
        """Carry an action out; refuse to be harmed."""
        forbidden = laws.permits(action, self.seen())
        if forbidden is not None:
            return verdict.Outcome(changed=False, error=forbidden)
        self.done.append(action)
        failure = self.failing.get(type(action))
        if failure is not None:
            return failure
        if action.lane is model.Lane.NETWORK and self.error is not None:
            return verdict.Outcome(changed=False, error=self.error)
        return verdict.Outcome(changed=True, detail=self._effect(action))

    def _effect(self, action: model.Action) -> str:
        name = learn.replica_of(action)
        assert name is not None
        disk = self.disks.get(name)
        match action:
            case model.RequestReplacement():
                self._request(action)
                return ''
            case _ if disk is None:
                return ''
            case model.BreakLeg() | model.DisconnectPaths():
                self._drop(disk)
            case model.DropFaulty():
                disk.role = None
            case model.CutSilent():
                self._path(disk, 'connecting')
            case model.ReportState():
                self.reports.append((disk.name, action.state))
                disk.state = action.state
            case model.Publish():
                disk.published = True
            case model.ConnectReplica():
                disk.connected = True
                self._path(disk, 'live')
            case model.Examine():
                return disk.content
            case model.ReAdd():
                self._join(disk, by_bitmap=True)
            case model.AddSpare():
                self._join(disk, by_bitmap=False)
            case model.ConfirmRemoval():
                self._confirm(disk)
            case _:
                raise BrokenLawError(f'unexpected: {action}')
        return ''

    def _request(self, action: model.RequestReplacement) -> None:
        if action.request_id in self.requests:
            return
        self.requests[action.request_id] = action.replica
        name = chr(self._letter)
        self._letter += 1
        self.arrivals.append((self.now_s + self.arrival_s, name))

    def _drop(self, disk: Disk) -> None:
        others = [d for d in self.in_sync
                  if d is not disk and d.reach == 'up']
        if disk.role == 'in_sync' and not others:
            raise BrokenLawError(f'{disk.name} was the last in-sync leg')
        disk.role, disk.connected, disk.filled_s = None, False, 0.0

    def _join(self, disk: Disk, *, by_bitmap: bool) -> None:
        if disk.content.startswith('foreign') or (by_bitmap and disk.content
                                         != 'ours'):
            raise BrokenLawError(f'{disk.name} carries {disk.content}')
        disk.content, disk.role = 'ours', 'spare'
        disk.filled_s = self.copy_s - 0.5 if by_bitmap else 0.0

    def _confirm(self, disk: Disk) -> None:
        if disk.role is not None or not self.whole:
            raise BrokenLawError(f'{disk.name} was removed too early')
        self.removed.append(disk.name)
        del self.disks[disk.name]


class Agent:
    """Looks and acts, as the loop does, and checks every step.

    :ivar restart: forget everything but what is on disk between any two
        steps.
    :ivar crash: called before and after each effect; True: the agent dies
        there, with its intent written and no result.
    """

    def __init__(self, host: Host, *, restart: bool = False,
                 around: case_lib.Around | None = None,
                 crash: Callable[[str], bool] | None = None) -> None:
        self.host = host
        self.memory = model.Memory()
        self.restart = restart
        self.around = around or case_lib.Around()
        self.crash = crash or (lambda _where: False)
        self.said: list[model.Verdict] = []

    def step(self) -> model.Verdict:
        """One look, and the action that follows from it."""
        at = self.host.seen()
        found = decide(at, self.memory, self.around)
        self.check(at, found)
        self.said.append(found)
        self.memory = found.memory
        if found.action is not None:
            self._act(found.action)
        if self.restart:
            self.reload()
        return found

    def _act(self, action: model.Action) -> None:
        now_s = self.host.now_s
        self.memory = learn.intend(self.memory, action, now_s)
        if self.crash('before'):
            self.reload()
            return
        outcome = self.host.do(action)
        if self.crash('after'):
            self.reload()
            return
        self.memory = learn.learn(self.memory, action, outcome, now_s,
                                  POLICY)

    def reload(self) -> None:
        """The memory as the next process reads it."""
        self.memory = remember.load(json.loads(json.dumps(
            remember.dump(self.memory))))

    def check(self, at: model.Seen, found: model.Verdict) -> None:
        """What holds after every look."""
        law = found.action and laws.permits(found.action, at)
        if law is not None:
            raise BrokenLawError(f'{found.sentence}: {law}')
        if not found.sentence or not found.sentence.isprintable():
            raise BrokenLawError(f'no sentence: {found.sentence!r}')
        if not 0 < found.look_again_s < 1e6:
            raise BrokenLawError(f'looks again in {found.look_again_s}')
        for disk in self.host.in_sync:
            newest = max(d.written for d in self.host.disks.values())
            if disk.written < newest:
                raise BrokenLawError(f'{disk.name} lacks a write')
        asked = list(self.host.requests.values())
        for name in set(asked):
            if asked.count(name) > 1:
                raise BrokenLawError(f'{name} was asked for twice')

    def run(self, seconds: float, *, dt_s: float = 0.25,
            until: Callable[[], bool] | None = None) -> bool:
        """Look every ``dt_s``; True when ``until`` came true."""
        end_s = self.host.now_s + seconds
        while self.host.now_s < end_s:
            self.host.tick(dt_s)
            for _ in range(4):
                if self.step().action is None:
                    break
            if until is not None and until():
                return True
        return until is None

    def reboot(self) -> None:
        """The host starts anew: its clock too."""
        self.reload()
        self.host.now_s = 5.0
        for disk in self.host.disks.values():
            disk.path_since_s = 5.0
        self.memory = remember.rebase(self.memory, self.host.now_s)


def sentences(said: Iterable[model.Verdict]) -> str:
    """All that was said, for a test's message."""
    return '\n'.join(dict.fromkeys(
        re.sub(r'[0-9.]+', '#', v.sentence) for v in said))
