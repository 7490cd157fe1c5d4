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

"""What we keep on disk: damaged, of another version, or not ours at all."""

from collections.abc import Iterator
import functools
import json
import pathlib
import sqlite3

from os_brick_healer import exception
from os_brick_healer.agent import lock, record
from os_brick_healer.cli import offline, printing
from os_brick_healer.connector import guard, legs, records
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.provisioner import base
from os_brick_healer.replica import attachments, model, remember, words
from os_brick_healer.tests.fuzz import law

BOOT = 'a-boot'


class Journal(law.Target):
    """The journal's file."""

    name = 'journal'
    words = (b'SQLite format 3\0', b'CREATE TABLE ', b'attachment', b'memory',
             b'intent', b'\0\0\0\1', b'\xff\xff\xff\xff', b'{}', b'[]')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._runs = 0

    def seeds(self) -> Iterator[bytes]:
        path = self.directory / 'seed.sqlite'
        with sqlite3.connect(path) as db:
            db.execute('PRAGMA page_size=512')
            db.executescript(journal_lib._SCHEMA)
            db.execute(f'PRAGMA user_version={journal_lib.VERSION}')
            for sql, row in _ROWS:
                db.execute(sql, row)
        db.close()
        sound = path.read_bytes()
        path.unlink()
        yield sound
        yield sound[:len(sound) // 2]
        yield b''
        yield b'not a database, but long enough to be taken for one' * 20

    def run(self, data: bytes) -> None:
        self._runs += 1
        place = self.directory / f'run-{self._runs}'
        place.mkdir()
        path = place / offline.JOURNAL
        path.write_bytes(data)
        offline.look(str(place))        # never raises
        try:
            opened = law.attempt(
                lambda: journal_lib.open_or_set_aside(str(path),
                                                      boot_id=BOOT),
                str(path), exception.JournalError)
            if opened is not None:
                with_journal(opened[0], str(path))
                opened[0].close()
        finally:
            for left in place.iterdir():
                left.unlink()
            place.rmdir()


_ROWS: tuple[tuple[str, tuple[object, ...]], ...] = (
    ('INSERT INTO attachment VALUES (?,?,?,?,?,?,?,?)',
     ('v', 'vol', 'attached', None, 1, '7', '{"vol_uuid":"v"}', 1.0)),
    ('INSERT INTO memory VALUES (?,?,?,?)',
     ('replica', 'v', BOOT, '{"replicas":{"r":{"tries":1}}}')),
    ('INSERT INTO intent VALUES (?,?,?,?,?,?)',
     ('0123', 'replica', 'v', 'break', '{"a":1}', 1.0)),
    ("INSERT INTO history VALUES (1,1.0,'replica','v',NULL,'verdict',?,1)",
     ('all is well',)),
    ('INSERT INTO setting VALUES (?,?)', ('paused', 'by me')))


def with_journal(journal: journal_lib.Journal, path: str) -> None:
    """Everything that is read from a journal."""
    known = attachments.Attachments(journal, lambda _pid: None)
    law.attempt(lambda: known.refresh(journal.data_version()), path,
                exception.JournalError)
    for key in tuple(known.keys()):
        law.attempt(functools.partial(known.of, key), path,
                    exception.JournalError)
    for read, kind in (
            (journal.attachments, journal_lib.AttachRow),
            (journal.open_intents, journal_lib.IntentRow),
            (journal.history, journal_lib.HistoryRow)):
        rows = law.attempt(read, path, exception.JournalError) or ()
        law.need(all(law.typed(row, kind) for row in rows), repr(rows))
    paused = law.attempt(lambda: journal.setting('paused'), path,
                         exception.JournalError)
    law.need(paused is None or isinstance(paused, str), repr(paused))
    book = records.Records(lambda: journal)  # it never raises
    for key in ('v', 'w'):
        row, array = book.row(key), book.known(key)
        law.need(row is None or law.typed(row, journal_lib.AttachRow),
                 repr(row))
        law.need(law.typed(array, guard.Known), repr(array))
        law.need(all(law.typed(leg, legs.Leg) for leg in (
            *book.legs(key), *book.former(key),
            *legs.of_record({} if row is None else row.connection))),
            'a leg of another kind')
    for wing in ('replica', 'words'):
        kept = law.attempt(functools.partial(journal.load_memory, wing),
                           path, exception.JournalError)
        law.need(all(law.typed(one, journal_lib.Remembered)
                     for one in (kept or {}).values()), repr(kept))


class Rows(law.Target):
    """A sound journal with odd rows: a JSON list of a table and values."""

    name = 'journal-rows'
    huge_bytes = 1 << 18    # each line of it is a row
    words = (*law.JSON, b'["attachment", ', b'["memory", "replica", ',
             b'["intent", ', b'["history", ', b'["setting", "paused", ',
             b'["memory", "connection", "v", "a-boot", ',
             b'"{\\"replicas\\":', b'\\"in_sync\\":', b'\\"legs\\":',
             b'\\"portals\\":', b'\\"volume_replicas\\":', b'"attached"',
             b'\n', b'"connecting"')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._path = str(directory / 'rows.sqlite')
        self._journal = journal_lib.Journal(self._path, boot_id=BOOT)
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.execute('PRAGMA synchronous=OFF')

    def seeds(self) -> Iterator[bytes]:
        yield b'\n'.join(json.dumps(row).encode() for row in (
            ['attachment', 'v', 'vol', 'attached', None, 1, '7',
             '{"vol_uuid":"v","volume_replicas":[{"target_nqn":"nqn.a",'
             '"portals":[]}]}', 1.0],
            ['memory', 'replica', 'v', BOOT, '{"replicas":{"r":{"nqn":'
             '"nqn.a","lost_s":1.0}},"array_uuid":"u"}'],
            ['memory', 'connection', 'v', BOOT, '{"array_uuid":"u","events":'
             '7,"in_sync":["k"],"legs":[{"target_nqn":"nqn.a","portals":'
             '[["10.0.0.1","4420","tcp"]]}],"wall_s":1.0}'],
            ['intent', '0123', 'replica', 'v', 'break', '{"a":1}', 1.0],
            ['history', 1, 1.0, 'replica', 'v', None, 'verdict', 'well', 1],
            ['setting', 'paused', 'by me']))

    def run(self, data: bytes) -> None:
        self._db.execute('BEGIN')
        for table in _TABLES:
            self._db.execute(f'DELETE FROM {table}')
        for line in data.split(b'\n'):
            self._insert(line)
        self._db.execute('COMMIT')
        with_journal(self._journal, self._path)

    def _insert(self, line: bytes) -> None:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(row, list) or row[:1] not in [[t] for t in _TABLES]:
            return
        values = [v.encode() if isinstance(v, str) and v.startswith('\0')
                  else v for v in row[1:]]
        marks = ','.join('?' * len(values))
        try:
            self._db.execute(f'INSERT INTO {row[0]} VALUES ({marks})', values)
        except (sqlite3.Error, OverflowError, UnicodeEncodeError):
            return      # SQLite itself does not take it

    def close(self) -> None:
        self._db.close()
        self._journal.close()


_TABLES = ('attachment', 'memory', 'intent', 'history', 'setting')


class Memory(law.Target):
    """What the journal gives back of a volume: memory, and words."""

    name = 'memory'
    words = (*law.JSON, b'"replicas": ', b'"lost_s": ', b'"losses_s": ',
             b'"request": ', b'"reported": "missing"', b'"asked_s": ',
             b'"superblock": "ours"', b'"portals": ', b'"hosts": ',
             b'"size_bytes": ', b'"state": "available"', b'"known": ')

    def seeds(self) -> Iterator[bytes]:
        one = model.ReplicaMemory(
            lost_s=5.0, losses_s=(1.0, 2.0), belongs=True,
            reported=model.ReplicaState.MISSING,
            superblock=next(iter(model.Superblock)),
            request=model.Request(
                id='q', asked_s=1.0, tries=1, arrived=None,
                state=next(iter(model.RequestState)),
                known=frozenset((model.ReplicaId('r'),))))
        yield json.dumps(remember.dump(model.Memory(
            array_uuid='u', replicas={model.ReplicaId('r'): one}))).encode()
        yield json.dumps(words.dump(base.Volume(
            id=base.VolumeId('v'), alias='vol', size_bytes=1 << 30,
            replica_count=2, hosts=frozenset(('here',)), grace_s=5.0,
            replicas=(base.Replica(
                id=base.ReplicaId('r'), nqn='nqn.a', namespace_uuid=None,
                portals=(base.Portal(address='192.0.2.1', port=4420),),
                state=base.ReplicaState.AVAILABLE),)))).encode()

    def run(self, data: bytes) -> None:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return      # the journal itself finds that: see Rows
        if not isinstance(value, dict):
            return
        try:
            memory = remember.load(value)
        except ValueError:
            memory = model.Memory()
        law.need(law.typed(memory, model.Memory), repr(memory))
        again = json.loads(json.dumps(remember.dump(memory)))
        law.need(remember.load(again) == memory,
                 'another memory once it was written and read')
        remember.rebase(memory, 1.0)
        try:
            volume = words.load('v', value)
        except ValueError:
            return
        law.need(law.typed(volume, base.Volume), repr(volume))
        again = json.loads(json.dumps(words.dump(volume)))
        law.need(words.load('v', again) == volume,
                 'other words once they were written and read')


class LastLaunch(law.Target):
    """The record of an agent that could not be started, and a lock's note."""

    name = 'last-launch'
    words = (*law.JSON, b'"wall_s": ', b'"launch": ', b'"error": ',
             b'"failures": ', b'[[[[[[')

    def seeds(self) -> Iterator[bytes]:
        yield (b'{"wall_s": 1700000000.5, "launch": "systemd", '
               b'"error": "cannot start", "failures": 3}')

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._lock = lock.AgentLock(str(directory), launch='systemd')

    def run(self, data: bytes) -> None:
        (self.directory / record.NAME).write_bytes(data)
        (self.directory / lock.NAME).write_bytes(data)
        place = str(self.directory)
        holder = lock.holder(place)
        law.need(holder is not None and bool(str(holder)), 'nobody holds it')
        found = record.read(place)
        law.need(law.typed(found, record.LastLaunch | None),
                 repr(found))
        offline.text(offline.Found(launch=found), 'it does not run',
                     when=printing.when)
        record.take_over(place)
        law.need(record.read(place) is None, 'it was not taken over')

    def close(self) -> None:
        self._lock.release()


TARGETS: tuple[type[law.Target], ...] = (Journal, Rows, Memory, LastLaunch)
