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
"""Troubles that must not fail an attach are logged and counted here."""

import logging

from os_brick_healer.metrics import catalogue, counters

LOG = logging.getLogger(__name__)

TROUBLES = counters.Counter(
    f'{catalogue.PREFIX}_connector_troubles_total',
    'Troubles of the connector that did not fail an attach, by kind.',
    ('kind',))


def tell(kind: str, sentence: str) -> None:
    """Log it for the operator, and count it.

    :param kind: journal, provisioner, agent, tuning: a label of the metric.
    """
    TROUBLES.add(kind)
    LOG.error('%s', sentence)
