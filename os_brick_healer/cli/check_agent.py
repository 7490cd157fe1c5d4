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
"""The hook in os-brick, and the agent itself."""

from collections.abc import Iterator
import contextlib
import importlib
from importlib import metadata
import importlib.util
import os
import re
import stat
from typing import Any
import warnings

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.agent import client, lock, record
from os_brick_healer.cli import check_files, finding, render
from os_brick_healer.cli.finding import Finding, Host
from os_brick_healer.conf import opts
from os_brick_healer.connector import registration

HOOK = 'os_brick.initiator.connectors.nvmeof_agent'
UNIT = 'os-brick-healer.service'
UNIT_PLACES = ('/etc/systemd/system', '/run/systemd/system',
               '/usr/local/lib/systemd/system', '/usr/lib/systemd/system',
               '/lib/systemd/system')
#: The agent is asked for so long at most, and its question to the provisioner
#: may be out for so long, seconds.
ASK_S, WAITING_S = 2.0, 10.0
WANTS = f'/etc/systemd/system/multi-user.target.wants/{UNIT}'


def hook() -> Iterator[Finding]:
    """What makes os-brick build our connector and start the agent."""
    try:
        with warnings.catch_warnings():     # eventlet's, where it is there
            warnings.simplefilter('ignore')
            present = importlib.util.find_spec(HOOK) is not None
            importlib.import_module(registration.MODULE)
    except ImportError as e:
        yield finding.fail('os-brick', f'cannot be imported: {e}',
                           'install os-brick into this very Python')
        return
    yield finding.ok('os-brick', metadata.version('os-brick'))
    reinstall = ('pip install --force-reinstall --no-deps os-brick-healer '
                 "into nova-compute's Python; an editable install does not "
                 'place this file')
    if not present:
        yield finding.fail(
            'hook', f'{HOOK} is not there: nothing starts the agent on '
            'connect', reinstall)
        return
    yield finding.ok('hook', HOOK)
    if registration.register():
        yield finding.ok('connector', registration.OURS)
    else:
        yield finding.fail(
            'connector', "os-brick's mapping names another class than ours",
            'is a second package replacing it, or this one half installed?')


def launch(host: Host, conf: cfg.ConfigOpts,
           ask_s: float = ASK_S) -> Iterator[Finding]:
    """How the agent comes to run, and whether it does."""
    match conf[opts.GROUP].launch:
        case 'systemd':
            yield from _unit(host)
        case 'process':
            if not host.tree.exists(client.SYSTEMD_RUNS):
                yield finding.warn(
                    'launch', 'process, and systemd does not run here: only '
                    'the next attach starts an agent again that has died',
                    'where something else can keep it alive, let that start '
                    'it, and set launch = none')
            elif host.which('systemd-run') is None:
                yield finding.warn(
                    'launch', 'process, without systemd-run: the agent stays '
                    "in nova-compute's control group",
                    'KillMode=process for nova-compute')
            else:
                yield finding.ok('launch', 'process, by systemd-run')
        case 'thread':
            yield finding.warn(
                'launch', 'thread: while nova-compute is down, nothing heals',
                'launch = systemd')
        case mode:
            yield finding.warn(
                'launch', f'{mode}: a connector never starts the agent',
                'launch = systemd, or see to it yourself')
    told, silent = _ask(conf[opts.GROUP].run_path, ask_s)
    yield _running(host, conf, silent)
    yield from _waiting(told)


def _ask(run_path: str, ask_s: float) -> tuple[Any, str | None]:
    """The agent's status if it is told, and why nobody answers."""
    path = client.socket_path(run_path)
    try:
        return client.Client(path, ask_s).call('status'), None
    except (client.AgentRefused, client.AgentDenied):
        return None, None       # an answer, too
    except client.AgentDown:
        return None, f'nobody listens on {path}'
    except exception.HealerError as e:
        return None, e.sentence


def _waiting(told: Any) -> Iterator[Finding]:
    """Whether the agent that runs waits for its provisioner."""
    try:
        waiting_s = float(told['agent']['provisioner']['waiting_s'])
    except (LookupError, TypeError, ValueError):
        return      # no agent, or no question that is out
    if waiting_s >= WAITING_S:
        yield finding.warn(
            'provisioner', f'the agent asked it {render.duration(waiting_s)} '
            'ago, and has no answer yet', 'see what the provisioner does; a '
            'plugin that never comes back wants a restart of the agent')


def _unit(host: Host) -> Iterator[Finding]:
    found = [f'{place}/{UNIT}' for place in UNIT_PLACES
             if host.tree.exists(f'{place}/{UNIT}')]
    if not found:
        yield finding.fail(
            'systemd unit', f'{UNIT} is not installed', 'copy it to '
            '/etc/systemd/system, then systemctl daemon-reload; where there '
            'is no systemd, launch = process')
        return
    yield finding.ok('systemd unit', found[0])
    if host.tree.readlink(WANTS) is None:
        yield finding.warn(
            'at boot', 'the agent is not started: guests that are resumed '
            'have none before the next connect',
            f'systemctl enable {UNIT}')
    else:
        yield finding.ok('at boot', 'the agent is started')


def runs_as(host: Host, conf: cfg.ConfigOpts) -> int | None:
    """The user id of the agent that runs, None: none does, or not told."""
    try:
        holder = lock.holder(conf[opts.GROUP].run_path)
    except exception.HealerError:       # the line of the agent says it
        return None
    if holder is None or holder.pid is None:
        return None
    status = host.tree.read(f'/proc/{holder.pid}/status') or ''
    found = re.search(r'^Uid:\s+\d+\s+(\d+)', status, re.MULTILINE)
    return None if found is None else int(found[1])


def _lock_shut(host: Host, conf: cfg.ConfigOpts) -> Finding | None:
    """An agent that was once run by another user has left its locks."""
    group = conf[opts.GROUP]
    for directory in (group.run_path, group.state_path):
        path = f'{directory}/{lock.NAME}'
        try:
            found = os.stat(host.tree.path(path))
        except OSError:
            continue
        barred = check_files.barred(host, conf, found, stat.S_IWOTH)
        if barred:
            return finding.warn(
                'agent', f'does not run, and could not as '
                f'{", ".join(barred)}, who cannot write {path}',
                f'chown {barred[0]} {path}')
    return None


def _apart(group: Any) -> Finding | None:
    """An agent whose run_path is another one, or was taken away."""
    try:
        holder = lock.holder(group.state_path)
    except lock.NoLockFile as e:
        return _no_lock(e)
    except exception.HealerError:       # another user's: see _lock_shut
        return None
    if holder is None:
        return None
    return finding.fail(
        'agent', f'{holder} runs, and is not found in {group.run_path}: its '
        'run_path is another one, or was taken away',
        'restart it with this configuration')


def _no_lock(e: lock.NoLockFile) -> Finding:
    return finding.fail('agent', e.sentence, e.hint or 'remove it')


def _astray(host: Host, group: Any, runs: lock.Holder) -> Finding | None:
    """An agent whose state_path is another one: so is its journal."""
    try:
        book = lock.holder(group.state_path)
    except lock.NoLockFile as e:
        return _no_lock(e)
    except exception.HealerError:       # another user's
        return None
    said = f'{runs} runs with another state_path than {group.state_path}'
    if book is None:
        found = _journal_lock(host, group, runs)
        if found is None:       # an older release has none
            return None
        return finding.fail('agent', f'{said}: it holds {found}',
                            'restart it with this configuration')
    if runs.pid is None or book.pid in (None, runs.pid):
        return None
    return finding.fail('agent', f'{said}: {book} holds the lock in that',
                        'stop both, and start one with this configuration')


def _journal_lock(host: Host, group: Any, runs: lock.Holder) -> str | None:
    """The lock of a journal that a process holds; None: none, not told."""
    known = f'{group.run_path}/{lock.NAME}'
    with contextlib.suppress(exception.HealerError, OSError):
        for fd in host.tree.listdir(f'/proc/{runs.pid}/fd'):
            link = f'/proc/{runs.pid}/fd/{fd}'
            path = host.tree.readlink(link) or ''
            if os.path.basename(path) == lock.NAME and (
                    not os.path.samefile(host.tree.path(link), known)):
                return path
    return None


def _running(host: Host, conf: cfg.ConfigOpts,
             silent: str | None = None) -> Finding:
    """:param silent: why nobody answers."""
    group = conf[opts.GROUP]
    try:
        holder = lock.holder(group.run_path)
    except lock.NoLockFile as e:
        return _no_lock(e)
    except exception.HealerError as e:
        return finding.warn('agent', e.sentence, e.hint or 'run as root')
    if holder is None:
        return _down(host, conf)
    if silent is not None:
        return finding.warn(
            'agent', f'{holder} holds the lock, and does not answer: '
            f'{silent}', 'it may be starting: look again in a minute; else '
            'see its log, and restart it')
    return _astray(host, group, holder) or finding.ok(
        'agent', f'{holder} runs')


def _down(host: Host, conf: cfg.ConfigOpts) -> Finding:
    """No agent is found: whether one runs elsewhere, or could not."""
    group = conf[opts.GROUP]
    found = _apart(group) or _lock_shut(host, conf)
    if found is not None:
        return found
    last = record.read(group.state_path)
    return finding.warn(
        'agent', 'does not run' if last is None else
        f'does not run; {last.failures} attempts failed, the last: '
        f'{last.error}', f'systemctl start {UNIT}'
        if host.tree.exists(client.SYSTEMD_RUNS)
        else 'systemd does not run here: start os-brick-healer-agent')
