# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The simulated wire tells the plugin what a real network would."""

from collections.abc import Callable
import functools
from typing import Any

from os_brick_healer import exception
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.provisioner import kumoscale_client
from os_brick_healer.tests import base
from os_brick_healer.tests.simulation import cloud, timeline
from os_brick_healer.tests.simulation import world as world_lib
from os_brick_healer.tests.simulation.http import array, plugin, wire

State = provisioner.ReplicaState


class WireTestCase(base.TestCase):

    def begin(self, dialect: str = 'target-name') -> None:
        self.world = world_lib.World('wire', world_lib.Setup(
            volumes=2, portals=2, foreign=False, http=dialect))
        self.plugin = plugin.open_(
            self.world, lambda _where: None, lambda: self.world.time.now_s,
            str(self.temp_dir() / 'journal.sqlite'))
        assert self.world.peer is not None
        self.trouble = self.world.peer.trouble
        self.key = next(iter(self.world.cloud.volumes))
        self.volume = self.world.cloud.volumes[self.key]
        self.lost = next(iter(self.volume.replicas.values()))

    def ask(self, call: Callable[[], Any]) -> Any:
        """What comes of a call, in the world's own time."""
        results: list[Any] = []
        timeline.Task(self.world.time, call, results.append)
        self.world.time.advance(self.world.time.now_s + 100.0,
                                lambda: bool(results))
        if isinstance(results[0], BaseException):
            raise results[0]
        return results[0]

    def said(self) -> str:
        error = self.assertRaises(exception.ProvisionerError, self.ask,
                                  self.plugin.volumes)
        return str(error)

    def replace(self) -> None:
        self.ask(lambda: self.plugin.request_replacement(
            provisioner.VolumeId(self.key),
            provisioner.ReplicaId(self.lost.disk.uuid), 'q'))

    def made(self) -> int:
        """How often a new replica was begun, once all was heard."""
        self.world.time.advance(self.world.time.now_s + 30.0)
        return sum(map(len, self.volume.asked.values()))


class DialectTest(WireTestCase):

    def test_in_every_dialect_the_plugin_sees_what_is_so(self) -> None:
        for dialect in array.DIALECTS:
            with self.subTest(dialect=dialect):
                self.begin(dialect)
                self.assertIn('KumoScale', self.ask(self.plugin.probe))
                found = self.ask(self.plugin.volumes)
                self.assertEqual(list(self.world.cloud.volumes), list(found))
                for key, one in found.items():
                    self.check(one, self.world.cloud.volumes[key])
                    self.assertEqual({cloud.HERE}, one.hosts)

    def check(self, one: provisioner.Volume, real: cloud.Volume) -> None:
        self.assertEqual(
            (None, real.size_bytes, real.count),
            (one.nonsense, one.size_bytes, one.replica_count))
        self.assertEqual(
            [(r.disk.uuid, r.target.nqn, r.target.portals, r.state)
             for r in real.replicas.values()],
            [(r.namespace_uuid, r.nqn, r.portals, r.state)
             for r in one.replicas])

    def test_another_host_is_seen_in_every_dialect(self) -> None:
        for dialect in array.DIALECTS:
            with self.subTest(dialect=dialect):
                self.begin(dialect)
                self.volume.hosts.add(cloud.THERE)
                found = self.ask(self.plugin.volumes)
                self.assertEqual({cloud.HERE, cloud.THERE},
                                 found[self.key].hosts)

    def test_what_is_done_is_done_in_the_books(self) -> None:
        for dialect in array.DIALECTS:
            with self.subTest(dialect=dialect):
                self.begin(dialect)
                self.replace()
                self.assertIs(State.MISSING, self.lost.state)
                self.assertEqual(1, self.made())
                new = list(self.volume.replicas.values())[-1]
                self.assertFalse(new.published)
                volume = provisioner.VolumeId(self.key)
                self.ask(functools.partial(self.plugin.publish, volume))
                self.assertTrue(new.published)
                self.ask(functools.partial(
                    self.plugin.report, volume,
                    provisioner.ReplicaId(new.disk.uuid), State.AVAILABLE))
                self.assertIs(State.AVAILABLE, new.state)


class TroubleTest(WireTestCase):

    def test_it_is_told_as_a_real_network_tells_it(self) -> None:
        """The words are those of the client's own tests, over sockets."""
        for mishap, words in (
                ('reset', 'breaks off'), ('cut', 'breaks off'),
                ('drip', 'does not answer within 5 s'),
                ('500', 'answers with HTTP status 500'),
                ('401', 'denies access'), ('html', 'is not JSON'),
                ('429', 'HTTP status 429')):
            with self.subTest(mishap=mishap):
                self.begin()
                self.trouble.mishaps += [('', mishap)] * 2
                self.assertIn(words, self.said())
        for way, words in (
                ('silent', 'is silent for 2 s'), ('401', 'denies access'),
                ('refused', 'refuses connections'), ('reset', 'breaks off'),
                ('503', 'answers with HTTP status 503')):
            with self.subTest(way=way):
                self.begin()
                self.world.cloud.weather.down = True
                self.trouble.down = way
                self.assertIn(words, self.said())

    def test_time_passes_as_it_would(self) -> None:
        self.begin()
        self.trouble.dead[wire.ADDRESSES[0]] = 'silent'
        self.ask(self.plugin.volumes)
        self.assertGreater(self.world.time.now_s, plugin.CONNECT_S)
        begun_s = self.world.time.now_s
        self.ask(self.plugin.volumes)
        self.assertLess(self.world.time.now_s - begun_s, plugin.CONNECT_S)

    def test_what_nobody_heard_the_answer_of_is_done_all_the_same(
            self) -> None:
        for mishap in ('lost', 'late', 'done-500'):
            with self.subTest(mishap=mishap):
                self.begin()
                self.trouble.mishaps.append(('request', mishap))
                self.assertRaises(kumoscale_client.Uncertain, self.replace)
                self.assertEqual(1, self.made())

    def test_what_was_refused_or_forgotten_is_not_done(self) -> None:
        for mishap in ('refused-500', 'reset', '500', '429', '401'):
            with self.subTest(mishap=mishap):
                self.begin()
                self.trouble.mishaps.append(('request', mishap))
                self.assertRaises(exception.ProvisionerError, self.replace)
                self.assertEqual(0, self.made())
        self.begin()
        self.trouble.mishaps.append(('request', 'forgotten'))
        self.replace()
        self.assertEqual(0, self.made())

    def test_an_address_may_tell_old_news(self) -> None:
        for silent_s, old in ((15.0, True), (60.0, False)):
            self.begin()
            self.ask(self.plugin.volumes)
            self.world.time.advance(silent_s)
            self.lost.state = State.MISSING
            self.trouble.lag_s[wire.ADDRESSES[0]] = 10.0
            states = [r.state for r in self.ask(self.plugin.volumes)[
                self.key].replicas]
            self.assertIs(old, State.MISSING not in states)

    def test_the_token_that_counts_is_the_one_in_the_file(self) -> None:
        self.begin()
        assert self.world.peer is not None
        self.world.peer.token = 'another'
        self.assertIn('denies access', self.said())
