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
"""Logs stay within bounds, and nobody loses what is needed."""

from collections.abc import Callable, Iterator
import contextlib
import fcntl
import os
import pathlib
import threading

from os_brick_healer import exception
from os_brick_healer.nbd import parse
from os_brick_healer.privileged import logs, serverlog
from os_brick_healer.tests import base

HERE, GONE = 'vol-here', '0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c11'
NOW_S = 2e9
SIZE = 4000
BEGIN = b'os-brick-healer: a server is started\nclient.4711\n'


class LogsTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.place = self.temp_dir()

    def make(self, name: str, data: bytes = b'x\n',
            age_s: float = 0.0) -> pathlib.Path:
        path = self.place / name
        path.write_bytes(data)
        os.utime(path, (NOW_S - age_s, NOW_S - age_s))
        return path

    @staticmethod
    def client(line: str) -> str | None:
        return line.strip() if line.startswith('client.') else None

    def tidy(self, age_s: float = 100.0) -> int:
        return logs.tidy(str(self.place), [HERE], SIZE, age_s, NOW_S)

    def test_a_log_within_bounds_is_left_alone(self) -> None:
        path = self.make(f'{HERE}.log', b'x' * SIZE, age_s=1e6)
        self.assertEqual(0, self.tidy())
        self.assertEqual(SIZE, path.stat().st_size)
        self.assertEqual(0, logs.tidy('/no/such/place', [], SIZE, 1.0,
                                      NOW_S))

    def test_one_that_is_too_long_keeps_its_end_and_its_beginning(
            self) -> None:
        said = BEGIN + b''.join(b'line %d\n' % n for n in range(9000))
        path = self.make(f'{HERE}.log', said)
        with path.open('ab') as server:
            self.assertEqual(1, self.tidy())
            server.write(b'goes on\n')
        self.assertEqual(b'goes on\n', path.read_bytes())
        old = (self.place / f'{HERE}.log.old').read_bytes()
        self.assertTrue(old.startswith(BEGIN))
        self.assertTrue(old.endswith(b'line 8999\n'))
        self.assertLess(len(old), SIZE + logs.BEGINNING_BYTES_MAX + 2)
        self.assertEqual(0o640, (self.place / f'{HERE}.log.old').stat()
                         .st_mode & 0o777)

    def test_the_beginning_outlives_many_cuts(self) -> None:
        path = self.make(f'{HERE}.log', BEGIN + b'y' * 2 * SIZE)
        for _ in range(3):
            self.assertEqual(1, self.tidy())
            with path.open('ab') as server:
                server.write(b'z' * 2 * SIZE)
        self.assertEqual(1, self.tidy())
        old = (self.place / f'{HERE}.log.old').read_bytes()
        self.assertTrue(old.startswith(BEGIN[:-1]))
        self.assertTrue(old.endswith(b'z' * SIZE))

    def test_after_many_cuts_it_is_known_who_said_what(self) -> None:
        server = parse.Running(pid=71, start='497', stopped=False, argv=())
        place = serverlog.begin(HERE, str(self.place))
        serverlog.known(place, server)
        for word in ('client.4711', 'y' * 2 * SIZE, 'z' * 2 * SIZE):
            with open(place, 'a') as log:
                log.write(f'{word}\n')
            self.tidy()
        (said,) = serverlog.read(HERE, self.client, str(self.place))
        self.assertEqual((server.process, frozenset(('client.4711',))),
                         (said.server, said.names))
        serverlog.only_ours(HERE, str(self.place))

    def test_who_cuts_waits_for_a_line_of_ours_and_keeps_it(self) -> None:
        path = self.make(f'{HERE}.log', BEGIN + b'y' * 2 * SIZE)
        with self.beside(self.tidy) as cutting, path.open('ab') as ours:
            fcntl.flock(ours, fcntl.LOCK_EX)
            cutting.start()
            cutting.join(0.2)
            ours.write(b'\n' + BEGIN.replace(b'4711', b'4712'))
        self.assertEqual(b'', path.read_bytes())
        said = [one.names for one in serverlog.read(
            HERE, self.client, str(self.place))]
        self.assertEqual([{'client.4711'}, {'client.4712'}], said)

    def test_who_writes_a_line_of_ours_waits_for_the_cut(self) -> None:
        path = self.make(f'{HERE}.log')
        with self.beside(lambda: serverlog.begin(
                HERE, str(self.place))) as writing, path.open('ab') as cut:
            fcntl.flock(cut, fcntl.LOCK_EX)
            writing.start()
            writing.join(0.2)
            self.assertEqual(b'x\n', path.read_bytes())
            cut.truncate(0)
        self.assertIn(serverlog.BEGINS, path.read_text())

    @contextlib.contextmanager
    def beside(self, what: Callable[[], object],
               ) -> Iterator[threading.Thread]:
        """A thread that has ended when this has."""
        thread = threading.Thread(target=what)
        yield thread
        thread.join(10.0)
        self.assertFalse(thread.is_alive())

    def test_only_the_newest_server_s_beginning_is_kept(self) -> None:
        newest = BEGIN.replace(b'4711', b'4712')
        self.make(f'{HERE}.log', BEGIN + b'y' * 2 * SIZE + newest)
        self.tidy()
        old = (self.place / f'{HERE}.log.old').read_bytes()
        self.assertNotIn(b'4711', old)
        self.assertEqual(1, old.count(b'4712'))

    def test_a_beginning_across_two_reads_is_found(self) -> None:
        for cut in (1, 10, len(logs.BEGINS) - 1):
            pad = b'p' * ((1 << 20) - cut)
            self.make(f'{HERE}.log', pad + BEGIN + b'y' * 2 * SIZE)
            self.assertEqual(1, self.tidy())
            old = (self.place / f'{HERE}.log.old').read_bytes()
            self.assertTrue(old.startswith(BEGIN), cut)

    def test_a_volume_that_left_keeps_its_log_for_a_time(self) -> None:
        young = self.make(f'{GONE}.log', age_s=99.0)
        old = self.make(f'{GONE}.log.old', age_s=101.0)
        self.assertEqual(1, self.tidy())
        self.assertEqual((True, False), (young.exists(), old.exists()))
        self.assertEqual(1, self.tidy(age_s=10.0))
        self.assertFalse(young.exists())

    def test_other_files_and_links_are_not_touched(self) -> None:
        secret = self.make('secret', b's' * 2 * SIZE, age_s=1e6)
        kept = [self.make(name, b'o' * 2 * SIZE, age_s=1e6)
                for name in ('agent.txt', '.log', '-x.log', 'a b.log')]
        link = self.place / f'{HERE}.log'
        link.symlink_to(secret)
        (self.place / f'{GONE}.log').mkdir()
        self.assertEqual(0, self.tidy())
        self.assertTrue(all(path.stat().st_size == 2 * SIZE
                            for path in (*kept, secret)))

    def test_an_old_log_that_is_a_link_is_replaced_and_not_followed(
            self) -> None:
        secret = self.make('secret', b's')
        (self.place / f'{HERE}.log.old').symlink_to(secret)
        self.make(f'{HERE}.log', BEGIN + b'y' * 2 * SIZE)
        self.tidy()
        self.assertEqual(b's', secret.read_bytes())
        self.assertFalse((self.place / f'{HERE}.log.old').is_symlink())

    def test_what_crosses_the_wall_is_checked(self) -> None:
        # Beyond the wall: the function itself.
        call = vars(logs.tidy_logs)['__wrapped__']
        good = {'volumes': [HERE], 'size_bytes': 1 << 20, 'age_s': 1,
                'timeout_s': 1.0}
        for wrong in ({'volumes': ['../x']}, {'volumes': 'abc'},
                      {'size_bytes': 0}, {'age_s': 0}, {'timeout_s': 0}):
            self.assertRaises(exception.NotOurs, call, **{**good, **wrong})
