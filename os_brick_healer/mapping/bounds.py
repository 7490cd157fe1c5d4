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
"""This wing's bounds, from the configuration."""

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import opts
from os_brick_healer.mapping import model

#: A server whose connection died is given so long to end, seconds.
SETTLE_S = 0.5
_MIB, _DAY_S = 1 << 20, 86400


def policy(conf: cfg.ConfigOpts) -> model.Policy:
    """The bounds of healing mapped volumes.

    :raises ConfigError: two settings do not go together.
    """
    group = conf[opts.GROUP]
    try:
        return model.Policy(
            attach_s=group.mapping_attach_timeout,
            proof_s=group.mapping_proof_timeout,
            hang_s=group.mapping_hang_time,
            answer_s=group.mapping_answer_timeout,
            settle_s=min(SETTLE_S, group.mapping_hang_time),
            retry_last_s=group.mapping_retry_max,
            heals_max=group.mapping_heals_max)
    except ValueError as e:
        raise exception.ConfigError(
            f'cannot use the options of [{opts.GROUP}]: because {e}',
            hint='compare them with the configuration reference') from e


def logs(conf: cfg.ConfigOpts) -> tuple[int, int]:
    """The longest log, bytes, and the age of one that nobody needs, s."""
    group = conf[opts.GROUP]
    return group.mapping_log_size * _MIB, group.mapping_log_age * _DAY_S
