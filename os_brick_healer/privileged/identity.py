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
"""Is a kernel name still the thing that was meant? Read from sysfs."""

from collections.abc import Mapping
import re

from os_brick_healer import exception
from os_brick_healer.privileged import check
from os_brick_healer.privileged import tree as trees
from os_brick_healer.sysfs import md, parse

# nvme3c5n2: the path of controller nvme5 to head nvme3n2 (native
# multipath); nvme5n2: the namespace itself, without multipath.
_BEHIND = re.compile(r'(nvme\d+)(?:c\d+)?(n\d+)')


def array(tree: trees.Tree, name: str, uuid: str) -> None:
    """The array of this name has this UUID, or NotOurs.

    Where the kernel has no ``md/uuid``, udev's database tells, which only
    root writes. ``mdadm --detail`` is not asked: it reads a member's
    superblock, and that never returns from a leg without a live path.
    """
    found = md.uuid(tree, name)
    if found is None:
        raise exception.NotOurs(
            f'cannot touch {name}: nobody tells its UUID (no such array?)')
    if check.md_uuid(found) != uuid:
        raise exception.NotOurs(
            f'cannot touch {name}: its UUID is {found}, not {uuid}')


def device(tree: trees.Tree, name: str, nqn: str, uuid: str) -> None:
    """The namespace of this name is this one of this subsystem."""
    base = f'/sys/block/{name}'
    # "device" is the subsystem with native multipath, else the controller:
    # both have the attribute.
    found = tree.read(f'{base}/device/subsysnqn')
    if found != nqn:
        raise exception.NotOurs(
            f'cannot touch {name}: it belongs to subsystem {found}, not '
            f'{nqn}')
    text = tree.read(f'{base}/uuid')
    if text is None or check.namespace_uuid(text) != uuid:
        raise exception.NotOurs(
            f'cannot touch {name}: its uuid is {text}, not {uuid}')


def controller(tree: trees.Tree, name: str, nqn: str,
               address: str | None = None, port: int | None = None) -> None:
    """The controller of this name leads to this subsystem and portal."""
    base = f'/sys/class/nvme/{name}'
    found = tree.read(f'{base}/subsysnqn')
    if found != nqn:
        raise exception.NotOurs(
            f'cannot touch {name}: it leads to {found}, not to {nqn}')
    if address is None:
        return
    portal = portal_of(tree, name)
    if portal != (address, port):
        raise exception.NotOurs(
            f'cannot touch {name}: its portal is {portal}, not '
            f'{(address, port)}')


def portal_of(tree: trees.Tree, name: str) -> tuple[str, int] | None:
    """The address and port that a controller is connected to."""
    text = tree.read(f'/sys/class/nvme/{name}/address')
    found = None if text is None else parse.nvme_address(text)
    if found is None or found.trsvcid is None:
        return None
    return found.traddr, found.trsvcid


def flags(tree: trees.Tree, name: str, member: str) -> frozenset[str] | None:
    """The words of ``md/dev-X/state``; None when it is no member."""
    text = tree.read(f'/sys/block/{name}/md/dev-{member}/state')
    if text is None:
        return None
    return frozenset(word for word in text.split(',') if word)


def members(tree: trees.Tree, name: str) -> tuple[str, ...]:
    """Kernel names of an array's members."""
    return tuple(entry.removeprefix('dev-')
                 for entry in tree.listdir(f'/sys/block/{name}/md')
                 if entry.startswith('dev-'))


def in_sync(tree: trees.Tree, name: str) -> tuple[str, ...]:
    """Members that hold every acknowledged write, as far as MD knows."""
    return tuple(
        member for member in members(tree, name)
        if 'in_sync' in (words := flags(tree, name, member) or frozenset())
        and 'faulty' not in words)


def holders(tree: trees.Tree, name: str) -> tuple[str, ...]:
    """What holds a block device (md127, dm-3), also by a partition."""
    base = f'/sys/block/{name}'
    parts = [entry for entry in tree.listdir(base)
             if re.fullmatch(re.escape(name) + r'p\d+', entry)]
    found = set(tree.listdir(f'{base}/holders'))
    for part in parts:
        found.update(tree.listdir(f'{base}/{part}/holders'))
        found.add(part)
    return tuple(sorted(found))


def namespaces(tree: trees.Tree, name: str) -> tuple[str, ...]:
    """Block devices that a controller leads to."""
    found = {''.join(match.groups())
             for entry in tree.listdir(f'/sys/class/nvme/{name}')
             if (match := _BEHIND.fullmatch(entry))}
    return tuple(sorted(found))


def live(tree: trees.Tree, nqn: str, besides: str | None = None) -> bool:
    """Whether a controller (another than ``besides``) of it is live."""
    return any(
        tree.read(f'/sys/class/nvme/{name}/subsysnqn') == nqn
        and tree.read(f'/sys/class/nvme/{name}/state') == 'live'
        for name in tree.listdir('/sys/class/nvme') if name != besides)


def reachable(tree: trees.Tree, name: str) -> bool:
    """Whether a live controller leads to this namespace's subsystem."""
    nqn = tree.read(f'/sys/block/{name}/device/subsysnqn')
    return nqn is not None and live(tree, nqn)


def endangered(tree: trees.Tree, name: str, nqn: str, leg: str | None,
               spare: Mapping[str, str] | None) -> str | None:
    """What losing a controller would take from a guest; None: nothing.

    A subsystem may present namespaces of several volumes (one target per
    back end). For each one that loses its last path, whatever uses it must
    be an array with another in-sync leg that is live. Law 1, law 7.

    :param leg: the namespace that the caller gives up, if it is there: it
        may be unused.
    :param spare: other namespaces that no array holds, of which the caller
        knows that they are replicas out of their arrays: by name, their
        uuids. None: such do not matter (a reset costs whoever uses them a
        moment, not an error).
    """
    if live(tree, nqn, besides=name):
        return None
    for found in namespaces(tree, name):
        held = tree.listdir(f'/sys/block/{found}/holders')
        if not held and found != leg and spare is not None:
            why = _not_spare(tree, found, nqn, spare.get(found))
            if why is not None:
                return f'{found} is behind it too, and {why}'
        for holder in held:
            if not _carries_on(tree, holder, nqn):
                return (f'{holder} holds {found} and has no other in-sync '
                        'leg that is live')
    return None


def _not_spare(tree: trees.Tree, name: str, nqn: str,
               uuid: str | None) -> str | None:
    if uuid is None:
        return 'who uses it is not known'
    device(tree, name, nqn, uuid)
    held = holders(tree, name)
    return f'{", ".join(held)} uses it' if held else None


def _carries_on(tree: trees.Tree, array_name: str, lost_nqn: str) -> bool:
    """Whether an array has an in-sync, live leg elsewhere."""
    return any(
        (nqn := tree.read(f'/sys/block/{member}/device/subsysnqn'))
        and nqn != lost_nqn and live(tree, nqn)
        for member in in_sync(tree, array_name))


def in_use(tree: trees.Tree, name: str, device_name: str | None
           ) -> str | None:
    """Why a controller may not be disconnected quietly; None: it may."""
    for found in namespaces(tree, name):
        held = holders(tree, found)
        if held:
            return f'{found} is held by {", ".join(held)}'
        if found != device_name:
            return f'{found} is behind it too, and who uses it is not known'
    return None
