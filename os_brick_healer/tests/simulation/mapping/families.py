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
"""Kinds of nastiness for mapped volumes."""

from collections.abc import Mapping
import dataclasses
from typing import Any

PREFIX = 'mapping'
#: Each kind of fault and how often it is drawn where nothing else is said.
KINDS = {
    'kill_server': 14, 'all_servers': 4, 'terminate': 3, 'stop': 5,
    'stuck': 4, 'blink': 3, 'cut': 4, 'slow': 4, 'monitors': 3, 'half': 3,
    'exits': 2, 'slow_start': 2, 'twice': 2, 'late': 1, 'overflow': 1,
    'gone': 1, 'grown': 1, 'shrunk': 1, 'taken': 1, 'timer': 2,
    'flush': 1, 'detach': 4, 'attach': 1, 'kill_nova': 2, 'kill': 6,
    'kill_in': 8, 'kill_at_start': 2, 'freeze': 2, 'full': 1, 'torn': 1,
    'wall': 1, 'pause': 2, 'fail': 3, 'hang': 2, 'calls_slow': 1,
    'storm': 4,
}
#: What a storm is made of.
STORM = ('kill_server', 'stop', 'cut', 'kill', 'kill_in', 'detach', 'half',
         'blink', 'slow', 'stuck', 'all_servers')
#: Stories of one volume: what happens, and within which time.
DRAMAS: Mapping[str, tuple[tuple[str, float], ...]] = {
    # A connection dies while nobody listens.
    'late_dead': (('late', 0.0), ('kill_server', 0.4)),
    'deaf_cut': (('kill', 0.0), ('cut', 0.3)),
    'lost_cut': (('overflow', 0.0), ('cut', 1.0)),
    # A heal has begun, and the agent does not see how it ends.
    'frozen_cut': (('kill_server', 0.0), ('freeze', 0.2), ('cut', 6.0)),
    # A read of ours is under way when that happens.
    'unheard_cut': (('slow', 0.0), ('kill', 0.3), ('overflow', 2.0),
                    ('cut', 2.0)),
    'monitors_restart': (('monitors', 0.0), ('all_servers', 0.5),
                         ('kill', 3.0)),
    'held_crash': (('kill_in', 0.0), ('kill_held', 0.1)),
    # It hangs for a moment while its storage is slow, too.
    'slow_blink': (('slow', 0.0), ('blink', 4.0)),
    'stopped_cut': (('stop', 0.0), ('cut', 0.4)),
    'hung_flush': (('flush', 0.0), ('stuck_long', 3.0)),
    'gone_dead': (('gone', 0.0), ('kill_server', 1.0)),
    'shrunk_dead': (('shrunk', 0.0), ('kill_server', 1.0)),
    'monitors_dead': (('monitors', 0.0), ('kill_server', 1.0)),
    'half_dead': (('half', 0.0), ('kill_server', 0.5)),
    'paused_dead': (('pause', 0.0), ('kill_server', 6.0)),
    'detach_dead': (('kill_server', 0.0), ('detach', 0.3)),
    'torn_detach': (('end_in_detach', 0.0), ('kill_server', 4.0)),
    'torn_attach': (('detach', 0.0), ('end_in_attach', 0.1)),
    # Root is at it still when who asked is killed.
    'hung_detach': (('hang', 0.0), ('detach', 0.1), ('kill_nova', 3.0)),
    'crash_in_heal': (('kill_at_start', 0.0), ('kill_server', 0.1)),
    'slow_dead': (('slow', 0.0), ('kill_server', 2.0)),
    'elsewhere_dead': (('elsewhere', 0.0), ('kill_server', 1.0)),
    'exits_dead': (('exits', 0.0), ('exits', 0.1), ('kill_server', 0.5)),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of plan; see ``simulation.families``."""

    kinds: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: KINDS)
    setup: Mapping[str, tuple[Any, ...]] = dataclasses.field(
        default_factory=dict)
    faults: tuple[int, int] = (6, 30)
    gaps_s: tuple[float, ...] = (0.0, 0.5, 3.0, 10.0, 40.0, 200.0)
    last_s: tuple[float, ...] = (0.5, 2.0, 8.0, 25.0, 60.0)


MIXED = Family()
FAMILIES = {
    '': MIXED,
    # Servers die, one or many at once, and their numbers are used again.
    'deaths': Family(
        kinds={'kill_server': 10, 'all_servers': 8, 'terminate': 4,
               'half_dead': 4, 'exits_dead': 3, 'slow_start': 2, 'kill': 3,
               'twice': 2, 'timer': 2, 'detach_dead': 2, 'fail': 1},
        setup={'volumes': (2, 4, 6)}, gaps_s=(0.5, 3.0, 20.0, 60.0)),
    # They live, and do not serve; or serve, and look as if they did not.
    'hangs': Family(
        kinds={'stop': 6, 'stuck': 6, 'blink': 6, 'slow': 6, 'cut': 4,
               'slow_blink': 6, 'hung_flush': 6, 'stopped_cut': 6,
               'slow_dead': 4,
               'overflow': 1, 'lost_cut': 3, 'kill': 2, 'calls_slow': 1},
        gaps_s=(0.5, 3.0, 20.0, 60.0), last_s=(0.5, 2.0, 8.0, 25.0)),
    # The kernel drops the death of a connection, of all that it has to tell.
    'unheard': Family(
        kinds={'unheard_cut': 16, 'lost_cut': 2, 'stop': 1,
               'stopped_cut': 2, 'kill_server': 1},
        gaps_s=(20.0, 120.0), last_s=(2.0, 8.0, 25.0)),
    # An agent that does not run while its heals end, and what comes then.
    'frozen': Family(
        kinds={'frozen_cut': 16, 'freeze': 2, 'kill_server': 2, 'cut': 1,
               'slow_dead': 1, 'stop': 1},
        gaps_s=(20.0, 120.0), last_s=(8.0, 25.0)),
    # An agent that finds servers which wait for their cluster, many at once.
    'queues': Family(
        kinds={'monitors_restart': 10, 'kill_in': 2, 'kill_server': 2,
               'stop': 1},
        setup={'kinds': (('rbd',),), 'heals_max': (1, 2),
               'volumes': (2, 4)},
        gaps_s=(20.0, 60.0), last_s=(8.0, 15.0, 25.0)),
    # Servers that die of what they are asked, again and again.
    'crashes': Family(
        kinds={'crash_loop': 8, 'kill_server': 2, 'kill': 1, 'kill_in': 1,
               'slow': 1, 'stop': 1},
        gaps_s=(3.0, 20.0, 90.0), last_s=(8.0, 25.0, 60.0)),
    # Servers that cannot close the device that they had open themselves.
    'held': Family(
        kinds={'kill_held': 10, 'held_crash': 4, 'kill_server': 3, 'slow': 2,
               'stop': 1, 'kill': 2, 'kill_in': 3, 'detach': 3, 'fail': 1,
               'hang': 1, 'monitors': 1},
        setup={'kinds': (('rbd',),), 'exclusive': (True, False)},
        gaps_s=(0.5, 3.0, 20.0, 60.0)),
    # The cluster: monitors, OSDs, locks, what becomes of images.
    'ceph': Family(
        kinds={'monitors': 4, 'monitors_dead': 6, 'slow': 3, 'slow_dead': 4,
               'gone_dead': 3, 'shrunk_dead': 4, 'grown': 2, 'gone': 1,
               'kill_server': 6, 'stop': 3, 'kill': 2, 'detach_dead': 1},
        setup={'exclusive': (True, True, False)},
        gaps_s=(0.5, 3.0, 20.0, 90.0), last_s=(2.0, 8.0, 25.0, 60.0)),
    # Who may write to an image: clients that died, and clients elsewhere.
    'locks': Family(
        kinds={'elsewhere_dead': 6, 'elsewhere': 2, 'kill_server': 6,
               'stop': 3, 'stuck': 2, 'slow': 2, 'monitors': 1, 'kill': 2,
               'detach': 1},
        setup={'exclusive': (True,), 'kinds': (('rbd',),)},
        gaps_s=(0.5, 3.0, 20.0, 60.0)),
    # nova maps and unmaps all the time.
    'nova': Family(
        kinds={'detach': 8, 'detach_dead': 6, 'torn_detach': 8,
               'torn_attach': 6, 'kill_nova': 2, 'kill_server': 6,
               'taken': 5, 'timer': 1, 'kill': 2, 'half': 2, 'hang': 1,
               'gone_dead': 2, 'stop': 2, 'paused_dead': 6, 'attach': 2},
        gaps_s=(0.5, 2.0, 10.0, 40.0), last_s=(0.5, 2.0, 8.0, 25.0)),
    # nova is killed while root disconnects for it, and comes back at once.
    'orphans': Family(
        kinds={'hung_detach': 10, 'torn_attach': 3, 'kill_server': 3,
               'kill': 1, 'attach': 1},
        gaps_s=(3.0, 20.0, 60.0), last_s=(0.5, 2.0, 8.0)),
    # The agent is killed again and again.
    'restarts': Family(
        kinds={'kill': 6, 'kill_in': 10, 'kill_at_start': 4,
               'crash_in_heal': 10, 'deaf_cut': 6, 'kill_server': 8,
               'stop': 2, 'cut': 2, 'freeze': 2, 'full': 2, 'torn': 2,
               'half': 2, 'detach': 1},
        gaps_s=(0.5, 3.0, 10.0, 40.0)),
    # The host itself.
    'host': Family(
        kinds={'fail': 5, 'hang': 4, 'calls_slow': 3, 'full': 3, 'torn': 1,
               'wall': 3, 'freeze': 3, 'late_dead': 5, 'overflow': 2,
               'kill': 2, 'kill_server': 10, 'stop': 3, 'cut': 3, 'timer': 4},
        gaps_s=(0.5, 3.0, 20.0, 60.0)),
}


def of(seed: str) -> Family:
    """The family of a seed."""
    name = seed.partition('/')[0].removeprefix(PREFIX).removeprefix('-')
    return FAMILIES.get(name, MIXED)


def seed_of(family: str, number: int | str) -> str:
    """A seed of a family ('' mixes all)."""
    return f'{PREFIX}-{family}/{number}' if family else f'{PREFIX}/{number}'
