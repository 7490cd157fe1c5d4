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
"""The whole flow, step by step, in a host in which actions work.

After every look the agent of ``world`` checks what must always hold: the
laws agree with the decision, no in-sync leg lacks a write, nothing is asked
for twice, nothing goes too early, nobody gives up the last leg.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from os_brick_healer.engine import verdict
from os_brick_healer.provisioner import base as prov
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

Phase = verdict.Phase
MISSING = model.ReplicaState.MISSING


def removed(host: world.Host, *names: str) -> Callable[[], bool]:
    """Until these replicas, and no others, have been let go."""
    return lambda: sorted(host.removed) == sorted(names)


class FlowTest(base.TestCase):
    restart = False

    def agent(self, host: world.Host, **kwargs: Any) -> world.Agent:
        kwargs.setdefault('restart', self.restart)
        agent = world.Agent(host, **kwargs)
        agent.run(2.0)
        return agent

    def test_a_healthy_volume_is_left_alone(self) -> None:
        host = world.Host()
        agent = self.agent(host)
        agent.run(120)
        self.assertEqual([], host.done)
        self.assertEqual(Phase.HEALTHY, agent.said[-1].phase)

    def test_a_leg_lost_for_good_is_replaced_once_and_then_removed(
            self) -> None:
        for how in ('closed', 'silent'):
            with self.subTest(how):
                host = world.Host()
                agent = self.agent(host)
                host.cut('a', how)
                self.assertTrue(
                    agent.run(200, until=removed(host, 'a')),
                    world.sentences(agent.said))
                self.assertEqual(1, len(host.requests))
                self.assertIn(('a', MISSING), host.reports)
                self.assertTrue(host.whole)
                agent.run(200)
                self.assertEqual(1, len(host.requests))
                self.assertEqual(Phase.HEALTHY, agent.said[-1].phase)

    def test_a_closed_leg_stalls_the_guest_for_a_moment_only(self) -> None:
        host = world.Host()
        agent = self.agent(host)
        host.cut('a')
        agent.run(10)
        self.assertLessEqual(max(host.stalls), 1.5)

    def test_a_silent_leg_is_cut_before_the_keep_alive_runs_out(self) -> None:
        host = world.Host()
        agent = self.agent(host)
        host.cut('a', 'silent')
        agent.run(10)
        self.assertEqual(['CutSilent', 'BreakLeg'], host.kinds()[:2])
        self.assertLess(max(host.stalls), 5.0)

    def test_a_blip_within_the_grace_costs_a_bitmap_re_add(self) -> None:
        host = world.Host()
        agent = self.agent(host)
        host.cut('a')
        agent.run(20)
        host.mend('a')
        self.assertTrue(agent.run(20, until=lambda: host.whole))
        agent.run(200)
        self.assertEqual(1, host.count(model.ReAdd))
        self.assertEqual({}, host.requests)
        self.assertEqual(0, host.count(model.AddSpare))

    def test_a_blip_shorter_than_the_break_costs_nothing(self) -> None:
        host = world.Host()
        agent = self.agent(host)
        host.cut('a')
        agent.run(0.25)
        host.mend('a')
        agent.run(10)
        self.assertEqual([], host.done)

    def test_a_flapping_leg_is_damped_and_never_replaced(self) -> None:
        host = world.Host()
        agent = self.agent(host)
        for _ in range(8):
            host.cut('a')
            agent.run(5)
            host.mend('a')
            agent.run(20)
        self.assertEqual({}, host.requests)
        self.assertLess(host.count(model.ReAdd), 8)
        self.assertIn('stays out', world.sentences(agent.said))
        self.assertTrue(agent.run(600, until=lambda: host.whole))

    def test_when_all_legs_are_lost_nothing_is_given_up(self) -> None:
        for how in ('closed', 'silent'):
            for outage_s in (5, 60, 600):
                host = world.Host()
                agent = self.agent(host)
                host.cut('a', how)
                host.cut('b', how)
                agent.run(outage_s)
                self.assertEqual([], host.done)
                self.assertEqual(Phase.STALLED, agent.said[-1].phase)
                host.mend('a')
                host.mend('b')
                agent.run(10)
                self.assertTrue(host.whole)
                self.assertEqual({}, host.requests)

    def test_when_one_of_the_lost_legs_comes_back_io_goes_on_with_it(
            self) -> None:
        for name in ('a', 'b'):
            host = world.Host()
            agent = self.agent(host)
            host.cut('a')
            host.cut('b')
            agent.run(60)
            host.mend(name)
            agent.run(5)
            self.assertEqual([name], [d.name for d in host.in_sync])
            self.assertIsNone(host.stuck_since_s)

    def test_a_replacement_lost_during_its_copy_is_replaced_itself(
            self) -> None:
        host = world.Host(copy_s=30.0)
        agent = self.agent(host)
        host.cut('a')
        self.assertTrue(agent.run(
            200, until=lambda: any(d.role == 'spare' for d in host.members)))
        host.cut('m')
        self.assertTrue(agent.run(400, until=lambda: host.whole))
        self.assertTrue(agent.run(
            400, until=lambda: sorted(host.removed) == ['a', 'm']))
        self.assertEqual(2, len(host.requests))

    def test_a_replacement_that_blips_goes_on_being_filled(self) -> None:
        host = world.Host(copy_s=30.0)
        agent = self.agent(host)
        host.cut('a')
        agent.run(
            200, until=lambda: any(d.role == 'spare' for d in host.members))
        host.cut('m')
        agent.run(10)
        host.mend('m')
        self.assertTrue(agent.run(200, until=lambda: host.whole))
        self.assertEqual(1, len(host.requests))

    def test_without_the_provisioner_io_flows_and_nothing_else_is_done(
            self) -> None:
        host = world.Host()
        agent = self.agent(host)
        host.error = 'no answer'
        host.cut('a')
        agent.run(600)
        self.assertEqual({'BreakLeg'}, set(host.kinds()))
        self.assertEqual(Phase.HELD, agent.said[-1].phase)
        host.error = None
        self.assertTrue(agent.run(200, until=lambda: host.removed == ['a']))

    def test_nonsense_changes_nothing(self) -> None:
        host = world.Host()
        agent = self.agent(host)
        host.nonsense = 'two replicas are the same'
        host.cut('a')
        agent.run(600)
        self.assertEqual({'BreakLeg'}, set(host.kinds()))

    def test_an_answer_that_leaves_replicas_out_costs_no_second_request(
            self) -> None:
        for hidden in (('a',), ('a', 'b')):
            host = world.Host(arrival_s=20.0)
            agent = self.agent(host)
            host.cut('a')
            for _ in range(400):
                if not host.requests:
                    agent.run(0.5)
            host.hide = frozenset(hidden)
            agent.run(5)
            host.hide = frozenset()
            self.assertTrue(agent.run(
                400, until=removed(host, 'a')))
            self.assertEqual(1, len(host.requests))

    def test_while_two_hosts_hold_it_nothing_is_done(self) -> None:
        host = world.Host()
        agent = self.agent(host)
        host.peers = frozenset(('there',))
        host.cut('a')
        agent.run(300)
        self.assertEqual([], host.done)
        self.assertIn('there', agent.said[-1].sentence)

    def test_a_pause_takes_every_action_away_and_says_which(self) -> None:
        host = world.Host()
        agent = self.agent(host)
        host.paused = 'by an operator'
        host.cut('a')
        agent.run(300)
        self.assertEqual([], host.done)
        self.assertIn('without the pause', agent.said[-1].sentence)

    def test_hands_off_while_os_brick_works_on_the_volume(self) -> None:
        for state in model.AttachState:
            for alive in (True, False):
                host = world.Host()
                agent = self.agent(host)
                host.attachment = model.Attachment(
                    volume=world.KEY, alias='vol', state=state,
                    owner_alive=alive)
                host.cut('a')
                agent.run(30)
                held = state is model.AttachState.DISCONNECTING or (
                    alive and state is not model.AttachState.ATTACHED)
                self.assertEqual(held, not host.done,
                                 f'{state} {alive}')

    def test_of_three_legs_two_may_be_lost_together(self) -> None:
        host = world.Host('a', 'b', 'c')
        agent = self.agent(host)
        host.cut('a')
        host.cut('b', 'silent')
        self.assertTrue(agent.run(
            400, until=lambda: sorted(host.removed) == ['a', 'b']),
            world.sentences(agent.said))
        self.assertEqual(2, len(host.requests))
        self.assertTrue(host.whole)

    def test_a_leg_missing_since_the_connect_is_reported_and_healed(
            self) -> None:
        host = world.Host()
        host.disks['a'].role, host.disks['a'].connected = None, False
        host.cut('a')
        agent = self.agent(host)
        self.assertIn(('a', MISSING), host.reports)
        self.assertTrue(agent.run(200, until=lambda: host.removed == ['a']))

    def test_a_re_add_that_is_refused_becomes_a_full_copy(self) -> None:
        host = world.Host()
        host.failing[model.ReAdd] = verdict.Outcome(
            changed=False, error='not possible', detail='re-add refused')
        agent = self.agent(host)
        host.cut('a')
        agent.run(5)
        host.mend('a')
        self.assertTrue(agent.run(60, until=lambda: host.whole))
        added = [a for a in host.done if isinstance(a, model.AddSpare)]
        self.assertEqual([True], [a.former for a in added])

    def test_a_replacement_with_foreign_data_is_refused_and_replaced(
            self) -> None:
        host = world.Host()
        agent = self.agent(host)
        host.arriving = {'content': 'foreign: LVM2member'}
        host.cut('a')
        agent.run(200)
        self.assertIn('LVM#member', world.sentences(agent.said))
        self.assertEqual(0, host.count(model.AddSpare))

    def test_a_device_in_use_or_too_small_is_refused(self) -> None:
        changes: tuple[dict[str, Any], ...] = (
            {'holder': 'dm-3'}, {'size': world.MIB})
        for change in changes:
            host = world.Host()
            agent = self.agent(host)
            host.arriving = change
            host.cut('a')
            agent.run(200)
            self.assertEqual(0, host.count(model.Examine))
            self.assertIn('refused', agent.said[-1].sentence)

    def test_the_brake_and_the_budget_hold_requests_back(self) -> None:
        for around in (case_lib.Around(brake='many are lost'),
                       case_lib.Around(requests_left=0)):
            host = world.Host()
            agent = self.agent(host, around=around)
            host.cut('a')
            agent.run(300)
            self.assertEqual({}, host.requests)
            self.assertEqual(Phase.HELD, agent.said[-1].phase)

    def test_nothing_is_requested_while_all_that_is_good_is_called_missing(
            self) -> None:
        at = world.seen(
            world.leg('a', None, path=None, device=False, answers=False,
                      state=MISSING),
            world.leg('b', state=MISSING))
        memory = world.remembers(
            at, a={'lost_s': 0.0, 'unreachable_s': 0.0},
            b={'reported': model.ReplicaState.AVAILABLE,
               'report_next_s': at.now_s + 60})
        found = world.decide(at, memory)
        self.assertIsNone(found.action)
        self.assertEqual(Phase.HELD, found.phase)
        self.assertIn('until it knows better', found.sentence)

    def test_extra_replicas_do_not_pile_up(self) -> None:
        host = world.Host(copy_s=1e9)
        agent = self.agent(host)
        host.cut('a')
        for _ in range(20):
            agent.run(100)
            for disk in host.disks.values():
                if disk.name not in ('a', 'b'):
                    disk.reach = 'closed'
        self.assertLessEqual(len(host.disks), 4)
        self.assertIn('pile up', world.sentences(agent.said))

    def test_a_replacement_that_came_too_late_is_given_back(self) -> None:
        host = world.Host(arrival_s=30.0)
        agent = self.agent(host)
        host.cut('a')
        agent.run(200, until=lambda: bool(host.requests))
        host.mend('a')
        self.assertTrue(agent.run(300, until=lambda: host.removed == ['m']))
        self.assertEqual({'a', 'b'}, set(host.disks))

    def test_a_last_leg_that_is_sick_is_kept_and_said(self) -> None:
        at = world.seen(world.leg('a', 'in_sync,write_error'), raid_disks=1)
        found = world.decide(at)
        self.assertIsNone(found.action)
        self.assertIn('only whole copy', found.sentence)

    def test_a_terminating_leg_in_sync_is_kept(self) -> None:
        at = world.seen(world.leg('a'), world.leg(
            'b', state=model.ReplicaState.TERMINATING))
        found = world.decide(at)
        self.assertIsNone(found.action)
        self.assertIn('until a successor', found.sentence)

    def test_a_replica_taken_away_by_the_provisioner_is_not_asked_for(
            self) -> None:
        host = world.Host()
        agent = self.agent(host)
        host.disks['a'].state = model.ReplicaState.TERMINATING
        host.cut('a')
        agent.run(300)
        self.assertEqual({}, host.requests)

    def test_a_live_target_without_its_namespace_is_replaced(self) -> None:
        lost = world.leg('a', None, device=False)
        at = world.seen(world.leg('b'), lost)
        memory = world.decide(at).memory
        later = dataclasses.replace(at, now_s=at.now_s + 61)
        memory = world.remembers(later, memory, a={
            'reported': MISSING, 'report_next_s': 1e9})
        found = world.decide(later, memory)
        self.assertIsInstance(found.action, model.RequestReplacement)

    def test_a_failfast_flag_is_cleared(self) -> None:
        found = world.decide(world.seen(
            world.leg('a', 'in_sync,failfast'), world.leg('b')))
        self.assertIsInstance(found.action, model.ClearFailfast)

    def test_another_array_under_the_name_is_not_touched(self) -> None:
        at = world.seen(world.leg('a', 'faulty'), world.leg('b'))
        memory = model.Memory(array_uuid='another')
        found = world.decide(at, memory)
        self.assertIsNone(found.action)
        self.assertEqual(memory, found.memory)

    def test_a_broken_array_is_left_to_a_person(self) -> None:
        found = world.decide(world.seen(
            world.leg('a', 'faulty'), world.leg('b'), state='broken'))
        self.assertIsNone(found.action)
        self.assertEqual(Phase.BROKEN, found.phase)

    def test_a_member_that_nobody_names_stops_all_healing(self) -> None:
        stranger = model.Member(device='sdz', slot=1,
                                flags=frozenset(('in_sync',)))
        found = world.decide(world.seen(
            world.leg('b'), world.leg('c', None), extra=(stranger,),
            foreign=('sdz',)))
        self.assertIsNone(found.action)
        self.assertIn('sdz', found.sentence)

    def test_without_an_array_nothing_is_done(self) -> None:
        for attached in (None, model.Attachment(
                volume=world.KEY, alias='vol', owner_alive=False,
                state=model.AttachState.ATTACHED)):
            at = world.seen(world.leg('a', None), array=None,
                            attachment=attached)
            found = world.decide(at)
            self.assertEqual((None, Phase.GONE), (found.action, found.phase))

    def test_old_words_and_no_words_change_nothing(self) -> None:
        cases: tuple[dict[str, Any], ...] = (
            {'volume_age_s': 1e6}, {'volume': None}, {'volume_age_s': None})
        for changes in cases:
            at = world.seen(world.leg('a', None), world.leg('b'), **changes)
            self.assertIsNone(world.decide(at).action, str(changes))

    def test_sentences_cannot_steer_a_terminal(self) -> None:
        at = world.seen(world.leg('b'), volume=None,
                        provisioner_error='a\x1b[2J\nb')
        self.assertTrue(world.decide(at).sentence.isprintable())

    def test_a_degraded_array_of_which_nothing_is_known_is_said(
            self) -> None:
        gone = world.leg('a', None, path='connecting', device=False,
                         answers=None)
        memory = world.remembers(
            world.seen(gone, world.leg('b')),
            a={'reported': MISSING, 'report_next_s': 1e9})
        found = world.decide(world.seen(gone, world.leg('b')), memory)
        self.assertEqual(Phase.DEGRADED, found.phase)


class RestartedFlowTest(FlowTest):
    """The same, by an agent that is restarted between any two steps."""

    restart = True


class CrashTest(base.TestCase):
    def test_an_agent_killed_before_or_after_any_step_goes_on(self) -> None:
        for where in ('before', 'after'):
            for nth in range(14):
                with self.subTest(where=where, nth=nth):
                    self._one(where, nth)

    def _one(self, where: str, nth: int) -> None:
        host = world.Host()
        count = {'n': -1}

        def crash(at: str) -> bool:
            count['n'] += at == where
            return at == where and count['n'] == nth

        agent = world.Agent(host, crash=crash)
        agent.run(2.0)
        host.cut('a')
        self.assertTrue(
            agent.run(600, until=lambda: host.removed == ['a']),
            world.sentences(agent.said))
        self.assertEqual(1, len(host.requests))
        self.assertTrue(host.whole)

    def test_a_reboot_starts_the_grace_anew(self) -> None:
        host = world.Host()
        agent = world.Agent(host)
        agent.run(2.0)
        host.cut('a')
        agent.run(50)
        agent.reboot()
        agent.run(50)
        self.assertEqual({}, host.requests)
        self.assertTrue(agent.run(100, until=lambda: bool(host.requests)))

    def test_after_a_restart_a_leg_is_probed_before_it_is_replaced(
            self) -> None:
        away = world.leg('a', None, path=None, device=False, answers=None)
        at = world.seen(away, world.leg('b'))
        memory = world.remembers(at, a={
            'lost_s': 1.0, 'unreachable_s': 1.0, 'reported': MISSING,
            'report_next_s': 1e9})
        self.assertIsNone(world.decide(at, memory).action)
        silent = dataclasses.replace(
            at, answers=dict.fromkeys(away.replica.portals, False))
        self.assertIsInstance(world.decide(silent, memory).action,
                              model.RequestReplacement)


class SeveralPathsTest(base.TestCase):
    def test_a_silent_path_is_cut_while_another_one_answers(self) -> None:
        two = world.leg('a')
        two.replica = dataclasses.replace(two.replica, portals=(
            world.portal('x'), world.portal('y')))
        at = world.seen(two, world.leg('b'), stuck_s=10.0)
        quiet, well = at.paths[two.replica.id]
        quiet = dataclasses.replace(quiet, portal_answers=False,
                                    silent_for_s=5.0)
        for other, cut in ((well, (quiet,)),
                           (dataclasses.replace(quiet, controller='other'),
                            None)):
            action = world.decide(dataclasses.replace(at, paths={
                **at.paths, two.replica.id: (quiet, other)})).action
            assert isinstance(action, model.CutSilent)
            self.assertEqual(cut or (quiet, other), action.paths)

    def test_a_leg_with_a_live_path_is_not_lost(self) -> None:
        two = world.leg('a')
        two.replica = dataclasses.replace(two.replica, portals=(
            world.portal('x'), world.portal('y')))
        at = world.seen(two, world.leg('b'), stuck_s=10.0)
        name = prov.ReplicaId('a')
        one, other = at.paths[name]
        half = (dataclasses.replace(
            one, state=model.PathState.CONNECTING), other)
        found = world.decide(dataclasses.replace(
            at, paths={**at.paths, name: half}))
        self.assertIsNone(found.action)
