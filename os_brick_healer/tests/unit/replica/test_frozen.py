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
from os_brick_healer.replica import model, observe
from os_brick_healer.testing import synthetic
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world


class FrozenTest(base.TestCase):

    def say(self, *legs: world.Leg, **changes: Any) -> model.Verdict:
        seen = world.seen(*legs, **changes)
        assert seen.array is not None
        seen = dataclasses.replace(seen, array=dataclasses.replace(
            seen.array, frozen=True))
        return world.decide(seen, world.remembers(seen))

    def test_it_is_held_and_the_way_out_is_told(self) -> None:
        said = self.say(world.leg('a'), world.leg('b', None))
        self.assertEqual((verdict.Phase.HELD, None), (said.phase,
                                                      said.action))
        self.assertIn('writes idle to /sys/block/md127/md/sync_action',
                      said.sentence)

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
