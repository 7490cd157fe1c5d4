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
"""Law 7: nobody is shut out but the client of a server that has ended."""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
import pathlib

from hypothesis import given
from hypothesis import strategies as st

from os_brick_healer import exception
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.mounter import rbd_nbd
from os_brick_healer.nbd import parse
from os_brick_healer.privileged import command, fencing, serverlog, serving
from os_brick_healer.sysfs import reader
from os_brick_healer.tests import base

KEY = '0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c11'
ADDRESS = '10.0.0.1:0/2329868906'
IMAGE = {'pool': 'p', 'image': 'i', 'user': 'cinder'}


def lock(client: int, address: str = ADDRESS,
         claim: str = 'auto 139888024428560') -> dict[str, str]:
    """As ``rbd lock ls --format json`` of Ceph 16.2 prints it."""
    return {'id': claim, 'locker': f'client.{client}', 'address': address}


class FencingTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = self.temp_dir()
        self.logs = str(self.root / 'log')
        self.locks: object = []
        self.asked: list[tuple[str, ...]] = []
        self.codes = {'ls': 0, 'rm': 0, '--format': 0}
        self.obeyed: list[str] = []

    def served(self, pid: int | None, *clients: int,
               lives: bool = False,
               source: Mapping[str, str] | None = None) -> None:
        """A server, and the names that it said it got."""
        path = serverlog.begin(KEY, self.logs, serverlog.about(
            self.job(source).order.source))
        with open(path, 'a', encoding='utf-8') as log:
            for client in clients:
                log.write('2026-11-20T12:40:08.684+0000 7f3a55099fc0  5 '
                          'monclient: authenticate success, global_id '
                          f'{client}\n')
        if pid is not None:
            serverlog.known(path, parse.Running(
                pid=pid, start=str(pid * 7), stopped=False, argv=('x',)))
        if lives:
            self.write_file(self.root / f'proc/{pid}/cmdline', 'rbd-nbd\0')
            self.write_file(
                self.root / f'proc/{pid}/stat',
                f'{pid} (x) S {" ".join(["0"] * 18)} {(pid or 0) * 7} 0\n')

    def run_tool(self, argv: Sequence[str],
                 timeout_s: float) -> command.Result:
        self.assertGreater(timeout_s, 0.0)
        self.asked.append(tuple(argv))
        out = self.locks if isinstance(self.locks, str) else json.dumps(
            self.locks)
        return command.Result(code=self.codes[argv[2]], out=out, err='no')

    def job(self, source: Mapping[str, str] | None = None) -> serving.Job:
        return serving.job(
            'rbd-nbd', KEY, source or IMAGE, f'/run/{KEY}.sock',
            lambda _: rbd_nbd.RbdNbdMounter())

    def fence(self, source: Mapping[str, str] | None = None) -> str:
        return fencing.fence(
            reader.Tree(str(self.root)), self.job(source), 10.0,
            self.run_tool, self.logs, self.obeyed.append)

    def shut_out(self) -> list[tuple[str, ...]]:
        return [argv for argv in self.asked if argv[2] == 'rm']

    def test_the_dead_one_that_holds_it_is_shut_out(self) -> None:
        self.served(5, 4110, 4112)
        self.served(6, 4120, lives=True)
        self.locks = [lock(4112)]
        self.assertEqual(f'client.4112 ({ADDRESS}), which had died, was shut '
                         'out', self.fence())
        self.assertEqual([('rbd', 'lock', 'rm', '--id', 'cinder', 'p/i',
                           'auto 139888024428560', 'client.4112')],
                         self.shut_out())
        self.assertEqual(['/etc/ceph/ceph.conf'], self.obeyed)

    def test_one_of_an_attempt_that_failed_is_shut_out(self) -> None:
        self.served(5, 4112)
        self.served(6, 4120)
        self.served(7, 4130, lives=True)
        self.locks = [lock(4120)]
        self.assertIn('was shut out', self.fence())

    def test_one_that_only_gives_back_what_it_had_open_has_ended(
            self) -> None:
        self.served(6, 4120)
        words = ' '.join(['0'] * 18)
        self.write_file(self.root / 'proc/6/cmdline', '')
        self.write_file(self.root / 'proc/6/stat', f'6 (x) Z {words} 42 0\n')
        for flags, dead in (('4', True), ('0', False)):
            for thread in (6, 7):
                self.write_file(
                    self.root / f'proc/6/task/{thread}/stat',
                    f'7 (x) D 0 0 0 0 0 {flags} {words[12:]} 42 0\n')
            self.locks = [lock(4120)]
            self.assertIs(dead, 'was shut out' in self.fence(), flags)

    def test_the_one_that_lives_never_is(self) -> None:
        self.served(5, 4112)
        self.served(6, 4120, lives=True)
        self.locks = [lock(4120)]
        self.assertIn('holds it, and lives', self.fence())
        self.assertEqual([], self.shut_out())

    def test_another_hosts_client_never_is(self) -> None:
        self.served(5, 4112)
        self.locks = [lock(4999)]
        self.assertIn('no server of this host that ended', self.fence())
        self.assertEqual([], self.shut_out())

    def test_another_clusters_name_means_somebody_else(self) -> None:
        there = {**IMAGE, 'monitors': '10.9.9.9:6789'}
        self.served(5, 4112, source=there)
        self.served(6, 4110)
        self.locks = [lock(4112)]
        self.assertIn('no server of this host that ended', self.fence())
        self.assertEqual([], self.shut_out())
        self.assertIn('was shut out', self.fence(there))

    def test_a_server_that_nobody_knows_may_be_alive(self) -> None:
        self.served(5, 4110)
        self.served(None, 4112)
        self.locks = [lock(4112)]
        self.assertIn('lives', self.fence())
        self.assertEqual([], self.shut_out())

    def test_one_of_another_container_may_be_alive(self) -> None:
        self.served(5, 4112)
        path = pathlib.Path(serverlog.path(KEY, self.logs))
        path.write_text(path.read_text().replace(
            f'in {serverlog.namespace()}', 'in 77'))
        self.served(6, 4110)
        self.locks = [lock(4112)]
        self.assertIn('lives', self.fence())
        self.assertEqual([], self.shut_out())

    def test_a_name_that_a_live_one_says_too_is_a_live_one_s(self) -> None:
        self.served(5, 4112)
        self.served(6, 4112, lives=True)
        self.locks = [lock(4112)]
        self.fence()
        self.assertEqual([], self.shut_out())

    def test_an_address_of_two_clients_is_left_alone(self) -> None:
        self.served(5, 4112)
        self.locks = [lock(4112), lock(4999)]
        self.assertIn('from the address of client.4999', self.fence())
        self.assertEqual([], self.shut_out())

    def test_a_log_that_others_can_write_is_not_believed(self) -> None:
        self.served(5, 4112)
        self.locks = [lock(4112)]
        for path in (self.logs, serverlog.path(KEY, self.logs)):
            before = os.stat(path).st_mode
            os.chmod(path, before | 0o020)
            self.assertRaises(exception.NotOurs, self.fence)
            os.chmod(path, before)
        self.assertEqual([], self.asked)
        self.assertIn('was shut out', self.fence())

    def test_somebodys_own_lock_is_left_alone(self) -> None:
        self.served(5, 4112)
        self.locks = [lock(4112, claim='backup')]
        self.assertEqual('', self.fence())
        self.assertEqual([], self.shut_out())

    def test_nobody_is_asked_when_nobody_died(self) -> None:
        self.fence()
        self.served(6, 4120, lives=True)
        self.assertEqual('', self.fence())
        self.assertEqual([], self.asked)

    def test_nobody_is_asked_who_only_reads(self) -> None:
        self.served(5, 4112)
        self.fence({**IMAGE, 'snapshot': 's'})
        self.fence({**IMAGE, 'readonly': 'true'})
        self.assertEqual([], self.asked)

    def test_a_list_without_an_end_is_an_error(self) -> None:
        self.served(5, 4112)
        odd = [lock(4112, address='10.0.0.1\x1b[2J')]
        for self.locks in ('[' * 100000, '[' * 900 + ']' * 900, odd):
            error = self.assertRaises(exception.CommandError, self.fence)
            self.assertTrue(str(error).isprintable())
        self.assertEqual([], self.shut_out())

    def test_what_cannot_be_asked_or_done_is_said(self) -> None:
        self.served(5, 4112)
        self.locks = [lock(4112)]
        for verb in ('ls', 'rm'):
            self.codes = {'ls': 0, 'rm': 0, verb: 2}
            self.assertRaises(exception.CommandError, self.fence)

    def test_what_is_not_understood_is_an_error(self) -> None:
        self.served(5, 4112)
        for told in ('', '7', '{}', '[7]', '[{}]', '[{"id": "auto 1"}]',
                     json.dumps([lock(1) | {'locker': 'mds.1'}]),
                     json.dumps([{**lock(1), 'address': 7}])):
            self.locks = told
            self.assertRaises(exception.CommandError, self.fence)
        self.assertEqual([], self.shut_out())

    def missing(self) -> str:
        return fencing.missing(self.job(), 10.0, self.run_tool,
                               self.obeyed.append)

    def test_what_cannot_be_opened_is_told_in_the_storages_words(
            self) -> None:
        self.codes['--format'] = 2
        self.assertEqual('no', self.missing())
        self.assertEqual([('rbd', 'info', '--format', 'json', '--id',
                           'cinder', 'p/i')], self.asked)
        self.assertEqual(['/etc/ceph/ceph.conf'], self.obeyed)

    def test_of_what_is_there_nothing_is_told(self) -> None:
        self.assertEqual('', self.missing())

    def test_what_an_image_lacks_is_told_by_its_mounter(self) -> None:
        order, info = self.job().order, rbd_nbd.RbdNbdMounter().lacks
        for features, lacks in ((['layering'], True), ([], True),
                                (['layering', 'exclusive-lock'], False)):
            told = json.dumps({'name': 'i', 'features': features})
            self.assertEqual(lacks, 'exclusive-lock' in info(order, told))
        for nonsense in ('', '7', '[]', '{}', '{"features": 7}', '[' * 99999):
            self.assertEqual('', info(order, nonsense))
        readonly = dataclasses.replace(order, source={
            **order.source, 'snapshot': 's'})
        self.assertEqual('', info(readonly, '{"features": []}'))

    def test_what_data_lacks_is_asked_of_the_storage(self) -> None:
        def lacks() -> str:
            return fencing.lacks(self.job(), 10.0, self.run_tool,
                                 self.obeyed.append)

        self.locks = '{"features": ["layering"]}'
        self.assertIn('exclusive-lock', lacks())
        self.assertEqual(('rbd', 'info'), self.asked[0][:2])
        self.assertEqual(['/etc/ceph/ceph.conf'], self.obeyed)
        self.codes['--format'] = 2
        self.assertEqual('', lacks())

    def test_how_large_the_data_is_the_storage_says(self) -> None:
        def size() -> int | None:
            return fencing.size_bytes(self.job(), 10.0, self.run_tool,
                                      self.obeyed.append)

        for told, found in (('{"size": 4096}', 4096), ('{"size": 0}', None),
                            ('{"size": true}', None), ('{}', None),
                            ('{"size": "9"}', None), ('[' * 99999, None)):
            self.locks = told
            self.assertEqual(found, size())
        self.assertEqual(('rbd', 'info'), self.asked[0][:2])
        self.locks = '{"size": 4096}'
        self.codes['--format'] = 2
        self.assertIsNone(size())

    @given(st.text())
    def test_whatever_is_listed_is_holders_or_no_list(
            self, listed: str) -> None:
        try:
            found = rbd_nbd.RbdNbdMounter().holders(listed)
        except ValueError:
            return
        for holder in found:
            self.assertIsInstance(holder, mounter_base.Holder)
