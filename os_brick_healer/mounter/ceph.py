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
"""What the mounters of Ceph's data have in common.

Ceph looks for options in every word, and takes a path for several: what is
named is checked here before it comes near a command line.
"""

from collections.abc import Iterable, Mapping
import re

from os_brick_healer import exception
from os_brick_healer.mounter import base

CONFIG = '/etc/ceph/'
_PLAIN = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,127}')
#: Not the beginning of an option.
_MONITORS = re.compile(r'[A-Za-z0-9\[][A-Za-z0-9_.:,\[\]/-]{0,999}')
#: Between several paths.
_BETWEEN = re.compile(r'[,;=\s]')


def check(found: Mapping[str, str], plain: Iterable[str]) -> None:
    """Refuse what Ceph would take for something else.

    :param plain: which of the words are plain names.
    :raises MounterRefused: says which and why.
    """
    for name in plain:
        if name in found and _PLAIN.fullmatch(found[name]) is None:
            raise refused(f'{name} {found[name]!r} is no plain name')
    for name in ('conf', 'keyring'):
        if name not in found:
            continue
        if not base.path(found[name], name).startswith(CONFIG):
            raise refused(f'{name} is not below {CONFIG}')
        if _BETWEEN.search(found[name]):
            raise refused(f'{name} is more than one path')
    if 'monitors' in found and (
            _MONITORS.fullmatch(found['monitors']) is None):
        raise refused('monitors are no addresses')


def continues(mapped: base.Source, given: base.Source) -> bool:
    """Whether only monitors differ, and not all of them: an address is of
    one cluster only, and images of one name are in many."""
    mine, its = monitors(mapped), monitors(given)
    return (mine == its or bool(mine & its)) and {
        **mapped, 'monitors': ''} == {**given, 'monitors': ''}


def monitors(source: base.Source) -> frozenset[str]:
    """Those that are named, in whatever order."""
    return frozenset(filter(None, source.get('monitors', '').split(',')))


def conf(source: base.Source) -> str:
    """The file that tells how the cluster is found."""
    return source.get('conf', f'{CONFIG}ceph.conf')


def access(source: base.Source) -> tuple[str, ...]:
    """How the cluster is found, and as whom; the secret is in a file."""
    return tuple(word for name, option in (
        ('user', '--id'), ('conf', '--conf'), ('keyring', '--keyring'),
        ('monitors', '--mon-host')) if name in source
        for word in (option, source[name]))


def admin(order: base.Order) -> str:
    """The socket at which the process is asked how it is."""
    return base.root_socket(order.volume, 'asok')


def refused(why: str) -> exception.MounterRefused:
    """The error of a source that is not served."""
    return exception.MounterRefused(f'cannot serve this: because {why}')
