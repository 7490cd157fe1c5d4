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
"""Stock os-brick without us: the peer that our figures stand beside."""

from bed.guest import host
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World

STUCK_S = 20.0


@scenario(name='stock-os-brick-hangs', item='peer', timeout_s=120,
          healer=False)
def stock_hangs(stage: Stage) -> None:
    """Alone, os-brick leaves the guest stuck when a leg closes."""
    world = World.build(stage, backends=2)
    attachment = world.attach(size_mib=64)
    writer = world.write_to(attachment)
    stage.note('closing a leg')
    world.array.cut(attachment.volume.legs[0], Cut.CLOSED)
    stage.wait_until(f'an I/O has been stuck for {STUCK_S:g} s',
                     lambda: writer.stall_now_s() >= STUCK_S, 40, 0.5)
    stage.check('MD has not noticed anything',
                all('in_sync' in state
                    for state in host.legs(attachment.md).values()),
                host.legs(attachment.md))
    stage.stalled(writer.worst_stall_s)
    stage.figure('stuck_s', writer.stall_now_s())
    stage.note('mending it')
    world.array.mend(attachment.volume.legs[0])
    stage.wait_until('the guest goes on', lambda: writer.flowing(0.5), 30)
    report = world.prove_data(attachment, writer)
    stage.figure('worst_stall_s', report.worst_stall_s)
