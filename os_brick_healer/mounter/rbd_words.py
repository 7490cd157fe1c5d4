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
"""The command line of an rbd-nbd, whoever wrote it. Pure.

Ceph takes options before and behind the verb, as two words or as one with
``=``; ``rbd device map --device-type nbd`` (which ceph-csi runs) and a person
write it in other orders than this package does.
"""

from collections.abc import Iterator, Sequence

from os_brick_healer.mounter import base

_VERBS = ('map', 'attach')
#: Options that take a value, by the name that is used here.
_VALUED = {
    '--id': 'user', '-i': 'user', '--name': 'name', '-n': 'name',
    '--conf': 'conf', '-c': 'conf', '--cluster': 'cluster',
    '--mon-host': 'monitors', '-m': 'monitors', '--keyring': 'keyring',
    '-k': 'keyring', '--keyfile': 'keyfile', '-K': 'keyfile',
    '--key': 'key', '--device': 'device', '--cookie': 'cookie',
    '--pool': 'pool', '-p': 'pool', '--namespace': 'namespace',
    '--encryption-format': 'encryption',
    '--encryption-passphrase-file': 'encryption', '--snap-id': 'snap-id',
    '--io-timeout': '', '--timeout': '', '--reattach-timeout': '',
    '--nbds_max': '', '--max_part': '', '--quiesce-hook': '',
    '--admin-socket': '', '--log-file': '', '--pid-file': '',
    '--setuser': '', '--setgroup': '', '--device-type': '', '-t': ''}
_FLAGS = {'--read-only': 'readonly', '--exclusive': 'exclusive',
          '--foreground': '', '-f': '', '-d': '', '--try-netlink': '',
          '--netlink': '', '--show-cookie': '', '--quiesce': '',
          '--notrim': '', '--no-mon-config': ''}


def claim(argv: Sequence[str]) -> base.Claim | None:
    """What an rbd-nbd says that it serves; None: it cannot be told."""
    try:
        words = dict(_options(argv[1:]))
    except ValueError:
        return None
    device = words.get('device', '').removeprefix('/dev/')
    image = _image(words)
    if image is None or not base.is_key(words.get('cookie')):
        return None
    return base.Claim(volume=words['cookie'], device=device or None,
                      source={**image, **_way(words)}, lacks=_lacks(words))


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values.

    :raises ValueError: one is not known: what follows may be its value.
    """
    left, plain = iter(words), list[str]()
    for word in left:
        name, equals, value = word.partition('=')
        if not word.startswith('-'):
            plain.append(word)
        elif name in _VALUED:
            yield _VALUED[name], value if equals else next(left, '')
        elif name in _FLAGS:
            yield _FLAGS[name], 'true'
        elif not equals:
            raise ValueError(word)
    if len(plain) != 2 or plain[0] not in _VERBS:
        raise ValueError(' '.join(plain))
    yield 'spec', plain[1]


def _image(words: dict[str, str]) -> dict[str, str] | None:
    """``[pool/[namespace/]]image[@snapshot]``."""
    name, at, snapshot = words['spec'].partition('@')
    parts = name.split('/')
    pool, namespace = words.get('pool', 'rbd'), words.get('namespace', '')
    match parts:
        case [image]:
            pass
        case [pool, image]:
            pass
        case [pool, namespace, image]:
            pass
        case _:
            return None
    found = {'pool': pool, 'namespace': namespace, 'image': image,
             'snapshot': snapshot}
    if not pool or not image or (at and not snapshot) or 'snap-id' in words:
        return None
    return {key: value for key, value in found.items() if value}


def _way(words: dict[str, str]) -> dict[str, str]:
    """How the cluster is reached, and how the image is opened."""
    found = {name: words[name] for name in (
        'user', 'conf', 'keyring', 'monitors', 'readonly', 'exclusive')
        if words.get(name)}
    if 'name' in words:
        found['user'] = words['name'].removeprefix('client.')
    if 'cluster' in words and 'conf' not in found:
        found['conf'] = f'/etc/ceph/{words["cluster"]}.conf'
    return found


def _lacks(words: dict[str, str]) -> str:
    if 'encryption' in words:
        return 'it decrypts the image itself'
    if 'key' in words or 'keyfile' in words:
        return 'its key is not in a keyring'
    return ''
