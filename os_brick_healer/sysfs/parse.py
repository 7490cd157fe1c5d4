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
"""Parsers of what the kernel and udev print. Pure.

Each takes text and gives a value, None where the text itself says that
nothing is known ("none", "delayed"), or raises ParseError. Nothing else
leaves them, whatever the text.
"""

import dataclasses
import ipaddress
import re

from os_brick_healer import exception

#: An attribute is at most a page; this is what we take from one.
ATTRIBUTE_MAX = 65536

#: /proc/mdstat grows with the arrays: some 250 bytes for each.
TEXT_MAX = 4 * 1024 * 1024

_NUMBER = re.compile(r'[0-9]{1,20}', re.ASCII)
_WORD = re.compile(r'[a-zA-Z0-9_.+-]{1,64}', re.ASCII)
_RAID_DISKS = re.compile(r'([0-9]{1,9})(?: \([0-9]{1,9}\))?', re.ASCII)
_STAT = re.compile(r'[0-9]{1,20}(?: +[0-9]{1,20}){10,30}', re.ASCII)
_HEX32 = re.compile(r'[0-9a-f]{32}', re.ASCII)


class ParseError(exception.HealerError):
    """The kernel printed something that this release cannot read.

    :ivar what: the file or the attribute.
    :ivar text: the beginning of what it said.
    """

    transient = False

    def __init__(self, what: str, text: str) -> None:
        self.what = what
        self.text = text[:80]
        super().__init__(f'cannot understand {what}: because it says '
                         f'{self.text!r}')


def _clean(text: str, what: str) -> str:
    if len(text) > ATTRIBUTE_MAX:
        raise ParseError(what, text)
    return text.strip()


def integer(text: str, what: str) -> int:
    """A number, decimal, not negative, of at most 64 bits or so."""
    text = _clean(text, what)
    if not _NUMBER.fullmatch(text):
        raise ParseError(what, text)
    return int(text)


def maybe_integer(text: str, what: str) -> int | None:
    """A number, or None for "none", "max" and "delayed"."""
    text = _clean(text, what)
    if text in ('none', 'max', 'delayed'):
        return None
    return integer(text, what)


def word(text: str, what: str) -> str:
    """One word such as "raid1" or "write-pending"; may be empty."""
    text = _clean(text, what)
    if text and not _WORD.fullmatch(text):
        raise ParseError(what, text)
    return text


def words(text: str, what: str) -> frozenset[str]:
    """Words with commas between them, as ``md/dev-X/state`` has."""
    text = _clean(text, what)
    if not text:
        return frozenset()
    return frozenset(word(w, what) for w in text.split(',') if w.strip())


def raid_disks(text: str, what: str = 'raid_disks') -> int:
    """Legs of an array: "2", or "3 (2)" while it is reshaped."""
    match = _RAID_DISKS.fullmatch(_clean(text, what))
    if match is None:
        raise ParseError(what, text)
    return int(match[1])


def slot(text: str, what: str = 'slot') -> int | None:
    """A member's slot; "none" (spare, faulty) and "journal" are None."""
    text = _clean(text, what)
    if text in ('none', 'journal'):
        return None
    return integer(text, what)


def sync_completed(text: str, what: str = 'sync_completed',
                   ) -> tuple[int, int] | None:
    """Sectors done and sectors in all; None for "none" and "delayed"."""
    text = _clean(text, what)
    if text in ('none', 'delayed'):
        return None
    done, slash, total = text.partition('/')
    if not slash:
        raise ParseError(what, text)
    return integer(done, what), integer(total, what)


def uuid(text: str, what: str = 'uuid') -> str | None:
    """A UUID as 8-4-4-4-12 in lower case; None when it is all zeros.

    Hyphens and colons are taken anywhere: ``md/uuid`` and an nguid come
    with hyphens, mdadm prints ``a1b2c3d4:...`` (the same bytes in order).
    """
    text = _clean(text, what)
    digits = text.replace('-', '').replace(':', '').lower()
    if not _HEX32.fullmatch(digits):
        raise ParseError(what, text)
    if not digits.strip('0'):
        return None
    return '-'.join((digits[:8], digits[8:12], digits[12:16], digits[16:20],
                     digits[20:]))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What ``/sys/class/nvme/nvmeN/address`` says of a fabrics controller.

    :ivar traddr: an IP address in its shortest usual form, or what the
        transport uses instead (a WWN), as printed.
    :ivar trsvcid: the port, None for transports without ports.
    """

    traddr: str
    trsvcid: int | None
    src_addr: str | None = None


def nvme_address(text: str, what: str = 'address') -> Address | None:
    """The address of a controller; None for one that has none (PCIe).

    nvmf_get_address() of the kernel prints ``traddr=A,trsvcid=P`` and then
    ``host_traddr=``, ``host_iface=``, ``src_addr=`` where they are set.
    """
    text = _clean(text, what)
    if 'traddr=' not in text:
        return None
    parts = dict(p.strip().partition('=')[::2] for p in text.split(','))
    if not parts.get('traddr'):
        raise ParseError(what, text)
    port = parts.get('trsvcid', '').strip()
    return Address(
        traddr=ip(parts['traddr']),
        trsvcid=integer(port, what) if port not in ('', 'none') else None,
        src_addr=parts.get('src_addr'))


def ip(text: str) -> str:
    """An IP address in its shortest usual form; other text as it is."""
    text = text.strip()
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlockStat:
    """What ``/sys/block/X/stat`` says of the requests.

    :ivar completed: requests that ended (reads, writes, discards, flushes).
    :ivar in_flight: requests that have begun and not ended.
    """

    completed: int
    in_flight: int


def block_stat(text: str, what: str = 'stat') -> BlockStat:
    """Documentation/block/stat.rst: 11 fields, 15 since 4.18, 17 since 5.5."""
    match = _STAT.fullmatch(_clean(text, what))
    if match is None:
        raise ParseError(what, text)
    fields = list(map(int, match[0].split()))
    return BlockStat(
        completed=fields[0] + fields[4] + sum(fields[11:12] + fields[15:16]),
        in_flight=fields[8])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MdstatArray:
    """One array of ``/proc/mdstat``.

    :ivar members: kernel name to flags: F faulty, S spare, W write-mostly,
        J journal, R replacement.
    :ivar map: one letter a slot, "U_"; None for an inactive array.
    """

    name: str
    active: bool
    level: str | None
    members: tuple[tuple[str, frozenset[str]], ...]
    map: str | None


_MDSTAT_HEAD = re.compile(
    r'(?P<name>md[\w.-]*) : (?P<active>active|inactive|broken)\s*'
    r'(?:\((?:auto-)?read-only\)\s*)?(?P<rest>.*)$', re.ASCII)
_MDSTAT_MEMBER = re.compile(
    r'(?P<device>[\w!.-]+)\[\d+\](?P<flags>(?:\([A-Z]\))*)$', re.ASCII)
_MDSTAT_MAP = re.compile(r'\[\d+/\d+\] \[(?P<map>[U_]+)\]', re.ASCII)


def mdstat(text: str) -> tuple[MdstatArray, ...]:
    """The arrays of ``/proc/mdstat``, in its order."""
    if len(text) > TEXT_MAX:
        raise ParseError('/proc/mdstat', text)
    arrays: list[MdstatArray] = []
    for line in text.split('\n'):
        head = _MDSTAT_HEAD.match(line)
        if head is not None:
            arrays.append(_mdstat_head(head, line))
            continue
        found = _MDSTAT_MAP.search(line)
        if found is not None and arrays and line[:1] == ' ':
            arrays[-1] = dataclasses.replace(arrays[-1], map=found['map'])
    return tuple(arrays)


def _mdstat_head(head: re.Match[str], line: str) -> MdstatArray:
    level: str | None = None
    members: list[tuple[str, frozenset[str]]] = []
    for part in head['rest'].split():
        member = _MDSTAT_MEMBER.match(part)
        if member is not None:
            flags = frozenset(member['flags'].replace('(', '').replace(
                ')', ''))
            members.append((member['device'], flags))
        elif level is None and not members and part[0] != '(':
            level = word(part, '/proc/mdstat')
        elif part[0] != '(':
            raise ParseError('/proc/mdstat', line)
    return MdstatArray(name=head['name'], active=head['active'] != 'inactive',
                       level=level, members=tuple(members), map=None)


def exported(text: str) -> dict[str, str]:
    """Lines ``NAME=VALUE`` of what ``mdadm --export`` prints.

    Not splitlines(): that also ends a line where a name that somebody gave
    an array holds a vertical tab or the like.
    """
    return dict(line.partition('=')[::2]
                for line in text.split('\n') if '=' in line)


def udev_properties(text: str) -> dict[str, str]:
    """Lines ``E:NAME=VALUE`` of a file in ``/run/udev/data``."""
    if len(text) > TEXT_MAX:
        raise ParseError('/run/udev/data', text)
    found = {}
    # Not splitlines(): a value may hold a vertical tab, and what follows it
    # would pass for a property.
    for line in text.split('\n'):
        if line.startswith('E:'):
            name, _, value = line[2:].partition('=')
            found[name] = value
    return found
