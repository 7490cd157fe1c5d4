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
"""What is to go wrong in a run with mapped volumes: only data.

A seed is ``mapping/NUMBER``, or ``mapping-FAMILY/NUMBER`` for a kind of
nastiness.
"""

import dataclasses
import random
from typing import Any, TypeAlias

from os_brick_healer.tests.simulation import plans
from os_brick_healer.tests.simulation.mapping import families
from os_brick_healer.tests.simulation.mapping import world as world_lib

#: After the last fault, before all that lasts is mended.
QUIET_S = 100.0

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
            'last_s': rng.choice(family.last_s) * (0.5 + rng.random()),
            'count': rng.choice((0, 0, 1, 2, 4, 8, 16)),
            'pick': rng.random()}

    faults, last_s = plans.Drawing(
        rng=rng, family=family, args=args, storm=families.STORM,
        dramas=families.DRAMAS, volumes=setup.volumes).faults(8.0)
    return plans.Plan(seed=seed, setup=setup, faults=faults,
                      safety_s=last_s + QUIET_S)


def _setup(rng: random.Random) -> world_lib.Setup:
    return world_lib.Setup(
        volumes=rng.choice((1, 2, 2, 4)),
        kinds=rng.choice((('rbd',), ('file',), ('rbd', 'file'))),
        exclusive=rng.random() < 0.3, heals_max=rng.choice((1, 2, 8)),
        attach_s=rng.choice((8.0, 15.0)))


def load(text: str) -> Plan:
    """The plan that :func:`dump` wrote.

    :raises ValueError: it is none.
    """
    def setup(**words: Any) -> world_lib.Setup:
        return world_lib.Setup(**{**words, 'kinds': tuple(words['kinds'])})

    return plans.load(text, setup)
