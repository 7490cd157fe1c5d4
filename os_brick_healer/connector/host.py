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
"""What a connector must know of this host: legs, arrays, controllers.

Read from sysfs at the moment it is needed, by identity. Nothing here waits
and nothing here changes anything.
"""

import dataclasses
import re

from os_brick_healer.connector import legs as legs_lib
from os_brick_healer.sysfs import reader

Leg = legs_lib.Leg

NVME = '/sys/class/nvme'
BLOCK = '/sys/block'

#: Under a controller: ``nvme0n1`` without native multipath, ``nvme0c1n1``
#: (path of head ``nvme0n1``) with it.
_NAMESPACE = re.compile(r'(nvme\d+)(?:c\d+)?(n\d+)')
_CONTROLLER = re.compile(r'nvme\d+')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace under a controller. :ivar device: its block device."""

    device: str
    nqn: str | None
    uuid: str | None
    nguid: str | None
    ns_id: str | None
    holders: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """One connection to one portal."""

    name: str
    nqn: str
    host_nqn: str | None
    portal: legs_lib.Portal | None
    state: str | None
    namespaces: tuple[Namespace, ...]

    @property
    def live(self) -> bool:
        return self.state == 'live'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """An array. :ivar uuid: hex digits only, None when the kernel is mute.

    :ivar in_sync: kernel names of members that hold every write.
    """

    name: str
    uuid: str | None
    state: str | None
    members: tuple[str, ...]
    in_sync: tuple[str, ...]
    holders: tuple[str, ...]

    @property
    def running(self) -> bool:
        return self.state not in (None, 'clear', 'inactive')


def bare_uuid(text: str | None) -> str | None:
    """An array's UUID without the marks that mdadm and sysfs differ in.

    An array that has not been started has none: the kernel prints zeros.
    """
    digits = re.sub('[^0-9a-f]', '', text.lower()) if text else ''
    return digits if digits.strip('0') else None


class Host:
    """Reads this host. :param tree: its files, or a copy of them."""

    def __init__(self, tree: reader.Tree) -> None:
        self._tree = tree

    # Controllers and namespaces ----------------------------------------------

    def controllers(self) -> tuple[Controller, ...]:
        """Every controller of NVMe over fabrics."""
        found = (self._controller(name) for name in self._tree.listdir(NVME)
                 if _CONTROLLER.fullmatch(name))
        return tuple(c for c in found if c is not None)

    def _controller(self, name: str) -> Controller | None:
        base = f'{NVME}/{name}'
        nqn = self._tree.read(f'{base}/subsysnqn')
        if nqn is None:
            return None
        transport = self._tree.read(f'{base}/transport') or ''
        address = self._tree.read(f'{base}/address') or ''
        if transport == 'pcie':
            return None
        return Controller(
            name=name, nqn=nqn, state=self._tree.read(f'{base}/state'),
            host_nqn=self._tree.read(f'{base}/hostnqn'),
            portal=_portal(address, transport),
            namespaces=tuple(
                self._namespace(m[1] + m[2], f'{base}/{entry}', nqn)
                for entry in self._tree.listdir(base)
                if (m := _NAMESPACE.fullmatch(entry)) is not None))

    def _namespace(self, device: str, path: str, nqn: str) -> Namespace:
        def one(attribute: str) -> str | None:
            return (self._tree.read(f'{path}/{attribute}')
                    or self._tree.read(f'{BLOCK}/{device}/{attribute}'))

        return Namespace(
            device=device, nqn=nqn, uuid=legs_lib.lower_uuid(one('uuid')),
            nguid=legs_lib.lower_uuid(one('nguid')), ns_id=one('nsid'),
            holders=self._tree.listdir(f'{BLOCK}/{device}/holders'))

    def copying(self, array: str) -> bool:
        """Whether MD copies to one of its legs now."""
        return self._tree.read(f'{BLOCK}/{array}/md/sync_action') in (
            'recover', 'resync')

    def size_bytes(self, device: str) -> int | None:
        """A block device's size. sysfs counts 512-byte sectors, always."""
        text = self._tree.read(f'{BLOCK}/{device}/size')
        return int(text) * 512 if text else None

    def setting(self, controller: str, attribute: str) -> str | None:
        """An attribute of a controller."""
        return self._tree.read(f'{NVME}/{controller}/{attribute}')

    # Arrays ------------------------------------------------------------------

    def array(self, name: str) -> Array | None:
        """An array by its kernel name, None when it is gone."""
        md = f'{BLOCK}/{name}/md'
        state = self._tree.read(f'{md}/array_state')
        if state is None:
            return None
        members = tuple(e.removeprefix('dev-')
                        for e in self._tree.listdir(md)
                        if e.startswith('dev-'))
        return Array(
            name=name, state=state, members=members,
            uuid=bare_uuid(self._tree.read(f'{md}/uuid')),
            holders=self._tree.listdir(f'{BLOCK}/{name}/holders'),
            in_sync=tuple(m for m in members if self._in_sync(md, m)))

    def _in_sync(self, md: str, member: str) -> bool:
        words = (self._tree.read(f'{md}/dev-{member}/state') or '').split(',')
        return 'in_sync' in words and 'faulty' not in words

    def arrays_on(self, devices: tuple[str, ...]) -> tuple[Array, ...]:
        """The arrays that hold any of these block devices."""
        names = {h: None for d in devices
                 for h in self._tree.listdir(f'{BLOCK}/{d}/holders')
                 if h.startswith('md')}
        found = (self.array(name) for name in names)
        return tuple(a for a in found if a is not None)

    def array_with_uuid(self, uuid: str) -> Array | None:
        """An array by its identity."""
        for name in self._tree.listdir(BLOCK):
            if name.startswith('md'):
                array = self.array(name)
                if array is not None and array.uuid == bare_uuid(uuid):
                    return array
        return None

    def array_behind(self, path: str) -> str | None:
        """Kernel name of what a ``/dev/md/...`` link points to."""
        link = self._tree.readlink(path)
        return None if link is None else link.rpartition('/')[2]

    # Both --------------------------------------------------------------------

    def members(self, array: Array) -> tuple[Leg, ...]:
        """The legs that are in an array now, whoever put them there."""
        found: dict[str, Leg] = {}
        for controller in self.controllers():
            for ns in controller.namespaces:
                if ns.device in array.members:
                    leg = _as_leg(controller, ns)
                    old = found.get(leg.key)
                    found[leg.key] = leg if old is None else (
                        dataclasses.replace(
                            old, portals=(*old.portals, *leg.portals)))
        return tuple(found.values())

    def devices_of(self, legs: tuple[Leg, ...]) -> dict[str, Leg]:
        """Block devices (kernel names) of these legs that are here now."""
        return {ns.device: leg for c in self.controllers()
                for ns in c.namespaces for leg in legs if is_leg(c, ns, leg)}

    def controllers_of(self, legs: tuple[Leg, ...]) -> tuple[Controller, ...]:
        """Every controller to a subsystem of these legs."""
        return tuple(
            c for c in self.controllers()
            if any(c.nqn == leg.nqn
                   and (leg.host_nqn is None or c.host_nqn is None
                        or c.host_nqn == leg.host_nqn) for leg in legs))


def is_leg(controller: Controller, namespace: Namespace, leg: Leg) -> bool:
    """Whether a namespace of the controller is the leg."""
    return leg.is_namespace(
        namespace.nqn, namespace.uuid, namespace.nguid, namespace.ns_id,
        alone=len(controller.namespaces) == 1)


def in_the_way(controller: Controller, legs: tuple[Leg, ...]) -> str | None:
    """Why a controller must stay when these legs go, None when it may go.

    A subsystem may present other volumes' namespaces too, and a namespace
    that an array still holds is never taken away.
    """
    for ns in controller.namespaces:
        if not any(is_leg(controller, ns, leg) for leg in legs):
            return f'{ns.device} on it is not of this volume'
        if ns.holders:
            return f'{ns.device} on it is held by {", ".join(ns.holders)}'
    return None


def _as_leg(controller: Controller, ns: Namespace) -> Leg:
    return Leg(
        nqn=controller.nqn, uuid=ns.uuid, nguid=ns.nguid, ns_id=ns.ns_id,
        host_nqn=controller.host_nqn,
        portals=() if controller.portal is None else (controller.portal,))


def _portal(address: str, transport: str) -> legs_lib.Portal | None:
    """``traddr=10.0.0.1,trsvcid=4420[,src_addr=...]`` taken apart."""
    words = dict(w.split('=', 1) for w in address.split(',') if '=' in w)
    if 'traddr' not in words or 'trsvcid' not in words:
        return None
    return words['traddr'], words['trsvcid'], transport
