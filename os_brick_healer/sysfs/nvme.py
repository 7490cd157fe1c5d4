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
"""NVMe controllers, subsystems and namespaces, read only.

With native multipath (the default) a namespace is one block device nvmeXnY
("head") under its subsystem, and each controller nvmeC that leads to it has a
hidden device nvmeXcCnY. Without it (nvme_core.multipath=N, or a subsystem
that says it has one controller only) each controller has its own nvmeCnY.
Numbers in names tell nothing about each other: X is the subsystem's.
"""

import dataclasses
import re

from os_brick_healer.sysfs import parse, reader

CONTROLLERS = 'sys/class/nvme'
SUBSYSTEMS = 'sys/class/nvme-subsystem'

_CONTROLLER = re.compile(r'nvme[0-9]+', re.ASCII)
_BLOCK = re.compile(r'nvme[0-9]+n[0-9]+', re.ASCII)
_PATH = re.compile(r'nvme([0-9]+)c[0-9]+n([0-9]+)', re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """One connection of this host to a subsystem.

    :ivar state: the kernel's word, "live", "connecting", ...
    :ivar address: None for a controller without one (PCIe).
    :ivar leads_to: block devices of which it is a path, also when it is
        not live.
    :ivar birth: differs for another controller of the same name.
    """

    name: str
    nqn: str
    state: str
    transport: str
    address: parse.Address | None
    host_nqn: str | None
    keep_alive_s: int | None
    leads_to: tuple[str, ...]
    birth: int | None


#: Controllers read before, by name.
Known = dict[str, Controller]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A block device; ``controllers`` are those that lead to it.

    :ivar uuid: None when the target gives none: the kernel then prints the
        nguid, or zeros, in its place.
    """

    device: str
    nqn: str
    uuid: str | None
    nguid: str | None
    size_bytes: int | None
    holders: tuple[str, ...]
    controllers: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subsystem:
    """Everything this host has of one subsystem."""

    name: str
    nqn: str
    controllers: tuple[Controller, ...]
    namespaces: tuple[Namespace, ...]


def subsystem_names(tree: reader.Tree) -> tuple[str, ...]:
    """Kernel names of all subsystems."""
    return tree.listdir(SUBSYSTEMS)


def subsystem_nqn(tree: reader.Tree, name: str) -> str | None:
    """Its NQN, exactly as the kernel prints it."""
    return tree.read(f'{SUBSYSTEMS}/{name}/subsysnqn')


def subsystem(tree: reader.Tree, name: str,
              known: Known | None = None) -> Subsystem | None:
    """One subsystem, None when it is not there (any more).

    :param known: see :func:`controller`.
    """
    nqn = subsystem_nqn(tree, name)
    if nqn is None:
        return None
    at = f'{SUBSYSTEMS}/{name}'
    entries = [e for e in tree.listdir(at) if e.startswith('nvme')]
    # nvme_init_subsystem() links each controller, native multipath or not.
    found = [controller(tree, e, known) for e in entries
             if _CONTROLLER.fullmatch(e)]
    controllers = tuple(c for c in found if c is not None and c.nqn == nqn)
    heads = {e for e in entries if _BLOCK.fullmatch(e)}
    heads.update(d for c in controllers for d in c.leads_to)
    namespaces = (
        namespace(tree, device, nqn, tuple(
            c.name for c in controllers if device in c.leads_to))
        for device in sorted(heads))
    return Subsystem(name=name, nqn=nqn, controllers=controllers,
                     namespaces=tuple(n for n in namespaces if n is not None))


def subsystems(tree: reader.Tree) -> tuple[Subsystem, ...]:
    """All subsystems that are still there when it is their turn."""
    found = (subsystem(tree, name) for name in subsystem_names(tree))
    return tuple(s for s in found if s is not None)


def controllers(tree: reader.Tree) -> tuple[Controller, ...]:
    """All controllers, of every transport."""
    found = (controller(tree, name) for name in tree.listdir(CONTROLLERS))
    return tuple(c for c in found if c is not None)


def namespaces(tree: reader.Tree) -> tuple[Namespace, ...]:
    """All namespaces, as block devices that can be used."""
    return tuple(n for s in subsystems(tree) for n in s.namespaces)


def controller(tree: reader.Tree, name: str,
               known: Known | None = None) -> Controller | None:
    """One controller, None when it is not there (any more).

    :param known: controllers read before, by name; this one is added. Of
        the very same one only what can change is read again: the kernel
        sets the rest when it makes the controller, and offers no way to
        write it.
    """
    at = f'{CONTROLLERS}/{name}/'
    birth = tree.birth(at)
    same = None if known is None else known.get(name)
    if same is None or same.birth != birth or birth is None:
        found = _controller(tree, name, at, birth)
        if known is not None and found is not None and found.state == 'live':
            known[name] = found
        return found
    state = tree.read(at + 'state')
    return None if state is None else dataclasses.replace(
        same, state=state, leads_to=_leads_to(tree, at))


def _controller(tree: reader.Tree, name: str, at: str,
                birth: int | None) -> Controller | None:
    nqn = tree.read(at + 'subsysnqn')
    state = tree.read(at + 'state')
    if nqn is None or state is None:
        return None
    address = tree.read(at + 'address')
    return Controller(
        name=name, nqn=nqn, state=state,
        transport=parse.word(tree.read(at + 'transport') or '',
                             at + 'transport'),
        address=None if address is None
        else parse.nvme_address(address, at + 'address'),
        host_nqn=tree.read(at + 'hostnqn') or None,
        keep_alive_s=_number(tree, at + 'kato'),
        leads_to=_leads_to(tree, at), birth=birth)


def _leads_to(tree: reader.Tree, at: str) -> tuple[str, ...]:
    found = []
    for entry in tree.listdir(at):
        if not entry.startswith('nvme'):
            continue
        path = _PATH.fullmatch(entry)
        if path is not None:
            found.append(f'nvme{path[1]}n{path[2]}')
        elif _BLOCK.fullmatch(entry):
            found.append(entry)
    return tuple(found)


def namespace(tree: reader.Tree, device: str, nqn: str,
              leading: tuple[str, ...]) -> Namespace | None:
    """One block device, None when it is not there (any more)."""
    at = f'sys/block/{device}/'
    sectors = _number(tree, at + 'size')
    if sectors is None:
        return None
    nguid = _uuid(tree, at + 'nguid')
    uuid = _uuid(tree, at + 'uuid')
    return Namespace(
        device=device, nqn=nqn, uuid=uuid, nguid=nguid,
        size_bytes=sectors * 512,
        holders=tree.listdir(at + 'holders'), controllers=leading)


def _uuid(tree: reader.Tree, path: str) -> str | None:
    text = tree.read(path)
    return None if text is None else parse.uuid(text, path)


def _number(tree: reader.Tree, path: str) -> int | None:
    text = tree.read(path)
    return None if text is None else parse.maybe_integer(text, path)
