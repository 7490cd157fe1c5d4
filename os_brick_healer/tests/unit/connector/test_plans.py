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

"""The guard's plans, one by one, with what they say."""

import dataclasses

from os_brick_healer.connector import guard, legs
from os_brick_healer.tests import base

OURS, OTHER = 'a' * 32, 'b' * 32
ANSWERS = ('bring an up-to-date leg back and connect again; or, if what was '
           'written since is to be given up, set [os_brick_healer]'
           'connect_stale_legs')


def present(key: str, content: guard.Content | int | None) -> guard.Present:
    """A leg; a number stands for a superblock of ours with these events."""
    if content is None or isinstance(content, int):
        content = guard.Super(array_uuid=OURS, events=content)
    return guard.Present(
        device=f'/dev/{key}', content=content,
        leg=legs.Leg(nqn=f'nqn.{key}', uuid=key, portals=(), id=f'id-{key}'))


OTHERS = guard.Super(array_uuid=OTHER, events=99)


class PlanTest(base.TestCase):

    def plan(self, *there: guard.Present, known: guard.Known | None = None,
             count: int = 2, absent: str = '',
             stale: bool = False) -> guard.Plan:
        return guard.plan(
            guard.Wanted(alias='v', replica_count=count,
                         absent=frozenset(absent.split()),
                         stale_allowed=stale),
            there, known or guard.Known())

    def assembled(self, plan: guard.Plan) -> tuple[list[str], list[str]]:
        assert isinstance(plan, guard.Assemble), plan
        self.assertEqual(OURS, plan.array_uuid)
        return [p.leg.key for p in plan.legs], list(plan.notes)

    def refused(self, plan: guard.Plan) -> str:
        assert isinstance(plan, guard.Refuse), plan
        return plan.sentence

    def test_all_that_is_ours_is_assembled(self) -> None:
        self.assertEqual((['x', 'y'], []),
                         self.assembled(self.plan(present('x', 5),
                                                  present('y', None))))

    def test_what_is_not_ours_is_left_out_and_said(self) -> None:
        for content, why in (
                (OTHERS, f'its superblock is of array {OTHER}, not of '
                 f'{OURS}'),
                (guard.Blank(), '/dev/z carries no superblock'),
                (guard.Foreign(what='ext4'), '/dev/z carries something else: '
                 'ext4'),
                (guard.Unreadable(why='slow'), '/dev/z could not be '
                 'examined: slow')):
            plan = self.plan(present('x', 5), present('y', 5),
                             present('z', content))
            self.assertEqual((['x', 'y'], [f'/dev/z is left out: {why}']),
                             self.assembled(plan))

    def test_the_array_that_is_known_is_the_volume(self) -> None:
        there = (present('x', 5), present('y', OTHERS), present('z', OTHERS))
        known = guard.Known(array_uuid=OURS)
        self.assertEqual(['x'], self.assembled(
            self.plan(*there, known=known))[0])
        # Not among them: it is none of them, unless that is to be.
        known = guard.Known(array_uuid='c' * 32)
        said = self.refused(self.plan(*there, known=known))
        self.assertEqual(
            'cannot assemble array v: because it is not clear which array is '
            f'the volume: /dev/x is a leg of array {OURS}, /dev/y is a leg '
            f'of array {OTHER}, /dev/z is a leg of array {OTHER}; this host '
            f'knows it as {"c" * 32}', said)
        plan = self.plan(*there, known=known, stale=True)
        assert isinstance(plan, guard.Assemble)
        self.assertEqual(OTHER, plan.array_uuid)

    def test_unknown_it_is_what_most_legs_say(self) -> None:
        two = self.plan(present('x', 5), present('y', OTHERS),
                        present('z', 5))
        self.assertEqual(['x', 'z'], self.assembled(two)[0])
        said = self.refused(self.plan(present('x', 5), present('y', OTHERS)))
        self.assertNotIn('this host knows', said)

    def test_a_leg_that_is_behind_is_left_out(self) -> None:
        known = guard.Known(events=12)
        for events, behind in ((10, True), (11, False), (12, False),
                               (13, False), (None, False)):
            plan = self.plan(present('x', 12), present('y', events),
                             known=known)
            why = [f'/dev/y is at event {events} and the array was at 12 '
                   'when this host had it last: it is left out']
            self.assertEqual(
                (['x'], why) if behind else (['x', 'y'], []),
                self.assembled(plan))

    def test_a_leg_that_was_lost_is_left_out(self) -> None:
        for names in ('y', 'id-y'):
            plan = self.plan(present('x', 5), present('y', 5),
                             known=guard.Known(lost=frozenset((names,))))
            self.assertEqual((['x'], [
                '/dev/y was lost, and the agent did not see it come back in '
                'sync: it is left out']), self.assembled(plan))

    def test_after_a_disconnect_what_was_in_sync_counts(self) -> None:
        known = guard.Known(events=12, in_sync=frozenset('x'),
                            lost=frozenset('x'))
        for events, stale in ((12, True), (11, True), (13, False),
                              (None, True)):
            plan = self.plan(present('x', 12), present('y', events),
                             known=known)
            self.assertEqual((['x'], [
                '/dev/y was not in sync when this host disconnected the '
                'volume: it is left out']) if stale else (['x', 'y'], []),
                self.assembled(plan))
        unknown = dataclasses.replace(known, events=None)
        plan = self.plan(present('x', 12), present('y', 99), known=unknown)
        self.assertEqual(['x'], self.assembled(plan)[0])

    def test_only_stale_legs_serve_when_nothing_newer_can_exist(self) -> None:
        known = guard.Known(lost=frozenset(('x', 'y')))
        both = (present('x', 5), present('y', 5))
        why = ('was lost, and the agent did not see it come back in sync')
        self.assertEqual(
            (['x', 'y'], [f'/dev/x {why}', f'/dev/y {why}']),
            self.assembled(self.plan(*both, known=known)))
        for count, absent in ((3, ''), (2, 'z')):
            plan = self.plan(*both, known=known, count=count, absent=absent)
            self.assertEqual(
                'cannot assemble array v: because only legs that missed '
                f'writes are present: /dev/x {why}; /dev/y {why}',
                self.refused(plan))
            assert isinstance(plan, guard.Refuse)
            self.assertEqual(ANSWERS, plan.hint)
            self.assertEqual(['x', 'y'], self.assembled(self.plan(
                *both, known=known, count=count, absent=absent,
                stale=True))[0])

    def test_a_new_array_needs_all_its_legs_blank(self) -> None:
        blank = (present('x', guard.Blank()), present('y', guard.Blank()))
        plan = self.plan(*blank)
        assert isinstance(plan, guard.Create)
        self.assertEqual(blank, plan.legs)
        self.assertEqual(
            'cannot create array v: because only 2 of 3 legs are present',
            self.refused(self.plan(*blank, count=3)))
        self.assertEqual(
            'cannot create array v: because /dev/y carries something else: '
            'ext4', self.refused(self.plan(
                blank[0], present('y', guard.Foreign(what='ext4')),
                present('z', guard.Foreign(what='xfs')))))
        self.assertEqual(
            'cannot create array v: because this volume already had an array '
            f'({OURS}) and none of the legs that are present (/dev/x carries '
            'no superblock, /dev/y carries no superblock) carries it',
            self.refused(self.plan(
                *blank, known=guard.Known(array_uuid=OURS))))
