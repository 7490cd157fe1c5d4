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

"""Each room of the decision says its one thing, and in its turn."""

import dataclasses
import itertools
from typing import Any

from os_brick_healer.engine import limits, verdict
from os_brick_healer.replica import decide, flow, model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A, B, C = (model.ReplicaId(n) for n in 'abc')
NOW_S = 1000.0
Phase = verdict.Phase
State = model.AttachState
One = model.ReplicaMemory
BOTH = (world.leg('a'), world.leg('b'))
LONG_S = world.POLICY.provisioner_interval_s


def attached(state: State, *, alive: bool = True) -> model.Attachment:
    return model.Attachment(volume=world.KEY, alias='vol', state=state,
                            owner_alive=alive)


class RoomsTest(base.TestCase):

    def said(self, *legs: world.Leg, uuid: str | None = None,
             array: Any = None, **changes: Any) -> model.Verdict:
        seen = world.seen(*(legs or BOTH), now_s=NOW_S, **changes)
        if array is not None:
            assert seen.array is not None
            seen = dataclasses.replace(
                seen, array=dataclasses.replace(seen.array, **array))
        return world.decide(seen, model.Memory(array_uuid=uuid))

    def told(self, found: model.Verdict) -> tuple[Any, ...]:
        return (found.phase, found.law, found.look_again_s, found.action)

    def without_array(self, **changes: Any) -> model.Verdict:
        seen = dataclasses.replace(world.seen(*BOTH), array=None, **changes)
        return world.decide(seen)

    def test_what_is_not_here_is_looked_for_seldom(self) -> None:
        self.assertEqual((Phase.GONE, None, 30.0, None),
                         self.told(self.without_array()))
        found = self.without_array(attachment=attached(State.CONNECTING))
        self.assertEqual(
            (Phase.GONE, 'touch-only-what-is-ours', LONG_S, None),
            self.told(found))
        self.assertEqual('vol is connecting and its array is not on this '
                         'host', found.sentence)

    def test_another_array_is_not_touched(self) -> None:
        found = self.said(uuid='another')
        self.assertEqual(
            (Phase.HELD, 'touch-only-what-is-ours', LONG_S, None),
            self.told(found))
        self.assertIn('volume is another: it is not touched', found.sentence)
        self.assertIs(Phase.HEALTHY, self.said(uuid=world.UUID).phase)

    def test_a_broken_array_needs_a_person(self) -> None:
        for state in ('broken', 'inactive', 'clear'):
            found = self.said(state=state)
            self.assertEqual((Phase.BROKEN, 'keep-the-last-leg', LONG_S,
                              None), self.told(found))
        for state in ('active', 'clean', 'readonly', 'write-pending'):
            self.assertIs(Phase.HEALTHY, self.said(state=state).phase)

    def test_hands_off_while_nova_is_at_work(self) -> None:
        for state, alive in itertools.product(State, (True, False)):
            found = self.said(attachment=attached(state, alive=alive))
            held = state is not State.ATTACHED and (
                alive or state is State.DISCONNECTING)
            self.assertEqual(
                (Phase.HELD, decide.LAW_NOT_NOW, 1.0, None) if held
                else (Phase.HEALTHY, None, 300.0, None), self.told(found))
        # An array that nova is stopping is not broken.
        self.assertIs(Phase.HELD, self.said(
            state='clear', attachment=attached(State.DISCONNECTING)).phase)

    def test_two_hosts_never_both_change_it(self) -> None:
        found = self.said(peers_hold=frozenset('zy'))
        self.assertEqual((Phase.HELD, decide.LAW_NOT_NOW, LONG_S, None),
                         self.told(found))
        self.assertIn('published to y, z:', found.sentence)
        nobody: frozenset[str] = frozenset()
        for peers in (None, nobody):
            self.assertIs(Phase.HEALTHY, self.said(peers_hold=peers).phase)

    def test_a_failfast_flag_is_cleared(self) -> None:
        flagged = world.leg('b', 'in_sync,failfast')
        found = self.said(world.leg('a'), flagged)
        self.assertEqual(
            (Phase.HEALING, 'prefer-a-queue-to-an-error', LONG_S,
             model.ClearFailfast(
                 volume=world.KEY, law='prefer-a-queue-to-an-error',
                 array='md127', array_uuid=world.UUID, replica=B,
                 device='nvme-b')), self.told(found))
        found = self.said(world.leg('a'), world.leg('b', 'faulty,failfast'))
        self.assertNotIsInstance(found.action, model.ClearFailfast)
        for next_s, cleared in ((NOW_S, True), (NOW_S + 0.1, False)):
            seen = world.seen(world.leg('a'), flagged, now_s=NOW_S)
            memory = model.Memory(array_uuid=world.UUID, replicas={
                B: One(belongs=True, in_sync_s=1.0, next_try_s=next_s)})
            found = world.decide(seen, memory)
            self.assertIs(cleared, found.action is not None)

    def test_a_flag_that_could_not_be_cleared_is_tried_again_soon(
            self) -> None:
        legs = [world.leg(n, 'in_sync,failfast') for n in 'ab']
        memory = model.Memory(array_uuid=world.UUID, replicas={
            A: One(belongs=True, in_sync_s=1.0, next_try_s=NOW_S + 4.0),
            B: One(belongs=True, in_sync_s=1.0, next_try_s=NOW_S + 2.0,
                   last_error='cannot clear it: because no')})
        found = world.decide(world.seen(*legs, now_s=NOW_S), memory)
        self.assertEqual((Phase.HELD, 'prefer-a-queue-to-an-error', 2.0,
                          None), self.told(found))
        self.assertIn('nvme-b of md127 would', found.sentence)
        self.assertIn('failfast flag: cannot clear it: because no',
                      found.sentence)
        found = world.decide(world.seen(*legs, now_s=NOW_S + 2.0), memory)
        self.assertIsInstance(found.action, model.ClearFailfast)

    def test_a_flag_is_cleared_while_all_legs_are_away(self) -> None:
        """A write would wait for them, and the flag makes it fail."""
        away = [world.leg(n, 'in_sync,failfast', path='connecting',
                          answers=False) for n in 'ab']
        self.assertIsInstance(self.said(*away).action, model.ClearFailfast)
        found = self.said(*(world.leg(n, path='connecting', answers=False)
                            for n in 'ab'))
        self.assertEqual((Phase.STALLED, None), (found.phase, found.action))
        # A leg that keeps the guest waiting, beside one that serves, is first.
        found = self.said(away[0], world.leg('b'), stuck_s=5.0)
        self.assertIsInstance(found.action, model.BreakLeg)

    def test_without_a_clear_word_it_is_only_watched(self) -> None:
        old_s = world.POLICY.volume_age_max_s + 1
        for changes, says in (
                ({'volume': None}, 'is of no help (it does not name this '
                 'volume): md127 is only watched'),
                ({'volume': None, 'provisioner_error': 'it is off'},
                 'is of no help (it is off): md127 is only watched'),
                ({'volume_age_s': old_s}, 'cannot be asked (its last word is '
                 'too old): nothing of md127 is changed'),
                ({'volume_age_s': None}, 'cannot be asked (it no longer '
                 'names this volume): nothing of md127 is changed'),
                ({'provisioner_error': 'it is off'}, 'cannot be asked (it is '
                 'off): nothing of md127 is changed')):
            for legs, phase in ((BOTH, Phase.HEALTHY),
                                ((world.leg('a'),), Phase.HELD)):
                found = self.said(*legs, **changes)
                self.assertEqual((phase, decide.LAW_TRUTH, LONG_S, None),
                                 self.told(found))
                self.assertEqual(f'the provisioner {says}', found.sentence)

    def test_a_contradiction_is_held(self) -> None:
        found = self.said(volume=world.volume(*BOTH, nonsense='it lies'))
        self.assertEqual((Phase.HELD, decide.LAW_TRUTH, LONG_S, None),
                         self.told(found))
        self.assertIn('contradicts itself (it lies)', found.sentence)

    def test_a_pause_takes_the_action_and_nothing_else(self) -> None:
        lost = (world.leg('a'), world.leg('b', None))
        found = self.said(*lost, paused='by me')
        self.assertEqual((Phase.HELD, 'pause', LONG_S, None),
                         self.told(found))
        self.assertEqual(
            'healing is paused (by me); without the pause: '
            + self.said(*lost).sentence, found.sentence)
        self.assertEqual(self.told(self.said()),
                         self.told(self.said(paused='by me')))

    def test_all_is_well(self) -> None:
        found = self.said()
        self.assertEqual((Phase.HEALTHY, None, 300.0, None),
                         self.told(found))
        self.assertEqual('all 2 legs of md127 are in sync', found.sentence)
        self.assertEqual((30.0, 300.0), (decide.IDLE_S, decide.WELL_S))

    def test_among_many_who_is_well_is_looked_at_less_often(self) -> None:
        self.assertEqual(300.0, decide.seldom_s(300.0, 150))
        self.assertEqual(302.0, decide.seldom_s(300.0, 151))
        # Who has a reason to be looked at is.
        self.assertEqual(299.0, decide.seldom_s(299.0, 10000))
        self.assertEqual(700.0, decide.seldom_s(700.0, 10))

    def test_a_leg_that_nobody_may_give_up_yet_is_not_well(self) -> None:
        found = self.said(
            world.leg('a', path='connecting', for_s=9.0, answers=None),
            world.leg('b', answers=None))
        self.assertEqual((Phase.DEGRADED, flow.LAW_LAST_LEG, 1.0, None),
                         self.told(found))
        self.assertRegex(
            found.sentence, '^leg [a-z0-9-]+ of md127 has no live path; it '
            'comes back, or is given up once another leg in sync is proven '
            'to answer$')
        # Nor is it while the provisioner is of no help.
        found = self.said(
            world.leg('a', path='connecting', for_s=9.0, answers=None),
            world.leg('b', answers=None), volume=world.volume(*BOTH),
            volume_age_s=1e6)
        self.assertEqual((Phase.HELD, decide.LAW_TRUTH),
                         self.told(found)[:2])

    def test_a_leg_that_is_silent_is_not_well(self) -> None:
        """It was to be cut, and that was refused: it is put off."""
        seen = world.seen(
            world.leg('a', answers=False, silent_s=9.0), world.leg('b'),
            stuck_s=0.5, now_s=NOW_S)
        off = world.remembers(seen, a={'cut_next_s': NOW_S + 1.0})
        found = world.decide(seen, off)
        self.assertEqual((Phase.DEGRADED, flow.LAW_LAST_LEG, 1.0, None),
                         self.told(found))
        self.assertEqual(
            'leg nvme-a of md127 is silent, though the kernel calls it live: '
            'the guest waits for it until it answers, or is cut off once '
            'another leg in sync is proven to answer', found.sentence)
        # Nor is it while the provisioner is of no help.
        self.assertEqual((Phase.HELD, decide.LAW_TRUTH), self.told(
            world.decide(dataclasses.replace(seen, volume_age_s=1e6),
                         off))[:2])

    def test_a_leg_that_was_silent_for_a_moment_is(self) -> None:
        short_s = world.POLICY.silence_s - 0.01
        for silent_s, phase in ((short_s, Phase.HEALTHY),
                                (short_s + 0.01, Phase.DEGRADED)):
            found = self.said(
                world.leg('a', answers=False, silent_s=silent_s),
                world.leg('b', answers=None))
            self.assertIs(phase, found.phase)
        self.assertIn('a write would wait', found.sentence)

    def test_what_is_degraded_says_what_it_waits_for(self) -> None:
        found = self.said(array={'degraded': 1})
        self.assertEqual((Phase.DEGRADED, None, 1.0, None), self.told(found))
        self.assertEqual(
            'md127 runs on 2 of 2 legs and waits for a leg: the provisioner '
            'names none that could come; if that lasts, add one there',
            found.sentence)
        found = self.said(world.leg('a'), array={'degraded': 0})
        self.assertIs(Phase.DEGRADED, found.phase)
        found = self.said(
            world.leg('a'), world.leg('b', None, path='connecting',
                                      answers=None,
                                      state=model.ReplicaState.MISSING))
        self.assertIn('waits for replica b', found.sentence)
        # One that we asked to have taken away will not come.
        seen = world.seen(
            world.leg('a'), world.leg(
                'b', None, path=None, state=model.ReplicaState.TERMINATING),
            now_s=NOW_S)
        request = model.Request(
            id='q', asked_s=1.0, tries=1,
            known=frozenset((model.ReplicaId('b'),)),
            state=model.RequestState.ARRIVED, arrived=model.ReplicaId('a'))
        found = world.decide(seen, model.Memory(replicas={
            model.ReplicaId('b'): One(belongs=True, request=request)}))
        self.assertIn('waits for a leg', found.sentence)

    def test_what_was_withdrawn_is_looked_at_in_its_time(self) -> None:
        former = {C: model.Former(paths=(), device=None)}
        for unnamed_s, look_s in (
                (NOW_S - limits.WITHDRAWN_S + 20.0, 20.0),
                (NOW_S - limits.WITHDRAWN_S + 0.2, 1.0)):
            seen = world.seen(*BOTH, now_s=NOW_S, former=former)
            found = world.decide(seen, model.Memory(
                array_uuid=world.UUID,
                replicas={C: One(unnamed_s=unnamed_s)}))
            self.assertEqual((Phase.HEALTHY, look_s),
                             (found.phase, found.look_again_s))

    def test_the_last_leg_is_kept_however_sick(self) -> None:
        for word in ('write_error', 'want_replacement'):
            found = self.said(
                world.leg('a', f'in_sync,{word}'),
                world.leg('b', None, path='connecting', answers=None,
                          state=model.ReplicaState.MISSING))
            self.assertEqual((Phase.HELD, 'keep-the-last-leg', LONG_S, None),
                             self.told(found))
            self.assertIn(f'sick ({word}) but it is the last', found.sentence)
        found = self.said(world.leg('a', 'in_sync,write_error'),
                          world.leg('b'))
        self.assertIs(Phase.HEALTHY, found.phase)

    def test_a_leg_in_sync_is_not_taken_away(self) -> None:
        going = world.leg('b', state=model.ReplicaState.TERMINATING)
        found = self.said(world.leg('a'), going)
        self.assertEqual(
            (Phase.HELD, 'remove-only-after-the-successor-is-in-sync', LONG_S,
             None), self.told(found))
        self.assertIn('take away leg nvme-b, which is in sync',
                      found.sentence)

    def test_a_member_that_nobody_names_stops_what_changes_it(self) -> None:
        foreign = model.Member(device='nvme9n1', slot=2,
                               flags=frozenset(('in_sync',)))
        found = self.said(extra=(foreign,), foreign=('nvme9n1',))
        self.assertEqual((Phase.HELD, decide.LAW_TRUTH), (
            found.phase, found.law))
        self.assertIn('nvme9n1 is a leg of md127', found.sentence)

    def test_what_others_told_cannot_steer_a_terminal(self) -> None:
        found = self.said(provisioner_error='a\x1b[2J\n  b')
        self.assertIn('(a [2J b)', found.sentence)
        self.assertTrue(found.sentence.isprintable())

    def test_the_rooms_come_in_their_order(self) -> None:
        """Each is true of what is seen; what comes first is said."""
        worse: list[tuple[dict[str, Any], str]] = [
            ({'state': 'broken'}, 'MD calls'),
            ({'attachment': attached(State.DISCONNECTING)}, 'os-brick is'),
            ({'uuid': 'another'}, 'it is not touched')]
        changes: dict[str, Any] = {
            'peers_hold': frozenset('x'), 'provisioner_error': 'off'}
        self.assertIn('also published', self.said(**changes).sentence)
        for more, says in worse:
            changes.update(more)
            self.assertIn(says, self.said(**changes).sentence)
