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
"""MD arrays as /sys/block/mdX/md shows them (Documentation/admin-guide/md).

Nothing here knows what the arrays are for. An array that goes while it is
being read is None; text that cannot be understood raises ParseError.
"""

import dataclasses

from os_brick_healer.sysfs import parse, reader

_MEMBER = 'dev-'

#: How often an array that changes under our eyes is read again.
_READS_MAX = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A directory ``md/dev-X``.

    :ivar present: whether the block device behind it is still there.
    :ivar parent: what the device hangs under: its subsystem (or, without
        native multipath, its controller). The kernel keeps both as long as
        the array keeps the device open, so this outlives the device.
    """

    device: str
    flags: frozenset[str]
    slot: int | None
    recovery_start: str | None
    present: bool
    parent: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """An array; what the kernel does not (yet) tell is None.

    :ivar degraded: None for an array without redundancy or not started:
        the attribute appears when the array is run.
    :ivar sync_action: "idle", "frozen", "recover", "resync", ...
    :ivar completed: sectors done and in all.
    """

    name: str
    uuid: str | None
    level: str
    state: str
    raid_disks: int
    degraded: int | None
    component_bytes: int
    size_bytes: int
    members: tuple[Member, ...]
    sync_action: str | None
    completed: tuple[int, int] | None
    speed_kib_s: int | None


def names(tree: reader.Tree) -> tuple[str, ...]:
    """Kernel names of all arrays, started or not."""
    return tuple(n for n in tree.listdir('sys/block')
                 if n.startswith('md') and tree.exists(f'sys/block/{n}/md'))


def arrays(tree: reader.Tree) -> tuple[Array, ...]:
    """All arrays that are still there when it is their turn."""
    found = (array(tree, name) for name in names(tree))
    return tuple(a for a in found if a is not None)


def array(tree: reader.Tree, name: str) -> Array | None:
    """One array, coherent: None when there is no such array (any more).

    The kernel offers no snapshot over several attributes, so what changes
    when a leg comes or goes is compared before and after.
    """
    found = _array(tree, name)
    for _ in range(_READS_MAX - 1):
        if found is None or _marks(found) == marks(tree, name):
            break
        found = _array(tree, name)
    return found


#: Degraded, sync_action, and the members with their flags.
Marks = tuple[int | None, str | None, tuple[tuple[str, frozenset[str]], ...]]


def _marks(found: Array) -> Marks:
    return (found.degraded, found.sync_action,
            tuple((m.device, m.flags) for m in found.members))


def marks(tree: reader.Tree, name: str) -> Marks:
    """What changes when a leg comes or goes, as it is now."""
    md = f'sys/block/{name}/md/'
    members = []
    for entry in _member_entries(tree, md):
        flags = tree.read(f'{md}{entry}/state')
        if flags is not None:
            members.append((_device(entry),
                            parse.words(flags, f'{md}{entry}/state')))
    return (_number(tree, md + 'degraded'), tree.read(md + 'sync_action'),
            tuple(members))


def _array(tree: reader.Tree, name: str) -> Array | None:
    md = f'sys/block/{name}/md/'
    level = tree.read(md + 'level')
    state = tree.read(md + 'array_state')
    disks = tree.read(md + 'raid_disks')
    component = tree.read(md + 'component_size')
    size = tree.read(f'sys/block/{name}/size')
    # Of an array that is just being stopped the files are still there, and
    # empty (md_clean() sets raid_disks to 0, which is shown as nothing).
    if not (level and state and disks and component and size):
        return None
    action = tree.read(md + 'sync_action')
    completed = speed = None
    if action and action not in ('idle', 'frozen'):
        completed = _completed(tree, md + 'sync_completed')
        speed = _number(tree, md + 'sync_speed')
    return Array(
        name=name, uuid=uuid(tree, name),
        level=parse.word(level, md + 'level'),
        state=parse.word(state, md + 'array_state'),
        raid_disks=parse.raid_disks(disks, md + 'raid_disks'),
        degraded=_number(tree, md + 'degraded'),
        component_bytes=1024 * parse.integer(component,
                                             md + 'component_size'),
        size_bytes=512 * parse.integer(size, name + '/size'),
        members=_members(tree, md),
        sync_action=None if not action
        else parse.word(action, md + 'sync_action'),
        completed=completed, speed_kib_s=speed)


def uuid(tree: reader.Tree, name: str) -> str | None:
    """The array's identity, None when nobody tells it.

    Kernels without ``md/uuid`` leave it to udev's database, which has it
    from ``mdadm --detail --export`` at the array's last change event
    (63-md-raid-arrays.rules). Beware of mdadm's own word: when no leg can
    be read it takes the UUID from its map and prints other bytes.
    """
    path = f'sys/block/{name}/md/uuid'
    text = tree.read(path)
    if text is not None:
        return parse.uuid(text, path)
    number = tree.read(f'sys/block/{name}/dev')
    if number is None:
        return None
    path = f'run/udev/data/b{number}'
    text = tree.read(path, parse.TEXT_MAX)
    known = parse.udev_properties(text or '').get('MD_UUID')
    return None if known is None else parse.uuid(known, path)


def _members(tree: reader.Tree, md: str) -> tuple[Member, ...]:
    found = []
    for entry in _member_entries(tree, md):
        at = md + entry
        # A member that is leaving answers ENODEV: it is not one any more.
        flags = tree.read(at + '/state')
        where = tree.read(at + '/slot')
        if flags is None or where is None:
            continue
        found.append(Member(
            device=_device(entry),
            flags=parse.words(flags, at + '/state'),
            slot=parse.slot(where, at + '/slot'),
            recovery_start=tree.read(at + '/recovery_start'),
            present=tree.exists(at + '/block'),
            parent=_parent(tree.readlink(at + '/block'))))
    return tuple(found)


def _member_entries(tree: reader.Tree, md: str) -> list[str]:
    return [e for e in tree.listdir(md) if e.startswith(_MEMBER)]


def _device(entry: str) -> str:
    return entry[len(_MEMBER):].replace('!', '/')


def _parent(link: str | None) -> str | None:
    # ../../../../nvme-subsystem/nvme-subsys1/nvme1n1, dangling or not
    parts = (link or '').split('/')
    return parts[-2] if len(parts) > 1 else None


def _number(tree: reader.Tree, path: str) -> int | None:
    text = tree.read(path)
    return None if text is None else parse.maybe_integer(text, path)


def _completed(tree: reader.Tree, path: str) -> tuple[int, int] | None:
    text = tree.read(path)
    return None if text is None else parse.sync_completed(text, path)
