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
"""Which read to wait for, and what it tells."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from os_brick_healer.nbd import parse, reads
from os_brick_healer.tests import base

OLD = parse.Process(pid=100, start='7')
NEW = parse.Process(pid=100, start='9')
THREE = parse.Requests(completed=90, in_flight=3)


def read(begun_s: float = 0.0, *, sent: bool = True,
         server: parse.Process = OLD,
         before: parse.Requests | None = THREE) -> reads.Read:
    return reads.Read(server=server, begun_s=begun_s, before=before,
                      sent=sent)


def was_sent(one: reads.Read, now: parse.Requests | None,
             depth: int = reads.DEPTH) -> bool:
    return reads.after(one, now, depth).sent


class SharedTest(base.TestCase):
    def test_the_first_question_begins_a_read(self) -> None:
        self.assertIsNone(reads.shared((), OLD, 0.0))

    def test_what_was_not_sent_is_waited_for_whoever_serves(self) -> None:
        last = read(5.0, sent=False)
        for server in (OLD, NEW):
            self.assertIs(last, reads.shared((read(), last), server, 1e6))

    def test_what_another_server_was_sent_tells_nothing(self) -> None:
        last = read()
        self.assertIs(last, reads.shared((last,), OLD, 0.0))
        self.assertIsNone(reads.shared((last,), NEW, 0.0))

    def test_the_next_one_is_begun_when_the_wait_has_doubled(self) -> None:
        for begun_s, next_s in (
                ((0.0,), 4.0), ((0.0, 4.0), 8.0), ((0.0, 4.0, 8.0), 16.0),
                ((10.0, 13.0), 17.0), ((10.0, 15.0), 20.0)):
            there = [read(at_s) for at_s in begun_s]
            self.assertIs(there[-1],
                          reads.shared(there, OLD, next_s - 0.01))
            self.assertIsNone(reads.shared(there, OLD, next_s))

    def test_a_day_of_slow_storage_holds_few_threads(self) -> None:
        there: list[reads.Read] = []
        for now_s in range(0, 86400, 2):
            if reads.shared(there, OLD, now_s) is None:
                there.append(read(now_s))
        self.assertEqual([0, 4, 8, 16, 32],
                         [one.begun_s for one in there[:5]])
        self.assertEqual(16, len(there))

    def test_they_are_bounded_whatever_happens(self) -> None:
        there: list[reads.Read] = []
        for number in range(100):
            server = dataclasses.replace(NEW, pid=1000 + number)
            if reads.shared(there, server, number * 1e4) is None:
                there.append(read(number * 1e4, server=server))
        self.assertEqual(16, len(there))


class SentTest(base.TestCase):
    def test_only_requests_that_stand_still_show_that_it_was_not(
            self) -> None:
        for completed, in_flight, sent in (
                (90, 3, False), (90, 2, False), (91, 3, True),
                (89, 3, True), (90, 4, True), (91, 2, True)):
            now = parse.Requests(completed=completed, in_flight=in_flight)
            self.assertIs(sent, was_sent(read(sent=False), now))

    def test_one_that_has_just_begun_was_not_seen_to_be_sent(self) -> None:
        self.assertFalse(was_sent(
            reads.Read(server=OLD, begun_s=0.0, before=THREE), THREE))

    def test_what_cannot_be_told_was_sent(self) -> None:
        self.assertTrue(was_sent(read(sent=False), None))
        self.assertTrue(was_sent(read(sent=False, before=None), THREE))

    def test_what_was_seen_to_be_sent_stays_so(self) -> None:
        self.assertTrue(was_sent(read(), THREE))

    def test_a_full_queue_keeps_it_from_being_sent_to_a_server_that_lives(
            self) -> None:
        self.assertEqual(128, reads.DEPTH)
        for in_flight, depth, sent in ((127, 128, False), (128, 128, True),
                                       (129, 128, True), (2, 2, True)):
            full = parse.Requests(completed=90, in_flight=in_flight)
            self.assertIs(sent, was_sent(
                read(sent=False, before=full), full, depth))
        full = parse.Requests(completed=90, in_flight=128)
        self.assertTrue(reads.after(
            read(sent=False, before=full), full).sent)

    @given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9),
           st.integers(0, 9))
    def test_one_more_under_way_or_ended_was_sent(
            self, completed: int, in_flight: int, ended: int,
            more: int) -> None:
        before = parse.Requests(completed=completed, in_flight=in_flight)
        now = parse.Requests(completed=completed + ended,
                             in_flight=in_flight + more)
        self.assertIs(bool(ended or more), was_sent(
            read(sent=False, before=before), now))
