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
"""Reading JSON that others wrote: every step is checked, none can surprise.

Whatever the text holds, the only error that leaves this module is
ProvisionerNonsense, and its sentence names the key, never the content: an
answer may carry secrets, and it goes to a log and a terminal.
"""

import collections
from collections.abc import Iterator
import ipaddress
import json
import math
import re
from typing import Any

from os_brick_healer import exception

TEXT_MAX = 1024

#: NVMe base specification 2.0, 4.7: 223 bytes. No blank and no comma: nvme
#: writes it between commas for the kernel.
_NQN = re.compile(r'nqn\.[!-+\--~]{1,219}')
_IP = re.compile(r'[0-9A-Fa-f.:]+(?:%[A-Za-z0-9_.-]{1,15})?')
_UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')


def load(text: bytes | str, source: str) -> 'Cursor':
    """Parse strict JSON: no NaN, no key twice, no bottomless nesting.

    :param source: what is being read, as the errors shall name it.
    """
    try:
        value = json.loads(text, parse_constant=_not_a_number,
                           parse_float=_finite,
                           object_pairs_hook=_no_key_twice)
    except _Twice as error:
        raise exception.ProvisionerNonsense(
            f'cannot read {source}: because one object names the key '
            f'{_shown(error.key)[1:]} twice') from None
    except (ValueError, RecursionError) as error:
        # UnicodeDecodeError and JSONDecodeError are ValueErrors. Only the
        # place is told: the message of some would quote the text.
        place = ''
        if isinstance(error, json.JSONDecodeError):
            place = f' (line {error.lineno}, column {error.colno})'
        raise exception.ProvisionerNonsense(
            f'cannot read {source}: because it is not JSON{place}') from None
    return Cursor(value=value, source=source)


def _not_a_number(_word: str) -> object:
    raise ValueError


def _finite(word: str) -> float:
    # 1e999 is a number in JSON, and infinity for Python, which writes it
    # back as a word that is not JSON.
    found = float(word)
    if math.isinf(found):
        raise ValueError
    return found


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        often = collections.Counter(name for name, _ in pairs)
        raise _Twice(next(n for n, count in often.items() if count > 1))
    return found


class _Twice(ValueError):
    """Which of the two would count is anybody's guess."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class Cursor:
    """A value inside a document, and the path that leads to it.

    A plain class, and the path put together only for an error: thousands
    are made in each look at the volumes.
    """

    __slots__ = ('_name', '_parent', 'source', 'value')

    def __init__(self, *, value: object, source: str, name: str | int = '',
                 parent: 'Cursor | None' = None) -> None:
        self.value = value
        self.source = source
        self._name = name
        self._parent = parent

    def __repr__(self) -> str:
        return f'Cursor({self.path!r} of {self.source})'

    @property
    def path(self) -> str:
        """Where it is: ``volumes.v1.replicas[0]``; empty at the top."""
        names: list[str] = []
        one: Cursor | None = self
        while one is not None:
            names.append(_shown(one._name))
            one = one._parent
        return ''.join(reversed(names)).removeprefix('.')

    def wrong(self, expected: str) -> exception.ProvisionerNonsense:
        """The error that says what was expected here."""
        where = self.path or 'the whole of it'
        missing = self.value is None
        return exception.ProvisionerNonsense(
            f'cannot use {self.source}: because {where} is '
            + ('missing' if missing
               else f'{_kind(self.value)}, not {expected}'))

    def mapping(self) -> dict[str, Any]:
        """The value itself, an object."""
        if not isinstance(self.value, dict):
            raise self.wrong('an object')
        return self.value

    def items(self) -> Iterator[tuple[str, 'Cursor']]:
        """Keys and values of an object."""
        for key, value in self.mapping().items():
            yield key, Cursor(value=value, source=self.source,
                              name=key, parent=self)

    def maybe(self, *names: str) -> 'Cursor | None':
        """The value of the first of these keys that is there, not null."""
        found = self.mapping()
        for name in names:
            value = found.get(name)
            if value is not None:
                return Cursor(value=value, source=self.source, name=name,
                              parent=self)
        return None

    def key(self, name: str) -> 'Cursor':
        """The value of a key that must be there."""
        found = self.maybe(name)
        if found is None:
            raise Cursor(value=None, source=self.source, name=name,
                         parent=self).wrong('missing')
        return found

    def each(self) -> Iterator['Cursor']:
        """The elements of a list."""
        if not isinstance(self.value, list):
            raise self.wrong('a list')
        for index, value in enumerate(self.value):
            yield Cursor(value=value, source=self.source,
                         name=index, parent=self)

    def text(self, *, empty: bool = False) -> str:
        """A printable string of bounded length."""
        value = self.value
        if not isinstance(value, str):
            raise self.wrong('a string')
        if len(value) > TEXT_MAX or not value.isprintable():
            raise self.wrong(f'printable within {TEXT_MAX} characters')
        if not value and not empty:
            raise self.wrong('a string with something in it')
        return value

    def uuid(self) -> str:
        """A UUID, lower case with hyphens."""
        found = self.text().lower()
        if re.fullmatch(r'[0-9a-f]{32}', found):
            found = '-'.join((found[:8], found[8:12], found[12:16],
                              found[16:20], found[20:]))
        if not _UUID.fullmatch(found):
            raise self.wrong('a UUID')
        return found

    def nqn(self) -> str:
        """An NVMe qualified name, as nvme and the kernel can take it."""
        found = self.text()
        if not _NQN.fullmatch(found):
            raise self.wrong('an NQN')
        return found

    def ip(self) -> str:
        """An IP address, maybe with the interface of a link-local one."""
        found = self.text()
        try:
            ipaddress.ip_address(found)
        except ValueError:
            raise self.wrong('an IP address') from None
        # Python takes anything behind %. It becomes an argument of nvme,
        # which writes it between commas for the kernel.
        if not _IP.fullmatch(found):
            raise self.wrong('an IP address')
        return found

    def integer(self, least: int, most: int) -> int:
        """A whole number; digits in a string are accepted."""
        value = self.value
        if isinstance(value, str) and re.fullmatch('[0-9]{1,20}', value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong('a whole number')
        if not least <= value <= most:
            raise self.wrong(f'between {least} and {most}')
        return value

    def number(self, least: float, most: float) -> float:
        """A number with or without a fraction; a string of it, too."""
        value = self.value
        if isinstance(value, str) and re.fullmatch(r'[0-9]{1,20}', value):
            value = int(value)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.wrong('a number')
        if not least <= value <= most:
            raise self.wrong(f'between {least} and {most}')
        return float(value)


def _shown(name: str | int) -> str:
    if isinstance(name, int):
        return f'[{name}]'
    if not name:
        return ''
    plain = name.isprintable() and len(name) < 80
    return f'.{name}' if plain else '.(odd key)'


def _kind(value: object) -> str:
    match value:
        case bool():
            return 'true or false'
        case str():
            return 'a string' if value else 'an empty string'
        case int() | float():
            return 'a number'
        case list():
            return 'a list'
        case dict():
            return 'an object'
        case _:
            return type(value).__name__
