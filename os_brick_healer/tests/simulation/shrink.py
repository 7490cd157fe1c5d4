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
"""Makes a failing plan smaller: fewer faults, the same broken law."""

from collections.abc import Callable
import dataclasses
from typing import TypeVar

from os_brick_healer.tests.simulation import plans, runs

TRIES_MAX = 60
S = TypeVar('S')


def shrink(report: runs.Report[S], law: str,
           play: Callable[[plans.Plan[S]], runs.Report[S]],
           ) -> runs.Report[S]:
    """Drop faults, many at a time and then one by one, while it fails."""
    best = report
    tries = 0
    size = max(1, len(best.plan.faults) // 2)
    while size >= 1 and tries < TRIES_MAX:
        at, smaller = 0, False
        while at < len(best.plan.faults) and tries < TRIES_MAX:
            faults = best.plan.faults
            kept = faults[:at] + faults[at + size:]
            tries += 1
            found = play(dataclasses.replace(best.plan, faults=kept))
            if law in found.laws:
                best, smaller = found, True
            else:
                at += size
        if size == 1 and not smaller:
            break
        size = max(1, size // 2) if size > 1 else (1 if smaller else 0)
    return best
