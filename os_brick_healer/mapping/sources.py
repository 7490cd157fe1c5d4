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
"""Asking the sources of attachments, and taking over what they find.

All of it is done beside the loop: a source that is slow, or never answers,
keeps no heal waiting. Its answers are told; see :mod:`compare` for the one
that counts.
"""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import logging as std_logging
from typing import Any

from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.attachments import base
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import loop, pacing
from os_brick_healer.mapping import (
    adopt,
    attachments,
    compare,
    locks,
    model,
)
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.sysfs import mounts, nbd, reader

LOG: std_logging.LoggerAdapter[Any] = logging.getLogger(__name__)

LANE = 'mapping-sources'
TICK_S = 1.0
#: What one answer alone says is asked for again after this.
CONFIRM_S = 5.0
#: Between two looks at whether adopted devices are still connected.
LET_GO_S = 5.0
#: Mappings that are examined after one answer, at most.
EXAMINED_MAX = 256


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of a source, and what came of it.

    :ivar lacking: why what the journal lacks is not taken over.
    :ivar adopted: what has been taken over.
    """

    count: int
    said: compare.Said
    lacking: Mapping[str, str]
    adopted: Mapping[str, str]


@dataclasses.dataclass(slots=True, kw_only=True)
class _State:
    due_s: float = float('-inf')
    asking: bool = False
    answered_s: float | None = None
    count: int = 0
    error: str | None = None
    down_s: float | None = None     # since when it has not answered
    doubts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    elsewhere: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lacking: Mapping[str, str] = dataclasses.field(default_factory=dict)
    said: compare.Said | None = None
    rows: Mapping[str, journal_lib.AttachRow] = dataclasses.field(
        default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the sources are asked with.

    :ivar host: its name; hosts that start together ask at other times.
    :ivar names: of the sources; read once.
    :ivar load: makes one; may raise HealerError.
    :ivar adopts: the option ``mapping_adopt``, read each time.
    :ivar interval_s: between two questions, read each time.
    """

    host: str
    names: tuple[str, ...]
    load: Callable[[str], base.AttachmentSource]
    adopter: adopt.Adopter
    adopts: Callable[[], str]
    interval_s: Callable[[], float]
    tree: reader.Tree
    clock: Callable[[], float]


class Sources:
    """The sources of one host; on the loop's thread, but for _question."""

    def __init__(self, given: Given, rows: attachments.Attachments,
                 journal: journal_lib.Journal) -> None:
        self._given = given
        self._rows = rows
        self._journal = journal
        self._states = {name: _State() for name in given.names}
        self._plugins: dict[str, base.AttachmentSource] = {}
        self._gone: set[str] = set()
        self._let_go_s = float('-inf')
        self._engine: loop.Engine | None = None
        self._touch: Callable[[set[str]], None] = lambda _keys: None

    def start(self, engine: loop.Engine,
              touch: Callable[[set[str]], None]) -> None:
        """Begin to ask. :param touch: has volumes looked at."""
        self._engine, self._touch = engine, touch
        engine.every(lambda: TICK_S, self._tick, 'sources of attachments')

    def stop(self) -> None:
        """Give back connections."""
        for plugin in self._plugins.values():
            plugin.close()
        self._plugins.clear()

    def reload(self) -> None:
        """The configuration was read again: who asks may have changed."""
        self.stop()
        for state in self._states.values():
            state.due_s = float('-inf')

    # What is told -----------

    def elsewhere(self, key: str) -> str | None:
        """Why a volume is not this host's, as far as sources tell."""
        return next((state.elsewhere[key] for state in self._states.values()
                     if key in state.elsewhere and self._holds(state, key)),
                    None)

    def doubt(self, key: str) -> str | None:
        """What a source says otherwise than the journal."""
        why = self.elsewhere(key)
        if why is not None:
            return f'{why}: a process that dies is not replaced'
        return next((state.doubts[key] for state in self._states.values()
                     if key in state.doubts and self._holds(state, key)),
                    None)

    def _holds(self, state: _State, key: str) -> bool:
        """Whether nothing was written of a volume since it was asked for.
        """
        return self._rows.row(key) == state.rows.get(key)

    def about(self) -> dict[str, Any]:
        """Each source that is asked, for status."""
        now_s = self._given.clock()
        return {name: {
            'age_s': (None if state.answered_s is None
                      else now_s - state.answered_s),
            'attachments': state.count, 'error': state.error,
            'elsewhere': sum(self._holds(state, key)
                             for key in state.elsewhere),
            'down_s': (None if state.down_s is None
                       else now_s - state.down_s),
            'lacking': dict(state.lacking)}
            for name, state in self._states.items()
            if state.answered_s is not None or state.error is not None}

    # Asking -----------

    def _tick(self) -> None:
        now_s = self._given.clock()
        if now_s - self._let_go_s >= LET_GO_S:
            self._let_go_s = now_s
            self._let_go()
        for name, state in self._states.items():
            if now_s >= state.due_s and not state.asking:
                self._ask(name, state)

    def _ask(self, name: str, state: _State) -> None:
        assert self._engine is not None
        state.asking = True
        state.due_s = self._given.clock() + pacing.spread_s(
            self._given.host, self._given.interval_s())
        known = self._rows.every()
        self._engine.submit(
            LANE, lambda: self._question(name, known),
            lambda told: self._told(name, known, told))

    def _question(self, name: str,
                  rows: Mapping[str, journal_lib.AttachRow],
                  ) -> Answer | None:
        """Ask, and look at what it finds; on a thread of its own.

        :returns: None: the source is the journal itself.
        """
        plugin = self._plugins.get(name)
        if plugin is None:
            plugin = self._plugins[name] = self._given.load(name)
        if plugin.guarantees.authoritative:
            return None
        known = {key: compare.Known(
            source=_source(row), concerned=plugin.concerns(
                key, str(row.connection.get('mounter'))))
            for key, row in rows.items() if row.state
            == model.AttachState.ATTACHED.value}
        listing = plugin.listing(frozenset(known))
        said = compare.compare(name, listing, known, frozenset(rows))
        lacking, adopted = self._examine(name, said.lacking)
        return Answer(count=len(listing.here), said=said, lacking=lacking,
                      adopted=adopted)

    def _examine(self, name: str, lacking: Mapping[str, base.Attached],
                 ) -> tuple[dict[str, str], dict[str, str]]:
        told: dict[str, str] = {}
        adopted: dict[str, str] = {}
        devices = self._devices() if lacking else {}
        for volume, one in sorted(lacking.items())[:EXAMINED_MAX]:
            device = devices.get(volume)
            if device is None:
                if one.served:
                    told[volume] = (f'{name} has it attached here, and no '
                                    'device is connected for it')
                continue
            try:
                candidate = self._given.adopter.examine(device)
                why = self._why_not(candidate, one)
                if why is None:
                    self._given.adopter.enter(candidate, alias=one.alias)
                    adopted[volume] = candidate.sentence()
                else:
                    told[volume] = f'{name} has it attached here; {why}'
            except exception.HealerError as e:
                told[volume] = f'{name} has it attached here; {e}'
        return told, adopted

    def _why_not(self, candidate: adopt.Candidate,
                 one: base.Attached) -> str | None:
        """Why a mapping is not taken over without being told to."""
        order, adopts = candidate.mapping.order, self._given.adopts()
        other = compare.differs(one.names, order.source)
        if other is not None:
            return f'{order.device} is not adopted: because {other}'
        if adopts == 'any' or (adopts == 'ours' and candidate.ours):
            return None
        who = ('it is not to be adopted by itself' if candidate.ours else
               'somebody else has mapped it')
        return (f'{who}: os-brick-healer adopt {order.device} has it '
                'looked after')

    def _devices(self) -> dict[str, str]:
        """Devices by their cookies."""
        found = {}
        for name in nbd.names(self._given.tree):
            device = nbd.device(self._given.tree, name)
            if device is not None and device.connected and device.cookie:
                found[device.cookie] = name
        return found

    # Answers -----------

    def _told(self, name: str, asked: Mapping[str, journal_lib.AttachRow],
              told: Any) -> None:
        state = self._states[name]
        state.asking = False
        match told:
            case None:
                state.due_s = float('inf')
            case Answer():
                self._take(name, state, asked, told)
            case exception.HealerError():
                self._failed(name, state, str(told))
            case _:
                LOG.error('cannot ask %s: because of a bug', name,
                          exc_info=told)
                self._failed(name, state, f'cannot ask {name}: because of a '
                             f'bug ({type(told).__name__})')

    def _failed(self, name: str, state: _State, error: str) -> None:
        """What it said last still stands; nothing follows from silence."""
        if error != state.error:
            LOG.warning('%s', error)
        state.error = error
        if state.down_s is None:
            state.down_s = self._given.clock()
        plugin = self._plugins.pop(name, None)
        if plugin is not None:
            plugin.close()

    def _take(self, name: str, state: _State,
              asked: Mapping[str, journal_lib.AttachRow],
              told: Answer) -> None:
        if state.error is not None:
            LOG.info('%s answers again', name)
        state.error, state.down_s, state.count = None, None, told.count
        state.answered_s = self._given.clock()
        state.lacking = dict(told.lacking)
        held = state.elsewhere
        before = {*state.doubts, *held}
        # What was written between two answers is newer than the first.
        same = {k for k, row in asked.items() if state.rows.get(k) == row}
        last, state.said, state.rows = state.said, told.said, asked
        state.doubts = state.elsewhere = {}
        if last is not None:
            state.doubts = compare.confirmed(
                told.said.doubts, last.doubts, same)
            state.elsewhere = compare.confirmed(
                told.said.elsewhere, last.elsewhere, same)
        self._warn(name, state, set(held))
        now = {*state.doubts, *state.elsewhere}
        if {*told.said.doubts, *told.said.elsewhere} - now:
            state.due_s = self._given.clock() + CONFIRM_S
        for volume, sentence in told.adopted.items():
            LOG.warning('%s named what the journal lacked: %s is adopted: '
                        '%s', name, volume, sentence)
        if told.adopted:
            self._rows.outdated()
        self._touch(before ^ now)

    def _warn(self, name: str, state: _State, before: set[str]) -> None:
        """Say what holds heals back before there is one to be held back."""
        for volume in sorted(before - set(state.elsewhere)):
            LOG.info('%s no longer has %s attached to another host alone',
                     name, volume)
        new = sorted(set(state.elsewhere) - before)
        if not new:
            return
        more = f', and {len(new) - 1} more like it' if new[1:] else ''
        LOG.warning(
            '%s: %s%s: a process that dies is not replaced%s', new[0],
            state.elsewhere[new[0]], more, '' if state.count else
            f'; {name} has nothing at all attached to a host of the name '
            f'{self._given.host}')

    # Letting go -----------

    def _let_go(self) -> None:
        """Who made an adopted mapping ends it, and tells nobody.

        A row of a connector is the connector's: only what nobody else will
        take away is, and only when two looks found it gone.
        """
        gone = {key for key in self._rows.every()
                if self._has_gone(key, self._rows.row(key))}
        for key in gone & self._gone:
            with contextlib.suppress(locks.Busy):    # the next time, then
                self._let_one_go(key)
        self._gone = gone

    def _let_one_go(self, key: str) -> None:
        """As it is now, with nobody at work on it: a connector may have
        written a row of its own since.

        :raises Busy: somebody is.
        """
        with self._given.adopter.locks.hold(key, 0.0):
            if not self._has_gone(key, self._journal.attachment(
                    key, whole=False)):
                return
            self._journal.detach_done(key)
            self._journal.tell(model.KIND, key, 'let go: who had made the '
                               'mapping has ended it', True)
            self._rows.outdated()

    def _has_gone(self, key: str,
                  row: journal_lib.AttachRow | None) -> bool:
        if row is None or not row.connection.get(adopt.MARK):
            return False
        name, tree = str(row.connection.get('device')), self._given.tree
        if mounter_base.is_place(name):
            return (mounts.at(tree, name) is None
                    and not mounts.taken_away(tree, key, name))
        if not nbd.is_name(name):
            return False
        device = nbd.device(tree, name)
        return (device is None or not device.connected
                or device.cookie != key)


def _source(row: journal_lib.AttachRow) -> dict[str, str]:
    source = row.connection.get('source')
    return ({str(k): str(v) for k, v in source.items()}
            if isinstance(source, Mapping) else {})
