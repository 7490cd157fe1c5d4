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
"""The replica wing: ties facts, decision, hands and memory together."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import math
import threading
from typing import Any

from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import limits, loop, turns, verdict, wake
from os_brick_healer.provisioner import base
from os_brick_healer.replica import (
    attachments,
    doubt,
    given,
    learn,
    model,
    neighbours,
    observe,
    recall,
    remember,
    surroundings,
    telling,
)
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import decide as decide_lib
from os_brick_healer.replica import pulse as pulse_lib
from os_brick_healer.replica import truth as truth_lib

Phase = verdict.Phase

#: Actions that begin or go on with a heal, and need a turn.
_NEED_TURN = (model.DropFaulty, model.ConnectReplica, model.Examine,
              model.ReAdd, model.AddSpare)
#: Actions that are done on the provisioner's present word only.
_NEED_TRUTH = (model.ReAdd, model.AddSpare, model.RequestReplacement,
               model.ConfirmRemoval)
#: Between two samples while requests do not move, seconds.
_UNEASY_S = 0.1
#: How often the pulse is read while no volume has one, seconds.
_EMPTY_S = 1.0


class ReplicaWing:
    """Replicated volumes: MD arrays over NVMe-oF legs."""

    kind = 'replica'

    def __init__(self, *, policy: limits.Policy, host: str,
                 truth: truth_lib.Truth, observer: observe.Observer,
                 pulse: pulse_lib.Pulse, prober: given.Prober,
                 hands: given.Hands, journal: journal_lib.Journal,
                 clock: Callable[[], float],
                 process_start: Callable[[int], str | None]) -> None:
        self.policy = policy
        self._host = host
        self._truth = truth
        self._observer = observer
        self._pulse = pulse
        self._prober = prober
        self._asked_s: dict[str, float] = {}
        self._hands = hands
        self._journal = journal
        self._clock = clock
        self._began_s = 0.0
        self._lock = threading.Lock()     # the observer, for any thread
        self._engine: loop.Engine | None = None
        self._memories: dict[str, model.Memory] = {}
        self._attachments = attachments.Attachments(journal, process_start)
        self._seen: dict[str, model.Seen] = {}
        self._turns = turns.Turns(policy.heals_max, self._touch)
        self._asking = False
        self._ask_again = False
        self._portal_keys: dict[model.Portal, set[str]] = {}
        self._neighbours = neighbours.Neighbours(self._seen)
        self._around = surroundings.Surroundings(
            self._seen, self._memories, self._neighbours.unread,
            lambda key: truth.words(base.VolumeId(key))[0],
            lambda portal: prober.result(portal).answers is False)

    # The engine's calls -----------

    def start(self, engine: loop.Engine) -> None:
        """Load memories; begin to ask, to sample and to look."""
        self._engine = engine
        self._began_s = self._clock()
        self._around.start(self._began_s)
        for key, kept in self._journal.load_memory(self.kind).items():
            try:
                memory = remember.load(kept.value)
            except ValueError:
                continue     # the world is read anew
            if not kept.same_boot:
                memory = remember.rebase(memory, self._clock())
            self._memories[key] = memory
        self._truth.recall(self._journal)
        self._choose_keys()
        engine.follow(self._read_attachments, 'attachments')
        engine.every(self._interval_s, self._ask, 'provisioner')
        engine.every(self._poll_s, self._sample, 'pulse')

    def stop(self) -> None:
        """End background threads."""
        self._prober.stop()
        self._truth.close()

    def look(self, key: str) -> model.Verdict:
        """See one volume and decide; also ask for what is not known."""
        try:
            return self._look(key)
        except Exception:
            self._turns.give_back(key)    # who raises keeps nobody waiting
            self._neighbours.failed(key)
            raise

    def _look(self, key: str) -> model.Verdict:
        volume, heard_s = self._truth.words(base.VolumeId(key))
        seen = self._see(key, volume, heard_s=heard_s)
        last, self._seen[key] = self._seen.get(key), seen
        self._watch(key, seen)
        memory = recall.unwatched(
            self._memories.get(key, model.Memory()),
            self._began_s if last is None else last.now_s, seen.now_s)
        found = decide_lib.decide(seen, memory, self.policy,
                                  self._look_around(seen))
        self._memories[key] = found.memory
        found = self._in_turn(key, found)
        return dataclasses.replace(
            found, look_again_s=self._probe(seen, found))

    def before(self, action: model.Action,
               memory: model.Memory) -> model.Memory:
        """See ``loop.Wing``."""
        return learn.intend(memory, action, self._clock())

    def keep(self, key: str, memory: model.Memory) -> None:
        """See ``loop.Wing``."""
        if self._requests(memory) > self._requests(self._memories.get(key)):
            self._around.asked()
        self._memories[key] = memory

    @staticmethod
    def _requests(memory: model.Memory | None) -> int:
        return 0 if memory is None else sum(
            one.request.tries for one in memory.replicas.values()
            if one.request is not None)

    def act(self, key: str, action: model.Action) -> verdict.Outcome:
        """See ``loop.Wing``.

        What cannot be taken back is not done on words from before: the
        provisioner is asked again, before any lock is taken.
        """
        volume, heard_s = self._truth.words(base.VolumeId(key))
        if isinstance(action, _NEED_TRUTH):
            heard_s = self._clock()
            volume = self._truth.ask().get(base.VolumeId(key))

        def fresh() -> model.Seen:
            seen = self._see(key, volume, heard_s=heard_s)
            return dataclasses.replace(
                seen, relied_on=self._neighbours.relied_on(seen.shared),
                spare=self._neighbours.spare(seen.shared))

        return self._hands.do(action, fresh)

    def after(self, key: str, action: model.Action,
              outcome: verdict.Outcome) -> model.Memory:
        """See ``loop.Wing``."""
        memory = learn.learn(
            self._memories.get(key, model.Memory()), action, outcome,
            self._clock(), self.policy)
        self._memories[key] = memory
        if action.lane is model.Lane.NETWORK:
            self.ask_now()
        return memory

    def dump(self, memory: model.Memory) -> Mapping[str, Any]:
        """See ``loop.Wing``."""
        return remember.dump(memory)

    def woken(self, what: wake.Woken) -> Iterable[str]:
        """Which volumes a kernel event concerns."""
        keys: set[str] = set()
        for device in what.devices:
            keys |= self._neighbours.keys(device)
        if what.md or what.lost:
            keys |= self._pulse.sample(self._clock())
        return keys

    # Seeing -----------

    def _see(self, key: str, volume: model.Volume | None, *,
             heard_s: float | None) -> model.Seen:
        engine = self._engine
        memory = self._memories.get(key, model.Memory())
        results = given.Results(self._prober, self._clock()
                                - self._asked_s.get(key, math.inf))
        with self._lock:
            found = self._observer.look(
                base.VolumeId(key), volume, memory.array_uuid, results,
                (r for r in recall.former(memory, volume)
                 if not self._truth.claimed(base.VolumeId(key), r.nqn)))
        now_s = self._clock()
        newer = (heard_s is not None and self._truth.heard_s is not None
                 and heard_s > self._truth.heard_s)
        return model.Seen(
            key=base.VolumeId(key), volume=volume, now_s=now_s,
            volume_age_s=None if heard_s is None else now_s - heard_s,
            provisioner_error=None if newer else self._truth.error,
            attachment=self._attachments.of(key), array=found.array,
            namespaces=found.namespaces, paths=found.paths,
            peers_hold=doubt.peers(volume, self._host),
            foreign=found.foreign, answers=doubt.answers(
                volume, results, observe.PROBE_FRESH_S),
            shared=found.sharing, former=found.former,
            claimed=frozenset(
                r.id for r in (() if volume is None else volume.replicas)
                if self._truth.claimed(base.VolumeId(key), r.nqn)),
            endangered=self._neighbours.endangered(found.sharing),
            paused=engine.paused if engine is not None else None)

    # Events -----------

    def _watch(self, key: str, seen: model.Seen) -> None:
        paths = [p for paths in seen.paths.values() for p in paths]
        self._pulse.watch(
            base.VolumeId(key), [p.controller for p in paths],
            None if seen.array is None else seen.array.name)
        names = {p.controller for p in paths}
        names |= {n.device for n in seen.namespaces.values()}
        if seen.array is not None:
            names.add(seen.array.name)
        self._neighbours.named(key, names)

    def _poll_s(self) -> float:
        if not self._seen:
            return max(_EMPTY_S, self.policy.poll_s)
        # A guest waits, maybe: each quarter of a second counts twice.
        return (min(_UNEASY_S, self.policy.poll_s) if self._pulse.uneasy
                else self.policy.poll_s)

    def _sample(self) -> None:
        if self._engine is not None:
            self._around.run(self._clock(), self.policy)
            self._engine.touch(self, self._pulse.sample(self._clock()))

    def probed(self, portal: model.Portal) -> None:
        """A probe has ended; called by the prober, on its thread."""
        engine = self._engine
        if engine is not None:
            keys = tuple(self._portal_keys.get(portal, ()))
            engine.post_touch(self, keys)

    def _probe(self, seen: model.Seen, found: model.Verdict) -> float:
        """Probe what there is doubt about; when to look again, seconds."""
        wanted, again_s = doubt.portals(
            seen, found.memory, self.policy.poll_s,
            lambda portal: self._prober.result(portal).age_s)
        for portal in wanted:
            self._portal_keys.setdefault(portal, set()).add(seen.key)
        if wanted:
            self._asked_s[seen.key] = seen.now_s
            self._prober.ask(wanted)
        elif again_s == math.inf:
            self._asked_s.pop(seen.key, None)
        return min(again_s, decide_lib.seldom_s(found.look_again_s,
                                                len(self._seen)))

    # The host as a whole -----------

    def _in_turn(self, key: str, found: model.Verdict) -> model.Verdict:
        """A bounded number of volumes is healed at once."""
        if isinstance(found.action, _NEED_TURN):
            return self._turns.take(key, found, self.policy.heals_max,
                                    Phase.HELD)
        if found.phase is not Phase.RESYNCING:
            self._turns.give_back(key)
        return found

    def _touch(self, keys: Iterable[str]) -> None:
        assert self._engine is not None
        self._engine.touch(self, keys)

    def _look_around(self, seen: model.Seen) -> case_lib.Around:
        if seen.array is None or not seen.array.degraded:
            return case_lib.Around()
        return self._around.read(self._clock(), self.policy)

    # The provisioner and the attachments -----------

    def _interval_s(self) -> float:
        assert self._engine is not None
        calm = all(p in (Phase.HEALTHY, Phase.GONE)
                   for p in self._engine.phases())
        interval_s = self.policy.provisioner_interval_s
        return interval_s if calm else interval_s / 5

    def ask_now(self) -> None:
        """Ask the provisioner as soon as it can be asked."""
        if self._asking:
            self._ask_again = True
        else:
            self._ask()

    def _ask(self) -> None:
        assert self._engine is not None
        if self._asking:
            return
        self._asking = True
        begun_s = self._clock()
        self._engine.submit('ask', self._truth.ask,
                            lambda result: self._told(begun_s, result))

    def _told(self, begun_s: float, result: Any) -> None:
        assert self._engine is not None
        self._asking = False
        # No look has learned from the words that are replaced now.
        for key in self._neighbours.unread:
            self._memories[key] = recall.unread(
                self._memories.get(key, model.Memory()),
                self._truth.words(base.VolumeId(key))[0])
        old = self._truth.volumes
        changed = self._truth.take(begun_s, result)
        self._truth.keep(self._journal)
        self._choose_keys()
        if changed and self._truth.volumes is old:
            self._engine.touch(self, tuple(self._memories))
        elif changed:
            self._engine.touch(self, [
                k for k in {*old, *self._truth.volumes}
                if old.get(k) != self._truth.volumes.get(k)])
        # A heal waits for news: look at those that are not well.
        self._engine.touch(self, [
            k for k, seen in self._seen.items()
            if seen.array is not None and seen.array.degraded])
        if self._ask_again:
            self._ask_again = False
            self._ask()

    def _read_attachments(self, version: int) -> None:
        assert self._engine is not None
        moved = self._attachments.refresh(version)
        if moved:
            self._choose_keys()
            self._engine.touch(self, moved)
            self.ask_now()

    def _choose_keys(self) -> None:
        """Watch what is named, attached, or remembered; drop the rest."""
        assert self._engine is not None
        wanted = {str(k) for k in self._truth.volumes} | set(
            self._attachments.keys())
        for key in wanted | set(self._memories):
            self._engine.watch(self, key)
        if self._truth.error is not None:
            return
        for key, seen in list(self._seen.items()):
            if key not in wanted and seen.array is None:
                self._forget(key)

    def _forget(self, key: str) -> None:
        assert self._engine is not None
        self._engine.unwatch(self, key)
        self._turns.give_back(key)
        self._pulse.forget(base.VolumeId(key))
        self._seen.pop(key, None)
        self._memories.pop(key, None)
        self._asked_s.pop(key, None)
        self._truth.forget(base.VolumeId(key), self._journal)
        self._neighbours.forget(key)
        for keys in self._portal_keys.values():
            keys.discard(key)

    def controllers(self) -> frozenset[str]:
        """Controllers that lead to volumes of ours; from any thread."""
        return frozenset(
            p.controller for seen in list(self._seen.values())
            for paths in seen.paths.values() for p in paths)

    def about(self) -> dict[str, Any]:
        """The provisioner, for status."""
        return {'provisioner': self._truth.about()}

    def describe(self, key: str, found: Any) -> dict[str, Any]:
        """Legs and progress of one volume, for status."""
        return telling.describe(self._seen.get(key),
                                found.memory or model.Memory())
