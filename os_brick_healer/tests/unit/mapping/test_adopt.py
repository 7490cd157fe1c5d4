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
"""What is taken over, and what is not, over a copy of a host's files."""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
import shutil
from typing import Any

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.mapping import adopt, locks, model, observe, remember
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.mounter import loader, nbd, rbd_nbd
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import ground as ground_lib
from os_brick_healer.tests.unit.mapping import world

HANDLE = ('0001-0009-rook-ceph-0000000000000002-'
          '0dcf8b3f-e4ac-11ea-84c7-0242ac110005')
MOUNTERS: dict[str, type[mounter_base.Mounter]] = {
    'nbd': nbd.NbdMounter, 'rbd-nbd': rbd_nbd.RbdNbdMounter}


class Host:
    """Files of a host, a journal, and who takes over."""

    def __init__(self, root: pathlib.Path, home: pathlib.Path) -> None:
        self.ground = ground_lib.Ground(root)
        self.home = home
        self.journal = journal_lib.Journal(str(home / 'j'), boot_id='b')
        self.ground.write('etc/ceph/ceph.conf', '')
        self.adopter = adopt.Adopter(
            tree=self.ground.tree,
            mounters=loader.Mounters(lambda: tuple(MOUNTERS),
                                     MOUNTERS.__getitem__),
            names=lambda: tuple(MOUNTERS),
            locks=locks.VolumeLocks(str(home)),
            journal=lambda: self.journal,
            settings=lambda: adopt.Settings(
                run_path=str(home), reattach_s=600, timer_ms=200))

    def csi(self, pid: int = 50, device: str | None = '/dev/nbd3',
            image: str = 'replicapool/csi-vol-1', cookie: str = HANDLE,
            *more: str) -> None:
        """A process as ceph-csi starts it."""
        self.ground.process(
            pid, 'rbd-nbd', 'attach', image,
            *(('--device', device) if device else ()), '--try-netlink',
            '--reattach-timeout=300', '--io-timeout=0', f'--cookie={cookie}',
            '--id', 'csi', *more)

    def stash(self, **changes: Any) -> adopt.Stash:
        told: Mapping[str, Any] = {
            'Version': 3, 'pool': 'replicapool', 'radosNamespace': '',
            'image': 'csi-vol-1', 'accessType': True, 'encrypted': False,
            'device': '/dev/nbd3', 'logDir': '/var/log/ceph', **changes}
        path = self.home / 'image-meta.json'
        path.write_text(json.dumps(told))
        return adopt.read_stash(str(path))


class AdoptTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.host = Host(self.temp_dir(), self.temp_dir())
        self.addCleanup(self.host.journal.close)
        self.ground = self.host.ground
        self.ground.connected('nbd3', HANDLE)

    def examine(self, name: str = 'nbd3', **more: Any) -> adopt.Candidate:
        return self.host.adopter.examine(name, **more)

    def refused(self, because: str, name: str = 'nbd3',
                **more: Any) -> None:
        error = self.assertRaises(exception.HealerError, self.examine, name,
                                  **more)
        assert isinstance(error, exception.HealerError)
        self.assertIn(because, str(error))
        self.assertFalse(error.transient)
        self.assertEqual((), self.host.journal.attachments())

    def test_a_mapping_of_ceph_csi_is_taken_over_whole(self) -> None:
        self.host.csi()
        found = self.examine()
        self.host.adopter.enter(found, alias='pvc-1')
        (row,) = self.host.journal.attachments()
        self.assertEqual((HANDLE, 'pvc-1', 'attached', model.KIND),
                         (row.volume, row.alias, row.state, row.kind))
        self.assertTrue(row.connection[adopt.MARK])
        mapping = remember.load_mapping(HANDLE, row.connection,
                                        lambda _name: found.mapping.abilities)
        self.assertEqual(found.mapping, mapping)
        self.assertEqual(
            {'pool': 'replicapool', 'image': 'csi-vol-1', 'user': 'csi'},
            dict(mapping.order.source))
        self.assertEqual(('nbd3', world.SIZE, 1000),
                         (mapping.order.device, mapping.size_bytes,
                          mapping.timer_before_ms))
        self.assertFalse(found.ours)

    def test_what_anybody_says_is_not_heard(self) -> None:
        """Not even to say that two processes contradict each other."""
        self.host.csi()
        self.ground.process(
            51, 'rbd-nbd', 'attach', 'theirs/image', f'--cookie={HANDLE}',
            uid=54321)
        found = self.examine()
        assert found.server is not None
        self.assertEqual(50, found.server.pid)
        self.ground.ended(50)
        self.refused('no process serves it (of root')

    def test_one_that_needs_root_and_is_not_root_is_not_believed(
            self) -> None:
        if os.geteuid() != 0:
            self.skipTest('only root gives a directory away')
        os.mkdir(self.host.home / 'mappings')
        os.chown(self.host.home / 'mappings', 54321, 54321)
        self.ground.process(
            51, 'rbd-nbd', 'attach', 'theirs/image', f'--cookie={HANDLE}',
            uid=54321)
        self.refused('does not run as root')

    def test_the_process_is_the_wings_server_from_then_on(self) -> None:
        self.host.csi()
        found = self.examine()
        observer = observe.Observer(
            self.ground.tree, lambda: 1.0, lambda name: MOUNTERS[name](),
            lambda: frozenset(('rbd-nbd', 'nbdkit')))
        look = observer.look(found.mapping, None, fresh=True)
        assert look.server is not None
        self.assertEqual(50, look.server.pid)
        self.assertEqual(look.server.process, found.server)
        self.ground.ended(50)
        self.assertIsNone(observer.look(found.mapping, found.server,
                                        fresh=True).server)

    def test_what_this_software_mapped_is_known_as_that(self) -> None:
        for name, mounter, source in (
                ('nbd4', 'rbd-nbd', {'pool': 'p', 'image': 'i'}),
                ('nbd5', 'nbd', {'file': '/srv/a.img'})):
            key = world.KEY if mounter == 'nbd' else world.OTHER
            self.ground.connected(name, key)
            plugin = MOUNTERS[mounter]()
            order = mounter_base.Order(
                volume=key, source=plugin.normalize(source), device=name,
                reattach_s=600,
                socket=locks.socket_path(str(self.host.home), key))
            self.ground.process(60, *plugin.server(order).argv)
            found = self.examine(name)
            self.assertTrue(found.ours)
            self.assertEqual(order, found.mapping.order)
            self.ground.ended(60)

    def test_a_timer_of_ours_is_not_what_an_unmap_gives_back(self) -> None:
        self.host.csi()
        self.ground.write('sys/block/nbd3/queue/io_timeout', '200\n')
        self.assertEqual(30000, self.examine().mapping.timer_before_ms)

    def test_a_dead_one_is_taken_over_by_its_stash(self) -> None:
        self.refused('--stash')
        stash = self.host.stash(radosNamespace='ns')
        found = self.examine(stash=stash, words={
            'user': 'csi', 'keyring': '/etc/ceph/k'})
        self.assertIsNone(found.server)
        self.assertEqual(
            {'pool': 'replicapool', 'namespace': 'ns', 'image': 'csi-vol-1',
             'user': 'csi', 'keyring': '/etc/ceph/k'},
            dict(found.mapping.order.source))

    def test_a_stash_that_says_something_else_is_refused(self) -> None:
        self.refused('is about nbd4',
                     stash=self.host.stash(device='/dev/nbd4'))
        self.host.csi()
        self.refused('names another image', stash=self.host.stash(image='x'))
        self.examine(stash=self.host.stash())

    def test_a_stash_of_the_last_boot_is_not_believed(self) -> None:
        """Another volume has the device's name by now, and has died."""
        mine = HANDLE[-36:]
        self.examine(stash=self.host.stash(image=f'csi-vol-{mine}'))
        self.refused('is of volume', stash=self.host.stash(
            image=f'csi-vol-{world.OTHER}'))

    def test_what_is_no_stash_is_refused(self) -> None:
        for changes in ({'accessType': False}, {'device': ''}, {'pool': 7},
                        {'image': None}, {'device': 'nbd3\x1b[2J'},
                        {'image': 'i\ud800'}, {'pool': 'p' * 2000}):
            error = self.assertRaises(adopt.Refused, self.host.stash,
                                      **changes)
            self.assertTrue(str(error).isprintable())
        path = self.host.home / 'x'
        for text in ('', '[]', '{'):
            path.write_text(text)
            self.assertRaises(adopt.Refused, adopt.read_stash, str(path))
        self.assertRaises(adopt.Refused, adopt.read_stash,
                          str(self.host.home / 'none'))

    def test_a_device_that_is_none_or_has_no_cookie_is_refused(self) -> None:
        self.refused('no network block device', 'sda')
        self.refused('no network block device', '../nbd3')
        self.refused('not connected', 'nbd9')
        self.ground.connected('nbd6', None)
        self.refused('no cookie', 'nbd6')
        self.ground.connected('nbd7', '../etc')
        self.refused('no plain word', 'nbd7')
        self.ground.connected('nbd8', 'good')
        self.ground.write('sys/block/nbd8/size', '0\n')
        self.refused('no size', 'nbd8')

    def test_device_process_and_cookie_must_agree(self) -> None:
        self.host.csi(device='/dev/nbd4')
        self.refused('serves cookie')
        self.ground.ended(50)
        self.host.csi(cookie='another')
        self.refused('with cookie another')

    def test_two_processes_are_one_too_many(self) -> None:
        self.host.csi()
        self.host.csi(51, None)
        self.refused('more than one process')

    def test_while_a_process_is_ending_nobody_takes_its_place(self) -> None:
        rest = ' '.join(['0'] * 18)
        self.ground.write('proc/50/stat', f'50 (rbd-nbd) Z {rest} 350 0\n')
        self.ground.write('proc/50/cmdline', '')
        for thread in ('50', '51'):
            self.ground.write(f'proc/50/task/{thread}/stat', '')
        self.refused('no process serves it')
        error = self.assertRaises(adopt.Refused, self.examine,
                                  stash=self.host.stash())
        self.assertIn('is just ending', str(error))
        shutil.rmtree(self.ground.root / 'proc/50/task/51')
        self.examine(stash=self.host.stash())

    def test_a_secret_that_only_the_process_has_needs_a_keyring(
            self) -> None:
        self.host.csi(50, '/dev/nbd3', 'p/i', HANDLE, '--keyfile=/tmp/x')
        self.refused('not in a keyring')
        found = self.examine(words={'keyring': '/etc/ceph/k'})
        self.assertEqual('/etc/ceph/k', found.mapping.order.source['keyring'])
        self.assertNotIn('/tmp/x', repr(found))

    def test_words_that_could_not_be_started_with_are_refused(self) -> None:
        self.host.csi(50, '/dev/nbd3', 'p/i', HANDLE, '-c', '/tmp/a.conf')
        self.refused('/etc/ceph')
        self.refused('/etc/ceph/b.conf is not there',
                     words={'conf': '/etc/ceph/b.conf'})
        self.examine(words={'conf': '/etc/ceph/ceph.conf'})

    def test_what_the_journal_has_is_not_taken_over(self) -> None:
        self.host.csi()
        book = self.host.journal
        book.attach_begin(HANDLE, 'v', {'kind': model.KIND}, 1, '1')
        error = self.assertRaises(adopt.Refused, self.examine)
        self.assertIn('in the journal already', str(error))
        self.assertEqual([], self.host.adopter.strangers())
        book.attach_undo(HANDLE)
        book.attach_begin(world.KEY, 'v', {
            'kind': model.KIND, 'device': 'nbd3'}, 1, '1')
        error = self.assertRaises(adopt.Refused, self.examine)
        self.assertIn(f'the device of volume {world.KEY}', str(error))

    def test_what_changes_before_it_is_entered_is_not(self) -> None:
        self.host.csi()
        found = self.examine()
        self.ground.ended(50)
        self.host.csi(51)
        self.assertRaises(adopt.Refused, self.host.adopter.enter, found,
                          alias='v')
        self.assertEqual((), self.host.journal.attachments())

    def test_a_row_that_came_meanwhile_is_never_written_over(self) -> None:
        self.host.csi()
        found, book, asked = self.examine(), self.host.journal, list[int]()

        def journal() -> journal_lib.Journal:
            asked.append(1)
            if len(asked) == 2:      # it was examined again by then
                book.attach_begin(HANDLE, 'v', {'kind': 'x'}, 1, '1')
            return book

        adopter = dataclasses.replace(self.host.adopter, journal=journal)
        self.assertRaises(adopt.Refused, adopter.enter, found, alias='v')
        self.assertEqual(['x'], [row.kind for row in book.attachments()])

    def test_nobody_sees_a_half_of_it(self) -> None:
        self.host.csi()
        found, book = self.examine(), self.host.journal

        def fails(volume: str) -> None:
            raise exception.JournalError(f'the disk is full: {volume}')

        book.attach_done = fails    # type: ignore[method-assign]
        self.host.adopter.enter(found, alias='v')
        self.assertEqual(['attached'],
                         [row.state for row in book.attachments()])

    def test_who_is_at_work_on_the_volume_is_not_disturbed(self) -> None:
        self.host.csi()
        found = self.examine()
        adopter = dataclasses.replace(self.host.adopter, locks=Taken(
            str(self.host.home)))
        self.assertRaises(locks.Busy, adopter.enter, found, alias='v')
        self.assertEqual((), self.host.journal.attachments())

    def test_strangers_are_connected_and_have_a_cookie(self) -> None:
        self.ground.connected('nbd4', None)
        self.ground.connected('nbd5', 'x')
        (self.ground.root / 'sys/block/nbd5/pid').unlink()
        self.assertEqual(['nbd3'], self.host.adopter.strangers())


class Taken(locks.VolumeLocks):
    def hold(self, volume: str, wait_s: float) -> Any:
        raise locks.Busy(f'cannot touch {volume}')
