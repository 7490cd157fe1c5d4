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
"""Which legs can be counted on."""

from os_brick_healer.replica import case, flow, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A = model.ReplicaId('a')


def _case(one: world.Leg) -> case.Case:
    return case.Case(
        seen=world.seen(one, world.leg('z')), memory=model.Memory(),
        policy=world.POLICY, around=case.Around())


def _leg(one: world.Leg) -> case.Leg:
    return _case(one).legs[0]


class TestCounts(base.TestCase):

    def test_a_leg_counts_while_one_of_its_paths_is_heard(self) -> None:
        for one, heard in (
                (world.leg('a'), True),
                (world.leg('a', answers=None), True),
                (world.leg('a', answers=False), False),
                (world.leg('a', silent_s=0.5), False),
                (world.leg('a', silent_s=0.0), True),
                (world.leg('a', path='connecting'), False),
                (world.leg('a', path='connecting', answers=None), False),
                (world.leg('a', path=None), False)):
            with self.subTest(one=one):
                found = _leg(one)
                self.assertIs(heard, case.heard(found.paths))
                self.assertIs(heard, found.counts)

    def test_only_what_is_in_sync_counts(self) -> None:
        for flags in ('spare', 'in_sync,faulty', None):
            one = world.leg('a', flags)
            with self.subTest(flags=flags):
                self.assertFalse(_leg(one).counts)
                self.assertFalse(case.in_sync(
                    world.seen(one, world.leg('z')), A))
        self.assertTrue(case.in_sync(world.seen(world.leg('a')), A))

    def test_what_is_silent_is_named_unless_md_has_given_it_up(self) -> None:
        for flags, found in (('in_sync', 'leg nvme-a'),
                             ('spare', 'leg nvme-a'),
                             ('in_sync,faulty', None)):
            self.assertEqual(found, flow.unheard(_case(world.leg(
                'a', flags, answers=False, silent_s=9.0))))
        self.assertIsNone(flow.unheard(_case(world.leg('a'))))
