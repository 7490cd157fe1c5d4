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
"""What an answer comes to, beside the journal."""

from os_brick_healer.attachments import base as source_base
from os_brick_healer.mapping import compare
from os_brick_healer.tests import base

IMAGE = {'pool': 'p', 'image': 'i'}


def attached(volume: str, **names: str) -> source_base.Attached:
    return source_base.Attached(
        volume=volume, alias=volume, state=source_base.State.ATTACHED,
        names=names or IMAGE)


def known(*, concerned: bool = True, **source: str) -> compare.Known:
    return compare.Known(source=source or {**IMAGE, 'user': 'u'},
                         concerned=concerned)


class CompareTest(base.TestCase):
    def said(self, here: tuple[source_base.Attached, ...] = (),
             elsewhere: dict[str, tuple[str, ...]] | None = None,
             written: tuple[str, ...] = (), **rows: compare.Known,
             ) -> compare.Said:
        return compare.compare('x', source_base.Listing(
            here={one.volume: one for one in here},
            elsewhere=elsewhere or {}), rows, frozenset((*rows, *written)))

    def test_what_both_have_is_no_news(self) -> None:
        found = self.said((attached('v'),), v=known())
        self.assertEqual(compare.Said(elsewhere={}, doubts={}, lacking={}),
                         found)

    def test_another_image_is_a_doubt(self) -> None:
        found = self.said((attached('v', pool='p', image='j'),), v=known())
        self.assertEqual({'v': 'x says that its image is j, and i is '
                          'mapped'}, found.doubts)
        self.assertEqual({}, self.said(
            (attached('v', namespace='n'),), v=known()).doubts)

    def test_attached_nowhere_is_a_doubt_of_who_would_know(self) -> None:
        found = self.said(v=known(), w=known(concerned=False))
        self.assertEqual({'v': 'x has it attached nowhere; the journal has '
                          'it attached here'}, found.doubts)

    def test_elsewhere_is_told_with_its_hosts(self) -> None:
        found = self.said(elsewhere={'v': ('a', 'b'), 'w': ('a',)},
                          v=known())
        self.assertEqual({'v': 'x has it attached to a, b, and not to this '
                          'host'}, found.elsewhere)
        self.assertEqual({}, found.doubts)

    def test_what_the_journal_lacks_is_named_once_it_is_attached(
            self) -> None:
        changing = source_base.Attached(
            volume='c', alias='c', state=source_base.State.CHANGING, names={})
        found = self.said((attached('v'), attached('w'), changing),
                          written=('w',))
        self.assertEqual({'v': attached('v')}, found.lacking)

    def test_only_what_is_said_twice_is_confirmed(self) -> None:
        self.assertEqual({'v': 'new'}, compare.confirmed(
            {'v': 'new', 'w': 'x', 't': 'y'}, {'v': 'old', 'u': 'x', 't': 'y'},
            {'v', 'u', 'w'}))
