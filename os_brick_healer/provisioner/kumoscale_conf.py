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
"""The settings of the KumoScale plugin.

The file is the one that KIOXIA's own agent reads: ``[DEFAULT]`` with
``prov_ip``, ``prov_port``, ``cert_file`` and ``token``. Ours are additions
that their agent ignores: several addresses in ``prov_ip`` (commas between
them), ``ca_file``, ``server_name``, ``insecure`` and ``tenant``.
"""

import configparser
import dataclasses
import ipaddress
import os
import re
import stat

from oslo_config import cfg
from oslo_log import log as logging

from os_brick_healer import exception, regular
from os_brick_healer.conf import opts

LOG = logging.getLogger(__name__)

PORT_DEFAULT = 8090
FILE_BYTES_MAX = 65536
ADDRESSES_MAX = 16

_HOST = re.compile(r'[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach the provisioner.

    :ivar addresses: host names or IP addresses, the preferred one first.
    :ivar cert_file: client certificate and its key, one PEM file.
    :ivar ca_file: what the provisioner is verified with, None = the
        system's certificates.
    :ivar server_name: the name in the provisioner's certificate, when it
        is not the address.
    :ivar read_timeout_s: for a whole answer of one address.
    """

    addresses: tuple[str, ...]
    port: int
    token: str | None = dataclasses.field(repr=False)
    cert_file: str | None
    ca_file: str | None
    server_name: str | None
    insecure: bool
    tenant: str | None
    connect_timeout_s: float
    read_timeout_s: float


def load(conf: cfg.ConfigOpts) -> Access:
    """Read the vendor's file; an option of ours that is set wins over it."""
    group = conf[opts.GROUP]
    path = group.kumoscale_config_file
    values = _read(path)
    if values.get('token') is None and 'client_secret' in values:
        raise _wrong(path, 'it names an OpenID client and no token',
                     'put a token into it; fetching one is not supported')
    access = Access(
        addresses=_addresses(path, values.get('prov_ip', '')),
        port=_port(path, values.get('prov_port', str(PORT_DEFAULT))),
        token=_token(path, values.get('token')),
        cert_file=values.get('cert_file') or None,
        ca_file=group.kumoscale_ca_file or values.get('ca_file') or None,
        server_name=values.get('server_name') or None,
        insecure=group.kumoscale_insecure or _insecure(path, values),
        tenant=_tenant(path,
                       group.kumoscale_tenant or values.get('tenant')),
        connect_timeout_s=group.kumoscale_connect_timeout,
        read_timeout_s=group.kumoscale_read_timeout)
    _warn(path, access)
    return access


def _read(path: str) -> dict[str, str]:
    try:
        with os.fdopen(regular.opened(path), encoding='utf-8') as stream:
            text = stream.read(FILE_BYTES_MAX + 1)
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
    except FileNotFoundError:
        raise _wrong(path, 'it does not exist',
                     'write prov_ip, prov_port, cert_file and token into '
                     'its section [DEFAULT]') from None
    except OSError as error:
        raise _wrong(path, f'{error.strerror}') from None
    except UnicodeDecodeError:
        raise _wrong(path, 'it is not text') from None
    if len(text) > FILE_BYTES_MAX:
        raise _wrong(path, f'it is longer than {FILE_BYTES_MAX} characters')
    if mode & stat.S_IROTH:
        LOG.warning('%s can be read by every user of this host (mode %04o): '
                    'whoever reads its token can delete replicas. Use '
                    'mode 0640.', path, mode)
    # Raw: a token may hold a per cent sign.
    parser = configparser.RawConfigParser()
    place = None
    try:
        parser.read_string(text)
    except configparser.Error as error:
        # Its message quotes the line, which may hold the token: it must
        # not even become the context of ours.
        marks = getattr(error, 'errors', ())
        line = marks[0][0] if marks else getattr(error, 'lineno', None)
        place = '' if line is None else f' (line {line})'
    if place is not None:
        raise _wrong(path, f'its format is not that of an INI file{place}',
                     'its first line should be [DEFAULT]')
    return {key: value.strip() for key, value in parser.defaults().items()}


def _wrong(path: str, cause: str,
           hint: str | None = None) -> exception.ConfigError:
    return exception.ConfigError(
        f'cannot use the KumoScale settings in {path}: because {cause}',
        hint=hint)


def _addresses(path: str, text: str) -> tuple[str, ...]:
    found = tuple(word.strip().strip('[]') for word in text.split(','))
    for address in found:
        if not _is_ip(address) and not _HOST.fullmatch(address):
            raise _wrong(path, 'prov_ip is not an address or a list of them',
                         'prov_ip = 192.0.2.1, 192.0.2.2')
    if len(found) > ADDRESSES_MAX:
        raise _wrong(path, f'prov_ip lists more than {ADDRESSES_MAX}')
    return tuple(dict.fromkeys(found))


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _port(path: str, text: str) -> int:
    if not re.fullmatch('[0-9]{1,5}', text) or not 0 < int(text) < 65536:
        raise _wrong(path, 'prov_port is not a port number',
                     f'prov_port = {PORT_DEFAULT}')
    return int(text)


def _token(path: str, text: str | None) -> str | None:
    if not text:
        return None
    # It becomes a header: no blank, no line end, nothing beyond ASCII.
    if not re.fullmatch('[!-~]{1,8192}', text):
        raise _wrong(path, 'the token holds a character that no token has',
                     'write it again, on one line, without quotes or blanks')
    return text


def _insecure(path: str, values: dict[str, str]) -> bool:
    word = values.get('insecure', 'false').lower()
    known = configparser.RawConfigParser.BOOLEAN_STATES
    if word not in known:
        raise _wrong(path, 'insecure is neither true nor false',
                     'take the line away to have certificates verified')
    return known[word]


def _tenant(path: str, text: str | None) -> str | None:
    if not text:
        return None
    if not re.fullmatch('[A-Za-z0-9_-]{1,128}', text):
        raise _wrong(path, 'the tenant is not a name or a UUID',
                     'take the line away where there are no tenants')
    return text


def _warn(path: str, access: Access) -> None:
    if access.insecure:
        LOG.warning('The certificate of the KumoScale provisioner is NOT '
                    'verified (insecure is set for %s): whoever can answer '
                    'in its place can make this host delete replicas.', path)
    if access.token is None:
        LOG.warning('%s names no token: KumoScale is asked without one.',
                    path)
