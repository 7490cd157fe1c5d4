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

"""A memory is read back as it was written down, or not at all."""

import json
from typing import Any

from os_brick_healer.replica import model, remember
from os_brick_healer.tests import base

A, B = model.ReplicaId('a'), model.ReplicaId('b')

FULL = model.Memory(
    array_uuid='u', tries=3, next_try_s=4.5, replicas={
        A: model.ReplicaMemory(
            lost_s=1.0, unreachable_s=2.0, in_sync_s=3.0,
            reported=model.ReplicaState.MISSING, report_next_s=4.0,
            losses_s=(5.0, 6.0), tries=7, next_try_s=8.0, last_error='no',
            request=model.Request(
                id='q', asked_s=9.0, tries=10, known=frozenset((A, B)),
                state=model.RequestState.ARRIVED, arrived=B, failed=True),
            belongs=True, superblock=model.Superblock.FOREIGN,
            readd_refused=True, published=True, publish_next_s=15.0,
            let_go=True, flow_tries=11, flow_next_s=12.0, cut_next_s=13.0,
            unnamed_s=14.0, nqn='nqn.a', namespace_uuid='v'),
        B: model.ReplicaMemory()})
#: The same, as it stands in journals.
WRITTEN: dict[str, Any] = {
    'array_uuid': 'u', 'tries': 3, 'next_try_s': 4.5, 'replicas': {
        'a': {
            'lost_s': 1.0, 'unreachable_s': 2.0, 'in_sync_s': 3.0,
            'reported': 'missing', 'report_next_s': 4.0,
            'losses_s': [5.0, 6.0], 'tries': 7, 'next_try_s': 8.0,
            'last_error': 'no', 'request': {
                'id': 'q', 'asked_s': 9.0, 'tries': 10, 'known': ['a', 'b'],
                'state': 'arrived', 'arrived': 'b', 'failed': True},
            'late': [],
            'belongs': True, 'superblock': 'foreign', 'readd_refused': True,
            'published': True, 'publish_next_s': 15.0, 'let_go': True,
            'flow_tries': 11, 'flow_next_s': 12.0, 'cut_next_s': 13.0,
            'unnamed_s': 14.0, 'nqn': 'nqn.a', 'namespace_uuid': 'v'},
        'b': {
            'lost_s': None, 'unreachable_s': None, 'in_sync_s': None,
            'reported': None, 'report_next_s': 0.0, 'losses_s': [],
            'tries': 0, 'next_try_s': 0.0, 'last_error': None,
            'request': None, 'late': [], 'belongs': False,
            'superblock': None,
            'readd_refused': False, 'published': False,
            'publish_next_s': 0.0, 'let_go': False,
            'flow_tries': 0, 'flow_next_s': 0.0, 'cut_next_s': 0.0,
            'unnamed_s': None, 'nqn': None, 'namespace_uuid': None}}}


class RememberTest(base.TestCase):

    def test_it_is_written_as_it_always_was(self) -> None:
        self.assertEqual(WRITTEN, json.loads(json.dumps(remember.dump(FULL))))

    def test_it_is_read_back_as_it_was(self) -> None:
        self.assertEqual(FULL, remember.load(WRITTEN))

    def test_a_request_that_is_over_and_may_be_late_is_written(
            self) -> None:
        late = model.Request(id='q', asked_s=9.0, tries=1, arrived=B,
                             known=frozenset((A, B)),
                             state=model.RequestState.ACCEPTED)
        memory = model.Memory(replicas={A: model.ReplicaMemory(late=(late,))})
        written = json.loads(json.dumps(remember.dump(memory)))
        self.assertEqual([{
            'id': 'q', 'asked_s': 9.0, 'tries': 1, 'known': ['a', 'b'],
            'state': 'accepted', 'arrived': 'b', 'failed': False}],
            written['replicas']['a']['late'])
        self.assertEqual(memory, remember.load(written))

    def test_what_an_older_release_did_not_write_is_as_at_first(self) -> None:
        self.assertEqual(model.Memory(), remember.load({'replicas': {}}))
        self.assertEqual(
            model.Memory(replicas={A: model.ReplicaMemory()}),
            remember.load({'replicas': {'a': {}}}))
        one = {'id': 'q', 'asked_s': 1, 'tries': 0, 'known': [],
               'state': 'asked'}
        (found,) = remember.load(
            {'replicas': {'a': {'request': one}}}).replicas.values()
        assert found.request is not None
        self.assertIsNone(found.request.arrived)
        self.assertFalse(found.request.failed)

    def test_what_a_newer_release_wrote_is_left_out(self) -> None:
        newer = {**WRITTEN, 'more': 1, 'replicas': {
            'a': {**WRITTEN['replicas']['a'], 'more': 1},
            'b': WRITTEN['replicas']['b']}}
        self.assertEqual(FULL, remember.load(newer))

    def test_every_field_is_of_its_kind_or_nothing_is_read(self) -> None:
        for name in WRITTEN['replicas']['a']:
            wrong: list[Any] = [{}, {'x': 1}, object()]
            for value in wrong:
                self.assertRaises(ValueError, remember.load,
                                  {'replicas': {'a': {name: value}}})
        for name in ('id', 'asked_s', 'tries', 'known', 'state'):
            request = dict(WRITTEN['replicas']['a']['request'])
            for changed in ({**request, name: {}},
                            {k: v for k, v in request.items() if k != name}):
                self.assertRaises(
                    ValueError, remember.load,
                    {'replicas': {'a': {'request': changed}}})
        whole: list[dict[str, Any]] = [
            {}, {'replicas': None}, {'replicas': []}, {'replicas': {'a': 1}},
            {**WRITTEN, 'tries': 'x'}, {**WRITTEN, 'next_try_s': None},
            {**WRITTEN, 'array_uuid': 1}]
        for changed in whole:
            self.assertRaises(ValueError, remember.load, changed)
