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
"""A long run of the bed can be gone on with."""

import json
import pathlib

from bed import image, machine, runner
from os_brick_healer.tests import base


def _ground(out_dir: pathlib.Path, code: str = 'payload-1') -> runner.Ground:
    at = out_dir / 'image'
    return runner.Ground(
        image=image.Image(root=at, kernel=at, initrd=at),
        payload=out_dir / f'{code}.tar', out_dir=out_dir)


PATIENT = {'patience': '2'}


class TestGoOn(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.out_dir = self.temp_dir()

    def _known(self, *entries: dict[str, object]) -> frozenset[str]:
        (self.out_dir / 'results.json').write_text(json.dumps(entries))
        return runner.passed_before(_ground(self.out_dir), PATIENT)

    def test_only_what_passed_with_this_code_is_left_out(self) -> None:
        self.assertEqual(frozenset(('fine',)), self._known(
            {'name': 'fine', 'passed': True, 'code': 'payload-1'},
            {'name': 'failed', 'passed': False, 'code': 'payload-1'},
            {'name': 'other-code', 'passed': True, 'code': 'payload-2'},
            {'name': 'before-that-was-noted', 'passed': True}))

    def test_other_parameters_are_another_run(self) -> None:
        entry = {'name': 'fine', 'passed': True, 'code': 'payload-1 losses=1'}
        self.assertEqual(frozenset(), self._known(entry))
        self.assertEqual(frozenset(('fine',)), runner.passed_before(
            _ground(self.out_dir), {'losses': '1', **PATIENT}))

    def test_nothing_is_left_out_where_nothing_is_known(self) -> None:
        self.assertEqual(frozenset(), runner.passed_before(
            _ground(self.out_dir), PATIENT))
        for text in ('[{', '7', '[7]', '[{}]', '{"name": 1}', '["name"]'):
            (self.out_dir / 'results.json').write_text(text)
            self.assertEqual(frozenset(), runner.passed_before(
                _ground(self.out_dir), PATIENT), text)


class TestReason(base.TestCase):

    def test_an_interrupted_guest_is_not_called_silent(self) -> None:
        for how, interrupted, timed_out in (
                ('was interrupted', True, True),
                ('was interrupted', True, False),
                ('gave no sign before the deadline', False, True),
                ('ended without a result', False, False)):
            self.assertIn(f'the guest {how}', runner._reason(
                {}, machine.Outcome(
                    events=(), console='boot\n', host_s=1.0,
                    timed_out=timed_out, interrupted=interrupted), ()))
