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
"""What the directory of the configuration's state_path holds."""

import os

from oslo_config import cfg
from oslo_log import log as logging

from os_brick_healer.conf import opts
from os_brick_healer.engine import journal as journal_lib

LOG = logging.getLogger(__name__)

JOURNAL = 'journal.sqlite'


def open_journal(conf: cfg.ConfigOpts) -> journal_lib.Journal:
    """The agent's journal; a damaged file is set aside and a new one begun.

    :raises JournalError: the directory cannot be used.
    """
    path = conf[opts.GROUP].state_path
    journal_lib.make_directory(path)
    journal, problem = journal_lib.open_or_set_aside(
        os.path.join(path, JOURNAL),
        history_max=conf[opts.GROUP].history_max)
    if problem is not None:
        LOG.error('%s', problem)
    return journal
