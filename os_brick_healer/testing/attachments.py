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
"""A conformance suite for sources of attachments; run it over yours.

Bring a World: the plugin, and something that keeps attachments (or behaves
like it), in which volumes can be attached and trouble be caused. Then::

    class MySourceTest(attachments.SourceConformance, testtools.TestCase):
        def make_world(self) -> attachments.World:
            return MyWorld()

The suite holds the plugin to what the agent relies on: above all that an
answer that was not heard to its end is an error, and never a shorter list.
"""

import abc
from collections.abc import Callable, Sequence
import contextlib
import threading
import time
from typing import TYPE_CHECKING

from os_brick_healer import exception
from os_brick_healer.attachments import base
from os_brick_healer.testing.world import Trouble

if TYPE_CHECKING:
    import testtools

    _TestCase = testtools.TestCase
else:
    _TestCase = object

#: The host whose agent asks, and another one.
HERE, THERE = 'conformance-here', 'conformance-there'
_THREADS = 8
_MANY = 40


class World(abc.ABC):
    """What keeps attachments, in the hands of the suite.

    :ivar deadline_s: the longest that one call of the plugin may take,
        whatever happens, as the plugin was configured.
    :ivar secrets: texts that must never show: passwords, tokens.
    :ivar troubles: what trouble() can cause.
    """

    deadline_s: float = 60.0
    secrets: Sequence[str] = ()
    troubles: frozenset[Trouble] = frozenset()

    @abc.abstractmethod
    def make_source(self, host: str) -> base.AttachmentSource:
        """A new instance of the plugin, as a restarted agent makes one."""

    @abc.abstractmethod
    def attach(self, host: str, *, changing: bool = False) -> str:
        """Attach a new volume that a process is to serve; its id.

        :param changing: it is not finished.
        """

    @abc.abstractmethod
    def detach(self, volume: str) -> None:
        """Take it from every host."""

    def move(self, volume: str, host: str) -> None:
        """Attach a volume to another host, and only there.

        Only for a source that knows hosts.
        """
        raise NotImplementedError

    def image_of(self, volume: str) -> str | None:
        """The image's name, None: the source does not name it."""
        del volume
        return None

    def trouble(self, kind: Trouble
                ) -> contextlib.AbstractContextManager[None]:
        """Cause one of ``troubles`` until the context ends."""
        raise NotImplementedError(kind)

    def close(self) -> None:
        """The test is over."""
        return


class SourceConformance(_TestCase):
    """Mix this into a testtools.TestCase and say which World."""

    @abc.abstractmethod
    def make_world(self) -> World:
        """A new World."""

    def setUp(self) -> None:
        super().setUp()
        self.world = self.make_world()
        self.addCleanup(self.world.close)
        self.source = self.new_source(HERE)

    def new_source(self, host: str) -> base.AttachmentSource:
        """An instance of the plugin, closed at the end."""
        made = self.world.make_source(host)
        self.addCleanup(made.close)
        return made

    def here(self) -> dict[str, base.Attached]:
        """What the source says that this host has."""
        return dict(self.source.listing(frozenset()).here)

    def assert_no_secret(self, text: str) -> None:
        """Nothing secret is in a text."""
        for secret in self.world.secrets:
            self.assertNotIn(secret, text)

    # -- what is declared --

    def test_guarantees_are_declared(self) -> None:
        """As an object of the right class."""
        self.assertIsInstance(self.source.guarantees, base.Guarantees)

    def test_probe_says_one_printable_sentence(self) -> None:
        """For the operator, without a secret."""
        sentence = self.source.probe()
        self.assertTrue(sentence)
        self.assertTrue(sentence.isprintable(), repr(sentence))
        self.assert_no_secret(sentence)
        self.assert_no_secret(repr(self.source))

    def test_closing_twice_is_no_error(self) -> None:
        """An agent may end in the middle of anything."""
        self.source.close()
        self.source.close()

    # -- what there is --

    def test_nothing_attached_is_an_empty_list(self) -> None:
        """Not an error: a host without volumes is a good one."""
        self.assertEqual({}, self.here())

    def test_an_attached_volume_is_listed(self) -> None:
        """By its id, as attached, with its image."""
        volume = self.world.attach(HERE)
        (found,) = self.here().values()
        self.assertIsInstance(found, base.Attached)
        self.assertEqual((volume, base.State.ATTACHED),
                         (found.volume, found.state))
        self.assertTrue(found.alias)
        self.assertTrue(self.source.concerns(volume, 'rbd-nbd'))
        if self.source.guarantees.knows_images:
            image = self.world.image_of(volume)
            self.assertIsNotNone(image)
            self.assertEqual(image, found.names.get('image'))

    def test_a_volume_on_its_way_is_not_called_attached(self) -> None:
        """It is listed as changing, or not at all."""
        volume = self.world.attach(HERE, changing=True)
        found = self.here().get(volume)
        if found is not None:
            self.assertIs(base.State.CHANGING, found.state)

    def test_another_hosts_volume_is_not_listed(self) -> None:
        """Whoever asks gets this host's and no others."""
        if not self.source.guarantees.knows_hosts:
            self.skipTest('the source knows this host only')
        theirs, ours = self.world.attach(THERE), self.world.attach(HERE)
        self.assertEqual({ours}, set(self.here()))
        there = self.new_source(THERE).listing(frozenset()).here
        self.assertEqual({theirs}, set(there))

    def test_a_volume_that_has_moved_is_elsewhere(self) -> None:
        """If it is asked about, and then with its host."""
        if not self.source.guarantees.knows_hosts:
            self.skipTest('the source knows this host only')
        volume, other = self.world.attach(HERE), self.world.attach(HERE)
        self.world.move(volume, THERE)
        told = self.source.listing(frozenset((volume, other)))
        self.assertEqual({volume: (THERE,)}, dict(told.elsewhere))
        self.assertEqual({other}, set(told.here))
        self.assertEqual({}, dict(self.source.listing(
            frozenset((other,))).elsewhere))

    def test_a_volume_on_its_way_elsewhere_is_not_there_yet(self) -> None:
        """A migration has it on two hosts, one of them half."""
        if not self.source.guarantees.knows_hosts:
            self.skipTest('the source knows this host only')
        volume = self.world.attach(THERE, changing=True)
        told = self.source.listing(frozenset((volume,)))
        self.assertEqual({}, dict(told.elsewhere))

    def test_a_detached_volume_is_gone(self) -> None:
        """The answer is fresh."""
        volume = self.world.attach(HERE)
        self.assertIn(volume, self.here())
        self.world.detach(volume)
        self.assertEqual({}, self.here())

    def test_many_volumes_are_all_listed(self) -> None:
        """However many pages they take."""
        wanted = {self.world.attach(HERE) for _ in range(_MANY)}
        self.assertEqual(wanted, set(self.here()))

    def test_several_threads_may_ask_at_once(self) -> None:
        """And get the same."""
        self.world.attach(HERE)
        wanted, found = self.here(), list[dict[str, base.Attached]]()
        asking = [threading.Thread(target=lambda: found.append(self.here()))
                  for _ in range(_THREADS)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(self.world.deadline_s)
        self.assertEqual([wanted] * _THREADS, found)

    # -- trouble --

    def fails(self, call: Callable[[], object]) -> exception.SourceError:
        """The error of a call, which comes in time and tells no secret."""
        begun_s = time.monotonic()
        error = self.assertRaises(exception.SourceError, call)
        self.assertLess(time.monotonic() - begun_s, self.world.deadline_s)
        assert isinstance(error, exception.SourceError)
        self.assertTrue(str(error).startswith('cannot '), str(error))
        self.assert_no_secret(str(error))
        return error

    def _in_trouble(self, kind: Trouble) -> None:
        if kind not in self.world.troubles:
            self.skipTest(f'this world cannot cause {kind.name}')
        volume = self.world.attach(HERE)
        with self.world.trouble(kind):
            self.fails(lambda: self.source.listing(frozenset((volume,))))
            if kind is not Trouble.SLOW:    # each takes its whole time
                self.fails(lambda: self.source.listing(frozenset()))
                self.fails(self.source.probe)
        self.assertEqual({volume}, set(self.here()))

    def test_one_that_is_down_is_an_error_and_then_up_again(self) -> None:
        """Never an empty list."""
        self._in_trouble(Trouble.DOWN)

    def test_one_that_is_silent_is_an_error_in_time(self) -> None:
        """A deadline for everything."""
        self._in_trouble(Trouble.SLOW)

    def test_one_that_is_broken_is_an_error(self) -> None:
        """Whatever it answers besides."""
        self._in_trouble(Trouble.ERROR)

    def test_garbage_is_an_error(self) -> None:
        """Never a list without what was not understood."""
        self._in_trouble(Trouble.GARBAGE)

    def test_one_that_cannot_be_verified_is_not_talked_to(self) -> None:
        """A certificate of another authority."""
        self._in_trouble(Trouble.UNTRUSTED)

    def test_denied_access_is_an_error(self) -> None:
        """And no list of what could be seen without."""
        self._in_trouble(Trouble.DENIED)
