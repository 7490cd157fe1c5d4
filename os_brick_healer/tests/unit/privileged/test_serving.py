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
"""Starting servers, and killing the right one: with real processes."""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys

from os_brick_healer import exception
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.nbd import parse
from os_brick_healer.privileged import serverlog, serving
from os_brick_healer.sysfs import process, reader
from os_brick_healer.tests import base

KEY = '0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c11'
OTHER = '6f0a4f3e-6c55-4b57-8c8f-0a8f5b7b2d22'
SCRIPT = """#!{python}
import signal, sys, time
print('serving', sys.argv[1], flush=True)
if sys.argv[-1] == 'bad':
    sys.exit('out of luck')
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
time.sleep(60)
"""


class Sleeper(mounter_base.Mounter):
    """Serves nothing, by a script."""

    abilities = mounter_base.Abilities(transparent=True, can_fence=False,
                                       detects_hang=False)
    style = mounter_base.Style.SOCKET
    program = 'obh-sleeper'
    deaf = False

    def normalize(self, given: Mapping[str, object]) -> mounter_base.Source:
        return mounter_base.words(given, required=('how',))

    def server(self, order: mounter_base.Order) -> mounter_base.Server:
        return mounter_base.Server(deaf=self.deaf, argv=(
            self.program, order.socket, order.source['how']))

    def marks(self, order: mounter_base.Order) -> tuple[str, ...]:
        return (order.socket,)


class Asked(Sleeper):
    """Is asked at a socket, here: at a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def question(self, order: mounter_base.Order) -> mounter_base.Question:
        return mounter_base.Question(socket=self.path, as_root=True,
                                     words=b'')


class Mounts(Sleeper):
    """Mounts nothing, by the same script."""

    style = mounter_base.Style.MOUNT


class ServingTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.place = self.temp_dir()
        script = self.write_file(self.place / 'bin/obh-sleeper',
                                 SCRIPT.format(python=sys.executable))
        script.chmod(0o755)
        self.mounter = Sleeper()
        self.tree = reader.Tree()
        self.addCleanup(self.end_all)

    def end_all(self) -> None:
        for one in process.of_programs(self.tree,
                                       frozenset(('obh-sleeper',))):
            if any(str(self.place) in word for word in one.argv):
                os.kill(one.pid, signal.SIGKILL)

    def job(self, volume: str = KEY, how: str = 'good') -> serving.Job:
        return serving.job('sleeper', volume, {'how': how},
                           f'{self.place}/{volume}.sock',
                           lambda _: self.mounter)

    def starter(self) -> serving.Starter:
        return serving.Starter(
            tree=self.tree, uid=0, systemd=False,
            log_directory=str(self.place / 'log'),
            sockets=f'{self.place}/root', path=f'{self.place}/bin')

    def start(self, wanted: serving.Job) -> parse.Running:
        return self.starter().start(wanted, 20.0)

    def kill(self, wanted: serving.Job, one: parse.Running,
             **changes: object) -> bool:
        return serving.kill(
            self.tree, wanted, one.pid, str(changes.get('start', one.start)),
            float(str(changes.get('grace_s', 0.0))), 10.0)

    def test_what_is_started_is_found_and_has_a_log(self) -> None:
        wanted = self.job()
        one = self.start(wanted)
        found = serving.find(self.tree, wanted)
        assert found is not None
        self.assertEqual(one.pid, found.pid)
        self.assertNotEqual(os.getsid(0), os.getsid(one.pid))
        log = pathlib.Path(self.place / f'log/{KEY}.log')
        while 'serving' not in log.read_text():
            pass
        self.assertIn('serving', serverlog.last_words(KEY, str(log.parent)))

    def test_who_mounts_does_so_in_the_hosts_table_of_mounts(self) -> None:
        """Not in that of the service whose helper starts it."""
        self.mounter = Mounts()
        script = self.write_file(
            self.place / 'bin/nsenter',
            f'#!/bin/sh\necho "$@" > {self.place}/entered\n'
            'while [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
        script.chmod(0o755)
        one = self.start(self.job())
        self.assertIn(f'{self.place}/{KEY}.sock', one.argv)
        entered = (self.place / 'entered').read_text()
        self.assertTrue(entered.startswith(
            '--target 1 --mount --root -- '), entered)

    def test_the_socket_of_one_that_cannot_end_is_in_nobodys_way(
            self) -> None:
        wanted = {}
        for volume, place in ((KEY, 'root/a.asok'), (OTHER, 'mine/a.sock')):
            path = self.write_file(self.place / place, '')
            self.mounter = Asked(str(path))
            wanted[volume] = self.job(volume)
            self.start(wanted[volume])
            self.assertIs(volume == OTHER, path.exists())
        left = self.write_file(self.place / 'root/a.asok', '')
        self.assertRaises(exception.NotOurs, self.start, wanted[KEY])
        self.assertTrue(left.exists())

    def test_what_each_server_said_is_told_apart(self) -> None:
        wanted = self.job()
        started = []
        for _ in range(2):
            started.append(self.start(wanted))
            log = pathlib.Path(self.place / f'log/{KEY}.log')
            while log.read_text().count('serving') < len(started):
                pass
            self.kill(wanted, started[-1])
        self.assertEqual(
            [one.process for one in started],
            [one.server for one in serverlog.read(
                KEY, lambda _: None, f'{self.place}/log')])

    def test_a_second_server_of_a_volume_is_refused(self) -> None:
        wanted = self.job()
        self.start(wanted)
        self.assertRaises(exception.NotOurs, self.start, wanted)

    def test_another_volume_gets_its_own(self) -> None:
        self.assertNotEqual(self.start(self.job()).pid,
                            self.start(self.job(OTHER)).pid)

    def test_the_right_process_is_killed(self) -> None:
        wanted = self.job()
        one = self.start(wanted)
        self.assertTrue(self.kill(wanted, one))
        self.assertIsNone(serving.find(self.tree, wanted))
        self.assertTrue(self.kill(wanted, one))

    def test_what_anybody_starts_keeps_no_server_out(self) -> None:
        """A command line is what the one who starts a process writes."""
        wanted, fake = self.job(), self.temp_dir()
        argv = wanted.mounter.server(wanted.order).argv
        for name, text in (('cmdline', '\0'.join(argv)),
                           ('stat', f'7 (x) S {" ".join(["0"] * 18)} 7 0')):
            self.write_file(fake / f'proc/7/{name}', text)
        for uids, believed in (('0 0 0 0', True), ('54321 0 0 0', False),
                               ('54321 54321 54321 54321', False)):
            self.write_file(fake / 'proc/7/status', f'Uid:\t{uids}\n')
            found = serving.find(reader.Tree(str(fake)), wanted)
            self.assertEqual(believed, found is not None, uids)

    def test_another_volumes_process_is_not(self) -> None:
        other = self.job(OTHER)
        one = self.start(other)
        self.assertRaises(exception.NotOurs, self.kill, self.job(), one)
        self.assertIsNotNone(serving.find(self.tree, other))

    def test_a_number_that_was_given_again_is_not_killed(self) -> None:
        wanted = self.job()
        one = self.start(wanted)
        self.assertTrue(self.kill(wanted, one, start='1'))
        self.assertIsNotNone(serving.find(self.tree, wanted))

    def test_one_that_is_ending_is_waited_for_and_not_killed(self) -> None:
        """It has no command line any more: nothing tells whose it was."""
        child = subprocess.Popen(['/bin/sleep', '60'])
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        fake = self.temp_dir() / f'proc/{child.pid}'
        self.write_file(fake / 'stat',
                        f'{child.pid} (x) Z {" ".join(["0"] * 18)} 7 0\n')
        self.write_file(fake / 'cmdline', '')
        for thread in ('1', '2'):
            self.write_file(fake / f'task/{thread}/stat', '')

        def kill(timeout_s: float) -> bool:
            return serving.kill(reader.Tree(str(fake.parents[1])),
                                self.job(), child.pid, '7', 0.0, timeout_s)

        self.assertFalse(kill(0.05))
        self.assertIsNone(child.poll())
        child.kill()
        self.assertTrue(kill(10.0))

    def test_it_may_be_asked_to_end_first(self) -> None:
        wanted = self.job()
        one = self.start(wanted)
        self.assertTrue(self.kill(wanted, one, grace_s=10.0))

    def test_who_must_not_hear_a_signal_does_not(self) -> None:
        self.mounter.deaf = True
        wanted = self.job()
        one = self.start(wanted)
        os.kill(one.pid, signal.SIGTERM)
        text = (pathlib.Path('/proc') / str(one.pid) / 'status').read_text()
        blocked = int(next(line.split()[1] for line in text.splitlines()
                           if line.startswith('SigBlk')), 16)
        self.assertTrue(blocked >> (signal.SIGTERM - 1) & 1)
        self.assertIsNotNone(serving.find(self.tree, wanted))
        self.assertTrue(self.kill(wanted, one))

    def test_one_that_ends_at_once_is_an_error(self) -> None:
        # Python takes a moment: the process may be seen before it ends.
        try:
            self.start(self.job(how='bad'))
        except exception.CommandError as error:
            self.assertIn('ended at once', str(error))

    def test_a_program_that_is_not_installed_is_an_error(self) -> None:
        wanted = self.job()
        (self.place / 'bin/obh-sleeper').unlink()
        error = self.assertRaises(exception.CommandError, self.start, wanted)
        self.assertIn('not found', str(error))

    def test_an_order_is_checked_again(self) -> None:
        good: tuple[object, ...] = (
            'sleeper', KEY, {'how': 'x'}, f'/run/{KEY}.sock')
        wrong: tuple[tuple[int, object], ...] = (
                (0, '../x'), (0, ''), (1, 'x'), (1, KEY.upper()),
                (1, '../../etc'), (2, None), (3, f'/run/{OTHER}.sock'),
                (3, f'/run/../x/{KEY}.sock'), (3, f'{KEY}.sock'),
                (3, '/' + 'x' * 100 + f'/{KEY}.sock'), (3, 7))
        for index, bad in wrong:
            words = list(good)
            words[index] = bad
            self.assertRaises(exception.NotOurs, serving.job, *words,
                              lambda _: self.mounter)
        self.assertRaises(exception.MounterRefused, serving.job, *good[:2],
                          {'what': 'x'}, good[3], lambda _: self.mounter)

    def test_only_installed_mounters_are_asked(self) -> None:
        self.assertEqual('nbdkit', serving.mounter('nbd').program)
        self.assertRaises(exception.NotOurs, serving.mounter, 'nobodys')

    def test_a_unit_outlives_who_asked_for_it(self) -> None:
        argv = serving.unit_argv('u.service', 641, 642, '/log', ['x', 'y'],
                                 'SIGKILL')
        self.assertEqual(['--', 'x', 'y'], argv[-3:])
        for word in ('--uid=641', '--gid=642', '--collect',
                     '--property=KillSignal=SIGKILL',
                     '--property=StandardOutput=append:/log'):
            self.assertIn(word, argv)

    def test_a_server_outlives_guests_when_the_host_is_shut_down(
            self) -> None:
        """systemd stops in the opposite order, and one unit cannot stand
        before and after the same thing."""
        argv = serving.unit_argv('u.service', 0, 0, '/log', ['x'], 'SIGTERM')
        for word in ('Before=libvirt-guests.service',
                     'Before=libvirtd.service', 'After=network.target',
                     'Before=os-brick-healer.service'):
            self.assertIn(f'--property={word}', argv)
        self.assertEqual(set(), {*serving.STARTS_BEFORE}
                         & {*serving.STARTS_AFTER})

    def test_a_server_is_found_wherever_systemd_keeps_its_units(
            self) -> None:
        """With cgroup v1 not even one start would be seen to succeed."""
        wanted = self.job()
        one = self.start(wanted)
        for number, place in enumerate(serving.CGROUPS):
            fake = self.temp_dir()
            self.write_file(
                fake / f'{place[1:]}/u{number}.service/cgroup.procs',
                f'1\n{one.pid}\n')
            (fake / 'proc').symlink_to('/proc')
            starter = dataclasses.replace(self.starter(),
                                          tree=reader.Tree(str(fake)))
            found = starter._in_unit(f'u{number}.service', wanted)
            assert found is not None
            self.assertEqual(one.pid, found.pid)
            self.assertIsNone(starter._in_unit('other.service', wanted))

    def test_a_unit_serves_what_was_named_to_the_letter(self) -> None:
        argv = serving.unit_argv('u.service', 0, 0, '/log', [
            'x', 'file=/srv/$HOME-${A}$.img'], 'SIGTERM')
        self.assertEqual('file=/srv/$$HOME-$${A}$$.img', argv[-1])
