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
"""Every bound of healing, with its unit, and how they relate. Pure."""

import dataclasses

#: Memory of past losses of one leg, entries.
LOSSES_MAX = 32
#: Failed re-adds in a row after which a reachable leg counts as lost.
READD_TRIES_MAX = 5
#: Requests for a replacement of one replica before a person is needed.
REQUEST_TRIES_MAX = 10
#: A request that has been accepted so often, and brought nothing, though a new
#: replica came that was taken for another's, is followed by one of its own.
MIXED_UP_TRIES = 3
#: Replicas beyond the wanted number that may exist for a while (KumoScale
#: allows four replicas of a two-replica volume).
EXTRA_REPLICAS_MAX = 2
#: Replicas that a volume may have in all, unless one more than its legs is
#: more than that (KumoScale's rule).
REPLICAS_MAX = 4
#: In-sync legs without which nothing is let go.
COPIES_MIN = 2
#: Back-off of a failed action, seconds: first, longest.
RETRY_FIRST_S = 1.0
RETRY_LAST_S = 300.0
#: Longest rest of a key whose look failed, seconds: its guest may wait.
LOOK_REST_LAST_S = 30.0
#: Longest pause between two tries to keep I/O flowing, seconds.
FLOW_RETRY_LAST_S = 5.0
#: A replica that is no longer named is remembered for so long, seconds: one
#: answer that leaves it out must not make us forget what we asked for.
UNNAMED_KEPT_S = 3600.0
UNNAMED_MAX = 32
#: A replica that has not been named for so long is not waited for: what is
#: still connected of it is disconnected, seconds.
WITHDRAWN_S = 60.0
#: Lost back ends below which the brake never acts.
BRAKE_BACKENDS_MIN = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The operator's settings as the pure rooms need them; seconds.

    :ivar break_after_s: a dead path may be given up so long after its loss
        when I/O waits for it...
    :ivar idle_break_after_s: ... and so long after when nothing waits.
    :ivar silence_s: a portal that has not answered probes for so long is
        silent.
    :ivar volume_age_max_s: the provisioner's words are too old to act on.
    :ivar arrival_s: how long an accepted replacement may take to be named
        before it is asked for again (with the same id).
    """

    grace_s: float
    poll_s: float
    keep_alive_s: int
    reconnect_delay_s: int
    break_after_s: float
    idle_break_after_s: float
    silence_s: float
    volume_age_max_s: float
    provisioner_interval_s: float
    resync_check_s: float
    flap_losses_max: int
    flap_window_s: float
    flap_delay_max_s: float
    arrival_s: float
    heals_max: int
    requests_per_hour_max: int
    brake_ratio: float

    def __post_init__(self) -> None:
        for name, lower, upper in (
                ('poll_s', 0.0, self.idle_break_after_s),
                ('break_after_s', 0.0, self.idle_break_after_s),
                ('silence_s', 0.0, 60.0),
                ('volume_age_max_s', self.provisioner_interval_s, 1e9),
                ('arrival_s', self.provisioner_interval_s, 1e9),
                ('heals_max', 1, 1e9),
                ('flap_losses_max', 1, LOSSES_MAX)):
            value = getattr(self, name)
            if not lower <= value <= upper:
                raise ValueError(
                    f'{name} = {value} is not between {lower} and {upper}')
