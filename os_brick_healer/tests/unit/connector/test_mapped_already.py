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
"""Volumes that are mapped: attached again, moved, extended, and lacking."""

import dataclasses
import threading

from os_brick_healer.mapping import act, model
from os_brick_healer.tests.unit.connector import test_mapper
from os_brick_healer.tests.unit.mapping import world


class Lacking(act.Hands):
    """Whose storage says that the data lacks something."""

    def map(self, mapping: model.Mapping) -> model.Mapping:
        return dataclasses.replace(super().map(mapping), lacks='it lacks x')


class MappedAlreadyTest(test_mapper.MapperCase):
    def test_what_its_data_lacks_is_told_and_written_down(self) -> None:
        lacking = dataclasses.replace(self.mapper, hands=Lacking(
            **{field.name: getattr(self.mapper.hands, field.name)
               for field in dataclasses.fields(act.Hands)}))
        lacking.map(world.KEY, 'vol', 'nbd', test_mapper.SOURCE)
        row = self.row()
        assert row is not None
        self.assertEqual('it lacks x', row.connection['lacks'])
        self.assertIn(f'{world.KEY} is mapped as /dev/nbd3, but it lacks x',
                      self.log.output)

    def test_other_monitors_of_the_same_cluster_are_no_other_data(
            self) -> None:
        """Cinder names those that there are now."""
        self.map()
        plugin = self.mapper.mounters.get('nbd')
        assert plugin is not None
        plugin.continues = lambda mapped, given: (      # type: ignore[method-assign]
            given['file'] == '/srv/b.img')
        self.assertEqual('/dev/nbd3', self.map(
            source={'file': '/srv/b.img'}))
        row = self.row()
        assert row is not None
        self.assertEqual(('attached', {'file': '/srv/b.img'}, 'nbd3'), (
            row.state, row.connection['source'], row.connection['device']))
        self.assertEqual(1, self.root.did.count('start'))

    def test_a_volume_that_somebody_has_mapped_anew_leaves_nothing(
            self) -> None:
        """Its cookie says where it is, whatever is written down."""
        for gone in (True, False):
            self.map()
            if gone:
                for name in ('pid', 'backend'):
                    (self.ground.root / 'sys/block/nbd3' / name).unlink()
            self.ground.connected('nbd5', world.KEY)
            self.unmap()
            self.nothing_is_left()
            self.assertIsNone(self.row())

    def grows(self, after_s: float, sectors: int) -> None:
        size = self.ground.root / 'sys/block/nbd3/size'
        timer = threading.Timer(after_s, size.write_text, (f'{sectors}\n',))
        self.addCleanup(timer.join)
        timer.start()

    def test_the_size_after_an_extend_is_the_new_one(self) -> None:
        """Also of the next one, and of a heal."""
        self.map()
        for size in (world.SIZE * 2, world.SIZE * 3):
            self.grows(0.2, size // 512)
            self.assertEqual(size, self.mapper.extend(world.KEY))
            row = self.row()
            assert row is not None
            self.assertEqual(('attached', size),
                             (row.state, row.connection['size_bytes']))

    def test_a_server_that_never_hears_of_it_is_not_waited_for_longer(
            self) -> None:
        self.map()
        one = dataclasses.replace(self.mapper, extend_s=0.1)
        self.assertEqual(world.SIZE, one.extend(world.KEY))

    def test_what_a_server_does_not_tell_the_kernel_the_storage_says(
            self) -> None:
        self.map()
        one = dataclasses.replace(self.mapper, extend_s=0.1)
        self.root.size_bytes = world.SIZE * 2
        self.assertEqual(world.SIZE * 2, one.extend(world.KEY))
        row = self.row()
        assert row is not None
        self.assertEqual(world.SIZE * 2, row.connection['size_bytes'])
        self.root.size_bytes = 0        # nobody says
        said = f'{world.KEY} is as large as before its extend'
        self.assertNotIn(said, self.log.output)
        self.assertEqual(world.SIZE * 2, one.extend(world.KEY))
        self.assertIn(said, self.log.output)
