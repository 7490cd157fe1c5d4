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
"""Who said what in a log that many servers wrote."""

import os
import pathlib

from hypothesis import given
from hypothesis import strategies as st

from os_brick_healer.nbd import parse
from os_brick_healer.privileged import serverlog
from os_brick_healer.tests import base

KEY = '0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c11'


def running(pid: int) -> parse.Running:
    return parse.Running(pid=pid, start=str(pid * 7), stopped=False,
                         argv=('x',))


def name_in(line: str) -> str | None:
    """Lines of one word are names."""
    return line.strip() if len(line.split()) == 1 else None


class ServerLogTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.place = str(self.temp_dir() / 'log')

    def serve(self, pid: int | None, words: str) -> None:
        path = serverlog.begin(KEY, self.place)
        with open(path, 'a', encoding='utf-8') as log:
            log.write(words)
        if pid is not None:
            serverlog.known(path, running(pid))

    def said(self) -> list[tuple[int | None, str]]:
        return [(None if one.server is None else one.server.pid,
                 ' '.join(sorted(one.names)))
                for one in serverlog.read(KEY, name_in, self.place)]

    def test_each_ones_words_are_its_own(self) -> None:
        self.serve(5, 'a\nb\n')
        self.serve(6, 'half-a-line')
        self.serve(7, '')
        self.assertEqual([(5, 'a b'), (6, 'half-a-line'), (7, '')],
                         self.said())

    def test_words_are_told_whenever_the_process_became_known(self) -> None:
        self.serve(5, 'before\n')
        with open(serverlog.path(KEY, self.place), 'a',
                  encoding='utf-8') as log:
            log.write('after\n')
        self.assertEqual([(5, 'after before')], self.said())

    def test_who_was_never_known_is_nobody(self) -> None:
        self.serve(None, 'a\n')
        self.serve(6, 'b\n')
        self.assertEqual([(None, 'a'), (6, 'b')], self.said())

    def test_who_was_started_in_another_container_is_nobody(self) -> None:
        self.serve(5, 'a\n')
        path = pathlib.Path(serverlog.path(KEY, self.place))
        mine = f'since 35, in {serverlog.namespace()}'
        self.assertIn(mine, path.read_text())
        path.write_text(path.read_text().replace(mine, 'since 35, in 77'))
        self.assertEqual([(None, 'a')], self.said())

    def test_it_is_told_what_each_one_served(self) -> None:
        data = serverlog.about({'pool': 'p', 'image': 'i'})
        self.assertEqual(data, serverlog.about({'image': 'i', 'pool': 'p'}))
        self.assertNotEqual(data, serverlog.about({'image': 'i'}))
        for word in (data, ''):
            serverlog.begin(KEY, self.place, word)
        self.assertEqual([data, ''], [one.about for one in serverlog.read(
            KEY, name_in, self.place)])
        self.assertEqual('', serverlog.last_words(KEY, self.place))

    def test_what_an_older_version_left_is_nobodys(self) -> None:
        path = serverlog.begin(KEY, self.place)
        with open(path, 'w', encoding='utf-8') as log:
            log.write('old\n')
        self.serve(6, 'b\n')
        self.assertEqual([(6, 'b')], self.said())

    def test_a_log_that_was_set_aside_is_read_as_well(self) -> None:
        self.serve(5, 'a\n' + 'x' * (serverlog.BYTES_MAX + 1))
        self.serve(6, 'b\n')
        self.assertEqual([5, 6], [pid for pid, _ in self.said()])

    def test_a_log_is_its_writers_alone_whatever_the_umask(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.serve(5, 'a\n')
        serverlog.only_ours(KEY, self.place)

    def test_no_log_says_nothing(self) -> None:
        self.assertEqual([], self.said())
        self.assertEqual('', serverlog.last_words(KEY, self.place))

    def test_last_words_are_the_servers_and_not_ours(self) -> None:
        self.serve(5, 'first\nno such image\n')
        self.assertEqual('first; no such image',
                         serverlog.last_words(KEY, self.place))

    def test_last_words_are_not_those_of_the_one_before(self) -> None:
        self.serve(5, 'No such file or directory\n')
        self.serve(6, '')
        self.assertEqual('', serverlog.last_words(KEY, self.place))

    @given(st.lists(st.text()))
    def test_whatever_is_written_is_read(self, lines: list[str]) -> None:
        for section in serverlog.sections(lines, name_in):
            self.assertIsNone(section.server)
