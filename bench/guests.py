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
"""The figures of the bed's scenarios, as lines of build/bench.json."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.figures import Figure, Value

ALONE = 'os-brick alone'
POLLER = 'mdadm --fail by a 30 s poller'
#: Seconds, by profile and way of loss.
STALLS = {('default', 'closed'): 1.5, ('default', 'silent'): 6.0,
          ('fast', 'closed'): 0.6, ('fast', 'silent'): 3.5}
#: Seconds, by way of death of an RBD image's process.
RBD_STALLS = {'killed': 1.3, 'locked_killed': 1.8, 'terminated': 1.3,
              'hanging': 8.0}
CSI = "ceph-csi's attach, at once"
BARE = 'the same attach by hand, at once'


def figures(told: Mapping[str, Value]) -> Iterator[Figure]:
    """From the figures of all benchmark scenarios, by their names."""
    for (profile, how), goal in STALLS.items():
        stall = f'stall_{profile}_{how}'
        yield from _one(told, f'{stall}_median_s', goal, ALONE,
                        f'stall_os_brick_{how}_s')
        yield from _one(told, f'{stall}_worst_s', goal, POLLER,
                        f'stall_poller_{how}_s')
        yield from _one(told, f'md_event_to_action_{profile}_{how}_median_s',
                        0.1)
    for way, goal in RBD_STALLS.items():
        yield from _one(told, f'rbd_stall_{way}_median_s', goal, BARE,
                        f'rbd_stall_{way}_bare_s')
        yield from _one(told, f'rbd_stall_{way}_worst_s', goal, CSI,
                        f'rbd_stall_{way}_csi_s')
    for verb in ('lock_ls', 'lock_ls_own_settings', 'lock_rm'):
        yield from _one(told, f'rbd_tool_{verb}_median_s', None,
                        'rbd --version', 'rbd_tool_version_median_s')
    yield from _one(told, 'published_to_resync_median_s', 2.0)
    yield from _one(told, 'loss_to_resync_grace_1_s_median_s', None)
    yield from _one(told, 'connect_volume_added_median_s', 0.05,
                    "os-brick's connector alone, the whole call",
                    'connect_volume_stock_median_s',
                    name='connect_volume_added_in_guest')


def _one(told: Mapping[str, Any], key: str, goal: float | None,
         peer: str | None = None, peer_key: str | None = None, *,
         name: str | None = None) -> Iterator[Figure]:
    if key not in told:
        return
    peer_value = None if peer_key is None else told.get(peer_key)
    yield Figure(
        name=name or key.removesuffix('_s'), value=told[key], unit='guest s',
        goal=goal, peer=None if peer_value is None else peer,
        peer_value=peer_value)
