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
"""What is to go wrong in a run: made from a seed, and only data.

A seed is ``FAMILY/NUMBER``, or anything else for the family that mixes all.
A family is a kind of nastiness: which faults, how often, in which world. A
plan can be written as JSON, so that one that failed outlives the planner
that made it.
"""

import dataclasses
import random
from typing import Any, TypeAlias

from os_brick_healer.tests.simulation import families, plans
from os_brick_healer.tests.simulation import world as world_lib

Fault = plans.Fault
Plan: TypeAlias = plans.Plan[world_lib.Setup]
dump = plans.dump


def make(seed: str) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f'{seed}/plan')
    family = families.of(seed)
    setup = dataclasses.replace(_setup(rng), **{
        name: rng.choice(values) for name, values in family.setup.items()})

    def args() -> dict[str, Any]:
        return {
            'volume': rng.randrange(setup.volumes),
            'leg': rng.randrange(setup.legs),
            'backend': rng.randrange(setup.backends),
            'how': rng.choice(('closed', 'silent')),
            'last_s': rng.choice(family.last_s) * (0.5 + rng.random()),
            'count': rng.choice((0, 0, 1, 2, 4, 8, 16)),
            'pick': rng.random()}

    faults, last_s = plans.Drawing(
        rng=rng, family=family, args=args, storm=families.STORM,
        dramas=families.DRAMAS, volumes=setup.volumes).faults(5.0)
    return plans.Plan(seed=seed, setup=setup, faults=faults,
                      safety_s=last_s + 30.0)


def _setup(rng: random.Random) -> world_lib.Setup:
    legs = rng.choice((2, 2, 2, 3))
    return world_lib.Setup(
        volumes=rng.choice((1, 1, 2, 4)), legs=legs,
        backends=rng.choice((legs + 1, 4, 6)), shared=rng.random() < 0.25,
        portals=rng.choice((1, 1, 2)),
        grace_s=rng.choice((5.0, 20.0, 20.0, 60.0)),
        poll_s=rng.choice((0.5, 1.0, 1.0)),
        interval_s=rng.choice((2.0, 5.0, 10.0)),
        heals_max=rng.choice((1, 2, 4)), keep_alive_s=rng.choice((1, 4, 4)),
        foreign=rng.random() < 0.5, operator_s=rng.choice((0.0, 0.0, 900.0)))


def load(text: str) -> Plan:
    """The plan that :func:`dump` wrote.

    :raises ValueError: it is none.
    """
    return plans.load(text, world_lib.Setup)
