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
"""Asking a volume's storage, and shutting out a server that died. As root.

Law 7: only the client of a process that has ended, by the name that this
very process gave of itself. The storage gives a name to one client only and
never again, and says by which name its data is held; so no address needs to
be guessed. Whoever lives, or might, is left alone: then the new server waits
until the storage has forgotten the dead one, as it would without us.
"""

from collections.abc import Callable, Iterable
import dataclasses
import time

from os_brick_healer import exception
from os_brick_healer.mounter import base
from os_brick_healer.nbd import parse
from os_brick_healer.privileged import command, serverlog, serving, unit
from os_brick_healer.sysfs import process, reader


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """Names of a volume's clients on this host. Disjoint.

    :ivar dead: of servers that have ended; :ivar live: of others.
    """

    dead: frozenset[str]
    live: frozenset[str]


def clients(sections: Iterable[serverlog.Section],
            lives: Callable[[parse.Process], bool]) -> Clients:
    """Who said what name, and whether it lives.

    A server of which nobody knows which process it is counts as alive.
    """
    dead: set[str] = set()
    live: set[str] = set()
    for section in sections:
        server = section.server
        (live if server is None or lives(server) else dead).update(
            section.names)
    return Clients(dead=frozenset(dead - live), live=frozenset(live))


def _lives(tree: reader.Tree, one: parse.Process) -> bool:
    """Whether it may still ask its storage for anything."""
    found = process.same(tree, one)
    return found is not None and not found.leaving


def _about(data: str, sections: Iterable[serverlog.Section],
           ) -> Iterable[serverlog.Section]:
    """Those of servers of the same data, and by the same way: only there
    do names mean what they meant to them."""
    return (one for one in sections if one.about in ('', data))


def forbids(holder: base.Holder, known: Clients,
            holders: Iterable[base.Holder]) -> str | None:
    """Why a client must not be shut out, None: it may (law 7). Pure."""
    if holder.client in known.live:
        return f'{holder} holds it, and lives'
    if holder.client not in known.dead:
        return (f'{holder} holds it, and no server of this host that ended '
                'gave that name')
    for other in holders:
        if other.address == holder.address and (
                other.client != holder.client):
            return f'{holder} holds it from the address of {other}'
    return None


def fence(tree: reader.Tree, wanted: serving.Job, timeout_s: float,
          run: command.Runner | None = None,
          directory: str = serverlog.DIRECTORY,
          only_roots: Callable[[str], None] = unit.only_roots) -> str:
    """Shut out dead clients that hold the data of an order.

    :returns: a sentence about who held it; empty: nobody did.
    :raises NotOurs: others could tell the tool what to do, or have written
        the log.
    :raises CommandError: the storage cannot be asked, or refuses.
    """
    mounter, order = wanted.mounter, wanted.order
    until_s = time.monotonic() + timeout_s
    question = mounter.ask_holders(order)
    if not question:
        return ''
    known = clients(
        _about(serverlog.about(order.source), serverlog.read(
            order.volume, mounter.client, directory)),
        lambda one: _lives(tree, one))
    if not known.dead:
        return ''
    serverlog.only_ours(order.volume, directory)
    for path in mounter.obeyed(order):
        only_roots(path)

    def ask(argv: tuple[str, ...], what: str) -> str:
        result = _run(wanted, argv, until_s, run)
        if result.code != 0:
            raise exception.CommandError(
                f'cannot {what}: `{argv[0]}` ended with {result.code} and '
                f'said: {result.said}')
        return result.out

    try:
        found = mounter.holders(ask(question, 'ask who holds it'))
    except ValueError as error:
        raise exception.CommandError(
            f'cannot tell who holds it: {error}') from error
    told = []
    for holder in found:
        why = forbids(holder, known, found)
        if why is None:
            ask(mounter.shut_out(order, holder), f'shut {holder} out')
            why = f'{holder}, which had died, was shut out'
        told.append(why)
    return '; '.join(told)


def missing(wanted: serving.Job, timeout_s: float,
            run: command.Runner | None = None,
            only_roots: Callable[[str], None] = unit.only_roots) -> str:
    """What the storage says when the data of an order cannot be opened.

    :returns: its words; empty: it can, or nobody is asked.
    :raises NotOurs: others could tell the tool what to do.
    :raises CommandError: the storage does not answer.
    """
    result = _asked(wanted, timeout_s, run, only_roots)
    return '' if result is None or result.code == 0 else result.said


def lacks(wanted: serving.Job, timeout_s: float,
          run: command.Runner | None = None,
          only_roots: Callable[[str], None] = unit.only_roots) -> str:
    """What the data of an order lacks for a good heal, by its mounter.

    :returns: a sentence; empty: nothing, or nobody tells.
    :raises NotOurs: others could tell the tool what to do.
    :raises CommandError: the storage does not answer.
    """
    result = _asked(wanted, timeout_s, run, only_roots)
    return ('' if result is None or result.code != 0
            else wanted.mounter.lacks(wanted.order, result.out))


def size_bytes(wanted: serving.Job, timeout_s: float,
               run: command.Runner | None = None,
               only_roots: Callable[[str], None] = unit.only_roots
               ) -> int | None:
    """How large the data of an order is, None: nobody says. Raises as
    :func:`lacks` does."""
    result = _asked(wanted, timeout_s, run, only_roots)
    return (None if result is None or result.code != 0
            else wanted.mounter.size_bytes(wanted.order, result.out))


def _asked(wanted: serving.Job, timeout_s: float, run: command.Runner | None,
           only_roots: Callable[[str], None]) -> command.Result | None:
    """What the storage says of the data, None: nobody is asked."""
    question = wanted.mounter.ask_data(wanted.order)
    if not question:
        return None
    for path in wanted.mounter.obeyed(wanted.order):
        only_roots(path)
    return _run(wanted, question, time.monotonic() + timeout_s, run)


def _run(wanted: serving.Job, argv: tuple[str, ...], until_s: float,
         run: command.Runner | None) -> command.Result:
    """A command of the mounter's own tool, and of no other."""
    left_s = max(0.1, until_s - time.monotonic())
    if run is not None:
        return run(argv, left_s)
    return command.run(argv, left_s,
                       programs=frozenset((wanted.mounter.tool,)))
