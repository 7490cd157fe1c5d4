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
"""Status, explanations and history as text. Pure.

Whatever comes from outside (a provisioner's names, a kernel's words) is
escaped: a terminal obeys control characters.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import textwrap
from typing import Any

from os_brick_healer.engine import columns

#: Writes wall-clock seconds for people.
When = Callable[[float], str]

#: With more volumes than this only those in need are shown in detail.
DETAILED_MAX = 16
#: An answer that takes less, seconds, is nothing to tell of.
WAITING_S = 1.0
BAR_WIDTH = 25
_KEY_WIDTH_MAX = 44
_INDENT = '    '

EXIT_HEALTHY = 0
EXIT_DEGRADED = 1
EXIT_ATTENTION = 2

_ATTENTION = frozenset(('broken', 'held', 'stalled'))
_CALM = frozenset(('healthy', 'gone'))


def safe(value: object) -> str:
    """Text that a terminal shows and does not obey; one line."""
    return columns.one_line(str(value))


def exit_code(status: Mapping[str, Any]) -> int:
    """How the host is: see the exit codes of the command."""
    phases = {str(v.get('phase')) for v in status.get('volumes') or ()}
    agent = status.get('agent') or {}
    if (phases & _ATTENTION or agent.get('journal_error')
            or agent.get('lacks')):
        return EXIT_ATTENTION
    troubled = (phases - _CALM or agent.get('paused') is not None
                or any(one.get('error') or one.get('lacking') for one in
                       (agent.get('sources') or {}).values())
                or (agent.get('provisioner') or {}).get('error') is not None)
    return EXIT_DEGRADED if troubled else EXIT_HEALTHY


def duration(seconds: float | None) -> str:
    """Two units, the larger first: 45s, 2m10s, 3h05m, 4d02h."""
    if seconds is None:
        return 'unknown'
    whole = max(0, int(seconds))
    if whole < 60:
        return f'{whole}s'
    if whole < 3600:
        return f'{whole // 60}m{whole % 60:02}s'
    if whole < 86400:
        return f'{whole // 3600}h{whole % 3600 // 60:02}m'
    return f'{whole // 86400}d{whole % 86400 // 3600:02}h'


def bar(percent: float, width: int = BAR_WIDTH) -> str:
    """A progress bar; full only when all is done."""
    filled = int(max(0.0, min(100.0, percent)) * width / 100)
    return '[' + '#' * filled + '.' * (width - filled) + ']'


def table(header: Sequence[str], rows: Iterable[Sequence[str]],
          indent: str = '') -> list[str]:
    """Left-aligned columns, as wide as their widest entry."""
    every = [list(header), *map(list, rows)]
    widths = [max(len(r[i]) for r in every) for i in range(len(header))]
    return [indent + '  '.join(
        cell.ljust(width) for cell, width in zip(row, widths, strict=True)
    ).rstrip() for row in every]


def status(told: Mapping[str, Any], *, width: int = 100, now_wall: float,
           verbose: bool = False) -> str:
    """The whole host."""
    volumes = sorted(told.get('volumes') or (), key=_urgency)
    lines = [*agent(told.get('agent') or {}, now_wall), '']
    if not volumes:
        return '\n'.join([*lines, 'No volume that could be healed is '
                                  'attached to this host.'])
    detailed = verbose or len(volumes) <= DETAILED_MAX
    rows = table(('VOLUME', 'ALIAS', 'DEVICE', 'PHASE', 'SINCE',
                  'SERVED BY'),
                 map(_row, volumes))
    lines.append(rows[0])
    for row, volume in zip(rows[1:], volumes, strict=True):
        lines.append(row)
        if detailed or volume.get('phase') not in _CALM:
            lines += details(volume, width)
    return '\n'.join(lines)


def _urgency(volume: Mapping[str, Any]) -> tuple[int, str]:
    phase = volume.get('phase')
    rank = 0 if phase in _ATTENTION else 2 if phase in _CALM else 1
    return rank, str(volume.get('key'))


def agent(about: Mapping[str, Any], now_wall: float) -> list[str]:
    """The agent and its provisioner."""
    started = about.get('started_wall')
    age = None if started is None else now_wall - float(started)
    lines = [f'agent        process {about.get("pid")}, version '
             f'{safe(about.get("version"))}, launched as '
             f'{safe(about.get("launch"))}, up {duration(age)}']
    provisioner = about.get('provisioner') or {}
    if provisioner:
        lines.append(f'provisioner  {_provisioner(provisioner)}')
    for name, told in sorted((about.get('sources') or {}).items()):
        lines += _source(name, told)
    lines += [f'{safe(what).upper():<12} {safe(why)}'
              for what, why in (about.get('lacks') or {}).items()]
    if about.get('paused') is not None:
        lines.append(f'PAUSED       {safe(about["paused"])}: nothing is '
                     'changed until os-brick-healer resume')
    if about.get('journal_error'):
        lines.append(f'JOURNAL      {safe(about["journal_error"])}')
    return lines


def _provisioner(told: Mapping[str, Any]) -> str:
    parts = [safe(told.get('name') or 'unknown')]
    if told.get('sentence'):
        parts.append(safe(told['sentence']))
    if told.get('age_s') is not None:
        parts.append(f'answered {duration(told["age_s"])} ago')
    waiting_s = told.get('waiting_s')
    if waiting_s is not None and (
            waiting_s >= WAITING_S or told.get('age_s') is None):
        parts.append(f'asked {duration(waiting_s)} ago, no answer yet')
    if told.get('error') is not None:
        parts.append(f'ERROR: {safe(told["error"])}')
    return ', '.join(parts)


def _source(name: str, told: Mapping[str, Any]) -> list[str]:
    """A source of attachments, and what of it the journal lacks."""
    parts = [safe(name)]
    if told.get('age_s') is not None:
        parts += [f'{safe(told.get("attachments"))} attachments',
                  f'answered {duration(told["age_s"])} ago']
    if told.get('error') is not None:
        since_s = told.get('down_s')
        parts.append(('ERROR' if since_s is None else
                      f'DOWN for {duration(since_s)}')
                     + f': {safe(told["error"])}')
    return [f'attachments  {", ".join(parts)}', *(
        f'NOT HEALED   {safe(volume)}: {safe(why)}' for volume, why
        in sorted((told.get('lacking') or {}).items()))]


def _row(volume: Mapping[str, Any]) -> tuple[str, ...]:
    key = safe(volume.get('key'))
    return (key if len(key) <= _KEY_WIDTH_MAX
            else key[:_KEY_WIDTH_MAX - 3] + '...',
            safe(volume.get('alias') or '-'), _device(volume) or '-',
            safe(volume.get('phase')), duration(volume.get('since_s')),
            _served_by(volume))


def _device(volume: Mapping[str, Any]) -> str:
    """An array, or the device of a volume that a process serves."""
    return safe(volume.get('array') or volume.get('device') or '')


def _served_by(volume: Mapping[str, Any]) -> str:
    """Its legs, or its process."""
    legs = volume.get('legs') or ()
    if legs:
        good = sum(1 for leg in legs if leg.get('state') == 'in_sync')
        return f'{good} of {len(legs)} legs in sync'
    mounter, server = volume.get('mounter'), volume.get('server')
    if not mounter:
        return '-'
    if not server:
        return f'{safe(mounter)}: no process'
    return f'{safe(mounter)}: process {safe(server.get("pid"))}' + (
        ', stopped' if server.get('stopped') else '')


def details(volume: Mapping[str, Any], width: int = 100) -> list[str]:
    """What is being done about a volume and why, its legs, its resync."""
    lines = _said('why', volume.get('sentence'), width)
    lines += _said('but', volume.get('doubt'), width)
    lines += _said('but', volume.get('lacks'), width)
    if volume.get('transparent') is False:
        lines.append(f'{_INDENT}not transparent: a heal loses what is open '
                     'there')
    if volume.get('action'):
        intent = volume.get('intent')
        lines += _said('now', str(volume['action'])
                       + (f' [{intent}]' if intent else ''), width)
    sync = volume.get('sync')
    if sync:
        lines.append(_INDENT + progress(sync))
    if volume.get('waiting'):
        lines.append(f'{_INDENT}{safe(volume["waiting"])} requests wait')
    legs = volume.get('legs') or ()
    if legs:
        lines += table(('REPLICA', 'DEVICE', 'LEG', 'PROVISIONER', 'PATHS',
                        ''),
                       map(_leg, legs), indent=_INDENT)
    return lines


def progress(sync: Mapping[str, Any]) -> str:
    """The bar, the speed and the time left; unknown is said, not guessed."""
    percent, speed = sync.get('percent'), sync.get('speed_kib_s')
    name = safe(sync.get('action') or 'resync')
    if percent is None:
        return f'{name}: progress unknown'
    parts = [f'{name} {bar(percent)} {percent:5.1f} %']
    if speed is not None:
        parts.append(f'{speed / 1024:.1f} MiB/s')
    if sync.get('eta_s') is not None:
        parts.append(f'{duration(sync["eta_s"])} left')
    return '  '.join(parts)


def _leg(leg: Mapping[str, Any]) -> tuple[str, ...]:
    paths = ', '.join(
        f'{safe(p.get("portal"))} '
        + (f'{safe(p["controller"])} ' if p.get('controller') else '')
        + safe(p.get('state') or 'not connected')
        for p in leg.get('portals') or ())
    notes = []
    if leg.get('lost_for_s') is not None:
        notes.append(f'lost for {duration(leg["lost_for_s"])}')
    if leg.get('note'):
        notes.append(safe(leg['note']))
    return (safe(leg.get('replica') or '-'), safe(leg.get('device') or '-'),
            safe(leg.get('state') or 'unknown'),
            safe(leg.get('provisioner_state') or '-'), paths or '-',
            '; '.join(notes))


def _said(label: str, sentence: object, width: int) -> list[str]:
    if not sentence:
        return []
    return textwrap.wrap(
        safe(sentence), max(40, width), initial_indent=f'{_INDENT}{label}  ',
        subsequent_indent=_INDENT + ' ' * (len(label) + 2),
        break_long_words=False, break_on_hyphens=False)


def explain(told: Mapping[str, Any], *, width: int = 100,
            when: When) -> str:
    """Everything about one volume, with its last lines of history."""
    volume = told['volume']
    lines = [f'volume  {safe(volume.get("key"))}',
             f'alias   {safe(volume.get("alias") or "-")}',
             f'device  {_device(volume) or "none on this host"}',
             f'phase   {safe(volume.get("phase"))} for '
             f'{duration(volume.get("since_s"))}']
    if volume.get('law'):
        lines.append(f'law     {safe(volume["law"])}')
    lines += ['', *details(volume, width)]
    extra = {k: v for k, v in volume.items()
             if k not in _SHOWN and v is not None}
    lines += [f'{_INDENT}{safe(k)}: {safe(v)}' for k, v in extra.items()]
    lines += ['', 'history (newest last)']
    return '\n'.join([*lines, history(told.get('history') or (), when=when,
                                      with_key=False)])


_SHOWN = frozenset(('kind', 'key', 'alias', 'array', 'device', 'waiting',
                    'phase', 'since_s', 'law', 'sentence', 'action',
                    'intent', 'sync', 'legs', 'doubt', 'lacks',
                    'transparent'))


def history(rows: Iterable[Mapping[str, Any]], *, when: When,
            with_key: bool = True) -> str:
    """One line a row: when, what, id, and the text."""
    lines = [_line(row, when, with_key) for row in rows]
    return '\n'.join(lines) or 'nothing yet'


def _line(row: Mapping[str, Any], when: When, with_key: bool) -> str:
    ok = row.get('ok')
    mark = '' if ok is None else ' ok' if ok else ' FAILED'
    parts = [when(float(row.get('wall_s') or 0.0)),
             f'{safe(row.get("what"))}{mark}'.ljust(13),
             safe(row.get('intent_id') or '-').ljust(12)]
    if with_key:
        parts.append(safe(row.get('key')))
    return '  '.join([*parts, safe(row.get('text'))])
