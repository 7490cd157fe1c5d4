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
"""Generic netlink messages as bytes, packed and taken apart. Pure.

A message is a header of netlink, a header of generic netlink and attributes,
each aligned to four bytes (include/uapi/linux/{netlink,genetlink}.h). All is
in the byte order of the host. What comes apart comes from the kernel, and is
read with the same care as anything else: a length that cannot be ends the
reading.
"""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import errno
import struct
import sys

from os_brick_healer import exception

#: Flags and types of netlink.
REQUEST, ACK, DUMP = 1, 4, 0x300
ERROR, DONE = 2, 3
NESTED = 0x8000
_TYPE_MASK = 0x3fff
_HEADER = struct.Struct('=IHHII')
_GENERIC = struct.Struct('=BBH')
_ATTRIBUTE = struct.Struct('=HH')

#: The controller of generic netlink: it tells the numbers of families.
CONTROL = 16
CONTROL_GET_FAMILY = 3
_FAMILY_ID, _FAMILY_NAME, _GROUPS = 1, 2, 7
_GROUP_NAME, _GROUP_ID = 1, 2

Attributes = Mapping[int, bytes]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message; ``body`` is what follows netlink's own header."""

    kind: int
    sequence: int
    body: bytes

    @property
    def error(self) -> int | None:
        """The errno of an acknowledgement (0: it was done), else None."""
        if self.kind != ERROR or len(self.body) < 4:
            return None
        return -int(struct.unpack_from('=i', self.body)[0])

    @property
    def command(self) -> int:
        """The command of a message of a family; -1 if it is too short."""
        return self.body[0] if len(self.body) >= _GENERIC.size else -1

    @property
    def attributes(self) -> dict[int, bytes]:
        """What a message of a family carries."""
        return attributes(self.body[_GENERIC.size:])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family as this kernel numbers it."""

    number: int
    groups: Mapping[str, int]


def u32(value: int) -> bytes:
    """A number of 32 bits."""
    return struct.pack('=I', value)


def u64(value: int) -> bytes:
    """A number of 64 bits."""
    return struct.pack('=Q', value)


def text(value: str) -> bytes:
    """A string with the end that the kernel wants."""
    return value.encode() + b'\0'


def nest(*pairs: tuple[int, bytes]) -> bytes:
    """Attributes one after another."""
    return b''.join(_attribute(kind, value) for kind, value in pairs)


def _attribute(kind: int, value: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(value)
    return (_ATTRIBUTE.pack(size, kind) + value).ljust((size + 3) & ~3, b'\0')


def request(family: int, command: int, sequence: int,
            pairs: Iterable[tuple[int, bytes]], *, flags: int = ACK,
            version: int = 1) -> bytes:
    """A request to a family."""
    body = _GENERIC.pack(command, version, 0) + nest(*pairs)
    return _HEADER.pack(_HEADER.size + len(body), family, REQUEST | flags,
                        sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    while len(data) >= _HEADER.size:
        size, kind, _flags, sequence, _port = _HEADER.unpack_from(data)
        if not _HEADER.size <= size <= len(data):
            return
        yield Message(kind=kind, sequence=sequence,
                      body=data[_HEADER.size:size])
        data = data[(size + 3) & ~3:]


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by their kind; of several of one kind the last counts."""
    return dict(_pairs(data))


def _pairs(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= size <= len(data):
            return
        yield kind & _TYPE_MASK, data[_ATTRIBUTE.size:size]
        data = data[(size + 3) & ~3:]


def number(value: bytes | None) -> int | None:
    """A number of any width as the kernel writes it; None: it is none."""
    if value is None or len(value) not in (1, 2, 4, 8):
        return None
    return int.from_bytes(value, sys.byteorder)


def family(message: Message) -> Family:
    """The answer of the controller.

    :raises HealerError: it is none.
    """
    found = message.attributes
    which = number(found.get(_FAMILY_ID))
    if which is None:
        raise exception.HealerError(
            'cannot use generic netlink: because the kernel named no family')
    groups = {}
    for _, value in _pairs(found.get(_GROUPS, b'')):
        one = attributes(value)
        group = number(one.get(_GROUP_ID))
        if group is not None:
            name = one.get(_GROUP_NAME, b'').rstrip(b'\0')
            groups[name.decode('ascii', 'replace')] = group
    return Family(number=which, groups=groups)


def ask_family(name: str, sequence: int) -> bytes:
    """The question that :func:`family` takes the answer of."""
    return request(CONTROL, CONTROL_GET_FAMILY, sequence,
                   [(_FAMILY_NAME, text(name))])


def refused(code: int, what: str) -> OSError:
    """The kernel's no as an exception."""
    return OSError(code, f'{what}: {errno.errorcode.get(code, code)}')
