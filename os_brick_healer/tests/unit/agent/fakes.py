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
"""An engine that turns and tells, and touches nothing."""

from collections.abc import Callable, Sequence
import threading
import time
from typing import Any

from os_brick_healer.engine import journal


def volume(number: int, **more: Any) -> dict[str, Any]:
    """One volume as a status tells it."""
    key = f'{number:08x}-0000-4000-8000-000000000000'
    legs = [{'replica': f'rep-{number}-{i}', 'device': f'nvme{i}n1',
             'state': 'in_sync', 'lost_for_s': None, 'note': None,
             'portals': [{'portal': f'tcp://127.0.0.{i}:4420',
                          'controller': f'nvme{i}', 'state': 'live'}]}
            for i in range(2)]
    return {'kind': 'replica', 'key': key, 'alias': f'vol-{number}',
            'array': f'md{number}', 'phase': 'healthy',
            'sentence': 'both legs are in sync', 'law': None,
            'since_s': 61.0, 'legs': legs, 'sync': None, 'action': None,
            'intent': None, **more}


def row(key: str, text: str = 'all is well') -> journal.HistoryRow:
    return journal.HistoryRow(wall_s=1.0, kind='replica', key=key,
                              intent_id=None, what='verdict', text=text,
                              ok=None)


class FakeHistory:
    """:ivar kept: a real journal, which may be taken away."""

    def __init__(self, rows: tuple[journal.HistoryRow, ...] = ()) -> None:
        self.rows = rows
        self.kept: journal.Journal | None = None

    @property
    def gone(self) -> bool:
        return self.kept is not None and self.kept.gone

    def history(self, key: str | None = None,
                limit: int = 100) -> Sequence[journal.HistoryRow]:
        return [r for r in self.rows if key in (None, r.key)][-limit:]


class FakeEngine:
    """:param volumes: what status tells.

    :ivar mute: the loop hangs: it turns no more.
    :ivar deaf: stop() does not end it.
    :ivar unkept: why a pause cannot be written down.
    """

    def __init__(self, volumes: Sequence[dict[str, Any]] = (), *,
                 mute: bool = False, deaf: bool = False,
                 error: Exception | None = None) -> None:
        self.volumes = list(volumes)
        self.mute = mute
        self.deaf = deaf
        self.error = error
        self.journal = FakeHistory()
        self.paused: str | None = None
        self.unkept: str | None = None
        self.woken: list[str | None] = []
        self.reloads = 0
        self.running = threading.Event()
        self._stop = threading.Event()
        self._beats: list[Callable[[], None]] = []

    def run(self) -> None:
        self.running.set()
        if self.error is not None:
            raise self.error
        while self.deaf or not self._stop.is_set():
            if not self.mute:
                for beat in self._beats:
                    beat()
            time.sleep(0.02)
        self.running.clear()

    def stop(self) -> None:
        self._stop.set()

    def status(self) -> dict[str, Any]:
        return {'agent': {'paused': self.paused, 'journal_error': None,
                          'provisioner': {'name': 'fake', 'error': None,
                                          'sentence': 'a fake',
                                          'age_s': 1.0}},
                'volumes': list(self.volumes)}

    def wake(self, key: str | None = None) -> None:
        self.woken.append(key)

    def pause(self, reason: str) -> str | None:
        self.paused = reason
        return self.unkept

    def resume(self) -> str | None:
        self.paused = None
        return self.unkept

    def reload(self) -> None:
        self.reloads += 1

    def on_beat(self, call: Callable[[], None]) -> None:
        self._beats.append(call)
