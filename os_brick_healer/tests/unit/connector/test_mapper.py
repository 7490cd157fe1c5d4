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
"""Mapping volumes for connectors: what is left, whatever happens."""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

from os_brick_healer import exception
from os_brick_healer.connector import mapper, records
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.mapping import act, locks, model, remember
from os_brick_healer.mounter import loader
from os_brick_healer.sysfs import reader
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import ground as ground_lib
from os_brick_healer.tests.unit.mapping import world

SOURCE = {'file': '/srv/a.img'}


class Full(records.Records):
    """The disk is full once an attach has begun."""

    def attach_note(self, key: str, connection: Mapping[str, Any]) -> bool:
        del key, connection
        return False

    def attach_undo(self, key: str) -> None:
        """It cannot be written either."""

    attach_done = attach_undo


class Deaf(Full):
    """It is full before."""

    def attach_begin(self, key: str, alias: str,
                     connection: Mapping[str, Any]) -> bool:
        del key, alias, connection
        return False


class Hiding(reader.Tree):
    """No node appears for any device."""

    def exists(self, path: str) -> bool:
        return not path.startswith('/dev/') and super().exists(path)


class Mortal(records.Records):
    """Who writes is killed before the device is written down."""

    def attach_note(self, key: str, connection: Mapping[str, Any]) -> bool:
        del key, connection
        raise ground_lib.Killed

    def attach_undo(self, key: str) -> None:
        """It is dead."""


class MapperCase(base.TestCase):
    """A host, and who maps."""

    def setUp(self) -> None:
        super().setUp()
        self.ground = ground_lib.Ground(self.temp_dir())
        # The server of the ground listens where a connector wants it.
        self.run_path = self.temp_dir()
        self.ground.socket = self.run_path / 'mappings' / f'{world.KEY}.sock'
        self.root = ground_lib.Root(self.ground)
        self.addCleanup(self.root.close)
        self.journal = journal_lib.Journal(
            str(self.temp_dir() / 'j'), boot_id='boot')
        self.addCleanup(self.journal.close)
        mounters = loader.Mounters(
            names=lambda: ('nbd',), find={'nbd': type(
                self.ground.mounter)}.get)
        self.mapper = mapper.Mapper(
            mounters=mounters, tree=self.ground.tree,
            records=records.Records(lambda: self.journal),
            settings=lambda: mapper.Settings(
                run_path=str(self.run_path), reattach_s=600, timer_ms=1000,
                lock_s=0.1),
            hands=act.Hands(
                tree=self.ground.tree, nbd=self.root, mounter=mounters.get,
                locks=locks.VolumeLocks(str(self.run_path)),
                policy=lambda: world.POLICY))

    def map(self, **changes: Any) -> str:
        words = {'volume': world.KEY, 'alias': 'vol', 'mounter': 'nbd',
                 'source': SOURCE, **changes}
        return self.mapper.map(**words)

    def unmap(self) -> None:
        self.mapper.unmap(world.KEY, 'nbd', SOURCE)

    def row(self) -> journal_lib.AttachRow | None:
        return self.journal.attachment(world.KEY)

    def nothing_is_left(self) -> None:
        """Neither a device nor a process."""
        self.assertIsNone(self.mapper.path(world.KEY))
        self.assertEqual({}, self.root.servers)


class MapperTest(MapperCase):
    def test_what_is_mapped_is_written_down_whole(self) -> None:
        self.assertEqual('/dev/nbd3', self.map())
        row = self.row()
        assert row is not None
        self.assertEqual(('attached', model.KIND, 'vol'),
                         (row.state, row.kind, row.alias))
        found = remember.load_mapping(world.KEY, row.connection,
                                      self.mapper.mounters.abilities)
        self.assertEqual(
            ('nbd3', SOURCE, world.SIZE, 1000, 30000, 600),
            (found.order.device, found.order.source, found.size_bytes,
             found.timer_ms, found.timer_before_ms, found.order.reattach_s))

    def test_who_serves_it_is_ended_and_not_who_says_so(self) -> None:
        self.map()
        self.ground.process(10, uid=54321)      # before it in the list
        self.unmap()
        self.assertTrue(self.ground.tree.exists('/proc/10'))
        self.assertEqual([], [
            one for one in self.ground.tree.listdir('/proc')
            if one != '10'])

    def test_it_is_written_down_before_anything_is_done(self) -> None:
        self.root.refuses['start'] = exception.NotOurs('no')
        seen: list[str] = []
        asked = self.root.start

        def start(**words: Any) -> tuple[int, str]:
            row = self.row()
            seen.append('-' if row is None else row.state)
            return asked(**words)

        self.root.start = start  # type: ignore[method-assign]
        self.assertRaises(exception.NotOurs, self.map)
        self.assertEqual(['connecting'], seen)

    def test_a_map_that_fails_leaves_nothing(self) -> None:
        for name in ('start', 'connect'):
            self.root.refuses = {name: exception.NotOurs('no')}
            self.assertRaises(exception.NotOurs, self.map)
            self.assertIsNone(self.row())
            self.assertEqual({}, self.root.servers)

    def test_a_device_that_does_not_appear_is_not_left_either(self) -> None:
        hidden = dataclasses.replace(
            self.mapper, tree=Hiding(str(self.ground.root)), device_s=0.05)
        error = self.assertRaises(exception.HealerError, hidden.map,
                                  world.KEY, 'vol', 'nbd', SOURCE)
        self.assertIn('does not appear', str(error))
        self.nothing_is_left()
        self.assertIsNone(self.row())

    def test_who_has_a_device_never_has_a_row_without_it(self) -> None:
        """The next attach would take the device for nobody's."""
        full = dataclasses.replace(self.mapper,
                                   records=Full(lambda: self.journal))
        self.assertRaises(exception.HealerError, full.map, world.KEY, 'vol',
                          'nbd', SOURCE)
        self.nothing_is_left()
        self.map()

    def test_an_old_row_without_a_device_is_not_left_beside_one(
            self) -> None:
        self.end_in_the_middle()
        full = dataclasses.replace(self.mapper,
                                   records=Deaf(lambda: self.journal))
        self.assertRaises(exception.HealerError, full.map, world.KEY, 'vol',
                          'nbd', SOURCE)
        self.nothing_is_left()

    def test_mapped_again_it_is_the_same_device(self) -> None:
        self.map()
        self.assertEqual('/dev/nbd3', self.map())
        self.assertEqual(1, self.root.did.count('start'))

    def test_the_same_id_with_other_data_is_refused(self) -> None:
        self.map()
        self.assertRaises(exception.HealerError, self.map,
                          source={'file': '/srv/b.img'})
        row = self.row()
        assert row is not None
        self.assertEqual('attached', row.state)

    def test_a_device_nobody_wrote_down_is_not_taken_over(self) -> None:
        self.ground.connected('nbd3', world.KEY)
        self.assertRaises(exception.HealerError, self.map)
        self.assertEqual([], self.root.did)

    def test_a_name_that_another_volume_has_by_now_is_left_to_it(
            self) -> None:
        """As after an unmap that ended in the middle."""
        for cookie in (world.OTHER, None):     # or it was made by ioctl
            self.map()
            (self.ground.root / 'sys/block/nbd3/backend').unlink()
            self.ground.connected('nbd3', cookie)
            self.root.did.clear()
            self.root.refuses['disconnect'] = exception.NotOurs('no cookie')
            self.unmap()
            self.assertNotIn('disconnect', self.root.did)
            self.assertIsNone(self.row())
            self.assertEqual({}, self.root.servers)
            self.root.refuses.clear()
            (self.ground.root / 'sys/block/nbd3/pid').unlink()

    def test_a_server_that_an_attach_left_is_cleared_away(self) -> None:
        self.root.mute = True
        pid, _ = self.root.start(
            mounter='nbd', volume=world.KEY, source=SOURCE,
            socket=str(self.ground.socket), device=None, reattach_s=1,
            timeout_s=1.0)
        self.root.mute = False
        self.map()
        self.assertNotIn(pid, self.root.servers)
        self.assertEqual(1, len(self.root.servers))

    def end_in_the_middle(self) -> None:
        """An attach that was killed when the kernel had its device."""
        mortal = dataclasses.replace(
            self.mapper, records=Mortal(lambda: self.journal))
        self.assertRaises(ground_lib.Killed, mortal.map, world.KEY, 'vol',
                          'nbd', SOURCE)
        self.assertEqual('/dev/nbd3', self.mapper.path(world.KEY))

    def test_an_attach_that_ended_in_the_middle_can_be_repeated(
            self) -> None:
        self.end_in_the_middle()
        self.assertEqual('/dev/nbd3', self.map())
        self.assertEqual(1, len(self.root.servers))
        row = self.row()
        assert row is not None
        self.assertEqual('attached', row.state)

    def test_an_attach_that_ended_in_the_middle_can_be_detached(
            self) -> None:
        self.end_in_the_middle()
        self.unmap()
        self.assertIsNone(self.row())
        self.assertIsNone(self.mapper.path(world.KEY))
        self.assertEqual({}, self.root.servers)

    def test_an_unmap_leaves_nothing(self) -> None:
        self.map()
        self.unmap()
        self.assertIsNone(self.row())
        self.assertEqual({}, self.root.servers)
        self.assertFalse(os.path.exists(self.ground.socket))
        self.assertEqual(['disconnect', 'kill'], self.root.did[-2:])

    def test_an_unmap_with_a_dead_server_leaves_nothing_either(self) -> None:
        self.map()
        self.ground.ended(200)
        self.root.servers.pop(200).close()  # type: ignore[union-attr]
        self.unmap()
        self.assertIsNone(self.row())
        self.assertEqual('disconnect', self.root.did[-1])

    def test_an_unmap_that_fails_keeps_the_row_and_hands_off(self) -> None:
        self.map()
        self.root.refuses['disconnect'] = exception.NotOurs('dm-0 holds it')
        self.assertRaises(exception.NotOurs, self.unmap)
        row = self.row()
        assert row is not None
        self.assertEqual('disconnecting', row.state)
        self.assertEqual(1, len(self.root.servers))
        self.root.refuses.clear()
        self.unmap()
        self.assertIsNone(self.row())

    def test_no_volume_is_let_go_that_may_still_be_written_to(self) -> None:
        self.map()
        self.root.stuck = True
        error = self.assertRaises(exception.HealerError, self.unmap)
        self.assertIn('does not let it go', str(error))
        row = self.row()
        assert row is not None
        self.assertEqual('disconnecting', row.state)
        self.root.stuck = False
        self.unmap()
        self.assertIsNone(self.row())

    def test_what_is_not_mapped_is_unmapped_already(self) -> None:
        self.unmap()
        self.assertEqual([], self.root.did)

    def test_one_at_a_time(self) -> None:
        with locks.VolumeLocks(str(self.run_path)).hold(world.KEY, 0.0):
            self.assertRaises(locks.Busy, self.map)
            self.assertRaises(locks.Busy, self.unmap)
        self.assertIsNone(self.row())

    def test_what_cannot_be_served_is_refused_before(self) -> None:
        wrong: tuple[dict[str, Any], ...] = (
            {'mounter': 'nobodys'}, {'source': {}}, {'source': {'file': 'x'}},
            {'volume': 'x'}, {'volume': '../../etc'})
        for changes in wrong:
            self.assertRaises(exception.HealerError, self.map, **changes)
        self.assertIsNone(self.row())
        self.assertEqual([], self.root.did)

    def test_without_a_journal_a_volume_is_mapped_all_the_same(self) -> None:
        def broken() -> journal_lib.Journal:
            raise exception.JournalError('the disk is full')

        one = dataclasses.replace(self.mapper,
                                  records=records.Records(broken))
        self.assertEqual('/dev/nbd3', one.map(
            world.KEY, 'vol', 'nbd', SOURCE))
        one.unmap(world.KEY, 'nbd', SOURCE)
        self.assertIsNone(one.path(world.KEY))
        self.assertEqual({}, self.root.servers)

    def test_a_device_tells_its_size_and_its_path(self) -> None:
        self.assertIsNone(self.mapper.path(world.KEY))
        self.assertRaises(exception.HealerError, self.mapper.size_bytes,
                          world.KEY)
        self.map()
        self.assertEqual('/dev/nbd3', self.mapper.path(world.KEY.upper()))
        self.assertEqual(world.SIZE, self.mapper.size_bytes(world.KEY))
        self.assertTrue(self.mapper.is_device('/dev/nbd3'))
        for path in ('/dev/nbd4', '/dev/sda', '/dev/../nbd3', ''):
            self.assertFalse(self.mapper.is_device(path))
