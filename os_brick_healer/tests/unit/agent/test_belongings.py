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
"""Laws of the agent's files: nobody heals beside it, and it sees them go."""

import contextlib
import gc
import os
import shutil
import socket
import subprocess

from os_brick_healer.agent import lock, notify, service
from os_brick_healer.conf import opts
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.agent import fakes, test_service

JOURNAL = 'journal.sqlite'


class BelongingsTestCase(test_service.ServiceTestCase):
    def serve(self, what: str = '',
              **environ: str) -> subprocess.Popen[str]:
        child = self.start(what, **environ)
        self.await_agent(child.pid)
        return child

    def leave(self, child: subprocess.Popen[str]) -> str:
        """It was well to the end. :returns: what it said."""
        child.terminate()
        code, said = self.end(child)
        self.assertEqual(service.EXIT_CLEAN, code)
        return said


class SecondAgentTest(BelongingsTestCase):
    def test_two_run_paths_do_not_make_two_agents_of_one_journal(
            self) -> None:
        first = self.serve()
        self.configure(run_path=self.temp_dir())
        code, said = self.end(self.start())
        self.assertEqual(service.EXIT_SECOND, code)
        self.assertIn(f'process {first.pid} (process) holds '
                      f'{self.state / lock.NAME}', said)

    def test_a_run_path_that_was_moved_lets_nobody_in(self) -> None:
        first = self.serve()
        elsewhere = self.temp_dir() / 'moved'
        self.run_path.rename(elsewhere)
        self.addCleanup(shutil.rmtree, elsewhere)
        code, said = self.end(self.start())
        self.assertEqual(service.EXIT_SECOND, code)
        self.assertIn(f'process {first.pid}', said)
        self.await_agent(first.pid)

    def test_a_refused_one_leaves_its_own_run_path_free(self) -> None:
        self.serve()
        other = self.temp_dir()
        self.configure(run_path=other)
        self.end(self.start())
        self.assertIsNone(lock.holder(str(other)))

    def test_killed_it_lets_the_next_one_have_the_journal(self) -> None:
        first = self.serve()
        first.kill()
        self.end(first)
        self.serve()

    def test_both_paths_may_be_one_directory(self) -> None:
        self.configure(state_path=self.run_path)
        child = self.serve()
        self.assertEqual(service.EXIT_SECOND, self.end(self.start())[0])
        self.leave(child)

    def test_a_journal_without_room_for_a_lock_is_no_defect(self) -> None:
        (self.state / lock.NAME).mkdir()
        code, said = self.end(self.start())
        self.assertEqual(service.EXIT_CONFIG, code)
        self.assertIn(f'cannot lock {self.state / lock.NAME}', said)


class TakenAwayTest(BelongingsTestCase):
    def test_a_socket_that_is_gone_is_made_anew(self) -> None:
        child = self.serve()
        there, other = self.run_path / 'control.sock', self.run_path / 'other'
        for do in (there.unlink, lambda: other.replace(there)):
            other.touch()
            do()
            self.await_agent(child.pid)
        self.assertEqual(2, self.leave(child).count(
            'control.sock was removed or replaced'))

    def test_a_directory_that_is_gone_is_made_anew(self) -> None:
        child = self.serve()
        shutil.rmtree(self.run_path)
        self.await_agent(child.pid)
        holder = lock.holder(str(self.run_path))
        assert holder is not None
        self.assertEqual(child.pid, holder.pid)
        said = self.leave(child)
        for name in (lock.NAME, 'control.sock'):
            self.assertEqual(1, said.count(f'{self.run_path / name} was re'))
        self.assertIsNone(lock.holder(str(self.run_path)))

    def test_a_lock_that_cannot_be_made_keeps_no_socket_away(self) -> None:
        child = self.serve()
        (self.run_path / lock.NAME).unlink()
        (self.run_path / lock.NAME).mkdir()
        (self.run_path / 'control.sock').unlink()
        self.await_agent(child.pid)
        self.assertIn(f'cannot lock {self.run_path / lock.NAME}',
                      self.leave(child))

    def _bar(self) -> None:
        shutil.rmtree(self.run_path)
        self.run_path.touch()

    def test_where_that_cannot_be_done_guests_still_have_it(self) -> None:
        child = self.serve()
        self._bar()
        self.await_said(child, 'others do not find this agent')
        self.run_path.unlink()
        self.await_agent(child.pid)
        self.leave(child)

    def await_said(self, child: subprocess.Popen[str], what: str) -> None:
        assert child.stderr is not None
        for line in child.stderr:
            if what in line:
                return
        self.fail(f'it has not said: {what}')

    def test_where_systemd_makes_the_directory_it_is_begun_anew(
            self) -> None:
        address = str(self.temp_dir() / 'notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(address)
            child = self.serve(NOTIFY_SOCKET=address,
                               RUNTIME_DIRECTORY=f'/a:{self.run_path}')
            self._bar()
            code, said = self.end(child)
        self.assertEqual(service.EXIT_CRASH, code)
        self.assertIn(f'cannot go on: cannot lock {self.run_path}', said)
        self.run_path.unlink()

    def test_it_makes_way_for_who_has_come_in_its_place(self) -> None:
        child = self.serve()
        # At once: between two steps it would have it back.
        held = lock.AgentLock(str(self.run_path / 'other'), launch='process')
        self.addCleanup(held.release)
        os.rename(held.path, self.run_path / lock.NAME)
        code, said = self.end(child)
        self.assertEqual(service.EXIT_SECOND, code)
        self.assertIn(f'process {os.getpid()}', said)

    def test_the_lock_of_the_journal_is_made_anew(self) -> None:
        child = self.serve()
        (self.state / lock.NAME).unlink()
        self.until(lambda: lock.holder(str(self.state)), 'no lock')
        self.configure(run_path=self.temp_dir())
        self.assertEqual(service.EXIT_SECOND, self.end(self.start())[0])
        self.configure()
        self.leave(child)

    def test_without_its_journal_it_ends(self) -> None:
        def _replace() -> None:
            copy = self.state / 'copy'
            shutil.copy(self.state / JOURNAL, copy)
            copy.rename(self.state / JOURNAL)

        def _move() -> None:
            self.state.rename(self.temp_dir() / 'moved')

        for do in ((self.state / JOURNAL).unlink, _replace, _move):
            child = self.serve('kept')
            do()
            code, said = self.end(child)
            self.assertEqual(service.EXIT_CRASH, code)
            self.assertIn('any more: because it was removed or replaced',
                          said)
            self.assertFalse((self.run_path / 'control.sock').exists())
        self.leave(self.serve('kept'))


class RenewedTest(base.TestCase):
    def test_systemds_directory_is_known_by_whatever_leads_to_it(
            self) -> None:
        """/var/run leads to /run."""
        place = self.temp_dir()
        (place / 'var').symlink_to(place)
        notifier = notify.Notifier({
            'NOTIFY_SOCKET': '@nobody',
            'RUNTIME_DIRECTORY': f'/a:{place}/healer'})
        for name in ('healer', 'healer/', 'var/healer'):
            self.assertTrue(notifier.makes(f'{place}/{name}'), name)
        self.assertFalse(notifier.makes(str(place)))
        self.assertFalse(notify.Notifier({
            'NOTIFY_SOCKET': '@nobody'}).makes(os.getcwd()))


class RefusedThreadTest(test_service.ThreadTestCase):
    def test_it_leaves_no_descriptor_in_the_process_of_another(self) -> None:
        """Each attach that finds no agent tries again, for ever."""
        held = lock.AgentLock(str(self.state), launch='process')
        self.addCleanup(held.release)
        agent = service.Service(self.conf, self._build, run_mode='thread',
                                own_process=False)
        self.assertEqual(service.EXIT_SECOND, agent.run())
        ends = [os.fstat(fd).st_ino
                for fd in (agent._wake_in, agent._wake_out)]
        del agent
        gc.collect()
        left = [found.st_ino for found in map(
            self._stat, os.listdir('/proc/self/fd')) if found is not None]
        self.assertEqual(set(), set(ends).intersection(left))

    def _stat(self, fd: str) -> os.stat_result | None:
        with contextlib.suppress(OSError):
            return os.fstat(int(fd))
        return None


class HungThreadTest(test_service.ThreadTestCase):
    def test_the_journal_is_free_only_when_nobody_uses_it(self) -> None:
        self.conf.set_override('stop_timeout', 0.1, group=opts.GROUP)
        self.engine = fakes.FakeEngine([], deaf=True)
        agent = self.run_it()
        agent.stop()
        self.until(lambda: lock.holder(str(self.run_path)) is None,
                   'it is not left')
        second = service.Service(self.conf, self._build, run_mode='thread',
                                 own_process=False)
        self.assertEqual(service.EXIT_SECOND, second.run())
        self.engine.deaf = False
        self.until(lambda: lock.holder(str(self.state)) is None,
                   'the journal is still locked')
