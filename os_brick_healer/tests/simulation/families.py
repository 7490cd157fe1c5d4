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
"""Families of plans: kinds of nastiness, each with its faults and its world.

One that mixes everything reaches a lot, but seldom what needs three faults
in a row at the right moments. Each family leans towards one room of the
agent; a bug that is seeded there is to be caught by it.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

#: Each kind of fault and how often it is drawn where nothing else is said.
KINDS = {
    'leg': 10, 'flap': 2, 'backend': 4, 'all_legs': 4, 'host': 2,
    'dead': 5, 'kill': 8, 'kill_in': 8, 'rack': 2,
    'freeze': 2, 'storm': 4, 'source': 3, 'returns': 4,
    'down': 3, 'slow': 2, 'nonsense': 2, 'omit': 2, 'forget': 2,
    'lag': 2, 'lose': 4, 'refuse': 2, 'arrives': 3, 'late': 3,
    'two_hosts': 2, 'detach': 3, 'extend': 2, 'hold': 3, 'kill_nova': 1,
    'hang': 2, 'fail': 4, 'commands_slow': 2, 'udev': 2, 'events': 1,
    'wall': 2, 'full': 2, 'torn': 1, 'failfast': 2,
    'unreadable': 1, 'double': 1, 'blind': 1, 'second_thought': 1,
    'no_room': 1, 'deaf': 1, 'twins': 1, 'queue': 1, 'half_back': 1,
    'unread': 1, 'unsent': 1, 'copied': 1,
}
#: What a storm is made of.
STORM = ('leg', 'kill', 'lose', 'fail', 'detach', 'dead', 'down', 'leg',
         'hold', 'hang')
#: Several faults of one volume, each within so many seconds.
DRAMAS: dict[str, tuple[tuple[str, float], ...]] = {
    # A loss that nobody hears of, and a copy back that hangs.
    'half_back': (('refuse', 0.0), ('long_source', 0.0), ('blip', 1.0)),
    # A leg goes while nobody can look.
    'unread': (('long_unreadable', 0.0), ('lost_leg', 5.0)),
    # One request is not sent, the next one is.
    'unsent': (('dead', 0.0), ('kill_before_request', 0.0), ('dead', 20.0)),
    # All legs go while nobody looks.
    'blind': (('freeze', 0.0), ('all_legs', 1.0)),
    # The request is heard, its answer is not, and its replica comes late.
    'second_thought': (('late', 0.0), ('lose_request', 0.0), ('dead', 1.0)),
    # A request that cannot be written down, and a death right after it.
    'no_room': (('late', 0.0), ('full', 0.0), ('dead', 2.0),
                ('kill_at_request', 0.0)),
    # A leg comes back long after the provisioner was heard last.
    'deaf': (('long_down', 0.0), ('two_minutes_leg', 10.0)),
    # Another host has the volume, and a leg fails here.
    'twins': (('long_two_hosts', 0.0), ('long_leg', 30.0), ('leg', 120.0)),
    # A leg dies with the host.
    'power': (('dead', 0.0), ('reboot', 5.0)),
    # A leg goes while os-brick is busy with another volume.
    'queue': (('long_hold', 0.0), ('long_leg', 5.0)),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of plan.

    :ivar kinds: faults and their weights.
    :ivar setup: values to choose from, instead of the usual ones.
    :ivar faults: how many are drawn, at least and at most.
    :ivar gaps_s: between two faults there is a share of one of these.
    :ivar last_s: a fault lasts for 0.5 to 1.5 times one of these.
    """

    kinds: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: KINDS)
    setup: Mapping[str, tuple[Any, ...]] = dataclasses.field(
        default_factory=dict)
    faults: tuple[int, int] = (6, 30)
    gaps_s: tuple[float, ...] = (
        0.0, 0.5, 3.0, 10.0, 40.0, 40.0, 200.0, 1500.0)
    last_s: tuple[float, ...] = (0.5, 2.0, 8.0, 25.0, 60.0, 120.0)


MIXED = Family()
FAMILIES = {
    'mixed': MIXED,
    # Months of a compute host: trouble each few days, and peace between.
    # What only a person can mend is left out: nobody comes for months.
    'cloud': Family(
        kinds={kind: often for kind, often in KINDS.items()
               if kind not in ('arrives', 'torn')},
        setup={'volumes': (10,), 'backends': (6, 8), 'shared': (False,),
               'poll_s': (0.25,), 'interval_s': (5.0,), 'grace_s': (60.0,),
               'keep_alive_s': (4,)},
        faults=(20, 30),
        gaps_s=(1.0, 30.0, *(n * 86400.0 for n in (4, 7, 14, 21)))),
    # Hundreds of faults within minutes: nothing is ever done in peace.
    'storms': Family(
        kinds={'leg': 10, 'flap': 3, 'backend': 4, 'all_legs': 3, 'host': 1,
               'rack': 1, 'kill': 3, 'kill_in': 3, 'freeze': 1, 'dead': 1,
               'down': 2, 'slow': 1, 'nonsense': 2, 'omit': 2, 'lag': 2,
               'lose': 5, 'refuse': 5, 'detach': 3, 'extend': 2, 'hold': 2,
               'fail': 6, 'commands_slow': 2, 'hang': 1, 'udev': 2,
               'unreadable': 2, 'full': 1, 'wall': 2, 'copied': 3},
        setup={'volumes': (2, 4), 'grace_s': (5.0, 20.0)},
        faults=(250, 400), gaps_s=(0.0, 0.5, 0.5, 2.0),
        last_s=(0.5, 2.0, 8.0)),
    # Requests: deaths of legs, of the agent, of answers.
    'requests': Family(
        kinds={'dead': 6, 'leg': 4, 'kill_in': 4, 'kill_at_request': 8,
               'lose': 3, 'lose_request': 4, 'late': 6, 'kill': 3,
               'full': 2, 'refuse': 2, 'no_room': 8, 'second_thought': 4,
               'omit': 2, 'forget': 1, 'torn': 1, 'unsent': 4},
        setup={'shared': (False,), 'grace_s': (5.0, 8.0), 'volumes': (1, 2),
               'interval_s': (2.0, 5.0), 'backends': (4, 6)},
        gaps_s=(0.5, 3.0, 20.0, 60.0, 150.0)),
    # Racks, back ends and the host's own network.
    'racks': Family(
        kinds={'rack': 12, 'host': 2, 'backend': 6, 'kill': 3, 'leg': 2,
               'freeze': 1, 'down': 1, 'slow': 1},
        setup={'volumes': (4, 6), 'backends': (4, 5), 'shared': (False,),
               'grace_s': (5.0, 20.0), 'portals': (1,)},
        gaps_s=(0.5, 40.0, 200.0, 400.0), last_s=(8.0, 60.0, 120.0)),
    # The agent is killed again and again while back ends are lost.
    'restarts': Family(
        kinds={'rack': 10, 'backend': 3, 'kill': 12, 'kill_in': 2, 'leg': 2,
               'full': 1, 'dead': 2, 'returns': 2},
        setup={'volumes': (2, 4, 6), 'backends': (4, 5), 'portals': (1,),
               'shared': (False,), 'grace_s': (5.0, 20.0)},
        gaps_s=(0.5, 3.0, 10.0, 40.0, 100.0), last_s=(25.0, 60.0, 120.0)),
    # The host is rebooted in the middle of everything.
    'reboots': Family(
        kinds={'reboot': 6, 'power': 8, 'leg': 8, 'dead': 5, 'kill': 2,
               'kill_in': 2, 'lose': 2, 'late': 3, 'all_legs': 3, 'detach': 2,
               'extend': 1, 'returns': 3, 'full': 1, 'source': 2,
               'refuse': 1, 'two_hosts': 1},
        setup={'grace_s': (5.0, 20.0), 'volumes': (1, 2),
               'uptime_s': (1e6,)},
        gaps_s=(0.5, 3.0, 20.0, 60.0, 150.0)),
    # All legs of a volume at once or nearly so, and copies that lose their
    # source: whose data is the last?
    'last': Family(
        kinds={'all_legs': 6, 'leg': 4, 'backend': 3, 'blind': 8,
               'source': 8, 'freeze': 2, 'kill': 3, 'host': 1, 'flap': 1,
               'failfast': 4, 'commands_slow': 1, 'hang': 1, 'dead': 1,
               'half_back': 6},
        setup={'volumes': (1, 2, 4), 'grace_s': (20.0, 60.0),
               'keep_alive_s': (4, 10, 20)},
        gaps_s=(0.5, 3.0, 20.0, 60.0, 200.0)),
    # Replicas that arrive: late, unfit, or after the lost leg is back.
    'arrivals': Family(
        kinds={'arrives': 10, 'returns': 8, 'dead': 4, 'double': 6,
               'late': 4, 'lose': 1, 'kill': 2, 'leg': 2, 'fail': 2,
               'extend': 1, 'omit': 1},
        setup={'grace_s': (5.0, 20.0), 'legs': (2, 3), 'shared': (False,),
               'volumes': (1, 2), 'backends': (4, 6),
               'operator_s': (900.0,)},
        gaps_s=(0.5, 20.0, 100.0, 300.0), last_s=(25.0, 60.0)),
    # Replicas that arrive when nobody waits for them any more.
    'tardy': Family(
        kinds={'very_late': 8, 'returns': 8, 'dead': 3, 'leg': 4, 'kill': 2,
               'lose_request': 1, 'kill_in': 1, 'omit': 1, 'copied': 6},
        setup={'grace_s': (5.0, 20.0), 'legs': (2, 3), 'shared': (False,),
               'volumes': (1, 2), 'backends': (4, 6),
               'operator_s': (900.0,)},
        gaps_s=(0.5, 20.0, 100.0, 300.0, 600.0), last_s=(25.0, 60.0)),
    # nova is at work all the time.
    'nova': Family(
        kinds={'detach': 8, 'extend': 5, 'hold': 6, 'kill_nova': 2,
               'leg': 12, 'flap': 2, 'dead': 2, 'commands_slow': 2,
               'kill': 2, 'hang': 1, 'long_hold': 1, 'queue': 4},
        setup={'volumes': (2, 4), 'grace_s': (5.0, 20.0)},
        gaps_s=(0.5, 1.0, 5.0, 30.0), last_s=(0.5, 2.0, 8.0, 25.0)),
    # Nobody knows what is true.
    'truth': Family(
        kinds={'down': 6, 'nonsense': 4, 'omit': 4, 'forget': 4, 'lag': 4,
               'two_hosts': 6, 'slow': 2, 'leg': 10, 'dead': 3, 'kill': 2,
               'refuse': 3, 'lose': 3, 'flap': 1, 'deaf': 9, 'twins': 9},
        setup={'grace_s': (5.0, 20.0), 'volumes': (1, 2)},
        gaps_s=(0.5, 3.0, 20.0, 60.0),
        last_s=(0.5, 8.0, 25.0, 120.0, 300.0)),
    # The host itself: commands, clocks, disks, udev, files.
    'host': Family(
        kinds={'hang': 4, 'fail': 6, 'commands_slow': 3, 'udev': 3,
               'events': 2, 'wall': 3, 'full': 3, 'torn': 2,
               'unreadable': 4, 'kill': 4, 'freeze': 2, 'leg': 10,
               'dead': 3, 'flap': 2, 'unread': 5},
        setup={'grace_s': (5.0, 20.0)},
        gaps_s=(0.5, 3.0, 20.0, 60.0)),
    # One subsystem a back end, many namespaces in it.
    'shared': Family(
        kinds={'leg': 8, 'backend': 6, 'dead': 8, 'all_legs': 3,
               'detach': 4, 'kill': 3, 'rack': 2, 'flap': 1, 'source': 2},
        setup={'shared': (True,), 'volumes': (4, 10), 'legs': (2,),
               'backends': (3, 4), 'grace_s': (5.0, 20.0)},
        gaps_s=(0.5, 20.0, 60.0, 200.0)),
    # The KumoScale plugin itself, and all that can happen to its requests.
    'http': Family(
        kinds={'mishap': 10, 'mishaps': 4, 'aimed': 14, 'wire_down': 4,
               'denied': 3, 'renewed': 3, 'one_dead': 6, 'two_minds': 4,
               'dead': 10, 'leg': 6, 'kill': 2, 'kill_in': 4,
               'kill_at_request': 4, 'returns': 2, 'slow': 2, 'lag': 2,
               'nonsense': 2, 'omit': 2, 'forget': 2, 'lose': 3,
               'refuse': 2, 'twins': 3, 'detach': 2},
        setup={'http': ('target-name', 'everybody', 'silent', 'name'),
               'grace_s': (5.0, 8.0, 20.0), 'volumes': (1, 2),
               'legs': (2, 2, 3), 'backends': (6, 8), 'shared': (False,),
               'interval_s': (5.0, 10.0)},
        gaps_s=(0.5, 3.0, 20.0, 60.0, 100.0)),
}


def of(seed: str) -> Family:
    """The family of a seed."""
    name, slash, _number = seed.partition('/')
    return FAMILIES.get(name, MIXED) if slash else MIXED
