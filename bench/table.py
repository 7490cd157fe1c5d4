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
"""build/bench.json as the table of the contributor's guide.

``python -m bench.table > doc/source/contributor/benchmarks-table.inc``
"""

from collections.abc import Iterator, Mapping
import json
import sys
from typing import Any

from bench.figures import OUT

HEAD = ('.. list-table::', '   :header-rows: 1', '   :widths: 40 16 12 32',
        '', '   * - figure', '     - value', '     - goal', '     - peer')


def lines(told: list[Mapping[str, Any]]) -> Iterator[str]:
    """A row for each figure, in the order of their names."""
    yield from HEAD
    for one in told:
        goal = '-' if one['goal'] is None else f'{one["goal"]:g}'
        peer = '-' if one['peer'] is None else (
            f'{_text(one["peer_value"])}: {one["peer"]}')
        yield f'   * - ``{one["name"]}``'
        yield f'     - {_text(one["value"])} {one["unit"]}'
        yield f'     - {goal}{_missed(one)}'
        yield f'     - {peer}'


def _missed(one: Mapping[str, Any]) -> str:
    value, goal = one['value'], one['goal']
    met = goal is None or (isinstance(value, int | float) and value <= goal)
    return '' if met else ' **missed**'


def _text(value: object) -> str:
    return f'{value:.3g}' if isinstance(value, float) else str(value)


def main() -> int:
    """Print it."""
    for line in lines(json.loads(OUT.read_text())):
        print(line)
    return 0


if __name__ == '__main__':
    sys.exit(main())
