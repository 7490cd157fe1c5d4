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

import dataclasses
from typing import Any

from os_brick_healer.sysfs import md, parse, reader
from os_brick_healer.testing import synthetic
from os_brick_healer.tests import base, captures


def _member(device: str, slot: int | None, flags: str = 'in_sync',
            recovery_start: str = 'none', *,
            present: bool = True) -> md.Member:
    return md.Member(
        device=device, slot=slot, flags=frozenset(flags.split(',')),
        recovery_start=recovery_start, present=present,
        parent='nvme-subsys' + device[len('nvme'):-len('n1')])


_ARRAY = md.Array(
    name='md127', uuid='3c2a13f7-651c-556c-580f-b6b3b10fdad8',
    level='raid1', state='active', raid_disks=2, degraded=0,
    component_bytes=66060288, size_bytes=66060288, members=(),
    sync_action='idle', completed=None, speed_kib_s=None)


def _array(*members: md.Member, **changes: Any) -> md.Array:
    return dataclasses.replace(_ARRAY, members=members, **changes)


class CaptureTest(base.TestCase):
    """What Linux 6.1 shows, read as a whole."""

    def arrays(self, state: str) -> tuple[md.Array, ...]:
        return md.arrays(captures.unpack(state, self.temp_dir()))

    def test_healthy(self) -> None:
        self.assertEqual(
            (_array(_member('nvme0n1', 0), _member('nvme1n1', 1)),),
            self.arrays('healthy'))

    def test_legs_as_os_brick_makes_them_have_failfast(self) -> None:
        self.assertEqual(
            (_array(_member('nvme0n1', 0, 'in_sync,failfast'),
                    _member('nvme1n1', 1, 'in_sync,failfast')),),
            self.arrays('healthy-failfast'))

    def test_a_leg_that_only_queues_is_still_in_sync(self) -> None:
        for state in ('one-leg-connecting', 'one-leg-silent-live'):
            found, = self.arrays(state)
            self.assertEqual(0, found.degraded)
            self.assertEqual(
                (_member('nvme0n1', 0), _member('nvme1n1', 1)),
                found.members)

    def test_a_faulty_leg_stays_listed_when_its_device_is_gone(self) -> None:
        self.assertEqual((_array(
            _member('nvme0n1', 0),
            _member('nvme1n1', None, 'faulty,write_error', '0',
                    present=False),
            degraded=1),), self.arrays('faulty-device-gone'))

    def test_a_removed_leg_is_absent(self) -> None:
        self.assertEqual((_array(_member('nvme0n1', 0), degraded=1),),
                         self.arrays('removed'))

    def test_a_leg_that_is_filled_is_a_spare_with_a_slot(self) -> None:
        self.assertEqual((_array(
            _member('nvme0n1', 0),
            _member('nvme2n1', 1, 'spare', '49408'), degraded=1,
            sync_action='recover', completed=(49408, 129024),
            speed_kib_s=4800),), self.arrays('recovering-40'))

    def test_replaced(self) -> None:
        self.assertEqual(
            (_array(_member('nvme0n1', 0), _member('nvme2n1', 1)),),
            self.arrays('healthy-replaced'))

    def test_broken(self) -> None:
        self.assertEqual((_array(
            _member('nvme0n1', None, 'faulty,write_error,failfast', '0'),
            _member('nvme1n1', 1,
                    'in_sync,failfast,write_error,want_replacement'),
            uuid='2d4c7bb6-c805-5253-f0fb-205eea7aad03', state='broken',
            degraded=1),), self.arrays('broken'))

    def test_a_resync_leaves_every_leg_in_sync(self) -> None:
        found, = self.arrays('resyncing')
        self.assertEqual(
            ('resync', (24576, 129024), 3104, 0),
            (found.sync_action, found.completed, found.speed_kib_s,
             found.degraded))

    def test_a_stopped_array_is_none(self) -> None:
        self.assertEqual((), self.arrays('stopped'))

    def test_every_state_agrees_with_mdadm_and_mdstat(self) -> None:
        for state in captures.states():
            tree = captures.unpack(state, self.temp_dir())
            mdstat = parse.mdstat(tree.read('proc/mdstat') or '')
            found = {a.name: a for a in md.arrays(tree)}
            self.assertEqual({a.name for a in mdstat}, set(found), state)
            for listed in mdstat:
                array = found[listed.name]
                self.assertEqual(dict(listed.members), {
                    m.device: frozenset('F' if 'faulty' in m.flags else '')
                    for m in array.members}, state)
                self.assertEqual(listed.level, array.level)
                self.assertEqual((listed.map or '').count('_'),
                                 array.degraded, state)
                said = self.mdadm_says(tree, array.name)
                if said is not None and state != 'broken':
                    self.assertEqual(said, array.uuid, state)

    def test_mdadm_is_wrong_about_an_array_it_cannot_read(self) -> None:
        # No leg answers, so mdadm --detail takes the UUID from its map,
        # which holds it as four words in the byte order of this machine.
        tree = captures.unpack('broken', self.temp_dir())
        self.assertEqual('2d4c7bb6-c805-5253-f0fb-205eea7aad03',
                         md.uuid(tree, 'md127'))
        self.assertEqual('b67b4c2d-5352-05c8-5e20-fbf003ad7aea',
                         self.mdadm_says(tree, 'md127'))

    def mdadm_says(self, tree: reader.Tree, name: str) -> str | None:
        said = tree.read(f'commands/mdadm-detail-export.{name}') or ''
        uuid = said.partition('MD_UUID=')[2].partition('\n')[0]
        return parse.uuid(uuid) if uuid else None

    def test_without_md_uuid_udev_tells_it(self) -> None:
        root = self.temp_dir()
        tree = captures.unpack('healthy-udev', root)
        uuid = md.uuid(tree, 'md127')
        self.assertEqual('d4c21591-5897-a381-a84b-847364d35b9a', uuid)
        (root / 'sys/block/md127/md/uuid').unlink()
        self.assertEqual(uuid, md.uuid(tree, 'md127'))
        (root / 'run/udev/data/b9:127').unlink()
        self.assertIsNone(md.uuid(tree, 'md127'))


class VanishingTest(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.host = synthetic.SyntheticHost(self.temp_dir(), volumes=3)

    def test_an_array_that_goes_does_not_hide_the_others(self) -> None:
        for attribute in ('level', 'array_state', 'raid_disks',
                          'component_size'):
            host = synthetic.SyntheticHost(self.temp_dir(), volumes=3)
            (host.root / 'sys/block/md126/md' / attribute).unlink()
            self.assertEqual(['md125', 'md127'],
                             [a.name for a in md.arrays(host.tree)])

    def test_an_array_that_is_being_stopped_is_gone_already(self) -> None:
        for attribute in ('level', 'raid_disks'):
            host = synthetic.SyntheticHost(self.temp_dir(), volumes=1)
            (host.root / 'sys/block/md127/md' / attribute).write_text('')
            self.assertIsNone(md.array(host.tree, 'md127'))

    def test_a_member_that_leaves_is_not_one_any_more(self) -> None:
        at = self.host.root / 'sys/block/md127/md/dev-nvme1n1'
        (at / 'state').unlink()
        found = md.array(self.host.tree, 'md127')
        assert found is not None
        self.assertEqual(['nvme0n1'], [m.device for m in found.members])

    def test_an_array_that_is_not_started_has_no_redundancy_yet(self) -> None:
        md_dir = self.host.root / 'sys/block/md127/md'
        for attribute in ('degraded', 'sync_action', 'sync_completed'):
            (md_dir / attribute).unlink()
        self.host.set_array_state(0, 'inactive')
        found = md.array(self.host.tree, 'md127')
        assert found is not None
        self.assertEqual((None, None, 'inactive'), (
            found.degraded, found.sync_action, found.state))

    def test_nonsense_names_the_attribute(self) -> None:
        (self.host.root / 'sys/block/md127/md/raid_disks').write_text('x\n')
        e = self.assertRaises(parse.ParseError, md.array, self.host.tree,
                              'md127')
        self.assertIn('md127/md/raid_disks', str(e))

    def test_a_leg_that_fails_during_the_read_is_read_again(self) -> None:
        host = self.host

        class Racing(reader.Tree):
            """The leg fails after its state has been read."""

            raced = False

            def read(self, path: str, limit: int = reader.ATTRIBUTE_BYTES_MAX,
                     ) -> str | None:
                text = super().read(path, limit)
                if path.endswith('nvme1n1/slot') and not self.raced:
                    self.raced = True
                    host.fail_member(0, 'nvme1n1')
                return text

        found = md.array(Racing(str(host.root)), 'md127')
        assert found is not None
        self.assertEqual(1, found.degraded)
        self.assertEqual([frozenset(('in_sync',)),
                          frozenset(('faulty', 'write_error'))],
                         [m.flags for m in found.members])


class SyntheticTest(base.TestCase):
    """The synthetic host shows what the real one shows."""

    def test_each_state_is_as_captured(self) -> None:
        host = synthetic.SyntheticHost(self.temp_dir(), legs=2)
        host.set_array_state(0, 'active')
        self.same(host, 'healthy')
        host.lose(0, 1)
        self.same(host, 'one-leg-connecting')
        host.delete_controller('nvme1')
        host.fail_member(0, 'nvme1n1')
        self.same(host, 'faulty-device-gone')
        host.remove_member(0, 'nvme1n1')
        self.same(host, 'removed')
        leg = host.add_replica(0)
        host.connect(0, leg)
        host.start_recovery(0, host.leg(0, leg).device or '')
        host.put_progress(0, 49408)
        self.same(host, 'recovering-40')
        host.finish_recovery(0)
        self.same(host, 'healthy-replaced')

    def same(self, host: synthetic.SyntheticHost, state: str) -> None:
        tree = captures.unpack(state, self.temp_dir())
        uuid = md.uuid(tree, 'md127') or ''
        (host.root / 'sys/block/md127/md/uuid').write_text(uuid + '\n')
        self.assertEqual(md.arrays(tree), md.arrays(host.tree))
        ours = parse.mdstat(host.tree.read('proc/mdstat') or '')
        theirs = parse.mdstat(tree.read('proc/mdstat') or '')
        self.assertEqual(
            [(a.name, a.level, dict(a.members), a.map) for a in theirs],
            [(a.name, a.level, dict(a.members), a.map) for a in ours])
