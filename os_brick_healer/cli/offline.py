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
"""What can be told while no agent runs: the journal and the last launch."""

from collections.abc import Callable
import dataclasses
import os
from typing import Any

from os_brick_healer import exception
from os_brick_healer.agent import record, verbs
from os_brick_healer.cli import render
from os_brick_healer.engine import journal, pausing

#: assembly.JOURNAL, without importing the whole agent for its name.
JOURNAL = 'journal.sqlite'
HISTORY_SHOWN = 10
#: What the wings call themselves in the journal, likewise.
WINGS = ('replica', 'mapping')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """:ivar error: why the journal could not be read, else None."""

    attachments: tuple[journal.AttachRow, ...] = ()
    intents: tuple[journal.IntentRow, ...] = ()
    history: tuple[journal.HistoryRow, ...] = ()
    paused: str | None = None
    launch: record.LastLaunch | None = None
    error: str | None = None


def book_of(state_path: str) -> journal.Journal:
    """The journal, to be read and closed. :raises JournalError: it cannot."""
    return journal.Journal(os.path.join(state_path, JOURNAL), boot_id='',
                           read_only=True)


def look(state_path: str) -> Found:
    """Read, never write, and never raise."""
    launch = record.read(state_path)
    try:
        book = book_of(state_path)
    except exception.HealerError as e:
        return Found(launch=launch, error=str(e))
    try:
        return Found(attachments=book.attachments(whole=False),
                     intents=book.open_intents(),
                     history=book.history(None, HISTORY_SHOWN),
                     paused=pausing.reason(book), launch=launch)
    except exception.HealerError as e:
        return Found(launch=launch, error=str(e))
    finally:
        book.close()


def history(book: journal.Journal, key: str | None,
            limit: int) -> list[dict[str, Any]]:
    """What the agent would tell, of the volumes that the journal knows.

    :raises HealerError: as the agent does.
    """
    known = {name: {'key': name} for wing in WINGS
             for name in book.load_memory(wing)}
    known |= {one.volume: {'key': one.volume, 'alias': one.alias}
              for one in book.attachments(whole=False)}
    return verbs.history_of(lambda: {'volumes': list(known.values())}, book,
                            {'key': key, 'limit': limit})


def as_json(found: Found) -> dict[str, Any]:
    """For scripts; ``agent`` is null: nobody looks after the volumes."""
    return {'agent': None, **dataclasses.asdict(found)}


def text(found: Found, why: str, *, when: Callable[[float], str]) -> str:
    """What is known, and that it is not from a running agent."""
    lines = [render.safe(why)]
    if found.launch is not None:
        lines.append(
            f'last attempt to start it ({render.safe(found.launch.launch)}, '
            f'{when(found.launch.wall_s)}, failed '
            f'{found.launch.failures} times): '
            f'{render.safe(found.launch.error)}')
    if found.error is not None:
        return '\n'.join([*lines, render.safe(found.error)])
    lines += ['', 'From the journal, not from the host:']
    if found.paused is not None:
        lines.append(f'healing is paused: {render.safe(found.paused)}')
    if not found.attachments:
        lines.append('No volume is known to be attached.')
    else:
        lines += render.table(
            ('VOLUME', 'ALIAS', 'STATE', 'SINCE'),
            [(render.safe(a.volume), render.safe(a.alias),
              render.safe(a.state), when(a.wall_s))
             for a in found.attachments])
    if found.intents:
        lines += ['', 'Begun, and no result written down:']
        lines += [f'    {render.safe(i.id)}  {render.safe(i.key)}  '
                  f'{render.safe(i.text)}'
                  for i in found.intents]
    rows = [dataclasses.asdict(r) for r in found.history]
    return '\n'.join([*lines, '', 'Last lines of history:',
                      render.history(rows, when=when)])
