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
"""What can be asked over the control socket."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import os
import pwd
import re
from typing import Any

from os_brick_healer import exception, version
from os_brick_healer.agent import control, ports

KEY_MAX = 256
REASON_MAX = 1000
HISTORY_MAX = 10000
HISTORY_DEFAULT = 100
HISTORY_OF_EXPLAIN = 20
#: A user that is named by its id.
_NUMERIC = re.compile('[0-9]{1,10}')


def table(engine: ports.Engine, facts: Callable[[], Mapping[str, Any]],
          reload: Callable[[], Iterable[str]]) -> dict[str, control.Verb]:
    """The verbs and what they do.

    :param facts: what the process knows of itself, for status.
    :param reload: reads the configuration again, and tells what of it is
        not in force.
    """

    def status(_: Mapping[str, Any]) -> object:
        return whole_status(engine, facts)

    def explain(request: Mapping[str, Any]) -> object:
        volume = find(engine.status(), _text(request, 'key', KEY_MAX))
        return {'volume': volume,
                'history': lines(engine.journal, str(volume['key']),
                                 HISTORY_OF_EXPLAIN)}

    def history(request: Mapping[str, Any]) -> object:
        return history_of(engine.status, engine.journal, request)

    def wake(request: Mapping[str, Any]) -> object:
        key = _text_or_none(request, 'key', KEY_MAX)
        engine.wake(None if key is None
                    else str(find(engine.status(), key)['key']))
        return 'woken'

    def pause(request: Mapping[str, Any]) -> object:
        reason = _text_or_none(request, 'reason', REASON_MAX)
        return _lasting('paused', engine.pause(
            reason or 'paused by an operator'))

    def resume(_: Mapping[str, Any]) -> object:
        return _lasting('resumed', engine.resume())

    def release(request: Mapping[str, Any]) -> object:
        key = _text(request, 'key', KEY_MAX)
        engine.wake(key)
        return {'idle': idle(engine.status(), key)}

    def ping(_: Mapping[str, Any]) -> object:
        return {'pid': os.getpid(), 'version': version.version_string()}

    def reread(_: Mapping[str, Any]) -> object:
        return '\n'.join(('reloaded', *reload()))

    return {'status': status, 'explain': explain, 'history': history,
            'wake': wake, 'pause': pause, 'resume': resume,
            'release': release, 'ping': ping, 'version': ping,
            'reload': reread}


def _lasting(what: str, problem: str | None) -> str:
    """What was done, and whether the next agent will know of it."""
    if problem is None:
        return what
    return (f'{what}; an agent that is started from now on may not know of '
            f'it: {problem}')


def whole_status(engine: ports.Engine,
                 facts: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The engine's picture with what the process adds."""
    status = engine.status()
    about = status.get('agent') or {}
    known = facts()
    provisioner = {**(known.get('provisioner') or {}),
                   **(about.get('provisioner') or {})}
    return {**status,
            'agent': {**about, **known, 'provisioner': provisioner}}


def lines(history: ports.History, key: str | None,
          limit: int) -> list[dict[str, Any]]:
    """History as JSON can carry it, oldest line first."""
    return [dataclasses.asdict(row) for row in history.history(key, limit)]


def idle(status: Mapping[str, Any], key: str) -> bool:
    """Whether nothing is being done to a volume.

    The journal's row tells the agent to let go of it, and os-brick's locks
    keep the two apart: this only says whether there is something to wait
    for.
    """
    return not any(v.get('action') for v in status.get('volumes') or ()
                   if v.get('key') == key)


def find(status: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The volume that an operator means: key, alias, array, device or
    the beginning of a key that no other volume has.

    :raises HealerError: none, or more than one.
    """
    volumes: list[dict[str, Any]] = list(status.get('volumes') or ())
    exact = [v for v in volumes
             if name in (v.get('key'), v.get('alias'), v.get('array'),
                         v.get('device'))]
    found = exact or [v for v in volumes
                      if str(v.get('key')).startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise exception.HealerError(
            f'cannot tell which volume {name!r} is: because {len(found)} '
            'of this host fit', hint='give the whole id')
    raise exception.HealerError(
        f'cannot find volume {name!r}: because it is none of the '
        f'{len(volumes)} of this host', hint='os-brick-healer status')


def history_of(status: Callable[[], Mapping[str, Any]], book: ports.History,
               request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The newest lines, or those about the volume that is meant.

    A volume that is here no more is known by its whole id, as long as the
    journal has a line about it.

    :param status: has the volumes that are here.
    :raises HealerError: no volume fits, or more than one.
    """
    name = _text_or_none(request, 'key', KEY_MAX)
    limit = _limit(request)
    if name is None:
        return lines(book, None, limit)
    try:
        key = str(find(status(), name)['key'])
    except exception.HealerError:
        found = lines(book, name, limit)
        if not found:
            raise
        return found
    return lines(book, key, limit)


def permitted(users: Iterable[str]) -> tuple[frozenset[int], list[str]]:
    """User ids that may ask, and the names that nobody here has."""
    ids, unknown = {0, os.geteuid()}, []
    for user in users:
        try:
            ids.add(int(user) if _NUMERIC.fullmatch(user)
                    else pwd.getpwnam(user).pw_uid)
        except (KeyError, ValueError):      # ValueError: a NUL in a name
            unknown.append(user)
    return frozenset(ids), unknown


def socket_group(users: Iterable[str]) -> int | None:
    """The group that may connect, when this process may choose it.

    Root's own group would keep nova out: the first other user's group.
    """
    if os.geteuid() != 0:
        return None
    for user in users:
        try:
            entry = (pwd.getpwuid(int(user)) if _NUMERIC.fullmatch(user)
                     else pwd.getpwnam(user))
        except (KeyError, OverflowError, ValueError):
            continue
        if entry.pw_uid != 0:
            return entry.pw_gid
    return None


def _text_or_none(request: Mapping[str, Any], name: str,
                  length_max: int) -> str | None:
    value = request.get(name)
    if value is None:
        return None
    if isinstance(value, str) and not _is_text(value):
        raise exception.HealerError(
            f'cannot read this request: because {name} is not UTF-8',
            hint='say it in ASCII, or in a UTF-8 terminal')
    if not isinstance(value, str) or not 0 < len(value) <= length_max:
        raise exception.HealerError(
            f'cannot read this request: because {name} is no text of 1 to '
            f'{length_max} characters')
    return value


def _is_text(value: str) -> bool:
    """JSON can spell half of a surrogate pair; no file can hold it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(request: Mapping[str, Any], name: str, length_max: int) -> str:
    value = _text_or_none(request, name, length_max)
    if value is None:
        raise exception.HealerError(
            f'cannot read this request: because {name} is missing')
    return value


def _limit(request: Mapping[str, Any]) -> int:
    value = request.get('limit', HISTORY_DEFAULT)
    if isinstance(value, bool) or not isinstance(value, int) or not (
            0 < value <= HISTORY_MAX):
        raise exception.HealerError(
            'cannot read this request: because limit is no number from 1 '
            f'to {HISTORY_MAX}')
    return value
