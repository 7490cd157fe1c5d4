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
"""What a connector works with: all of it can be replaced by a test."""

from collections.abc import Callable
import dataclasses
import functools
import os
import threading
import time

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.agent import client
from os_brick_healer.conf import files, opts, policy
from os_brick_healer.connector import act, ask, brick, reach, records
from os_brick_healer.connector import host as host_lib
from os_brick_healer.connector import legs as legs_lib
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.provisioner import base, loader
from os_brick_healer.sysfs import reader

#: How long disconnect waits for the agent to say that it has let go. It
#: does not depend on the answer: os-brick's locks keep the two apart.
RELEASE_S = 1.0

Portals = frozenset[legs_lib.Portal]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options that a connector uses; seconds."""

    keep_alive_s: int = 5
    reconnect_delay_s: int = 1
    resolve_timeout_s: float = 3.0
    command_timeout_s: float = 30.0
    stale_allowed: bool = False


def settings_of(conf: cfg.ConfigOpts) -> Settings:
    """Read the options now, so that a reload counts."""
    group = conf[opts.GROUP]
    return Settings(
        keep_alive_s=policy.profile(conf).keep_alive_s,
        reconnect_delay_s=group.reconnect_delay,
        resolve_timeout_s=group.connect_resolve_timeout,
        command_timeout_s=group.command_timeout,
        stale_allowed=group.connect_stale_legs)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The world of a connector.

    :ivar release: asks the agent to let go of a volume; may raise.
    :ivar delete_controller: see :func:`act.delete_controller`.
    :ivar answering: which of the portals answer; see :mod:`reach`.
    :ivar background: runs something that nova must not wait for.
    """

    settings: Callable[[], Settings]
    records: records.Records
    asker: ask.Asker
    release: Callable[[str], None]
    host: host_lib.Host
    delete_controller: Callable[
        [host_lib.Controller, str | None, bool, float], bool]
    clear_failfast: Callable[[str, str, str], bool]
    set_reconnect_delay: Callable[[host_lib.Controller, int], bool]
    answering: Callable[[Portals, float], Portals]
    background: Callable[[Callable[[], None]], None]
    sleep: Callable[[float], None] = time.sleep


def in_background(what: Callable[[], None]) -> None:
    """Run it in a daemon thread."""
    threading.Thread(target=what, daemon=True,
                     name='os-brick-healer-connector').start()


@functools.cache
def default() -> Context:
    """The one context of this process, made at the first need."""
    conf = files.beside(cfg.CONF)
    return Context(
        settings=lambda: settings_of(conf),
        records=records.Records(lambda: _journal(conf)),
        asker=ask.Asker(lambda: _provisioner(conf).volumes()),
        release=lambda key: _release(conf, key),
        host=host_lib.Host(reader.Tree()),
        delete_controller=act.delete_controller,
        clear_failfast=act.clear_failfast,
        set_reconnect_delay=act.set_reconnect_delay,
        answering=reach.answering, background=in_background)


def _release(conf: cfg.ConfigOpts, key: str) -> None:
    path = client.socket_path(conf[opts.GROUP].run_path)
    client.Client(path, RELEASE_S).call('release', key=key)


_mutex = threading.Lock()
_journals: dict[tuple[int, str], journal_lib.Journal] = {}
_provisioners: dict[tuple[int, str], base.Provisioner] = {}


def _journal(conf: cfg.ConfigOpts) -> journal_lib.Journal:
    group = conf[opts.GROUP]
    path = os.path.join(group.state_path, 'journal.sqlite')
    slot = (os.getpid(), path)      # SQLite must not be used across a fork
    with _mutex:
        there = _journals.get(slot)
        if there is not None and there.gone:
            # Closed before another one is opened: SQLite's files beside it
            # have the same names, and one of them is mapped into memory.
            there.close()
            del _journals[slot]
        if slot not in _journals:
            journal_lib.make_directory(group.state_path)
            _journals[slot] = journal_lib.Journal(
                path, history_max=group.history_max)
        return _journals[slot]


def _provisioner(conf: cfg.ConfigOpts) -> base.Provisioner:
    slot = (os.getpid(), str(conf[opts.GROUP].provisioner))
    with _mutex:
        if slot not in _provisioners:
            _provisioners[slot] = loader.load(conf, identify(
                conf, uuid=brick.host_uuid, nqn=brick.get_host_nqn))
        return _provisioners[slot]


def identify(conf: cfg.ConfigOpts, *, uuid: Callable[[], str | None],
             nqn: Callable[[], str]) -> base.HostIdentity:
    """Who this host is, as os-brick tells it with root's help.

    :raises HealerError: os-brick's commands cannot be run.
    """
    try:
        return loader.host_identity(conf, uuid=uuid, nqn=nqn)
    except OSError as e:
        raise exception.HealerError(
            'cannot tell the provisioner who this host is: because a '
            f"command of os-brick's cannot be run: {e}",
            hint='may this service use its root helper (sudo, rootwrap)?'
            ) from e
