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

"""What an action came to is remembered for what it was."""

import dataclasses
from typing import Any

from os_brick_healer.engine import limits, verdict
from os_brick_healer.replica import learn, model, recall
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A, B = model.ReplicaId('a'), model.ReplicaId('b')
NOW_S = 100.0
DONE = verdict.Outcome(changed=True)
FAILED = verdict.Outcome(changed=False, error='it is busy')
FINAL = dataclasses.replace(FAILED, transient=False)
KEY, LAW, UUID = world.KEY, '', world.UUID
PATHS = world.seen(world.leg('a')).paths[A]

REPORT = model.ReportState(volume=KEY, law=LAW, replica=A,
                           state=model.ReplicaState.MISSING)
PUBLISH = model.Publish(volume=KEY, law=LAW, replica=A)
CLEAR = model.ClearFailfast(volume=KEY, law=LAW, array='md1',
                            array_uuid=UUID, replica=A, device='nvme0n1')
CUT = model.CutSilent(volume=KEY, law=LAW, replica=A, paths=PATHS,
                      survivors=(B,), array='md1', array_uuid=UUID)
BREAK = model.BreakLeg(volume=KEY, law=LAW, replica=A, device='nvme0n1',
                       paths=PATHS, survivors=(B,), array='md1',
                       array_uuid=UUID)
DROP = model.DropFaulty(volume=KEY, law=LAW, array='md1', array_uuid=UUID,
                        replica=None, device='nvme0n1')
CONNECT = model.ConnectReplica(volume=KEY, law=LAW, replica=A, nqn='nqn.a',
                               portals=(world.portal('a'),))
EXAMINE = model.Examine(volume=KEY, law=LAW, replica=world.replica('a'),
                        device='nvme0n1', array_uuid=UUID)
READD = model.ReAdd(volume=KEY, law=LAW, array='md1', array_uuid=UUID,
                    replica=world.replica('a'), device='nvme0n1',
                    component_bytes=1)
ADD = model.AddSpare(volume=KEY, law=LAW, array='md1', array_uuid=UUID,
                     replica=world.replica('a'), device='nvme0n1',
                     component_bytes=1)
REQUEST = model.RequestReplacement(volume=KEY, law=LAW, replica=A,
                                   request_id='q', known=frozenset((A,)))
CONFIRM = model.ConfirmRemoval(volume=KEY, law=LAW, replica=A, array='md1',
                               array_uuid=UUID)
DISCONNECT = model.DisconnectPaths(volume=KEY, law=LAW, replica=A,
                                   paths=PATHS)
ASKED = model.Request(id='q', asked_s=1.0, tries=1, known=frozenset(),
                      state=model.RequestState.ASKED)


class LearnedTest(base.TestCase):

    def learn(self, action: model.Action, outcome: verdict.Outcome,
              **one: Any) -> model.ReplicaMemory:
        kept = model.Memory(replicas={A: model.ReplicaMemory(**one)})
        return learn.learn(kept, action, outcome, NOW_S,
                           world.POLICY).replicas[A]

    def test_what_was_reported_is_not_reported_again_soon(self) -> None:
        for outcome, wait_s in ((DONE, learn.REPORT_AGAIN_S),
                                (FAILED, learn.REPORT_RETRY_S)):
            one = self.learn(REPORT, outcome)
            self.assertEqual((model.ReplicaState.MISSING, NOW_S + wait_s),
                             (one.reported, one.report_next_s))
        self.assertEqual((60.0, 10.0), (learn.REPORT_AGAIN_S,
                                        learn.REPORT_RETRY_S))

    def test_a_cut_only_puts_off_another_cut(self) -> None:
        one = self.learn(CUT, DONE, flow_next_s=7.0, flow_tries=3)
        self.assertEqual((102.0, 7.0, 0), (
            one.cut_next_s, one.flow_next_s, one.flow_tries))
        one = self.learn(CUT, FAILED, flow_next_s=7.0)
        self.assertEqual((102.0, 7.0, 1, 'it is busy'), (
            one.cut_next_s, one.flow_next_s, one.flow_tries,
            one.last_error))

    def test_giving_up_a_leg_is_tried_again_soon_and_not_at_once(
            self) -> None:
        one = self.learn(BREAK, DONE, flow_tries=3)
        self.assertEqual((100.5, 0), (one.flow_next_s, one.flow_tries))
        waits = []
        for tries in range(6):
            one = self.learn(BREAK, FAILED, flow_tries=tries)
            self.assertEqual((tries + 1, 'it is busy'), (
                one.flow_tries, one.last_error))
            waits.append(one.flow_next_s - NOW_S)
        self.assertEqual([0.5, 1.0, 2.0, 4.0, 5.0, 5.0], waits)
        # Nothing else of it is put off.
        self.assertEqual((0, 0.0), (one.tries, one.next_try_s))

    def test_what_fails_is_tried_later_and_later(self) -> None:
        for action in (CONNECT, CLEAR, CONFIRM, DISCONNECT, EXAMINE,
                       PUBLISH):
            waits = []
            for tries in range(3):
                one = self.learn(action, FAILED, tries=tries)
                self.assertEqual((tries + 1, 'it is busy'), (
                    one.tries, one.last_error), f'{action}')
                waits.append(one.next_try_s - NOW_S)
            self.assertEqual([1.0, 2.0, 4.0], waits, f'{action}')
            one = self.learn(action, FINAL)
            self.assertEqual(NOW_S + limits.RETRY_LAST_S, one.next_try_s)

    def test_what_works_is_forgiven(self) -> None:
        for action in (CONNECT, CLEAR, READD, ADD, DISCONNECT):
            one = self.learn(action, DONE, tries=3, next_try_s=500.0,
                             last_error='it was busy')
            self.assertEqual((0, 0.0, None), (
                one.tries, one.next_try_s, one.last_error), f'{action}')
            self.assertIs(action is DISCONNECT, one.let_go)

    def test_half_an_addition_may_have_changed_what_it_carries(self) -> None:
        ours = model.Superblock.OURS
        for action, kept in ((READD, None), (ADD, None), (CONNECT, ours)):
            one = self.learn(action, FAILED, superblock=ours)
            self.assertIs(kept, one.superblock, f'{action}')

    def test_a_refused_re_add_is_a_full_copy_and_no_failure(self) -> None:
        refused = dataclasses.replace(FAILED, detail=learn.READD_REFUSED)
        one = self.learn(READD, refused)
        self.assertEqual((True, 0, 0.0, 'it is busy'), (
            one.readd_refused, one.tries, one.next_try_s, one.last_error))
        for action, outcome in ((ADD, refused), (READD, FAILED)):
            self.assertIs(False, self.learn(action, outcome).readd_refused)

    def test_a_request_is_accepted_or_is_made_again_later(self) -> None:
        one = self.learn(REQUEST, DONE, request=ASKED, tries=2)
        self.assertEqual(
            (dataclasses.replace(ASKED, asked_s=NOW_S,
                                 state=model.RequestState.ACCEPTED), 0),
            (one.request, one.tries))
        one = self.learn(REQUEST, FAILED, request=ASKED)
        self.assertEqual((dataclasses.replace(ASKED, failed=True), 1, NOW_S
                          + 2 * world.POLICY.provisioner_interval_s),
                         (one.request, one.tries, one.next_try_s))
        one = self.learn(REQUEST, FAILED, request=ASKED, tries=7)
        self.assertEqual(NOW_S + 128.0, one.next_try_s)

    def test_one_that_may_have_been_heard_has_not_clearly_failed(
            self) -> None:
        lost = dataclasses.replace(FAILED, detail=learn.UNCERTAIN)
        one = self.learn(REQUEST, lost, request=ASKED)
        self.assertEqual((ASKED, 1, 'it is busy'),
                         (one.request, one.tries, one.last_error))
        again = learn.intend(model.Memory(replicas={A: one}), REQUEST, NOW_S)
        found = again.replicas[A].request
        assert found is not None
        self.assertIs(False, found.failed)

    def test_an_answer_that_comes_after_its_replica_changes_nothing(
            self) -> None:
        arrived = dataclasses.replace(
            ASKED, state=model.RequestState.ARRIVED, arrived=B)
        one = self.learn(REQUEST, DONE, request=arrived, tries=2)
        self.assertEqual((arrived, 0), (one.request, one.tries))
        # Or after its leg has been in sync again for long.
        for outcome in (DONE, FAILED):
            self.assertIsNone(self.learn(REQUEST, outcome).request)

    def test_a_removal_is_heard_of_with_the_next_words(self) -> None:
        one = self.learn(CONFIRM, DONE, tries=2)
        self.assertEqual(
            (NOW_S + world.POLICY.provisioner_interval_s, 2),
            (one.next_try_s, one.tries))

    def test_what_a_device_carries_is_remembered(self) -> None:
        for detail, found in (('ours', model.Superblock.OURS),
                              ('blank', model.Superblock.BLANK)):
            outcome = dataclasses.replace(DONE, detail=detail)
            one = self.learn(EXAMINE, outcome, tries=2, next_try_s=5.0)
            self.assertEqual((found, 0.0, 2, None), (
                one.superblock, one.next_try_s, one.tries, one.last_error))
        outcome = dataclasses.replace(DONE, detail='foreign: ext4')
        one = self.learn(EXAMINE, outcome)
        self.assertEqual(
            (model.Superblock.FOREIGN, NOW_S + limits.RETRY_LAST_S, 1,
             'it carries ext4'),
            (one.superblock, one.next_try_s, one.tries, one.last_error))
        outcome = dataclasses.replace(DONE, detail='green')
        one = self.learn(EXAMINE, outcome)
        self.assertEqual(
            (None, NOW_S + limits.RETRY_LAST_S,
             "it was looked at and the answer was 'green'"),
            (one.superblock, one.next_try_s, one.last_error))

    def test_what_concerns_no_known_replica_paces_the_volume(self) -> None:
        kept = model.Memory(tries=2, next_try_s=500.0)
        after = learn.learn(kept, DROP, DONE, NOW_S, world.POLICY)
        self.assertEqual((0, 0.0), (after.tries, after.next_try_s))
        after = learn.learn(kept, DROP, FAILED, NOW_S, world.POLICY)
        self.assertEqual((3, NOW_S + 4.0), (after.tries, after.next_try_s))
        self.assertIs(kept, learn.learn(kept, CONNECT, DONE, NOW_S,
                                        world.POLICY))

    def test_only_a_request_is_remembered_before_it_begins(self) -> None:
        kept = model.Memory(replicas={A: model.ReplicaMemory()})
        self.assertIs(kept, learn.intend(kept, CONNECT, NOW_S))
        once = learn.intend(kept, REQUEST, NOW_S)
        request = model.Request(
            id='q', asked_s=NOW_S, tries=1, known=frozenset((A,)),
            state=model.RequestState.ASKED)
        self.assertEqual(request, once.replicas[A].request)
        again = learn.intend(once, REQUEST, NOW_S + 1.0)
        self.assertEqual(
            dataclasses.replace(request, asked_s=NOW_S + 1.0, tries=2),
            again.replicas[A].request)

    def test_what_was_asked_for_before_may_come_all_the_same(self) -> None:
        kept = model.Memory(replicas={A: model.ReplicaMemory()})
        asked: list[model.Request] = []
        for n in range(recall.LATE_MAX + 2):
            kept = learn.intend(kept, dataclasses.replace(
                REQUEST, request_id=f'q{n}'), NOW_S + n)
            one = kept.replicas[A]
            self.assertEqual(tuple(asked[-recall.LATE_MAX:]), one.late)
            assert one.request is not None
            self.assertEqual((f'q{n}', 1), (one.request.id,
                                            one.request.tries))
            asked.append(one.request)

    def test_whose_an_action_is(self) -> None:
        for action in (REPORT, CUT, EXAMINE, ADD):
            self.assertEqual(A, learn.replica_of(action))
        self.assertIsNone(learn.replica_of(DROP))


class SentenceTest(base.TestCase):

    def test_each_action_says_what_it_does(self) -> None:
        at = world.portal('a')
        for action, sentence in (
                (REPORT, 'report replica a as missing'),
                (PUBLISH, 'publish replica a to this host'),
                (CLEAR, 'clear the failfast flag of leg nvme0n1 in md1'),
                (CUT, f'cut the connection to {at}: it is silent'),
                (BREAK, 'give up leg nvme0n1 of md1 (delete nvme-ctl-a0) so '
                        'that I/O goes on'),
                (DROP, 'remove the faulty leg nvme0n1 from md1'),
                (CONNECT, f'connect replica a at {at}'),
                (EXAMINE, 'look at what nvme0n1 carries'),
                (READD, 're-add leg nvme0n1 to md1 by its bitmap'),
                (ADD, 'add new leg nvme0n1 to md1 for a full copy'),
                (REQUEST, 'ask for a replacement of replica a'),
                (CONFIRM, 'confirm the removal of replica a'),
                (DISCONNECT, 'disconnect nvme-ctl-a0 of replica a')):
            self.assertEqual(sentence, action.sentence())

    def test_each_action_has_its_risk_and_its_lane(self) -> None:
        risk, lane = verdict.Risk, model.Lane
        for action, its_risk, its_lane in (
                (REPORT, risk.TELL, lane.NETWORK),
                (PUBLISH, risk.TELL, lane.NETWORK),
                (CLEAR, risk.TUNE, lane.KERNEL),
                (CUT, risk.BREAK, lane.FLOW),
                (BREAK, risk.BREAK, lane.FLOW),
                (DROP, risk.ADD, lane.KERNEL),
                (CONNECT, risk.CONNECT, lane.KERNEL),
                (EXAMINE, risk.CONNECT, lane.KERNEL),
                (READD, risk.ADD, lane.KERNEL),
                (ADD, risk.ADD, lane.KERNEL),
                (REQUEST, risk.REPLACE, lane.NETWORK),
                (CONFIRM, risk.REMOVE, lane.NETWORK),
                (DISCONNECT, risk.REMOVE, lane.KERNEL)):
            self.assertEqual((its_risk, its_lane),
                             (action.risk, action.lane), f'{action}')
        # Of two possible ones the lower wins: their order is a law.
        self.assertEqual(
            [risk.NOTHING, risk.TELL, risk.TUNE, risk.CONNECT, risk.ADD,
             risk.BREAK, risk.REPLACE, risk.REMOVE], sorted(risk))
        self.assertEqual(list(range(8)), [int(r) for r in risk])


class FactsTest(base.TestCase):

    def test_a_member_is_in_sync_until_md_fails_it(self) -> None:
        for words, in_sync in (('in_sync', True), ('in_sync,blocked', True),
                               ('in_sync,faulty', False), ('spare', False),
                               ('faulty', False)):
            member = model.Member(device='nvme0n1', slot=0,
                                  flags=frozenset(words.split(',')))
            self.assertIs(in_sync, member.in_sync, words)

    def test_a_copy_is_as_far_as_it_is_known(self) -> None:
        for done, total, speed, percent, eta_s in (
                (250, 1000, 25, 25.0, 15.0), (0, 1000, 25, 0.0, 20.0),
                (1000, 1000, 25, 100.0, 0.0), (250, 1000, None, 25.0, None),
                (250, 1000, 0, 25.0, None), (None, 1000, 25, None, None),
                (250, None, 25, None, None), (0, 0, 25, None, None)):
            sync = model.Sync(action='recover', done_sectors=done,
                              total_sectors=total, speed_kib_s=speed)
            self.assertEqual((percent, eta_s), (sync.percent, sync.eta_s))

    def test_what_is_not_said_is_at_rest(self) -> None:
        array = model.Array(
            name='md1', uuid=UUID, level='raid1', state='active',
            raid_disks=2, degraded=0, component_bytes=1, size_bytes=1,
            members=(), sync=None)
        self.assertEqual((0.0, False), (array.stuck_s, array.frozen))
        self.assertIs(False, ADD.former)
