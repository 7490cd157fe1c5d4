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
"""What is remembered, learned and told of mapped volumes."""

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from os_brick_healer.engine import verdict
from os_brick_healer.mapping import learn, model, remember, telling
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.mapping import world


class RememberTest(base.TestCase):
    @given(st.builds(
        model.Memory, server=st.none() | st.builds(
            model.Process, pid=st.integers(1, 9), start=st.just('7')),
        lost_s=st.none() | st.floats(0, 9), tries=st.integers(0, 9),
        deaths_s=st.tuples(st.floats(0, 9)), heals=st.integers(0, 9),
        short=st.integers(0, 9),
        last_error=st.none() | st.text(max_size=5),
        fenced=st.none() | st.text(max_size=5), found=st.booleans()))
    def test_what_is_written_is_read_again(self,
                                           memory: model.Memory) -> None:
        self.assertEqual(memory, remember.load(remember.dump(memory)))

    def test_a_proof_does_not_outlive_the_agent(self) -> None:
        found = remember.load(remember.dump(world.known()))
        self.assertEqual((None, None), (found.linked_s, found.proven_s))

    def test_what_is_no_memory_is_refused(self) -> None:
        for value in ({'server': 7}, {'deaths_s': 1}, {'tries': 'x'},
                      {'server': {'pid': 1}}):
            self.assertRaises(ValueError, remember.load, value)
        self.assertEqual(model.Memory(), remember.load({'newer': 1}))

    def test_every_field_is_of_its_kind_or_nothing_is_read(self) -> None:
        for name in ('server_s', 'next_try_s', 'lost_s', 'tries', 'heals',
                     'short'):
            wrong: list[Any] = [{}, 'x', []]
            for value in wrong:
                self.assertRaises(ValueError, remember.load, {name: value})
        for name in ('last_error', 'fenced', 'refused'):
            self.assertEqual('7', getattr(remember.load({name: 7}), name))

    def test_a_mapping_is_read_again_by_its_journal_row(self) -> None:
        row = remember.dump_mapping(world.mapping())
        self.assertEqual(model.KIND, row['kind'])
        self.assertEqual(world.mapping(), remember.load_mapping(
            world.KEY, row, lambda _: world.ABILITIES))

    def test_another_row_is_none(self) -> None:
        good = remember.dump_mapping(world.mapping())
        for name in ('mounter', 'source', 'socket', 'device', 'reattach_s',
                     'size_bytes', 'timer_ms', 'timer_before_ms'):
            bad = {k: v for k, v in good.items() if k != name}
            self.assertRaises(ValueError, remember.load_mapping, world.KEY,
                              bad, lambda _: None)
        self.assertRaises(ValueError, remember.load_mapping, world.KEY,
                          {**good, 'source': 'x'}, lambda _: None)


SERVE = model.Serve(volume=world.KEY, device='nbd3', mounter='nbd')
PROVE = model.Prove(volume=world.KEY, device='nbd3',
                    server=world.server().process)
KILL = model.Kill(volume=world.KEY, device='nbd3', hung=True, why='it hangs',
                  server=world.server().process)
TIMER = model.SetTimer(volume=world.KEY, device='nbd3', timer_ms=1000)


class LearnTest(base.TestCase):
    memory = dataclasses.replace(world.known(), tries=3, next_try_s=7.0,
                                 last_error='no', refused='gone', heals=1)

    def learned(self, action: model.Action, error: str | None = None,
                detail: str = '', server: model.Process | None = None,
                ) -> model.Memory:
        return learn.learn(
            self.memory, action, verdict.Outcome(
                changed=True, error=error, detail=detail), 1000.0,
            world.POLICY, server)

    def test_a_new_server_is_linked_and_not_proven(self) -> None:
        one = model.Process(pid=7, start='8')
        self.memory = dataclasses.replace(self.memory, lost_s=5.0)
        self.assertEqual(
            dataclasses.replace(
                self.memory, server=one, server_s=1000.0, lost_s=None,
                linked_s=1000.0, proven_s=None, refused=None, heals=2),
            self.learned(SERVE, server=one))
        self.assertEqual(self.memory, self.learned(SERVE))

    def test_who_was_shut_out_is_remembered_until_the_next_heal(
            self) -> None:
        one = model.Process(pid=7, start='8')
        self.memory = self.learned(
            SERVE, server=one, detail=f'{one}{learn.SERVES}x was shut out')
        self.assertEqual('x was shut out', self.memory.fenced)
        self.assertIsNone(self.learned(
            SERVE, server=one, detail=f'{one} serves').fenced)

    def test_who_served_when_it_was_to_be_killed_is_proven(self) -> None:
        kill = model.Kill(volume=world.KEY, device='nbd3', hung=False,
                          why='x', server=world.server().process)
        for linked_s, expected_s in ((None, 1000.0), (900.0, 1000.0),
                                     (1001.0, 1001.0)):
            self.memory = dataclasses.replace(self.memory, linked_s=linked_s)
            self.assertEqual(
                dataclasses.replace(self.memory, proven_s=1000.0,
                                    linked_s=expected_s),
                self.learned(kill, detail=learn.READ))
            self.assertEqual(self.memory, self.learned(kill, detail='ended'))

    def test_a_read_through_the_server_before_says_nothing_of_this_one(
            self) -> None:
        self.memory = dataclasses.replace(
            self.memory, server=model.Process(pid=7, start='8'))
        for error, detail in ((None, learn.READ), ('slow', learn.SENT),
                              ('cut', learn.UNSENT)):
            self.assertEqual(self.memory,
                             self.learned(PROVE, error, detail))

    def test_a_read_that_outlives_its_server_ends_no_pause(self) -> None:
        self.memory = dataclasses.replace(self.memory, lost_s=999.9,
                                          next_try_s=1016.0)
        for error, detail in ((None, learn.READ), ('slow', learn.SENT),
                              ('cut', learn.UNSENT)):
            self.assertEqual(self.memory,
                             self.learned(PROVE, error, detail))

    def test_a_proof_ends_a_row_of_failures(self) -> None:
        self.assertEqual(
            dataclasses.replace(
                self.memory, linked_s=1000.0, proven_s=1000.0, tries=0,
                next_try_s=0.0, last_error=None, refused=None),
            self.learned(PROVE))
        unlinked = learn.learn(
            dataclasses.replace(self.memory, linked_s=None), PROVE,
            verdict.Outcome(changed=False), 1000.0, world.POLICY)
        self.assertEqual(1000.0, unlinked.linked_s)

    def test_after_a_proof_nobody_is_left_to_be_shut_out(self) -> None:
        self.memory = dataclasses.replace(self.memory, found=True,
                                          fenced='before')
        for detail, told in ((learn.READ, 'before'),
                             (f'{learn.READ}; x was shut out',
                              'x was shut out')):
            found = self.learned(PROVE, detail=detail)
            self.assertEqual((False, told), (found.found, found.fenced))
        self.assertIs(True, self.learned(PROVE, 'slow', learn.SENT).found)
        self.assertIs(False, self.learned(SERVE, server=model.Process(
            pid=7, start='8')).found)

    def test_a_read_that_was_sent_shows_a_connection(self) -> None:
        self.memory = dataclasses.replace(self.memory, linked_s=None)
        self.assertEqual(
            dataclasses.replace(self.memory, linked_s=1000.0,
                                last_error='slow'),
            self.learned(PROVE, 'slow', learn.SENT))
        self.assertEqual(
            dataclasses.replace(self.memory, last_error='cut'),
            self.learned(PROVE, 'cut', learn.UNSENT))

    def test_a_connection_that_was_known_keeps_its_moment(self) -> None:
        self.assertEqual(500.0, self.learned(
            PROVE, 'slow', learn.SENT).linked_s)

    def test_a_killing_and_a_timer_leave_the_memory_alone(self) -> None:
        self.assertEqual(self.memory, self.learned(KILL))
        for error in (None, 'no'):
            self.assertEqual(self.memory, self.learned(TIMER, error))

    def test_what_fails_is_counted_and_paced(self) -> None:
        for action in (SERVE, KILL):
            self.assertEqual(
                dataclasses.replace(self.memory, tries=4, next_try_s=1002.0,
                                    last_error='bad', refused=None),
                self.learned(action, 'bad'))
        self.assertEqual(
            dataclasses.replace(self.memory, tries=4, next_try_s=1300.0,
                                last_error='bad', refused='bad'),
            self.learned(SERVE, 'bad', learn.REFUSED))

    def test_who_ends_before_it_serves_has_ended_soon(self) -> None:
        for short, wait_s in ((0, 2.0), (6, 2.0), (7, 4.0), (9, 16.0),
                              (99, 30.0)):
            self.memory = dataclasses.replace(self.memory, short=short)
            self.assertEqual(
                dataclasses.replace(
                    self.memory, tries=4, next_try_s=1000.0 + wait_s,
                    last_error='bad', refused=None, short=short + 1),
                self.learned(SERVE, 'bad', learn.ENDED))
            self.assertEqual(short, self.learned(SERVE, 'bad').short)

    def test_what_is_intended_changes_no_memory(self) -> None:
        self.assertEqual(self.memory, learn.intend(self.memory, SERVE))


class TellingTest(base.TestCase):
    def test_a_volume_that_was_not_seen_has_no_device(self) -> None:
        nothing = {'alias': None, 'device': None, 'mounter': None,
                   'server': None}
        for seen in (None, world.seen(attachment=None)):
            self.assertEqual(nothing,
                             telling.describe(seen, model.Memory()))

    def test_a_row_that_cannot_be_read_has_an_alias(self) -> None:
        told = telling.describe(world.seen(
            attachment=world.attachment(mapping=None)), model.Memory())
        self.assertEqual(('vol', None, None, None),
                         (told['alias'], told['device'], told['mounter'],
                          told['source']))

    def test_all_is_told_in_plain_values(self) -> None:
        memory = world.known(heals=2, deaths_s=(1.0, 2.0), last_error='bad')
        self.assertEqual({
            'alias': 'vol', 'device': 'nbd3', 'mounter': 'nbd',
            'source': {'file': '/srv/a.img'},
            'server': {'pid': 100, 'stopped': False, 'proven': True},
            'transparent': True, 'waiting': 3, 'heals': 2, 'deaths': 2,
            'note': 'bad'},
            telling.describe(world.waiting(3), memory))
        doubted = telling.describe(world.seen(), memory, 'x says y')
        self.assertEqual('x says y', doubted['doubt'])
        lacking = telling.describe(world.seen(attachment=world.attachment(
            mapping=world.mapping(lacks='it lacks z'))), memory)
        self.assertEqual('it lacks z', lacking['lacks'])
        self.assertNotIn('lacks', doubted)
        dead = telling.describe(world.seen(server=None), model.Memory())
        self.assertEqual((None, 0, 0, 0),
                         (dead['server'], dead['waiting'], dead['heals'],
                          dead['deaths']))
        self.assertNotIn('note', dead)
        unknown = telling.describe(world.seen(attachment=world.attachment(
            mapping=world.mapping(abilities=None))), model.Memory())
        self.assertIsNone(unknown['transparent'])
        unproven = telling.describe(world.seen(), model.Memory())
        self.assertIs(False, unproven['server']['proven'])
