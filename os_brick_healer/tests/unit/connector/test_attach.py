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
"""Connecting a volume, over a simulated host."""

import dataclasses

import fixtures

from os_brick_healer import exception
from os_brick_healer.connector import brick
from os_brick_healer.tests.unit.connector import fakes, world

State = world.State


class AttachTest(world.ConnectorTest):
    def connects(self) -> list[tuple[str, ...]]:
        return [c for c in self.sim.commands if c[:2] == ('nvme', 'connect')]

    def test_a_new_volume_gets_an_array_of_all_its_legs(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.volume(a, b)
        found = self.connector.connect_volume(self.props(a, b))
        self.assertEqual({'type': 'block',
                          'path': f'{self.raid_path}{world.ALIAS}'}, found)
        self.assertEqual({a.device, b.device}, self.members())
        self.assertEqual({world.VOLUME: 'attached'}, self.states())

    def test_a_new_array_queues_instead_of_failing_fast(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.attach(a, b)
        create = next(c for c in self.sim.commands if '-C' in c)
        self.assertNotIn('--failfast', create)
        self.assertIn('--bitmap=internal', create)

    def test_every_connection_gets_the_stall_parameters(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.attach(a, b)
        for command in self.connects():
            self.assertIn('--keep-alive-tmo=5', command)
            self.assertIn('--reconnect-delay=1', command)
        self.assertEqual(2, len(self.connects()))

    def test_an_unreplicated_volume_is_connected_as_by_os_brick(self) -> None:
        a = self.sim.leg()
        found = self.connector.connect_volume(a.replica())
        self.assertEqual(f'/dev/{a.device}', found['path'])
        self.assertNotIn('--keep-alive-tmo=5', self.connects()[0])
        self.assertEqual({}, self.states())

    def test_a_replaced_leg_is_found_though_nova_does_not_know_it(
            self) -> None:
        a, b, c = self.sim.leg(), self.sim.leg(), self.sim.leg()
        a.array_uuid = c.array_uuid = 'f' * 32
        self.volume(a, c)
        self.attach(a, b)
        self.assertEqual({a.device, c.device}, self.members())
        self.assertEqual({a.device, c.device}, self.sim.connected())

    def test_a_missing_leg_is_not_assembled(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        a.array_uuid = b.array_uuid = 'f' * 32
        self.volume(a, b, leg1=State.MISSING)
        self.attach(a, b)
        self.assertEqual({a.device}, self.members())
        self.assertEqual({a.device}, self.sim.connected())

    def test_only_missing_and_terminating_legs_are_refused(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        a.array_uuid = b.array_uuid = 'f' * 32
        self.volume(a, b, leg0=State.TERMINATING, leg1=State.MISSING)
        error = self.assertRaises(
            brick.BrickException, self.connector.connect_volume,
            self.props(a, b))
        self.assertIn('missing or terminating', str(error))
        self.assertEqual(set(), self.sim.connected())
        self.assertEqual({}, self.states())

    def test_a_provisioner_that_was_not_heard_is_not_quoted(self) -> None:
        error = self.assertRaises(
            brick.BrickException, self.connector.connect_volume,
            self.props(count=2))
        self.assertNotIn('missing or terminating', str(error))
        self.assertIn('no leg of it is known', str(error))
        self.assertIn('because this is a test', str(error))
        self.volume()
        error = self.assertRaises(
            brick.BrickException, self.connector.connect_volume,
            self.props(count=2))
        self.assertIn('the provisioner names no leg of it', str(error))

    def test_a_leg_that_is_away_is_left_out_and_not_waited_for(self) -> None:
        a, b = self.sim.leg(), self.sim.leg(reachable=False)
        a.array_uuid = b.array_uuid = 'f' * 32
        self.attach(a, b)
        self.assertEqual({a.device}, self.members())
        self.assertEqual([a.address], [c[c.index('-a') + 1]
                                       for c in self.connects()])

    def test_no_array_is_created_from_some_of_the_legs(self) -> None:
        a, b = self.sim.leg(), self.sim.leg(reachable=False)
        error = self.assertRaises(
            brick.BrickException, self.connector.connect_volume,
            self.props(a, b))
        self.assertIn('only 1 of 2 legs', str(error))
        self.assertIsNone(a.array_uuid)
        self.assertEqual(set(), self.sim.connected())

    def test_no_array_is_created_when_one_leg_of_two_is_missing(
            self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.volume(a, b, leg1=State.MISSING)
        self.assertRaises(brick.BrickException,
                          self.connector.connect_volume, self.props(a, b))
        self.assertIsNone(a.array_uuid)

    def test_no_array_is_created_over_a_file_system(self) -> None:
        a, b = self.sim.leg(), self.sim.leg(filesystem='ext4')
        error = self.assertRaises(
            brick.BrickException, self.connector.connect_volume,
            self.props(a, b))
        self.assertIn('ext4', str(error))
        self.assertEqual([None, None], [a.array_uuid, b.array_uuid])

    def test_a_blank_leg_beside_old_ones_is_left_to_the_agent(self) -> None:
        a, b = self.sim.leg(array_uuid='f' * 32), self.sim.leg()
        self.volume(a, b, leg1=State.SYNCHRONIZING)
        self.attach(a, b)
        self.assertEqual({a.device}, self.members())
        self.assertIsNone(b.array_uuid)
        self.assertIn(b.device, self.sim.connected())

    def test_a_leg_of_another_array_is_left_out(self) -> None:
        a, b, c = (self.sim.leg(array_uuid='f' * 32),
                   self.sim.leg(array_uuid='f' * 32),
                   self.sim.leg(array_uuid='e' * 32))
        self.volume(a, b, c, count=3)
        self.attach(a, b, c)
        self.assertEqual({a.device, b.device}, self.members())

    def test_one_against_one_is_refused(self) -> None:
        a, b = (self.sim.leg(array_uuid='f' * 32),
                self.sim.leg(array_uuid='e' * 32))
        self.assertRaises(brick.BrickException,
                          self.connector.connect_volume, self.props(a, b))
        self.assertEqual(set(), self.members())

    def test_a_leg_lost_before_the_last_disconnect_is_refused_alone(
            self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        props = self.attach(a, b)
        self.sim.drop(self.sim.arrays['md127'], b)
        self.connector.disconnect_volume(props, {
            'path': props['device_path']})
        a.reachable = False
        error = self.assertRaises(
            brick.BrickException, self.connector.connect_volume,
            self.props(a, b))
        self.assertIn('missed writes', str(error))
        self.assertIn('connect_stale_legs', str(error))
        self.assertEqual(set(), self.members())
        self.assertEqual(set(), self.sim.connected())

    def test_the_operator_can_give_up_what_the_stale_leg_lacks(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        props = self.attach(a, b)
        self.sim.drop(self.sim.arrays['md127'], b)
        self.connector.disconnect_volume(props, {
            'path': props['device_path']})
        a.reachable = False
        self.settings = dataclasses.replace(self.settings,
                                            stale_allowed=True)
        self.renew()
        self.attach(a, b)
        self.assertEqual({b.device}, self.members())

    def test_a_leg_that_the_agent_saw_leave_is_refused_after_a_crash(
            self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.attach(a, b)
        self.journal.save_memory('replica', world.VOLUME, {
            'array_uuid': a.array_uuid,
            'replicas': {b.uuid: {'lost_s': 12.5}, a.uuid: {}}})
        self.sim.arrays, self.sim.links = {}, {}
        self.sim.controllers = {}
        a.reachable = False
        self.assertRaises(brick.BrickException,
                          self.connector.connect_volume, self.props(a, b))

    def test_a_restored_snapshot_is_older_and_welcome(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        a.events = b.events = 100
        props = self.attach(a, b)
        self.connector.disconnect_volume(props, {
            'path': props['device_path']})
        a.events = b.events = 1
        self.attach(a, b)
        self.assertEqual({a.device, b.device}, self.members())

    def test_connecting_again_what_is_connected_changes_nothing(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.attach(a, b)
        array = self.sim.arrays['md127']
        self.attach(a, b)
        self.assertIs(array, self.sim.arrays['md127'])
        self.assertEqual({world.VOLUME: 'attached'}, self.states())

    def test_a_failed_second_connect_forgets_nothing(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.attach(a, b)
        self.volume(a, b, leg0=State.MISSING, leg1=State.MISSING)
        self.assertRaises(brick.BrickException,
                          self.connector.connect_volume, self.props(a, b))
        self.assertEqual({world.VOLUME: 'attached'}, self.states())
        self.assertEqual({a.device, b.device}, self.members())

    def test_no_provisioner_and_no_journal_fail_no_attach(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.renew(open_journal=fakes.no_journal)
        self.attach(a, b)
        self.assertEqual({a.device, b.device}, self.members())
        self.assertIn('out of date', self.log.output)

    def test_garbage_from_the_provisioner_fails_no_attach(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.says = self.garbage
        self.attach(a, b)
        self.assertEqual({a.device, b.device}, self.members())

    def test_a_plugin_with_a_bug_fails_no_attach(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.says = lambda: {}['bug']   # type: ignore[index]
        self.attach(a, b)
        self.assertEqual({a.device, b.device}, self.members())

    def test_a_volume_that_makes_no_sense_is_taken_as_nova_has_it(
            self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.nonsense('two replicas of one name')
        self.attach(a, b)
        self.assertEqual({a.device, b.device}, self.members())
        self.assertIn('two replicas of one name', self.log.output)

    def test_an_encrypted_attach_that_fails_leaves_nothing(self) -> None:
        def no_link(*_: object, **__: object) -> None:
            raise OSError('no link')

        self.useFixture(fixtures.MonkeyPatch(
            'os_brick.privileged.rootwrap.link_root', no_link))
        a, b = self.sim.leg(), self.sim.leg()
        self.assertRaises(OSError, self.connector.connect_volume,
                          self.props(a, b, encrypted=True))
        self.assertEqual({}, self.sim.arrays)
        self.assertEqual(set(), self.sim.connected())
        self.assertEqual({}, self.states())

    def test_no_secret_is_written_down(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        self.attach(a, b, auth_password='hunter2',
                    qos_specs={'x': 'hunter2'})
        (row,) = self.journal.attachments()
        self.assertNotIn('hunter2', str(row.connection))
        self.assertEqual(2, len(row.connection['volume_replicas']))

    def test_a_failed_command_takes_the_record_back(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        a.array_uuid = b.array_uuid = 'f' * 32
        real = self.sim.execute

        def broken(*command: str, **more: object) -> tuple[str, str]:
            if '--assemble' in command:
                raise brick.ProcessExecutionError(
                    exit_code=1, stdout='', stderr='mdadm: no')
            return real(*command, **more)

        self.connector.set_execute(broken)
        error = self.assertRaises(
            brick.BrickException, self.connector.connect_volume,
            self.props(a, b))
        self.assertIn('cannot assemble', str(error))
        self.assertEqual({}, self.states())
        self.assertEqual(set(), self.sim.connected())

    def test_udev_s_half_array_is_no_obstacle(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        a.array_uuid = b.array_uuid = 'f' * 32
        real = self.sim.execute

        def claimed(*command: str, **more: object) -> tuple[str, str]:
            done = real(*command, **more)
            if command[:2] == ('nvme', 'connect') and a.address in command:
                self.sim.claim(a)
            return done

        self.connector.set_execute(claimed)
        self.attach(a, b)
        self.assertEqual({'md127', 'md126'} & set(self.sim.arrays),
                         set(self.sim.arrays))
        self.assertEqual({a.device, b.device}, self.members())

    def test_a_refusal_leaves_nothing_of_udev_s_behind(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        a.array_uuid, b.array_uuid = 'f' * 32, 'e' * 32
        real = self.sim.execute

        def claimed(*command: str, **more: object) -> tuple[str, str]:
            done = real(*command, **more)
            if command[:2] == ('nvme', 'connect') and a.address in command:
                self.sim.claim(a)
            return done

        self.connector.set_execute(claimed)
        self.assertRaises(brick.BrickException,
                          self.connector.connect_volume, self.props(a, b))
        self.assertEqual({}, self.sim.arrays)
        self.assertEqual(set(), self.sim.connected())

    def test_a_leg_whose_controller_waits_is_not_waited_for(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        props = self.attach(a, b)
        self.connector.disconnect_volume(props, {
            'path': props['device_path']})
        self.sim.execute('nvme', 'connect', '-a', b.address, '-n', b.nqn)
        self.sim.cut(b)
        self.attach(a, b)
        self.assertEqual({a.device}, self.members())

    def test_flags_and_delays_of_what_was_there_are_mended(self) -> None:
        a, b = self.sim.leg(), self.sim.leg()
        cleared: list[str] = []
        slow: list[str] = []
        self.renew(
            clear_failfast=lambda array, uuid, device: cleared.append(device),
            set_reconnect_delay=lambda c, delay_s: slow.append(c.name))
        self.attach(a, b)
        self.assertEqual([a.device, b.device], sorted(cleared))
        self.assertEqual(['nvme0', 'nvme1'], sorted(slow))

    def test_a_flag_is_cleared_whatever_else_cannot_be_mended(self) -> None:
        """The agent may be unable to look at the volume for long."""
        a, b = self.sim.leg(), self.sim.leg()
        tried: list[str] = []

        def first_fails(array: str, uuid: str, device: str) -> bool:
            tried.append(device)
            if len(tried) == 1:
                raise exception.CommandError('cannot: because no')
            return True

        def no(*_: object) -> bool:
            raise exception.CommandError('cannot: because no')

        self.renew(clear_failfast=first_fails, set_reconnect_delay=no)
        self.attach(a, b)
        self.assertEqual([a.device, b.device], sorted(tried))

    def test_privilege_that_fails_fails_no_attach(self) -> None:
        def no(*_: object) -> bool:
            raise exception.CommandError('cannot: because no')

        a, b = self.sim.leg(), self.sim.leg()
        self.renew(clear_failfast=no, set_reconnect_delay=no)
        self.attach(a, b)
        self.assertEqual({world.VOLUME: 'attached'}, self.states())
