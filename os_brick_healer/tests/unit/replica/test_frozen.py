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
"""An array that somebody has frozen: said, and left to whoever did it."""

import dataclasses
from typing import Any

from os_brick_healer.engine import verdict
from os_brick_healer.replica import decide, model, observe
from os_brick_healer.testing import synthetic
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world


class FrozenTest(base.TestCase):

    def say(self, *legs: world.Leg, for_s: float | None = None,
            **changes: Any) -> model.Verdict:
        seen = world.seen(*legs, **changes)
        assert seen.array is not None
        seen = dataclasses.replace(seen, array=dataclasses.replace(
            seen.array, frozen=True))
        return world.decide(seen, dataclasses.replace(
            world.remembers(seen), frozen_s=None if for_s is None
            else seen.now_s - for_s))

    def test_it_is_held_and_the_way_out_is_told(self) -> None:
        said = self.say(world.leg('a'), world.leg('b', None),
                        for_s=decide.FROZEN_S)
        self.assertEqual((verdict.Phase.HELD, None), (said.phase,
                                                      said.action))
        self.assertIn('writes idle to /sys/block/md127/md/sync_action',
                      said.sentence)

    def test_for_a_moment_that_is_mdadm_at_work(self) -> None:
        self.assertEqual(10.0, decide.FROZEN_S)
        for for_s in (None, 0.0, decide.FROZEN_S - 0.1):
            said = self.say(world.leg('a'), world.leg('b', None),
                            for_s=for_s)
            self.assertEqual(
                (verdict.Phase.HEALING, None, decide.LAW_OURS, 1.0),
                (said.phase, said.action, said.law, said.look_again_s))
            self.assertIn('frozen for a moment', said.sentence)

    def test_since_when_is_remembered_until_it_is_over(self) -> None:
        seen = world.seen(world.leg('a'), world.leg('b'))
        assert seen.array is not None
        frozen = dataclasses.replace(seen, array=dataclasses.replace(
            seen.array, frozen=True))
        # Without the provisioner's words, too.
        for now in (frozen, dataclasses.replace(frozen, volume=None)):
            after = world.decide(now).memory
            self.assertEqual(frozen.now_s, after.frozen_s)
            later = dataclasses.replace(now, now_s=now.now_s + 5.0)
            self.assertEqual(frozen.now_s,
                             world.decide(later, after).memory.frozen_s)
            for over in (seen, dataclasses.replace(seen, array=None)):
                self.assertIsNone(world.decide(over, after).memory.frozen_s)

    def test_a_dead_leg_is_given_up_all_the_same(self) -> None:
        said = self.say(
            world.leg('a'), world.leg('b', path='connecting', for_s=1.0,
                                      answers=False), stuck_s=1.0)
        self.assertIsInstance(said.action, model.BreakLeg)

    def test_it_is_seen_in_the_kernel_s_word(self) -> None:
        root = self.temp_dir()
        host = synthetic.SyntheticHost(root, volumes=1)
        volume = host.volume(0)
        observer = observe.Observer(host.tree, lambda: 1.0)
        action = root / f'sys/block/{host.array_name(0)}/md/sync_action'
        for word, frozen in (('idle\n', False), ('frozen\n', True)):
            action.write_text(word)
            array = observer.look(volume.id, volume, None, {}).array
            assert array is not None
            self.assertEqual((frozen, None), (array.frozen, array.sync))
