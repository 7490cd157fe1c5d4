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
"""Seeing, sampling and locking."""

import contextlib
import os
import shutil

from os_brick_healer import exception
from os_brick_healer.mapping import locks, model, observe
from os_brick_healer.mapping import pulse as pulse_lib
from os_brick_healer.nbd import parse
from os_brick_healer.privileged import handing
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import ground as ground_lib
from os_brick_healer.tests.unit.mapping import world

STRANGER = 54321


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ObserverTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ground = ground_lib.Ground(self.temp_dir())
        self.clock = Clock()
        self.observer = observe.Observer(
            self.ground.tree, self.clock, {'nbd': self.ground.mounter}.get,
            lambda: frozenset(('nbdkit',)))

    def look(self, known: model.Process | None = None,
             fresh: bool = True) -> observe.Look:
        return self.observer.look(self.ground.mapping, known, fresh=fresh)

    def test_a_device_is_what_sysfs_shows(self) -> None:
        self.ground.connected(completed=5, in_flight=2)
        self.assertEqual(
            world.device(requests=parse.Requests(completed=5, in_flight=2)),
            self.look().device)

    def test_a_device_that_is_not_connected_is_said_to_be(self) -> None:
        self.ground.connected()
        os.unlink(self.ground.root / 'sys/block/nbd3/pid')
        found = self.look().device
        assert found is not None
        self.assertFalse(found.connected)

    def test_no_device_is_none(self) -> None:
        self.assertIsNone(self.look().device)

    def test_the_server_is_found_among_others(self) -> None:
        self.ground.process(10, 'nbdkit', '--unix', '/run/other.sock')
        self.ground.process(11, 'vi', str(self.ground.socket))
        self.assertIsNone(self.look().server)
        self.ground.process(12)
        found = self.look().server
        assert found is not None
        self.assertEqual(12, found.pid)

    def test_what_anybody_starts_is_no_server(self) -> None:
        """A command line is what the one who starts a process writes."""
        self.ground.process(11, uid=STRANGER)
        self.assertIsNone(self.look().server)
        # Of mode setuid: root's program, and somebody else's words.
        self.ground.write('proc/11/status', f'Uid:\t{STRANGER}\t0\t0\t0\n')
        self.assertIsNone(self.look().server)
        self.ground.process(12)
        found = self.look().server
        assert found is not None
        self.assertEqual(12, found.pid)

    def test_a_server_may_be_of_who_attaches_volumes_here(self) -> None:
        if os.geteuid() != 0:
            self.skipTest('only root gives a directory away')
        os.chown(self.ground.socket.parent, STRANGER, STRANGER)
        self.ground.process(11, uid=STRANGER)
        self.assertIsNotNone(self.look().server)
        self.ground.process(11, uid=STRANGER + 1)
        self.assertIsNone(self.look().server)

    def test_one_that_is_known_is_not_looked_for(self) -> None:
        self.ground.process(12)
        known = model.Process(pid=12, start='84')
        found = self.look(known, fresh=False).server
        assert found is not None
        self.ground.ended(12)
        self.assertIsNone(self.look(known, fresh=False).server)

    def test_a_number_given_to_another_program_is_nobody(self) -> None:
        self.ground.process(12, 'vi', 'letter.txt')
        self.assertIsNone(
            self.look(model.Process(pid=12, start='84')).server)

    def test_a_zombie_serves_nobody(self) -> None:
        self.ground.process(12, state='Z')
        self.assertIsNone(self.look().server)

    def test_threads_that_outlive_the_first_one_are_the_server(self) -> None:
        self.ground.process(12)
        known = model.Process(pid=12, start='84')
        self.ground.process(12, state='Z')
        self.ground.write('proc/12/cmdline', '')
        for thread in ('12', '13'):
            self.ground.write(f'proc/12/task/{thread}/stat', '')
        found = self.look(known).server
        assert found is not None
        self.assertTrue(found.dying)
        shutil.rmtree(self.ground.root / 'proc/12/task/13')
        self.assertIsNone(self.look(known).server)

    def test_it_is_leaving_when_each_of_its_threads_is(self) -> None:
        self.ground.process(12)
        known = model.Process(pid=12, start='84')
        self.ground.process(12, state='Z')
        self.ground.write('proc/12/cmdline', '')
        for thread, flags, expected in (
                (12, '4', None), (13, '64', False), (13, '68', True),
                (14, '', False)):
            rest = ' '.join([*['0'] * 5, flags, *['0'] * 12])
            self.ground.write(f'proc/12/task/{thread}/stat',
                              flags and f'{thread} (x y) D {rest} 84 0')
            found = self.look(known).server
            self.assertIs(expected, found and found.leaving, str(thread))

    def test_one_that_is_about_to_be_a_zombie_is_the_server(self) -> None:
        """Its memory has gone, and its command line with that."""
        self.ground.process(12, state='R')
        self.ground.write('proc/12/cmdline', '')
        found = self.look(model.Process(pid=12, start='84')).server
        assert found is not None
        self.assertTrue(found.dying)
        self.assertIsNone(self.look().server)

    def test_many_deaths_share_one_list_and_hands_take_a_new_one(
            self) -> None:
        self.assertIsNone(self.look().server)
        self.ground.process(12)
        self.assertIsNone(self.look(fresh=False).server)
        self.assertIsNotNone(self.look(fresh=True).server)
        self.ground.process(13, 'nbdkit', '--unix', '/x')
        self.clock.now_s += 1.0
        self.assertIsNotNone(self.look(fresh=False).server)


class MotionTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.motion = observe.Motion(self.clock)

    def sample(self, after_s: float, completed: int, in_flight: int,
               device: str = 'nbd3') -> float:
        self.clock.now_s += after_s
        return self.clock.now_s - self.motion.sample(
            'k', device, parse.Requests(completed=completed,
                                        in_flight=in_flight))

    def test_requests_that_do_not_end_stand_still(self) -> None:
        self.assertEqual(0.0, self.sample(0, 5, 1))
        self.assertEqual(2.0, self.sample(2, 5, 1))
        self.assertEqual(5.0, self.sample(3, 5, 4))
        self.assertEqual(0.0, self.sample(1, 6, 4))

    def test_an_idle_device_never_stands_still(self) -> None:
        self.sample(0, 5, 0)
        self.assertEqual(0.0, self.sample(600, 5, 0))
        self.assertEqual(0.0, self.sample(600, 5, 1))
        self.assertEqual(1.0, self.sample(1, 5, 1))

    def test_another_device_begins_anew(self) -> None:
        self.sample(0, 5, 1)
        self.assertEqual(0.0, self.sample(9, 5, 1, 'nbd4'))


class PulseTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ground = ground_lib.Ground(self.temp_dir())
        self.ground.connected(completed=5, in_flight=1)
        self.clock = Clock()
        self.pulse = pulse_lib.Pulse(self.ground.tree, self.clock,
                                     observe.Motion(self.clock))
        self.addCleanup(self.pulse.close)
        self.pulse.watch('k', 'nbd3')
        self.silent: list[str] = []
        self.ticks = 0
        self.due_s = self.clock.now_s

    def run_for(self, seconds: float) -> set[str]:
        found: set[str] = set()
        end_s = self.clock.now_s + seconds
        while self.due_s <= end_s:
            self.clock.now_s = self.due_s
            stuck, silent = self.pulse.sample(2.0)
            self.due_s += self.pulse.interval_s()
            self.ticks += 1
            found |= set(stuck)
            self.silent += silent
        self.clock.now_s = end_s
        return found

    def test_requests_that_stand_still_are_noticed_in_bounded_time(
            self) -> None:
        period_s = pulse_lib.TURNS * pulse_lib.TICK_S
        self.assertEqual({'k'}, self.run_for(period_s + 2.5))

    def test_requests_that_end_are_not(self) -> None:
        for number in range(40):
            self.ground.requests('nbd3', number, 3)
            self.assertEqual(set(), self.run_for(1.0))

    def test_an_idle_device_is_not(self) -> None:
        self.ground.requests('nbd3', 5, 0)
        self.assertEqual(set(), self.run_for(60.0))
        self.assertEqual([], self.silent)

    def test_while_all_are_idle_the_process_wakes_seldom(self) -> None:
        self.ground.requests('nbd3', 5, 0)
        self.run_for(10.0)
        self.ticks = 0
        self.run_for(60.0)
        self.assertEqual(30, self.ticks)

    def test_one_that_is_not_has_it_wake_twice_a_second(self) -> None:
        self.run_for(10.0)
        self.ticks = 0
        self.run_for(60.0)
        self.assertEqual(120, self.ticks)

    def test_all_come_in_turn_beside_one_that_is_busy(self) -> None:
        for number in range(32):
            self.ground.connected(f'nbd{10 + number}', completed=1)
            self.pulse.watch(f'j{number}', f'nbd{10 + number}')
        self.run_for(60.0)
        for number in range(32):
            self.ground.requests(f'nbd{10 + number}', 1, 1)
        self.assertEqual({'k', *(f'j{n}' for n in range(32))},
                         self.run_for(6.5))

    def test_a_busy_device_that_falls_silent_is_told_once(self) -> None:
        for burst in range(1, 4):
            for number in range(20):
                self.ground.requests('nbd3', 100 * burst + number, 0)
                self.run_for(0.5)
            self.run_for(8.0)
            self.assertEqual(['k'] * burst, self.silent)
            self.run_for(60.0)
            self.assertEqual(['k'] * burst, self.silent)

    def test_an_idle_device_is_read_and_not_taken_apart(self) -> None:
        class Motion(observe.Motion):
            samples = 0

            def sample(self, key: str, device: str,
                       requests: parse.Requests) -> float:
                self.samples += 1
                return super().sample(key, device, requests)

        motion = Motion(self.clock)
        self.pulse = pulse_lib.Pulse(self.ground.tree, self.clock, motion)
        self.addCleanup(self.pulse.close)
        self.ground.requests('nbd3', 5, 0)
        self.pulse.watch('k', 'nbd3')
        self.run_for(60.0)
        self.assertEqual(1, motion.samples)
        self.ground.requests('nbd3', 6, 0)
        self.run_for(60.0)
        self.assertEqual(['k'], self.silent)
        self.ground.requests('nbd3', 6, 1)
        self.assertEqual({'k'}, self.run_for(6.5))

    def test_what_is_forgotten_is_closed(self) -> None:
        before = len(os.listdir('/proc/self/fd'))
        self.pulse.forget('k')
        self.assertEqual(before - 1, len(os.listdir('/proc/self/fd')))
        self.assertEqual(set(), self.run_for(10.0))

    def test_a_device_that_is_not_there_is_not_sampled(self) -> None:
        self.pulse.watch('k', 'nbd9')
        self.pulse.watch('j', None)
        self.assertEqual(set(), self.run_for(10.0))


def _offer(fd: int) -> contextlib.AbstractContextManager[str]:
    return handing.offer(fd, 5.0)


class LocksTest(base.TestCase):
    def test_one_at_a_time_and_each_volume_for_itself(self) -> None:
        one = locks.VolumeLocks(str(self.temp_dir()))
        with one.hold('a', 0.0), one.hold('b', 0.0):
            self.assertRaises(locks.Busy, one.hold('a', 0.05).__enter__)
        with one.hold('a', 0.0):
            pass

    def test_what_root_was_lent_is_held_until_it_is_done(self) -> None:
        """Who asks may be killed, or give up, in the middle of its call."""
        run_path = str(self.temp_dir())
        one, other = (locks.VolumeLocks(run_path) for _ in range(2))
        with contextlib.ExitStack() as root:
            with one.hold('a', 0.0), one.lend('a', _offer) as place:
                root.enter_context(handing.keep(
                    place, frozenset((os.geteuid(),)), 5.0))
            self.assertRaises(locks.Busy, other.hold('a', 0.05).__enter__)
            with other.hold('b', 0.0):
                pass
        with other.hold('a', 0.0):
            pass

    def test_root_begins_nothing_for_who_is_gone(self) -> None:
        one = locks.VolumeLocks(str(self.temp_dir()))
        with one.hold('a', 0.0), one.lend('a', _offer) as place:
            pass
        keep = handing.keep(place, frozenset((os.geteuid(),)), 1.0)
        self.assertRaises(exception.NotOurs, keep.__enter__)

    def test_what_root_has_locked_is_left_to_the_agents_user(self) -> None:
        if os.geteuid() != 0:
            self.skipTest('only root can give a file away')
        run_path = self.temp_dir()
        os.chown(run_path, 65533, 65533)
        with locks.VolumeLocks(str(run_path)).hold('a', 0.0):
            pass
        for name in ('mappings', 'mappings/a.lock'):
            self.assertEqual(65533, (run_path / name).stat().st_uid)

    def test_a_link_in_the_place_of_a_lock_is_not_followed(self) -> None:
        run_path, victim = self.temp_dir(), self.temp_dir() / 'made'
        (run_path / 'mappings').mkdir()
        (run_path / 'mappings/a.lock').symlink_to(victim)
        error = self.assertRaises(
            exception.HealerError,
            locks.VolumeLocks(str(run_path)).hold('a', 0.0).__enter__)
        self.assertIn('cannot lock', str(error))
        self.assertFalse(victim.exists())

    def test_a_socket_has_a_short_path(self) -> None:
        self.assertTrue(locks.socket_path('/run/x', world.KEY).endswith(
            f'/{world.KEY}.sock'))
        self.assertRaises(exception.ConfigError, locks.socket_path,
                          '/run/' + 'x' * 90, world.KEY)
