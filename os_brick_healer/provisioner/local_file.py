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
"""The file of the local provisioner: how it is read, changed and written.

The format is in ``doc/source/vendor/local.rst``. Keys that are not known
here are kept as they are, so an operator's notes survive.
"""

from collections.abc import Callable, Iterator
import contextlib
import errno
import fcntl
import json
import os
import tempfile
import time
from typing import Any, TypeVar

from os_brick_healer import exception, regular
from os_brick_healer.engine import columns
from os_brick_healer.provisioner import base, reading

FORMAT = 1
FILE_BYTES_MAX = 16 * 1024 * 1024
LOCK_TIMEOUT_S = 5.0
LOCK_POLL_S = 0.02
BYTES_MOST = 1 << 62
_SHOWN_MAX = 80

_T = TypeVar('_T')
_TRANSPORTS = ('tcp', 'rdma')
_STATES = {state.value: state for state in base.ReplicaState}


# -- reading --

def load(path: str) -> reading.Cursor:
    """Read the file whole.

    :raises ProvisionerUnreachable: it cannot be read.
    :raises ProvisionerNonsense: it is not what it should be.
    """
    try:
        text = regular.read(path, FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise exception.ProvisionerUnreachable(
            f'cannot read {path}: because it does not exist',
            hint='write it (see "The local provisioner" in the '
                 'documentation), or name another provisioner in '
                 '[os_brick_healer] provisioner') from None
    except OSError as error:
        raise exception.ProvisionerUnreachable(
            f'cannot read {path}: because {error.strerror}') from None
    if len(text) > FILE_BYTES_MAX:
        raise exception.ProvisionerNonsense(
            f'cannot use {path}: because it has more than {FILE_BYTES_MAX} '
            'bytes')
    document = reading.load(text, path)
    told = document.key('format').integer(0, 1000)
    if told != FORMAT:
        raise exception.ProvisionerNonsense(
            f'cannot use {path}: because it is of format {told}, and this '
            f'version reads format {FORMAT}')
    document.key('volumes').mapping()
    for name in ('spares', 'retired'):
        found = document.maybe(name)
        if found is not None:
            for entry in found.each():
                entry.mapping()
    return document


def hosts(entry: reading.Cursor) -> frozenset[str] | None:
    """Names of the hosts that a volume is published to, None = not told."""
    listed = entry.maybe('hosts')
    if listed is None:
        return None
    return frozenset(one.text() for one in listed.each())


def check_name(name: str, entry: reading.Cursor) -> None:
    """A volume's name goes to a journal, a log and a terminal.

    :raises ProvisionerNonsense: it cannot.
    """
    if not (0 < len(name) <= reading.TEXT_MAX and name.isprintable()):
        raise exception.ProvisionerNonsense(
            f'cannot use {entry.source}: because a volume in it is called '
            f'{shown(name)}, and not what can be printed within '
            f'{reading.TEXT_MAX} characters')


def shown(name: str) -> str:
    """A volume's name as it can be told; one that can be used as it is."""
    if len(name) > reading.TEXT_MAX:
        name = f'{name[:_SHOWN_MAX]}...'
    return columns.one_line(name) or '(no name)'


def volume(name: base.VolumeId, entry: reading.Cursor,
           holders: frozenset[str]) -> base.Volume:
    """One volume; raises ProvisionerNonsense that names the key."""
    replicas = tuple(replica(one) for one in entry.key('replicas').each())
    if len({one.id for one in replicas}) != len(replicas):
        raise entry.key('replicas').wrong('a list that names an id once')
    requests(entry)
    alias, grace = entry.maybe('alias'), entry.maybe('grace_s')
    return base.Volume(
        id=name,
        alias=name if alias is None else alias.text(),
        size_bytes=size(entry),
        replica_count=entry.key('replica_count').integer(1, 64),
        replicas=replicas,
        hosts=holders,
        grace_s=None if grace is None else grace.number(0.0, 1e9))


def replica(entry: reading.Cursor) -> base.Replica:
    """One replica of a volume, or a spare one."""
    nqn, uuid = entry.key('nqn').nqn(), entry.key('namespace_uuid')
    size(entry)
    return base.Replica(
        id=base.ReplicaId(entry.key('id').text()), nqn=nqn,
        namespace_uuid=uuid.uuid(),
        portals=tuple(_portal(one) for one in entry.key('portals').each()),
        state=_state(entry.maybe('state')))


def size(entry: reading.Cursor) -> int | None:
    """A size in bytes, None = not told."""
    found = entry.maybe('size_bytes')
    return None if found is None else found.integer(1, BYTES_MOST)


def requests(entry: reading.Cursor) -> dict[str, str]:
    """Replacements that were asked for: request id -> the new replica."""
    made = entry.maybe('requests')
    if made is None:
        return {}
    return {key: one.text() for key, one in made.items()}


def _state(word: reading.Cursor | None) -> base.ReplicaState:
    if word is None:
        return base.ReplicaState.AVAILABLE
    if word.text() not in _STATES:
        raise word.wrong('one of ' + ', '.join(_STATES))
    return _STATES[word.text()]


def _portal(entry: reading.Cursor) -> base.Portal:
    address, port = entry.key('address'), entry.key('port')
    transport = entry.maybe('transport')
    word = 'tcp' if transport is None else transport.text()
    if transport is not None and word not in _TRANSPORTS:
        raise transport.wrong('one of ' + ', '.join(_TRANSPORTS))
    return base.Portal(address=address.ip(), port=port.integer(1, 65535),
                       transport=word)


# -- writing --

#: What stands beside the file while it is changed, and after.
LOCK_SUFFIX = '.lock'
_WRITABLE = ('the agent changes the file of the local provisioner: its '
             'directory must be writable')


def check_changeable(path: str) -> None:
    """Could this process change the file? Nothing is tried, only looked at.

    :raises ProvisionerUnreachable: it could not, and why.
    """
    path = os.path.realpath(path)
    directory, lock = os.path.dirname(path), f'{path}{LOCK_SUFFIX}'
    for needed, mode in ((directory, os.W_OK | os.X_OK),
                         (lock, os.R_OK | os.W_OK)):
        if needed == lock and not os.path.lexists(lock):
            continue        # it is made when it is needed
        if not os.access(needed, mode, effective_ids=True):
            raise exception.ProvisionerUnreachable(
                f'cannot change {path}: because the user of this process '
                f'(id {os.geteuid()}) may not write {needed}',
                hint=_WRITABLE if needed == directory
                else f'remove {lock}, or chown it to that user')


@contextlib.contextmanager
def changing(path: str) -> Iterator[reading.Cursor]:
    """The document, to be changed in place; written if it was changed.

    One writer at a time, on this host: the lock is on a file beside it,
    since the file itself is another one after each change. Whoever reads
    sees the old content or the new, never a part: the new one is written
    aside, synced, and renamed over the old one.
    """
    # A rename would replace a symbolic link, not what it leads to.
    path = os.path.realpath(path)
    with _locked(f'{path}{LOCK_SUFFIX}'):
        document = load(path)
        before = _text(path, document.mapping())
        yield document
        after = _text(path, document.mapping())
        if after != before:
            _written(path, lambda: _replace(path, after))


def _text(path: str, document: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(document, indent=2) + '\n').encode()
    except RecursionError:
        # json writes less deep than it reads.
        raise exception.ProvisionerNonsense(
            f'cannot use {path}: because it is nested too deeply') from None


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    descriptor = _written(path, lambda: regular.opened(
        path, os.O_RDWR | os.O_CREAT))
    try:
        give_up_s = time.monotonic() + LOCK_TIMEOUT_S
        while not _try_lock(path, descriptor):
            if time.monotonic() > give_up_s:
                raise exception.ProvisionerUnreachable(
                    f'cannot lock {path}: because another process has held '
                    f'it for {LOCK_TIMEOUT_S:g} s')
            time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(path: str, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise exception.ProvisionerUnreachable(
            f'cannot lock {path}: because {error.strerror}') from None
    return True


def _written(path: str, step: Callable[[], _T]) -> _T:
    try:
        return step()
    except OSError as error:
        raise exception.ProvisionerUnreachable(
            f'cannot write {path}: because {error.strerror}',
            hint=_WRITABLE) from None


def _replace(path: str, text: bytes) -> None:
    directory = os.path.dirname(path)
    old = os.stat(path)
    descriptor, temporary = tempfile.mkstemp(
        prefix='.volumes-', suffix='.new', dir=directory)
    try:
        with os.fdopen(descriptor, 'wb') as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), old.st_mode & 0o7777)
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                with contextlib.suppress(PermissionError):
                    os.fchown(stream.fileno(), old.st_uid, old.st_gid)
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    # The rename itself is on disk only once the directory is.
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(held)
    finally:
        os.close(held)
