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
"""Plans that once broke a law, kept as data.

A seed means what the planner of the day makes of it; a frozen plan stays
what it is. Each one is named for what it found (see bugs-found in the
docs), and is played in ``make sim``.
"""

import pathlib

from os_brick_healer.tests.simulation import plan as plan_lib

WHERE = pathlib.Path(__file__).parent / 'regressions'


def names() -> list[str]:
    """All of them."""
    return sorted(p.stem for p in WHERE.glob('*.json'))


def read(name: str) -> plan_lib.Plan:
    """One of them."""
    return plan_lib.load((WHERE / f'{name}.json').read_text())


def write(name: str, plan: plan_lib.Plan) -> None:
    """Keep a plan."""
    WHERE.mkdir(exist_ok=True)
    (WHERE / f'{name}.json').write_text(plan_lib.dump(plan))
