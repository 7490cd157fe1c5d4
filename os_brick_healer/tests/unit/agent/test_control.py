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
"""Laws of the control socket: nobody crashes it, nobody blocks it."""

from collections.abc import Callable, Mapping
import json
import os
import pathlib
import resource
import socket
import stat
import tempfile
import time
from typing import Any

import hypothesis
from hypothesis import strategies

from os_brick_healer import exception
from os_brick_healer.agent import client, control, verbs
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.agent import fakes

WAIT_S = 20.0


def everybody(_uid: int) -> bool:
    return True


def nobody(_uid: int) -> bool:
    return False


class ControlTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # A socket's path has 108 bytes: a test's directory may be longer.
        self.place = pathlib.Path(tempfile.mkdtemp(dir='/tmp'))
        self.addCleanup(self.place.rmdir)
        self.path = str(self.place / 'c.sock')
        self.engine = fakes.FakeEngine([fakes.volume(1), fakes.volume(2)])

    def serve(self, *, permitted: Callable[[int], bool] = everybody,
              limits: control.Limits | None = None,
              more: Mapping[str, control.Verb] | None = None,
              ) -> control.Server:
        table = verbs.table(self.engine, lambda: {'pid': os.getpid()},
                            lambda: ('x has changed',))
        server = control.Server(self.path, {**table, **(more or {})},
                                permitted, limits=limits)
        server.start()
        self.addCleanup(server.stop)
        return server

    def ask(self, verb: str, **more: Any) -> Any:
        return client.Client(self.path, WAIT_S).call(verb, **more)

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(sock.close)
        sock.settimeout(WAIT_S)
        sock.connect(self.path)
        return sock

    def lines(self, sock: socket.socket, number: int) -> list[Any]:
        with sock.makefile('rb') as f:
            return [json.loads(f.readline()) for _ in range(number)]


class VerbsTest(ControlTestCase):
    def test_status_is_the_engines_with_what_the_process_knows(self) -> None:
        self.serve()
        told = self.ask('status')
        self.assertEqual(os.getpid(), told['agent']['pid'])
        self.assertEqual('fake', told['agent']['provisioner']['name'])
        self.assertEqual(2, len(told['volumes']))

    def test_a_thousand_volumes_are_told_in_one_answer(self) -> None:
        self.engine.volumes = [fakes.volume(i) for i in range(1000)]
        self.serve()
        self.assertEqual(1000, len(self.ask('status')['volumes']))

    def test_a_volume_is_found_by_key_alias_array_and_beginning(self) -> None:
        self.serve()
        key = self.engine.volumes[0]['key']
        for name in (key, 'vol-1', 'md1', '00000001'):
            self.assertEqual(
                key, self.ask('explain', key=name)['volume']['key'])

    def test_an_ambiguous_name_is_refused(self) -> None:
        self.serve()
        self.assertIn('2 of this host fit', str(self.assertRaises(
            client.AgentRefused, self.ask, 'explain', key='0000000')))
        self.assertIn('none of the 2', str(self.assertRaises(
            client.AgentRefused, self.ask, 'explain', key='nope')))

    def test_history_is_that_of_the_volume_meant(self) -> None:
        key = self.engine.volumes[0]['key']
        self.engine.journal.rows = (fakes.row(key), fakes.row('other'))
        self.serve()
        self.assertEqual(
            [key], [r['key'] for r in self.ask('history', key='vol-1')])
        self.assertEqual(2, len(self.ask('history')))
        self.assertEqual(1, len(self.ask('history', limit=1)))
        self.assertEqual(
            ['other'], [r['key'] for r in self.ask('history', key='other')])

    def test_pause_lasts_until_resume(self) -> None:
        self.serve()
        self.ask('pause', reason='maintenance')
        self.assertEqual('maintenance', self.ask('status')['agent']['paused'])
        self.ask('resume')
        self.assertIsNone(self.ask('status')['agent']['paused'])

    def test_a_pause_that_cannot_be_written_down_is_in_force_and_said(
            self) -> None:
        self.serve()
        self.engine.unkept = 'the disk is full'
        told = self.ask('pause', reason='maintenance')
        self.assertTrue(told.startswith('paused; '))
        self.assertIn('the disk is full', told)
        self.assertEqual('maintenance', self.engine.paused)
        self.assertIn('the disk is full', self.ask('resume'))

    def test_words_that_no_file_can_hold_are_refused_and_pause_nothing(
            self) -> None:
        self.serve()
        for verb, name in (('pause', 'reason'), ('history', 'key')):
            error = self.assertRaises(client.AgentRefused, self.ask, verb,
                                      **{name: 'caf\udce9'})
            self.assertIn(f'{name} is not UTF-8', str(error))
        self.assertIsNone(self.engine.paused)

    def test_reload_tells_what_is_not_in_force(self) -> None:
        self.serve()
        self.assertEqual('reloaded\nx has changed', self.ask('reload'))

    def test_a_volume_that_was_never_here_is_not_found(self) -> None:
        self.serve()
        self.engine.journal.rows = (fakes.row('vol-gone', 'it was here'),)
        for verb in ('wake', 'history', 'explain'):
            error = self.assertRaises(client.AgentRefused, self.ask, verb,
                                      key='nope')
            self.assertIn("cannot find volume 'nope'", str(error))
        self.assertEqual([], self.engine.woken)
        self.assertEqual(['it was here'], [
            row['text'] for row in self.ask('history', key='vol-gone')])

    def test_release_tells_whether_something_is_under_way(self) -> None:
        self.serve()
        key = self.engine.volumes[0]['key']
        self.assertEqual({'idle': True}, self.ask('release', key=key))
        self.engine.volumes[0]['action'] = 're-add leg'
        self.assertEqual({'idle': False}, self.ask('release', key=key))
        self.assertEqual([key, key], self.engine.woken)

    def test_arguments_of_the_wrong_kind_are_refused(self) -> None:
        self.serve()
        for verb, more in (('explain', {}), ('explain', {'key': 7}),
                           ('explain', {'key': ''}), ('wake', {'key': []}),
                           ('explain', {'key': 'x' * 300}),
                           ('history', {'limit': 0}),
                           ('history', {'limit': True}),
                           ('history', {'limit': '9'}),
                           ('pause', {'reason': {}}), ('no-such', {})):
            self.assertRaises(client.AgentRefused, self.ask, verb, **more)


class HostilityTest(ControlTestCase):
    def test_the_socket_is_for_owner_and_group(self) -> None:
        self.serve()
        self.assertEqual(0o660, stat.S_IMODE(os.stat(self.path).st_mode))

    def test_who_is_not_permitted_is_told_so(self) -> None:
        self.serve(permitted=nobody)
        error = self.assertRaises(client.AgentRefused, self.ask, 'status')
        self.assertIn(f'user id {os.geteuid()}', str(error))
        self.assertIn('control_users', str(error))

    def test_garbage_is_answered_and_the_next_request_served(self) -> None:
        self.serve()
        sock = self.connect()
        sock.sendall(b'garbage\n[]\n{"verb":1}\n' + b'[' * 20000
                     + b'\n{"verb":"ping"}\n')
        told = self.lines(sock, 5)
        self.assertEqual([False] * 4 + [True], [t['ok'] for t in told])

    def test_a_request_too_long_ends_the_connection(self) -> None:
        self.serve(limits=control.Limits(request_bytes_max=100))
        sock = self.connect()
        sock.sendall(b'x' * 101)
        self.assertIn('longer than 100', self.lines(sock, 1)[0]['error'])
        self.assertEqual(b'', sock.recv(1))

    def test_a_silent_peer_is_dropped(self) -> None:
        self.serve(limits=control.Limits(idle_s=0.1))
        sock = self.connect()
        sock.sendall(b'{"verb":')
        self.assertEqual(b'', sock.recv(1))

    def test_who_does_not_read_keeps_nobody_waiting(self) -> None:
        self._deaf_peer(answer_s=600.0)
        self.assertTrue(self.ask('ping'))

    def test_who_does_not_read_is_dropped(self) -> None:
        sock = self._deaf_peer(answer_s=0.2)
        self.assertRaises(ConnectionError, self._write_until_refused, sock)

    def _deaf_peer(self, answer_s: float) -> socket.socket:
        """Asks a lot and reads no answer."""
        self.engine.volumes = [fakes.volume(i) for i in range(3000)]
        self.serve(limits=control.Limits(answer_s=answer_s))
        sock = self.connect()
        sock.sendall(b'{"verb":"status"}\n' * 1000)
        return sock

    def _write_until_refused(self, sock: socket.socket) -> None:
        while True:
            sock.sendall(b'{"verb":"status"}\n' * 1000)

    def test_too_many_peers_are_told_so(self) -> None:
        self.serve(limits=control.Limits(peers_max=2))
        first = self.connect()
        first.sendall(b'{"verb":"ping"}\n')
        self.lines(first, 1)
        second = self.connect()
        second.sendall(b'{"verb":"ping"}\n')
        self.lines(second, 1)
        error = self.assertRaises(client.AgentRefused, self.ask, 'ping')
        self.assertIn('2 others', str(error))
        first.close()
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            try:
                self.assertTrue(self.ask('ping'))
                return
            except client.AgentRefused:
                time.sleep(0.01)
        self.fail('a peer that left still counts')

    def test_a_defect_fails_one_request_only(self) -> None:
        def broken(_: Mapping[str, Any]) -> object:
            raise ZeroDivisionError

        def unwritable(_: Mapping[str, Any]) -> object:
            return object()

        self.serve(more={'broken': broken, 'unwritable': unwritable})
        for verb in ('broken', 'unwritable'):
            self.assertIn('defect', str(self.assertRaises(
                client.AgentRefused, self.ask, verb)))
        self.assertTrue(self.ask('ping'))

    def test_an_answer_too_long_is_an_error(self) -> None:
        self.serve(limits=control.Limits(answer_bytes_max=100))
        self.assertIn('too long', str(self.assertRaises(
            client.AgentRefused, self.ask, 'status')))

    def test_any_bytes_leave_the_server_serving(self) -> None:
        self.serve()

        @hypothesis.given(strategies.lists(strategies.one_of(
            strategies.binary(max_size=200),
            strategies.sampled_from((
                b'\n', b'{"verb":"status"}\n', b'{"verb":"explain","key":',
                b'{"verb":null}\n', b'\xff\xfe\n', b'{}\n')))))
        @hypothesis.settings(max_examples=100, deadline=None)
        def attack(parts: list[bytes]) -> None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.connect(self.path)
                for part in parts:
                    sock.sendall(part)
            self.assertEqual(os.getpid(), self.ask('ping')['pid'])

        attack()

    def test_a_leftover_socket_is_replaced_and_ours_taken_away(self) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        server = control.Server(self.path, {'ping': lambda _: 'pong'},
                                everybody)
        server.start()
        self.assertEqual('pong', self.ask('ping'))
        server.stop()
        self.assertFalse(os.path.exists(self.path))

    def test_a_path_too_long_for_the_kernel_is_said(self) -> None:
        error = self.assertRaises(
            exception.ConfigError, control.Server, '/tmp/' + 'x' * 120, {},
            everybody)
        self.assertIn('run_path', str(error))


class ClientTest(ControlTestCase):
    def test_nobody_listening_is_an_agent_that_does_not_run(self) -> None:
        self.assertRaises(client.AgentDown, self.ask, 'status')
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        self.addCleanup(os.unlink, self.path)
        self.assertRaises(client.AgentDown, self.ask, 'status')

    def _listen(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(os.unlink, self.path)
        self.addCleanup(sock.close)
        sock.bind(self.path)
        sock.listen(1)
        return sock

    def test_no_answer_in_time_is_said_with_the_time(self) -> None:
        self._listen()
        error = self.assertRaises(
            client.AgentSilent, client.Client(self.path, 0.2).call, 'status')
        self.assertIn('0.2 s', str(error))

    def test_a_full_queue_is_a_timeout_too(self) -> None:
        listener = self._listen()
        listener.listen(0)
        for _ in range(2):
            sock = socket.socket(socket.AF_UNIX)
            self.addCleanup(sock.close)
            sock.settimeout(0.2)
            try:
                sock.connect(self.path)
            except (TimeoutError, BlockingIOError):
                break
        self.assertRaises(client.AgentSilent,
                          client.Client(self.path, 0.2).call, 'status')

    def test_nonsense_is_not_taken_for_an_answer(self) -> None:
        self.serve(more={'odd': lambda _: 1})
        odd = client.Client(self.path)
        for answer in (b'[]\n', b'{"ok":true}\n', b'{"ok":1,"result":2}\n',
                       b'{"ok":false}\n', b'\xff\n', b'"x\n'):
            self.assertRaises(client.AgentSilent, odd._judge, 'x', answer)


class TakenAwayTest(ControlTestCase):
    def test_put_back_it_serves_who_comes_and_who_was_there(self) -> None:
        server = self.serve()
        sock = self.connect()
        self.assertFalse(server.gone)
        for _ in range(2):
            os.unlink(self.path)
            self.assertTrue(server.gone)
            server.put_back()
            self.assertFalse(server.gone)
            self.assertEqual(os.getpid(), self.ask('ping')['pid'])
        sock.sendall(b'{"verb": "ping"}\n')
        self.assertTrue(self.lines(sock, 1)[0]['ok'])

    def test_without_a_descriptor_it_says_so_and_serves_on(self) -> None:
        server = self.serve()
        sock = self.connect()
        os.unlink(self.path)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            error = self.assertRaises(exception.HealerError, server.put_back)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        self.assertIn('because Too many open files', str(error))
        sock.sendall(b'{"verb": "ping"}\n')
        self.assertTrue(self.lines(sock, 1)[0]['ok'])

    def test_a_socket_that_is_anothers_is_left_alone(self) -> None:
        first = self.serve()
        self.serve()
        first.stop()
        self.assertEqual(os.getpid(), self.ask('ping')['pid'])

    def test_who_has_stopped_is_not_put_back(self) -> None:
        """The main thread looks while the engine's stops the server."""
        server = self.serve()
        server.stop()
        self.assertFalse(server.gone)
        server.put_back()
        self.assertFalse(os.path.exists(self.path))

    def test_stopped_twice_it_writes_into_no_file_of_others(self) -> None:
        file = (self.place / 'file').open('w+b')
        self.addCleanup(os.unlink, file.name)
        self.addCleanup(file.close)
        server = self.serve()
        server.stop()
        os.dup2(file.fileno(), server._wake_out)
        self.addCleanup(os.close, server._wake_out)
        server.stop()
        self.assertEqual(0, os.fstat(file.fileno()).st_size)
