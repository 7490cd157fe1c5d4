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
"""The grammar of every argument that crosses into the privileged side. Pure.

A function gives its argument back (normalised) or raises NotOurs: what does
not look like the thing it names is refused before anything is touched.
"""

import ipaddress
import re
import uuid

from os_brick_healer import exception
from os_brick_healer.mounter import base

TRANSPORTS = ('tcp', 'rdma')
#: Attributes of a controller that may be tuned, with their bounds (seconds).
ATTRIBUTES = {
    'fast_io_fail_tmo': (-1, 3600),
    'reconnect_delay': (1, 3600),
    'ctrl_loss_tmo': (-1, 86400),
}

TIMEOUT_S_MAX = 3600.0
SOCKET_BYTES_MAX = 107     # sun_path of unix(7), without its end
PLACE_LENGTH_MAX = 1024

_ARRAY = re.compile(r'md(?:\d{1,7}|_[A-Za-z0-9][A-Za-z0-9_.+-]{0,27})',
                    re.ASCII)
_DEVICE = re.compile(r'nvme\d{1,6}n\d{1,6}', re.ASCII)
_CONTROLLER = re.compile(r'nvme\d{1,6}', re.ASCII)
#: NVMe base specification 2.0, 4.7: 223 bytes. No comma: nvme writes it
#: between commas for the kernel.
_NQN = re.compile(r'nqn\.[!-+\--~]{1,219}')
_NBD = re.compile(r'nbd\d{1,7}', re.ASCII)
_PLUGIN = re.compile(r'[a-z][a-z0-9_-]{0,31}')
_HANDOVER = re.compile(r'os-brick-healer-[0-9a-f]{32}')
_START = re.compile(r'\d{1,20}', re.ASCII)
_MD_UUID = re.compile(r'[0-9a-f]{32}')
#: An IP address; behind % the interface of a link-local one. Python takes
#: anything for that, and nvme writes it between commas for the kernel.
_ADDRESS = re.compile(r'[0-9A-Fa-f.:]{2,45}(?:%[A-Za-z0-9_.-]{1,15})?')
_SHOWN_MAX = 80


def _whole(pattern: re.Pattern[str], value: object, what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise exception.NotOurs(
            f'cannot accept {_shown(value)}: it is not {what}')
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else f'{text[:_SHOWN_MAX]}...'


def array(value: object) -> str:
    """A kernel name: md127, md_d0 style names, no path."""
    name = _whole(_ARRAY, value, 'the kernel name of an md array')
    if '..' in name:
        raise exception.NotOurs(
            f'cannot accept {_shown(value)} as an array')
    return name


def device(value: object) -> str:
    """A kernel name of a namespace (nvme0n1), not a partition, no path."""
    return _whole(_DEVICE, value, 'the kernel name of an NVMe namespace')


def controller(value: object) -> str:
    """A kernel name of a controller: nvme0."""
    return _whole(_CONTROLLER, value, 'the kernel name of an NVMe controller')


def nqn(value: object) -> str:
    """An NVMe qualified name: visible ASCII without commas, at most 223
    bytes."""
    return _whole(_NQN, value, 'an NVMe qualified name')


def address(value: object) -> str:
    """An IP address, written as the kernel writes it back."""
    if isinstance(value, str) and _ADDRESS.fullmatch(value):
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
    raise exception.NotOurs(
        f'cannot accept {_shown(value)}: not an IP address')


def number(value: object, low: int, high: int, what: str) -> int:
    """A whole number between two bounds, both included."""
    if (isinstance(value, bool) or not isinstance(value, int)
            or not low <= value <= high):
        raise exception.NotOurs(
            f'cannot accept {_shown(value)} as {what}: not a whole number '
            f'from {low} to {high}')
    return value


def port(value: object) -> int:
    return number(value, 1, 65535, 'a port')


def transport(value: object) -> str:
    if value not in TRANSPORTS:
        raise exception.NotOurs(
            f'cannot accept transport {_shown(value)}: only '
            f'{", ".join(TRANSPORTS)}')
    return str(value)


def md_uuid(value: object) -> str:
    """An array UUID in any of its spellings, as 32 hexadecimal digits.

    sysfs writes 8-4-4-4-12, mdadm four groups of eight with colons; for
    metadata 1.x both print the same bytes in the same order.
    """
    plain = value if isinstance(value, str) else ''
    plain = plain.replace(':', '').replace('-', '').lower()
    _whole(_MD_UUID, plain, f'an array UUID ({_shown(value)})')
    if not plain.strip('0'):
        raise exception.NotOurs('cannot accept an array UUID of zeros')
    return plain


def namespace_uuid(value: object) -> str:
    """A namespace's uuid, lower case with hyphens, never the nil one."""
    if isinstance(value, str):
        try:
            parsed = uuid.UUID(value)
        except ValueError:
            parsed = uuid.UUID(int=0)
        if parsed.int:
            return str(parsed)
    raise exception.NotOurs(
        f'cannot accept {_shown(value)}: not a namespace uuid')


def namespaces(value: object) -> dict[str, str]:
    """Namespaces by kernel name, with their uuids; None: none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise exception.NotOurs(
            f'cannot accept {_shown(value)}: not namespaces with their uuids')
    return {device(name): namespace_uuid(one) for name, one in value.items()}


def timeout(value: object) -> float:
    """A deadline in seconds."""
    if (isinstance(value, bool) or not isinstance(value, (int, float))
            or not 0 < value <= TIMEOUT_S_MAX):
        raise exception.NotOurs(
            f'cannot accept {_shown(value)} as a deadline')
    return float(value)


def attribute(name: object, value: object) -> tuple[str, int]:
    """One of the tunable attributes of a controller, and its value."""
    if not isinstance(name, str) or name not in ATTRIBUTES:
        raise exception.NotOurs(f'cannot set attribute {_shown(name)}')
    low, high = ATTRIBUTES[name]
    return name, number(value, low, high, name)


def nbd(value: object) -> str:
    """A kernel name of a network block device: nbd0."""
    return _whole(_NBD, value, 'the kernel name of an nbd device')


def place(value: object) -> str:
    """Where something is mounted: an absolute path without detours."""
    if (not isinstance(value, str) or not value.isascii()
            or not value.isprintable() or len(value) > PLACE_LENGTH_MAX):
        raise exception.NotOurs(
            f'cannot accept {_shown(value)} as the place of a mount')
    try:
        return base.path(value, 'the place')
    except exception.MounterRefused as error:
        raise exception.NotOurs(str(error)) from error


def volume(value: object) -> str:
    """A volume's id, one plain word: also its device's cookie."""
    if base.is_key(value):
        return str(value)
    raise exception.NotOurs(
        f'cannot accept {_shown(value)}: not a volume id')


def plugin(value: object) -> str:
    """A plugin's name."""
    return _whole(_PLUGIN, value, 'the name of a plugin')


def handover(value: object) -> str:
    """Where a connection is handed over, see ``privileged.handing``."""
    return _whole(_HANDOVER, value, 'a place of handing over')


def start(value: object) -> str:
    """A process's start, in clock ticks since boot."""
    return _whole(_START, value, 'the start of a process')


def socket_of(value: object, owner: str) -> str:
    """Where the server of a volume listens: a path that names it."""
    name = f'/{base.in_path(owner)}.sock'
    if (not isinstance(value, str) or not value.startswith('/')
            or not value.endswith(name) or not value.isprintable()
            or '/../' in value or len(value) > SOCKET_BYTES_MAX
            or not value.isascii()):
        raise exception.NotOurs(
            f'cannot accept {_shown(value)} as the socket of {owner}')
    return value
