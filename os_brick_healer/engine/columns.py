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

"""Values of the journal's columns, whatever stands there. Pure.

SQLite holds any value in any column, and a damaged file may be sound for
SQLite: what a column says in its declaration has to be looked after here.
"""

from collections.abc import Mapping
import json
import math
from typing import Any


def text(value: object) -> str:
    """A text; what is none as something to show."""
    if isinstance(value, str):
        return value
    return '' if value is None else str(value)


def number(value: object) -> float:
    """A finite number; 0.0 for what is none."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return 0.0


def mapping(value: object) -> Mapping[str, Any]:
    """The JSON object that a text holds; empty for what holds none."""
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def one_line(value: str) -> str:
    """Text as a log and a terminal can hold it."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in value)


def readable(value: str) -> str:
    """Text that SQLite takes: no half of a surrogate pair.

    JSON can spell one, and UTF-8 cannot.
    """
    return value.encode('utf-8', 'backslashreplace').decode()
