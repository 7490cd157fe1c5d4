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
"""Laws of connecting, cutting and deleting controllers."""

from collections.abc import Sequence
import os
import socket
from typing import Any

from os_brick_healer import exception
from os_brick_healer.privileged import command, fabrics, sockets
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.privileged import fakes


class FabricsTestCase(base.TestCase):
    """md127 of legs 1 and 2, both in sync; leg 2 is connecting."""

    def setUp(self) -> None:
        super().setUp()
        self.host = fakes.Host(self.temp_dir())
        self.host.leg(1)
        self.host.leg(2, 'connecting')
        self.host.array('md127', {'nvme1n1': 'in_sync',
                                  'nvme2n1': 'in_sync'})

    def names(self, number: int = 2, **more: Any) -> dict[str, Any]:
        return {'controller': f'nvme{number}', 'nqn': fakes.nqn(number),
                'address': fakes.address(number), 'port': 4420,
                'timeout_s': 0.2, **more}

    def written(self, number: int, name: str) -> str:
        return self.host.text(f'/sys/class/nvme/nvme{number}/{name}')


class TestDelete(FabricsTestCase):

    def delete(self, number: int = 2, idle: bool = False,
               **more: Any) -> bool:
        names = self.names(number, idle=idle,
                           device=f'nvme{number}n1') | more
        return fabrics.delete_controller(self.host.tree, **names)

    def assert_refused(self, word: str, number: int = 2,
                       **more: Any) -> None:
        error = self.assertRaises(exception.NotOurs, self.delete, number,
                                  **more)
        self.assertIn(word, str(error))
        self.assertEqual('', self.written(number, 'delete_controller'))

    def test_a_dead_leg_beside_a_live_one_is_given_up(self) -> None:
        # Nothing really goes away here: the kernel is "still at it".
        self.assertFalse(self.delete())
        self.assertEqual('1', self.written(2, 'delete_controller'))

    def test_the_last_live_leg_is_kept(self) -> None:
        self.assert_refused('no other in-sync leg', number=1)

    def test_both_dead_both_are_kept(self) -> None:
        self.host.write('/sys/class/nvme/nvme1/state', 'connecting')
        self.assert_refused('no other in-sync leg')

    def test_a_live_leg_that_is_not_in_sync_is_no_survivor(self) -> None:
        self.host.member('md127', 'nvme1n1', 'spare')
        self.assert_refused('no other in-sync leg')
        self.host.member('md127', 'nvme1n1', 'in_sync,faulty')
        self.assert_refused('no other in-sync leg')

    def test_another_path_to_the_leg_makes_it_harmless(self) -> None:
        self.host.write('/sys/class/nvme/nvme1/state', 'connecting')
        self.host.controller(7, 2)
        self.assertFalse(self.delete())
        self.assertEqual('1', self.written(2, 'delete_controller'))

    def test_another_volumes_last_leg_behind_it_is_kept(self) -> None:
        self._second_namespace()
        self.host.array('md9', {'nvme2n2': 'in_sync'}, fakes.OTHER_UUID)
        self.assert_refused('md9 holds nvme2n2')

    def test_another_volumes_leg_behind_it_may_go_if_it_carries_on(
            self) -> None:
        self._second_namespace()
        self.host.leg(3)
        self.host.array('md9', {'nvme2n2': 'in_sync',
                                'nvme3n1': 'in_sync'}, fakes.OTHER_UUID)
        self.assertFalse(self.delete())
        self.assertEqual('1', self.written(2, 'delete_controller'))

    def test_a_namespace_of_unknown_use_behind_it_is_kept(self) -> None:
        self._second_namespace()
        self.assert_refused('not known')

    def test_a_replica_that_is_out_of_its_array_may_go_with_it(self) -> None:
        self._second_namespace()
        for spare in ({'nvme2n3': fakes.namespace_uuid(3)}, {}, None):
            self.assert_refused('not known', spare=spare)
        known = {'nvme2n2': fakes.namespace_uuid(3)}
        # It is another one by now, or somebody has made partitions on it.
        self.assert_refused('its uuid is', spare={
            'nvme2n2': fakes.namespace_uuid(4)})
        part = self.host.root / 'sys/block/nvme2n2/nvme2n2p1'
        part.mkdir()
        self.assert_refused('nvme2n2p1 uses it', spare=known)
        part.rmdir()
        self.assertFalse(self.delete(spare=known))
        self.assertEqual('1', self.written(2, 'delete_controller'))

    def test_what_an_array_needs_is_kept_whatever_the_caller_knows(
            self) -> None:
        self._second_namespace()
        self.host.member('md5', 'nvme2n2', 'in_sync')
        self.assert_refused('no other in-sync leg', spare={
            'nvme2n2': fakes.namespace_uuid(3)})

    def _second_namespace(self) -> None:
        self.host.write('/sys/block/nvme2n2/device/subsysnqn', fakes.nqn(2))
        self.host.write('/sys/block/nvme2n2/uuid', fakes.namespace_uuid(3))
        (self.host.root / 'sys/block/nvme2n2/holders').mkdir()
        (self.host.root / 'sys/class/nvme/nvme2/nvme2c2n2').mkdir()

    def test_another_controller_under_the_name_is_kept(self) -> None:
        self.assert_refused('leads to', nqn=fakes.nqn(5))
        self.assert_refused('portal', address='10.9.9.9')
        self.assert_refused('portal', port=4421)

    def test_what_is_gone_is_a_success(self) -> None:
        self.assertTrue(self.delete(controller='nvme99'))

    def test_disconnecting_keeps_what_is_held(self) -> None:
        self.assert_refused('held by md127', idle=True)

    def test_disconnecting_lets_go_what_nobody_holds(self) -> None:
        self.host.leg(4)
        self.assertFalse(self.delete(4, idle=True))
        self.assertEqual('1', self.written(4, 'delete_controller'))

    def test_disconnecting_keeps_an_unused_namespace_not_named(self) -> None:
        self.host.leg(4)
        self.assert_refused('not known', 4, idle=True, device=None)


class TestCut(FabricsTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.cuts: list[tuple[str, int]] = []

    def destroy(self, address: str, port: int, _timeout_s: float) -> int:
        self.cuts.append((address, port))
        return 2

    def cut(self, number: int = 2, ours: tuple[str, ...] = (),
            **more: Any) -> int:
        return fabrics.cut(self.host.tree, self.destroy, ours=ours,
                           **self.names(number, **more))

    def test_connections_to_exactly_this_portal_are_cut(self) -> None:
        self.assertEqual(2, self.cut())
        self.assertEqual([(fakes.address(2), 4420)], self.cuts)

    def test_a_portal_that_somebody_else_uses_is_not_cut(self) -> None:
        self.host.leg(4)
        self.host.write('/sys/class/nvme/nvme4/address',
                        f'traddr={fakes.address(2)},trsvcid=4420')
        self.assertRaises(exception.NotOurs, self.cut)
        self.assertEqual([], self.cuts)
        self.assertEqual(2, self.cut(ours=('nvme4',)))

    def test_the_last_live_legs_connection_is_kept(self) -> None:
        self.assertRaises(exception.NotOurs, self.cut, 1)
        self.assertEqual([], self.cuts)

    def test_only_tcp_can_be_cut(self) -> None:
        self.host.write('/sys/class/nvme/nvme2/transport', 'rdma')
        self.assertRaises(exception.NotOurs, self.cut)
        self.assertEqual([], self.cuts)

    def test_a_kernel_that_refuses_is_an_error_with_a_way_out(self) -> None:
        def refuse(_address: str, _port: int, _timeout_s: float) -> int:
            raise PermissionError(1, 'sock_diag refuses')

        error = self.assertRaises(
            exception.CommandError, fabrics.cut, self.host.tree, refuse,
            ours=(), **self.names(2))
        self.assertIn('INET_DIAG_DESTROY', str(error))


class TestSockets(base.TestCase):
    """sock_diag of the kernel that the tests run on."""

    def test_only_connections_to_the_portal_are_destroyed(self) -> None:
        if os.geteuid() != 0:
            self.skipTest('destroying sockets takes CAP_NET_ADMIN')
        with (socket.create_server(('127.0.0.1', 0)) as one,
              socket.create_server(('127.0.0.1', 0)) as two):
            clients = [socket.create_connection(s.getsockname(), 5)
                       for s in (one, two)]
            try:
                port = one.getsockname()[1]
                count = sockets.destroy('127.0.0.1', port, 5.0)
            except OSError as e:
                self.skipTest(f'no SOCK_DESTROY in this kernel: {e}')
            finally:
                for client in clients:
                    self.addCleanup(client.close)
            self.assertEqual(1, count)
            self.assertRaises(OSError, clients[0].sendall, b'x')
            clients[1].sendall(b'x')

    def test_nothing_to_destroy_is_nothing_destroyed(self) -> None:
        try:
            self.assertEqual(0, sockets.destroy('127.0.0.1', 1, 5.0))
        except OSError as e:
            self.skipTest(f'no sock_diag in this kernel: {e}')


class TestConnect(FabricsTestCase):

    def connect(self, number: int = 3, **more: Any) -> str:
        names: dict[str, Any] = {
                 'nqn': fakes.nqn(number), 'address': fakes.address(number),
                 'port': 4420, 'transport': 'tcp',
                 'host_nqn': fakes.HOST_NQN, 'keep_alive_s': 2,
                 'reconnect_delay_s': 1, 'timeout_s': 0.3} | more
        return fabrics.connect(self.host.tree, self.host.run, **names)

    def appears(self, code: int = 0, err: str = '') -> None:
        def nvme(argv: Sequence[str]) -> command.Result:
            self.host.leg(3)
            return fakes.result(code, err=err)

        self.host.on_nvme = nvme

    def test_the_new_controller_is_found_in_sysfs(self) -> None:
        self.appears()
        self.assertEqual('nvme3', self.connect())

    def test_the_options_are_those_of_os_brick_and_the_short_times(
            self) -> None:
        self.appears()
        self.connect()
        argv = self.host.ran[-1]
        self.assertEqual(('-Q', '128', '-l', '-1'), argv[12:16])
        self.assertEqual(('--keep-alive-tmo=2', '--reconnect-delay=1'),
                         argv[16:])

    def test_an_existing_connection_is_a_success(self) -> None:
        self.assertEqual('nvme1', self.connect(1))
        self.assertEqual([], self.host.ran)

    def test_a_connection_that_udev_made_meanwhile_is_a_success(self) -> None:
        self.appears(1, 'already connected')
        self.assertEqual('nvme3', self.connect())

    def test_a_controller_that_is_leaving_is_no_connection(self) -> None:
        self.host.leg(3, 'deleting')
        self.host.on_nvme = lambda argv: fakes.result(1, err='refused')
        error = self.assertRaises(exception.CommandError, self.connect)
        self.assertIn('refused', str(error))

    def test_success_without_a_controller_is_an_error(self) -> None:
        self.host.on_nvme = lambda argv: fakes.result()
        self.assertRaises(exception.CommandError, self.connect)

    def test_arguments_are_checked_first(self) -> None:
        for more in ({'address': 'target.example'}, {'port': 0},
                     {'transport': 'loop'}, {'host_nqn': ''},
                     {'keep_alive_s': 0}, {'reconnect_delay_s': '1'}):
            self.assertRaises(exception.NotOurs, self.connect, **more)
        self.assertEqual([], self.host.ran)


class TestTuning(FabricsTestCase):

    def tune(self, name: str, value: int, **more: Any) -> bool:
        names: dict[str, Any] = {
            'controller': 'nvme1', 'nqn': fakes.nqn(1), 'name': name,
            'value': value, 'timeout_s': 1.0, **more}
        return fabrics.set_attribute(self.host.tree, **names)

    def test_a_new_value_is_written(self) -> None:
        self.assertTrue(self.tune('reconnect_delay', 1))
        self.assertEqual('1', self.written(1, 'reconnect_delay')[:1])

    def test_off_and_minus_one_are_the_same(self) -> None:
        self.assertFalse(self.tune('fast_io_fail_tmo', -1))
        self.assertEqual('off\n', self.written(1, 'fast_io_fail_tmo'))

    def test_another_subsystems_controller_is_kept(self) -> None:
        self.assertRaises(exception.NotOurs, self.tune, 'reconnect_delay', 1,
                          nqn=fakes.nqn(2))
        self.assertEqual('10\n', self.written(1, 'reconnect_delay'))

    def test_a_rescan_is_ordered(self) -> None:
        self.assertTrue(fabrics.rescan(
            self.host.tree, controller='nvme1', nqn=fakes.nqn(1),
            timeout_s=1.0))
        self.assertEqual('1', self.written(1, 'rescan_controller'))
