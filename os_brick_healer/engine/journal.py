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
"""What must survive the agent: attachments, memory, intents, history.

One SQLite file, shared by the agent and by every process that attaches
volumes (nova-compute). SQLite serialises them; write-ahead logging with
``synchronous=FULL`` makes each transaction durable before it returns, so
that an intent is on disk before its effect begins.
"""

import collections
from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import enum
import json
import os
import sqlite3
import threading
import time
from typing import Any, TypeVar
import uuid

from os_brick_healer import exception, regular
from os_brick_healer.engine import columns, place, whose

VERSION = 1
TEXT_MAX = 4096
#: Settings: why healing is paused (see ``pausing``), and what became of a
#: damaged journal.
PAUSED = 'paused'
DAMAGED = 'damaged'
#: The state of an attachment of which not all can be read. No wing has it.
UNREADABLE = 'unreadable'
#: A file without a byte that is older than this, seconds, is not being made.
NEW_S = 60.0
#: What SQLite keeps beside the file.
_BESIDE = ('-wal', '-shm')
_State = TypeVar('_State', bound=enum.Enum)
#: What SQLite raises for a statement, and Python for a value that SQLite
#: cannot hold: text with half of a surrogate pair, more than 64 bits.
_UNFIT = (sqlite3.Error, UnicodeEncodeError, OverflowError)

_SCHEMA = """
CREATE TABLE attachment (
    volume TEXT PRIMARY KEY,
    alias TEXT NOT NULL,
    state TEXT NOT NULL,
    before TEXT,
    pid INTEGER NOT NULL,
    pid_start TEXT NOT NULL,
    connection TEXT NOT NULL,
    wall_s REAL NOT NULL
);
CREATE TABLE memory (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE TABLE intent (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    text TEXT NOT NULL,
    detail TEXT NOT NULL,
    wall_s REAL NOT NULL
);
CREATE TABLE history (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    wall_s REAL NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    intent_id TEXT,
    what TEXT NOT NULL,
    text TEXT NOT NULL,
    ok INTEGER
);
CREATE INDEX history_key ON history (key, seq);
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
#: Fail where a table, or a column of one, is not there.
_SHAPE = (
    'SELECT volume, alias, state, before, pid, pid_start, connection, wall_s '
    'FROM attachment LIMIT 0',
    'SELECT kind, key, boot_id, value FROM memory LIMIT 0',
    'SELECT id, kind, key, text, detail, wall_s FROM intent LIMIT 0',
    'SELECT seq, wall_s, kind, key, intent_id, what, text, ok '
    'FROM history LIMIT 0',
    'SELECT name, value FROM setting LIMIT 0',
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AttachRow:
    """One attachment as a connector wrote it down.

    :ivar state: a value of ``replica.model.AttachState``, or UNREADABLE.
    :ivar pid_start: start time of the process in clock ticks since boot
        (field 22 of /proc/PID/stat): a reused pid is told apart by it.
    """

    volume: str
    alias: str
    state: str
    pid: int
    pid_start: str
    connection: Mapping[str, Any]
    wall_s: float

    @property
    def kind(self) -> str:
        """The wing that it belongs to; a connection without a word of it
        is a replicated volume's."""
        return str(self.connection.get('kind', 'replica'))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A memory, and whether it is from before this boot of the host."""

    value: Mapping[str, Any]
    same_boot: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IntentRow:
    """An action that was begun and of which no result is known."""

    id: str
    kind: str
    key: str
    text: str
    detail: Mapping[str, Any]
    wall_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One line of history. ``what``: verdict, intent or result."""

    wall_s: float
    kind: str
    key: str
    intent_id: str | None
    what: str
    text: str
    ok: bool | None


def read_boot_id(path: str = '/proc/sys/kernel/random/boot_id') -> str:
    """The kernel's id of this boot."""
    with open(path) as f:
        return f.read().strip()


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(',', ':'))


class Journal:
    """The journal of one host. Thread-safe.

    :param path: the SQLite file; its directory must exist.
    :param wall: wall clock for what people read.
    :param boot_id: the id of this boot of the host.
    :param history_max: lines of history kept.
    :param busy_s: how long to wait for another process's transaction.
    :param read_only: never write, never create (for the CLI).
    """

    def __init__(self, path: str, *, wall: Callable[[], float] = time.time,
                 boot_id: str | None = None, history_max: int = 10000,
                 busy_s: float = 2.0, read_only: bool = False) -> None:
        self.path = path
        self._wall = wall
        self._boot_id = boot_id if boot_id is not None else read_boot_id()
        self._history_max = history_max
        self._lock = threading.RLock()
        self._read_only = read_only
        self._told: collections.deque[HistoryRow] = collections.deque(
            maxlen=max(1, history_max))
        self._db = self._open(busy_s, read_only)

    def _open(self, busy_s: float, read_only: bool) -> sqlite3.Connection:
        uri = f'file:{_quote(self.path)}?mode={"ro" if read_only else "rwc"}'
        for suffix in ('', *_BESIDE):       # SQLite would wait for a FIFO
            self._check(f'{self.path}{suffix}')
        lost = None if read_only else _lost(self.path)
        if not read_only:
            whose.make(self.path)
        try:
            db = sqlite3.connect(uri, uri=True, timeout=busy_s,
                                 isolation_level=None,
                                 check_same_thread=False)
            # One byte that is not UTF-8 must not hide every other row.
            db.text_factory = _lenient
            try:
                # At once: it may be set aside while another process keeps
                # us waiting.
                self._place = place.Place(self.path, os.stat(self.path))
                self._prepare(db, read_only, lost)
            except BaseException:
                db.close()
                raise
        except (sqlite3.Error, OSError) as e:
            raise self._error('open', e) from e
        return db

    def _check(self, path: str) -> None:
        try:
            regular.check(path)
        except OSError as e:
            raise exception.JournalError(
                f'cannot open the journal {path}: because {e.strerror}',
                hint='move it away') from e

    def _prepare(self, db: sqlite3.Connection, read_only: bool,
                 lost: str | None) -> None:
        # In this order: who makes a journal makes all of it at once.
        tables = db.execute('SELECT name FROM sqlite_master').fetchall()
        (version,) = db.execute('PRAGMA user_version').fetchone()
        if version > VERSION:
            raise exception.JournalError(
                f'cannot use the journal {self.path}: because it has '
                f'version {version} and this software knows {VERSION}',
                hint='upgrade os-brick-healer on this host',
                transient=False)
        if version == VERSION:
            self._must_be_whole(db)
        elif version or tables:
            raise self._not_ours(f'it has version {version}')
        elif read_only:
            raise exception.JournalError(
                f'cannot read the journal {self.path}: because it is empty',
                hint='the agent begins it anew when it starts')
        if read_only:
            return
        db.execute('PRAGMA journal_mode=WAL')
        db.execute('PRAGMA synchronous=FULL')
        if version < VERSION:
            self._create(db, lost)
        with contextlib.suppress(OSError):
            # nova-compute and the agent share it; nobody else reads it.
            os.chmod(self.path, 0o660)

    def _must_be_whole(self, db: sqlite3.Connection) -> None:
        """Other programs number their files from 1, too.

        :raises JournalError: a table, or a column of one, is not there.
        """
        for statement in _SHAPE:
            try:
                db.execute(statement)
            except sqlite3.OperationalError as e:
                if e.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                    raise       # it is locked, or it cannot be read
                raise self._not_ours(str(e)) from None

    def _not_ours(self, why: str) -> exception.JournalError:
        """Nothing has been written to it: it may be of use to somebody."""
        return exception.JournalError(
            f'cannot use the journal {self.path}: because it is a sound file '
            f'of SQLite, and no journal of os-brick-healer: '
            f'{columns.one_line(why)}',
            hint='move it away: the agent begins a new one when it starts',
            transient=False)

    def _create(self, db: sqlite3.Connection, lost: str | None) -> None:
        db.execute('BEGIN IMMEDIATE')
        (version,) = db.execute('PRAGMA user_version').fetchone()
        if version == 0:     # another process may have been faster
            for statement in _SCHEMA.split(';'):
                if statement.strip():
                    db.execute(statement)
            db.execute(f'PRAGMA user_version={VERSION}')
            if lost is not None:
                db.execute('INSERT INTO setting VALUES (?,?)', (DAMAGED, (
                    f'the journal {self.path} {lost}: a new one is begun; '
                    f'{_of_pause(None)}')))
        db.execute('COMMIT')

    def _error(self, what: str, e: Exception) -> exception.JournalError:
        return exception.JournalError(
            f'cannot {what} the journal {self.path}: because {e}',
            hint=whose.of_journal(
                self.path, getattr(e, 'sqlite_errorname', ''),
                self._read_only))

    @property
    def gone(self) -> bool:
        """Whether another file, or none, is where this one was opened: what
        is written into this one nobody would see."""
        return self._place.gone

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction; what was told before it comes first in it."""
        if self.gone:
            raise exception.JournalError(
                f'cannot write the journal {self.path}: because it was '
                'removed or replaced',
                hint='restart whoever has it open, if this lasts')
        with self._lock:
            try:
                self._db.execute('BEGIN IMMEDIATE')
                try:
                    for row in self._told:
                        self._insert(self._db, row)
                    yield self._db
                    self._db.execute('COMMIT')
                    self._told.clear()
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        self._db.execute('ROLLBACK')
                    raise
            except _UNFIT as e:
                raise self._error('write', e) from e

    def _read(self, sql: str, args: tuple[object, ...] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(sql, args).fetchall()
            except _UNFIT as e:
                raise self._error('read', e) from e

    def damage(self) -> str | None:
        """What SQLite finds wrong in the file, None when it is sound."""
        with self._lock:
            try:
                row = self._db.execute('PRAGMA quick_check(1)').fetchone()
            except sqlite3.DatabaseError as e:
                if isinstance(e, sqlite3.OperationalError):
                    raise self._error('read', e) from e
                return str(e)
        return None if row[0] == 'ok' else str(row[0])

    def close(self) -> None:
        """Close the file; the journal cannot be used afterwards."""
        with self._lock:
            with contextlib.suppress(exception.JournalError):
                self.settle()
            self._db.close()

    # Attachments: written by connectors, read by the agent ----------

    def attach_begin(self, volume: str, alias: str,
                     connection: Mapping[str, Any], pid: int,
                     pid_start: str) -> None:
        """A connector starts to connect a volume.

        ``before`` keeps the state that :meth:`attach_undo` gives back: a
        failed second attach must not forget the first one.
        """
        with self._write() as db:
            db.execute(
                'INSERT INTO attachment VALUES (?,?,?,NULL,?,?,?,?) '
                'ON CONFLICT (volume) DO UPDATE SET alias=excluded.alias, '
                "before=CASE WHEN state='connecting' THEN before "
                'ELSE state END, '
                "state='connecting', pid=excluded.pid, "
                'pid_start=excluded.pid_start, '
                'connection=excluded.connection, wall_s=excluded.wall_s',
                (volume, alias, 'connecting', pid, pid_start,
                 _dump(connection), self._wall()))

    def adopt(self, volume: str, alias: str,
              connection: Mapping[str, Any]) -> bool:
        """Enter what is attached already; whether nothing was written of it,
        which is left alone. In one transaction: half of it would look like
        a connector at work."""
        pid = os.getpid()
        with self._write() as db:
            return db.execute(
                'INSERT INTO attachment VALUES (?,?,?,NULL,?,?,?,?) '
                'ON CONFLICT (volume) DO NOTHING',
                (volume, alias, 'attached', pid, process_start(pid) or '',
                 _dump(connection), self._wall())).rowcount == 1

    def attach_done(self, volume: str) -> None:
        """The volume is connected."""
        self._set_state(volume, 'attached')

    def state_of(self, row: AttachRow, states: type[_State]) -> _State:
        """A row's state as a wing calls it.

        :raises JournalError: it is none.
        """
        if row.state == UNREADABLE:
            raise self._unreadable(row.volume)
        try:
            return states(row.state)
        except ValueError:
            raise exception.JournalError(
                f'cannot read the journal {self.path}: because volume '
                f'{columns.one_line(row.volume)} is {row.state!r} in it, and '
                'that is no state',
                transient=False,
                hint='was a newer release here before?') from None

    def attach_note(self, volume: str,
                    connection: Mapping[str, Any]) -> None:
        """More is known of a connection than when it was begun."""
        with self._write() as db:
            db.execute('UPDATE attachment SET connection=? WHERE volume=?',
                       (_dump(connection), volume))

    def attach_undo(self, volume: str) -> None:
        """The connect failed: back to what was before it."""
        with self._write() as db:
            db.execute('DELETE FROM attachment WHERE volume=? '
                       'AND before IS NULL', (volume,))
            db.execute('UPDATE attachment SET state=before, before=NULL '
                       'WHERE volume=?', (volume,))

    def extend_begin(self, volume: str) -> None:
        """A connector starts to grow the array."""
        self._set_state(volume, 'extending')

    def extend_done(self, volume: str) -> None:
        """The grow has ended, well or not."""
        self._set_state(volume, 'attached')

    def detach_begin(self, volume: str) -> None:
        """A connector starts to disconnect: hands off from here on."""
        self._set_state(volume, 'disconnecting')

    def detach_done(self, volume: str) -> None:
        """The volume is no longer on this host."""
        with self._write() as db:
            db.execute('DELETE FROM attachment WHERE volume=?', (volume,))

    def _set_state(self, volume: str, state: str) -> None:
        with self._write() as db:
            db.execute('UPDATE attachment SET state=?, before=NULL, '
                       'pid=?, pid_start=? WHERE volume=?',
                       (state, os.getpid(), process_start(os.getpid()) or '',
                        volume))

    def attachments(self, *, whole: bool = True) -> tuple[AttachRow, ...]:
        """Every attachment that is written down.

        :param whole: one that cannot be read is an error; otherwise it is
            there as UNREADABLE, and does not hide the others.
        """
        rows = self._read('SELECT volume, alias, state, pid, pid_start, '
                          'connection, wall_s FROM attachment '
                          'ORDER BY volume')
        return tuple(self._attach_row(r, whole) for r in rows)

    def attachment(self, volume: str, *,
                   whole: bool = True) -> AttachRow | None:
        """One attachment as it is written down now, None if it is not.

        :param whole: as for :meth:`attachments`.
        """
        rows = self._read('SELECT volume, alias, state, pid, pid_start, '
                          'connection, wall_s FROM attachment '
                          'WHERE volume=?', (volume,))
        return self._attach_row(rows[0], whole) if rows else None

    def _unreadable(self, volume: str) -> exception.JournalError:
        return exception.JournalError(
            f'cannot read the journal {self.path}: because the attachment of '
            f'{columns.one_line(volume)[:80]} is damaged', transient=False,
            hint='detach that volume and attach it again: both write it anew')

    def _attach_row(self, r: Any, whole: bool) -> AttachRow:
        """Nova's own word: a row that is damaged is not guessed at."""
        volume, alias, state, pid, start, connection, wall_s = r
        if not all(isinstance(x, str) for x in (volume, alias, state, start)
                   ) or type(pid) is not int:
            if whole:
                raise self._unreadable(columns.text(volume))
            volume, alias = columns.text(volume), columns.text(alias)
            state, pid, start = UNREADABLE, 0, ''
        return AttachRow(volume=volume, alias=alias, state=state, pid=pid,
                         pid_start=start,
                         connection=columns.mapping(connection),
                         wall_s=columns.number(wall_s))

    # Memory ----------

    def load_memory(self, kind: str) -> dict[str, Remembered]:
        """All memories of a wing, by key."""
        rows = self._read('SELECT key, boot_id, value FROM memory '
                          'WHERE kind=?', (kind,))
        return {columns.text(r[0]): Remembered(
                    value=columns.mapping(r[2]),
                    same_boot=r[1] == self._boot_id)
                for r in rows}

    def save_memory(self, kind: str, key: str,
                    value: Mapping[str, Any]) -> None:
        """Remember; what was remembered under the key is replaced."""
        with self._write() as db:
            self._save(db, kind, key, value)

    def save_memories(self, kind: str,
                      values: Mapping[str, Mapping[str, Any]]) -> None:
        """Remember many keys in one transaction."""
        with self._write() as db:
            for key, value in values.items():
                self._save(db, kind, key, value)

    def data_version(self) -> int:
        """A number that changes when another process has written."""
        return int(self._read('PRAGMA data_version')[0][0])

    def _save(self, db: sqlite3.Connection, kind: str, key: str,
              value: Mapping[str, Any]) -> None:
        db.execute('INSERT OR REPLACE INTO memory VALUES (?,?,?,?)',
                   (kind, key, self._boot_id, _dump(value)))

    def forget(self, kind: str, key: str) -> None:
        """Forget a key; its history stays."""
        with self._write() as db:
            db.execute('DELETE FROM memory WHERE kind=? AND key=?',
                       (kind, key))

    # Intents and history ----------

    def intend(self, kind: str, key: str, text: str,
               detail: Mapping[str, Any], *,
               memory: Mapping[str, Any] | None = None) -> str:
        """Write down an action before its effect; with it, the memory.

        :returns: the id that ties intent, log lines and result together.
        """
        intent_id = uuid.uuid4().hex[:12]
        with self._write() as db:
            db.execute('INSERT INTO intent VALUES (?,?,?,?,?,?)',
                       (intent_id, kind, key, text[:TEXT_MAX],
                        _dump(detail), self._wall()))
            if memory is not None:
                self._save(db, kind, key, memory)
            self._tell(db, kind, key, intent_id, 'intent', text, None)
        return intent_id

    def conclude(self, intent_id: str, text: str, ok: bool) -> None:
        """The result of an intent is known."""
        with self._write() as db:
            row = db.execute('SELECT kind, key FROM intent WHERE id=?',
                             (intent_id,)).fetchone()
            if row is None:
                return
            db.execute('DELETE FROM intent WHERE id=?', (intent_id,))
            self._tell(db, row[0], row[1], intent_id, 'result', text, ok)

    def open_intents(self) -> tuple[IntentRow, ...]:
        """Actions of which no result is known (the agent died in them)."""
        rows = self._read('SELECT id, kind, key, text, detail, wall_s '
                          'FROM intent ORDER BY wall_s')
        return tuple(IntentRow(
            id=columns.text(r[0]), kind=columns.text(r[1]),
            key=columns.text(r[2]), text=columns.text(r[3]),
            detail=columns.mapping(r[4]), wall_s=columns.number(r[5]))
            for r in rows)

    def tell(self, kind: str, key: str, text: str,
             ok: bool | None = None) -> None:
        """Add a changed verdict to the history.

        Nothing depends on it, so it is written with the next transaction
        or by :meth:`settle`: an agent that starts has a thousand to tell,
        and a commit of its own would cost each of them an fsync.
        """
        row = HistoryRow(wall_s=self._wall(), kind=kind, key=key,
                         intent_id=None, what='verdict', text=text, ok=ok)
        with self._lock:
            self._told.append(row)

    @property
    def waiting(self) -> bool:
        """Whether something was told and is not written yet."""
        return bool(self._told)

    def settle(self) -> None:
        """Write what was told and is not written yet."""
        if self.waiting:
            with self._write():
                pass

    def _tell(self, db: sqlite3.Connection, kind: str, key: str,
              intent_id: str | None, what: str, text: str,
              ok: bool | None) -> None:
        self._insert(db, HistoryRow(
            wall_s=self._wall(), kind=kind, key=key, intent_id=intent_id,
            what=what, text=text, ok=ok))

    def _insert(self, db: sqlite3.Connection, row: HistoryRow) -> None:
        cursor = db.execute(
            'INSERT INTO history (wall_s, kind, key, intent_id, what, text, '
            'ok) VALUES (?,?,?,?,?,?,?)',
            (row.wall_s, row.kind, row.key, row.intent_id, row.what,
             columns.readable(row.text[:TEXT_MAX]),
             None if row.ok is None else int(row.ok)))
        db.execute('DELETE FROM history WHERE seq<=?',
                   ((cursor.lastrowid or 0) - self._history_max,))

    def history(self, key: str | None = None,
                limit: int = 100) -> tuple[HistoryRow, ...]:
        """The newest lines, oldest of them first."""
        with self._lock:
            rows = self._read(
                'SELECT wall_s, kind, key, intent_id, what, text, ok '
                'FROM history WHERE ?1 IS NULL OR key=?1 '
                'ORDER BY seq DESC LIMIT ?2', (key, limit))
            told = [r for r in self._told if key in (None, r.key)]
        written = [
            HistoryRow(wall_s=columns.number(r[0]), kind=columns.text(r[1]),
                       key=columns.text(r[2]),
                       intent_id=None if r[3] is None else columns.text(r[3]),
                       what=columns.text(r[4]), text=columns.text(r[5]),
                       ok=None if r[6] is None else bool(r[6]))
            for r in reversed(rows)]
        return tuple((written + told)[-limit:]) if limit > 0 else ()

    # Settings that outlive the agent (paused) ----------

    def setting(self, name: str) -> str | None:
        """A setting made at run time, None when it is not set."""
        rows = self._read('SELECT value FROM setting WHERE name=?', (name,))
        return columns.text(rows[0][0]) if rows else None

    def set_setting(self, name: str, value: str | None) -> None:
        """Set it, or with None take it back."""
        with self._write() as db:
            db.execute('DELETE FROM setting WHERE name=?', (name,))
            if value is not None:
                db.execute('INSERT INTO setting VALUES (?,?)', (name, value))


def make_directory(path: str) -> None:
    """Make the journal's directory, if it is not there and may be made.

    :raises JournalError: it is not there and cannot be made.
    """
    try:
        os.makedirs(path, mode=0o770, exist_ok=True)
    except OSError as e:
        raise exception.JournalError(
            f'cannot make the directory {path}: because {e.strerror}',
            hint='create it, writable by the user of nova-compute and of '
                 'the agent') from e


def _lenient(raw: bytes) -> str:
    return raw.decode('utf-8', 'replace')


def _quote(path: str) -> str:
    return (path.replace('%', '%25').replace('?', '%3f')
            .replace('#', '%23'))


def process_start(pid: int, proc: str = '/proc') -> str | None:
    """Start time of a process in clock ticks since boot, None if gone."""
    try:
        with open(f'{proc}/{pid}/stat', 'rb') as f:
            text = f.read()
    except OSError:
        return None
    # The command name may hold any bytes, spaces and brackets among them:
    # count after the last.
    fields = text.rpartition(b')')[2].split()
    found = fields[19] if len(fields) > 19 else b''
    return found.decode() if found.isdigit() else None


def _emptied(path: str) -> bool:
    """Whether what was in it is gone; who makes it does not take so long."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_size == 0 and time.time() - found.st_mtime > NEW_S


def _lost(path: str) -> str | None:
    """What became of the journal in whose place one is to be made.

    For whoever makes it: by the time that the agent looks, it is a sound one.
    """
    if _emptied(path):
        return 'was empty'
    return 'was removed' if _is_left_over(path) else None


def open_or_set_aside(path: str, **kwargs: Any) -> tuple[Journal, str | None]:
    """Open the agent's journal; a damaged file is set aside, never deleted.

    The new journal has a note of it. A pause is taken over where it can
    still be read: somebody may be mending arrays by hand. What is left of a
    file that was removed is set aside, too: while nova-compute still has it
    open, no new one could be opened beside it.

    :returns: the journal, and a sentence if a damaged one was set aside, or
        an empty one begun anew.
    """
    paused, emptied = None, _emptied(path)
    if _is_left_over(path):
        return _begin_anew(path, 'was removed: what was left of it', None,
                           kwargs)
    try:
        journal = Journal(path, **kwargs)
        problem = journal.damage()
        if problem is None:
            return journal, journal.setting(DAMAGED) if emptied else None
        with contextlib.suppress(exception.JournalError):
            paused = journal.setting(PAUSED)
        journal.close()
    except exception.JournalError as e:
        if not isinstance(e.__cause__, sqlite3.DatabaseError) or isinstance(
                e.__cause__, sqlite3.OperationalError):
            raise
        problem = str(e.__cause__)
    return _begin_anew(path, f'is damaged ({problem}): it', paused, kwargs)


def _is_left_over(path: str) -> bool:
    """Whether SQLite's two files are there without what they belong to.

    A journal that is being made has its first page before them: whoever
    sees one of them, and then looks, sees the page.
    """
    left = any(os.path.exists(path + suffix) for suffix in _BESIDE)
    with contextlib.suppress(OSError):
        return left and os.stat(path).st_size == 0
    return left


def _begin_anew(path: str, what: str, paused: str | None,
                kwargs: Mapping[str, Any]) -> tuple[Journal, str]:
    aside = f'{path}.damaged-{int(time.time())}'
    for suffix in ('', *_BESIDE):
        try:
            os.rename(path + suffix, aside + suffix)
        except FileNotFoundError:
            continue
        except OSError as e:
            raise exception.JournalError(
                f'cannot set {path}{suffix} aside: because {e.strerror}',
                hint=whose.of_file(path, '[os_brick_healer] state_path'),
            ) from e
    sentence = (f'the journal {path} {what} was set aside as {aside} and a '
                f'new one begun; {_of_pause(paused)}')
    journal = Journal(path, **kwargs)
    journal.set_setting(DAMAGED, sentence)
    if paused is not None:
        journal.set_setting(PAUSED, paused)
    return journal, sentence


def _of_pause(paused: str | None) -> str:
    if paused is None:
        return ('healing may have been paused and is not now: say pause or '
                'resume')
    return ('whether healing is paused was read from it: say pause or resume '
            'to confirm that')


def hand_over(path: str, paused: str | None) -> None:
    """Tell the next agent of a pause, in the journal that it will open.

    For an agent whose journal was removed or replaced, once it has closed
    it: SQLite's files have the same names. A pause that the new one has
    already (it may be a copy that somebody put back) stays.

    :param paused: the setting as it was in the old one.
    """
    make_directory(os.path.dirname(path))
    journal, _ = open_or_set_aside(path)
    with contextlib.closing(journal):
        if paused or journal.setting(PAUSED) is None:
            journal.set_setting(PAUSED, paused)
        journal.set_setting(DAMAGED, (
            f'the journal {path} was removed or replaced while the agent had '
            f'it open; {_of_pause(paused)}'))
