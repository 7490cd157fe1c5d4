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
"""Directories, locks and privilege: what is shared with nova-compute."""

from collections.abc import Iterator
import configparser
import contextlib
import os
import pathlib
import shlex
import stat
from typing import Any

from oslo_config import cfg

from os_brick_healer import exception, regular
from os_brick_healer.agent import client, control
from os_brick_healer.cli import finding, offline
from os_brick_healer.cli.finding import Finding, Host, Level
from os_brick_healer.conf import opts
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.mapping import model as mapping_model
from os_brick_healer.provisioner import local_file
from os_brick_healer.replica import model

CONTEXT = 'os_brick_healer.privileged.context'
FREE_BYTES_MIN = 16777216
RW_OTHERS = stat.S_IWOTH
#: To make a file in a directory.
WX_OTHERS = stat.S_IWOTH | stat.S_IXOTH


def lock_path(host: Host, conf: cfg.ConfigOpts) -> Iterator[Finding]:
    """The directory whose locks keep the agent and os-brick apart."""
    subject = 'lock_path'
    path = conf.os_brick.lock_path or conf.oslo_concurrency.lock_path
    if not path:
        yield finding.fail(
            subject, 'is not set: the agent and nova-compute would change '
            'an array at the same time', 'set [oslo_concurrency] lock_path '
            'in nova.conf, and let the agent read that file')
        return
    yield from _directory(host, conf, subject, path, missing_is_ok=False,
                          ours=False)


def directories(host: Host, conf: cfg.ConfigOpts) -> Iterator[Finding]:
    """state_path and run_path."""
    group = conf[opts.GROUP]
    yield from _directory(host, conf, 'state_path', group.state_path,
                          missing_is_ok=False)
    yield from _room(host, group.state_path)
    yield from _directory(host, conf, 'run_path', group.run_path,
                          missing_is_ok=True)
    path = client.socket_path(group.run_path)
    if control.is_too_long(path):
        yield finding.fail(
            'run_path', f'{path} is longer than the {control.PATH_MAX} bytes '
            'that the kernel takes for a socket', 'choose a shorter run_path')


def _directory(host: Host, conf: cfg.ConfigOpts, subject: str, path: str, *,
               missing_is_ok: bool, ours: bool = True) -> Iterator[Finding]:
    """:param ours: the agent makes it."""
    try:
        found = os.stat(host.tree.path(path))
    except FileNotFoundError:
        make = finding.warn if missing_is_ok else finding.fail
        once = 'start the agent once, or: ' if ours else ''
        yield make(subject, f'{path} does not exist',
                   f'{once}{_make(conf, path)}')
        return
    except OSError as e:
        yield finding.warn(subject, f'{path} cannot be looked at: '
                           f'{e.strerror}', 'run this as root')
        return
    if not stat.S_ISDIR(found.st_mode):
        yield finding.fail(subject, f'{path} is no directory',
                           'name a directory in the configuration')
    elif found.st_mode & RW_OTHERS and not found.st_mode & stat.S_ISVTX:
        yield finding.fail(subject, f'{path} can be written by anybody',
                           f'chmod o-w {path}')
    else:
        told = _writable(host, conf, subject, path, found, WX_OTHERS)
        if told.level is Level.OK:
            told = _cut_off(host, conf, subject, path) or told
        yield told


def _make(conf: cfg.ConfigOpts, path: str) -> str:
    """The command that makes a directory as the unit makes it."""
    users = [u for u in conf[opts.GROUP].control_users if u != 'root']
    owner = users[0] if users else 'root'
    mode = '0770' if path == conf[opts.GROUP].state_path else '0755'
    return f'install -d -o {owner} -g {owner} -m {mode} {path}'


def barred(host: Host, conf: cfg.ConfigOpts, found: os.stat_result,
           wanted: int) -> list[str]:
    """Those who attach volumes or run the agent, and may not do this.

    :param wanted: bits as of "others", such as S_IWOTH.
    """
    return [u for u in conf[opts.GROUP].control_users
            if (who := host.user(u)) is not None
            and not _may(found, who, wanted)]


def cut_off(host: Host, conf: cfg.ConfigOpts,
            path: str) -> tuple[str, str] | None:
    """Why a file cannot be written that its own mode lets be written.

    :returns: a sentence, and the way out.
    """
    if host.read_only(host.tree.path(path)):
        return (f'{path} is on a file system that is read-only',
                'mount it to be written, or name another place')
    for above in _above(host, path):
        try:
            found = os.stat(host.tree.path(above))
        except OSError:
            continue
        kept_out = barred(host, conf, found, stat.S_IXOTH)
        if kept_out:
            return (f'{path} cannot be reached by {", ".join(kept_out)}, '
                    f'who may not search {above}',
                    f'chmod a+x {above}, or name another place')
    return None


def _above(host: Host, path: str) -> list[str]:
    """The directories that lead to a path, and to what it is a link to."""
    real = os.path.relpath(os.path.realpath(host.tree.path(path)),
                           os.path.realpath(host.tree.path('/')))
    return list(dict.fromkeys(
        str(one) for name in (path, f'/{real}')
        for one in reversed(pathlib.PurePosixPath(name).parents)))


def _cut_off(host: Host, conf: cfg.ConfigOpts, subject: str,
             path: str) -> Finding | None:
    why = cut_off(host, conf, path)
    return None if why is None else finding.fail(subject, *why)


def _writable(host: Host, conf: cfg.ConfigOpts, subject: str, path: str,
              found: os.stat_result, wanted: int = RW_OTHERS) -> Finding:
    """By everybody who attaches volumes or runs the agent."""
    kept_out = barred(host, conf, found, wanted)
    if not kept_out:
        return finding.ok(subject, path)
    return finding.fail(
        subject, f'{path} cannot be written by {", ".join(kept_out)}',
        f'chown {kept_out[0]} {path}; chmod u+rwx {path}')


def _may(found: os.stat_result, who: Any, wanted: int) -> bool:
    if who.pw_uid == 0:
        return True
    if who.pw_uid == found.st_uid:
        wanted <<= 6
    elif found.st_gid in os.getgrouplist(who.pw_name, who.pw_gid):
        wanted <<= 3
    return found.st_mode & wanted == wanted


def readable(host: Host, conf: cfg.ConfigOpts, subject: str,
             path: str) -> Iterator[Finding]:
    """Whether everybody who needs a file can read it; silent if so."""
    try:
        found = os.stat(host.tree.path(path))
    except OSError:
        return      # whoever reads it says what is wrong
    kept_out = barred(host, conf, found, stat.S_IROTH)
    if kept_out:
        yield finding.fail(
            subject, f'{path} cannot be read by {", ".join(kept_out)}',
            f'chgrp {kept_out[0]} {path}; chmod g+r {path}')


def replaceable(host: Host, conf: cfg.ConfigOpts, subject: str,
                path: str) -> Iterator[Finding]:
    """Whether a file can be renamed over: the local provisioner's is."""
    yield from readable(host, conf, subject, path)
    real = os.path.realpath(host.tree.path(path))
    shown = os.path.dirname(path)
    told = [_writable(host, conf, subject, shown,
                      os.stat(os.path.dirname(real)), WX_OTHERS)]
    lock = f'{real}{local_file.LOCK_SUFFIX}'
    if os.path.exists(lock):
        told.append(_writable(host, conf, subject,
                              f'{path}{local_file.LOCK_SUFFIX}',
                              os.stat(lock)))
    bad = [one for one in told if one.level is not Level.OK]
    shut = None if bad else _cut_off(host, conf, subject, path)
    yield from bad if shut is None else (shut,)


def journal(host: Host, conf: cfg.ConfigOpts) -> Iterator[Finding]:
    """nova-compute and the agent write to one file, whoever made it."""
    place = conf[opts.GROUP].state_path
    for name in host.tree.listdir(place):
        if not name.startswith('journal.') or 'damaged' in name:
            continue
        path = f'{place}/{name}'
        try:
            found = os.stat(host.tree.path(path))
        except OSError:
            continue
        told = _writable(host, conf, 'journal', path, found)
        if told.level is not Level.OK:
            yield told
    path = f'{place}/{offline.JOURNAL}'
    if host.tree.exists(path):
        yield from _sound(host.tree.path(path))


def _sound(path: str) -> Iterator[Finding]:
    """Whether the agent could use the journal; silent if so."""
    with contextlib.suppress(OSError):      # opening it says why
        regular.check(path)
        if os.path.getsize(path) == 0:
            yield finding.warn('journal', f'{path} is empty',
                               'restart the agent: it begins it anew')
            return
    try:
        book = journal_lib.Journal(path, boot_id='', read_only=True)
        try:
            damage = book.damage()
            if damage is None:
                yield from _rows(book)
        finally:
            book.close()
    except exception.HealerError as e:
        yield finding.fail('journal', e.sentence,
                           e.hint or 'see the state_path')
        return
    if damage is not None:
        yield finding.fail(
            'journal', f'{path} is damaged: {damage}',
            'restart the agent: it sets it aside and begins a new one')


def _rows(book: journal_lib.Journal) -> Iterator[Finding]:
    """Attachments of which the agent cannot tell what nova does."""
    for row in book.attachments(whole=False):
        try:
            book.state_of(row, mapping_model.AttachState
                          if row.kind == mapping_model.KIND
                          else model.AttachState)
        except exception.JournalError as e:
            yield finding.fail('journal', f'{e.sentence}: it is not healed',
                               e.hint or 'see the log')


def _room(host: Host, path: str) -> Iterator[Finding]:
    try:
        disk = os.statvfs(host.tree.path(path))
    except OSError:
        return      # that it does not exist has been said
    free = disk.f_bavail * disk.f_frsize
    if free < FREE_BYTES_MIN:
        yield finding.fail(
            'journal', f'the file system of {path} has {free >> 10} KiB '
            'left: without a journal nothing is requested or removed',
            'make room')
    else:
        yield finding.ok('journal', f'{path} has {free >> 20} MiB left')


def privilege(host: Host, conf: cfg.ConfigOpts,
              runs_as: int | None = None) -> Iterator[Finding]:
    """How the agent gets its privileged helper when it is not root.

    :param runs_as: the user id of the agent that runs, None: not known.
    """
    if runs_as == 0:
        yield finding.ok('root_helper', 'not needed: the agent runs as root')
        return
    helper = conf[opts.GROUP].root_helper
    words = shlex.split(helper)
    if not words or host.which(words[0]) is None:
        yield finding.fail(
            'root_helper', f'{helper!r} cannot be run',
            'install sudo, or run the agent as root')
        return
    yield finding.ok('root_helper', helper)
    rootwrap = [w for w in words[1:] if w.endswith('.conf')]
    if not any('rootwrap' in w for w in words) or not rootwrap:
        return
    yield _filter(host, rootwrap[-1])


def _filter(host: Host, path: str) -> Finding:
    """nova's rootwrap runs only what a filter names."""
    subject = 'rootwrap filter'
    hint = ('add the directory with os-brick-healer.filters to filters_path '
            f'in {path}')
    try:
        text = host.tree.read(path)
        if text is None:
            return finding.fail(subject, f'{path} does not exist',
                                'see [os_brick_healer] root_helper')
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        places = parser.get('DEFAULT', 'filters_path', fallback='')
        if not places:
            return finding.fail(subject, f'{path} names no filters_path',
                                hint)
        for place in places.split(','):
            for name in host.tree.listdir(place.strip()):
                there = host.tree.read(f'{place.strip()}/{name}', 1048576)
                if name.endswith('.filters') and _allows(there or ''):
                    return finding.ok(subject, f'{place.strip()}/{name}')
    except (exception.HealerError, configparser.Error) as e:
        return finding.warn(subject, f'cannot be told: {e}',
                            'run this as root')
    return finding.fail(subject, f'no file in {places} allows {CONTEXT}',
                        hint)


def _allows(text: str) -> bool:
    """A filter is a regular expression: its dots may be escaped."""
    return any(CONTEXT in line.replace('\\', '')
               for line in text.splitlines()
               if not line.lstrip().startswith('#'))
