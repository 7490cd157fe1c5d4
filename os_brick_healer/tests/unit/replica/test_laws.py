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
"""Each law by itself, against an action that breaks it."""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from os_brick_healer.engine import verdict
from os_brick_healer.provisioner import base as prov
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import laws, learn, model, remember
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A, B = prov.ReplicaId('a'), prov.ReplicaId('b')
LAW = 'a-law'
TERMINATING = model.ReplicaState.TERMINATING


def paths(at: model.Seen, name: prov.ReplicaId) -> tuple[model.Path, ...]:
    return at.paths.get(name, ())


def break_leg(at: model.Seen) -> model.BreakLeg:
    return model.BreakLeg(
        volume=world.KEY, law=LAW, replica=A, device='nvme-a',
        paths=paths(at, A), survivors=(B,), array='md127',
        array_uuid=world.UUID)


def cut(at: model.Seen) -> model.CutSilent:
    return model.CutSilent(
        volume=world.KEY, law=LAW, replica=A, paths=paths(at, A),
        survivors=(B,), array='md127', array_uuid=world.UUID)


def add(at: model.Seen, **changes: Any) -> model.AddSpare:
    del at
    made = model.AddSpare(
        volume=world.KEY, law=LAW, array='md127', array_uuid=world.UUID,
        replica=world.replica('a'), device='nvme-a',
        component_bytes=63 * world.MIB)
    return dataclasses.replace(made, **changes)


def examine() -> model.Examine:
    return model.Examine(volume=world.KEY, law=LAW, device='nvme-a',
                         replica=world.replica('a'), array_uuid=world.UUID)


def confirm() -> model.ConfirmRemoval:
    return model.ConfirmRemoval(volume=world.KEY, law=LAW, replica=A,
                                array='md127', array_uuid=world.UUID)


def disconnect(at: model.Seen) -> model.DisconnectPaths:
    return model.DisconnectPaths(volume=world.KEY, law=LAW, replica=A,
                                 paths=paths(at, A))


def request() -> model.RequestReplacement:
    return model.RequestReplacement(volume=world.KEY, law=LAW, replica=A,
                                    request_id='r', known=frozenset((A, B)))


def connect() -> model.ConnectReplica:
    return model.ConnectReplica(volume=world.KEY, law=LAW, replica=A,
                                nqn='nqn.test:a',
                                portals=(world.portal('a'),))


def drop() -> model.DropFaulty:
    return model.DropFaulty(volume=world.KEY, law=LAW, array='md127',
                            array_uuid=world.UUID, replica=A,
                            device='nvme-a')


def report() -> model.ReportState:
    return model.ReportState(volume=world.KEY, law=LAW, replica=A,
                             state=model.ReplicaState.MISSING)


def publish() -> model.Publish:
    return model.Publish(volume=world.KEY, law=LAW, replica=A)


def clear() -> model.ClearFailfast:
    return model.ClearFailfast(volume=world.KEY, law=LAW, array='md127',
                               array_uuid=world.UUID, replica=A,
                               device='nvme-a')


def dying() -> model.Seen:
    """Leg a is without a live path, leg b is well."""
    return world.seen(world.leg('a', path='connecting'), world.leg('b'))


def outside(**changes: Any) -> model.Seen:
    """Replica a is connected and not a member; b is."""
    return world.seen(world.leg('a', None), world.leg('b'), **changes)


class LawTest(base.TestCase):
    def permitted(self, action: model.Action, at: model.Seen) -> None:
        self.assertIsNone(laws.permits(action, at))

    def forbidden(self, action: model.Action, at: model.Seen,
                  word: str) -> None:
        self.assertIn(word, laws.permits(action, at) or 'permitted')

    def test_law_1_the_last_in_sync_leg_is_never_given_up(self) -> None:
        at = dying()
        self.permitted(break_leg(at), at)
        self.permitted(cut(at), at)
        for other in (world.leg('b', path='connecting'),
                      world.leg('b', 'spare'), world.leg('b', 'faulty'),
                      world.leg('b', None), world.leg('b', path=None)):
            at = world.seen(world.leg('a', path='connecting'), other)
            self.forbidden(break_leg(at), at, 'law')
            self.forbidden(cut(at), at, 'law')
        at = dying()
        self.forbidden(dataclasses.replace(break_leg(at), survivors=(A,)),
                       at, 'laws 1 and 7')

    def test_law_1_a_leg_that_is_live_again_is_kept(self) -> None:
        at = world.seen(world.leg('a'), world.leg('b'))
        self.forbidden(break_leg(at), at, 'law 1')

    def test_law_1_only_a_faulty_member_is_dropped(self) -> None:
        at = world.seen(world.leg('a', 'faulty'), world.leg('b'))
        self.permitted(drop(), at)
        at = world.seen(world.leg('a'), world.leg('b'))
        self.forbidden(drop(), at, 'law 1')
        self.forbidden(drop(), world.seen(world.leg('b')), 'law 4')

    def test_law_1_a_member_is_not_disconnected(self) -> None:
        at = world.seen(world.leg('a'), world.leg('b'))
        self.forbidden(disconnect(at), at, 'law 1')
        self.permitted(disconnect(outside()), outside())

    def test_law_2_only_what_is_named_now_is_added(self) -> None:
        self.permitted(add(outside()), outside())
        self.permitted(examine(), outside())
        for action in (add(outside()), examine(), connect(), request()):
            at = outside(volume=world.volume(world.leg('b')))
            self.forbidden(action, at, 'law 2')
        self.forbidden(add(outside(), device='sda'), outside(), 'law 2')

    def test_law_2_a_device_in_use_is_not_added(self) -> None:
        at = world.seen(world.leg('a', None, holders=('dm-0',)),
                        world.leg('b'))
        self.forbidden(add(at), at, 'law 2')

    def test_law_2_a_device_that_is_too_small_is_not_added(self) -> None:
        at = world.seen(world.leg('a', None, size=world.MIB), world.leg('b'))
        self.forbidden(add(at), at, 'law 2')

    def test_law_3_a_replica_goes_only_when_all_slots_are_in_sync(
            self) -> None:
        old = world.leg('a', None)
        self.permitted(confirm(), world.seen(old, world.leg('b'),
                                             world.leg('c')))
        for new in (world.leg('c', 'spare'), world.leg('c', None),
                    world.leg('c', 'faulty')):
            self.forbidden(confirm(), world.seen(old, world.leg('b'), new),
                           'law 3')

    def test_law_3_a_replica_goes_once_its_successor_is_in_sync(
            self) -> None:
        succeeded = dataclasses.replace(
            confirm(), successor=model.ReplicaId('c'))

        def of_three(*legs: world.Leg) -> model.Seen:
            return world.seen(world.leg('a', None), *legs, raid_disks=3)

        self.permitted(succeeded, of_three(world.leg('b'), world.leg('c')))
        self.forbidden(confirm(), of_three(world.leg('b'), world.leg('c')),
                       'law 3')
        for legs in ((world.leg('c'),),
                     (world.leg('b'), world.leg('c', 'spare')),
                     (world.leg('b'), world.leg('c', 'faulty')),
                     (world.leg('b'), world.leg('d'))):
            self.forbidden(succeeded, of_three(*legs), 'law 3')

    def test_law_3_a_member_is_never_confirmed_as_removed(self) -> None:
        at = world.seen(world.leg('a'), world.leg('b'), world.leg('c'),
                        raid_disks=3)
        self.forbidden(confirm(), at, 'law 1')

    def test_law_3_a_terminating_replica_is_not_brought_in(self) -> None:
        at = world.seen(world.leg('a', None, state=TERMINATING),
                        world.leg('b'))
        for action in (add(at), examine(), connect(), request()):
            self.forbidden(action, at, 'law 3')

    def test_law_4_only_the_array_that_was_meant_is_touched(self) -> None:
        at = dying()
        assert at.array is not None
        other = dataclasses.replace(at, array=dataclasses.replace(
            at.array, uuid='another'))
        for action in (break_leg(at), cut(at), drop(), add(at), examine(),
                       confirm(), clear()):
            self.forbidden(action, other, 'law 4')

    def test_law_4_without_the_array_nothing_is_done(self) -> None:
        at = dying()
        none = dataclasses.replace(at, array=None)
        for action in (break_leg(at), cut(at), drop(), add(at), examine(),
                       confirm(), clear(), connect(), request(), report(),
                       publish(), disconnect(at)):
            self.forbidden(action, none, 'law 4')

    def test_law_4_controllers_that_lead_elsewhere_too_are_kept(
            self) -> None:
        at = outside(shared={A: ('nvme-other',)})
        self.forbidden(disconnect(at), at, 'law 4')
        at = dataclasses.replace(dying(), endangered={A: 'nvme-other'})
        self.forbidden(break_leg(at), at, 'law 7')

    def test_law_5_hands_off_while_os_brick_or_another_host_has_it(
            self) -> None:
        at = dying()
        self.forbidden(break_leg(at), dataclasses.replace(
            at, peers_hold=frozenset(('there',))), 'law 5')
        for state in model.AttachState:
            for alive in (True, False):
                held = dataclasses.replace(at, attachment=model.Attachment(
                    volume=world.KEY, alias='vol', state=state,
                    owner_alive=alive))
                found = laws.permits(break_leg(at), held)
                self.assertEqual(
                    state is model.AttachState.DISCONNECTING or (
                        alive and state is not model.AttachState.ATTACHED),
                    found is not None)

    def test_law_6_without_the_truth_nothing_destructive_is_done(
            self) -> None:
        doubtful: tuple[Mapping[str, Any], ...] = (
            {'provisioner_error': 'no answer'}, {'volume': None},
            {'volume': world.volume(world.leg('a', None), world.leg('b'),
                                    nonsense='it contradicts itself')})
        for changes in doubtful:
            at = outside(**changes)
            for action in (add(at), examine(), connect(), confirm(),
                           request(), disconnect(at)):
                self.forbidden(action, at, 'law 6')

    def test_a_member_again_is_not_replaced(self) -> None:
        at = world.seen(world.leg('a'), world.leg('b'))
        self.forbidden(request(), at, 'member again')
        self.permitted(request(), outside())

    def test_paused_is_paused(self) -> None:
        at = dataclasses.replace(dying(), paused='by me')
        self.forbidden(break_leg(at), at, 'paused')

    def test_what_only_tells_or_tunes_is_permitted(self) -> None:
        for action in (report(), publish(), clear(), connect()):
            self.permitted(action, outside())


# Whatever is seen ----------

NAMES = ('a', 'b', 'c', 'd')
FLAGS = (None, None, 'in_sync', 'in_sync', 'spare', 'faulty',
         'in_sync,failfast', 'in_sync,write_error', 'faulty,blocked', '')
TEXT = st.text(max_size=8)


@st.composite
def a_leg(draw: st.DrawFn, name: str) -> world.Leg:
    device = draw(st.booleans())
    return world.leg(
        name, draw(st.sampled_from(FLAGS)), device=device,
        path=draw(st.sampled_from(
            [None, *(s.value for s in model.PathState)])),
        state=draw(st.sampled_from(model.ReplicaState)),
        for_s=draw(st.floats(0, 1e4)),
        answers=draw(st.sampled_from((None, True, False))),
        silent_s=draw(st.none() | st.floats(0, 1e4)),
        size=draw(st.sampled_from((1, 64 * world.MIB))),
        published=draw(st.booleans()),
        transport=draw(st.sampled_from(('tcp', 'rdma'))),
        holders=draw(st.sampled_from(((), ('dm-1',)))))


@st.composite
def a_request(draw: st.DrawFn) -> model.Request:
    names = st.sampled_from(NAMES).map(prov.ReplicaId)
    state = draw(st.sampled_from(model.RequestState))
    arrived = draw(names) if state is model.RequestState.ARRIVED else None
    return model.Request(
        id=draw(TEXT), asked_s=draw(st.floats(0, 2000)),
        tries=draw(st.integers(1, 12)), state=state,
        known=draw(st.frozensets(names)), arrived=arrived)


@st.composite
def a_memory(draw: st.DrawFn) -> model.Memory:
    time = st.none() | st.floats(0, 2000)
    ones = {}
    for name in draw(st.lists(st.sampled_from((*NAMES, 'x')), unique=True)):
        ones[prov.ReplicaId(name)] = model.ReplicaMemory(
            lost_s=draw(time), unreachable_s=draw(time),
            in_sync_s=draw(time), unnamed_s=draw(time),
            reported=draw(st.none() | st.sampled_from(model.ReplicaState)),
            report_next_s=draw(st.floats(0, 2000)),
            losses_s=tuple(sorted(draw(st.lists(st.floats(0, 1000),
                                                max_size=6)))),
            tries=draw(st.integers(0, 12)),
            next_try_s=draw(st.floats(0, 2000)),
            flow_tries=draw(st.integers(0, 5)),
            flow_next_s=draw(st.floats(0, 2000)),
            last_error=draw(st.none() | TEXT), belongs=draw(st.booleans()),
            request=draw(st.none() | a_request()),
            superblock=draw(st.none() | st.sampled_from(model.Superblock)),
            readd_refused=draw(st.booleans()),
            published=draw(st.booleans()), let_go=draw(st.booleans()))
    return model.Memory(
        array_uuid=draw(st.sampled_from((None, world.UUID, 'another'))),
        replicas=ones, tries=draw(st.integers(0, 9)),
        next_try_s=draw(st.floats(0, 2000)))


@st.composite
def a_seen(draw: st.DrawFn) -> model.Seen:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    legs = [draw(a_leg(n)) for n in names]
    at = world.seen(
        *legs, raid_disks=draw(st.integers(1, 3)),
        stuck_s=draw(st.sampled_from((0.0, 3.0))),
        state=draw(st.sampled_from(('active', 'clean', 'broken'))),
        sync=draw(st.none() | st.builds(
            model.Sync, action=st.sampled_from(('recover', 'check')),
            done_sectors=st.none() | st.integers(0, 99),
            total_sectors=st.none() | st.integers(0, 100),
            speed_kib_s=st.none() | st.integers(0, 9))))
    changes: dict[str, Any] = {}
    if draw(st.booleans()):
        changes['volume'] = draw(st.none() | st.just(world.volume(
            *legs, nonsense=draw(st.none() | TEXT),
            grace_s=draw(st.none() | st.floats(0, 100)))))
    if draw(st.integers(0, 9)) == 0:
        changes['array'] = None
    if draw(st.integers(0, 5)) == 0:
        changes['provisioner_error'] = draw(TEXT)
    if draw(st.integers(0, 5)) == 0:
        changes['volume_age_s'] = draw(st.none() | st.floats(0, 1e3))
    if draw(st.integers(0, 5)) == 0:
        changes['paused'] = draw(TEXT)
    if draw(st.integers(0, 5)) == 0:
        changes['peers_hold'] = frozenset(('there',))
    if draw(st.integers(0, 5)) == 0:
        changes['endangered'] = {A: draw(TEXT)}
    if draw(st.integers(0, 5)) == 0:
        changes['shared'] = {A: ('nvme-z',)}
    if draw(st.integers(0, 3)) == 0:
        changes['attachment'] = draw(st.builds(
            model.Attachment, volume=st.just(world.KEY), alias=TEXT,
            state=st.sampled_from(model.AttachState),
            owner_alive=st.booleans()))
    return dataclasses.replace(at, **changes)


AROUND = st.builds(case_lib.Around, brake=st.none() | TEXT,
                   requests_left=st.integers(-1, 2))


class WhateverIsSeenTest(base.TestCase):
    @settings(max_examples=200, deadline=None)
    @given(a_seen(), a_memory(), AROUND)
    def test_decide_says_one_sane_thing_that_the_laws_permit(
            self, at: model.Seen, memory: model.Memory,
            around: case_lib.Around) -> None:
        found = world.decide(at, memory, around)
        self.assertTrue(found.sentence)
        self.assertTrue(found.sentence.isprintable())
        self.assertTrue(0.0 < found.look_again_s < 1e7)
        if found.action is not None:
            self.assertIsNone(laws.permits(found.action, at))
            self.assertTrue(found.action.sentence())
        again = world.decide(at, found.memory, around)
        self.assertEqual(found.memory, again.memory)

    @settings(max_examples=100, deadline=None)
    @given(a_seen(), a_memory(), AROUND, st.builds(
        verdict.Outcome, changed=st.booleans(), error=st.none() | TEXT,
        transient=st.booleans(), detail=TEXT | st.sampled_from(
            ('ours', 'blank', 'foreign: x', learn.READD_REFUSED))))
    def test_any_outcome_can_be_learned_and_written_down(
            self, at: model.Seen, memory: model.Memory,
            around: case_lib.Around, outcome: verdict.Outcome) -> None:
        found = world.decide(at, memory, around)
        if found.action is None:
            return
        after = learn.learn(
            learn.intend(found.memory, found.action, at.now_s),
            found.action, outcome, at.now_s, world.POLICY)
        self.assertEqual(after, remember.load(json.loads(json.dumps(
            remember.dump(after)))))
        # Whatever failed is not tried again at once.
        next_ = world.decide(at, after, around)
        if outcome.error is not None:
            self.assertNotEqual(next_.action, found.action)

    @settings(max_examples=200, deadline=None)
    @given(a_memory())
    def test_what_is_remembered_is_read_back(self,
                                             memory: model.Memory) -> None:
        text = json.dumps(remember.dump(memory))
        self.assertEqual(memory, remember.load(json.loads(text)))
