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
"""What the running agent tells without being asked.

systemd gets signs of life, node_exporter a file, both from the main thread
and from the engine's snapshot: telling never makes the engine wait.
"""

from collections import Counter
from collections.abc import Callable, Mapping
import contextlib
import os
import time
from typing import Any

from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.agent import notify, ports, verbs
from os_brick_healer.metrics import catalogue, textfile

LOG = logging.getLogger(__name__)

#: Without a watchdog to set the measure: the loop is late after this.
LATE_S = 10.0


class Teller:
    """Called every few seconds by the main thread.

    :param settings: the group [os_brick_healer] of the configuration.
    """

    def __init__(self, settings: Any, notifier: notify.Notifier) -> None:
        self._settings = settings
        self._notifier = notifier
        self._late_s = (notifier.watchdog_s or 2 * LATE_S) / 2
        self._is_late = False
        self._next_s = 0.0
        self._turned_s = time.monotonic()
        self._sentence = ''
        self._told_s: float | None = None
        self._trouble: str | None = None
        self._written: str | None = None

    def turned(self) -> None:
        """The loop turns; called by the loop itself, so it must be quick."""
        self._turned_s = time.monotonic()

    def beat(self, engine: ports.Engine,
             facts: Callable[[], Mapping[str, Any]]) -> None:
        """Tell what there is to tell now."""
        now_s = time.monotonic()
        self._watch(now_s - self._turned_s)
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._settings.metrics_interval
        try:
            known = facts()     # what has changed in it is logged
            if self._notifier.speaks or self._settings.metrics_textfile or (
                    self._written is not None):
                self._tell(verbs.whole_status(engine, lambda: known), now_s)
        except Exception as e:  # noqa: BLE001 - the edge: it goes on
            self._complain(f'cannot tell how the volumes are: {e!r}')

    def _watch(self, lag_s: float) -> None:
        catalogue.LOOP_LAG.set(lag_s)
        late = lag_s > self._late_s
        if late and not self._is_late:
            LOG.error('the loop has not turned for %.1f s', lag_s)
        elif self._is_late and not late:
            LOG.info('the loop turns again')
        self._is_late = late
        if not late:
            self._notifier.alive()

    def _tell(self, status: dict[str, Any], now_s: float) -> None:
        sentence = summary(status)
        if sentence != self._sentence:
            self._sentence = sentence
            self._notifier.status(sentence)
        path = self._settings.metrics_textfile
        if path != self._written:
            self.close()        # a reload has named another one, or none
        if not path:
            return
        catalogue.INFO.replace({
            (str(status['agent'].get('version')),
             str(status['agent'].get('launch'))): 1.0})
        catalogue.from_status(status, now_s - (self._told_s or now_s))
        self._told_s = now_s
        try:
            textfile.write(path, catalogue.text())
        except exception.HealerError as e:
            self._complain(str(e))
            return
        self._trouble, self._written = None, path

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            LOG.error('%s', trouble)
        self._trouble = trouble

    def close(self) -> None:
        """Take the file away: stale numbers look like a live agent."""
        if self._written is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._written)
        self._written = None


def summary(status: Mapping[str, Any]) -> str:
    """The whole host in one sentence."""
    volumes = status.get('volumes') or ()
    agent = status.get('agent') or {}
    phases = Counter(str(v.get('phase')) for v in volumes)
    parts = [f'{count} {phase}' for phase, count in sorted(phases.items())]
    text = f'{len(volumes)} volume{"s"[len(volumes) == 1:]}' + (
        f': {", ".join(parts)}' if parts else '')
    if agent.get('lacks'):
        text += f'; nothing can be healed: {", ".join(agent["lacks"])}'
    if agent.get('paused') is not None:
        text += f'; paused: {agent["paused"]}'
    error = (agent.get('provisioner') or {}).get('error')
    if error is not None:
        text += f'; provisioner: {error}'
    return text
