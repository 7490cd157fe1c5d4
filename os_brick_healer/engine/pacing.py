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
"""How fast and how often: back-off, flap damping, brake, budget. Pure."""

from collections.abc import Collection
import math
import zlib

from os_brick_healer.engine import limits

#: A look that can wait so long is in no hurry, seconds.
SPREAD_FROM_S = 20.0
#: Periodic tasks of longer intervals need not keep in step, seconds.
STEP_MAX_S = 1.0


def backoff_s(tries: int, *, first_s: float = limits.RETRY_FIRST_S,
              last_s: float = limits.RETRY_LAST_S) -> float:
    """Seconds to wait after the given number of failures in a row."""
    if tries <= 0:
        return 0.0
    return min(last_s, first_s * 2.0 ** min(tries - 1, 32))


def spread_s(key: str, wait_s: float) -> float:
    """When to look again at a key that is in no hurry, seconds.

    Never later than it should be; always the same for one key. A thousand
    keys that were looked at together would otherwise be due together for
    ever, and hold up the one that is sick meanwhile.
    """
    if wait_s < SPREAD_FROM_S:
        return wait_s
    return wait_s * (0.5 + zlib.crc32(key.encode()) / 2.0 ** 33)


def in_step_s(began_s: float, interval_s: float, now_s: float) -> float:
    """When a periodic task is due next, monotonic seconds.

    At a multiple of its interval since the start, so that tasks of like
    intervals are due together; half an interval from now at least, so that
    one that takes long leaves time for others. Tasks that come once in
    seconds are due when they are due.
    """
    if not 0.0 < interval_s <= STEP_MAX_S:
        return now_s + interval_s
    steps = math.floor((now_s - began_s) / interval_s + 1.5)
    return began_s + steps * interval_s


def add_loss(losses_s: tuple[float, ...], now_s: float,
             window_s: float) -> tuple[float, ...]:
    """The losses of a leg with one more, without those out of the window."""
    recent = tuple(t for t in losses_s if now_s - t <= window_s)
    return (*recent, now_s)[-limits.LOSSES_MAX:]


def flap_delay_s(losses_s: tuple[float, ...], now_s: float,
                 policy: limits.Policy) -> float:
    """How long after its last loss a flapping leg stays out, seconds.

    Fewer than ``flap_losses_max`` losses within the window are not delayed;
    that one is delayed by 10 s, and each further one doubles the delay.
    """
    recent = [t for t in losses_s if now_s - t <= policy.flap_window_s]
    excess = len(recent) - policy.flap_losses_max
    if excess < 0:
        return 0.0
    return min(policy.flap_delay_max_s, 10.0 * 2.0 ** excess)


def brake(lost: Collection[str], known: Collection[str],
          ratio: float) -> str | None:
    """Whether so much is lost that this host must doubt itself.

    :param lost: back ends (portal addresses) with no path that answers.
    :param known: every back end this host uses.
    :returns: the sentence of the brake, or None.
    """
    if len(lost) < limits.BRAKE_BACKENDS_MIN:
        return None
    if len(lost) <= ratio * len(known):
        return None
    return (f'{len(lost)} of {len(known)} back ends are lost together: '
            f"this host's own network is the likelier cause")


def budget_left(requests_s: Collection[float], now_s: float,
                per_hour_max: int) -> int:
    """How many replacements may still be requested in this hour."""
    recent = sum(1 for t in requests_s if now_s - t < 3600.0)
    return max(0, per_hour_max - recent)
