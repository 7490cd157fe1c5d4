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
"""What goes wrong in a run, and when: made from a seed, biased to nasty."""

import dataclasses
import random
from typing import Any

from os_brick_healer.tests.simulation import world as world_lib

#: Each kind of fault and how often it is drawn.
KINDS = {
    'leg': 10, 'flap': 2, 'backend': 4, 'all_legs': 4, 'host': 2,
    'dead': 5, 'kill': 8, 'kill_in': 8, 'rack': 2,
    'freeze': 2, 'storm': 4,
    'down': 3, 'slow': 2, 'nonsense': 2, 'omit': 2, 'forget': 2,
    'lag': 2, 'lose': 4, 'refuse': 2, 'arrives': 3,
    'two_hosts': 2, 'detach': 3, 'extend': 2, 'hold': 3, 'kill_nova': 1,
    'hang': 2, 'fail': 4, 'commands_slow': 2, 'udev': 2, 'events': 1,
    'wall': 2, 'full': 2, 'torn': 1, 'failfast': 2,
    'unreadable': 1,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong."""

    at_s: float
    kind: str
    args: tuple[tuple[str, Any], ...] = ()

    def arg(self, name: str) -> Any:
        return dict(self.args)[name]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run from beginning to end; the same plan, the same run."""

    seed: str
    setup: world_lib.Setup
    faults: tuple[Fault, ...]
    safety_s: float


def make(seed: str) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f'{seed}/plan')
    setup = _setup(rng)
    faults: list[Fault] = []
    at_s = 5.0
    for _ in range(rng.randint(6, 30)):
        at_s += rng.choice((0.0, 0.5, 3.0, 10.0, 40.0, 40.0, 200.0, 1500.0)
                           ) * rng.random()
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        faults += _some(rng, setup, kind, at_s)
    faults.sort(key=lambda f: f.at_s)
    return Plan(seed=seed, setup=setup, faults=tuple(faults),
                safety_s=at_s + 30.0)


def _setup(rng: random.Random) -> world_lib.Setup:
    legs = rng.choice((2, 2, 2, 3))
    return world_lib.Setup(
        volumes=rng.choice((1, 1, 2, 4)), legs=legs,
        backends=rng.choice((legs + 1, 4, 6)), shared=rng.random() < 0.25,
        portals=rng.choice((1, 1, 2)),
        grace_s=rng.choice((5.0, 20.0, 20.0, 60.0)),
        poll_s=rng.choice((0.25, 0.5, 1.0)),
        interval_s=rng.choice((2.0, 5.0, 10.0)),
        heals_max=rng.choice((1, 2, 4)), keep_alive_s=rng.choice((1, 4, 4)),
        foreign=rng.random() < 0.5)


def _some(rng: random.Random, setup: world_lib.Setup, kind: str,
          at_s: float) -> list[Fault]:
    """One fault; a storm is several at once."""
    if kind == 'storm':
        found = []
        for _ in range(rng.randint(2, 5)):
            one = rng.choice(('leg', 'kill', 'lose', 'fail', 'detach',
                              'dead', 'down', 'leg', 'hold', 'hang'))
            found += _some(rng, setup, one, at_s + rng.random())
        return found
    args = {
        'volume': rng.randrange(setup.volumes),
        'leg': rng.randrange(setup.legs),
        'backend': rng.randrange(setup.backends),
        'how': rng.choice(('closed', 'silent')),
        'last_s': rng.choice((0.5, 2.0, 8.0, 25.0, 60.0, 120.0))
        * (0.5 + rng.random()),
        'count': rng.choice((0, 0, 1, 2, 4, 8, 16)),
        'pick': rng.random(),
    }
    return [Fault(at_s=at_s, kind=kind, args=tuple(sorted(args.items())))]
