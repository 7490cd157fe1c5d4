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
"""What the terms need of a host, and the legs that they handle."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model, observe, tools

T = TypeVar('T')
CLOSED, SILENT = 'closed', 'silent'
BLANK, SMALL, FOREIGN = 'blank', 'small', 'foreign'

State = model.PathState
#: For what the kernel does at once, and for what it takes its time, seconds.
SOON_S, LATE_S = 10.0, 60.0
TIMEOUT_S = 20.0


class Broken(Exception):
    """A term that is not kept, as a sentence."""


class Lab(Protocol):
    """A host and its storage.

    :ivar host_nqn: what the host calls itself.
    :ivar keep_alive_s: of its connections.
    """

    host_nqn: str
    keep_alive_s: int

    @property
    def md(self) -> tools.Md:
        """What the hands use, or what stands for it in the simulator."""
        ...

    @property
    def nvme(self) -> tools.Nvme:
        """The same, for controllers."""
        ...

    @property
    def volume(self) -> model.Volume:
        """The volume as its provisioner names it now."""
        ...

    def look(self) -> observe.Observation:
        """What the healer's eyes see of it."""
        ...

    def do(self, call: Callable[[], T]) -> T:
        """Have a tool called, as the healer's hands do."""
        ...

    def until(self, sentence: str, holds: Callable[[], bool],
              within_s: float) -> None:
        """Wait for it, or raise Broken with the sentence."""
        ...

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def cut(self, replica: model.ReplicaId, how: str) -> None:
        """Take a replica's target away."""
        ...

    def mend(self, replica: model.ReplicaId) -> None:
        """Bring it back."""
        ...

    def add_replica(self, kind: str) -> model.ReplicaId:
        """Another replica, published and not connected."""
        ...

    def flows(self, within_s: float) -> bool:
        """Whether what the guest writes from now on is acknowledged."""
        ...


def need(holds: object, sentence: str) -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(sentence)


class Leg:
    """One replica of the lab's volume, and what may be done to it."""

    def __init__(self, lab: Lab, replica: model.ReplicaId) -> None:
        self.lab = lab
        self.id = replica

    # What is seen of it -----------

    @property
    def replica(self) -> model.Replica:
        return next(r for r in self.lab.volume.replicas if r.id == self.id)

    @property
    def namespace(self) -> model.Namespace | None:
        return self.lab.look().namespaces.get(self.id)

    @property
    def path(self) -> model.Path | None:
        return next(iter(self.lab.look().paths.get(self.id, ())), None)

    @property
    def state(self) -> model.PathState | None:
        return None if (path := self.path) is None else path.state

    @property
    def role(self) -> str | None:
        """in_sync, spare, faulty; None: it is not in the array."""
        seen = self.lab.look()
        device = next((d for d, r in seen.legs.items() if r == self.id), None)
        namespace = seen.namespaces.get(self.id)
        if device is None and namespace is not None:
            device = namespace.device
        array = array_of(self.lab)
        for member in array.members:
            if member.device == device:
                return ('faulty' if 'faulty' in member.flags else
                        'in_sync' if member.in_sync else 'spare')
        return None

    @property
    def held(self) -> bool:
        namespace = self.namespace
        return namespace is not None and bool(namespace.holders)

    def device(self) -> str:
        namespace = self.namespace
        need(namespace, f'replica {self.id} has a block device here')
        assert namespace is not None
        return namespace.device

    # What is done to it -----------

    def connect(self) -> str:
        replica = self.replica
        return self.lab.do(lambda: self.lab.nvme.connect(
            nqn=replica.nqn or '', address=replica.portals[0].address,
            port=replica.portals[0].port, transport='tcp',
            host_nqn=self.lab.host_nqn, keep_alive_s=self.lab.keep_alive_s,
            reconnect_delay_s=1, timeout_s=TIMEOUT_S))

    def appear(self) -> str:
        """Connected, and with a block device."""
        self.connect()
        self.lab.until('a connected replica has a block device',
                       lambda: self.namespace is not None, SOON_S)
        return self.device()

    def delete(self, *, idle: bool = False) -> bool:
        path, namespace = self.path, self.namespace
        need(path, f'replica {self.id} has a controller')
        assert path is not None
        return self.lab.do(lambda: self.lab.nvme.delete_controller(
            controller=path.controller, nqn=path.nqn,
            address=path.portal.address, port=path.portal.port,
            device=None if namespace is None else namespace.device,
            idle=idle, timeout_s=TIMEOUT_S))

    def destroy_sockets(self) -> int:
        path = self.path
        assert path is not None
        ours = tuple(p.controller for paths in self.lab.look().paths.values()
                     for p in paths)
        return self.lab.do(lambda: self.lab.nvme.cut(
            controller=path.controller, nqn=path.nqn,
            address=path.portal.address, port=path.portal.port, ours=ours,
            timeout_s=TIMEOUT_S))

    def re_add(self) -> bool:
        array, replica = array_of(self.lab), self.replica
        device = self.device()
        return self.lab.do(lambda: self.lab.md.re_add(
            array=array.name, array_uuid=array.uuid, device=device,
            nqn=replica.nqn or '',
            namespace_uuid=replica.namespace_uuid or '',
            timeout_s=TIMEOUT_S))

    def add(self, *, former: bool = False) -> bool:
        array, replica = array_of(self.lab), self.replica
        device = self.device()
        return self.lab.do(lambda: self.lab.md.add_spare(
            array=array.name, array_uuid=array.uuid, device=device,
            nqn=replica.nqn or '',
            namespace_uuid=replica.namespace_uuid or '',
            min_size_bytes=array.component_bytes, former=former,
            timeout_s=TIMEOUT_S))

    def remove(self) -> bool:
        array, device = array_of(self.lab), self.device()
        return self.lab.do(lambda: self.lab.md.remove(
            array=array.name, array_uuid=array.uuid, device=device,
            timeout_s=TIMEOUT_S))

    def superblock(self) -> str | None:
        """The UUID of the array whose superblock it carries."""
        replica, device = self.replica, self.device()
        return self.lab.do(lambda: self.lab.md.examine(
            device=device, nqn=replica.nqn or '',
            namespace_uuid=replica.namespace_uuid or '',
            timeout_s=TIMEOUT_S)).get('MD_UUID')


def array_of(lab: Lab) -> model.Array:
    """The volume's array; it is never gone while a term is checked."""
    array = lab.look().array
    need(array, 'the array is on this host')
    assert array is not None
    return array


def legs(lab: Lab) -> tuple[Leg, Leg]:
    """The first two legs."""
    first, second = lab.volume.replicas[:2]
    return Leg(lab, first.id), Leg(lab, second.id)


def refused(call: Callable[[], object],
            kind: type[Exception], sentence: str) -> None:
    """A tool, or the kernel, must refuse."""
    try:
        call()
    except kind:
        return
    raise Broken(sentence)


def is_whole(lab: Lab) -> bool:
    """Every slot is in sync and nothing is being copied."""
    array = array_of(lab)
    return array.degraded == 0 and array.sync is None


def same(one: str | None, other: str) -> bool:
    """sysfs and mdadm write the digits of a UUID with other marks."""
    return one is not None and (
        one.replace(':', '').replace('-', '').lower()
        == other.replace('-', '').lower())


def in_sync(lab: Lab) -> list[model.ReplicaId]:
    """The replicas that MD calls whole at the end of a term."""
    seen = lab.look()
    return [r.id for r in lab.volume.replicas if (member := case_lib.member_of(
        model.Seen(
            key=lab.volume.id, now_s=0.0, volume=lab.volume,
            volume_age_s=None, provisioner_error=None, attachment=None,
            array=seen.array, namespaces=seen.namespaces, paths=seen.paths,
            peers_hold=None), r.id)) is not None and member.in_sync]
