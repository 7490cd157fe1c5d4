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
"""What a benchmark leaves: figures, each with its goal and its peer."""

from collections.abc import Iterable, Sequence
import dataclasses
import json
import os
import pathlib
import sys

Value = float | str

OUT = pathlib.Path('build/bench.json')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of build/bench.json.

    :ivar goal: what the value should not exceed, None when there is none.
    :ivar peer: what the value stands beside, measured in the same run.
    """

    name: str
    value: Value
    unit: str
    goal: float | None = None
    peer: str | None = None
    peer_value: Value | None = None

    def line(self) -> str:
        """For a terminal."""
        goal = '' if self.goal is None else f'  goal <= {self.goal:g}'
        peer = ('' if self.peer is None
                else f'  beside {self.peer}: {_text(self.peer_value)}')
        missed = '' if self.met() else '  MISSED'
        return (f'{self.name:<44} {_text(self.value):>10} {self.unit}'
                f'{goal}{missed}{peer}')

    def met(self) -> bool:
        """Whether the goal is met; True when there is none."""
        return self.goal is None or (isinstance(self.value, float | int)
                                     and self.value <= self.goal)


def _text(value: Value | None) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def keep(found: Sequence[Figure], path: pathlib.Path = OUT) -> None:
    """Merge into the file: a partial run loses no other figures."""
    try:
        known = {entry['name']: entry
                 for entry in json.loads(path.read_text())}
    except (OSError, ValueError):
        known = {}
    known |= {one.name: dataclasses.asdict(one) for one in found}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f'.partial-{os.getpid()}')
    partial.write_text(json.dumps(
        sorted(known.values(), key=lambda e: str(e['name'])),
        indent=2) + '\n')
    partial.replace(path)


def show(found: Iterable[Figure]) -> None:
    """Print them as they come."""
    for one in found:
        print(one.line())
    sys.stdout.flush()
