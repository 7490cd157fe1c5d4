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
"""A conformance suite for mounters; run it over yours.

Bring what your plugin can serve. Then::

    class MyMounterTest(mounters.MounterConformance, testtools.TestCase):
        def make_mounter(self) -> base.Mounter:
            return MyMounter()

        def make_source(self, name: str) -> dict[str, str]:
            return {'image': my_storage.create(name, size_bytes=1 << 20)}

The suite holds the description to what the privileged side relies on, and,
for a mounter whose process listens on a socket, plays the death of a real
one: no kernel, and no privilege, is needed for that.
"""

import abc
from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from os_brick_healer import exception
from os_brick_healer.mounter import base
from os_brick_healer.nbd import parse
from os_brick_healer.sysfs import process, reader
from os_brick_healer.testing import nbdclient

if TYPE_CHECKING:
    import testtools

    _TestCase = testtools.TestCase
else:
    _TestCase = object

VOLUME = '0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c11'
OTHER = '6f0a4f3e-6c55-4b57-8c8f-0a8f5b7b2d22'
UP_S = 20.0
BLOCK = 4096
_PROGRAM = re.compile(r'[A-Za-z0-9][A-Za-z0-9._+-]*')
_SECRET_WORDS = ('password', 'passwd', 'secret', 'token')


class MounterConformance(_TestCase):
    """Every mounter passes it.

    :cvar secrets: texts that the source refers to and that must never be
        among the words of a command line.
    :cvar path: where programs are looked for.
    """

    secrets: tuple[str, ...] = ()
    path: str = os.environ.get('PATH', '/usr/sbin:/usr/bin')

    @abc.abstractmethod
    def make_mounter(self) -> base.Mounter:
        """A new instance of the plugin."""

    @abc.abstractmethod
    def make_source(self, name: str) -> Mapping[str, str]:
        """Make data of one MiB that can be served, and name it."""

    def setUp(self) -> None:
        super().setUp()
        self.mounter = self.make_mounter()
        # The path of a socket is short: the usual directory may be too deep.
        place = tempfile.TemporaryDirectory(prefix='obh-')
        self.addCleanup(place.cleanup)
        self.place = pathlib.Path(place.name)

    def order(self, volume: str = VOLUME,
              source: Mapping[str, str] | None = None) -> base.Order:
        """An order as a connector makes it."""
        words = self.make_source(volume) if source is None else source
        return base.Order(
            volume=volume, source=self.mounter.normalize(words),
            socket=str(self.place / f'{volume}.sock'), device='nbd7',
            reattach_s=600)

    # The description ------------------

    def test_it_declares_what_it_can_do(self) -> None:
        """Abilities, style and program are there, and plain."""
        self.assertIsInstance(self.mounter.abilities, base.Abilities)
        self.assertIsInstance(self.mounter.style, base.Style)
        self.assertIsNotNone(_PROGRAM.fullmatch(self.mounter.program))

    def test_what_it_normalized_it_accepts_again(self) -> None:
        """Both sides of the wall ask, the second one with the result."""
        once = self.mounter.normalize(self.make_source(VOLUME))
        self.assertEqual(dict(once), dict(self.mounter.normalize(once)))
        for word in (*once, *once.values()):
            self.assertIsInstance(word, str)

    def test_what_names_nothing_is_refused(self) -> None:
        """Refused, never passed on, and never another error."""
        good = dict(self.make_source(VOLUME))
        bad: list[dict[str, object]] = [
            {}, {**good, 'no-such-word': 'x'}, {'no-such-word': 'x'}]
        for name in good:
            for value in ('', 7, b'x', 'x' * 100000, 'a\nb', 'a\0b'):
                bad.append({**good, name: value})
        for source in bad:
            self.assertRaises(exception.MounterRefused,
                              self.mounter.normalize, source)

    def test_the_command_is_a_program_and_plain_words(self) -> None:
        """No path, no shell: where it is found is not the plugin's to say."""
        server = self.mounter.server(self.order())
        self.assertIsInstance(server, base.Server)
        self.assertEqual(self.mounter.program, server.argv[0])
        for word in server.argv:
            self.assertIsInstance(word, str)
            self.assertNotIn('\0', word)

    def test_the_same_order_gives_the_same_command(self) -> None:
        """A description has no state."""
        order = self.order()
        self.assertEqual(self.mounter.server(order),
                         self.make_mounter().server(order))
        self.assertEqual(self.mounter.marks(order),
                         self.make_mounter().marks(order))

    def test_its_own_process_is_known_by_its_marks(self) -> None:
        """By the program and words of its command line."""
        order = self.order()
        argv = ('/usr/bin/' + self.mounter.program,
                *self.mounter.server(order).argv[1:])
        self.assertTrue(parse.carries(argv, self.mounter.program,
                                      self.mounter.marks(order)))

    def test_another_volumes_process_is_not_taken_for_it(self) -> None:
        """Also if both serve the same data."""
        source = self.make_source('shared')
        mine, other = self.order(VOLUME, source), self.order(OTHER, source)
        argv = self.mounter.server(other).argv
        self.assertFalse(parse.carries(argv, self.mounter.program,
                                       self.mounter.marks(mine)))

    def test_its_own_process_serves_and_anothers_does_not(self) -> None:
        """Also where a command line is taken at its word."""
        source = self.make_source('shared')
        mine, other = self.order(VOLUME, source), self.order(OTHER, source)
        for order in (mine, dataclasses.replace(mine, device=None)):
            argv = self.mounter.server(order).argv
            self.assertTrue(self.mounter.serves(order, argv))
            self.assertFalse(self.mounter.serves(other, argv))
            self.assertFalse(self.mounter.serves(
                order, ('sleep', *argv[1:])))

    def test_what_a_command_line_claims_is_what_was_ordered(self) -> None:
        """Or nothing: what is not sure is not said."""
        order = self.order()
        argv = self.mounter.server(order).argv
        said = self.mounter.claim(argv)
        if said is None:
            self.skipTest('what others have mapped cannot be adopted')
        self.assertEqual(VOLUME, said.volume)
        self.assertIn(said.device, (None, order.device))
        self.assertTrue(self.mounter.same_data(said.source, order.source))
        self.assertEqual('', said.lacks)
        self.assertEqual(dict(order.source),
                         dict(self.mounter.normalize(said.source)))
        for cut in range(1, len(argv)):
            self.mounter.claim(argv[:cut])
            self.mounter.claim(argv[:1] + argv[cut:])

    def test_no_secret_is_in_the_command(self) -> None:
        """Everybody on the host can read command lines."""
        words = ' '.join(self.mounter.server(self.order()).argv)
        for secret in self.secrets:
            self.assertNotIn(secret, words)
        for word in _SECRET_WORDS:
            self.assertNotIn(f'{word}=', words.lower())

    def test_last_words_are_judged_without_raising(self) -> None:
        """Whatever a server said when it ended."""
        order = self.order()
        for words in ('', 'no', '\udcff' * 10, 'x' * 100000):
            self.assertIs(False, self.mounter.is_gone(order, words))

    # Fencing ------------------

    def test_who_can_fence_says_how(self) -> None:
        """Commands of one tool, without secrets; nobody is made up."""
        can = self.mounter.abilities.can_fence
        order = self.order()
        question = self.mounter.ask_holders(order)
        self.assertEqual(can, bool(question))
        self.assertEqual(can or bool(self.mounter.ask_data(order)),
                         bool(self.mounter.tool))
        if not can:
            return
        holder = base.Holder(client='client.1', address='192.0.2.1:0/1',
                             claim='auto 1')
        for argv in (question, self.mounter.shut_out(order, holder)):
            self.assertEqual(self.mounter.tool, argv[0])
            self.assertIsNotNone(_PROGRAM.fullmatch(argv[0]))
            for secret in self.secrets:
                self.assertNotIn(secret, ' '.join(argv))
        for line in ('', 'no', '\udcff' * 10, 'x' * 100000):
            self.assertIsNone(self.mounter.client(line))
        for listed in ('', 'no', '\udcff' * 10, '[7]'):
            self.assertRaises(ValueError, self.mounter.holders, listed)

    # A real process ------------------

    @contextlib.contextmanager
    def served(self, order: base.Order) -> 'Iterator[subprocess.Popen[bytes]]':
        """Its process, as long as the context lasts."""
        server = self.mounter.server(order)
        program = shutil.which(server.argv[0], path=self.path)
        if program is None or self.mounter.style is not base.Style.SOCKET:
            self.skipTest(f'{server.argv[0]} cannot be played here')
        pathlib.Path(order.socket).unlink(missing_ok=True)
        child = subprocess.Popen(
            [program, *server.argv[1:]], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True)
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def client(self, order: base.Order) -> nbdclient.Client:
        """A connection, as soon as the server listens."""
        end_s = time.monotonic() + UP_S
        while True:
            try:
                return nbdclient.Client(order.socket,
                                        self.mounter.export(order))
            except OSError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.02)

    def test_a_new_process_goes_on_where_the_killed_one_was(self) -> None:
        """What was acknowledged is there; the size is the same."""
        order = self.order()
        data = os.urandom(BLOCK)
        with self.served(order) as first:
            client = self.client(order)
            size = client.export.size_bytes
            client.write(2 * BLOCK, data)
            first.kill()
            first.wait()
        with self.served(order):
            again = self.client(order)
            self.assertEqual(size, again.export.size_bytes)
            self.assertEqual(data, again.read(2 * BLOCK, BLOCK))
            again.close()

    def test_a_live_process_is_found_by_its_marks(self) -> None:
        """In /proc, where everybody else is, too; a dead one is not."""
        order, tree = self.order(), reader.Tree()

        def found() -> list[int]:
            return [one.pid for one in process.of_programs(
                tree, frozenset((self.mounter.program,)))
                if parse.carries(one.argv, self.mounter.program,
                                 self.mounter.marks(order))]

        with self.served(order) as child:
            self.client(order).close()
            self.assertEqual([child.pid], found())
        self.assertEqual([], found())

    def test_one_connection_does_not_keep_out_the_next(self) -> None:
        """Whether a server lives is found out by greeting it."""
        order = self.order()
        with self.served(order):
            first, second = self.client(order), self.client(order)
            self.assertEqual(first.export, second.export)
            second.close()
            first.close()
