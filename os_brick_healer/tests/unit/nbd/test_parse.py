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
"""What the kernel's files say about devices and processes."""

from hypothesis import given
from hypothesis import strategies as st

from os_brick_healer.nbd import parse
from os_brick_healer.tests import base

#: Linux 6.1: /sys/block/nbd0/stat with two requests under way.
STAT = ('      90        0     4272       37      744        0     5952     '
        '2034        2     2140     2075        3        0        0        0'
        '       11        3')
#: /proc/PID/stat of a process with a difficult name.
PROCESS = ('4711 (a ) b) S 1 4711 4711 0 -1 4194560 612 0 0 0 3 1 0 0 20 0 '
           '4 0 98765 230600704 1330 18446744073709551615')


class RequestsTest(base.TestCase):
    def test_what_has_ended_is_added_up(self) -> None:
        self.assertEqual(
            parse.Requests(completed=90 + 744 + 3 + 11, in_flight=2),
            parse.requests(STAT))

    def test_an_older_kernel_has_fewer_columns(self) -> None:
        self.assertEqual(parse.Requests(completed=834, in_flight=2),
                         parse.requests(' '.join(STAT.split()[:11])))

    def test_without_what_is_under_way_it_is_nothing(self) -> None:
        words = STAT.split()
        self.assertIsNone(parse.requests(' '.join(words[:8])))
        self.assertEqual(parse.Requests(completed=834, in_flight=2),
                         parse.requests(' '.join(words[:9])))

    def test_only_plain_digits_are_a_count(self) -> None:
        for odd in ('x', '-1', '1.0', '\u0664', '\u00b2'):
            self.assertIsNone(parse.requests(STAT.replace('4272', odd)))

    @given(st.text(max_size=80))
    def test_hostile_text_is_requests_or_nothing(self, text: str) -> None:
        found = parse.requests(text)
        self.assertTrue(found is None or found.in_flight >= 0)


    def test_a_number_without_an_end_is_none(self) -> None:
        self.assertIsNone(parse.requests(STAT + ' ' + '9' * 5000))
        self.assertTrue(parse.is_number(str(2 ** 64 - 1)))
        self.assertFalse(parse.is_number('1' * 21))


class RunningTest(base.TestCase):
    def test_a_process_is_every_user_that_it_is(self) -> None:
        status = 'Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t7\t7\t7\t7\n'
        self.assertEqual(frozenset((0, 1000)), parse.uids(status))
        for torn in ('', 'Name:\tx\n', 'Uid:\n', 'Uid:\t-1\t0\n',
                     'Name:\tUid: 0\n'):
            self.assertEqual(frozenset(), parse.uids(torn))

    def test_no_process_says_who_it_is_by_its_name(self) -> None:
        for odd in '\r\v\f\x1c\x1d\x1e\x85\u2028':
            status = f'Name:\t{odd}Uid:\t0\t0\t0\nUid:\t7\t7\t7\t7\n'
            self.assertEqual(frozenset((7,)), parse.uids(status))

    def test_a_process_is_its_number_and_its_start(self) -> None:
        found = parse.running(4711, PROCESS, 'nbdkit\0-f\0')
        self.assertEqual(parse.Running(pid=4711, start='98765',
                                       stopped=False,
                                       argv=('nbdkit', '-f')), found)

    def test_who_is_stopped_lives_and_a_zombie_does_not(self) -> None:
        for letter, alive, stopped in (('T', True, True), ('t', True, True),
                                       ('D', True, False), ('R', True, False),
                                       ('Z', False, False),
                                       ('X', False, False)):
            found = parse.running(1, PROCESS.replace(') S', f') {letter}'),
                                  'x')
            self.assertEqual(alive, found is not None)
            self.assertEqual(stopped, bool(found and found.stopped))

    def test_a_line_that_is_torn_before_the_start_is_none(self) -> None:
        head, words = PROCESS.rsplit(') ', 1)[0], PROCESS.rsplit(') ', 1)[1]
        for count, whole in ((19, False), (20, True)):
            line = f'{head}) {" ".join(words.split()[:count])}'
            found = parse.running(1, line, 'x')
            self.assertIs(whole, found is not None)
            if found is not None:
                self.assertEqual(('98765', False),
                                 (found.start, found.dying))

    def test_threads_that_are_left_keep_a_zombie_alive(self) -> None:
        zombie = PROCESS.replace(') S', ') Z')
        self.assertIsNone(parse.running(1, zombie, '', 1))
        self.assertEqual(
            parse.Running(pid=1, start='98765', stopped=False, argv=(),
                          dying=True), parse.running(1, zombie, '', 2))

    def test_one_that_has_given_its_memory_back_is_ending(self) -> None:
        self.assertEqual(
            parse.Running(pid=1, start='98765', stopped=False, argv=(),
                          dying=True), parse.running(1, PROCESS, ''))

    def test_a_thread_exits_after_its_last_system_call(self) -> None:
        words = PROCESS.rpartition(') ')[2].split()
        for flags, expected in (('4194624', False), ('4194628', True),
                                ('4', True), ('8', False), ('3', False),
                                ('0', False), ('-4', False),
                                ('soon', False)):
            line = ' '.join([*words[:6], flags, *words[7:]])
            self.assertIs(expected, parse.exits(f'1 (a) 4) {line}'), flags)
        self.assertFalse(parse.exits(f'1 (a) {" ".join(["4"] * 19)}'))
        self.assertFalse(parse.exits(''))

    def test_one_that_is_leaving_is_dying_and_a_live_one_is_not(
            self) -> None:
        zombie = PROCESS.replace(') S', ') Z')
        for stat, line, threads in ((zombie, '', 2), (PROCESS, '', 1)):
            found = parse.running(1, stat, line, threads, True)
            assert found is not None
            self.assertTrue(found.dying and found.leaving)
        found = parse.running(1, PROCESS, 'x', 1, True)
        self.assertFalse(found is None or found.leaving)

    def test_without_a_start_it_is_nobody(self) -> None:
        self.assertIsNone(parse.running(
            1, PROCESS.replace(' 98765 ', ' soon '), 'x'))

    @given(st.text(max_size=80), st.text(max_size=80))
    def test_hostile_files_are_a_process_or_nothing(self, stat: str,
                                                    line: str) -> None:
        found = parse.running(1, stat, line)
        self.assertTrue(found is None or found.pid == 1)

    def test_all_the_marks_of_the_right_program_are_wanted(self) -> None:
        marks = ('--unix', '/run/a.sock')
        for expected, argv in (
                (True, ('/usr/sbin/nbdkit', '-f', *marks)),
                (True, ('nbdkit', *marks)),
                (True, ('/usr/bin/python3', '/opt/bin/nbdkit', *marks)),
                (False, ('/usr/sbin/nbdkit', '--unix', '/run/b.sock')),
                (False, ('/usr/bin/env', '-x', 'nbdkit', *marks)),
                (False, ('/usr/bin/vi', *marks)),
                (False, ('nbdkit', '--unix /run/a.sock')), (False, ())):
            self.assertEqual(expected,
                             parse.carries(argv, 'nbdkit', marks),
                             str(argv))
        self.assertFalse(parse.carries(('nbdkit',), 'nbdkit', ()))
        # The program's own name is no mark.
        self.assertFalse(parse.carries(('nbdkit',), 'nbdkit', ('nbdkit',)))
