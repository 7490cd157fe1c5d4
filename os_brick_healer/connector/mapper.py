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
"""Mapping volumes by a userspace process, for connectors.

What is done is written down before it begins, under the volume's lock, so
that the agent never heals what is being attached or detached. An attach that
fails leaves neither a device, nor a process, nor a row.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import logging as std_logging
import time
from typing import Any
import uuid

from oslo_config import cfg
from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.conf import files, opts
from os_brick_healer.connector import context, records
from os_brick_healer.mapping import act, bounds, locks, model, remember
from os_brick_healer.mounter import base, loader, owners
from os_brick_healer.sysfs import nbd, process, reader

LOG: std_logging.LoggerAdapter[Any] = logging.getLogger(__name__)

DEVICE_S = 10.0
EXTEND_S = 5.0
_POLL_S = 0.02


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options that count when a volume is mapped."""

    run_path: str
    reattach_s: int
    timer_ms: int
    lock_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mapper:
    """Maps and unmaps volumes of this host.

    :ivar device_s: udev is waited for so long.
    :ivar extend_s: a server is waited for so long to hear that its data has
        grown.
    """

    hands: act.Hands
    mounters: loader.Mounters
    records: records.Records
    settings: Callable[[], Settings]
    tree: reader.Tree
    device_s: float = DEVICE_S
    extend_s: float = EXTEND_S

    def map(self, volume: str, alias: str, mounter: str,
            source: Mapping[str, object]) -> str:
        """Map a volume; the path of its device. Again: the same path.

        :raises HealerError: it cannot be mapped; nothing is left of it.
        """
        key = volume_id(volume)
        wanted = self._wanted(key, mounter, source)
        with self.hands.locks.hold(key, self.settings().lock_s):
            there = self._there(key, wanted)
            return there or self._map(key, alias, wanted)

    def _wanted(self, key: str, mounter: str,
                source: Mapping[str, object]) -> model.Mapping:
        settings = self.settings()
        plugin = self.mounters.get(mounter)
        if plugin is None:
            raise exception.ConfigError(
                f'cannot map {key}: because mounter {mounter} is not '
                'installed', hint='see the log')
        return model.Mapping(
            mounter=mounter, abilities=plugin.abilities, size_bytes=0,
            timer_ms=settings.timer_ms, timer_before_ms=act.TIMER_MS,
            order=base.Order(
                volume=key, source=plugin.normalize(source),
                socket=locks.socket_path(settings.run_path, key),
                reattach_s=settings.reattach_s))

    def _there(self, key: str, wanted: model.Mapping) -> str | None:
        """The device that a volume has already.

        Who serves it was started with what was written down until now: when
        that changes, what he says in his log no longer counts (fencing).

        :raises HealerError: it is another source's.
        """
        device = nbd.with_cookie(self.tree, key)
        if device is None:
            return None
        known = self._known(key)
        same = known is not None and self._continues(known, wanted)
        if same and known is not None and known.order.device is None:
            # An attach ended in the middle: nobody was given the device.
            self.hands.unmap(_on(known, device), self._server(known))
            return None
        if known is None or not same or known.order.device != device:
            raise exception.HealerError(
                f'cannot map {key}: because {device} is connected for it, '
                'and nothing or something else is written down of it',
                hint='os-brick-healer status; detach it first')
        if known.order.source != wanted.order.source:   # the next heal's
            self.records.attach_note(key, remember.dump_mapping(
                _by(known, wanted.order.source)))
        self.records.attach_done(key)
        return f'/dev/{device}'

    def _continues(self, known: model.Mapping,
                   wanted: model.Mapping) -> bool:
        plugin = self.mounters.get(known.mounter)
        return known.mounter == wanted.mounter and plugin is not None and (
            plugin.continues(known.order.source, wanted.order.source))

    def _known(self, key: str) -> model.Mapping | None:
        row = self.records.row(key)
        if row is None or row.kind != model.KIND:
            return None
        try:
            return remember.load_mapping(key, row.connection,
                                         self.mounters.abilities)
        except ValueError:
            return None

    def _map(self, key: str, alias: str, wanted: model.Mapping) -> str:
        begun = self.records.attach_begin(key, alias,
                                          remember.dump_mapping(wanted))
        try:
            self._clear_away(wanted)
            mapped = self.hands.map(wanted)
        except BaseException:
            self.records.attach_undo(key)
            raise
        path = f'/dev/{mapped.order.device}'
        try:
            self._note(key, mapped, begun)
            self._wait_for(path)
        except exception.HealerError:
            self.hands.unmap(mapped, self._server(mapped))
            self.records.attach_undo(key)
            raise
        self.records.attach_done(key)
        if mapped.lacks:
            LOG.warning('%s is mapped as %s, but %s', key, path,
                        mapped.lacks)
        return path

    def _note(self, key: str, mapped: model.Mapping, begun: bool) -> None:
        """Write down the device that a volume got.

        A row without one is of an attach that ended in the middle: the next
        attach would take the device away from who uses it. No row at all is
        no such danger.

        :param begun: whether the row was written.
        :raises HealerError: there is a row, and it cannot be.
        """
        noted = self.records.attach_note(key, remember.dump_mapping(mapped))
        known = self._known(key)
        if (begun and not noted) or (
                known is not None
                and known.order.device != mapped.order.device):
            raise exception.HealerError(
                f'cannot map {key}: because it cannot be written down that '
                f'it is {mapped.order.device}', hint='see the log')

    def _clear_away(self, wanted: model.Mapping) -> None:
        """A server that an attach left that did not come to its end."""
        server = self._server(wanted)
        if server is not None:
            self.hands.unmap(wanted, server)

    def _server(self, mapping: model.Mapping) -> model.Process | None:
        plugin = self.mounters.get(mapping.mounter)
        if plugin is None:
            return None
        for one in process.of_programs(self.tree,
                                       frozenset((plugin.program,))):
            if owners.serves(plugin, mapping.order, one):
                return one.process
        return None

    def _wait_for(self, path: str) -> None:
        until_s = time.monotonic() + self.device_s
        while not self.tree.exists(path):
            if time.monotonic() > until_s:
                raise exception.HealerError(
                    f'cannot map: because {path} does not appear',
                    hint='does udev run?')
            time.sleep(_POLL_S)

    def unmap(self, volume: str, mounter: str,
              source: Mapping[str, object]) -> None:
        """Unmap a volume, by its device; also with a dead server.

        What is written down counts; the caller's words are for a volume of
        which nothing is (the journal could not be written).

        :raises HealerError: the device could not be ended; the row stays.
        """
        key = volume_id(volume)
        with self.hands.locks.hold(key, self.settings().lock_s):
            mapping = self._known(key)
            devices = tuple(nbd.all_with_cookie(self.tree, key))
            if mapping is None:
                if not devices:
                    return
                mapping = self._wanted(key, mounter, source)
            self.records.detach_begin(key)
            if mapping.order.device not in devices and (
                    devices or self._is_anothers(mapping)):
                mapping = _on(mapping, None)
            # Not written down, or somebody has mapped the volume anew.
            for device in devices:
                if device != mapping.order.device:
                    self.hands.unmap(_on(mapping, device), None)
            self.hands.unmap(mapping, self._server(mapping))
            self.records.detach_done(key)

    def _is_anothers(self, mapping: model.Mapping) -> bool:
        """Whether its device has gone, and another volume has the name.

        An unmap that ended in the middle had disconnected it.
        """
        name = mapping.order.device
        found = None if name is None else nbd.device(self.tree, name)
        return found is not None and found.connected and (
            found.cookie != mapping.order.volume)

    def path(self, volume: str) -> str | None:
        """The device of a volume, None: it is not mapped."""
        device = nbd.with_cookie(self.tree, volume_id(volume))
        return None if device is None else f'/dev/{device}'

    def is_mapped(self, volume: str) -> bool:
        """Whether a volume has a device here, or a row that says so."""
        key = volume_id(volume)
        return (nbd.with_cookie(self.tree, key) is not None
                or self._known(key) is not None)

    def is_device(self, path: str) -> bool:
        """Whether a path is a device that is connected."""
        name = path.removeprefix('/dev/')
        device = nbd.device(self.tree, name) if nbd.is_name(name) else None
        return device is not None and device.connected

    def size_bytes(self, volume: str) -> int:
        """How large a mapped volume is now."""
        name = nbd.with_cookie(self.tree, volume_id(volume))
        device = None if name is None else nbd.device(self.tree, name)
        if device is None:
            raise exception.HealerError(
                f'cannot tell the size of {volume}: because it is not mapped')
        return device.size_bytes

    def extend(self, volume: str) -> int:
        """How large a mapped volume is, now that its data has grown.

        The storage tells the server, and that the kernel, a moment after
        the volume was extended. The new size is written down: a heal never
        serves less.

        :raises HealerError: it is not mapped, or the storage cannot be asked.
        """
        key, until_s = volume_id(volume), time.monotonic() + self.extend_s
        known = self._known(key)
        size = self.size_bytes(key)
        while known is not None and size <= known.size_bytes and (
                time.monotonic() < until_s):
            time.sleep(_POLL_S)
            size = self.size_bytes(key)
        if known is None:
            return size
        with self.hands.locks.hold(key, self.settings().lock_s):
            if size <= known.size_bytes:    # it has told the kernel nothing
                self.hands.servers.grow(known)
                size = self.size_bytes(key)
            if size <= known.size_bytes:
                LOG.warning('%s is as large as before its extend, %s bytes: '
                            'its storage tells of no other size', key, size)
            self._grown(key, size)
        return size

    def _grown(self, key: str, size_bytes: int) -> None:
        known = self._known(key)
        if known is not None and size_bytes > known.size_bytes:
            self.records.attach_note(key, remember.dump_mapping(
                dataclasses.replace(known, size_bytes=size_bytes)))


def _on(mapping: model.Mapping, device: str | None) -> model.Mapping:
    """The same, with the device that it has."""
    return dataclasses.replace(mapping, order=dataclasses.replace(
        mapping.order, device=device))


def _by(mapping: model.Mapping, source: base.Source) -> model.Mapping:
    """The same, by another way to its data."""
    return dataclasses.replace(mapping, order=dataclasses.replace(
        mapping.order, source=source))


def volume_id(volume: str) -> str:
    """A volume's id as it is used everywhere: also its device's cookie.

    :raises HealerError: it is no uuid.
    """
    try:
        return str(uuid.UUID(volume))
    except (ValueError, AttributeError, TypeError) as e:
        raise exception.HealerError(
            f'cannot map {volume!r}: because that is no id of a volume',
            transient=False) from e


def settings_of(conf: cfg.ConfigOpts) -> Settings:
    """Read the options now, so that a reload counts."""
    group = conf[opts.GROUP]
    return Settings(
        run_path=group.run_path, reattach_s=group.mapping_reattach_timeout,
        timer_ms=group.mapping_request_timer,
        lock_s=group.mapping_attach_timeout + act.CONNECT_S)


def make(conf: cfg.ConfigOpts, book: records.Records) -> Mapper:
    """A mapper of this host."""
    tree = reader.Tree()
    mounters = loader.Mounters()
    hands = act.Hands(
        tree=tree, mounter=mounters.get,
        locks=locks.VolumeLocks(conf[opts.GROUP].run_path),
        policy=lambda: bounds.policy(conf))
    return Mapper(hands=hands, mounters=mounters, records=book, tree=tree,
                  settings=lambda: settings_of(conf))


@functools.cache
def default() -> Mapper:
    """The one mapper of this process, made at the first need."""
    return make(files.beside(cfg.CONF), context.default().records)


def source_of(properties: Mapping[str, Any]) -> Mapping[str, object]:
    """What names the data in connection properties.

    :raises HealerError: nothing does.
    """
    source = properties.get('source')
    if not isinstance(source, Mapping):
        raise exception.HealerError(
            'cannot map: because the connection properties name no source',
            transient=False)
    return source
