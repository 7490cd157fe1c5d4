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
"""Ceph RBD images, served by rbd-nbd (Ceph 16.2 and later).

rbd-nbd gives the kernel its connection itself: ``map`` makes a device,
``attach`` gives a device whose process died a new one. Both are run in the
foreground, so that the process that serves is the one that was started.

``--try-netlink``: without it the death of the process destroys the device.
``--io-timeout 0``: with another one slow storage is cut off and its requests
fail. It is said to ``map`` alone: ``attach`` would take the short timer of
requests from the device that is about to come back.

``--rbd-cache=false``: with its cache librbd acknowledges writes that it has
not sent to the storage yet, as soon as the guest has flushed once. What a
killed process had acknowledged would be lost, and the next flush, through
another process, would succeed all the same.

An image with the feature exclusive-lock belongs to the client that wrote to
it last. When that is killed, the next one waits until the cluster has
forgotten it, some 30 s. ``rbd lock rm`` ends the hold of one client, named by
the number that the monitors gave it, and has its address blocklisted. The
number is what rbd-nbd itself said in its log when it was let in
(``--debug-monc 5``).

The secret is in a keyring that is named, and is never an argument. Only
files below /etc/ceph are named, which root alone writes: a configuration of
Ceph can make its client write files.
"""

from collections.abc import Mapping, Sequence
import json
import re

from os_brick_healer.mounter import base, ceph, rbd_words

_CLIENT = re.compile(
    r'monclient: authenticate success, global_id ([0-9]{1,20})')
_GONE = re.compile(
    r'error (?:opening (?:image|pool)|setting snapshot context)[^;]{0,300}'
    r'\(2\) No such file or directory')
_LOCK = 'exclusive-lock'
_LOCKER = re.compile(r'client\.[0-9]{1,20}')
#: How librbd calls the lock of the feature; others are somebody's own.
_CLAIM = re.compile(r'auto [0-9]{1,20}')
_ADDRESS_CHARACTERS_MAX = 200
_OPTIONAL = ('namespace', 'snapshot', 'user', 'conf', 'keyring', 'monitors',
             'readonly', 'exclusive')


class RbdNbdMounter(base.Mounter):
    """``{'pool': 'volumes', 'image': 'volume-1', 'user': 'cinder'}``.

    Optional: ``namespace``, ``snapshot`` (read-only), ``conf`` and
    ``keyring`` (below /etc/ceph), ``monitors``, ``readonly`` and
    ``exclusive`` (each ``true``).
    """

    abilities = base.Abilities(transparent=True, can_fence=True,
                               detects_hang=True)
    style = base.Style.ITSELF
    program = 'rbd-nbd'
    names = ('pool', 'namespace', 'image', 'snapshot')
    tool = 'rbd'

    def normalize(self, given: Mapping[str, object]) -> base.Source:
        """See :class:`base.Mounter`."""
        found = base.words(given, required=('pool', 'image'),
                           optional=_OPTIONAL)
        ceph.check(found, plain=('pool', 'image', 'namespace', 'snapshot',
                                 'user'))
        for name in ('readonly', 'exclusive'):
            if found.get(name, 'true') != 'true':
                raise ceph.refused(f"{name} is 'true' or not there")
        return found

    def continues(self, mapped: base.Source, given: base.Source) -> bool:
        """See :class:`base.Mounter`."""
        return ceph.continues(mapped, given)

    def server(self, order: base.Order) -> base.Server:
        """See :class:`base.Mounter`."""
        source = order.source
        verb = ('map', '--io-timeout', '0') if order.device is None else (
            'attach', '--device', f'/dev/{order.device}')
        options = ['--try-netlink', '--reattach-timeout',
                   str(order.reattach_s), '--cookie', order.volume]
        if 'exclusive' in source:
            options.append('--exclusive')
        if 'readonly' in source or 'snapshot' in source:
            options.append('--read-only')
        return base.Server(as_root=True, argv=(
            self.program, *verb, '--foreground', *options,
            *ceph.access(source), '--rbd-cache=false',
            '--admin-socket', ceph.admin(order),
            '--log-to-stderr=true', '--debug-monc=5/10', spec(source)))

    def marks(self, order: base.Order) -> tuple[str, ...]:
        """See :class:`base.Mounter`."""
        return ('--cookie', order.volume, '--admin-socket', ceph.admin(order))

    def claim(self, argv: Sequence[str]) -> base.Claim | None:
        """See :class:`base.Mounter`."""
        return rbd_words.claim(argv)

    def question(self, order: base.Order) -> base.Question:
        """See :class:`base.Mounter`. Ceph's admin socket answers as long as
        the process lives, whatever its monitors and OSDs do."""
        return base.Question(socket=ceph.admin(order), as_root=True,
                             words=b'{"prefix": "version"}\0')

    def obeyed(self, order: base.Order) -> tuple[str, ...]:
        """See :class:`base.Mounter`."""
        return (ceph.conf(order.source),)

    def is_gone(self, order: base.Order, words: str) -> bool:
        """See :class:`base.Mounter`."""
        del order
        return _GONE.search(words) is not None

    def ask_data(self, order: base.Order) -> tuple[str, ...]:
        """See :class:`base.Mounter`. rbd-nbd ends without a word when there
        is no such image."""
        return (self.tool, 'info', '--format', 'json',
                *ceph.access(order.source), spec(order.source))

    def lacks(self, order: base.Order, told: str) -> str:
        """See :class:`base.Mounter`. ``rbd info`` lists the features."""
        source = order.source
        if 'readonly' in source or 'snapshot' in source:
            return ''
        features = _of_info(told, 'features')
        if not isinstance(features, list) or _LOCK in features:
            return ''
        return (f'its image lacks the feature {_LOCK}: a client that died '
                'cannot be shut out, and a write of it that the storage '
                'takes late may come after a newer one')

    def size_bytes(self, order: base.Order, told: str) -> int | None:
        """See :class:`base.Mounter`. rbd-nbd of Ceph 16.2 tells the kernel
        of a new size without the cookie, and the kernel refuses that."""
        del order
        found = _of_info(told, 'size')
        return found if type(found) is int and found > 0 else None

    def client(self, line: str) -> str | None:
        """See :class:`base.Mounter`."""
        found = _CLIENT.search(line)
        return None if found is None else f'client.{found[1]}'

    def ask_holders(self, order: base.Order) -> tuple[str, ...]:
        """See :class:`base.Mounter`."""
        source = order.source
        if 'readonly' in source or 'snapshot' in source:
            return ()
        return (self.tool, 'lock', 'ls', '--format', 'json',
                *ceph.access(source), spec(source))

    def holders(self, listed: str) -> tuple[base.Holder, ...]:
        """See :class:`base.Mounter`."""
        try:
            told = json.loads(listed)
        except RecursionError:
            raise ValueError('a list without an end') from None
        if not isinstance(told, list):
            raise ValueError(f'{type(told).__name__} is no list')
        every = [_holder(lock) for lock in told]
        return tuple(one for one in every if one is not None)

    def shut_out(self, order: base.Order,
                 holder: base.Holder) -> tuple[str, ...]:
        """See :class:`base.Mounter`."""
        return (self.tool, 'lock', 'rm', *ceph.access(order.source),
                spec(order.source), holder.claim, holder.client)


def spec(source: base.Source) -> str:
    """An image as rbd writes it: pool/[namespace/]image[@snapshot]."""
    parts = [source['pool'], source.get('namespace', ''), source['image']]
    name = '/'.join(part for part in parts if part)
    return name + (f'@{source["snapshot"]}' if 'snapshot' in source else '')


def _holder(lock: object) -> base.Holder | None:
    """A lock as ``rbd lock ls`` lists it; None: it is not the feature's.

    :raises ValueError: it is none.
    """
    if not isinstance(lock, dict):
        raise ValueError(f'{type(lock).__name__} is no lock')
    claim, client, address = (
        lock.get(name) for name in ('id', 'locker', 'address'))
    if not (isinstance(claim, str) and isinstance(client, str)
            and isinstance(address, str) and address.isprintable()
            and len(address) <= _ADDRESS_CHARACTERS_MAX):
        raise ValueError('a lock without a holder')
    if _CLAIM.fullmatch(claim) is None:
        return None
    if _LOCKER.fullmatch(client) is None:
        raise ValueError(f'{client!r:.200} is no client')
    return base.Holder(client=client, address=address, claim=claim)


def _of_info(told: str, name: str) -> object:
    """One value of what ``rbd info --format json`` prints, if it is one."""
    try:
        found = json.loads(told)
    except (ValueError, RecursionError):
        return None
    return found.get(name) if isinstance(found, dict) else None
