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
"""Taking over a mapping that the journal knows nothing of.

Somebody else has made it (an operator, cinderlib, ceph-csi), or this very
software, and its journal was lost. It is entered when what the host shows
agrees: a connected device, its cookie, the one process that says by its
command line that it serves this cookie, and the image that it names. From
then on it is healed as every other one; nothing about it is changed now.
"""

from collections.abc import Callable, Mapping
import dataclasses
import json
import re
from typing import Any

from oslo_config import cfg

from os_brick_healer import exception, plugins, regular
from os_brick_healer.conf import opts
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.mapping import locks as locks_lib
from os_brick_healer.mapping import model, places, remember
from os_brick_healer.mounter import base, loader, owners
from os_brick_healer.nbd import parse
from os_brick_healer.sysfs import nbd, process, reader

#: In the journal's ``connection``: nobody but us will take the row away.
MARK = 'adopted'
#: The block layer's own timer of requests.
TIMER_MS = 30000
#: The words of a source that a person may give instead of the process's.
WORDS = ('user', 'keyring', 'conf', 'monitors')
LOCK_S = 5.0
_STASH_BYTES_MAX = 65536
_STASH_WORD_MAX = 1024
_STASH_MOUNTER = 'rbd-nbd'
#: The kernel cuts a process's name there (TASK_COMM_LEN).
_COMM_MAX = 15
_UUID_AT_END = re.compile(r'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z')


class Refused(exception.HealerError):
    """What the host shows does not agree: nothing is taken over."""

    transient = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stash:
    """ceph-csi's note beside a staged volume (``image-meta.json``)."""

    path: str
    device: str
    source: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A mapping that can be taken over.

    :ivar server: the process that serves; None: it has ended.
    :ivar ours: this software has started that process.
    """

    mapping: model.Mapping
    server: model.Process | None
    ours: bool

    @property
    def volume(self) -> str:
        return self.mapping.order.volume

    @property
    def alias(self) -> str:
        """What people would call it."""
        source = self.mapping.order.source
        return source.get('image') or self.volume

    def sentence(self) -> str:
        """For the operator."""
        order = self.mapping.order
        data = ', '.join(f'{k} {v}' for k, v in sorted(order.source.items()))
        by = 'no process' if self.server is None else str(self.server)
        return (f'{order.device} is volume {order.volume} ({data}), served '
                f'by {by} of {self.mapping.mounter}')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options that count."""

    run_path: str
    reattach_s: int
    timer_ms: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What says which data a device has."""

    name: str
    mounter: base.Mounter
    source: Mapping[str, str]
    running: model.Running | None
    lacks: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Adopter:
    """Takes mappings over, one at a time. Thread-safe.

    :ivar names: the mounters that are installed.
    :ivar journal: opens it, or has it open; called each time.
    """

    tree: reader.Tree
    mounters: loader.Mounters
    names: Callable[[], tuple[str, ...]]
    locks: locks_lib.VolumeLocks
    journal: Callable[[], journal_lib.Journal]
    settings: Callable[[], Settings]

    def strangers(self) -> list[str]:
        """Connected devices with a cookie that the journal does not have."""
        known = {row.volume for row in self.journal().attachments()}
        found = []
        for name in nbd.names(self.tree):
            device = nbd.device(self.tree, name)
            if (device is not None and device.connected
                    and device.cookie is not None
                    and device.cookie not in known):
                found.append(name)
        return found

    def examine(self, name: str, *, stash: Stash | None = None,
                words: Mapping[str, str] | None = None) -> Candidate:
        """Whether a device can be taken over.

        :param words: of :data:`WORDS`, instead of those of the process.
        :raises Refused: it cannot; why.
        :raises MounterRefused: its words name nothing that is served.
        """
        device = self._device(name)
        assert device.cookie is not None
        found = self._server(device)
        if stash is not None:
            found = self._noted(device, stash, found)
        if found is None:
            raise _no(name, 'no process serves it (of root, or of who '
                      'attaches volumes here), and nobody says what it has '
                      'served', hint='name the stash file of ceph-csi '
                      '(--stash), if it was mapped by that')
        words = words or {}
        if found.lacks and not words.get('keyring'):
            raise _no(name, f'no other process could take over from '
                      f'{found.running}: {found.lacks}',
                      hint='name a keyring in /etc/ceph (--keyring)')
        mapping = self._mapping(device, found, words)
        if found.running is not None and not owners.serves(
                found.mounter, mapping.order, found.running):
            raise _no(name, f'{found.running} does not run as root')
        self._must_be_new(mapping)
        ours = found.running is not None and parse.carries(
            found.running.argv, found.mounter.program,
            found.mounter.marks(mapping.order))
        return Candidate(mapping=mapping, ours=ours, server=(
            None if found.running is None else found.running.process))

    def enter(self, candidate: Candidate, *, alias: str,
              stash: Stash | None = None,
              words: Mapping[str, str] | None = None) -> None:
        """Write a mapping down, if the host still shows the same.

        :raises HealerError: it does not, or the journal cannot be written.
        """
        name = candidate.mapping.order.device
        assert name is not None
        with self.locks.hold(candidate.volume, LOCK_S):
            now = self.examine(name, stash=stash, words=words)
            if now != candidate:
                raise _no(name, 'it has just changed')
            book = self.journal()
            if not book.adopt(
                    candidate.volume, alias,
                    {**remember.dump_mapping(candidate.mapping),
                     MARK: True}):
                raise _no(name, 'the journal has that volume by now')
            book.tell(model.KIND, candidate.volume,
                      f'adopted: {candidate.sentence()}', True)
            book.settle()

    def _mount(self, place: str) -> model.Device:
        """A mount of a mounter's type, in the words of a device."""
        kinds = [one.file_system for name in self.names()
                 if (one := self.mounters.get(name)) is not None
                 and one.style is base.Style.MOUNT]
        why = places.unfit(self.tree, place, kinds)
        if why is not None:
            raise _no(place, why)
        return places.device(place, base.place_key(place))

    def _device(self, name: str) -> model.Device:
        if base.is_place(name):
            return self._mount(name)
        if not nbd.is_name(name):
            raise _no(name, 'it is no network block device')
        device = nbd.device(self.tree, name)
        if device is None or not device.connected:
            raise _no(name, 'it is not connected')
        if device.cookie is None:
            raise _no(name, 'it has no cookie: it was connected by ioctl, or '
                      'the kernel is older than 5.14, and no other process '
                      'could be given to it')
        if not base.is_key(device.cookie):
            raise _no(name, f'its cookie {device.cookie[:80]!r} is no plain '
                      'word')
        if not device.size_bytes:
            raise _no(name, 'it has no size')
        return device

    def _server(self, device: model.Device) -> _Found | None:
        """The one process that says that it serves this device."""
        found = []
        users = owners.of(locks_lib.socket_path(
            self.settings().run_path, str(device.cookie)), as_root=False)
        for name in self.names():
            mounter = self.mounters.get(name)
            if mounter is None:
                continue
            for one in process.of_programs(
                    self.tree, frozenset((mounter.program,))):
                said = (mounter.claim(one.argv) if owners.believed(one, users)
                        else None)
                if said is not None and self._is_of(device, one, said):
                    found.append(_Found(
                        name=name, mounter=mounter, source=said.source,
                        running=one, lacks=said.lacks))
        if len(found) > 1:
            raise _no(device.name, 'more than one process says that it '
                      f'serves {device.cookie}: ' + ', '.join(
                          str(one.running) for one in found))
        return found[0] if found else None

    @staticmethod
    def _is_of(device: model.Device, one: model.Running,
               said: base.Claim) -> bool:
        mine = said.volume == device.cookie
        if mine and said.device not in (None, device.name):
            raise _no(device.name, f'{one} serves cookie {device.cookie} as '
                      f'{said.device}')
        if not mine and said.device == device.name:
            raise _no(device.name, f'{one} serves it with cookie '
                      f'{said.volume}, and it has {device.cookie}')
        return mine

    def _noted(self, device: model.Device, stash: Stash,
               found: _Found | None) -> _Found:
        """What the stash file says, if nothing contradicts it."""
        mounter = self.mounters.get(_STASH_MOUNTER)
        if mounter is None:
            raise _no(device.name, f'mounter {_STASH_MOUNTER} is not '
                      'installed')
        if stash.device != device.name:
            raise _no(device.name, f'{stash.path} is about {stash.device}')
        if found is None:
            _must_be_its_note(device, stash)
            self._must_have_ended(device, mounter.program)
            return _Found(name=_STASH_MOUNTER, mounter=mounter,
                          source=stash.source, running=None, lacks='')
        if not mounter.same_data(stash.source, found.source):
            raise _no(device.name, f'{stash.path} names another image than '
                      f'{found.running} serves')
        return found

    def _must_have_ended(self, device: model.Device, program: str) -> None:
        """A process that was killed has no command line any more, and may
        still be at work on a write: nobody can tell whose it was."""
        for name in self.tree.listdir('/proc'):
            stat = self.tree.read(f'/proc/{name}/stat') if (
                name.isdigit()) else None
            if stat is None or f'({program[:_COMM_MAX]})' not in stat:
                continue
            one = process.running(self.tree, int(name))
            if one is not None and one.dying:
                raise _no(device.name, f'{one} of {program} is just ending, '
                          'and may be the one that served it',
                          hint='try again in a moment')

    def _mapping(self, device: model.Device, found: _Found,
                 words: Mapping[str, str]) -> model.Mapping:
        settings, key = self.settings(), device.cookie
        assert key is not None
        order = base.Order(
            volume=key, device=device.name, reattach_s=settings.reattach_s,
            source=found.mounter.normalize({**found.source, **words}),
            socket=locks_lib.socket_path(settings.run_path, key))
        for path in found.mounter.obeyed(order):
            if not self.tree.exists(path):
                raise _no(device.name, f'{path} is not there, and no other '
                          'process could be started without it',
                          hint='--conf names another one')
        return model.Mapping(
            mounter=found.name, abilities=found.mounter.abilities,
            order=order, size_bytes=device.size_bytes,
            timer_ms=settings.timer_ms,
            timer_before_ms=_before(device, settings))

    def _must_be_new(self, mapping: model.Mapping) -> None:
        order = mapping.order
        for row in self.journal().attachments():
            if row.volume == order.volume:
                raise _no(str(order.device), f'volume {order.volume} is '
                          f'{row.state} in the journal already')
            if row.kind == model.KIND and (
                    row.connection.get('device') == order.device):
                raise _no(str(order.device), f'the journal has it as the '
                          f'device of volume {row.volume}',
                          hint='detach that volume first')


def _must_be_its_note(device: model.Device, stash: Stash) -> None:
    """The note outlives a boot, and the device's name is given anew: where
    both the cookie and the image end with a uuid, as ceph-csi makes them,
    it is one and the same."""
    image = stash.source['image']
    mine, its = (_UUID_AT_END.search(text)
                 for text in (device.cookie or '', image))
    if mine is not None and its is not None and mine[0] != its[0]:
        raise _no(device.name, f'{stash.path} names image {image}, and the '
                  f'device is of volume {device.cookie}')


def _before(device: model.Device, settings: Settings) -> int:
    """The timer that an unmap gives back: ours was set by whoever mapped the
    volume with this software, and lost the journal."""
    before = device.timer_ms
    return before if before and before != settings.timer_ms else TIMER_MS


def adopter(conf: cfg.ConfigOpts, *, tree: reader.Tree,
            journal: journal_lib.Journal) -> Adopter:
    """Who takes over what others have mapped on this host."""
    group = conf[opts.GROUP]
    return Adopter(
        tree=tree, mounters=loader.Mounters(),
        names=lambda: plugins.installed(loader.NAMESPACE),
        locks=locks_lib.VolumeLocks(group.run_path),
        journal=lambda: journal,
        settings=lambda: Settings(
            run_path=group.run_path,
            reattach_s=group.mapping_reattach_timeout,
            timer_ms=group.mapping_request_timer))


def read_stash(path: str) -> Stash:
    """The note that ceph-csi leaves where a volume is staged.

    :raises Refused: it is none.
    """
    try:
        told = json.loads(regular.read(path, _STASH_BYTES_MAX))
    except (OSError, ValueError, RecursionError) as e:
        why = getattr(e, 'strerror', None) or 'it is no JSON'
        raise Refused(f'cannot read {path}: because {why}') from e
    if not isinstance(told, dict) or told.get('accessType') is not True:
        raise Refused(f'cannot use {path}: because it is no stash of a '
                      'volume that rbd-nbd serves')
    device = _word(told, 'device', path).removeprefix('/dev/')
    source = {'pool': _word(told, 'pool', path),
              'image': _word(told, 'image', path)}
    if told.get('radosNamespace'):
        source['namespace'] = _word(told, 'radosNamespace', path)
    return Stash(path=path, device=device, source=source)


def _word(told: Mapping[str, Any], name: str, path: str) -> str:
    value = told.get(name)
    if (not isinstance(value, str) or not value.isprintable()
            or not 0 < len(value) <= _STASH_WORD_MAX):
        raise Refused(f'cannot use {path}: because it names no {name}')
    return value


def _no(name: str, why: str, hint: str | None = None) -> Refused:
    return Refused(f'cannot adopt {name}: because {why}', hint=hint)
