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
"""The whole wing, in the real loop, over a copy of a host's files."""

from collections.abc import Callable, Collection, Iterable
import dataclasses
import functools
from typing import Any

from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import loop, verdict, wake
from os_brick_healer.mapping import (
    act,
    attachments,
    events,
    model,
    observe,
    remember,
)
from os_brick_healer.mapping import pulse as pulse_lib
from os_brick_healer.mapping import wing as wing_lib
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.engine import test_loop
from os_brick_healer.tests.unit.mapping import ground as ground_lib
from os_brick_healer.tests.unit.mapping import test_events, world

Phase = verdict.Phase


class Ears(events.Events):
    """Hears what a test says; watches no real process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(test_events.Listener(), clock,
                         lambda: test_events.Ear())  # noqa: PLW0108
        self.watched: dict[str, model.Process | None] = {}

    def watch(self, device: str, server: model.Process | None) -> bool:
        self.watched[device] = server
        return True

    def forget(self, device: str) -> None:
        self.watched.pop(device, None)


class Agent:
    """One agent: a wing in an engine, with a clock that is moved."""

    def __init__(self, ground: ground_lib.Ground, root: ground_lib.Root,
                 path: str, policy: model.Policy = world.POLICY,
                 start_s: float = 1000.0) -> None:
        self.ground, self.root, self.path = ground, root, path
        self.time = test_loop.Time()
        self.time.now_s = start_s
        self.hand = test_loop.Hand(self.time)
        self.journal = journal_lib.Journal(path, boot_id='boot')
        motion = observe.Motion(self.time)
        self.ears = Ears(self.time)
        self.alive, self.asked, self.prepared = True, 0, list[str]()
        programs = frozenset((ground.mounter.program,))
        self.wing = wing_lib.MappingWing(
            policy=policy, journal=self.journal, motion=motion,
            rows=attachments.Attachments(
                self.journal, lambda _: None,
                {'nbd': world.ABILITIES}.get),
            observer=observe.Observer(
                ground.tree, self.time, {'nbd': ground.mounter}.get,
                lambda: programs),
            pulse=pulse_lib.Pulse(ground.tree, self.time, motion),
            heard=self.ears, clock=self.time, ask=self.ask,
            prepare=self.prepare, hands=act.Hands(
                tree=ground.tree, locks=ground_lib.FreeLocks(), nbd=root,
                mounter={'nbd': ground.mounter}.get,
                policy=lambda: policy))
        self.engine = loop.Engine(
            (self.wing,), journal=self.journal, runs=self.hand,
            waits=self.time, clock=self.time)

    def ask(self, mapping: model.Mapping,
            timeout_s: float) -> tuple[bool | None, str]:
        del mapping, timeout_s
        self.asked += 1
        return self.alive, '' if self.alive else 'silence'

    def prepare(self, mounter: str) -> str:
        self.prepared.append(mounter)
        return ''

    def run(self, seconds: float,
            until: Callable[[], Any] = lambda: False) -> None:
        """Turn for so long, or until something holds."""
        end_s = self.time.now_s + seconds

        def beat() -> None:
            if self.time.now_s >= end_s or until():
                self.engine.stop()

        self.engine.on_beat(beat)
        self.engine.run()

    def journal_rows(self) -> tuple[journal_lib.AttachRow, ...]:
        """What is written down, however the agent's own journal is."""
        book = journal_lib.Journal(self.path, boot_id='boot')
        try:
            return book.attachments()
        finally:
            book.close()

    def phase(self) -> str | None:
        for volume in self.engine.status()['volumes']:
            return str(volume['phase'])
        return None


def is_well(agent: Agent) -> bool:
    return agent.phase() == 'healthy'


class WingTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def begin(self) -> None:
        """A host with one volume, attached."""
        self.ground = ground_lib.Ground(self.temp_dir())
        self.ground.connected()
        self.root = ground_lib.Root(self.ground)
        self.addCleanup(self.root.close)
        self.path = str(self.temp_dir() / 'j')
        self.attached()

    def attached(self, keys: Iterable[str] = (world.KEY,)) -> None:
        book = journal_lib.Journal(self.path, boot_id='boot')
        for key in keys:
            mapping = dataclasses.replace(
                self.ground.mapping, order=dataclasses.replace(
                    self.ground.order, volume=key))
            book.attach_begin(key, 'vol', remember.dump_mapping(mapping), 1,
                              '1')
            book.attach_done(key)
        book.close()

    def agent(self, **more: Any) -> Agent:
        return Agent(self.ground, self.root, self.path, **more)

    def lines(self, what: str) -> list[str]:
        book = journal_lib.Journal(self.path, boot_id='boot')
        found = [row.text for row in book.history() if row.what == what]
        book.close()
        return found

    def test_a_volume_that_is_served_is_proven_once_and_left_alone(
            self) -> None:
        self.ground.process(100)
        agent = self.agent()
        agent.run(300.0)
        self.assertEqual(['flows'], self.root.did)
        self.assertEqual('healthy', agent.phase())
        self.assertEqual(['nbd'], agent.prepared)

    def test_a_volume_found_dead_at_the_start_is_healed(self) -> None:
        agent = self.agent()
        agent.run(10.0, lambda: agent.phase() == 'healthy')
        self.assertEqual('healthy', agent.phase())
        self.assertEqual(['start', 'reconnect', 'flows'], self.root.did)
        self.assertEqual(
            ['serve nbd3 by a new process of nbd',
             'read from nbd3, served by process 200'], self.lines('intent'))

    def test_a_death_is_acted_on_as_soon_as_it_is_heard_of(self) -> None:
        self.ground.process(100)
        agent = self.agent()
        begun: list[float] = []

        def story() -> bool:
            if not begun and agent.phase() == 'healthy':
                self.ground.ended(100)
                begun.append(agent.time.now_s)
                agent.time.events.append(
                    wake.Woken(devices=frozenset(('nbd3',))))
            if begun and 'reconnect' in self.root.did:
                begun.append(agent.time.now_s)
                return True
            return False

        agent.run(100.0, story)
        self.assertLess(begun[1] - begun[0], 0.1)

    def test_a_server_that_hangs_is_asked_then_killed_then_replaced(
            self) -> None:
        self.ground.process(100)
        agent = self.agent()
        agent.alive = False

        def story() -> bool:
            if 'kill' not in self.root.did and agent.phase() == 'healthy':
                self.ground.requests('nbd3', 100, 4)
            if 'kill' in self.root.did:
                self.ground.requests('nbd3', 200, 0)
            return 'reconnect' in self.root.did

        agent.run(60.0, story)
        self.assertEqual(['flows', 'kill', 'start', 'reconnect'],
                         self.root.did[:4])
        self.assertLess(agent.time.now_s, 1008.0)

    def test_a_server_that_hangs_in_a_flush_alone_is_found_out(
            self) -> None:
        self.ground.process(100)
        agent = self.agent()
        agent.alive = False
        turns: list[int] = []

        def story() -> bool:
            if agent.phase() == 'healthy' and len(turns) < 40:
                turns.append(1)
                self.ground.requests('nbd3', 100 + len(turns), 0)
            elif len(turns) == 40 and self.root.did.count('flows') == 2:
                self.root.answer = 'sent'
                self.ground.requests('nbd3', 140, 1)    # our own read
            if 'kill' in self.root.did:
                self.root.answer = 'read'
                self.ground.requests('nbd3', 200, 0)
            return 'reconnect' in self.root.did

        agent.run(90.0, story)
        self.assertEqual(['flows', 'flows', 'kill', 'start', 'reconnect'],
                         self.root.did[:5])

    def test_slow_storage_is_told_and_nobody_is_killed(self) -> None:
        self.ground.process(100)
        agent = self.agent()

        def story() -> bool:
            if agent.phase() == 'healthy':
                self.ground.requests('nbd3', 100, 4)
            return False

        agent.run(120.0, story)
        self.assertEqual('stalled', agent.phase())
        self.assertEqual(['flows'], self.root.did)
        self.assertGreater(agent.asked, 10)

    def killed_after(self, calls: int) -> None:
        """An agent whose hands get no further than so many calls."""
        agent = self.agent()
        agent.hand.held = True
        lanes = model.Lane.MAPPING.value

        def begun() -> bool:
            for lane, work, _done in agent.hand.waiting:
                if lane == lanes:
                    self.root.left = calls
                    self.assertRaises(ground_lib.Killed, work)
                    agent.hand.waiting.clear()
                    return True
            return False

        agent.run(1.0, begun)
        self.root.left = None

    def test_an_agent_killed_between_any_two_calls_leaves_one_server(
            self) -> None:
        for calls in (0, 1):
            self.begin()
            self.killed_after(calls)
            agent = self.agent()
            agent.run(120.0, functools.partial(is_well, agent))
            self.assertEqual('healthy', agent.phase())
            self.assertEqual(1, len(self.root.servers))
            self.assertEqual(calls, self.root.did.count('kill'))

    def test_a_bounded_number_is_healed_at_once(self) -> None:
        keys = [world.KEY[:-2] + f'{n:02}' for n in range(20)]
        self.attached(keys)
        policy = dataclasses.replace(world.POLICY, heals_max=3)
        agent = self.agent(policy=policy)
        for number, key in enumerate(keys):
            self.ground.connected(f'nbd{number + 10}', key)
        agent.hand.held = True
        agent.run(2.0)
        begun = [lane for lane, _w, _d in agent.hand.waiting
                 if lane == model.Lane.MAPPING.value]
        self.assertLessEqual(len(begun), 3)

    def test_rows_that_do_not_change_are_not_gone_through(self) -> None:
        class Rows(attachments.Attachments):
            walks = 0

            def keys(self) -> Collection[str]:
                self.walks += 1
                return super().keys()

        self.ground.process(100)
        agent = self.agent()
        rows = Rows(agent.journal, lambda _: None,
                    {'nbd': world.ABILITIES}.get)
        agent.wing._rows = rows
        agent.run(100.0)
        self.assertEqual('healthy', agent.phase())
        self.assertLess(rows.walks, 3)

    def test_a_volume_that_is_detached_is_forgotten(self) -> None:
        self.ground.process(100)
        agent = self.agent()

        def story() -> bool:
            if agent.phase() == 'healthy':
                book = journal_lib.Journal(self.path, boot_id='boot')
                book.detach_begin(world.KEY)
                book.detach_done(world.KEY)
                book.close()
            return False

        agent.run(5.0, story)
        self.assertIsNone(agent.phase())
        self.assertEqual({}, agent.ears.watched)
        book = journal_lib.Journal(self.path, boot_id='boot')
        self.assertEqual({}, book.load_memory(model.KIND))
        book.close()

    def test_a_replicated_volume_is_none_of_its_business(self) -> None:
        book = journal_lib.Journal(self.path, boot_id='boot')
        book.attach_begin(world.OTHER, 'r', {'vol_uuid': world.OTHER}, 1,
                          '1')
        book.attach_done(world.OTHER)
        book.close()
        self.ground.process(100)
        agent = self.agent()
        agent.run(3.0)
        self.assertEqual([world.KEY], [
            v['key'] for v in agent.engine.status()['volumes']])

    def test_deaths_that_were_not_heard_of_are_looked_for(self) -> None:
        self.ground.process(100)
        agent = self.agent()
        doubted: list[tuple[str, ...]] = []

        def story() -> bool:
            if not doubted and agent.phase() == 'healthy':
                doubted.append(tuple(agent.ears.lost()))
                agent.time.events.append(wake.Woken(lost=True))
            return False

        agent.run(5.0, story)
        self.assertEqual([('nbd3',)], doubted)
        self.assertEqual(['flows', 'flows'], self.root.did)

    def test_what_is_told_names_the_device_and_its_server(self) -> None:
        self.ground.process(100)
        agent = self.agent()
        agent.run(3.0)
        (told,) = agent.engine.status()['volumes']
        self.assertEqual(
            ('mapping', 'vol', 'nbd3', 'nbd',
             {'pid': 100, 'stopped': False, 'proven': True}),
            (told['kind'], told['alias'], told['device'], told['mounter'],
             told['server']))
