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
"""The mapping wing: ties facts, decision, hands and memory together."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import logging as std_logging
from typing import Any

from oslo_log import log as logging

from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import loop, turns, verdict, wake
from os_brick_healer.mapping import (
    act,
    attachments,
    decide,
    events,
    learn,
    model,
    observe,
    remember,
    telling,
)
from os_brick_healer.mapping import logs as logs_lib
from os_brick_healer.mapping import pulse as pulse_lib
from os_brick_healer.mapping import sources as sources_lib

LOG: std_logging.LoggerAdapter[Any] = logging.getLogger(__name__)

Phase = verdict.Phase

#: An answer younger than this is not asked for again, seconds.
_ASK_AGAIN_S = 2.0
ASK_LANE = 'mapping-ask'

#: Asks a server whether it lives, None: it cannot be asked.
Ask = Callable[[model.Mapping, float], tuple[bool | None, str]]
#: Loads what a heal by a mounter will need; why it cannot, or nothing.
Prepare = Callable[[str], str]


class MappingWing:
    """Block devices that are served by userspace processes."""

    kind = model.KIND

    def __init__(self, *, policy: model.Policy, journal: journal_lib.Journal,
                 rows: attachments.Attachments, observer: observe.Observer,
                 motion: observe.Motion, pulse: pulse_lib.Pulse,
                 heard: events.Events, hands: act.Hands,
                 clock: Callable[[], float], ask: Ask,
                 prepare: Prepare = act.prepare,
                 sources: sources_lib.Sources | None = None,
                 logs: logs_lib.Logs | None = None) -> None:
        self.policy = policy
        self.sources = sources
        self._logs = logs
        self._journal = journal
        self._rows = rows
        self._observer = observer
        self._motion = motion
        self._pulse = pulse
        self._heard = heard
        self._hands = hands
        self._clock = clock
        self._ask = ask
        self._prepare = prepare
        self._prepared: set[str] = set()
        self._engine: loop.Engine | None = None
        self._memories: dict[str, model.Memory] = {}
        self._seen: dict[str, model.Seen] = {}
        self._unsettled = True      # who is known may not be who is mapped
        self._keys: dict[str, str] = {}          # device -> volume
        self._answers: dict[str, tuple[model.Process, model.Answer]] = {}
        self._asking: set[str] = set()
        self._serving: set[str] = set()
        self._started: dict[str, model.Process] = {}
        self._unread: dict[str, tuple[float, bool]] = {}
        self._reading_s: dict[str, float] = {}
        self._turns = turns.Turns(policy.heals_max, self._touch)
        heard.lost = self._doubt

    # The engine's calls -----------

    def start(self, engine: loop.Engine) -> None:
        """Load memories; begin to hear, to sample and to look."""
        self._engine = engine
        for key, kept in self._journal.load_memory(self.kind).items():
            if not kept.same_boot:
                continue     # no process and no device outlives a boot
            try:
                self._memories[key] = remember.load(kept.value)
            except ValueError:
                continue     # the world is read anew
        self._heard.hear()
        engine.follow(self._read_attachments, 'mapped volumes')
        engine.every(self._pulse.interval_s, self._sample,
                     'pulse of mapped volumes')
        if self.sources is not None:
            self.sources.start(engine, self._touch)
        if self._logs is not None:
            self._logs.start(engine)

    def stop(self) -> None:
        """Give back what is open."""
        self._heard.close()
        self._pulse.close()
        if self.sources is not None:
            self.sources.stop()

    def look(self, key: str) -> model.Verdict:
        """See one volume and decide."""
        try:
            seen = self._see(key, fresh=False)
            self._seen[key] = seen
            found = decide.decide(seen, self._memory(key), self.policy)
            self.keep(key, found.memory)
            self._watch(key, seen)
            self._question(key, seen)
            self._get_ready(seen)
            again_s = decide.seldom_s(found.look_again_s, self.policy,
                                      len(self._seen))
            if again_s != found.look_again_s:
                found = dataclasses.replace(found, look_again_s=again_s)
            return self._in_turn(key, found)
        except Exception:
            self._turns.give_back(key)    # who raises keeps nobody waiting
            raise

    def before(self, action: model.Action,
               memory: model.Memory) -> model.Memory:
        """See ``loop.Wing``."""
        return learn.intend(memory, action)

    def keep(self, key: str, memory: model.Memory) -> None:
        """See ``loop.Wing``."""
        self._memories[key] = memory
        if self._rows.row(key) is None:
            self._unsettled = True

    def act(self, key: str, action: model.Action) -> verdict.Outcome:
        """See ``loop.Wing``."""
        if isinstance(action, model.Prove):
            self._reading_s[key] = self._clock()
            return self._hands.do(action, lambda: self._see(
                key, fresh=False), lambda _: None)
        self._serving.add(key)
        return self._hands.do(
            action, lambda: self._see(key, fresh=True),
            lambda server: self._started.update({key: server}))

    def after(self, key: str, action: model.Action,
              outcome: verdict.Outcome) -> model.Memory:
        """See ``loop.Wing``."""
        now_s, begun_s, started = self._clock(), None, None
        memory = self._memory(key)
        if isinstance(action, model.Prove):
            begun_s = self._reading_s.pop(key, None)
            if outcome.error is not None and action.server == memory.server:
                self._unread[key] = (now_s,
                                     outcome.detail == learn.UNSENT)
        else:
            self._serving.discard(key)
            started = self._started.pop(key, None)
        memory = learn.learn(memory, action, outcome, now_s, self.policy,
                             started, begun_s)
        self.keep(key, memory)
        return memory

    def dump(self, memory: model.Memory) -> Mapping[str, Any]:
        """See ``loop.Wing``."""
        return remember.dump(memory)

    def woken(self, what: wake.Woken) -> Iterable[str]:
        """Which volumes an event concerns."""
        if what.lost:
            return tuple(self._seen)
        return {self._keys[d] for d in what.devices if d in self._keys}

    # Seeing -----------

    def _memory(self, key: str) -> model.Memory:
        return self._memories.get(key, model.Memory())

    def _see(self, key: str, *, fresh: bool) -> model.Seen:
        """One volume now; from any thread."""
        attachment = self._rows.of(key)
        engine = self._engine
        known = self._memory(key).server
        look = observe.Look(device=None, server=None)
        if attachment is not None and attachment.mapping is not None:
            look = self._observer.look(attachment.mapping, known,
                                       fresh=fresh)
        moved_s = (None if look.device is None
                   else self._motion.feed(key, look.device))
        unread_s, unsent = self._unread.get(key, (None, False))
        dead_s, after_s = (None, None) if look.device is None else (
            self._heard.link_dead_s.get(look.device.name, (None, None)))
        return model.Seen(
            key=key, now_s=self._clock(), attachment=attachment,
            device=look.device, server=look.server, moved_s=moved_s,
            link_dead_s=dead_s, died_after_s=after_s,
            answer=self._answer(key, look.server),
            unread_s=unread_s, unsent=unsent,
            paused=engine.paused if engine is not None else None,
            elsewhere=(None if self.sources is None
                       else self.sources.elsewhere(key)))

    def _answer(self, key: str,
                server: model.Running | None) -> model.Answer | None:
        """What this very process answered; another's does not count."""
        known = self._answers.get(key)
        if known is None or server is None or (
                known[0].pid, known[0].start) != (server.pid, server.start):
            return None
        return known[1]

    # Events -----------

    def _watch(self, key: str, seen: model.Seen) -> None:
        device = seen.device
        connected = device is not None and device.cookie == key
        self._pulse.watch(key, device.name if device is not None
                          and connected and device.requests is not None
                          else None)
        if device is None or not connected:
            return
        self._keys[device.name] = key
        server = None if seen.server is None else seen.server.process
        if not self._heard.watch(device.name, server):
            assert self._engine is not None
            self._engine.touch(self, (key,))

    def _doubt(self) -> Iterable[str]:
        """Deaths may have gone unheard: everything is proven anew."""
        for key, memory in self._memories.items():
            self._memories[key] = dataclasses.replace(
                memory, linked_s=None, proven_s=None)
        return tuple(self._keys)

    def _sample(self) -> None:
        assert self._engine is not None
        if self._seen:
            self._heard.hear()
        stuck, silent = self._pulse.sample(self.policy.hang_s)
        self._engine.touch(self, stuck)
        for key in silent:
            # Idle, or waiting for what the block layer does not count.
            seen = self._seen.get(key)
            if seen is not None:
                self._inquire(key, seen)

    def _question(self, key: str, seen: model.Seen) -> None:
        """Ask a server that seems to hang whether it lives."""
        if seen.stuck_s >= self.policy.hang_s and (
                seen.answer is None or seen.now_s - seen.answer.asked_s
                >= _ASK_AGAIN_S):
            self._inquire(key, seen)

    def _inquire(self, key: str, seen: model.Seen) -> None:
        assert self._engine is not None
        server, attachment = seen.server, seen.attachment
        if (server is None or attachment is None
                or attachment.mapping is None or key in self._asking):
            return
        mapping, asked_s = attachment.mapping, self._clock()
        who = server.process
        self._asking.add(key)
        self._engine.submit(
            ASK_LANE, lambda: self._ask(mapping, self.policy.answer_s),
            lambda told: self._answered(key, who, asked_s, told))

    def _answered(self, key: str, server: model.Process, asked_s: float,
                  told: Any) -> None:
        assert self._engine is not None
        self._asking.discard(key)
        match told:
            case (bool() | None as alive, str(sentence)):
                answer = model.Answer(asked_s=asked_s, alive=alive,
                                      sentence=sentence)
            case _:
                LOG.error('cannot ask %s of %s: %r', server, key, told)
                answer = model.Answer(asked_s=asked_s, alive=None)
        self._answers[key] = (server, answer)
        self._engine.touch(self, (key,))

    def _get_ready(self, seen: model.Seen) -> None:
        """The first heal by a mounter finds everything loaded."""
        if seen.attachment is None or seen.attachment.mapping is None:
            return
        name = seen.attachment.mapping.mounter
        if name not in self._prepared:
            assert self._engine is not None
            self._prepared.add(name)
            self._engine.submit(ASK_LANE, lambda: self._prepare(name),
                                lambda told: self._is_ready(name, told))

    @staticmethod
    def _is_ready(name: str, told: Any) -> None:
        if told != '':
            LOG.warning('cannot get ready for mounter %s: %s', name, told)

    # The host as a whole -----------

    def _in_turn(self, key: str, found: model.Verdict) -> model.Verdict:
        """A bounded number of volumes is healed at once."""
        if key in self._serving:
            return dataclasses.replace(found, action=None)
        if isinstance(found.action, model.Serve | model.Kill):
            return self._turns.take(key, found, self.policy.heals_max,
                                    Phase.STALLED)
        if found.phase is not Phase.HEALING:
            self._turns.give_back(key)
        return found

    def _touch(self, keys: Iterable[str]) -> None:
        assert self._engine is not None
        self._engine.touch(self, keys)

    def _read_attachments(self, version: int) -> None:
        assert self._engine is not None
        moved = self._rows.refresh(version)
        if moved:
            self._unsettled = True
        if not self._unsettled:
            return      # again and again, whatever is mapped here
        wanted = set(self._rows.keys())
        for key in wanted:
            self._engine.watch(self, key)
        for key in {*self._memories, *self._seen} - wanted:
            self._forget(key)
        self._unsettled = False
        self._engine.touch(self, moved)

    def _forget(self, key: str) -> None:
        assert self._engine is not None
        self._engine.unwatch(self, key)
        self._turns.give_back(key)
        self._pulse.forget(key)
        self._motion.forget(key)
        for device in [d for d, k in self._keys.items() if k == key]:
            self._heard.forget(device)
            self._heard.link_dead_s.pop(device, None)
            del self._keys[device]
        self._seen.pop(key, None)
        self._memories.pop(key, None)
        self._answers.pop(key, None)
        self._unread.pop(key, None)

    def about(self) -> dict[str, Any]:
        """Whether deaths are heard of, for status."""
        return {'mappings': {'count': len(self._seen),
                             'deaf': self._heard.problem},
                'sources': {} if self.sources is None
                else self.sources.about()}

    def describe(self, key: str, found: Any) -> dict[str, Any]:
        """One volume, for status."""
        return telling.describe(
            self._seen.get(key), found.memory or model.Memory(),
            None if self.sources is None else self.sources.doubt(key))
