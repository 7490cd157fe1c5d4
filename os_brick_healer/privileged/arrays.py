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
"""What may be done to arrays and their legs, checked. See ``md``."""

from collections.abc import Callable
import errno
import json
import os
import time

from os_brick_healer import exception
from os_brick_healer.privileged import bounded, check, command, identity
from os_brick_healer.privileged import tree as trees
from os_brick_healer.sysfs import parse

_POLL_S = 0.05
_SECTOR = 512


def clear_failfast(tree: trees.Tree, *, array: str, array_uuid: str,
                   device: str, timeout_s: float) -> bool:
    """Clear the flag; whether it was set."""
    array, uuid, device = (check.array(array), check.md_uuid(array_uuid),
                           check.device(device))
    return clear_flag(tree, array, uuid, device, check.timeout(timeout_s))


def clear_flag(tree: trees.Tree, array: str, uuid: str, device: str,
           timeout_s: float) -> bool:
    path = f'/sys/block/{array}/md/dev-{device}/state'
    with tree.attribute(path) as attribute:
        identity.array(tree, array, uuid)
        words = identity.flags(tree, array, device)
        if words is None or 'failfast' not in words:
            return False
        # "-failfast" is a word of rdev's state_store (drivers/md/md.c).
        if not _write(attribute, '-failfast', timeout_s):
            raise exception.CommandError(
                f'cannot clear failfast of {device} in {array}: the write '
                'does not return')
    return True


def _write(attribute: trees.Attribute, text: str, timeout_s: float) -> bool:
    try:
        return attribute.write(text, timeout_s)
    except OSError as error:
        raise exception.CommandError(
            f'cannot write {text} to {attribute.path}: '
            f'{error.strerror}') from error


def remove(tree: trees.Tree, *, array: str, array_uuid: str, device: str,
           timeout_s: float) -> bool:
    """Take a faulty or spare member out; False: it was not in.

    Written to the member's own ``state``: that names exactly one member
    and needs no device node, which a dead leg no longer has.
    """
    array, uuid, device = (check.array(array), check.md_uuid(array_uuid),
                           check.device(device))
    deadline_s = time.monotonic() + check.timeout(timeout_s)
    identity.array(tree, array, uuid)
    if identity.flags(tree, array, device) is None:
        return False
    path = f'/sys/block/{array}/md/dev-{device}/state'
    with tree.attribute(path) as attribute:
        identity.array(tree, array, uuid)
        words = identity.flags(tree, array, device)
        if words is None:
            return False
        if 'faulty' not in words and 'in_sync' in words:
            raise exception.NotOurs(
                f'cannot remove {device} from {array}: it is in sync')
        if 'faulty' not in words and 'spare' not in words:
            raise exception.NotOurs(
                f'cannot remove {device} from {array}: MD is using it')
        _until_removed(attribute, deadline_s)
    _until_gone(tree, array, device, deadline_s)
    return True


def _until_removed(attribute: trees.Attribute, deadline_s: float) -> None:
    """Write until MD has let go of the slot.

    EBUSY: raid_disk is still set; requests of the failed leg are pending,
    or a "blocked" leg waits for the superblocks of the others.
    """
    while (left_s := deadline_s - time.monotonic()) > 0:
        try:
            if not attribute.write('remove', left_s):
                break
            return
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            if error.errno != errno.EBUSY:
                raise exception.CommandError(
                    f'cannot write remove to {attribute.path}: '
                    f'{error.strerror}') from error
        time.sleep(_POLL_S)
    raise exception.CommandError(
        f'cannot remove by {attribute.path}: still busy at the deadline')


def _until_gone(tree: trees.Tree, array: str, device: str,
                deadline_s: float) -> None:
    while identity.flags(tree, array, device) is not None:
        if time.monotonic() > deadline_s:
            raise exception.CommandError(
                f'cannot remove {device} from {array}: the kernel took the '
                'order and still shows it')
        time.sleep(_POLL_S)


def examine(tree: trees.Tree, run: command.Runner, *, device: str, nqn: str,
            namespace_uuid: str, timeout_s: float) -> dict[str, str]:
    """What mdadm reads of a device's superblock; empty when it has none."""
    device, nqn, uuid = (check.device(device), check.nqn(nqn),
                         check.namespace_uuid(namespace_uuid))
    identity.device(tree, device, nqn, uuid)
    return superblock(run, device, check.timeout(timeout_s))


def superblock(run: command.Runner, device: str,
                timeout_s: float) -> dict[str, str]:
    result = run(('mdadm', '--examine', '--export', f'/dev/{device}'),
                 timeout_s)
    if result.code == 0:
        return parse.exported(result.out)
    # Examine.c; a device that cannot be read is another complaint.
    if 'No md superblock detected' in result.err:
        return {}
    raise exception.CommandError(
        f'cannot read the superblock of {device}: mdadm says {result.said}')


def signatures(tree: trees.Tree, run: command.Runner, *, device: str,
               nqn: str, namespace_uuid: str,
               timeout_s: float) -> tuple[str, ...]:
    """Signatures on a device that are not MD's: ext4, gpt, crypto_LUKS."""
    device, nqn, uuid = (check.device(device), check.nqn(nqn),
                         check.namespace_uuid(namespace_uuid))
    identity.device(tree, device, nqn, uuid)
    return foreign_signatures(run, device, check.timeout(timeout_s))


def foreign_signatures(run: command.Runner, device: str,
                timeout_s: float) -> tuple[str, ...]:
    result = run(('wipefs', '--no-act', '--json', f'/dev/{device}'),
                 timeout_s)
    if result.code != 0:
        raise exception.CommandError(
            f'cannot look for signatures on {device}: wipefs says '
            f'{result.said}')
    if not result.out.strip():
        return ()
    try:
        entries = json.loads(result.out)['signatures']
        types = [str(entry['type']) for entry in entries]
    except (ValueError, KeyError, TypeError,
            RecursionError) as error:
        raise exception.CommandError(
            f'cannot look for signatures on {device}: wipefs wrote what is '
            f'not understood ({error})') from error
    return tuple(kind for kind in types if kind != 'linux_raid_member')


Claim = Callable[[str, float], None]


def claim(path: str, timeout_s: float) -> None:
    """Prove that nothing has claimed a block device.

    O_EXCL on a block device fails with EBUSY while a mount, a swap area,
    device-mapper or MD has it (blkdev_get_by_dev, block/bdev.c). Whoever
    merely has it open, such as QEMU, is not seen by this.
    """
    def look() -> None:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))

    try:
        answer = bounded.run(look, timeout_s, f'open {path}')
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise exception.NotOurs(
                f'cannot add {path}: it is in use') from error
        raise exception.CommandError(
            f'cannot open {path}: {error.strerror}') from error
    if not answer.done:
        raise exception.CommandError(
            f'cannot open {path}: no answer in {timeout_s:g} s')
