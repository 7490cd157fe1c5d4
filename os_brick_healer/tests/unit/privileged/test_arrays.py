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
"""Laws of adding legs to arrays and removing them."""

from collections.abc import Callable, Sequence
import os
import threading
from typing import Any

from os_brick_healer import exception
from os_brick_healer.privileged import arrays, command, joining
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.privileged import fakes


class ArrayTestCase(base.TestCase):
    """md127 of nvme1n1; nvme2n1 is connected beside it."""

    def setUp(self) -> None:
        super().setUp()
        self.host = fakes.Host(self.temp_dir())
        self.host.leg(1)
        self.host.leg(2)
        self.host.array('md127', {'nvme1n1': 'in_sync'})
        self.claimed: arrays.Claim = fakes.free

    def _call(self, function: Callable[..., Any], **more: Any) -> Any:
        names: dict[str, Any] = {
                 'array': 'md127', 'array_uuid': fakes.ARRAY_UUID,
                 'device': 'nvme2n1', 'nqn': fakes.nqn(2),
                 'namespace_uuid': fakes.namespace_uuid(2),
                 'timeout_s': 2.0, **more}
        return function(self.host.tree, self.host.run, self.claimed,
                        **names)

    def add_spare(self, **more: Any) -> Any:
        return self._call(joining.add_spare,
                          **{'min_size_bytes': 1, 'former': False, **more})

    def re_add(self, **more: Any) -> Any:
        return self._call(joining.re_add, **more)

    def former(self, events: str = '40',
               uuid: str = fakes.ARRAY_UUID) -> None:
        self.host.superblocks['nvme2n1'] = {
            'MD_UUID': uuid.replace('-', ':'), 'MD_EVENTS': events}

    def is_member(self) -> bool:
        return os.path.exists(
            self.host.tree.path('/sys/block/md127/md/dev-nvme2n1'))

    def assert_refused(self, call: Callable[..., Any], word: str,
                       error: type[Exception] = exception.NotOurs,
                       **more: Any) -> None:
        caught = self.assertRaises(error, call, **more)
        self.assertIn(word, str(caught))
        self.assertFalse(self.is_member())


class TestAddSpare(ArrayTestCase):

    def test_a_blank_replica_joins_without_failfast(self) -> None:
        self.assertTrue(self.add_spare())
        # The last write to the member's state is the flag's removal.
        self.assertTrue(self.host.text(
            '/sys/block/md127/md/dev-nvme2n1/state').startswith('-failfast'))

    def test_a_member_is_left_as_it_is(self) -> None:
        self.host.member('md127', 'nvme2n1', 'spare')
        self.assertFalse(self.add_spare())

    def test_a_faulty_member_is_to_be_removed_first(self) -> None:
        self.host.member('md127', 'nvme2n1', 'faulty')
        error = self.assertRaises(exception.CommandError, self.add_spare)
        self.assertIn('removed first', str(error))

    def test_an_array_of_the_same_name_is_not_ours(self) -> None:
        self.assert_refused(self.add_spare, 'UUID',
                            array_uuid=fakes.OTHER_UUID)

    def test_another_namespace_under_the_name_is_not_ours(self) -> None:
        self.assert_refused(self.add_spare, 'uuid',
                            namespace_uuid=fakes.namespace_uuid(3))

    def test_another_subsystem_under_the_name_is_not_ours(self) -> None:
        self.assert_refused(self.add_spare, 'subsystem', nqn=fakes.nqn(3))

    def test_a_device_that_is_too_small_is_refused(self) -> None:
        need = fakes.COMPONENT_KIB * 2 + 2048
        self.host.write('/sys/block/nvme2n1/size', f'{need - 1}')
        self.assert_refused(self.add_spare, 'size')
        self.host.write('/sys/block/nvme2n1/size', f'{need}')
        self.assertTrue(self.add_spare())

    def test_a_held_device_is_refused(self) -> None:
        self.host.write('/sys/block/nvme2n1/holders/dm-3', '')
        self.assert_refused(self.add_spare, 'dm-3')

    def test_a_partitioned_device_is_refused(self) -> None:
        self.host.write('/sys/block/nvme2n1/nvme2n1p1/start', '2048')
        self.assert_refused(self.add_spare, 'nvme2n1p1')

    def test_a_claimed_device_is_refused(self) -> None:
        def busy(path: str, timeout_s: float) -> None:
            raise exception.NotOurs(f'cannot add {path}: it is in use')

        self.claimed = busy
        self.assert_refused(self.add_spare, 'in use')

    def test_another_arrays_superblock_is_refused(self) -> None:
        self.former(uuid=fakes.OTHER_UUID)
        for former in (False, True):
            self.assert_refused(self.add_spare, 'superblock', former=former)

    def test_our_own_superblock_is_refused_unless_it_is_expected(self) -> None:
        self.former()
        self.assert_refused(self.add_spare, 'superblock')
        self.assertTrue(self.add_spare(former=True))

    def test_any_other_signature_is_refused(self) -> None:
        for kind in ('ext4', 'gpt', 'crypto_LUKS', 'LVM2_member'):
            self.host.foreign['nvme2n1'] = (kind,)
            self.assert_refused(self.add_spare, kind)

    def test_an_array_whose_leg_says_otherwise_is_not_ours(self) -> None:
        self.host.superblocks['nvme1n1']['MD_UUID'] = fakes.OTHER_UUID
        self.assert_refused(self.add_spare, 'one of its legs')

    def test_without_a_live_in_sync_leg_nothing_is_added(self) -> None:
        self.host.write('/sys/class/nvme/nvme1/state', 'connecting')
        self.assert_refused(self.add_spare, 'live', exception.CommandError)

    def test_arguments_are_checked_before_anything_is_read(self) -> None:
        for more in ({'device': 'nvme2n1p1'}, {'array': '../md127'},
                     {'nqn': '--help'}, {'namespace_uuid': ''},
                     {'timeout_s': 0}, {'min_size_bytes': -1}):
            self.assertRaises(exception.NotOurs, self.add_spare, **more)
        self.assertEqual([], self.host.ran)


class TestReAdd(ArrayTestCase):

    def test_a_former_leg_joins(self) -> None:
        self.former(events='38')
        self.assertTrue(self.re_add())
        self.assertTrue(self.is_member())

    def test_a_blank_device_is_no_former_leg(self) -> None:
        self.assert_refused(self.re_add, 'no superblock')

    def test_another_arrays_leg_is_refused(self) -> None:
        self.former(uuid=fakes.OTHER_UUID)
        self.assert_refused(self.re_add, 'superblock')

    def test_a_leg_that_was_written_elsewhere_is_refused(self) -> None:
        self.former(events='41')
        self.assert_refused(self.re_add, 'somewhere else')

    def test_an_outdated_bitmap_is_told_apart(self) -> None:
        self.former()
        self.host.refuse_readd = True
        self.assert_refused(self.re_add, 'not possible',
                            exception.ReAddRefused)

    def test_old_signatures_of_a_former_leg_do_not_matter(self) -> None:
        self.former()
        self.host.foreign['nvme2n1'] = ('ext4',)
        self.assertTrue(self.re_add())


class TestRemove(ArrayTestCase):

    def remove(self, device: str = 'nvme2n1', **more: Any) -> bool:
        names: dict[str, Any] = {
            'array': 'md127', 'array_uuid': fakes.ARRAY_UUID,
            'device': device, 'timeout_s': 0.3, **more}
        return arrays.remove(self.host.tree, **names)

    def state(self, device: str) -> str:
        return self.host.text(f'/sys/block/md127/md/dev-{device}/state')

    def test_a_leg_in_sync_is_never_removed(self) -> None:
        self.assertRaises(exception.NotOurs, self.remove, 'nvme1n1')
        self.assertEqual('in_sync\n', self.state('nvme1n1'))

    def test_a_leg_that_is_being_filled_is_not_removed(self) -> None:
        self.host.member('md127', 'nvme2n1', '')
        self.assertRaises(exception.NotOurs, self.remove)

    def test_what_is_not_in_is_a_success(self) -> None:
        self.assertFalse(self.remove())

    def test_another_array_of_the_name_is_not_touched(self) -> None:
        self.host.member('md127', 'nvme2n1', 'faulty')
        self.assertRaises(exception.NotOurs, self.remove,
                          array_uuid=fakes.OTHER_UUID)
        self.assertEqual('faulty\n', self.state('nvme2n1'))

    def test_exactly_the_faulty_member_is_ordered_out(self) -> None:
        self.host.member('md127', 'nvme2n1', 'faulty,blocked')
        directory = self.host.root / 'sys/block/md127/md/dev-nvme2n1'

        def kernel() -> None:
            while not (directory / 'state').read_text().startswith('remove'):
                pass
            directory.rename(self.host.root / 'gone')

        thread = threading.Thread(target=kernel, daemon=True)
        thread.start()
        self.assertTrue(self.remove(timeout_s=5.0))
        thread.join(5.0)
        self.assertEqual('in_sync\n', self.state('nvme1n1'))

    def test_what_stays_is_an_error(self) -> None:
        self.host.member('md127', 'nvme2n1', 'faulty')
        error = self.assertRaises(exception.CommandError, self.remove)
        self.assertIn('still shows', str(error))


class TestFailfast(ArrayTestCase):

    def clear(self, device: str = 'nvme1n1',
              uuid: str = fakes.ARRAY_UUID) -> bool:
        return arrays.clear_failfast(
            self.host.tree, array='md127', array_uuid=uuid, device=device,
            timeout_s=1.0)

    def test_a_clear_flag_is_no_change(self) -> None:
        self.assertFalse(self.clear())
        self.assertEqual('in_sync\n', self.host.text(
            '/sys/block/md127/md/dev-nvme1n1/state'))

    def test_a_set_flag_is_cleared(self) -> None:
        self.host.member('md127', 'nvme1n1', 'in_sync,failfast')
        self.assertTrue(self.clear())
        self.assertIn('-failfast', self.host.text(
            '/sys/block/md127/md/dev-nvme1n1/state'))

    def test_a_foreign_array_keeps_its_flag(self) -> None:
        self.host.member('md127', 'nvme1n1', 'in_sync,failfast')
        self.assertRaises(exception.NotOurs, self.clear,
                          uuid=fakes.OTHER_UUID)
        self.assertEqual('in_sync,failfast\n', self.host.text(
            '/sys/block/md127/md/dev-nvme1n1/state'))


class TestLooking(ArrayTestCase):

    def look(self, function: Callable[..., Any]) -> Any:
        return function(self.host.tree, self.host.run, device='nvme2n1',
                        nqn=fakes.nqn(2),
                        namespace_uuid=fakes.namespace_uuid(2),
                        timeout_s=1.0)

    def test_no_superblock_is_an_empty_answer(self) -> None:
        self.assertEqual({}, self.look(arrays.examine))

    def test_an_unreadable_device_is_an_error_and_not_blank(self) -> None:
        def unreadable(argv: Sequence[str],
                       timeout_s: float) -> command.Result:
            return fakes.result(1, err='mdadm: cannot open /dev/nvme2n1: '
                                       'Input/output error\n')

        self.assertRaises(
            exception.CommandError, arrays.examine, self.host.tree,
            unreadable, device='nvme2n1', nqn=fakes.nqn(2),
            namespace_uuid=fakes.namespace_uuid(2), timeout_s=1.0)

    def test_mds_own_signature_is_not_foreign(self) -> None:
        self.host.foreign['nvme2n1'] = ('linux_raid_member', 'ext4')
        self.assertEqual(('ext4',), self.look(arrays.signatures))

    def test_what_wipefs_should_not_write_is_an_error(self) -> None:
        self.assertRaises(
            exception.CommandError, arrays.signatures, self.host.tree,
            lambda argv, timeout_s: fakes.result(out='{"x": 1}'),
            device='nvme2n1', nqn=fakes.nqn(2),
            namespace_uuid=fakes.namespace_uuid(2), timeout_s=1.0)
