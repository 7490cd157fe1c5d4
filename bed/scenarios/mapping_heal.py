# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The process behind a mapped volume dies or hangs, and is brought back."""

import signal

from bed.guest.mapped import connected, MappedHost
from bed.guest.scenario import scenario, Stage

#: Three times what the design promises (1.3 s): the guest is emulated.
STALL_S_MAX = 4.0
HANG_STALL_S_MAX = 24.0


@scenario(name='nbd-killed', item='m1', core=True, timeout_s=200)
def nbd_killed(stage: Stage) -> None:
    """The server is killed with -9: the same device goes on."""
    dies(stage, signal.SIGKILL)


@scenario(name='nbd-terminated', item='m2', timeout_s=200)
def nbd_terminated(stage: Stage) -> None:
    """The server is told to end with SIGTERM: the same device goes on."""
    dies(stage, signal.SIGTERM)


def dies(stage: Stage, how: signal.Signals) -> None:
    mapped = MappedHost.build(stage)
    volume = mapped.attach()
    mapped.start_agent()
    writer = mapped.write_to(volume)
    for turn in (1, 2, 3):
        old = volume.signal(how)
        stage.note(f'turn {turn}: {how.name} to process {old}')
        mapped.until_flowing(volume, writer)
        stage.check('another process serves', volume.server != old)
        mapped.until_well(volume)
    stage.figure(f'nbd_{how.name.lower()}_stall_s', writer.worst_stall_s)
    stage.check('no write waited for long',
                writer.worst_stall_s <= STALL_S_MAX * stage.patience,
                writer.worst_stall_s)
    report = mapped.prove(volume, writer)
    stage.note(f'{report.writes} writes, worst {report.worst_stall_s:.2f} s')
    mapped.detach(volume)
    stage.check('no device is left', not connected(), connected())
    stage.check('no process is left', not volume.servers())
    stage.check('the timer of requests was given back',
                volume.sysfs('queue/io_timeout') == '30000',
                volume.sysfs('queue/io_timeout'))
    stage.wait_until('the agent has forgotten it',
                     lambda: not mapped.agent.volume(volume.id), 30)
