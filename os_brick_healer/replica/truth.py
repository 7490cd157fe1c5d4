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
"""The provisioner's last words, kept fresh off the loop's thread."""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import logging as std_logging
import threading
from typing import Any

from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.provisioner import answer, base
from os_brick_healer.replica import words

LOG: std_logging.LoggerAdapter[Any] = logging.getLogger(__name__)

#: Kind of memory in the journal: the last words about each volume.
WORDS = 'words'
#: Before the first question has been answered, well or not.
UNASKED = 'not asked yet'
#: A host that held a volume holds it until an answer leaves it out that was
#: asked for so long, seconds, after the first that did.
HOST_GONE_S = 5.0
#: The host is registered (probed) again after so long, seconds.
PROBE_S = 60.0


class Truth:
    """What the provisioner said, when, and why it says no more.

    :param open_: makes the provisioner; called again until it succeeds, so
        that a wrong setting is said and mended without a restart.
    """

    def __init__(self, open_: Callable[[], base.Provisioner],
                 clock: Callable[[], float]) -> None:
        self._open = open_
        self._clock = clock
        self._provisioner: base.Provisioner | None = None
        self._probed_s: float | None = None
        self.sentence = UNASKED
        self.error: str | None = UNASKED
        self.volumes: Mapping[base.VolumeId, base.Volume] = {}
        self._claims: dict[str, set[base.VolumeId]] = {}
        self.heard_s: float | None = None
        self._out: dict[object, float] = {}
        self._opening = threading.Lock()
        self._last: dict[base.VolumeId, base.Volume] = {}
        self._unkept: dict[base.VolumeId, base.Volume] = {}
        self._left_out: dict[base.VolumeId, dict[str, float]] = {}

    def recall(self, journal: journal_lib.Journal) -> None:
        """Take up the words from before this agent was started."""
        for key, row in journal.load_memory(WORDS).items():
            with contextlib.suppress(ValueError):
                self._last[base.VolumeId(key)] = words.load(key, row.value)

    def keep(self, journal: journal_lib.Journal) -> None:
        """Write down what is new; later, if it cannot be done now."""
        if not self._unkept:
            return
        with contextlib.suppress(exception.JournalError):
            # The engine tells of a journal that cannot be written.
            journal.save_memories(WORDS, {
                str(key): words.dump(one)
                for key, one in self._unkept.items()})
            self._unkept.clear()

    def forget(self, key: base.VolumeId,
               journal: journal_lib.Journal) -> None:
        """Drop what was said about a volume that is gone."""
        self._unkept.pop(key, None)
        self._left_out.pop(key, None)
        if self._last.pop(key, None) is not None:
            with contextlib.suppress(exception.JournalError):
                journal.forget(WORDS, str(key))

    def words(self, key: base.VolumeId
              ) -> tuple[base.Volume | None, float | None]:
        """The last words about a volume, and when they were heard.

        None instead of a time: it is not named now; these are the words
        from when it was. Of words that contradict themselves only that is
        taken; who its legs are is known from before.
        """
        volume, last = self.volumes.get(key), self._last.get(key)
        if volume is None:
            return last, None
        if volume.nonsense is not None and last is not None:
            return dataclasses.replace(
                last, nonsense=volume.nonsense), self.heard_s
        return volume, self.heard_s

    def claimed(self, key: base.VolumeId, nqn: str | None) -> bool:
        """Whether another volume of this host has a replica behind a target.

        That may not show its namespace, and be connected for it all the same.
        """
        return nqn is not None and not self._claims.get(
            nqn, set()) <= {key}

    @property
    def provisioner(self) -> base.Provisioner | None:
        """The plugin, None until it could be loaded."""
        return self._provisioner

    def age_s(self) -> float | None:
        """How old the words are, seconds; None: never heard."""
        if self.heard_s is None:
            return None
        return max(0.0, self._clock() - self.heard_s)

    def ask(self) -> Mapping[base.VolumeId, base.Volume]:
        """Ask for all volumes of this host. On a worker's thread."""
        this = object()
        self._out[this] = self._clock()     # a plugin may never come back
        try:
            return self._ask()
        finally:
            del self._out[this]

    def _ask(self) -> Mapping[base.VolumeId, base.Volume]:
        with self._opening:
            if self._provisioner is None:
                self._provisioner = self._open()
            provisioner = self._provisioner
        now_s = self._clock()
        if self._probed_s is None or now_s - self._probed_s >= PROBE_S:
            self.sentence = answer.sentence(provisioner.probe())
            self._probed_s = now_s
        return answer.volumes(provisioner.volumes())

    def about(self) -> dict[str, Any]:
        """For status: what it said of itself, what is wrong, how old; and
        for how long a question has been out."""
        out_s = min(list(self._out.values()), default=None)
        unasked = self.sentence == UNASKED and out_s is not None
        return {'sentence': '' if unasked else self.sentence,
                'age_s': self.age_s(),
                'waiting_s': (None if out_s is None
                              else max(0.0, self._clock() - out_s)),
                'error': None if self.error == UNASKED else self.error}

    def take(self, begun_s: float, result: Any) -> bool:
        """Keep an answer. On the loop's thread.

        :param begun_s: when it was asked for: its words are that old.
        :returns: whether anything is different now.
        """
        if isinstance(result, BaseException):
            return self._take_error(result)
        named: dict[base.VolumeId, base.Volume] = {}
        for key, told in result.items():
            last = self._last.get(key)
            volume = self._still_held(begun_s, told, last)
            if last is not None and last == volume:
                # The same object: kept once, and compared by identity.
                named[key] = last
                continue
            named[key] = volume
            if volume.nonsense is None:
                self._last[key] = self._unkept[key] = volume
        changed = self.error is not None or named != self.volumes
        if self.error is not None:
            LOG.info('the provisioner answers: %s', self.sentence)
        self.error, self.volumes, self.heard_s = None, named, begun_s
        if changed:
            self._claims = _claims(named)
        return changed

    def _still_held(self, begun_s: float, volume: base.Volume,
                    last: base.Volume | None) -> base.Volume:
        """With the hosts that one bad answer may have left out.

        While two hosts have a volume nothing may be changed, so that one of
        them has let go has to be said twice.
        """
        before = self._left_out.pop(volume.id, {})
        if last is None or last.hosts is None or volume.nonsense is not None:
            return volume
        told = volume.hosts or frozenset()
        since = {host: before.get(host, begun_s)
                 for host in last.hosts - told}
        kept = {host: first_s for host, first_s in since.items()
                if begun_s - first_s < HOST_GONE_S}
        if not kept:
            return volume
        self._left_out[volume.id] = kept
        return dataclasses.replace(volume, hosts=told | kept.keys())

    def _take_error(self, e: BaseException) -> bool:
        text = str(e)
        expected = isinstance(e, exception.HealerError)
        if not expected:
            text = f'a bug in the plugin: {e!r}'
        changed = self.error != text
        if changed and not expected:
            LOG.error('the provisioner plugin failed in a way nobody '
                      'expected', exc_info=e)
        if changed:
            LOG.warning('the provisioner is of no help: %s; nothing is '
                        'requested, added or removed until it is', text)
        self.error = text
        if self.sentence == UNASKED:
            self.sentence = ''
        self._probed_s = None
        return changed

    def close(self) -> None:
        """Give back the plugin's connections; it is opened anew."""
        if self._provisioner is not None:
            self._provisioner.close()
        self._provisioner = None
        self._probed_s = None


def _claims(volumes: Mapping[base.VolumeId, base.Volume]
            ) -> dict[str, set[base.VolumeId]]:
    """Whose replicas are behind a target, by its NQN."""
    claims: dict[str, set[base.VolumeId]] = {}
    for key, volume in volumes.items():
        for replica in volume.replicas:
            if replica.nqn is not None:
                claims.setdefault(replica.nqn, set()).add(key)
    return claims
