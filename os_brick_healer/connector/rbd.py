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
"""The class that os-brick's factory builds for RBD.

This module is named in os-brick's mapping. If anything that it needs cannot
be imported, it still offers a class: os-brick's own.
"""

import logging
from typing import Any

from os_brick_healer.connector import brick

LOG = logging.getLogger(__name__)

HealingRBDConnector: Any

try:
    from os_brick_healer.connector.rbd_mixin import RbdMixin

    class _Healing(RbdMixin, brick.rbd_connector()):  # type: ignore[misc]
        """os-brick's connector, with images that a process serves."""

    _Healing.__name__ = _Healing.__qualname__ = 'HealingRBDConnector'
    HealingRBDConnector = _Healing
except Exception:
    LOG.exception("cannot load the connector of os-brick-healer: os-brick's "
                  'own is used, and no image is mapped by rbd-nbd')
    HealingRBDConnector = brick.rbd_connector()
