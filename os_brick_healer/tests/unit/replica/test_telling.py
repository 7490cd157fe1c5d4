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

"""What status says of a volume is what was seen of it."""

import dataclasses

from os_brick_healer.replica import model, telling
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A, B = model.ReplicaId('a'), model.ReplicaId('b')


class TellingTest(base.TestCase):

    def states(self, seen: model.Seen, memory: model.Memory) -> list[str]:
        told = telling.describe(seen, memory)
        return [leg['state'] for leg in told['legs']]

    def test_of_what_was_never_seen_nothing_is_told(self) -> None:
        self.assertEqual(
            {'alias': None, 'array': None, 'legs': [], 'sync': None},
            telling.describe(None, model.Memory()))

    def test_a_leg_is_told_with_its_portals_and_its_loss(self) -> None:
        seen = world.seen(world.leg('a'), world.leg('b', None, path=None))
        memory = model.Memory(replicas={B: model.ReplicaMemory(
            belongs=True, lost_s=940.0, last_error='refused')})
        told = telling.describe(seen, memory)
        self.assertEqual(('vol', 'md127', world.UUID, None),
                         (told['alias'], told['array'], told['array_uuid'],
                          told['sync']))
        at = str(world.portal('a'))
        self.assertEqual(
            {'replica': 'a', 'provisioner_state': 'available',
             'device': 'nvme-a', 'state': 'in_sync', 'lost_for_s': None,
             'note': None, 'portals': [
                 {'portal': at, 'controller': 'nvme-ctl-a0',
                  'state': 'live'}]}, told['legs'][0])
        at = str(world.portal('b'))
        self.assertEqual(
            {'replica': 'b', 'provisioner_state': 'available',
             'device': 'nvme-b', 'state': 'lost', 'lost_for_s': 60.0,
             'note': 'refused', 'portals': [
                 {'portal': at, 'controller': None, 'state': None}]},
            told['legs'][1])

    def test_each_state_of_a_leg_has_its_word(self) -> None:
        known = model.Memory(replicas={
            A: model.ReplicaMemory(belongs=True)})
        for leg, word in (
                (world.leg('a', None), 'lost'),
                (world.leg('a', 'faulty'), 'faulty'),
                (world.leg('a', 'faulty,in_sync'), 'faulty'),
                (world.leg('a', 'spare'), 'filling'),
                (world.leg('a', path='connecting'), 'disconnected'),
                (world.leg('a', path=None), 'in_sync'),
                (world.leg('a'), 'in_sync')):
            self.assertEqual([word], self.states(world.seen(leg), known))
        self.assertEqual(['new'], self.states(
            world.seen(world.leg('a', None)), model.Memory()))

    def test_a_copy_is_told_as_far_as_it_is(self) -> None:
        sync = model.Sync(action='recover', done_sectors=250,
                          total_sectors=1000, speed_kib_s=100)
        told = telling.describe(
            world.seen(world.leg('a'), world.leg('b', 'spare'), sync=sync),
            model.Memory())
        self.assertEqual(
            {'action': 'recover', 'percent': sync.percent,
             'speed_kib_s': 100, 'eta_s': sync.eta_s}, told['sync'])

    def test_without_the_provisioners_words_nova_names_it(self) -> None:
        seen = dataclasses.replace(
            world.seen(world.leg('a')), volume=None, array=None,
            attachment=model.Attachment(
                volume=world.KEY, alias='of-nova', owner_alive=True,
                state=model.AttachState.ATTACHED))
        told = telling.describe(seen, model.Memory())
        self.assertEqual(('of-nova', None, None, [], None),
                         (told['alias'], told['array'], told['array_uuid'],
                          told['legs'], told['sync']))
        told = telling.describe(
            dataclasses.replace(seen, attachment=None), model.Memory())
        self.assertIsNone(told['alias'])
