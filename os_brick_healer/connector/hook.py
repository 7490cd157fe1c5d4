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
"""What the hook does when a replicated volume has been connected."""

import logging
import threading
from typing import Any

from oslo_config import cfg

from os_brick_healer.conf import opts
from os_brick_healer.connector import registration
from os_brick_healer.metrics import catalogue

LOG = logging.getLogger(__name__)


def ensure_running(connector: Any, conf: cfg.ConfigOpts | None = None) -> None:
    """See to it that the agent runs. Never raises; gives back at once.

    It is called under os-brick's host-wide lock, before nova gets its
    volume: whatever takes time (systemd, a new process) is done by a thread.
    """
    try:
        registration.register()
        threading.Thread(
            target=_launch, args=(connector, conf or cfg.CONF), daemon=True,
            name='os-brick-healer-launch').start()
    except Exception as e:  # noqa: BLE001 - an attach must not fail for the agent
        _failed(e)


def _launch(connector: Any, conf: cfg.ConfigOpts) -> None:
    try:
        # Its import takes longer than an attach may be kept waiting.
        from os_brick_healer.agent import launch  # noqa: PLC0415
        opts.register(conf)
        launch.ensure_running(conf, connector)
    except Exception as e:  # noqa: BLE001 - the edge of a thread: logged, counted
        _failed(e)


def _failed(e: Exception) -> None:
    catalogue.START_FAILURES.add()
    LOG.error('cannot ensure that the agent of os-brick-healer runs: because '
              'of %s: %s; replicated volumes are not healed',
              type(e).__name__, e, exc_info=e)
