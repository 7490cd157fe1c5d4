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

from collections.abc import Callable
import os
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.replica import pulse
from os_brick_healer.testing import synthetic
from os_brick_healer.tests import base


def _open_files() -> int:
    return len(os.listdir('/proc/self/fd'))


class PulseTest(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.now_s = 100.0

    def new_host(self, *, volumes: int = 3, paths: int = 1,
                 backends: int | None = None, fds_max: int = 10000) -> None:
        self.host = synthetic.SyntheticHost(
            self.temp_dir(), volumes=volumes, paths=paths, backends=backends)
        self.pulse = pulse.Pulse(self.host.tree, fds_max=fds_max)
        self.addCleanup(self.pulse.close)
        self.keys = [v.id for v in self.host.volumes]
        for number in range(volumes):
            self.watch(number)
        self.assertEqual(set(self.keys), self.sample())
        self.assertEqual(set(), self.sample())

    def watch(self, number: int) -> None:
        controllers = [c for leg in (0, 1)
                       for c in self.host.leg(number, leg).controllers]
        self.pulse.watch(self.keys[number], controllers,
                         self.host.array_name(number))

    def sample(self, after_s: float = 1.0) -> set[provisioner.VolumeId]:
        self.now_s += after_s
        return set(self.pulse.sample(self.now_s))

    def named(self, *numbers: int) -> set[provisioner.VolumeId]:
        return {self.keys[n] for n in numbers}


class ChangeTest(PulseTest):

    def test_a_controller_that_changes_names_its_volume_once(self) -> None:
        self.new_host()
        for state in ('resetting', 'connecting', 'live'):
            self.host.lose(1, 0, state)
            self.assertEqual(self.named(1), self.sample())
            self.assertEqual(set(), self.sample())

    def test_a_shared_controller_names_all_its_volumes(self) -> None:
        self.new_host(volumes=5, backends=2)
        self.host.lose(1, 0)
        self.assertEqual(self.named(0, 1, 2, 3, 4), self.sample())
        self.pulse.forget(self.keys[2])
        self.host.lose(1, 0, 'live')
        self.assertEqual(self.named(0, 1, 3, 4), self.sample())

    def test_a_controller_that_goes_and_comes_names_its_volume(self) -> None:
        self.new_host()
        gone = self.host.leg(1, 0).controllers[0]
        self.host.delete_controller(gone)
        self.assertEqual(self.named(1), self.sample())
        self.assertEqual(set(), self.sample())
        self.host.connect(1, 0)
        self.watch(1)
        self.assertEqual(self.named(1), self.sample())
        self.assertEqual(set(), self.sample())

    def test_whatever_happens_to_an_array_names_its_volume(self) -> None:
        self.new_host()
        device = self.host.leg(2, 1).device or ''
        changes: tuple[Callable[[], None], ...] = (
            lambda: self.host.fail_member(2, device),
            lambda: self.host.remove_member(2, device),
            lambda: self.host.start_recovery(2, device),
            lambda: self.host.finish_recovery(2),
            lambda: self.host.set_array_state(2, 'broken'),
            lambda: self.host.set_array_state(2, 'clean'),
            lambda: self.host.stop_array(2))
        for change in changes:
            change()
            self.assertEqual(self.named(2), self.sample())
            self.assertEqual(set(), self.sample())

    def test_progress_and_the_pace_of_writes_are_no_news(self) -> None:
        self.new_host()
        device = self.host.leg(2, 1).device or ''
        self.host.remove_member(2, device)
        self.host.start_recovery(2, device)
        self.sample()
        for percent, state in ((10, 'active'), (20, 'write-pending'),
                               (30, 'active-idle'), (40, 'clean')):
            self.host.progress(2, percent)
            self.host.set_array_state(2, state)
            self.assertEqual(set(), self.sample())

    def test_watching_the_same_again_is_no_news(self) -> None:
        self.new_host()
        files = _open_files()
        for _ in range(3):
            self.watch(0)
            self.assertEqual(set(), self.sample())
        self.assertEqual(files, _open_files())

    def test_what_is_forgotten_is_never_named(self) -> None:
        self.new_host()
        self.pulse.forget(self.keys[0])
        self.pulse.forget(self.keys[0])
        self.host.lose(0, 0)
        self.host.fail_member(0, self.host.leg(0, 1).device or '')
        self.host.begin_io(0)
        for _ in range(5):
            self.assertEqual(set(), self.sample())

    def test_the_first_volume_misses_nothing_of_before(self) -> None:
        self.new_host(volumes=1)
        self.pulse.forget(self.keys[0])
        self.assertEqual(set(), self.sample())
        device = self.host.leg(0, 1).device or ''
        self.host.fail_member(0, device)
        self.assertEqual(set(), self.sample())
        self.watch(0)
        self.assertEqual(self.named(0), self.sample())
        self.host.remove_member(0, device)
        self.assertEqual(self.named(0), self.sample())
        self.assertEqual(set(), self.sample())

    def test_a_file_that_is_lost_to_md_is_found_without_news(self) -> None:
        self.new_host()
        (self.host.root / 'sys/block/md127/md/degraded').write_text('1\n')
        seen = [self.sample() for _ in range(10)]
        self.assertEqual(1, seen.count(self.named(0)))


class StallTest(PulseTest):

    def test_io_that_moves_is_no_stall(self) -> None:
        self.new_host()
        for _ in range(20):
            self.host.begin_io(0, 3)
            self.host.complete_io(0, 2)
            self.assertEqual(set(), self.sample())
            self.assertEqual(0.0, self.pulse.stuck_s(self.keys[0],
                                                     self.now_s))

    def test_a_stall_is_named_less_and_less_often(self) -> None:
        self.new_host()
        self.host.begin_io(0)
        at_s = []
        for _ in range(500):
            if self.sample(0.25):
                at_s.append(self.pulse.stuck_s(self.keys[0], self.now_s))
        self.assertEqual([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 62.0, 92.0, 122.0],
                         at_s)

    def test_the_end_of_a_stall_is_named_once(self) -> None:
        self.new_host()
        self.host.begin_io(0)
        for _ in range(3):
            self.sample()
        self.host.complete_io(0)
        self.assertEqual(self.named(0), self.sample())
        self.assertEqual(0.0, self.pulse.stuck_s(self.keys[0], self.now_s))
        self.assertEqual(set(), self.sample())

    def test_a_stall_is_never_said_to_be_longer_than_it_is(self) -> None:
        self.new_host()
        self.sample(60.0)
        self.host.begin_io(0)
        begun_s = self.now_s
        for _ in range(10):
            self.sample(0.3)
            self.assertLessEqual(
                self.pulse.stuck_s(self.keys[0], self.now_s),
                self.now_s - begun_s)

    def test_nothing_is_said_of_a_stall_that_nobody_samples(self) -> None:
        self.new_host()
        self.host.begin_io(0)
        for _ in range(3):
            self.sample()
        self.assertEqual(2.0, self.pulse.stuck_s(self.keys[0], self.now_s))
        self.assertEqual(0.0, self.pulse.stuck_s(self.keys[0],
                                                 self.now_s + 60))

    def test_an_array_that_goes_waits_for_nothing(self) -> None:
        self.new_host()
        self.host.begin_io(0)
        for _ in range(3):
            self.sample()
        self.host.stop_array(0)
        self.assertEqual(self.named(0), self.sample())
        self.assertEqual(0.0, self.pulse.stuck_s(self.keys[0], self.now_s))


class AgeTest(PulseTest):

    def test_the_age_of_a_state_begins_with_the_sample_that_sees_it(
            self) -> None:
        self.new_host()
        name = self.host.leg(0, 0).controllers[0]
        self.assertEqual(1.0, self.pulse.state_for_s(name, self.now_s))
        self.sample(5.0)
        self.assertEqual(6.0, self.pulse.state_for_s(name, self.now_s))
        self.host.lose(0, 0)
        self.sample(5.0)
        self.assertEqual(0.0, self.pulse.state_for_s(name, self.now_s))
        self.assertEqual(0.0, self.pulse.state_for_s('nvme99', self.now_s))

    def test_an_age_is_of_this_controller_in_this_state_only(self) -> None:
        self.new_host()
        name = self.host.leg(0, 0).controllers[0]
        birth = self.host.tree.birth(f'sys/class/nvme/{name}')
        assert birth is not None
        self.assertEqual(1.0, self.pulse.age_s(name, birth, 'live',
                                               self.now_s))
        self.assertEqual(0.0, self.pulse.age_s(name, birth, 'connecting',
                                               self.now_s))
        self.assertEqual(0.0, self.pulse.age_s(name, birth + 1, 'live',
                                               self.now_s))


class CostTest(PulseTest):

    def test_files_stay_within_the_bound_and_nothing_is_missed(self) -> None:
        before = _open_files()
        self.new_host(volumes=10, fds_max=7)
        self.assertLessEqual(_open_files() - before, 7)
        for number in range(10):
            self.host.lose(number, 1)
            self.assertEqual(self.named(number), self.sample())
        self.pulse.close()
        self.assertEqual(before, _open_files())

    def test_every_file_is_given_back(self) -> None:
        before = _open_files()
        self.new_host(volumes=10)
        self.host.delete_controller(self.host.leg(0, 0).controllers[0])
        self.sample()
        for key in self.keys:
            self.pulse.forget(key)
        self.assertEqual(before, _open_files())

    def test_many_volumes_are_read_in_turns_within_the_period(self) -> None:
        self.new_host(volumes=140)
        for _ in range(3):
            lost = random.randrange(140)
            self.host.lose(lost, 0)
            seen = [self.sample(0.25) for _ in range(8 * 4)]
            self.assertIn(self.named(lost), seen)
            # One that is in trouble is read every time.
            self.host.lose(lost, 0, 'live')
            self.assertEqual(self.named(lost), self.sample(0.01))

    def test_among_many_one_at_rest_is_read_soon_a_busy_one_at_once(
            self) -> None:
        self.new_host(volumes=140)
        self.host.lose(3, 0)
        named: set[provisioner.VolumeId] = set()
        for _ in range(8):
            named |= self.sample()
        self.assertEqual(self.named(3), named)
        for _ in range(3):
            self.host.complete_io(7)
            self.assertEqual(set(), self.sample())
        self.host.complete_io(7)
        self.host.lose(7, 0)
        self.assertEqual(self.named(7), self.sample())

    def test_among_many_a_stall_is_named_at_most_a_period_later(
            self) -> None:
        self.new_host(volumes=140)
        for _ in range(5):
            self.sample()
        for number in range(4):     # whoever's turn it is
            self.host.begin_io(number)
            # Skipped at most once, seen to wait, seen to have waited.
            seen = [self.sample() for _ in range(3)]
            self.assertLessEqual(self.named(number), set().union(*seen))

    def test_among_many_all_behind_a_lost_controller_are_in_trouble(
            self) -> None:
        self.new_host(volumes=140, backends=2)
        for _ in range(5):
            self.sample()
        for _ in range(5):      # their turns differ from now on
            self.sample(0.01)
        self.host.lose(3, 0)
        named: set[provisioner.VolumeId] = set()
        while not named:
            named = self.sample(0.01)
        self.assertEqual(set(self.keys), named)
        self.assertTrue(all(
            watch.hot for watch in self.pulse._watches.values()))


class AnythingTest(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.host = synthetic.SyntheticHost(self.temp_dir(), volumes=3)
        self.keys = [v.id for v in self.host.volumes]

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)),
                    max_size=30))
    def test_no_change_is_missed_and_no_file_is_lost(
            self, changes: list[tuple[int, int]]) -> None:
        before = _open_files()
        beat = pulse.Pulse(self.host.tree)
        for number, key in enumerate(self.keys):
            legs = [self.host.leg(number, leg) for leg in (0, 1)]
            beat.watch(key, [c for leg in legs for c in leg.controllers],
                       self.host.array_name(number))
        now_s = 1.0
        beat.sample(now_s)
        for volume, what in changes:
            now_s += 1.0
            leg, state = what % 2, ('live', 'connecting')[what // 2]
            name = self.host.leg(volume, leg).controllers[0]
            same = state == self.host.tree.read(
                f'sys/class/nvme/{name}/state')
            self.host.set_state(name, state)
            self.assertEqual(set() if same else {self.keys[volume]},
                             set(beat.sample(now_s)))
        beat.close()
        self.assertEqual(before, _open_files())
