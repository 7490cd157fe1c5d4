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
"""What Cinder says of an RBD image, in the words of the mounter rbd-nbd."""

from collections.abc import Mapping
from typing import Any

from os_brick_healer import exception

CONFIG = '/etc/ceph'


def source_of(properties: Mapping[str, Any]) -> dict[str, str]:
    """A source for ``rbd-nbd``.

    The secret is the keyring of the user in /etc/ceph, as os-brick expects
    it there; it is named, and never read.

    :raises HealerError: the properties are malformed, or they carry the
        secret itself (cinderlib's do), which must not be written down.
    """
    if properties.get('keyring'):
        raise exception.HealerError(
            'cannot map by rbd-nbd: because the connection properties carry '
            'the keyring itself', hint='put it into /etc/ceph')
    name = properties.get('name')
    parts = name.split('/') if isinstance(name, str) else []
    if len(parts) not in (2, 3):
        raise exception.HealerError(
            f'cannot map by rbd-nbd: because {name!r} is no pool and image')
    cluster = str(properties.get('cluster_name') or 'ceph')
    source = {'pool': parts[0], 'image': parts[-1],
              'conf': f'{CONFIG}/{cluster}.conf'}
    if len(parts) == 3:
        source['namespace'] = parts[1]
    user = properties.get('auth_username')
    if user and properties.get('auth_enabled', True):
        source['user'] = str(user)
        source['keyring'] = f'{CONFIG}/{cluster}.client.{user}.keyring'
    monitors = _monitors(properties)
    if monitors:
        source['monitors'] = monitors
    if properties.get('access_mode') == 'ro':
        source['readonly'] = 'true'
    return source


def _monitors(properties: Mapping[str, Any]) -> str:
    hosts, ports = properties.get('hosts'), properties.get('ports')
    if not isinstance(hosts, list | tuple) or not isinstance(
            ports, list | tuple):
        return ''
    return ','.join(f'{_bracketed(str(host))}:{port}'
                    for host, port in zip(hosts, ports, strict=False))


def _bracketed(host: str) -> str:
    return f'[{host}]' if ':' in host and not host.startswith('[') else host


def volume_of(properties: Mapping[str, Any]) -> str:
    """The volume's id: as Cinder says, or as its images are named.

    :raises HealerError: it cannot be told.
    """
    found = properties.get('volume_id')
    if found:
        return str(found)
    name = str(properties.get('name') or '').rpartition('/')[2]
    if name.startswith('volume-'):
        return name.removeprefix('volume-')
    raise exception.HealerError(
        'cannot map by rbd-nbd: because the connection properties name no '
        'volume')
