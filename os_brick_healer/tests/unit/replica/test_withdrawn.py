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
"""A replica that the provisioner takes away again, still connected here."""

import dataclasses

from os_brick_healer.engine import limits, verdict
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.replica import laws, model, observe
from os_brick_healer.testing import synthetic
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import hands_world, world

OUT = model.ReplicaId('out')
#: Long enough not to be named any more.
GONE_S = limits.WITHDRAWN_S + 1
ACTION = model.DisconnectPaths(
    volume=world.KEY, law='law', replica=OUT, paths=())


def former(name: str = 'out') -> model.Former:
    seen = world.seen(world.leg(name, None, path='connecting'))
    return model.Former(paths=seen.paths[model.ReplicaId(name)],
                        device=f'nvme-{name}')


def remembered() -> model.Memory:
    """As after a look at a whole array with a third replica beside it."""
    both = world.leg('a'), world.leg('b')
    return world.remembers(world.seen(*both, world.leg('out', None)))


class WithdrawnTest(base.TestCase):
    """What decide says of it."""

    def say(self, after_s: float, *legs: world.Leg) -> model.Verdict:
        """A look so long after the first that does not name it."""
        seen = world.seen(*(legs or (world.leg('a'), world.leg('b'))),
                          former={OUT: former()})
        first = world.decide(seen, remembered())
        return world.decide(dataclasses.replace(
            seen, now_s=seen.now_s + after_s), first.memory)

    def test_it_is_disconnected(self) -> None:
        said = self.say(GONE_S)
        self.assertIsInstance(said.action, model.DisconnectPaths)
        self.assertEqual((OUT, former().paths), (
            getattr(said.action, 'replica', None),
            getattr(said.action, 'paths', None)))
        self.assertEqual(verdict.Phase.HEALTHY, said.phase)
        self.assertIn('has not named replica out for 61 s', said.sentence)

    def test_one_answer_that_leaves_it_out_changes_nothing(self) -> None:
        said = self.say(limits.WITHDRAWN_S - 5)
        self.assertEqual((None, 5.0), (said.action, said.look_again_s))

    def test_it_waits_for_its_turn_after_a_failure(self) -> None:
        seen = world.seen(world.leg('a'), world.leg('b'),
                          former={OUT: former()})
        memory = world.remembers(seen, remembered(), out={
            'next_try_s': seen.now_s + GONE_S + 5})
        late = dataclasses.replace(seen, now_s=seen.now_s + GONE_S)
        said = world.decide(late, memory)
        self.assertEqual((None, 5.0), (said.action, said.look_again_s))

    def test_what_was_refused_for_what_it_carries_does_not_wait_longer(
            self) -> None:
        named = world.seen(world.leg('a'), world.leg('b'),
                           world.leg('out', None))
        refused = world.remembers(named, remembered(), out={
            'next_try_s': named.now_s + limits.RETRY_LAST_S})
        seen = world.seen(world.leg('a'), world.leg('b'),
                          former={OUT: former()})
        first = world.decide(seen, refused)
        late = dataclasses.replace(seen, now_s=seen.now_s + GONE_S)
        self.assertIsInstance(world.decide(late, first.memory).action,
                              model.DisconnectPaths)

    def test_a_heal_comes_first(self) -> None:
        said = self.say(GONE_S, world.leg('a'), world.leg('b', 'faulty'))
        self.assertNotIsInstance(said.action, model.DisconnectPaths)

    def test_nothing_of_it_is_connected(self) -> None:
        seen = world.seen(world.leg('a'), world.leg('b'))
        first = world.decide(seen, remembered())
        late = dataclasses.replace(seen, now_s=seen.now_s + GONE_S)
        said = world.decide(late, first.memory)
        self.assertEqual((None, 300.0), (said.action, said.look_again_s))

    def test_without_the_provisioner_nothing_is_disconnected(self) -> None:
        seen = world.seen(world.leg('a'), world.leg('b'),
                          former={OUT: former()})
        first = world.decide(seen, remembered())
        late = dataclasses.replace(
            seen, now_s=seen.now_s + GONE_S, provisioner_error='it is down')
        self.assertIsNone(world.decide(late, first.memory).action)

    def test_the_law_asks_for_a_connection_that_is_its_alone(self) -> None:
        seen = world.seen(world.leg('a'), world.leg('b'))
        self.assertIn('law 4', laws.permits(ACTION, seen) or '')
        self.assertIsNone(laws.permits(ACTION, dataclasses.replace(
            seen, former={OUT: former()})))


class HandsTest(hands_world.HandsTestCase):
    """What is done then."""

    def test_its_idle_device_is_named(self) -> None:
        path = dataclasses.replace(former().paths[0], controller='nvme7')
        self.change(former={OUT: model.Former(paths=(path,),
                                              device='nvme7n1')})
        self.assertTrue(self.do(dataclasses.replace(
            ACTION, volume=hands_world.KEY)).changed)
        self.assertEqual([('delete', ('nvme7', 'nvme7n1', True))],
                         self.world.done)

    def test_what_is_not_seen_any_more_is_left(self) -> None:
        self.assert_nothing(dataclasses.replace(
            ACTION, volume=hands_world.KEY))


class ObserverTest(base.TestCase):
    """What of it counts as its own."""

    def setUp(self) -> None:
        super().setUp()
        self.root = self.temp_dir()
        self.host = synthetic.SyntheticHost(self.root, volumes=1)
        self.subsystem = self.host.add_subsystem('nqn.out')
        self.host.add_controller(self.subsystem, provisioner.Portal(
            address='127.9.9.9', port=4420))

    def look(self, nqn: str = 'nqn.out') -> model.Former | None:
        out = provisioner.Replica(
            id=OUT, nqn=nqn, namespace_uuid='11111111-0000-4000-8000-'
            '000000000000', portals=(), state=model.ReplicaState.UNKNOWN)
        volume = self.host.volume(0)
        return observe.Observer(self.host.tree, lambda: 1.0).look(
            volume.id, volume, None, {}, (out,)).former.get(OUT)

    def test_controllers_without_a_device(self) -> None:
        found = self.look()
        assert found is not None
        self.assertEqual((1, None), (len(found.paths), found.device))

    def test_its_own_device(self) -> None:
        device = self.host.add_namespace(
            self.subsystem, '11111111-0000-4000-8000-000000000000')
        found = self.look()
        assert found is not None
        self.assertEqual(device, found.device)

    def test_another_volume_s_device_is_not_its(self) -> None:
        self.host.add_namespace(
            self.subsystem, '22222222-0000-4000-8000-000000000000')
        self.assertIsNone(self.look())

    def test_a_second_device_is_somebody_s(self) -> None:
        for digit in '12':
            self.host.add_namespace(
                self.subsystem, f'{digit * 8}-0000-4000-8000-000000000000')
        self.assertIsNone(self.look())

    def test_a_device_that_is_held_is_in_use(self) -> None:
        device = self.host.add_namespace(
            self.subsystem, '11111111-0000-4000-8000-000000000000')
        (self.root / f'sys/block/{device}/holders/dm-0').mkdir(
            parents=True)
        self.assertIsNone(self.look())

    def test_a_subsystem_of_a_named_replica_is_not_its(self) -> None:
        nqn = self.host.volume(0).replicas[0].nqn
        assert nqn is not None
        self.assertIsNone(self.look(nqn))

    def test_nothing_is_connected(self) -> None:
        self.assertIsNone(self.look('nqn.other'))
