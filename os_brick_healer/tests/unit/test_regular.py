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
"""Laws of what stands in place of a file of ours: nobody waits for it."""

from collections.abc import Callable
import functools
import json
import os
import pathlib
import socket

from os_brick_healer import exception, regular
from os_brick_healer.agent import act, lock, record
from os_brick_healer.attachments import https
from os_brick_healer.cli import offline
from os_brick_healer.conf import opts
from os_brick_healer.engine import journal
from os_brick_healer.provisioner import kumoscale_conf, loader, local_file
from os_brick_healer.tests import base


def fifo(path: pathlib.Path) -> None:
    os.mkfifo(path)


def link_to_device(path: pathlib.Path) -> None:
    path.symlink_to('/dev/zero')


def listener(path: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


#: What makes each, and what is said of it.
ODD: tuple[tuple[Callable[[pathlib.Path], None], str], ...] = (
    (fifo, regular.WHY_NOT), (link_to_device, regular.WHY_NOT),
    (listener, regular.WHY_NOT), (pathlib.Path.mkdir, 'it is a directory'))


class RegularTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.count = 0

    def room(self) -> pathlib.Path:
        self.count += 1
        place = self.temp_dir() / str(self.count)
        place.mkdir()
        return place

    def said(self, read: Callable[[str], object], name: str, *,
             follows: bool = True) -> list[str]:
        """What ``read`` says of each odd thing.

        :param follows: symbolic links.
        """
        found = []
        for make, why in ODD:
            if make is link_to_device and not follows:
                why = 'it is a symbolic link'
            path = self.room() / name
            make(path)
            error = self.assertRaises(exception.HealerError, read, str(path))
            self.assertRegex(str(error), f'because .*{why}')
            self.assertIn(str(path), str(error))
            found.append(error.sentence)
        return found

    def test_a_file_is_read_as_far_as_is_wanted(self) -> None:
        path = self.write_file(self.temp_dir() / 'file', 'some text')
        self.assertEqual(b'some', regular.read(str(path), 4))
        self.assertRaises(FileNotFoundError, regular.read, f'{path}-', 4)

    def test_the_files_of_provisioners_and_sources(self) -> None:
        said = self.said(local_file.load, 'volumes.json')
        self.assertRegex(said[0], r'^cannot read .*/volumes\.json: because '
                         'it is no regular file$')
        self.said(lambda path: https.read_secret(path, 'that'), 'token')

        def load(path: str) -> object:
            conf = self.new_conf()
            opts.register(conf)
            conf.set_override('kumoscale_config_file', path,
                              group=opts.GROUP)
            return kumoscale_conf.load(conf)

        self.said(load, 'provisioner.conf')

    def test_the_lock_of_the_local_provisioner(self) -> None:
        place = self.room()
        self.write_file(place / 'volumes.json', json.dumps(
            {'format': 1, 'volumes': {}}))
        os.mkfifo(place / f'volumes.json{local_file.LOCK_SUFFIX}')
        error = self.assertRaises(
            exception.ProvisionerUnreachable,
            local_file.changing(str(place / 'volumes.json')).__enter__)
        self.assertIn(regular.WHY_NOT, str(error))

    def test_the_lock_of_the_agent(self) -> None:
        self.said(lambda path: lock.holder(os.path.dirname(path)), lock.NAME,
                  follows=False)
        self.said(lambda path: lock.AgentLock(
            os.path.dirname(path), launch='process'), lock.NAME,
            follows=False)

    def test_the_journal_and_what_is_beside_it(self) -> None:
        for read_only in (True, False):
            for name in ('journal.sqlite', 'journal.sqlite-wal'):
                self.said(functools.partial(self.open_journal, read_only),
                          name)

    def open_journal(self, read_only: bool, path: str) -> object:
        return journal.Journal(path.removesuffix('-wal'), boot_id='b',
                               read_only=read_only)

    def test_what_is_not_there_cannot_be_read_either(self) -> None:
        for make, _ in ODD:
            place = self.room()
            make(place / record.NAME)
            make(place / offline.JOURNAL)
            found = offline.look(str(place))
            self.assertIsNone(found.launch)
            self.assertIn('cannot open the journal', found.error or '')
            make(place / 'hostnqn')
            self.assertEqual('nqn.asked', loader.host_identity(
                self.new_conf(), uuid=lambda: None,
                nqn=lambda: 'nqn.asked',
                hostnqn_file=str(place / 'hostnqn')).nqn)

    def test_the_output_of_an_agent_goes_nowhere_then(self) -> None:
        place = self.room()
        os.mkfifo(place / act.OUTPUT)
        with act._output(str(place)) as output:
            self.assertEqual(os.devnull, output.name)
