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
"""The options as the rooms need them: profiles, policy, numbers."""

import dataclasses

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import opts
from os_brick_healer.engine import limits


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How quickly a lost leg is noticed and given up; seconds.

    :ivar break_after_s: the kernel first tries to reconnect after a whole
        second (reconnect_delay cannot be less): to wait for that would cost
        the guest more than a re-add by bitmap costs.
    :ivar keep_alive_s: in silence Linux 6.1's tear-down waits for a
        keep-alive that is under way, at most this long; one is only sent
        after a quarter of this time without traffic. So a longer one makes
        the wait rarer, and longer; the worst stall is about one and a half
        times of it, and a second (see the stall table in the docs).
    :ivar stuck_s: I/O that has not moved for so long makes us probe.
    """

    keep_alive_s: int
    poll_s: float
    break_after_s: float
    idle_break_after_s: float
    stuck_s: float
    silence_s: float
    probe_deadline_s: float


PROFILES = {
    'default': Profile(
        keep_alive_s=3, poll_s=0.25, break_after_s=0.2,
        idle_break_after_s=5.0, stuck_s=0.25, silence_s=0.45,
        probe_deadline_s=0.5),
    'fast': Profile(
        keep_alive_s=1, poll_s=0.1, break_after_s=0.0,
        idle_break_after_s=2.0, stuck_s=0.2, silence_s=0.15,
        probe_deadline_s=0.2),
}


def profile(conf: cfg.ConfigOpts) -> Profile:
    """The configured profile, with what the operator set himself."""
    group = conf[opts.GROUP]
    chosen = PROFILES[group.profile]
    return dataclasses.replace(
        chosen,
        keep_alive_s=group.keep_alive_timeout or chosen.keep_alive_s,
        poll_s=group.poll_interval or chosen.poll_s)


def policy(conf: cfg.ConfigOpts) -> limits.Policy:
    """The bounds of healing.

    :raises ConfigError: two settings do not go together.
    """
    group = conf[opts.GROUP]
    chosen = profile(conf)
    interval_s = group.provisioner_interval
    try:
        return limits.Policy(
            grace_s=group.grace_period, poll_s=chosen.poll_s,
            keep_alive_s=chosen.keep_alive_s,
            reconnect_delay_s=group.reconnect_delay,
            break_after_s=chosen.break_after_s,
            idle_break_after_s=max(chosen.idle_break_after_s,
                                   chosen.poll_s),
            silence_s=chosen.silence_s,
            volume_age_max_s=max(30.0, 3 * interval_s),
            provisioner_interval_s=interval_s,
            resync_check_s=group.resync_check_interval,
            flap_losses_max=group.flap_losses_max,
            flap_window_s=group.flap_window,
            flap_delay_max_s=group.flap_delay_max,
            arrival_s=max(60.0, 6 * interval_s), heals_max=group.heals_max,
            requests_per_hour_max=group.replacements_per_hour_max,
            brake_ratio=group.brake_ratio)
    except ValueError as e:
        raise exception.ConfigError(
            f'cannot use the options of [{opts.GROUP}]: because {e}',
            hint='compare them with the configuration reference') from e
