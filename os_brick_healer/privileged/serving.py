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
"""Processes that serve volumes: starting them, and killing the right one.

The command is not given by who asks: the mounter, an installed plugin, is
asked for it on this side of the wall, with words that it has checked again.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import functools
from importlib import metadata
import os
import pwd
import secrets
import select
import shutil
import signal
import subprocess
import threading
import time

from os_brick_healer import exception, privileged
from os_brick_healer.mounter import base, owners
from os_brick_healer.nbd import parse
from os_brick_healer.privileged import check, command, serverlog, unit
from os_brick_healer.sysfs import process, reader

NAMESPACE = 'os_brick_healer.mounters'
REATTACH_S_MAX = 30 * 86400
ENV = '/usr/bin/env'
ASKED_TO_END = ('HUP', 'INT', 'QUIT', 'TERM')
UNIT_PREFIX = 'os-brick-healer-map-'
SYSTEMD_RUNS = '/run/systemd/system'
#: Where systemd's own hierarchy may be: cgroup v2, v1, and both together.
CGROUPS = tuple(f'/sys/fs/cgroup{place}/system.slice'
                for place in ('', '/systemd', '/unified'))
#: What is stopped before a server when the host is shut down (systemd stops
#: in the opposite order): who could start it anew, and what uses volumes.
#: Guests are in scopes, which libvirt has put after its own daemon.
STARTS_BEFORE = (
    'os-brick-healer.service', 'os-brick-healer-agent.service',
    'libvirtd.service', 'virtqemud.service', 'libvirt-guests.service',
    'virt-guest-shutdown.target', 'docker.service', 'remote-fs-pre.target')
#: What is stopped after it.
STARTS_AFTER = ('network.target', 'network-online.target')
#: Short pauses while a unit's process comes up.
_POLL_S = 0.01

Mounters = Callable[[str], base.Mounter]


@functools.cache
def mounter(name: str) -> base.Mounter:
    """An installed mounter; stevedore's work, with less of it imported.

    :raises NotOurs: there is none, or more than one.
    """
    found = tuple(metadata.entry_points(group=NAMESPACE, name=name))
    if len(found) != 1:
        raise exception.NotOurs(
            f'cannot use mounter {name}: it is installed {len(found)} times')
    plugin = found[0].load()
    if not (isinstance(plugin, type) and issubclass(plugin, base.Mounter)):
        raise exception.NotOurs(f'cannot use mounter {name}: it is none')
    return plugin()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be served, checked again."""

    mounter: base.Mounter
    order: base.Order

    def of_ours(self, one: parse.Running) -> bool:
        """Whether a process serves (or is about to serve) this volume."""
        return self.mounter.serves(self.order, one.argv)


def job(name: object, volume: object, source: object, socket: object,
        mounters: Mounters = mounter, *, device: object = None,
        reattach_s: object = 1) -> Job:
    """Check an order that crosses the wall.

    :param device: that the server is to give a new connection; None: none.

    :raises NotOurs: it is none. :raises MounterRefused: the mounter says so.
    """
    owner = check.volume(volume)
    chosen = mounters(check.plugin(name))
    if not isinstance(source, Mapping):
        raise exception.NotOurs('cannot accept a source that is no mapping')
    return Job(mounter=chosen, order=base.Order(
        volume=owner, source=chosen.normalize(source),
        socket=check.socket_of(socket, owner),
        device=None if device is None else (
            check.place(device) if chosen.style is base.Style.MOUNT
            else check.nbd(device)),
        reattach_s=check.number(reattach_s, 1, REATTACH_S_MAX, 'seconds')))


def find(tree: reader.Tree, wanted: Job) -> parse.Running | None:
    """The live process of an order; of users who may serve it alone."""
    programs = frozenset((wanted.mounter.program,))
    for one in process.of_programs(tree, programs):
        if owners.serves(wanted.mounter, wanted.order, one):
            return one
    return None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """Starts servers. :ivar uid: who asked, and whose rights they get."""

    tree: reader.Tree
    uid: int
    log_directory: str = serverlog.DIRECTORY
    sockets: str = base.ROOT_SOCKETS
    path: str = privileged.SEARCH_PATH
    systemd: bool = dataclasses.field(
        default_factory=lambda: os.path.isdir(SYSTEMD_RUNS))

    def start(self, wanted: Job, timeout_s: float) -> parse.Running:
        """Start the server of an order; there must be none.

        :raises NotOurs: one lives already. :raises CommandError: it does
            not come up.
        """
        there = find(self.tree, wanted)
        if there is not None:
            raise exception.NotOurs(
                f'cannot start a server: {there} serves the volume already')
        server = wanted.mounter.server(wanted.order)
        argv = self._argv(server)
        if server.as_root or self.uid == 0:
            for path in wanted.mounter.obeyed(wanted.order):
                unit.only_roots(path)
            os.makedirs(self.sockets, mode=0o700, exist_ok=True)
            self._clear(wanted)
        log = serverlog.begin(wanted.order.volume, self.log_directory,
                              serverlog.about(wanted.order.source))
        until_s = time.monotonic() + timeout_s
        started = self._by_systemd if self.systemd else self._by_hand
        found = started(wanted, server, argv, log, until_s)
        serverlog.known(log, found)
        return found

    def _clear(self, wanted: Job) -> None:
        """Take the socket of a server that has ended out of the way.

        One that cannot close its own device has it open still: Ceph's next
        one would ask there who has it, and wait ten seconds for an answer.
        """
        question = wanted.mounter.question(wanted.order)
        if question is not None and (
                os.path.dirname(question.socket) == self.sockets):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(question.socket)

    def _argv(self, server: base.Server) -> list[str]:
        program = self._found(server.argv[0])
        # A signal that is blocked stays so across execve(2), whatever
        # handler the program installs (env(1) of coreutils 8.31).
        ears = [ENV, f'--block-signal={",".join(ASKED_TO_END)}', '--']
        return [*(ears if server.deaf else ()), program, *server.argv[1:]]

    def _found(self, name: str) -> str:
        """Where a program is. :raises CommandError: nowhere."""
        program = shutil.which(name, path=self.path)
        if program is None or '/' in name:
            raise exception.CommandError(
                f'cannot run {name}: not found in {self.path}',
                hint='install it')
        return program

    def _identity(self, server: base.Server) -> tuple[int, int]:
        if server.as_root or self.uid == 0:
            return 0, 0
        return self.uid, pwd.getpwuid(self.uid).pw_gid

    def _by_hand(self, wanted: Job, server: base.Server, argv: list[str],
                 log: str, until_s: float) -> parse.Running:
        """In a session of its own: it outlives us and who asked us."""
        uid, gid = self._identity(server)
        if wanted.mounter.style is base.Style.MOUNT:
            argv = [self._found(command.IN_HOST[0]), *command.IN_HOST[1:],
                    *argv]
        if uid:
            # setpriv is executed by uid 0 and so has the capabilities that
            # we gave up; it gives all of them up for good.
            argv = ['/usr/bin/setpriv', f'--reuid={uid}', f'--regid={gid}',
                    '--init-groups', '--', *argv]
        with open(log, 'ab') as output:
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd='/', env={'PATH': privileged.SEARCH_PATH, 'LC_ALL': 'C'},
                start_new_session=True, close_fds=True, umask=0o077)
        # Somebody must take its exit status, or it stays a zombie.
        threading.Thread(target=child.wait, name='reap-server',
                         daemon=True).start()
        while time.monotonic() < until_s:
            found = process.running(self.tree, child.pid)
            if found is not None and wanted.of_ours(found):
                return found
            if found is None or child.returncode is not None:
                break
            time.sleep(_POLL_S)
        raise exception.CommandError(
            f'cannot start a server: `{server.argv[0]}` ended at once',
            hint=f'see {log}')

    def _by_systemd(self, wanted: Job, server: base.Server, argv: list[str],
                    log: str, until_s: float) -> parse.Running:
        """In a unit of its own: no service that ends takes it along."""
        uid, gid = self._identity(server)
        name = (f'{UNIT_PREFIX}{wanted.order.volume}-'
                f'{secrets.token_hex(4)}.service')
        result = command.run(
            unit_argv(name, uid, gid, log, argv,
                      'SIGKILL' if server.deaf else 'SIGTERM'),
            max(0.1, until_s - time.monotonic()))
        if result.code != 0:
            raise exception.CommandError(
                f'cannot start a server: `systemd-run` ended with '
                f'{result.code} and said: {result.said}')
        while time.monotonic() < until_s:
            found = self._in_unit(name, wanted)
            if found is not None:
                return found
            time.sleep(_POLL_S)
        raise exception.CommandError(
            f'cannot start a server: unit {name} has no process of '
            f'{server.argv[0]}', hint=f'see {log}')

    def _in_unit(self, name: str, wanted: Job) -> parse.Running | None:
        for place in CGROUPS:
            pids = self.tree.read(f'{place}/{name}/cgroup.procs') or ''
            for pid in pids.split():
                found = process.running(self.tree, int(pid))
                if found is not None and wanted.of_ours(found):
                    return found
        return None


def unit_argv(name: str, uid: int, gid: int, log: str,
              argv: Sequence[str], end_by: str) -> list[str]:
    """The command that starts a server as a unit.

    :param end_by: the signal with which systemd stops it.

    OOMScoreAdjust: a guest loses its disk when this dies. Before, After: at
    the shutdown of the host the guests end first, and the network last.
    """
    return ['systemd-run', '--quiet', '--no-block', '--collect',
            f'--unit={name}', f'--uid={uid}', f'--gid={gid}',
            '--description=serves a volume, kept by os-brick-healer',
            *(f'--property={p}' for p in (
                'Type=exec', 'OOMScoreAdjust=-900', 'LimitNOFILE=65536',
                'UMask=0077', 'WorkingDirectory=/', f'KillSignal={end_by}',
                *(f'Before={other}' for other in STARTS_BEFORE),
                *(f'After={other}' for other in STARTS_AFTER),
                f'StandardOutput=append:{log}',
                f'StandardError=append:{log}')),
            '--', *unit.literal(argv)]


def kill(tree: reader.Tree, wanted: Job, pid: int, start: str,
         grace_s: float, timeout_s: float) -> bool:
    """Kill the server of an order, proven to be that; whether it is gone.

    The descriptor is opened first: what is proven then is proven of the
    process that gets the signal, whatever becomes of its number.

    :raises NotOurs: it is another process.
    """
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        found = process.same(tree, parse.Process(pid=pid, start=start))
        if found is None:
            return True
        if found.dying:     # nothing proves any more whose it was: no signal
            return _ended(fd, timeout_s)
        if not wanted.of_ours(found):
            raise exception.NotOurs(
                f'cannot kill {found}: it does not serve '
                f'{wanted.order.volume}')
        if grace_s and _signal(fd, signal.SIGTERM, grace_s):
            return True
        return _signal(fd, signal.SIGKILL, timeout_s)
    finally:
        os.close(fd)


def _signal(fd: int, number: signal.Signals, wait_s: float) -> bool:
    """Send a signal; whether the process has ended in time."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(fd, number)
    return _ended(fd, wait_s)


def _ended(fd: int, wait_s: float) -> bool:
    """Whether a process has ended in time.

    poll(2): select(2) knows no descriptor above 1023.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(wait_s * 1000.0))
