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
"""A replacement that is reported as missing before it ever was a leg."""

from typing import Any

from os_brick_healer.engine import verdict
from os_brick_healer.replica import model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

State = model.ReplicaState
REQUEST = model.Request(id='q', asked_s=900.0, tries=1,
                        state=model.RequestState.ASKED,
                        known=frozenset((model.ReplicaId('n'),)))


class GivenUpEarlyTest(base.TestCase):

    def say(self, state: State, **memory: Any) -> model.Verdict:
        """A blank replica is here, the slot is free, the old leg is away."""
        legs = world.leg('a'), world.leg('old', None, path=None, device=False,
                                         state=State.MISSING, answers=False)
        new = world.leg('n', None, state=state)
        known = world.remembers(world.seen(*legs))
        seen = world.seen(*legs, new)
        return world.decide(seen, world.remembers(seen, known, n={
            'superblock': model.Superblock.BLANK, 'published': True,
            **memory}))

    def test_the_provisioner_is_told_that_it_is_here_after_all(self) -> None:
        for ours in ({'request': REQUEST}, {'reported': State.MISSING}):
            said = self.say(State.MISSING, **ours)
            self.assertIsInstance(said.action, model.ReportState, str(ours))
            self.assertEqual(('n', State.SYNCHRONIZING), (
                getattr(said.action, 'replica', None),
                getattr(said.action, 'state', None)))

    def test_once_it_says_so_the_replica_is_added(self) -> None:
        said = self.say(State.SYNCHRONIZING, request=REQUEST,
                        reported=State.SYNCHRONIZING)
        self.assertIsInstance(said.action, model.AddSpare)

    def test_it_is_told_once_and_again_only_after_a_while(self) -> None:
        told = {'request': REQUEST, 'reported': State.SYNCHRONIZING}
        held = self.say(State.MISSING, **told, report_next_s=1005.0)
        self.assertEqual((None, verdict.Phase.HELD), (held.action,
                                                      held.phase))
        self.assertIn('the provisioner calls it missing', held.sentence)
        again = self.say(State.MISSING, **told, report_next_s=1000.0)
        self.assertIsInstance(again.action, model.ReportState)

    def test_what_we_never_gave_up_is_for_the_provisioner_to_mend(
            self) -> None:
        said = self.say(State.MISSING)
        self.assertEqual((None, verdict.Phase.HELD), (said.action,
                                                      said.phase))

    def test_a_leg_of_old_needs_no_such_word(self) -> None:
        seen = world.seen(world.leg('a'), world.leg(
            'b', None, state=State.MISSING))
        known = world.remembers(world.seen(world.leg('a'), world.leg('b')))
        said = world.decide(seen, world.remembers(seen, known, b={
            'superblock': model.Superblock.BLANK}))
        self.assertIsInstance(said.action, model.AddSpare)


class FlowTest(base.TestCase):

    def test_a_late_replacement_heals_where_there_is_no_other(self) -> None:
        host = world.Host()
        agent = world.Agent(host)
        agent.run(2.0)
        host.arriving = {'reach': 'closed'}
        host.cut('a')
        agent.run(200, until=lambda: 'm' in host.disks)
        # As KumoScale: marked for the request, and then there is no room.
        host.failing[model.RequestReplacement] = verdict.Outcome(
            changed=False, error='no back end has room')
        agent.run(200, until=lambda: len(
            [a for a in host.done if isinstance(a, model.RequestReplacement)
             and a.replica == 'm']) > 0)
        host.disks['m'].state = State.MISSING
        host.mend('m')
        self.assertTrue(agent.run(600, until=lambda: host.whole),
                        world.sentences(agent.said))
        self.assertIn(('m', State.SYNCHRONIZING), host.reports)
