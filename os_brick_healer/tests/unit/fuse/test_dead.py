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
"""A dead mount is taken away, and nothing else is."""

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys

from os_brick_healer.fuse import dead, parse
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.fuse import test_parse, tiny

APART = ('unshare', '--mount', '--propagation', 'private')
ROOT = pathlib.Path(__file__).parents[4]


def can_mount() -> bool:
    """Whether this machine lets a test mount, out of everybody's sight."""
    return (os.geteuid() == 0 and os.access('/dev/fuse', os.R_OK | os.W_OK)
            and shutil.which(APART[0]) is not None
            and subprocess.run([*APART, 'true'], check=False,
                               capture_output=True).returncode == 0)


class KernelTest(base.TestCase):
    """A real FUSE file system dies, in a table of mounts of its own."""

    def test_the_kernel_tells_a_dead_mount_and_only_that_is_taken(
            self) -> None:
        if not can_mount():
            self.skipTest('this machine does not let a test mount')
        place = self.temp_dir()
        done = subprocess.run(
            [*APART, sys.executable, '-m', tiny.__name__, str(place)],
            check=True, capture_output=True, cwd=ROOT, timeout=60)
        told = json.loads(done.stdout)
        self.assertEqual({
            'bare': 'bare', 'take bare': 'bare', 'lives': 'lives',
            'take living': 'Refused: it answers: somebody serves it',
            'still lives': 'lives', 'dead': 'dead',
            'take another kind': 'Refused: it is a mount of type '
            'fuse.ceph-fuse, not fuse.other',
            'take loosely': 'Refused: it is mounted nodev, nosuid, and the '
            'new one would not be', 'still dead': 'dead',
            'other kind': 'other', 'take dead': 'taken',
            'bare again': 'bare',
            'take two': 'Refused: 2 mounts are there, and one was expected'},
            told)
        self.assertEqual(['x'], os.listdir(place))


class TakeTest(base.TestCase):
    """What may have changed between two looks."""

    def setUp(self) -> None:
        super().setUp()
        self.place = str(self.temp_dir())
        self.line = test_parse.LINE.replace('/mnt/c', self.place)
        self.away: list[str] = []
        self.tables = [self.line, self.line, '']

    def take(self, *, dead_now: bool = True, number: int = 81) -> str:
        def read() -> tuple[parse.Mount, ...]:
            return parse.mounts(self.tables.pop(0))
        return dead.take(
            test_parse.KIND, self.place, test_parse.ALWAYS, read=read,
            dead=lambda _fd: dead_now, number_of=lambda _fd: number,
            away=self.away.append)

    def refused(self, why: str, **changes: int) -> None:
        error = self.assertRaises(dead.Refused, self.take, **changes)
        self.assertIn(why, str(error))

    def test_what_was_proven_is_what_is_unmounted(self) -> None:
        self.assertEqual('taken', self.take())
        (path,) = self.away
        self.assertTrue(path.startswith('/proc/self/fd/'))

    def test_another_mount_than_the_opened_one_is_left(self) -> None:
        self.refused('leads to mount 82', number=82)
        self.assertEqual([], self.away)

    def test_one_that_answers_again_is_left(self) -> None:
        self.refused('it answers', dead_now=False)
        self.assertEqual([], self.away)

    def test_one_that_came_meanwhile_is_told(self) -> None:
        self.tables = [self.line, self.line, self.line]
        self.refused('mounted there still')

    def test_only_enotconn_is_death(self) -> None:
        fd = os.open(self.place, os.O_PATH)
        self.addCleanup(os.close, fd)
        self.assertFalse(dead.is_dead(fd))
        error = self.assertRaises(OSError, dead.is_dead, 1 << 20)
        assert isinstance(error, OSError)
        self.assertEqual(errno.EBADF, error.errno)

    def test_a_descriptor_tells_its_mount(self) -> None:
        fd = os.open('/proc', os.O_PATH)
        self.addCleanup(os.close, fd)
        self.assertEqual(parse.at(dead.table(), '/proc')[-1].number,
                         dead.number_in(fd))

    def test_a_name_of_a_place_breaks_no_line(self) -> None:
        path = self.temp_dir() / 'mountinfo'
        path.write_bytes(test_parse.LINE.replace(
            '/mnt/c', '/mnt/c/x\ry').encode())
        (one,) = dead.table(str(path))
        self.assertEqual('/mnt/c/x\ry', one.place)

    def test_the_program_says_one_word_or_why(self) -> None:
        def run(*words: str) -> tuple[int, str, str]:
            done = subprocess.run(
                [sys.executable, '-m', dead.__name__, *words], check=False,
                capture_output=True, text=True, cwd=ROOT, timeout=60)
            return done.returncode, done.stdout, done.stderr
        self.assertEqual((0, 'bare\n', ''),
                         run('fuse.x', self.place, 'look'))
        self.assertEqual((0, 'bare\n', ''),
                         run('fuse.x', self.place, 'take', 'nosuid'))
        self.assertEqual((0, 'other\n', ''), run('fuse.x', '/proc', 'look'))
        code, out, error = run('fuse.x', '/proc', 'take', 'nosuid')
        self.assertEqual((1, ''), (code, out))
        self.assertNotEqual('', error)
        self.assertEqual(1, run('fuse.x', self.place, 'burn')[0])

    def test_the_kernel_refuses_what_is_no_mount(self) -> None:
        error = self.assertRaises(OSError, dead.unmount, self.place)
        assert isinstance(error, OSError)
        self.assertIn(error.errno, (errno.EINVAL, errno.EPERM))
