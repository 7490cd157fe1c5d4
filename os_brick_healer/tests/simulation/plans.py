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
"""What all plans have in common: faults drawn from a seed, and only data.

Which faults there are, whom they hit and in which world is said by each kind
of simulation for itself.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import dataclasses
import json
import random
from typing import Any, Generic, Protocol, TypeVar

S = TypeVar('S')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong."""

    at_s: float
    kind: str
    args: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def arg(self, name: str) -> Any:
        return self.args[name]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[S]):
    """A run from beginning to end; the same plan, the same run."""

    seed: str
    setup: S
    faults: tuple[Fault, ...]
    safety_s: float


class Family(Protocol):
    """A kind of plan, as far as its faults are drawn."""

    @property
    def kinds(self) -> Mapping[str, int]: ...

    @property
    def faults(self) -> tuple[int, int]: ...

    @property
    def gaps_s(self) -> tuple[float, ...]: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How the faults of a plan are drawn.

    :ivar args: whom a fault hits and how, drawn for each of them.
    :ivar storm: kinds of faults that come several at once.
    :ivar dramas: parts of faults that belong together, and when, seconds.
    :ivar volumes: how many there are: a drama is one volume's.
    """

    rng: random.Random
    family: Family
    args: Callable[[], dict[str, Any]]
    storm: Sequence[str]
    dramas: Mapping[str, Collection[tuple[str, float]]]
    volumes: int

    def faults(self, at_s: float) -> tuple[tuple[Fault, ...], float]:
        """All of them, from a moment on; and when the last one was drawn."""
        found: list[Fault] = []
        rng, family = self.rng, self.family
        for _ in range(rng.randint(*family.faults)):
            at_s += rng.choice(family.gaps_s) * rng.random()
            kind = rng.choices(list(family.kinds),
                               list(family.kinds.values()))[0]
            found += self._some(kind, at_s)
        found.sort(key=lambda f: f.at_s)
        return tuple(found), at_s

    def _some(self, kind: str, at_s: float) -> list[Fault]:
        """One fault; a storm or a drama is several."""
        rng = self.rng
        if kind == 'storm':
            return [one for _ in range(rng.randint(2, 5))
                    for one in self._some(rng.choice(self.storm),
                                          at_s + rng.random())]
        if kind in self.dramas:
            volume = rng.randrange(self.volumes)
            return [
                dataclasses.replace(one, args={**one.args, 'volume': volume})
                for part, after_s in self.dramas[kind]
                for one in self._some(part, at_s + after_s * rng.random())]
        return [Fault(at_s=at_s, kind=kind, args=self.args())]


# As data ----------

def dump(plan: Plan[Any]) -> str:
    """A plan as JSON, one fault a line."""
    faults = ',\n'.join('  ' + json.dumps(
        {'at_s': f.at_s, 'kind': f.kind, **f.args}) for f in plan.faults)
    return (f'{{"seed": {json.dumps(plan.seed)},\n'
            f' "safety_s": {plan.safety_s},\n'
            f' "setup": {json.dumps(dataclasses.asdict(plan.setup))},\n'
            f' "faults": [\n{faults}]}}\n')


def load(text: str, setup: Callable[..., S]) -> Plan[S]:
    """The plan that :func:`dump` wrote.

    :param setup: makes the world of it, from plain values.
    :raises ValueError: it is none.
    """
    try:
        told = json.loads(text)
        return Plan(
            seed=told['seed'], safety_s=told['safety_s'],
            setup=setup(**told['setup']),
            faults=tuple(Fault(
                at_s=one.pop('at_s'), kind=one.pop('kind'), args=one)
                for one in told['faults']))
    except (AttributeError, KeyError, TypeError) as e:
        raise ValueError(f'not a plan: {e!r}') from e
