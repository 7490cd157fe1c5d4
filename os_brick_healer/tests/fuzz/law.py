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

"""What a target is, and the law that is the same for all of them.

Whatever is read: an answer, or one of the room's own errors, whose text
names what was read. No other exception, no hang, no memory without bound.
"""

import abc
from collections.abc import Callable, Iterator, Mapping
import dataclasses
import math
import pathlib
import types
import typing
from typing import Any, ClassVar, TypeVar

from os_brick_healer import exception

R = TypeVar('R')

#: What JSON is made of, and what only some take for JSON.
JSON = (b'null', b'true', b'1e999', b'-1', b'NaN', b'""', b'[]', b'{}',
        b'\\ud800', b'\\u0000', b', ', b'99999999999999999999', b'1.5',
        b'"a": ', b'[[[[[[[[')

#: The longest an error may get: it goes to a log and a terminal.
SAID_MAX = 8192


class Broken(AssertionError):
    """A law does not hold for this input."""


class Target(abc.ABC):
    """One surface on which others' bytes arrive.

    :ivar name: how it is called on the command line.
    :ivar words: what the format is made of, for those who make input up.
    :ivar huge_bytes: as much as is given to it to see what it does then.
    """

    name: ClassVar[str]
    words: ClassVar[tuple[bytes, ...]] = ()
    huge_bytes: ClassVar[int] = 6 * 1024 * 1024

    def __init__(self, directory: pathlib.Path) -> None:
        """:param directory: empty, the target's own."""
        self.directory = directory

    @abc.abstractmethod
    def seeds(self) -> Iterator[bytes]:
        """Input as it should be."""

    @abc.abstractmethod
    def run(self, data: bytes) -> None:
        """Read it.

        :raises Broken: a law does not hold; any other exception is one
            that has escaped.
        """

    def close(self) -> None:  # noqa: B027 - most need nothing
        """Give back what :meth:`run` needed."""


def need(holds: bool, sentence: str) -> None:
    """:raises Broken: it does not hold."""
    if not holds:
        raise Broken(sentence)


def attempt(call: Callable[[], R], named: str,
            allowed: type[exception.HealerError] = exception.HealerError, *,
            secret: str | None = None) -> R | None:
    """Call; None when one of the room's own errors came, as it should be.

    :param named: what the error's text has to name.
    :param secret: what it must not show.
    """
    try:
        return call()
    except allowed as error:
        said = str(error)
    need(named in said, f'{said!r} does not name {named}')
    need(said.startswith('cannot '), f'{said!r} does not say what')
    need(len(said) < SAID_MAX, f'an error of {len(said)} characters')
    need(secret is None or secret not in said, f'{said!r} tells a secret')
    return None


def fine(call: Callable[[], object], named: str,
         allowed: type[exception.HealerError] = exception.HealerError,
         ) -> bool:
    """As :func:`attempt`: whether there was an answer."""
    return attempt(lambda: (call(),), named, allowed) is not None


def kernel_text(data: bytes) -> str:
    """As ``sysfs.reader`` hands on what the kernel printed."""
    return data.decode('ascii', 'backslashreplace').strip()


def typed(value: object, hint: Any) -> bool:
    """Whether a value is what its annotation says, all the way down."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return True
    if isinstance(hint, typing.NewType):
        return typed(value, hint.__supertype__)
    if origin in (typing.Union, types.UnionType):
        return any(typed(value, one) for one in inner)
    if hint is float:
        return (isinstance(value, int | float) and math.isfinite(value)
                and not isinstance(value, bool))
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in (tuple, frozenset):
        return isinstance(value, origin) and all(
            typed(one, inner[0]) for one in value)
    if origin is not None:      # Mapping
        return isinstance(value, Mapping) and all(
            typed(k, inner[0]) and typed(v, inner[1])
            for k, v in value.items())
    if not dataclasses.is_dataclass(hint):
        return isinstance(value, hint)
    hints = typing.get_type_hints(hint)
    return isinstance(value, typing.cast(type, hint)) and all(
        typed(getattr(value, f.name), hints[f.name])
        for f in dataclasses.fields(hint))
