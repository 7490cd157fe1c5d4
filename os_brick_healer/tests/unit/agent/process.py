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
"""An agent with a fake engine, as a process of its own.

Run as ``python -m os_brick_healer.tests.unit.agent.process CONF [WHAT]``;
WHAT is mute, deaf, raises, slow (it takes 60 s to build), wrong, lacking, real
(it opens a real journal) or kept (it keeps that open).
"""

import logging
import os
import sys
import time

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.agent import notify, ports, service
from os_brick_healer.conf import files, state
from os_brick_healer.tests.unit.agent import fakes


def build(conf: cfg.ConfigOpts, *, run_mode: str) -> ports.Engine:
    what = sys.argv[2] if len(sys.argv) > 2 else ''
    if what == 'slow':
        time.sleep(60.0)
    if what == 'wrong':
        raise exception.ConfigError('cannot build: because I am told so')
    engine = fakes.FakeEngine(
        [fakes.volume(1)], mute=what == 'mute', deaf=what == 'deaf',
        error=RuntimeError('a defect') if what == 'raises' else None)
    if what in ('real', 'kept'):
        journal = state.open_journal(conf)
        if what == 'kept':
            engine.journal.kept = journal
        else:
            journal.close()
    return engine


def main() -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    conf = cfg.ConfigOpts()
    files.load(conf, ['--config-file', sys.argv[1]], prog='test')
    lacks = {'helper': 'sudo says no'} if 'lacking' in sys.argv else {}
    agent = service.Service(conf, build, run_mode='process',
                            notifier=notify.Notifier(os.environ),
                            lacks=lambda: lacks)
    return agent.run()


if __name__ == '__main__':
    sys.exit(main())
