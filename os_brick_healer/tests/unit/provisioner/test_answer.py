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
"""Laws of what a plugin gives back: garbage is said where it was asked."""

import dataclasses
from typing import Any, cast

from os_brick_healer import exception
from os_brick_healer.provisioner import answer
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.replica import truth
from os_brick_healer.tests import base

VOLUME = provisioner.Volume(
    id=provisioner.VolumeId('v'), alias='a', size_bytes=None,
    replica_count=2, hosts=None, replicas=(provisioner.Replica(
        id=provisioner.ReplicaId('r'), nqn=None, namespace_uuid=None,
        portals=(), state=provisioner.ReplicaState.AVAILABLE),))
GARBAGE: tuple[tuple[object, str], ...] = (
    (None, 'volumes() gave NoneType and not a mapping'),
    ([VOLUME], 'volumes() gave list and not a mapping'),
    ({7: VOLUME}, 'volumes() gave int and not an id'),
    ({'v': None}, "volumes() gave NoneType and not a Volume for 'v'"),
    ({'v': dataclasses.replace(VOLUME, replicas=cast('Any', None))},
     "volumes() gave NoneType and not a tuple of Replica for 'v'"),
    ({'v': dataclasses.replace(VOLUME, replicas=cast('Any', ('r',)))},
     "volumes() gave str and not a tuple of Replica for 'v'"))


class Plugin:
    """Says what it is told to say."""

    def __init__(self, volumes: Any, sentence: Any = 'a fake 1.0') -> None:
        self.told = volumes
        self.sentence = sentence

    def probe(self) -> Any:
        return self.sentence

    def volumes(self) -> Any:
        return self.told


class AnswerTest(base.TestCase):
    def test_an_answer_is_taken_as_it_is(self) -> None:
        for told in ({}, {'v': VOLUME}):
            self.assertIs(told, answer.volumes(told))
        self.assertEqual('a fake', answer.sentence('a fake'))

    def test_garbage_is_a_bug_in_the_plugin_and_says_which(self) -> None:
        for told, said in GARBAGE:
            error = self.assertRaises(exception.ProvisionerNonsense,
                                      answer.volumes, told)
            self.assertIn('a bug in the plugin', str(error))
            self.assertIn(said, str(error))
        error = self.assertRaises(exception.ProvisionerNonsense,
                                  answer.sentence, None)
        self.assertIn('probe() gave NoneType', str(error))


class TruthTest(base.TestCase):
    """What status says of a provisioner, from the first question on."""

    def ask(self, one: truth.Truth) -> dict[str, Any]:
        """One question, as the wing asks it; what status says then."""
        try:
            result: Any = one.ask()
        except Exception as e:  # noqa: BLE001 - as a worker's thread does
            result = e
        one.take(5.0, result)
        return one.about()

    def make(self, plugin: Any) -> truth.Truth:
        return truth.Truth(lambda: plugin, lambda: 7.0)

    def test_before_the_first_question_nothing_is_wrong(self) -> None:
        self.assertEqual({'sentence': 'not asked yet', 'error': None,
                          'age_s': None, 'waiting_s': None},
                         self.make(None).about())

    def test_a_question_that_is_out_is_not_said_to_be_unasked(self) -> None:
        now_s, told = [3.0], []

        class Slow(Plugin):
            def probe(self) -> Any:
                now_s[0] += 4.0
                told.append(one.about())
                return super().probe()

        plugin: Any = Slow({'v': VOLUME})
        one = truth.Truth(lambda: plugin, lambda: now_s[0])
        self.assertIsNone(self.ask(one)['waiting_s'])
        self.assertEqual([{'sentence': '', 'error': None, 'age_s': None,
                           'waiting_s': 4.0}], told)
        now_s[0] += truth.PROBE_S
        self.assertIsNone(self.ask(one)['waiting_s'])
        self.assertEqual(('a fake 1.0', 4.0),
                         (told[1]['sentence'], told[1]['waiting_s']))

    def test_an_answer_takes_its_place(self) -> None:
        self.assertEqual(
            {'sentence': 'a fake 1.0', 'error': None, 'age_s': 2.0,
             'waiting_s': None},
            self.ask(self.make(Plugin({'v': VOLUME}))))

    def test_after_a_failure_it_is_not_said_to_be_unasked(self) -> None:
        def refuse() -> provisioner.Provisioner:
            raise exception.ProvisionerUnreachable('cannot reach it')

        self.assertEqual(
            {'sentence': '', 'error': 'cannot reach it', 'age_s': None,
             'waiting_s': None},
            self.ask(truth.Truth(refuse, lambda: 7.0)))

    def test_garbage_is_an_error_and_raises_nothing_later(self) -> None:
        for told, said in GARBAGE:
            about = self.ask(self.make(Plugin(told)))
            self.assertIn(said, about['error'])
            self.assertEqual('a fake 1.0', about['sentence'])
        self.assertIn('probe() gave', self.ask(
            self.make(Plugin({}, sentence=None)))['error'])

    def test_what_nobody_expects_is_a_bug_logged_once(self) -> None:
        one = self.make(None)   # it has no probe()
        with self.assertLogs(truth.LOG.logger) as logs:
            for _ in range(3):
                self.assertIn('a bug in the plugin', self.ask(one)['error'])
        self.assertEqual(1, sum(r.exc_info is not None
                                for r in logs.records))
