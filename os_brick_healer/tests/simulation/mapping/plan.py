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

from collections.abc import Mapping
import dataclasses
import json
import random
from typing import Any

from os_brick_healer.tests.simulation.mapping import families
from os_brick_healer.tests.simulation.mapping import world as world_lib

#: After the last fault, before all that lasts is mended.
QUIET_S = 100.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong."""

    at_s: float
    kind: str
    args: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def arg(self, name: str) -> Any:
        return self.args[name]


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
    family = families.of(seed)
    setup = dataclasses.replace(_setup(rng), **{
        name: rng.choice(values) for name, values in family.setup.items()})
    faults: list[Fault] = []
    at_s = 8.0
    for _ in range(rng.randint(*family.faults)):
        at_s += rng.choice(family.gaps_s) * rng.random()
        kind = rng.choices(list(family.kinds),
                           list(family.kinds.values()))[0]
        faults += _some(rng, setup, family, kind, at_s)
    faults.sort(key=lambda f: f.at_s)
    return Plan(seed=seed, setup=setup, faults=tuple(faults),
                safety_s=at_s + QUIET_S)


def _setup(rng: random.Random) -> world_lib.Setup:
    return world_lib.Setup(
        volumes=rng.choice((1, 2, 2, 4)),
        kinds=rng.choice((('rbd',), ('file',), ('rbd', 'file'))),
        exclusive=rng.random() < 0.3, heals_max=rng.choice((1, 2, 8)),
        attach_s=rng.choice((8.0, 15.0)))


def _some(rng: random.Random, setup: world_lib.Setup,
          family: families.Family, kind: str, at_s: float) -> list[Fault]:
    """One fault; a storm or a drama is several."""
    if kind == 'storm':
        return [one for _ in range(rng.randint(2, 5)) for one in _some(
            rng, setup, family, rng.choice(families.STORM),
            at_s + rng.random())]
    if kind in families.DRAMAS:
        volume = rng.randrange(setup.volumes)
        return [
            dataclasses.replace(one, args={**one.args, 'volume': volume})
            for part, after_s in families.DRAMAS[kind]
            for one in _some(rng, setup, family, part,
                             at_s + after_s * rng.random())]
    return [Fault(at_s=at_s, kind=kind, args={
        'volume': rng.randrange(setup.volumes),
        'last_s': rng.choice(family.last_s) * (0.5 + rng.random()),
        'count': rng.choice((0, 0, 1, 2, 4, 8, 16)),
        'pick': rng.random(),
    })]


# As data ----------

def dump(plan: Plan) -> str:
    """A plan as JSON, one fault a line."""
    faults = ',\n'.join('  ' + json.dumps(
        {'at_s': f.at_s, 'kind': f.kind, **f.args}) for f in plan.faults)
    return (f'{{"seed": {json.dumps(plan.seed)},\n'
            f' "safety_s": {plan.safety_s},\n'
            f' "setup": {json.dumps(dataclasses.asdict(plan.setup))},\n'
            f' "faults": [\n{faults}]}}\n')


def load(text: str) -> Plan:
    """The plan that :func:`dump` wrote.

    :raises ValueError: it is none.
    """
    try:
        told = json.loads(text)
        setup = {**told['setup'], 'kinds': tuple(told['setup']['kinds'])}
        return Plan(
            seed=told['seed'], safety_s=told['safety_s'],
            setup=world_lib.Setup(**setup),
            faults=tuple(Fault(
                at_s=one.pop('at_s'), kind=one.pop('kind'), args=one)
                for one in told['faults']))
    except (AttributeError, KeyError, TypeError) as e:
        raise ValueError(f'not a plan: {e!r}') from e
