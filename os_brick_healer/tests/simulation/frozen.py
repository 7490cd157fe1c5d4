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
"""Plans kept as data: those that once broke a law, and a few by hand.

A seed means what the planner of the day makes of it; a frozen plan stays
what it is. Each one has the name of the seeded bug that it catches, and is
played in ``make sim``: with the bug a law breaks, without it none.
"""

import pathlib

from os_brick_healer.tests.simulation import plan as plan_lib

WHERE = pathlib.Path(__file__).parent / 'regressions'


def names() -> list[str]:
    """All of them."""
    return sorted(p.stem for p in WHERE.glob('*.json'))


def read(name: str, where: pathlib.Path = WHERE) -> plan_lib.Plan:
    """One of them."""
    return plan_lib.load((where / f'{name}.json').read_text())


def write(name: str, plan: plan_lib.Plan,
          where: pathlib.Path = WHERE) -> None:
    """Keep a plan."""
    where.mkdir(exist_ok=True)
    (where / f'{name}.json').write_text(plan_lib.dump(plan))
