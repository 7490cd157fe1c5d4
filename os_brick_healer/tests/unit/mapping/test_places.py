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
"""A file system that a process mounts: adopted, healed in its place, let go.
"""

import dataclasses

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import verdict
from os_brick_healer.mapping import (
    act,
    adopt,
    decide,
    learn,
    locks,
    model,
    observe,
    remember,
    sources,
    telling,
)
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.mounter import ceph_fuse, loader
from os_brick_healer.sysfs import mounts
from os_brick_healer.testing import attachments as testing
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.fuse import test_parse
from os_brick_healer.tests.unit.mapping import ground as ground_lib
from os_brick_healer.tests.unit.mapping import test_wing, world

Phase = verdict.Phase
PLACE = '/mnt/c'
KEY = mounter_base.place_key(PLACE)
BYTES = ('ceph-fuse', '--id', 'guest', PLACE)


class Ceph(ceph_fuse.CephFuseMounter):
    """Needs no files of Ceph's."""

    def obeyed(self, order: mounter_base.Order) -> tuple[str, ...]:
        del order
        return ()


class Root(ground_lib.Root):
    """The privileged side, with mounts.

    :ivar hangs: the new process mounts nothing.
    """

    hangs = False

    def mounted(self, line: str = test_parse.LINE) -> None:
        self.ground.write('proc/1/mountinfo', f'{line}\n')

    def bare(self) -> None:
        self.ground.write('proc/1/mountinfo', '')

    def note(self) -> None:
        self.ground.write(f'{mounts.NOTES}/{KEY}'.lstrip('/'), f'{PLACE}\n')

    def start(self, *, mounter: str, volume: str, source: dict[str, str],
              socket: str, device: str | None, reattach_s: int,
              timeout_s: float) -> tuple[int, str]:
        del mounter, timeout_s, reattach_s
        self._asked('start')
        pid, self.next_pid = self.next_pid, self.next_pid + 1
        if self.dies is None:
            self.servers[pid] = None
            self.ground.process(pid, *self.ground.mounter.server(
                mounter_base.Order(volume=volume, source=source,
                                   socket=socket, device=device)).argv)
            if not self.hangs:
                self.mounted()
        return pid, str(pid * 7)

    def look(self, *, mounter: str, volume: str, source: dict[str, str],
             socket: str, place: str, timeout_s: float) -> str:
        del mounter, volume, source, socket, timeout_s
        self._asked('look')
        if mounts.at(self.ground.tree, place) is None:
            return 'bare'
        there = self.ground.root / 'proc' / str(self.next_pid - 1)
        return 'lives' if there.exists() else 'dead'

    def take(self, *, mounter: str, volume: str, source: dict[str, str],
             socket: str, place: str, timeout_s: float) -> bool:
        del mounter, volume, source, socket, place, timeout_s
        self._asked('take')
        self.note()
        self.bare()
        return True

    def serves(self, *, mounter: str, volume: str, source: dict[str, str],
               socket: str, place: str, timeout_s: float) -> bool:
        if self.look(mounter=mounter, volume=volume, source=source,
                     socket=socket, place=place,
                     timeout_s=timeout_s) != 'lives':
            return False
        self.did[-1:] = ['serves']
        (self.ground.root / f'{mounts.NOTES}/{KEY}'.lstrip('/')).unlink(
            missing_ok=True)
        return True


class MountTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ground = ground_lib.Ground(self.temp_dir())
        self.ground.mounter = Ceph()
        self.root = Root(self.ground)
        self.root.next_pid = 200
        self.home = str(self.temp_dir())
        self.root.mounted()
        self.ground.process(199, *BYTES)
        self.mapping = world.mapping(
            mounter='nbd', abilities=Ceph.abilities, size_bytes=0,
            order=world.order(volume=KEY, device=PLACE, source={
                'root': '/', 'user': 'guest'}))

    def observer(self) -> observe.Observer:
        return observe.Observer(
            self.ground.tree, lambda: 1.0, {'nbd': self.ground.mounter}.get,
            lambda: frozenset(('ceph-fuse',)))

    def look(self) -> observe.Look:
        return self.observer().look(self.mapping, None, fresh=True)

    def adopter(self) -> adopt.Adopter:
        book = journal_lib.Journal(f'{self.home}/j', boot_id='b')
        self.addCleanup(book.close)
        return adopt.Adopter(
            tree=self.ground.tree, mounters=loader.Mounters(
                lambda: ('nbd',), lambda _name: Ceph),
            names=lambda: ('nbd',), locks=locks.VolumeLocks(self.home),
            journal=lambda: book, settings=lambda: adopt.Settings(
                run_path=self.home, reattach_s=600, timer_ms=1000))


class ObserveTest(MountTestCase):
    def shown(self) -> tuple[bool, str | None]:
        found = self.look().device
        assert found is not None
        self.assertEqual((PLACE, None, None),
                         (found.name, found.requests, found.timer_ms))
        return found.connected, found.cookie

    def test_a_mount_and_its_process_are_seen_as_a_volume(self) -> None:
        self.assertEqual((True, KEY), self.shown())
        server = self.look().server
        assert server is not None
        self.assertEqual(199, server.pid)

    def test_a_dead_one_is_the_volumes_still(self) -> None:
        self.ground.ended(199)
        self.assertEqual((True, KEY), self.shown())
        self.assertIsNone(self.look().server)

    def test_a_mount_of_another_type_is_anothers(self) -> None:
        self.root.mounted(test_parse.LINE.replace(test_parse.KIND, 'ext4'))
        self.assertEqual((True, 'a mount of type ext4'), self.shown())

    def test_what_a_process_says_that_it_has_mounted_there_is_its(
            self) -> None:
        self.ground.ended(199)
        self.ground.process(50, 'ceph-fuse', '-r', '/other', PLACE)
        self.assertEqual((True, 'the mount of process 50'), self.shown())

    def test_a_bare_place_is_ours_only_where_root_has_noted_it(self) -> None:
        self.root.bare()
        self.assertFalse(self.shown()[0])
        self.root.note()
        self.assertEqual((True, KEY), self.shown())


class DecideTest(MountTestCase):
    def verdict(self, *, alive: bool = True) -> model.Verdict:
        found = self.look()
        return decide.decide(
            world.seen(key=KEY, device=found.device,
                       server=found.server if alive else None,
                       attachment=world.attachment(
                           volume=KEY, mapping=self.mapping)),
            world.known(server=model.Process(pid=199, start='1393')),
            world.POLICY)

    def test_who_asks_is_told_that_it_is_not_transparent(self) -> None:
        self.assertEqual(Phase.HEALTHY, self.verdict().phase)
        found = self.verdict(alive=False)
        self.assertIsInstance(found.action, model.Serve)
        self.assertIn('not transparent', found.sentence)
        seen = world.seen(attachment=world.attachment(mapping=self.mapping))
        self.assertIs(False, telling.describe(
            seen, model.Memory())['transparent'])

    def test_what_was_unmounted_is_left_so(self) -> None:
        self.root.bare()
        self.ground.ended(199)
        found = self.verdict()
        self.assertEqual((Phase.BROKEN, None), (found.phase, found.action))
        self.assertIn('was unmounted, and is left so', found.sentence)

    def test_what_is_anothers_now_is_not_touched(self) -> None:
        self.ground.ended(199)
        self.ground.process(50, 'ceph-fuse', '-r', '/other', PLACE)
        found = self.verdict()
        self.assertEqual((Phase.BROKEN, None, 20.0), (
            found.phase, found.action, found.look_again_s))
        self.assertIn('/mnt/c is the mount of process 50 now',
                      found.sentence)


class HandsTest(MountTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.policy = dataclasses.replace(world.POLICY, attach_s=0.4,
                                          proof_s=0.2)
        self.hands = act.Hands(
            tree=self.ground.tree, locks=ground_lib.FreeLocks(),
            nbd=self.root, mounts=self.root, policy=lambda: self.policy,
            mounter={'nbd': self.ground.mounter}.get)
        self.started: list[model.Process] = []
        self.serve = model.Serve(volume=KEY, device=PLACE, mounter='nbd')
        self.ground.ended(199)

    def do(self, action: model.Action,
           server: model.Running | None = None) -> act.Outcome:
        found = self.look()
        seen = world.seen(
            key=KEY, device=found.device, server=server or found.server,
            attachment=world.attachment(volume=KEY, mapping=self.mapping))
        return self.hands.do(action, lambda: seen, self.started.append)

    def test_the_storage_is_asked_before_anything_is_taken_away(
            self) -> None:
        outcome = self.do(self.serve)
        self.assertIsNone(outcome.error)
        self.assertEqual(['missing', 'take', 'start', 'serves'],
                         self.root.did)
        self.assertEqual([200], [one.pid for one in self.started])
        self.assertIn('mounted /mnt/c anew', outcome.detail)

    def test_while_the_storage_is_silent_the_mount_stays(self) -> None:
        self.root.gone = 'timed out'
        outcome = self.do(self.serve)
        self.assertIn('timed out', str(outcome.error))
        self.assertTrue(outcome.transient)
        self.assertEqual(['missing'], self.root.did)
        self.assertIsNotNone(mounts.at(self.ground.tree, PLACE))

    def test_a_file_system_that_is_gone_is_not_tried_for_ever(self) -> None:
        self.root.gone = "Error ENOENT: filesystem 'a' not found"
        self.assertEqual(learn.REFUSED, self.do(self.serve).detail)

    def test_what_is_not_dead_is_left(self) -> None:
        self.root.refuses['take'] = exception.NotOurs('it answers')
        self.assertIn('it answers', str(self.do(self.serve).error))
        self.assertEqual(['missing', 'take'], self.root.did)

    def test_a_process_that_mounts_nothing_is_killed(self) -> None:
        self.root.hangs = True
        outcome = self.do(self.serve)
        self.assertIn('not come to serve in time', str(outcome.error))
        self.assertEqual('kill', self.root.did[-1])
        self.root.hangs = False
        self.assertIsNone(self.do(self.serve).error)

    def test_one_that_ends_at_once_is_quoted(self) -> None:
        self.root.dies = 'ceph-fuse[7]: no luck'
        self.assertIn('no luck', str(self.do(self.serve).error))

    def test_a_mount_that_answers_is_a_proof_and_a_dead_one_none(
            self) -> None:
        prove = model.Prove(volume=KEY, device=PLACE,
                            server=world.server(199).process)
        told = self.do(prove, world.server(199))
        self.assertIn('/mnt/c is dead, and its process lives',
                      str(told.error))
        self.ground.process(199, *BYTES)
        self.assertIsNone(self.do(prove).error)

    def test_a_connector_is_given_no_mount(self) -> None:
        error = self.assertRaises(exception.HealerError, self.hands.map,
                                  self.mapping)
        self.assertIn('makes no block device', str(error))
        self.assertEqual([], self.root.did)


class AdoptTest(MountTestCase):
    def refused(self, why: str) -> None:
        error = self.assertRaises(adopt.Refused, self.adopter().examine,
                                  PLACE)
        self.assertIn(why, str(error))

    def test_an_operators_mount_is_taken_over_by_its_place(self) -> None:
        adopter = self.adopter()
        found = adopter.examine(PLACE)
        self.assertEqual((KEY, PLACE, False), (
            found.volume, found.mapping.order.device, found.ours))
        adopter.enter(found, alias='share')
        (row,) = adopter.journal().attachments()
        self.assertEqual(
            (KEY, {'root': '/', 'user': 'guest'}),
            (row.volume, remember.load_mapping(
                KEY, row.connection, lambda _: None).order.source))

    def test_one_that_was_mounted_anew_is_known_again(self) -> None:
        order = dataclasses.replace(self.mapping.order, source={'root': '/'})
        self.ground.ended(199)
        self.ground.process(200, *Ceph().server(order).argv)
        found = self.adopter().examine(PLACE)
        self.assertEqual((KEY, True), (found.volume, found.ours))

    def test_what_does_not_agree_is_refused(self) -> None:
        self.ground.process(50, 'ceph-fuse', PLACE)
        self.refused('more than one process')
        self.ground.ended(50)
        self.ground.ended(199)
        self.refused('no process serves it')
        line = test_parse.LINE
        self.root.mounted(line.replace('nosuid,', ''))
        self.refused('with suid or dev')
        self.root.mounted(line.replace(test_parse.KIND, 'fuse.sshfs'))
        self.refused('of type fuse.sshfs, which no mounter serves')
        self.root.mounted(f'{line}\n{line}')
        self.refused('2 mounts are there, one above the other')
        self.root.bare()
        self.refused('nothing is mounted there')


class WingTest(MountTestCase):
    """The whole wing, over a copy of a host's files."""

    def agent(self) -> test_wing.Agent:
        path = f'{self.home}/j'
        book = journal_lib.Journal(path, boot_id='boot')
        book.attach_begin(KEY, 'share', {
            **remember.dump_mapping(self.mapping), adopt.MARK: True}, 1, '1')
        book.attach_done(KEY)
        book.close()
        agent = test_wing.Agent(self.ground, self.root, path)
        agent.wing._hands = dataclasses.replace(agent.wing._hands,
                                                mounts=self.root)
        agent.wing.sources = sources.Sources(sources.Given(
            host=testing.HERE, names=(), tree=self.ground.tree,
            load=lambda _name: self.fail('nobody is asked'),
            adopter=self.adopter(),
            adopts=lambda: 'ours', interval_s=lambda: 60.0,
            clock=agent.time), agent.wing._rows, agent.journal)
        return agent

    def test_a_death_is_healed_in_the_same_place(self) -> None:
        self.ground.ended(199)
        agent = self.agent()
        agent.run(5.0)
        self.assertEqual('healthy', agent.phase())
        self.assertEqual(['missing', 'take', 'start', 'serves', 'serves'],
                         self.root.did)
        self.assertEqual({PLACE}, set(agent.ears.watched))
        self.assertFalse(any(agent.wing._pulse._turns))
        (volume,) = agent.engine.status()['volumes']
        self.assertEqual((1, 1), (volume['heals'], volume['deaths']))

    def test_one_that_its_maker_unmounts_is_let_go(self) -> None:
        self.ground.ended(199)
        self.root.bare()
        agent = self.agent()
        agent.run(20.0)
        self.assertEqual((), agent.journal_rows())
        self.assertEqual([], self.root.did)

    def test_one_that_root_has_taken_away_is_mounted_again(self) -> None:
        """The agent was killed between the two."""
        self.ground.ended(199)
        self.root.bare()
        self.root.note()
        agent = self.agent()
        agent.run(20.0)
        self.assertEqual('healthy', agent.phase())
        self.assertEqual(1, len(agent.journal_rows()))
