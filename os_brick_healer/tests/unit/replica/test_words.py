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

    def test_what_is_forgotten_is_forgotten_for_good(self) -> None:
        one = self.make()
        one.take(99.0, {KEY: VOLUME})
        one.keep(self.journal)
        one.forget(KEY, self.journal)
        new = self.make()
        new.recall(self.journal)
        self.assertEqual((None, None), new.words(KEY))
