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
"""Disconnecting and extending a volume, over a simulated host."""

import threading
from typing import Any

from os_brick_healer import exception
from os_brick_healer.connector import brick
from os_brick_healer.tests.unit.connector import fakes, sim, world


class DetachTest(world.ConnectorTest):
    def setUp(self) -> None:
        super().setUp()
        self.a, self.b = self.sim.leg(), self.sim.leg()
        self.kept = self.attach(self.a, self.b)
        self.array = self.sim.arrays['md127']

    def detach(self, **how: Any) -> None:
        self.connector.disconnect_volume(
            self.kept, {'path': self.kept['device_path']}, **how)

    def all_gone(self) -> None:
        self.assertEqual({}, self.sim.arrays)
        self.assertEqual(set(), self.sim.connected())
        self.assertEqual({}, self.states())

    def test_nothing_stays_behind(self) -> None:
        self.detach()
        self.all_gone()

    def test_the_agent_lets_go_first(self) -> None:
        self.detach()
        self.assertEqual([world.VOLUME], self.released)

    def test_an_agent_that_cannot_be_asked_is_no_obstacle(self) -> None:
        def dead(key: str) -> None:
            raise exception.HealerError('cannot ask: because it is dead')

        self.renew(release=dead)
        self.detach()
        self.all_gone()

    def test_a_leg_that_was_swapped_in_goes_too(self) -> None:
        new = self.sim.leg()
        self.sim.drop(self.array, self.b)
        self.sim.swap_in(self.array, new)
        self.detach()
        self.all_gone()

    def test_a_bad_leg_that_only_the_provisioner_names_goes_too(
            self) -> None:
        new = self.sim.leg()
        self.sim.swap_in(self.array, new)
        self.sim.drop(self.array, new)
        self.volume(self.a, self.b, new, leg2=world.State.MISSING)
        self.detach()
        self.all_gone()

    def test_a_replica_that_was_refused_and_went_goes_too(self) -> None:
        gone = self.sim.leg()
        self.sim.controllers['nvme9'] = (gone, 'connecting')
        self.sim.write()
        self.journal.save_memory('replica', world.VOLUME, {
            'array_uuid': None, 'replicas': {'gone': {
                'nqn': gone.nqn, 'namespace_uuid': gone.uuid}}})
        self.detach()
        self.all_gone()

    def test_a_dead_leg_does_not_hang_the_disconnect(self) -> None:
        self.sim.cut(self.b)
        self.detach()
        self.all_gone()

    def test_a_leg_that_dies_under_mdadm_does_not_hang_it(self) -> None:
        real = self.sim.execute
        gone = threading.Event()
        real_delete = self.sim.delete_controller

        def delete(*args: Any) -> bool:
            done = real_delete(*args)
            gone.set()
            return done

        def slow(*command: str, **more: object) -> tuple[str, str]:
            if command[:2] == ('mdadm', '--stop'):
                self.sim.cut(self.b)
                self.assertTrue(gone.wait(20), 'mdadm --stop hangs')
            return real(*command, **more)

        self.renew(delete_controller=delete)
        self.connector.set_execute(slow)
        self.detach()
        self.all_gone()

    def test_the_legs_are_known_again_without_the_provisioner(self) -> None:
        new = self.sim.leg()
        self.sim.drop(self.array, self.b)
        self.sim.swap_in(self.array, new)
        self.detach()
        self.attach(self.a, self.b)
        self.assertEqual({self.a.device, new.device}, self.members())

    def test_with_no_leg_alive_it_is_refused_and_said(self) -> None:
        self.sim.cut(self.a)
        self.sim.cut(self.b)
        error = self.assertRaises(brick.BrickException, self.detach)
        self.assertIn('no leg of it can be reached', str(error))
        self.assertEqual({'md127'}, set(self.sim.arrays))
        self.assertEqual({world.VOLUME: 'attached'}, self.states())

    def test_an_array_in_use_keeps_its_legs(self) -> None:
        self.array.busy = True
        for force in (False, True):
            error = self.assertRaises(brick.BrickException, self.detach,
                                      force=force)
            self.assertIn('could not be stopped', str(error))
            self.assertEqual({self.a.device, self.b.device},
                             self.sim.connected())
            self.assertEqual({world.VOLUME: 'attached'}, self.states())

    def test_controllers_go_even_when_the_path_is_gone(self) -> None:
        self.sim.arrays, self.sim.links = {}, {}
        self.sim.write()
        self.detach()
        self.all_gone()

    def test_an_array_without_its_link_is_stopped(self) -> None:
        self.sim.links = {}
        self.sim.write()
        self.detach()
        self.all_gone()

    def test_another_volume_on_the_same_subsystem_stays(self) -> None:
        other = sim.Leg(n=self.b.n, nqn=self.b.nqn, uuid=sim.leg_uuid(99),
                        address=self.b.address)
        path = self.sim.root / 'sys/class/nvme/nvme1/nvme1n2/uuid'
        real = self.sim.write

        def write() -> None:
            real()
            if 'nvme1' in self.sim.controllers:
                for base in ('nvme', 'nvme-fabrics/ctl'):
                    self.write_file(
                        self.sim.root / 'sys/class' / base
                        / 'nvme1/nvme1n2/uuid', other.uuid)

        self.sim.write = write   # type: ignore[method-assign]
        self.sim.write()
        self.assertTrue(path.exists())
        self.detach()
        self.assertEqual({self.b.device}, self.sim.connected())

    def test_a_leg_without_ids_never_takes_another_volume_along(
            self) -> None:
        for entry in self.kept['volume_replicas']:
            entry['vol_uuid'] = None
        self.sim.arrays, self.sim.links = {}, {}
        real = self.sim.write

        def write() -> None:
            real()
            if 'nvme1' in self.sim.controllers:
                self.write_file(self.sim.root / 'sys/class/nvme/nvme1'
                                '/nvme1n2/uuid', sim.leg_uuid(99))

        self.sim.write = write   # type: ignore[method-assign]
        self.sim.write()
        self.renew(open_journal=fakes.no_journal)
        self.detach()
        self.assertEqual({self.b.device}, self.sim.connected())

    def test_without_journal_and_provisioner_nothing_stays(self) -> None:
        self.renew(open_journal=fakes.no_journal)
        self.detach()
        self.assertEqual({}, self.sim.arrays)
        self.assertEqual(set(), self.sim.connected())

    def test_a_foreign_array_under_our_name_is_left_alone(self) -> None:
        foreign = self.sim.leg(array_uuid='e' * 32)
        self.sim.execute('nvme', 'connect', '-a', foreign.address,
                         '-n', foreign.nqn)
        self.sim.arrays = {'md5': sim.Array(
            'md5', 'e' * 32, [foreign], [foreign])}
        self.sim.links = {world.ALIAS: 'md5'}
        self.sim.write()
        self.assertRaises(brick.BrickException, self.detach)
        self.assertEqual({'md5'}, set(self.sim.arrays))
        self.assertIn(foreign.device, self.sim.connected())

    def test_what_was_in_sync_is_remembered(self) -> None:
        self.sim.drop(self.array, self.b)
        self.detach()
        known = self.journal.load_memory('connection')[world.VOLUME].value
        self.assertEqual([self.a.uuid], known['in_sync'])
        self.assertEqual(self.a.events, known['events'])


    def test_udev_s_half_array_does_not_keep_a_leg(self) -> None:
        real = self.sim.execute

        def claimed(*command: str, **more: object) -> tuple[str, str]:
            done = real(*command, **more)
            if command[:2] == ('mdadm', '--stop') and 'vol1' in command[2]:
                self.sim.claim(self.a)
            return done

        self.connector.set_execute(claimed)
        self.detach()
        self.all_gone()


class ExtendTest(world.ConnectorTest):
    def setUp(self) -> None:
        super().setUp()
        self.a, self.b = self.sim.leg(), self.sim.leg()
        self.kept = self.attach(self.a, self.b)

    def grown(self) -> bool:
        return any('--grow' in c for c in self.sim.commands)

    def test_the_legs_are_looked_at_again_before_the_array_grows(
            self) -> None:
        self.a.size = self.b.size = 2 << 30
        self.volume(self.a, self.b, size=2 << 30)
        self.assertEqual(2 << 30, self.connector.extend_volume(self.kept))
        self.assertEqual({world.VOLUME: 'attached'}, self.states())

    def test_a_swapped_in_leg_is_looked_at_too(self) -> None:
        new = self.sim.leg()
        self.sim.swap_in(self.sim.arrays['md127'], new)
        self.a.size = self.b.size = new.size = 2 << 30
        self.assertEqual(2 << 30, self.connector.extend_volume(self.kept))

    def test_a_leg_that_stays_small_is_refused_and_said(self) -> None:
        self.a.size = 2 << 30
        self.volume(self.a, self.b, size=2 << 30)
        error = self.assertRaises(brick.BrickException,
                                  self.connector.extend_volume, self.kept)
        self.assertIn(self.b.device, str(error))
        self.assertFalse(self.grown())
        self.assertEqual({world.VOLUME: 'attached'}, self.states())

    def test_without_a_wanted_size_the_legs_must_agree(self) -> None:
        self.a.size = 2 << 30
        self.assertRaises(brick.BrickException,
                          self.connector.extend_volume, self.kept)
        self.assertFalse(self.grown())

    def test_a_dead_leg_does_not_hang_the_grow(self) -> None:
        self.sim.cut(self.b)
        self.a.size = 2 << 30
        self.assertEqual(2 << 30, self.connector.extend_volume(self.kept))

    def test_a_copy_waits_while_the_array_grows_and_then_goes_on(
            self) -> None:
        array = self.sim.arrays['md127']
        array.sync = 'recover'
        self.sim.write()
        self.a.size = self.b.size = 2 << 30
        self.assertEqual(2 << 30, self.connector.extend_volume(self.kept))
        self.assertEqual('idle', array.sync)

    def test_a_grow_that_mdadm_refuses_is_an_error(self) -> None:
        real = self.sim.execute

        def broken(*command: str, **more: object) -> tuple[str, str]:
            if '--grow' in command:
                raise brick.ProcessExecutionError(
                    exit_code=1, stdout='', stderr='mdadm: busy')
            return real(*command, **more)

        self.connector.set_execute(broken)
        self.assertRaises(brick.BrickException,
                          self.connector.extend_volume, self.kept)
