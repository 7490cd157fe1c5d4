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
"""The hook that os-brick's NVMe-oF connector looks for.

os-brick imports this module when it imports its NVMe-oF connector, and calls
``NVMeOFAgent.ensure_running(connector)`` when it has connected a replicated
volume. Whatever is wrong with os-brick-healer, os-brick works as without it.
"""

import logging
from typing import Any

LOG = logging.getLogger(__name__)


class NVMeOFAgent:
    """The agent that heals this host's replicated volumes."""

    @classmethod
    def ensure_running(cls, connector: Any) -> None:
        """See to it that the agent runs. Never raises, never blocks."""
        try:
            from os_brick_healer.connector import hook
            hook.ensure_running(connector)
        except Exception:
            LOG.exception('cannot ensure that the agent of os-brick-healer '
                          'runs: replicated volumes are not healed')


try:
    from os_brick_healer.connector import registration
    registration.install()
except Exception:
    LOG.exception('cannot register the connector of os-brick-healer: '
                  "os-brick's own is used")
