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
"""The provisioner: its truth, its weather, and the plugin's view of it."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import random
from typing import Any, TypeVar

from os_brick_healer import exception
from os_brick_healer.provisioner import base
from os_brick_healer.tests.simulation import parts, timeline

State = base.ReplicaState
HERE = 'here'
THERE = 'there'
#: How long a new replica is on its way, seconds.
ARRIVAL_S = (1.0, 15.0)
#: Old news may be so much older than they are meant to be, seconds.
UNSEEN_MAX_S = 10.0
_News = TypeVar('_News')


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Replica:
    """A copy of a volume in the provisioner's books."""

    disk: parts.Disk
    target: parts.Target
    state: State = State.AVAILABLE
    published: bool = True


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Volume:
    """A volume in the provisioner's books.

    :ivar asked: by lost replica: when a replacement was begun for it.
    :ivar made_for: by new replica: in whose place it was made.
    :ivar unserved: lost replicas that were asked for, and for which nothing
        was ever begun. Where a request does not say which one is lost, what
        is made for another may be taken for theirs.
    :ivar coming: by lost replica: how many new ones are on their way.
    :ivar forgotten: new ones that were still to be joined when the volume
        was detached, and those in whose place they came, where the agent is
        told of attached volumes only, or of none at all: one of the two is
        of use.
    """

    key: str
    count: int
    size_bytes: int
    replicas: dict[str, Replica]
    hosts: set[str] = dataclasses.field(default_factory=lambda: {HERE})
    two_hosts_s: float | None = None
    asked: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    made_for: dict[str, str] = dataclasses.field(default_factory=dict)
    unserved: set[str] = dataclasses.field(default_factory=set)
    requests: set[str] = dataclasses.field(default_factory=set)
    coming: dict[str, int] = dataclasses.field(default_factory=dict)
    forgotten: set[str] = dataclasses.field(default_factory=set)
    forgot_s: float = -1.0

    @property
    def kept(self) -> list[Replica]:
        """All but forgotten ones that stay beside a whole volume.

        One that is used again has the slot of another, which stays then.
        """
        known = {name: replica for name, replica in self.replicas.items()
                 if name not in self.forgotten
                 or replica.state is State.AVAILABLE}
        good = [replica for replica in known.values()
                if replica.state is State.AVAILABLE]
        again = len(known.keys() & self.forgotten)
        if len(good) >= self.count and len(known) - len(good) <= again:
            return good
        return (list(known.values()) if len(known) >= self.count
                else list(self.replicas.values()))

    def forget(self, now_s: float) -> None:
        """The agent knows the detached volume no more, nor its requests."""
        self.forgot_s = now_s
        new = {name for name in self.made_for if name in self.replicas
               and self.replicas[name].state is not State.AVAILABLE}
        replaced = {self.made_for[name] for name in self.made_for
                    if name in self.replicas}
        self.forgotten |= new | replaced | {
            lost for lost, count in self.coming.items() if count}


@dataclasses.dataclass(slots=True, kw_only=True)
class Weather:
    """How the provisioner is today.

    :ivar lose: the next so many changes are made, and no answer comes.
    :ivar lose_of: the same for changes of one name.
    :ivar arrives: what the next new replica is like: good, small, foreign.
    """

    down: bool = False
    slow_s: float = 0.0
    nonsense: set[str] = dataclasses.field(default_factory=set)
    forget: bool = False
    omit: set[str] = dataclasses.field(default_factory=set)
    lag_s: float = 0.0
    lose: int = 0
    lose_of: dict[str, int] = dataclasses.field(default_factory=dict)
    refuse: int = 0
    arrives: list[str] = dataclasses.field(default_factory=list)

    def loses(self, name: str) -> bool:
        """Whether the answer to a change is lost now."""
        if self.lose_of.get(name, 0) > 0:
            self.lose_of[name] -= 1
            return True
        self.lose = max(0, self.lose - 1) if (lost := self.lose > 0) else 0
        return lost


class Cloud:
    """What is really so at the provisioner.

    :param make: makes the disk of a new replica.
    :ivar pending: new replicas that are on their way.
    """

    def __init__(self, time: timeline.Timeline, rng: random.Random,
                 make: Callable[[str, int, str], Replica]) -> None:
        self.time = time
        self.rng = rng
        self.make = make
        self.volumes: dict[str, Volume] = {}
        self.weather = Weather()
        self._words_s: dict[str, float] = {}
        self.old: list[tuple[float, dict[base.VolumeId, base.Volume]]] = []
        self.lets_go: Callable[[str, str], None] = lambda _k, _u: None
        self.deleted: Callable[[Volume, Replica], None] = lambda _v, _r: None
        self.requested: Callable[[Volume, str, str], None] = (
            lambda _v, _r, _i: None)
        self.reported: Callable[[str, str, State], None] = (
            lambda _k, _r, _s: None)
        self.on_request: list[Callable[[Volume, str], bool]] = []
        self.on_arrival: list[Callable[[Volume], bool]] = []
        self.arrival_s = ARRIVAL_S
        self.pending = 0

    def travel_s(self) -> float:
        """How long a question is under way."""
        return self.rng.uniform(0.005, 0.05) + self.weather.slow_s

    # What it says -----------

    def said_well(self, at_s: float) -> None:
        """What is so was said then, of each volume that nothing is wrong
        with in the answer."""
        weather = self.weather
        for key, volume in self.volumes.items():
            if key in weather.nonsense:
                continue
            named = volume.replicas.keys() - weather.omit
            self._words_s.update(dict.fromkeys(named, at_s))
            if len(named) == len(volume.replicas):
                self._words_s[key] = at_s

    def good_word_s(self, name: str) -> float:
        """When the agent was last told what is so of a volume, or of one
        of its replicas: that may be named where another is left out.
        """
        return self._words_s.get(name, 0.0)

    def knows(self, key: str | None) -> bool:
        """Whether the agent can tell whose array this is."""
        volume = self.volumes.get(key or '')
        return volume is None or self.good_word_s(
            volume.key) > volume.forgot_s

    def say(self) -> dict[base.VolumeId, base.Volume]:
        now = {base.VolumeId(v.key): self._describe(v)
               for v in self.volumes.values() if HERE in v.hosts}
        self.old.append((self.time.now_s, now))
        del self.old[:-20]
        return then(self.old, self.time.now_s - self.weather.lag_s)

    def _describe(self, volume: Volume) -> base.Volume:
        named = [r for r in volume.replicas.values()
                 if r.disk.id not in self.weather.omit]
        return base.Volume(
            id=base.VolumeId(volume.key), alias=f'vol-{volume.key[-4:]}',
            size_bytes=volume.size_bytes, replica_count=volume.count,
            replicas=tuple(_replica(r) for r in named),
            hosts=frozenset(volume.hosts),
            nonsense=('two replicas have one name'
                      if volume.key in self.weather.nonsense else None))

    # What it does -----------

    def report(self, key: str, replica: str, state: State) -> None:
        found = self._replica(key, replica)
        self.reported(key, replica, state)
        if found.state is not State.TERMINATING:
            found.state = state

    def request(self, key: str, replica: str, request_id: str) -> None:
        volume = self._volume(key)
        self._replica(key, replica)
        if request_id in volume.requests:
            return
        volume.requests.add(request_id)
        volume.unserved.discard(replica)
        volume.asked.setdefault(replica, []).append(self.time.now_s)
        self.requested(volume, replica, request_id)
        for hook in list(self.on_request):
            if hook(volume, replica):
                self.on_request.remove(hook)
        self.pending += 1
        volume.coming[replica] = volume.coming.get(replica, 0) + 1
        self.time.after(self.rng.uniform(*self.arrival_s),
                        lambda: self._made(volume, replica))

    def _made(self, volume: Volume, lost: str) -> None:
        self.pending -= 1
        volume.coming[lost] -= 1
        self.arrive(volume, lost)

    def arrive(self, volume: Volume, lost: str = '') -> None:
        """A new replica is there, in the place of a lost one."""
        kind = self.weather.arrives.pop(0) if self.weather.arrives else ''
        made = self.make(volume.key, volume.size_bytes, kind)
        volume.replicas[made.disk.id] = made
        volume.made_for[made.disk.id] = lost
        for hook in list(self.on_arrival):
            if hook(volume):
                self.on_arrival.remove(hook)

    def publish(self, key: str) -> None:
        for replica in self._volume(key).replicas.values():
            replica.published = True

    def confirm(self, key: str, replica: str) -> None:
        volume = self.volumes.get(key)
        if volume is None or replica not in volume.replicas:
            return
        found = volume.replicas[replica]
        self.deleted(volume, found)
        del volume.replicas[replica]

    def _volume(self, key: str) -> Volume:
        if key not in self.volumes:
            raise exception.ProvisionerRefused(f'cannot: no volume {key}')
        return self.volumes[key]

    def _replica(self, key: str, replica: str) -> Replica:
        found = self._volume(key).replicas.get(replica)
        if found is None:
            raise exception.ProvisionerRefused(
                f'cannot: because there is no replica {replica}')
        return found


def then(old: Sequence[tuple[float, _News]], at_s: float) -> _News:
    """What was so at a time, as far as it has been written down.

    It is only when somebody asks: after a silence the last news are far
    older than what is to be told.
    """
    at = max((number for number, (written_s, _) in enumerate(old)
              if written_s <= at_s), default=0)
    if old[at][0] < at_s - UNSEEN_MAX_S:
        at += 1
    return old[at][1]


def _replica(replica: Replica) -> base.Replica:
    shown = replica.published
    return base.Replica(
        id=base.ReplicaId(replica.disk.id), state=replica.state,
        nqn=replica.target.nqn if shown else None,
        namespace_uuid=replica.disk.uuid if shown else None,
        portals=replica.target.portals if shown else ())


class Plugin(base.Provisioner):
    """The provisioner as the agent knows it: slow, lossy, or gone.

    :param crash: a point at which the agent may be killed.
    :param fault: called when the weather has hurt.
    """

    guarantees = base.Guarantees(
        batch=True, knows_hosts=True, idempotent_replacement=True)

    def __init__(self, cloud: Cloud, crash: Callable[[str], None],
                 fault: Callable[[], None],
                 asked: Callable[[str], None] = lambda _name: None) -> None:
        super().__init__(None, base.HostIdentity(   # type: ignore[arg-type]
            name=HERE, nqn='nqn.host', uuid=None))
        self._cloud = cloud
        self._crash = crash
        self._fault = fault
        self._asked = asked

    def _travel(self) -> None:
        weather = self._cloud.weather
        if self._cloud.time.current is not None:
            self._cloud.time.sleep(self._cloud.travel_s())
        if weather.down:
            self._cloud.time.sleep(self._cloud.rng.choice((0.0, 5.0)))
            raise exception.ProvisionerUnreachable(
                'cannot reach the provisioner: because it is down')

    def probe(self) -> str:
        self._travel()
        return 'a simulated provisioner'

    def volumes(self) -> Mapping[base.VolumeId, base.Volume]:
        self._travel()
        if self._cloud.weather.forget:
            return {}
        self._cloud.said_well(self._cloud.time.now_s)
        return self._cloud.say()

    def _change(self, name: str, work: Callable[[], Any]) -> None:
        self._crash(f'before {name}')
        self._asked(name)
        self._travel()
        if self._cloud.weather.refuse > 0:
            self._cloud.weather.refuse -= 1
            self._fault()
            raise exception.ProvisionerError('cannot: because of a 500')
        work()
        self._crash(f'after {name}')
        self._cloud.time.sleep(self._cloud.rng.uniform(0.005, 0.05))
        if self._cloud.weather.loses(name):
            self._fault()
            raise exception.ProvisionerUnreachable(
                'cannot hear the answer: because the connection was lost')

    def report(self, volume: base.VolumeId, replica: base.ReplicaId,
               state: State) -> None:
        self._change('report', lambda: self._cloud.report(
            volume, replica, state))

    def request_replacement(self, volume: base.VolumeId,
                            replica: base.ReplicaId,
                            request_id: str) -> None:
        self._change('request', lambda: self._cloud.request(
            volume, replica, request_id))

    def publish(self, volume: base.VolumeId) -> None:
        self._change('publish', lambda: self._cloud.publish(volume))

    def confirm_removal(self, volume: base.VolumeId,
                        replica: base.ReplicaId) -> None:
        known = self._cloud.volumes.get(volume)
        found = None if known is None else known.replicas.get(replica)
        if found is not None:
            self._cloud.lets_go(volume, found.disk.uuid)
        self._change('confirm', lambda: self._cloud.confirm(volume, replica))


class Once(Plugin):
    """One that does not promise that a request can be sent again."""

    guarantees = dataclasses.replace(Plugin.guarantees,
                                     idempotent_replacement=False)
