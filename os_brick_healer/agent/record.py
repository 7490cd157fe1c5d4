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
"""What a connector leaves behind when it could not start the agent.

No agent runs then, so nobody serves a status or a metric: the last attempt
is kept in a small file beside the journal. ``os-brick-healer status`` shows
it, and the agent takes its count over into its metrics.
"""

import contextlib
import dataclasses
import json
import math
import os
import tempfile
import time
from typing import Any

from os_brick_healer import regular
from os_brick_healer.metrics import catalogue

NAME = 'last-launch.json'
_BYTES_MAX = 65536
_FAILURES_MAX = 1 << 53


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LastLaunch:
    """The last failed attempt, and how many failed before one succeeded."""

    wall_s: float
    launch: str
    error: str
    failures: int


def read(state_path: str) -> LastLaunch | None:
    """The record, None when there is none or it cannot be read."""
    note: Any = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        note = json.loads(regular.read(os.path.join(state_path, NAME),
                                       _BYTES_MAX))
    match note:
        case {'wall_s': float(wall_s), 'launch': str(launch),
              'error': str(error), 'failures': int(failures)} if (
                  math.isfinite(wall_s) and type(failures) is int
                  and 0 <= failures <= _FAILURES_MAX):
            return LastLaunch(wall_s=wall_s, launch=launch, error=error,
                              failures=failures)
        case _:
            return None


def failed(state_path: str, launch: str, error: str) -> None:
    """Write an attempt down. What cannot be written is left out."""
    last = read(state_path)
    note = LastLaunch(wall_s=time.time(), launch=launch, error=error[:4000],
                      failures=1 + (last.failures if last else 0))
    with contextlib.suppress(OSError):
        fd, temporary = tempfile.mkstemp(prefix=f'.{NAME}.', dir=state_path)
        try:
            with os.fdopen(fd, 'w') as f:
                json.dump(dataclasses.asdict(note), f)
            os.chmod(temporary, 0o660)
            os.replace(temporary, os.path.join(state_path, NAME))
        except OSError:
            os.unlink(temporary)
            raise


def take_over(state_path: str) -> None:
    """An agent runs again: count what failed, and forget it."""
    last = read(state_path)
    if last is not None:
        catalogue.START_FAILURES.add(amount=float(max(0, last.failures)))
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(state_path, NAME))
