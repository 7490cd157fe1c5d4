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

import dataclasses
import json
import os
import tempfile

from os_brick_healer import exception
from os_brick_healer.engine import journal
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.replica import truth, words
from os_brick_healer.tests import base

KEY = provisioner.VolumeId('5d1b1a40-0000-4000-8000-000000000001')
VOLUME = provisioner.Volume(
    id=KEY, alias='vol1', size_bytes=1 << 30, replica_count=2,
    hosts=frozenset(('compute1',)), grace_s=60.0,
    replicas=(
        provisioner.Replica(
            id=provisioner.ReplicaId('r1'), nqn='nqn.2014-08.org:r1',
            namespace_uuid='5d1b1a40-0000-4000-8000-000000000002',
            portals=(provisioner.Portal(address='192.0.2.1', port=4420),),
            state=provisioner.ReplicaState.AVAILABLE),
        provisioner.Replica(
            id=provisioner.ReplicaId('r2'), nqn=None, namespace_uuid=None,
            portals=(), state=provisioner.ReplicaState.MISSING)))


class WordsTest(base.TestCase):

    def test_what_was_said_comes_back_as_it_was(self) -> None:
        text = json.dumps(words.dump(VOLUME))
        self.assertEqual(VOLUME, words.load(KEY, json.loads(text)))

    def test_what_is_not_words_is_refused(self) -> None:
        for value in ({}, {'replicas': 3}, {**words.dump(VOLUME),
                                            'replicas': [{'id': 1}]}):
            self.assertRaises(ValueError, words.load, KEY, value)


class KeptTest(base.TestCase):
    """An agent that starts while nobody answers still knows the legs."""

    def setUp(self) -> None:
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.journal = journal.Journal(
            os.path.join(directory.name, 'journal.sqlite'))
        self.addCleanup(self.journal.close)

    def make(self) -> truth.Truth:
        def refuse() -> provisioner.Provisioner:
            raise exception.ProvisionerUnreachable('cannot reach it')

        return truth.Truth(refuse, lambda: 100.0)

    def test_words_outlive_the_agent_and_are_never_fresh(self) -> None:
        old = self.make()
        old.take(99.0, {KEY: VOLUME})
        old.keep(self.journal)
        new = self.make()
        new.recall(self.journal)
        self.assertEqual((VOLUME, None), new.words(KEY))

    def test_a_volume_that_is_no_longer_named_keeps_its_legs(self) -> None:
        one = self.make()
        one.take(99.0, {KEY: VOLUME})
        self.assertEqual((VOLUME, 99.0), one.words(KEY))
        one.take(100.0, {})
        self.assertEqual((VOLUME, None), one.words(KEY))

    def test_a_target_may_be_another_volumes_too(self) -> None:
        other, nqn = provisioner.VolumeId('other'), VOLUME.replicas[0].nqn
        one = self.make()
        self.assertFalse(one.claimed(KEY, nqn))
        for named, ours, others in (({KEY}, False, True),
                                    ({other}, True, False),
                                    ({KEY, other}, True, True),
                                    (set(), False, False)):
            one.take(99.0, {key: dataclasses.replace(VOLUME, id=key)
                            for key in named})
            self.assertEqual((ours, others), (
                one.claimed(KEY, nqn), one.claimed(other, nqn)))
            self.assertFalse(one.claimed(KEY, None))

    def test_a_contradiction_is_told_with_the_legs_known_before(
            self) -> None:
        one = self.make()
        one.take(99.0, {KEY: VOLUME})
        one.take(100.0, {KEY: provisioner.Volume(
            id=KEY, alias='vol1', size_bytes=None, replica_count=2,
            replicas=(), hosts=None, nonsense='two states at once')})
        found, heard_s = one.words(KEY)
        assert found is not None
        self.assertEqual(VOLUME.replicas, found.replicas)
        self.assertEqual('two states at once', found.nonsense)
        self.assertEqual(100.0, heard_s)

    def held_by(self, *answers: tuple[float, str | None]) -> list[str]:
        """By whom, after each answer; None: it is not known."""
        one, found = self.make(), []
        for at_s, hosts in answers:
            one.take(at_s, {KEY: dataclasses.replace(
                VOLUME, hosts=None if hosts is None else frozenset(hosts))})
            told = one.words(KEY)[0]
            assert told is not None
            found.append('?' if told.hosts is None
                         else ''.join(sorted(told.hosts)))
        return found

    def test_that_a_host_has_let_go_has_to_be_said_twice(self) -> None:
        gone_s = truth.HOST_GONE_S
        self.assertEqual(['ab', 'ab', 'ab', 'a'], self.held_by(
            (1.0, 'ab'), (10.0, 'a'), (9.9 + gone_s, 'a'),
            (10.0 + gone_s, 'a')))
        # One that is named meanwhile is there; one that comes is at once.
        self.assertEqual(['ab', 'ab', 'ab', 'abc', 'ac'], self.held_by(
            (1.0, 'ab'), (10.0, 'a'), (20.0, 'ab'), (30.0, 'ac'),
            (40.0, 'ac')))
        # An answer that does not tell who holds it does not say so at all.
        self.assertEqual(['ab', 'ab', '?', 'a', 'a'], self.held_by(
            (1.0, 'ab'), (10.0, None), (20.0, None), (30.0, 'a'),
            (40.0, 'a')))

    def test_nonsense_does_not_say_that_a_host_has_let_go(self) -> None:
        one = self.make()
        for at_s, hosts, nonsense in (
                (1.0, 'ab', None), (10.0, 'a', None), (20.0, 'a', 'odd'),
                (30.0, 'a', None)):
            one.take(at_s, {KEY: dataclasses.replace(
                VOLUME, hosts=frozenset(hosts), nonsense=nonsense)})
            told = one.words(KEY)[0]
            assert told is not None
            self.assertEqual(frozenset('ab'), told.hosts)

    def test_a_host_that_held_it_is_remembered_by_the_next_agent(
            self) -> None:
        old, new = self.make(), self.make()
        both = dataclasses.replace(VOLUME, hosts=frozenset('ab'))
        old.take(1.0, {KEY: both})
        old.keep(self.journal)
        new.recall(self.journal)
        alone = dataclasses.replace(VOLUME, hosts=frozenset('a'))
        for at_s, told in ((10.0, both), (20.0, alone)):
            new.take(at_s, {KEY: alone})
            self.assertEqual(told, new.words(KEY)[0])

    def test_what_is_forgotten_is_forgotten_for_good(self) -> None:
        one = self.make()
        one.take(99.0, {KEY: VOLUME})
        one.keep(self.journal)
        one.forget(KEY, self.journal)
        new = self.make()
        new.recall(self.journal)
        self.assertEqual((None, None), new.words(KEY))
