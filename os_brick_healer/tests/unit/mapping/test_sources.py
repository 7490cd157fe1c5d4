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
"""From a real API server to the wing: what is found, said, and adopted."""

from collections.abc import Callable
from typing import Any
import uuid

from os_brick_healer.attachments import base as source_base
from os_brick_healer.attachments import cinder
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.mapping import adopt, locks, remember, sources
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.mounter import loader, rbd_nbd
from os_brick_healer.testing import attachments as testing
from os_brick_healer.testing.attachments import HERE, THERE
from os_brick_healer.testing.world import Trouble
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.attachments import worlds
from os_brick_healer.tests.unit.mapping import ground as ground_lib
from os_brick_healer.tests.unit.mapping import test_wing, world

INTERVAL_S = 15.0       # short waits are not spread


class Rbd(rbd_nbd.RbdNbdMounter):
    """Needs no files of Ceph's."""

    def obeyed(self, order: mounter_base.Order) -> tuple[str, ...]:
        del order
        return ()


class ChainTest(base.TestCase):
    """The wing, its engine and its journal, beside one source."""

    def begin(self, made: testing.World | None = None,
              adopts: str = 'ours') -> None:
        self.ground = ground_lib.Ground(self.temp_dir())
        self.ground.mounter = Rbd()
        self.root = ground_lib.Root(self.ground)
        self.addCleanup(self.root.close)
        self.path = str(self.temp_dir() / 'j')
        self.home = str(self.temp_dir())
        self.adopts = adopts
        if made is not None:
            self.world = made
            self.addCleanup(made.close)

    def agent(self, load: Callable[[str], source_base.AttachmentSource]
              | None = None) -> test_wing.Agent:
        agent = test_wing.Agent(self.ground, self.root, self.path)
        adopter = adopt.Adopter(
            tree=self.ground.tree,
            mounters=loader.Mounters(lambda: ('nbd',), lambda _name: Rbd),
            names=lambda: ('nbd',), locks=locks.VolumeLocks(self.home),
            journal=lambda: agent.journal,
            settings=lambda: adopt.Settings(
                run_path=self.home, reattach_s=600, timer_ms=1000))
        agent.wing.sources = sources.Sources(sources.Given(
            host=HERE, names=('it',), adopter=adopter, tree=self.ground.tree,
            load=load or (lambda _name: self.world.make_source(HERE)),
            adopts=lambda: self.adopts, interval_s=lambda: INTERVAL_S,
            clock=agent.time), agent.wing._rows, agent.journal)
        return agent

    def written(self, volume: str, image: str | None = None) -> None:
        """A connector has attached it, as the journal says."""
        book = journal_lib.Journal(self.path, boot_id='boot')
        mapping = world.mapping(mounter='nbd', order=world.order(
            volume=volume, source={
                'pool': 'volumes', 'image': image or f'volume-{volume}'}))
        book.attach_begin(volume, 'vol', remember.dump_mapping(mapping), 1,
                          '1')
        book.attach_done(volume)
        book.close()

    def mapped(self, volume: str, image: str, pool: str = 'volumes',
               ours: bool = False) -> None:
        """A device and its process, whatever is written down."""
        self.ground.connected('nbd3', volume)
        if ours:
            order = world.order(volume=volume, source={
                'pool': pool, 'image': image})
            self.ground.process(100, *Rbd().server(order).argv)
        else:
            self.ground.process(100, 'rbd-nbd', 'attach', f'{pool}/{image}',
                                '--device', '/dev/nbd3', f'--cookie={volume}')

    def told(self, agent: test_wing.Agent) -> dict[str, Any]:
        about = agent.engine.status()['agent']['sources']
        found: dict[str, Any] = about.get('it', {})
        return found

    def volume_of(self, agent: test_wing.Agent) -> dict[str, Any]:
        (volume,) = agent.engine.status()['volumes']
        return dict(volume)


class CinderChainTest(ChainTest):
    world: worlds.CinderWorld

    def setUp(self) -> None:
        super().setUp()
        self.begin(worlds.CinderWorld(self.temp_dir()))

    def test_what_cinder_and_the_journal_both_have_is_no_news(self) -> None:
        volume = self.world.attach(HERE)
        self.written(volume)
        self.mapped(volume, f'volume-{volume}', ours=True)
        agent = self.agent()
        agent.run(40.0)
        self.assertEqual('healthy', agent.phase())
        self.assertNotIn('doubt', self.volume_of(agent))
        told = self.told(agent)
        self.assertEqual((1, None, {}), (
            told['attachments'], told['error'], told['lacking']))

    def test_what_the_journal_lost_and_is_proven_ours_is_adopted(
            self) -> None:
        volume = self.world.attach(HERE)
        self.mapped(volume, f'volume-{volume}', ours=True)
        agent = self.agent()
        agent.run(10.0)
        self.assertEqual('healthy', agent.phase())
        self.assertEqual(volume, self.volume_of(agent)['key'])
        self.assertEqual({}, self.told(agent)['lacking'])
        self.assertIn('is adopted', self.log.output)

    def test_somebody_elses_is_said_and_left_alone(self) -> None:
        volume = self.world.attach(HERE)
        self.mapped(volume, f'volume-{volume}')
        agent = self.agent()
        agent.run(40.0)
        self.assertEqual([], agent.engine.status()['volumes'])
        self.assertIn('os-brick-healer adopt nbd3',
                      self.told(agent)['lacking'][volume])
        self.assertEqual([], self.root.did)

    def test_it_is_adopted_where_that_is_configured_and_then_healed(
            self) -> None:
        self.adopts = 'any'
        volume = self.world.attach(HERE)
        self.mapped(volume, f'volume-{volume}')
        agent = self.agent()
        dead: list[float] = []

        def story() -> bool:
            if agent.phase() == 'healthy' and not dead:
                dead.append(agent.time.now_s)
                self.ground.ended(100)
            return 'start' in self.root.did

        agent.run(120.0, story)
        self.assertIn('start', self.root.did)

    def test_another_image_than_cinders_is_never_adopted(self) -> None:
        self.adopts = 'any'
        volume = self.world.attach(HERE)
        self.mapped(volume, 'volume-another', ours=True)
        agent = self.agent()
        agent.run(40.0)
        self.assertEqual([], agent.engine.status()['volumes'])
        self.assertIn('its image is', self.told(agent)['lacking'][volume])

    def test_what_qemu_opens_itself_is_not_missed(self) -> None:
        self.world.attach(HERE)
        agent = self.agent()
        agent.run(5.0)
        self.assertEqual({}, self.told(agent)['lacking'])

    def test_a_volume_of_another_host_is_not_served_here_again(
            self) -> None:
        volume = self.world.attach(HERE)
        self.written(volume)
        self.mapped(volume, f'volume-{volume}', ours=True)
        agent = self.agent()
        moved: list[float] = []

        def story() -> bool:
            if agent.phase() == 'healthy' and not moved:
                moved.append(agent.time.now_s)
                self.world.move(volume, THERE)
            if moved and agent.time.now_s > moved[0] + 40 and (
                    self.ground.root / 'proc/100').exists():
                self.ground.ended(100)
            return False

        agent.run(200.0, story)
        self.assertEqual('held', agent.phase())
        self.assertIn(THERE, self.volume_of(agent)['sentence'])
        self.assertEqual(['flows'], self.root.did)

    def test_one_answer_alone_is_no_contradiction(self) -> None:
        volume = self.world.attach(THERE)
        self.written(volume)
        self.ground.connected('nbd3', volume)
        agent = self.agent()
        agent.run(3.0)
        self.assertIn('start', self.root.did)

    def test_one_that_cannot_be_reached_changes_nothing(self) -> None:
        volume = str(uuid.uuid4())
        self.written(volume)
        self.ground.connected('nbd3', volume)
        agent = self.agent()
        with self.world.trouble(Trouble.DOWN):
            agent.run(60.0)
        self.assertIn('start', self.root.did)
        self.assertIn('cannot list volumes', self.told(agent)['error'])
        self.assertNotIn('doubt', self.volume_of(agent))
        self.assertEqual('attached', agent.journal_rows()[0].state)

    def test_attached_nowhere_is_said_and_healed_all_the_same(self) -> None:
        volume = str(uuid.uuid4())
        self.written(volume)
        self.mapped(volume, f'volume-{volume}', ours=True)
        agent = self.agent(lambda _name: Concerned(
            self.world.conf(), HERE))
        dead: list[float] = []

        def story() -> bool:
            if agent.time.now_s > 1040.0 and not dead:
                dead.append(agent.time.now_s)
                self.ground.ended(100)
            return 'start' in self.root.did

        agent.run(200.0, story)
        self.assertIn('attached nowhere', self.volume_of(agent)['doubt'])
        self.assertIn('start', self.root.did)


class Concerned(cinder.CinderSource):
    """Feels concerned, whatever the mounter of a test is called."""

    def concerns(self, volume: str, mounter: str) -> bool:
        del mounter
        return source_base.is_uuid(volume)


class KubernetesChainTest(ChainTest):
    world: worlds.KubernetesWorld

    def setUp(self) -> None:
        super().setUp()
        self.begin(worlds.KubernetesWorld(self.temp_dir()), 'any')

    def test_a_mapping_of_ceph_csi_is_adopted_healed_and_let_go(
            self) -> None:
        handle = self.world.attach(HERE)
        self.mapped(handle, self.world.image_of(handle), 'replicapool')
        agent = self.agent()
        steps: list[str] = []

        def story() -> bool:
            if not steps and agent.phase() == 'healthy':
                steps.append('adopted')
                self.ground.ended(100)
            if len(steps) == 1 and 'start' in self.root.did:
                steps.append('healed')
                self.world.detach(handle)
                base = self.ground.root / 'sys/block/nbd3'
                (base / 'pid').unlink()
                (base / 'backend').unlink()
            return len(steps) == 2 and not agent.engine.status()['volumes']

        agent.run(300.0, story)
        self.assertEqual(['adopted', 'healed'], steps)
        book = journal_lib.Journal(self.path, boot_id='boot')
        self.assertEqual((), book.attachments())
        self.assertTrue(any('let go' in r.text for r in book.history()))
        book.close()

    def test_what_no_device_is_connected_for_is_said(self) -> None:
        handle = self.world.attach(HERE)
        agent = self.agent()
        agent.run(5.0)
        self.assertIn('no device is connected',
                      self.told(agent)['lacking'][handle])

    def test_a_node_that_took_the_volume_holds_the_heal_here(self) -> None:
        handle = self.world.attach(THERE)
        self.written(handle, self.world.image_of(handle))
        self.mapped(handle, self.world.image_of(handle), 'volumes')
        agent = self.agent()

        def story() -> bool:
            if agent.time.now_s > 1040.0 and (
                    self.ground.root / 'proc/100').exists():
                self.ground.ended(100)
            return False

        agent.run(90.0, story)
        self.assertEqual('held', agent.phase())
