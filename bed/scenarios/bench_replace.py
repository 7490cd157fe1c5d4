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
"""From a replacement that is published to its resync."""

import functools
import pathlib
import select
import statistics
import threading

from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.provisioner import Volume
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut
from bed.guest.world import World
from bed.scenarios.bench_stall import log_as_operators_do

HEALS = 5


class ResyncWatch:
    """Notes when an array begins to recover: md notifies sync_action.

    That reads "recover" for a moment after a loss, too; then no member is a
    spare.
    """

    def __init__(self, md: str) -> None:
        self.begun_s: float | None = None
        self._md = md
        self._path = pathlib.Path(f'/sys/block/{md}/md/sync_action')
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def begun(self) -> bool:
        return self.begun_s is not None

    def _run(self) -> None:
        poll = select.poll()
        with self._path.open('rb', buffering=0) as file:
            poll.register(file, select.POLLPRI | select.POLLERR)
            while self.begun_s is None:
                file.seek(0)
                if file.read().strip() == b'recover' and any(
                        'spare' in state
                        for state in host.legs(self._md).values()):
                    self.begun_s = Stage.now_s()
                poll.poll(20)


def _gone(volume: Volume, leg: str) -> bool:
    return leg not in volume.legs


@scenario(name='bench-replace', item='bench', timeout_s=600)
def replace(stage: Stage) -> None:
    """Legs are replaced one after another: how soon each is filled."""
    world = World.build(stage, backends=4)
    # The answers to publish are what is measured from, so its own pace
    # must not be what is measured: the interval is the default.
    agent = Agent.configure(world, grace_period='1',
                            provisioner_interval='10',
                            replacements_per_hour_max='1000',
                            flap_losses_max='32', flap_window='1')
    log_as_operators_do()
    agent.start()
    attachment = world.attach(size_mib=96)
    volume, md = attachment.volume, attachment.md
    stage.wait_until('the agent finds all legs in sync',
                     lambda: agent.phase(volume.id) == 'healthy', 60)
    writer = world.write_to(attachment)
    after_publish, after_loss = [], []
    for _ in range(int(stage.params.get('heals', HEALS))):
        lost = volume.legs[0]
        watch = ResyncWatch(md)
        world.kumoscale.forget_requests()
        cut_s = stage.now_s()
        world.array.cut(lost, Cut.CLOSED)
        stage.wait_until('the resync begins',
                         watch.begun, 120, 0.05)
        assert watch.begun_s is not None
        published = [r.at_s for r in world.kumoscale.requests_of('publish')
                     if r.at_s < watch.begun_s]
        stage.check('the replacement was published', published)
        after_publish.append(watch.begun_s - published[0])
        after_loss.append(watch.begun_s - cut_s)
        stage.note(f'{after_publish[-1]:.2f} s after publish, '
                   f'{after_loss[-1]:.2f} s after the loss')
        stage.wait_until('the array is whole again',
                         lambda: host.is_whole(md), 120)
        stage.wait_until('the lost replica is gone',
                         functools.partial(_gone, volume, lost), 60)
        stage.wait_until('the agent says that all is well',
                         lambda: agent.phase(volume.id) == 'healthy', 60)
    stage.stalled(writer.worst_stall_s)
    stage.figure('published_to_resync_median_s',
                 statistics.median(after_publish))
    stage.figure('published_to_resync_all_s',
                 ' '.join(f'{one:.2f}' for one in sorted(after_publish)))
    stage.figure('loss_to_resync_grace_1_s_median_s',
                 statistics.median(after_loss))
    world.prove_data(attachment, writer)
