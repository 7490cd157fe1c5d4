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
"""Which legs may be assembled: laws over every mix of legs."""

import hypothesis
from hypothesis import strategies as st

from os_brick_healer.connector import guard, legs
from os_brick_healer.tests import base

OURS, OTHER = 'a' * 32, 'b' * 32
KEYS = ('k0', 'k1', 'k2', 'k3')

contents = st.one_of(
    st.builds(guard.Super, array_uuid=st.sampled_from((OURS, OTHER)),
              events=st.one_of(st.none(), st.integers(0, 20))),
    st.just(guard.Blank()), st.builds(guard.Foreign, what=st.just('ext4')),
    st.builds(guard.Unreadable, why=st.just('slow')))

knowns = st.builds(
    guard.Known, array_uuid=st.one_of(st.none(), st.just(OURS)),
    events=st.one_of(st.none(), st.integers(0, 20)),
    in_sync=st.one_of(st.none(), st.frozensets(st.sampled_from(KEYS))),
    lost=st.frozensets(st.sampled_from(KEYS)))


def present(key: str, content: guard.Content) -> guard.Present:
    return guard.Present(
        device=f'/dev/{key}', content=content,
        leg=legs.Leg(nqn=f'nqn.{key}', uuid=key, portals=()))


@st.composite
def presents(draw: st.DrawFn) -> tuple[guard.Present, ...]:
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, unique=True))
    return tuple(present(k, draw(contents)) for k in keys)


def wanted(count: int = 2, absent: frozenset[str] = frozenset(),
           stale: bool = False) -> guard.Wanted:
    return guard.Wanted(alias='v', replica_count=count, absent=absent,
                        stale_allowed=stale)


def ours(key: str, events: int | None = 10) -> guard.Present:
    return present(key, guard.Super(array_uuid=OURS, events=events))


class GuardTest(base.TestCase):
    @hypothesis.given(presents(), knowns, st.integers(2, 4))
    def test_only_legs_of_one_array_are_assembled(
            self, legs_: tuple[guard.Present, ...], known: guard.Known,
            count: int) -> None:
        plan = guard.plan(wanted(count), legs_, known)
        if isinstance(plan, guard.Assemble):
            self.assertNotEqual((), plan.legs)
            for one in plan.legs:
                assert isinstance(one.content, guard.Super)
                self.assertEqual(plan.array_uuid, one.content.array_uuid)

    @hypothesis.given(presents(), knowns, st.integers(2, 4))
    def test_only_a_full_set_of_blank_legs_is_created(
            self, legs_: tuple[guard.Present, ...], known: guard.Known,
            count: int) -> None:
        plan = guard.plan(wanted(count), legs_, known)
        if isinstance(plan, guard.Create):
            self.assertEqual({guard.Blank()}, {p.content for p in legs_})
            self.assertGreaterEqual(len(plan.legs), count)
            self.assertIsNone(known.array_uuid)

    @hypothesis.given(presents(), knowns)
    def test_a_known_array_is_never_exchanged_for_another(
            self, legs_: tuple[guard.Present, ...],
            known: guard.Known) -> None:
        plan = guard.plan(wanted(), legs_, known)
        if isinstance(plan, guard.Assemble) and known.array_uuid is not None:
            self.assertEqual(known.array_uuid, plan.array_uuid)

    @hypothesis.given(presents(), knowns)
    def test_with_a_leg_absent_no_lost_leg_serves_alone(
            self, legs_: tuple[guard.Present, ...],
            known: guard.Known) -> None:
        plan = guard.plan(wanted(absent=frozenset(('k9',))), legs_, known)
        if isinstance(plan, guard.Assemble) and known.in_sync is None:
            alive = {p.leg.key for p in plan.legs} - known.lost
            self.assertNotEqual(set(), alive)

    @hypothesis.given(presents(), knowns, st.integers(2, 4))
    def test_a_refusal_says_what_cannot_be_done_and_why(
            self, legs_: tuple[guard.Present, ...], known: guard.Known,
            count: int) -> None:
        plan = guard.plan(wanted(count), legs_, known)
        if isinstance(plan, guard.Refuse):
            self.assertRegex(plan.sentence, 'cannot .*: because .+')
            self.assertNotEqual('', plan.hint)

    def test_a_leg_behind_the_remembered_events_is_refused_alone(
            self) -> None:
        known = guard.Known(events=12)
        away = wanted(absent=frozenset(('k1',)))
        self.assertIsInstance(
            guard.plan(away, (ours('k0', 10),), known), guard.Refuse)
        self.assertIsInstance(      # within mdadm's own margin
            guard.plan(away, (ours('k0', 11),), known), guard.Assemble)

    def test_a_leg_that_has_been_elsewhere_since_is_taken(self) -> None:
        known = guard.Known(events=12, in_sync=frozenset(('k1',)))
        plan = guard.plan(wanted(absent=frozenset(('k1',))),
                          (ours('k0', 13),), known)
        self.assertIsInstance(plan, guard.Assemble)

    def test_a_stale_leg_beside_a_fresh_one_is_left_to_the_agent(
            self) -> None:
        known = guard.Known(lost=frozenset(('k1',)))
        plan = guard.plan(wanted(), (ours('k0'), ours('k1')), known)
        assert isinstance(plan, guard.Assemble)
        self.assertEqual(['k0'], [p.leg.key for p in plan.legs])
        self.assertIn('/dev/k1', plan.notes[0])
