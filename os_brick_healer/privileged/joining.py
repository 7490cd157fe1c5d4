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
"""A device about to join an array: checked, then added. See ``md``."""

from collections.abc import Mapping, Sequence
import time

from os_brick_healer import exception
from os_brick_healer.privileged import arrays, check, command, identity
from os_brick_healer.privileged import tree as trees

_SECTOR = 512


def re_add(tree: trees.Tree, run: command.Runner, take: arrays.Claim, *,
           array: str, array_uuid: str, device: str, nqn: str,
           namespace_uuid: str, timeout_s: float) -> bool:
    """Put a former leg back by its bitmap; False: it was in already."""
    leg = _Leg(tree, run, array=array, array_uuid=array_uuid, device=device,
               nqn=nqn, namespace_uuid=namespace_uuid, timeout_s=timeout_s)
    if leg.is_member():
        leg.clear_failfast()
        return False
    leg.check_unused(take)
    leg.check_size(0)
    own = leg.own_superblock()
    leg.check_not_ahead(own, leg.survivor_superblocks())
    leg.join('--re-add')
    return True


def add_spare(tree: trees.Tree, run: command.Runner, take: arrays.Claim, *,
              array: str, array_uuid: str, device: str, nqn: str,
              namespace_uuid: str, min_size_bytes: int, former: bool,
              timeout_s: float) -> bool:
    """Add a device for a full copy; False: it was in already.

    :param former: the device was a leg of this very array before and its
        bitmap is out of date: its superblock of this array is expected.
        Otherwise it must be blank.
    """
    leg = _Leg(tree, run, array=array, array_uuid=array_uuid, device=device,
               nqn=nqn, namespace_uuid=namespace_uuid, timeout_s=timeout_s)
    check.number(min_size_bytes, 0, 1 << 62, 'a size')
    if leg.is_member():
        leg.clear_failfast()
        return False
    leg.check_unused(take)
    leg.check_size(min_size_bytes)
    leg.check_contents(former=former is True)
    leg.survivor_superblocks()
    leg.join('--add-spare')
    return True


class _Leg:
    """A device about to join an array: its checks, in their order."""

    def __init__(self, tree: trees.Tree, run: command.Runner, *, array: str,
                 array_uuid: str, device: str, nqn: str,
                 namespace_uuid: str, timeout_s: float) -> None:
        self._tree = tree
        self._run = run
        self._array = check.array(array)
        self._uuid = check.md_uuid(array_uuid)
        self._device = check.device(device)
        self._nqn = check.nqn(nqn)
        self._namespace = check.namespace_uuid(namespace_uuid)
        self._deadline_s = time.monotonic() + check.timeout(timeout_s)
        self._verify()

    def _verify(self) -> None:
        identity.array(self._tree, self._array, self._uuid)
        identity.device(self._tree, self._device, self._nqn, self._namespace)

    def _left_s(self) -> float:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise exception.CommandError(
                f'cannot add {self._device} to {self._array}: its checks '
                'took the whole time')
        return left_s

    def is_member(self) -> bool:
        """It is in already and not faulty (udev's mdadm -I was faster)."""
        words = identity.flags(self._tree, self._array, self._device)
        if words is None:
            return False
        if 'faulty' in words:
            raise exception.CommandError(
                f'cannot add {self._device} to {self._array}: it is still '
                'in it as faulty', hint='it is to be removed first')
        return True

    def clear_failfast(self) -> None:
        arrays.clear_flag(self._tree, self._array, self._uuid, self._device,
               self._left_s())

    def check_unused(self, take: arrays.Claim) -> None:
        """Nothing holds it, in sysfs and by an exclusive open."""
        held = identity.holders(self._tree, self._device)
        if held:
            raise exception.NotOurs(
                f'cannot add {self._device} to {self._array}: it is held by '
                f'{", ".join(held)}')
        take(self._tree.path(f'/dev/{self._device}'), self._left_s())

    def check_size(self, min_size_bytes: int) -> None:
        """As large as the component and what stands before it."""
        need = max(min_size_bytes, self._component_bytes()
                   + self._offset_bytes())
        size = _number(self._tree, f'/sys/block/{self._device}/size')
        if size is None or size * _SECTOR < need:
            raise exception.NotOurs(
                f'cannot add {self._device} to {self._array}: its size is '
                f'{size} sectors and {need // _SECTOR} are needed')

    def _component_bytes(self) -> int:
        # component_size is in KiB, Documentation/admin-guide/md.rst.
        kib = _number(self._tree,
                      f'/sys/block/{self._array}/md/component_size')
        if kib is None:
            raise exception.CommandError(
                f'cannot add to {self._array}: its component size is not '
                'known')
        return kib * 1024

    def _offset_bytes(self) -> int:
        offsets = [
            _number(self._tree,
                    f'/sys/block/{self._array}/md/dev-{member}/offset') or 0
            for member in identity.in_sync(self._tree, self._array)]
        return max(offsets, default=0) * _SECTOR

    def own_superblock(self) -> dict[str, str]:
        """Its superblock, which must be one of this array."""
        found = arrays.superblock(self._run, self._device, self._left_s())
        if not self._ours(found):
            raise exception.NotOurs(
                f'cannot re-add {self._device} to {self._array}: '
                f'{_whose(found)}')
        return found

    def _ours(self, superblock: Mapping[str, str]) -> bool:
        text = superblock.get('MD_UUID')
        return text is not None and check.md_uuid(text) == self._uuid

    def survivor_superblocks(self) -> tuple[dict[str, str], ...]:
        """Of the in-sync legs: the last proof of whose array it is."""
        found = tuple(
            arrays.superblock(self._run, check.device(member), self._left_s())
            for member in identity.in_sync(self._tree, self._array)
            if identity.reachable(self._tree, member))
        if not found:
            raise exception.CommandError(
                f'cannot add to {self._array}: no in-sync leg of it is live')
        for superblock in found:
            if not self._ours(superblock):
                raise exception.NotOurs(
                    f'cannot add to {self._array}: of one of its legs, '
                    f'{_whose(superblock)}')
        return found

    def check_not_ahead(self, own: Mapping[str, str],
                        survivors: Sequence[Mapping[str, str]]) -> None:
        """A leg that has seen more than the array was written elsewhere.

        MD's own test on a hot re-add is one-sided: it refuses a leg that
        is too old for the bitmap (super_1_validate: events below
        events_cleared), and takes one that is ahead as in sync.
        """
        newest = max(map(self._events, survivors))
        if self._events(own) > newest:
            raise exception.NotOurs(
                f'cannot re-add {self._device} to {self._array}: it has '
                f'seen {own["MD_EVENTS"]} events and the array only '
                f'{newest}: it was written somewhere else')

    def _events(self, superblock: Mapping[str, str]) -> int:
        try:
            return int(superblock['MD_EVENTS'])
        except (KeyError, ValueError):
            raise exception.CommandError(
                f'cannot re-add {self._device} to {self._array}: mdadm '
                'tells no event count') from None

    def check_contents(self, *, former: bool) -> None:
        """Blank; or a former leg of this array, when one is expected."""
        found = arrays.superblock(self._run, self._device, self._left_s())
        if self._ours(found) and former:
            return
        if found.get('MD_UUID'):
            raise exception.NotOurs(
                f'cannot add {self._device} to {self._array} as a new leg: '
                f'{_whose(found)}')
        foreign = arrays.foreign_signatures(self._run, self._device,
                                            self._left_s())
        if foreign:
            raise exception.NotOurs(
                f'cannot add {self._device} to {self._array}: it carries '
                f'{", ".join(foreign)}')

    def join(self, how: str) -> None:
        """Have mdadm do it; identities are verified just before."""
        self._verify()
        result = self._run(('mdadm', '--manage', f'/dev/{self._array}', how,
                            f'/dev/{self._device}'), self._left_s())
        if result.code != 0:
            sentence = (f'cannot add {self._device} to {self._array} by '
                        f'{how}: mdadm says {result.said}')
            # Manage.c, for a leg that is too old for the bitmap (the
            # kernel has answered EINVAL to ADD_NEW_DISK).
            if how == '--re-add' and 'is not possible' in result.err:
                raise exception.ReAddRefused(sentence)
            raise exception.CommandError(sentence)
        if identity.flags(self._tree, self._array, self._device) is None:
            raise exception.CommandError(
                f'cannot add {self._device} to {self._array} by {how}: '
                'mdadm succeeded and the kernel does not show it')
        # A superblock remembers the flag: the re-added leg has it back.
        self.clear_failfast()


def _whose(superblock: Mapping[str, str]) -> str:
    uuid = superblock.get('MD_UUID')
    if uuid is None:
        return 'it carries no superblock'
    return (f'it carries a superblock of array {uuid} '
            f'({superblock.get("MD_NAME", "no name")})')


def _number(tree: trees.Tree, path: str) -> int | None:
    text = tree.read(path)
    return int(text) if text is not None and text.isdecimal() else None
