# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Who can spare a leg."""

import dataclasses

from os_brick_healer.replica import doubt, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world


def attached(state: model.AttachState, *, alive: bool) -> model.Attachment:
    return model.Attachment(volume=world.KEY, alias='vol', state=state,
                            owner_alive=alive)


class SparesTest(base.TestCase):
    """The device of leg "a", whose controller another volume gives up."""

    def setUp(self) -> None:
        super().setUp()
        self.seen = world.seen(world.leg('a'), world.leg('b'))
        self.gone = dataclasses.replace(
            world.seen(world.leg('a', None), world.leg('b', None)),
            array=None)
        unheld = {key: dataclasses.replace(one, holders=())
                  for key, one in self.gone.namespaces.items()}
        self.gone = dataclasses.replace(self.gone, namespaces=unheld)

    def test_a_volume_spares_a_leg_while_another_is_live(self) -> None:
        self.assertTrue(doubt.spares(self.seen, 'nvme-a'))
        alone = world.seen(world.leg('a'), world.leg('b', 'faulty'))
        self.assertFalse(doubt.spares(alone, 'nvme-a'))

    def test_a_leg_that_is_called_live_alone_is_not_counted_on(self) -> None:
        # An agent that has just been started has not probed it yet.
        for transport, spared in (('tcp', False), ('rdma', True)):
            seen = world.seen(world.leg('a'), world.leg('b', answers=None))
            path, = seen.paths[model.ReplicaId('b')]
            path = dataclasses.replace(path, portal=dataclasses.replace(
                path.portal, transport=transport))
            seen = dataclasses.replace(
                seen, paths={**seen.paths, model.ReplicaId('b'): (path,)})
            self.assertEqual(spared, doubt.spares(seen, 'nvme-a'))

    def test_what_is_out_of_its_array_is_no_loss(self) -> None:
        # Nobody probes the others then: nothing of theirs is in doubt.
        out, other = world.leg('a', None), world.leg('b', answers=None)
        seen = world.seen(out, other)
        self.assertTrue(doubt.spares(seen, 'nvme-a'))
        self.assertFalse(doubt.spares(seen, 'nvme-of-another'))
        self.assertTrue(doubt.spares(dataclasses.replace(
            seen, peers_hold=frozenset(('another-host',))), 'nvme-a'))
        # One that os-brick is about to make an array of is.
        self.assertFalse(doubt.spares(dataclasses.replace(
            seen, array=None, attachment=attached(
                model.AttachState.CONNECTING, alive=True)), 'nvme-a'))

    def test_what_it_has_is_in_its_array_or_named(self) -> None:
        unnamed = dataclasses.replace(self.seen, namespaces={})
        for seen, device, has in (
                (self.seen, 'nvme-a', True), (self.seen, 'nvme-x', False),
                (unnamed, 'nvme-a', True), (unnamed, 'nvme-x', False),
                (self.gone, 'nvme-a', True), (self.gone, 'nvme-x', False)):
            self.assertEqual(has, doubt.has(seen, device))

    def test_it_goes_on_over_live_paths_to_its_other_legs_in_sync(
            self) -> None:
        seen = world.seen(
            world.leg('a'), world.leg('b', answers=False),
            world.leg('c', path='connecting'), world.leg('d', 'spare'),
            world.leg('e', None), world.leg('f'), raid_disks=4)
        self.assertEqual({world.portal('b'), world.portal('f')},
                         doubt.relied_on(seen, 'nvme-a'))
        self.assertEqual(frozenset(), doubt.relied_on(seen, 'nvme-e'))
        self.assertEqual(frozenset(), doubt.relied_on(self.gone, 'nvme-a'))

    def test_what_two_hosts_hold_is_not_changed_for_another(self) -> None:
        self.assertFalse(doubt.spares(dataclasses.replace(
            self.seen, peers_hold=frozenset(('another-host',))), 'nvme-a'))

    def test_a_volume_that_is_not_attached_spares_any_leg(self) -> None:
        self.assertTrue(doubt.spares(self.gone, 'nvme-a'))
        self.assertFalse(doubt.spares(self.gone, 'nvme-of-another'))

    def test_what_somebody_holds_is_not_spared(self) -> None:
        held = {key: dataclasses.replace(one, holders=('dm-0',))
                for key, one in self.gone.namespaces.items()}
        self.assertFalse(doubt.spares(
            dataclasses.replace(self.gone, namespaces=held), 'nvme-a'))

    def test_a_volume_that_nova_is_at_is_not_robbed(self) -> None:
        for state, alive, spared in (
                (model.AttachState.CONNECTING, True, False),
                (model.AttachState.CONNECTING, False, True),
                (model.AttachState.ATTACHED, False, False)):
            with self.subTest(state=state, alive=alive):
                at = dataclasses.replace(
                    self.gone, attachment=attached(state, alive=alive))
                self.assertEqual(spared, doubt.spares(at, 'nvme-a'))
