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
"""What a bug is that is to be seeded; see ``catalogue``."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """In a function (``module:name`` or ``module:Class.name``)."""

    where: str
    old: str
    new: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A bug, and the laws of which it must break one.

    :ivar setup: what the world must be like for it to show.
    :ivar family: of the plans that reach it (see ``families``).
    """

    name: str
    laws: tuple[str, ...]
    patches: tuple[Patch, ...]
    setup: tuple[tuple[str, Any], ...] = ()
    family: str = 'mixed'

#: The hands do not ask whether another volume's other legs answer.
NO_ANSWER_OF_OTHERS = ('replica.recheck:need_others', 'raise Refused(',
                       'return; Refused(')


def bug(name: str, laws: str, *patches: tuple[str, str, str],
        setup: dict[str, Any] | None = None,
        family: str = 'mixed') -> Bug:
    """A bug; each patch is a function, what stands there, and what then."""
    return Bug(name=name, laws=tuple(laws.split()),
               patches=tuple(Patch(where=w, old=o, new=n)
                             for w, o, n in patches),
               setup=tuple((setup or {}).items()),
               family=family)
