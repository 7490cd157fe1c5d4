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
"""Who is behind a shared controller, and who can do without it."""

import dataclasses

from os_brick_healer.replica import model, neighbours
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

LOST = model.ReplicaId('lost')


class NeighboursTest(base.TestCase):
    """Leg "a" of a volume, behind the controller of another one's leg."""

    def setUp(self) -> None:
        super().setUp()
        self.seen: dict[str, model.Seen] = {}
        self.all = neighbours.Neighbours(self.seen)

    def look(self, key: str, *legs: world.Leg) -> None:
        """A look at a volume has gone well."""
        seen = dataclasses.replace(world.seen(*legs),
                                   key=model.VolumeId(key))
        self.seen[key] = seen
        self.all.named(key, [n.device for n in seen.namespaces.values()])

    def hurt(self, *devices: str) -> str | None:
        return self.all.endangered({LOST: devices or ('nvme-a',)}).get(LOST)

    def test_who_has_another_leg_is_not_hurt(self) -> None:
        self.look('one', world.leg('a'), world.leg('b'))
        self.assertIsNone(self.hurt())
        self.look('one', world.leg('a'), world.leg('b', answers=False))
        self.assertEqual('nvme-a', self.hurt())

    def test_what_nobody_has_looked_at_may_be_hurt(self) -> None:
        self.assertEqual('nvme-a, nvme-x', self.hurt('nvme-a', 'nvme-x'))

    def test_what_was_read_before_a_look_that_failed_proves_nothing(
            self) -> None:
        self.look('one', world.leg('a'), world.leg('b'))
        self.all.failed('one')
        self.assertEqual('nvme-a', self.hurt())
        self.look('one', world.leg('a'), world.leg('b'))
        self.assertIsNone(self.hurt())

    def test_each_of_them_goes_on_over_its_own_portals(self) -> None:
        self.look('one', world.leg('a'), world.leg('b'))
        self.look('two', world.leg('c'), world.leg('d', answers=False))
        self.look('idle', world.leg('e', None), world.leg('f'))
        sharing = {LOST: ('nvme-a', 'nvme-c', 'nvme-e'),
                   model.ReplicaId('alone'): ()}
        b, d = (frozenset((world.portal(name),)) for name in 'bd')
        self.assertEqual({LOST: (b, d)}, self.all.relied_on(sharing))
        self.all.failed('two')
        self.assertEqual({LOST: (b,)}, self.all.relied_on(sharing))

    def test_what_is_out_of_its_array_is_told_with_its_uuid(self) -> None:
        self.look('one', world.leg('a'), world.leg('b'))
        self.look('idle', world.leg('e', None), world.leg('f'))
        sharing = {LOST: ('nvme-a', 'nvme-e', 'nvme-x'),
                   model.ReplicaId('alone'): ()}
        uuid = self.seen['idle'].namespaces[model.ReplicaId('e')].uuid
        self.assertEqual({LOST: {'nvme-e': uuid}, 'alone': {}},
                         self.all.spare(sharing))
        self.all.failed('idle')
        self.assertEqual({}, self.all.spare(sharing)[LOST])
        # Two claim it, and one of them has it in its array.
        self.look('idle', world.leg('e', None), world.leg('f'))
        self.look('one', world.leg('e'), world.leg('b'))
        self.assertEqual({}, self.all.spare(sharing)[LOST])

    def test_a_name_that_another_volume_has_now_is_that_volumes(self) -> None:
        self.look('one', world.leg('a'), world.leg('b'))
        self.look('two', world.leg('c'), world.leg('d', answers=False))
        self.look('one', world.leg('b'), world.leg('e'))
        self.look('two', world.leg('a'), world.leg('d', answers=False))
        self.assertEqual({'one', 'two'}, self.all.keys('nvme-a'))
        self.assertEqual('nvme-a', self.hurt())
        self.look('two', world.leg('a'), world.leg('d'))
        self.assertIsNone(self.hurt())
        # While both claim it, one of them cannot know yet.
        self.look('one', world.leg('a'), world.leg('b', answers=False))
        self.assertEqual('nvme-a', self.hurt())

    def test_who_is_forgotten_goes_by_no_name(self) -> None:
        self.look('one', world.leg('a'), world.leg('b'))
        self.assertEqual({'one'}, self.all.keys('nvme-a'))
        self.all.forget('one')
        self.assertEqual(set(), self.all.keys('nvme-a'))
        self.assertEqual('nvme-a', self.hurt())
