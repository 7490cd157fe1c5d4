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

"""Plain values of JSON, taken for what they should be or not at all. Pure.

What this agent wrote may come back from a damaged file, or from a release
that wrote something else. ValueError says so; it is not a defect.
"""

from collections.abc import Callable
import math
from typing import TypeVar

T = TypeVar('T')

#: No count that we keep comes near it.
COUNT_MAX = 1 << 62


def text(value: object) -> str:
    """:raises ValueError: it is no text."""
    if not isinstance(value, str):
        raise ValueError(f'{value!r:.80} is no text')
    return value


def count(value: object) -> int:
    """:raises ValueError: it is no whole number from 0 on."""
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
        raise ValueError(f'{value!r:.80} is no count')
    return value


def number(value: object) -> float:
    """:raises ValueError: it is no finite number."""
    if (not isinstance(value, int | float) or isinstance(value, bool)
            or not math.isfinite(value)):
        raise ValueError(f'{value!r:.80} is no number')
    return float(value)


def flag(value: object) -> bool:
    """:raises ValueError: it is neither true nor false."""
    if not isinstance(value, bool):
        raise ValueError(f'{value!r:.80} is neither true nor false')
    return value


def maybe(value: object, kind: Callable[[object], T]) -> T | None:
    """None, or a value of a kind."""
    return None if value is None else kind(value)


def each(value: object, kind: Callable[[object], T]) -> tuple[T, ...]:
    """:raises ValueError: it is no list, or something else is in it."""
    if not isinstance(value, list):
        raise ValueError(f'{value!r:.80} is no list')
    return tuple(map(kind, value))
