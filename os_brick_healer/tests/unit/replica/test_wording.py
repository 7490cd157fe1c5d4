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
"""What is said of a replica that was never a leg, and of a request."""

import dataclasses

from os_brick_healer.engine import verdict
from os_brick_healer.replica import asking, heal, model
from os_brick_healer.replica import case as case_lib
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A, B = (model.ReplicaId(n) for n in 'ab')
NOW_S = 1000.0


class WordingTest(base.TestCase):
    def case(self, *, belongs: bool, answers: bool = False,
             request: model.Request | None = None) -> case_lib.Case:
        """b is out of the array, and out of reach for ten seconds."""
        b = model.ReplicaMemory(
            belongs=belongs, published=True, lost_s=NOW_S - 10.0,
            unreachable_s=None if answers else NOW_S - 10.0)
        if request is not None:
            b = dataclasses.replace(b, request=request, unreachable_s=1.0)
        return case_lib.Case(
            seen=world.seen(
                world.leg('a'),
                world.leg('b', None, path=None, answers=answers,
                          device=False), now_s=NOW_S),
            policy=world.POLICY, around=case_lib.Around(),
            memory=model.Memory(replicas={
                A: model.ReplicaMemory(belongs=True, in_sync_s=1.0), B: b}))

    def said(self, found: model.Verdict | None) -> str:
        assert found is not None
        return found.sentence

    def test_what_never_was_a_leg_is_not_lost(self) -> None:
        for belongs, words in ((True, 'replica b is lost; '),
                               (False, 'replica b is new and has not come '
                                       'yet; ')):
            self.assertEqual(
                f'{words}a replacement is requested in 50 s if that lasts',
                self.said(asking.request(self.case(belongs=belongs))))

    def test_what_never_was_a_leg_does_not_answer_again(self) -> None:
        for belongs, words in ((True, 'replica b answers again: connect it'),
                               (False, 'replica b is new and answers: '
                                       'connect it')):
            self.assertEqual(words, self.said(heal.bring_in(
                self.case(belongs=belongs, answers=True))))

    def test_a_request_that_is_under_way_raises_no_alarm(self) -> None:
        found = asking.request(self.case(belongs=True, request=model.Request(
            id='q', asked_s=NOW_S, tries=0,
            state=model.RequestState.ASKED, known=frozenset((A, B)))))
        assert found is not None
        self.assertIs(verdict.Phase.HEALING, found.phase)
        self.assertEqual(
            'a replacement of replica b has been requested: its answer, or '
            'the new replica, is awaited before it is asked for again',
            found.sentence)
