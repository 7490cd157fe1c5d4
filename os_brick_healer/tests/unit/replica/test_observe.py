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
import os
import pathlib

from hypothesis import given, settings
from hypothesis import strategies as st

from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.replica import model, observe, probe, pulse
from os_brick_healer.sysfs import parse, reader
from os_brick_healer.testing import synthetic
from os_brick_healer.tests import base, captures

_R1, _R2, _R3 = (model.ReplicaId(f'r{i}') for i in (1, 2, 3))
_KEY = model.VolumeId('v')


class Clock:
    """Time that stands still until it is told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _replica(number: int) -> model.Replica:
    return model.Replica(
        id=model.ReplicaId(f'r{number}'), nqn=f'nqn.2026-11.lab:r{number}',
        namespace_uuid=f'{number:08}-0000-4000-8000-000000000000',
        portals=(model.Portal(address=f'127.0.0.{number}', port=4420),),
        state=model.ReplicaState.AVAILABLE)


def _volume(*replicas: model.Replica) -> model.Volume:
    return model.Volume(
        id=_KEY, alias='vol1', size_bytes=None, replica_count=2,
        replicas=replicas or tuple(map(_replica, (1, 2, 3))), hosts=None)


def _path(number: int, leg: int, state: model.PathState,
          host_nqn: str) -> model.Path:
    return model.Path(
        controller=f'nvme{number}', nqn=f'nqn.2026-11.lab:r{leg}',
        portal=model.Portal(address=f'127.0.0.{leg}', port=4420),
        host_nqn=host_nqn, state=state, state_for_s=0.0, keep_alive_s=5)


class CaptureTest(base.TestCase):
    """What Linux 6.1 shows, seen as one volume."""

    def look(self, state: str, array_uuid: str | None = None,
             ) -> observe.Observation:
        tree = captures.unpack(state, self.temp_dir())
        return observe.Observer(tree, Clock()).look(
            _KEY, _volume(), array_uuid, {})

    def test_one_leg_connecting_as_a_whole(self) -> None:
        host_nqn = ('nqn.2014-08.org.nvmexpress:uuid:'
                    '5bbe0fbb-8662-4462-930d-01bee0af6168')
        live = _path(0, 1, model.PathState.LIVE, host_nqn)
        lost = _path(1, 2, model.PathState.CONNECTING, host_nqn)
        in_sync = frozenset(('in_sync',))
        self.assertEqual(observe.Observation(
            array=model.Array(
                name='md127', uuid='3c2a13f7-651c-556c-580f-b6b3b10fdad8',
                level='raid1', state='active', raid_disks=2, degraded=0,
                component_bytes=66060288, size_bytes=66060288, sync=None,
                members=(
                    model.Member(device='nvme0n1', flags=in_sync, slot=0,
                                 recovery_start='none'),
                    model.Member(device='nvme1n1', flags=in_sync, slot=1,
                                 recovery_start='none'))),
            namespaces={
                _R1: model.Namespace(
                    device='nvme0n1', nqn='nqn.2026-11.lab:r1',
                    uuid='00000001-0000-4000-8000-000000000000',
                    size_bytes=67108864, holders=('md127',), paths=(live,)),
                _R2: model.Namespace(
                    device='nvme1n1', nqn='nqn.2026-11.lab:r2',
                    uuid='00000002-0000-4000-8000-000000000000',
                    size_bytes=67108864, holders=('md127',), paths=(lost,))},
            paths={_R1: (live,), _R2: (lost,), _R3: ()},
            candidates=('md127',),
            legs={'nvme0n1': _R1, 'nvme1n1': _R2},
            sharing={_R1: (), _R2: (), _R3: ()}),
            self.look('one-leg-connecting'))

    def test_a_leg_without_device_is_known_by_its_subsystem(self) -> None:
        found = self.look('faulty-device-gone')
        self.assertEqual({'nvme0n1': _R1, 'nvme1n1': _R2}, found.legs)
        self.assertEqual((), found.foreign)
        self.assertEqual({_R1}, set(found.namespaces))
        self.assertEqual(((), ()), (found.paths[_R2], found.paths[_R3]))

    def test_a_replaced_leg_is_connected_and_no_member(self) -> None:
        found = self.look('healthy-replaced')
        self.assertEqual({'nvme0n1': _R1, 'nvme2n1': _R3}, found.legs)
        self.assertEqual((), found.namespaces[_R2].holders)
        self.assertEqual(('md127',), found.namespaces[_R3].holders)

    def test_progress_is_known(self) -> None:
        array = self.look('recovering-40').array
        assert array is not None and array.sync is not None
        self.assertEqual(
            model.Sync(action='recover', done_sectors=49408,
                       total_sectors=129024, speed_kib_s=4800), array.sync)

    def test_a_second_namespace_is_told_as_sharing(self) -> None:
        found = self.look('two-paths-shared-subsystem')
        self.assertEqual(('nvme0n2',), found.sharing[_R1])
        self.assertEqual((), found.sharing[_R2])
        self.assertEqual(
            ['nvme0', 'nvme2'],
            [p.controller for p in found.namespaces[_R1].paths])

    def test_without_native_multipath_the_member_is_the_device(self) -> None:
        found = self.look('no-native-multipath')
        self.assertEqual({'nvme0n1': _R1, 'nvme2n1': _R2}, found.legs)
        self.assertEqual('nvme0n1', found.namespaces[_R1].device)
        self.assertEqual(['nvme0', 'nvme1'],
                         [p.controller for p in found.paths[_R1]])

    def test_a_stopped_array_is_none_and_the_legs_are_there(self) -> None:
        found = self.look('stopped')
        self.assertIsNone(found.array)
        self.assertEqual(({_R1, _R2}, {}, ()), (
            set(found.namespaces), found.legs, found.candidates))

    def test_a_remembered_array_is_never_exchanged_for_another(self) -> None:
        found = self.look('healthy', '11111111-651c-556c-580f-b6b3b10fdad8')
        self.assertIsNone(found.array)
        self.assertEqual(('md127',), found.candidates)

    def test_a_look_and_a_pass_over_the_host_see_the_same(self) -> None:
        for state in captures.states():
            tree = captures.unpack(state, self.temp_dir())
            observer = observe.Observer(tree, Clock())
            host = observer.host()
            self.assertEqual((), host.unreadable)
            seen = observer.look(_KEY, _volume(), None, {})
            self.assertEqual([] if seen.array is None else [seen.array],
                             list(host.arrays), state)
            for namespace in seen.namespaces.values():
                self.assertIn(namespace, host.namespaces)
            for paths in seen.paths.values():
                self.assertLessEqual(set(paths), set(host.paths))


class SyntheticTest(base.TestCase):

    native = True

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.root = self.temp_dir()

    def new_host(self, *, volumes: int = 2, legs: int = 2, paths: int = 1,
                 backends: int | None = None) -> None:
        self.host = synthetic.SyntheticHost(
            self.root, volumes=volumes, legs=legs, paths=paths,
            native_multipath=self.native, backends=backends)
        self.pulse = pulse.Pulse(self.host.tree)
        self.addCleanup(self.pulse.close)
        self.observer = observe.Observer(self.host.tree, self.clock,
                                         self.pulse)

    def look(self, number: int = 0, volume: model.Volume | None = None,
             probes: observe.Probes | None = None,
             array_uuid: str | None = None) -> observe.Observation:
        volume = volume or self.host.volume(number)
        return self.observer.look(volume.id, volume, array_uuid,
                                  probes or {})


class IdentityTest(SyntheticTest):

    def test_each_volume_gets_its_own(self) -> None:
        self.new_host(volumes=12, legs=3, paths=2)
        for number in range(12):
            found = self.look(number)
            assert found.array is not None
            self.assertEqual(self.host.array_uuid(number), found.array.uuid)
            self.assertEqual(
                {r.id for r in self.host.volume(number).replicas},
                set(found.namespaces))
            self.assertEqual([2, 2, 2],
                             [len(p) for p in found.paths.values()])
            self.assertEqual((), found.foreign)

    def test_one_uuid_under_two_nqns_is_two_namespaces(self) -> None:
        self.new_host()
        uuid = self.host.leg(0, 0).replica.namespace_uuid or ''
        other = self.host.add_subsystem('nqn.2026-11.org.example:v0-r0x')
        self.host.add_controller(
            other, model.Portal(address='127.9.9.9', port=4420))
        stranger = self.host.add_namespace(other, uuid)
        found = self.look()
        device = found.namespaces[model.ReplicaId('r-0-0')].device
        self.assertEqual(self.host.leg(0, 0).device, device)
        self.assertNotEqual(stranger, device)

    def test_an_nqn_is_compared_exactly(self) -> None:
        self.new_host()
        volume = self.host.volume(0)
        shout = dataclasses.replace(volume, replicas=tuple(
            dataclasses.replace(r, nqn=(r.nqn or '').upper())
            for r in volume.replicas))
        found = self.look(0, shout)
        self.assertEqual(({}, None), (found.namespaces, found.array))

    def test_an_nguid_stands_for_a_uuid(self) -> None:
        self.new_host()
        nguid = '11111111-2222-3333-4444-555555555555'
        volume = self.host.volume(0)
        first = dataclasses.replace(volume.replicas[0], namespace_uuid=nguid)
        volume = dataclasses.replace(
            volume, replicas=(first, volume.replicas[1]))
        self.assertNotIn(first.id, self.look(0, volume).namespaces)
        device = self.host.leg(0, 0).device
        self.write_file(self.root / f'sys/block/{device}/nguid',
                        nguid + '\n')
        found = self.look(0, volume).namespaces[first.id]
        self.assertEqual((device, nguid), (found.device, found.uuid))

    def test_a_shared_subsystem_holds_many_volumes(self) -> None:
        self.new_host(volumes=5, backends=2)
        for number in range(5):
            found = self.look(number)
            assert found.array is not None
            self.assertEqual(self.host.array_uuid(number), found.array.uuid)
            for replica in found.namespaces:
                self.assertEqual(4 * len(found.paths[replica]),
                                 len(found.sharing[replica]))

    def test_a_dead_leg_of_a_shared_subsystem_is_nobodys(self) -> None:
        # Two replicas of one volume behind one subsystem: which one was it?
        self.new_host(volumes=1, backends=1)
        device = self.host.leg(0, 1).device or ''
        block = self.root / f'sys/block/md127/md/dev-{device}/block'
        to = os.readlink(block)
        block.unlink()
        block.symlink_to(to[:-1] + '77')
        holders = self.root / f'sys/block/{device}/holders/md127'
        holders.unlink()
        found = self.look()
        self.assertNotIn(device, found.legs)
        self.assertEqual((device,), found.foreign)

    def test_a_member_that_no_replica_names_is_foreign(self) -> None:
        self.new_host()
        volume = self.host.volume(0)
        fewer = dataclasses.replace(volume, replicas=volume.replicas[:1])
        found = self.look(0, fewer)
        self.assertEqual((self.host.leg(0, 1).device,), found.foreign)

    def test_a_volume_that_is_not_named_has_its_array(self) -> None:
        self.new_host()
        found = self.observer.look(_KEY, None, self.host.array_uuid(1), {})
        assert found.array is not None
        self.assertEqual(self.host.array_name(1), found.array.name)
        self.assertEqual(({}, {}, ()), (
            found.namespaces, found.paths, found.foreign))

    def test_legs_in_two_arrays_are_told_and_none_is_chosen(self) -> None:
        self.new_host()
        new = self.host.add_replica(0)
        self.host.connect(0, new)
        device = self.host.leg(0, new).device or ''
        self.host.add_array('md9', '99999999-0000-4000-8000-000000000000',
                            [device])
        found = self.look()
        self.assertIsNone(found.array)
        self.assertEqual(('md127', 'md9'), found.candidates)
        known = self.look(array_uuid=self.host.array_uuid(0))
        assert known.array is not None
        self.assertEqual('md127', known.array.name)

    def test_a_foreign_array_of_our_leg_that_never_started_gives_way(
            self) -> None:
        self.new_host()
        new = self.host.add_replica(0)
        self.host.connect(0, new)
        self.host.add_array('md9', '99999999-0000-4000-8000-000000000000',
                            [self.host.leg(0, new).device or ''])
        self.write_file(self.root / 'sys/block/md9/md/array_state',
                        'inactive\n')
        found = self.look()
        assert found.array is not None
        self.assertEqual('md127', found.array.name)

    def test_names_may_move_at_any_time(self) -> None:
        self.new_host(volumes=2)
        uuid = self.host.array_uuid(0)
        self.look(0, array_uuid=uuid)
        a, b = (self.root / f'sys/block/md{n}/md/uuid' for n in (126, 127))
        first, second = a.read_text(), b.read_text()
        a.write_text(second)
        b.write_text(first)
        found = self.look(0, array_uuid=uuid)
        assert found.array is not None
        self.assertEqual(('md126', uuid),
                         (found.array.name, found.array.uuid))

    def test_an_array_that_takes_over_a_name_is_found(self) -> None:
        self.new_host(volumes=2)
        self.look(0, array_uuid=self.host.array_uuid(0))
        new = '99999999-0000-4000-8000-000000000000'
        self.assertIsNone(self.look(0, array_uuid=new).array)
        (self.root / 'sys/block/md127/md/uuid').write_text(new + '\n')
        self.clock.now_s += 2 * observe.IDENTITY_FRESH_S
        found = self.look(0, array_uuid=new)
        assert found.array is not None
        self.assertEqual('md127', found.array.name)

    def test_what_is_connected_later_is_found(self) -> None:
        self.new_host()
        new = self.host.add_replica(0)
        replica = self.host.leg(0, new).replica
        self.assertEqual((), self.look().paths[replica.id])
        self.host.connect(0, new)
        found = self.look()
        self.assertEqual(self.host.leg(0, new).device,
                         found.namespaces[replica.id].device)
        # Its subsystem appears only after a look has missed it.
        late = provisioner.Replica(
            id=model.ReplicaId('late'), nqn='nqn.late', portals=(),
            namespace_uuid='77777777-0000-4000-8000-000000000000',
            state=model.ReplicaState.AVAILABLE)
        volume = dataclasses.replace(self.host.volume(0), replicas=(late,))
        self.assertEqual((), self.look(0, volume).paths[late.id])
        subsystem = self.host.add_subsystem('nqn.late')
        self.host.add_controller(
            subsystem, model.Portal(address='127.9.9.9', port=4420))
        self.clock.now_s += 2 * observe.LISTING_FRESH_S
        self.assertEqual(1, len(self.look(0, volume).paths[late.id]))

    def test_text_that_makes_no_sense_is_an_error_and_hides_no_other(
            self) -> None:
        self.new_host()
        self.write_file(self.root / 'sys/block/md127/md/raid_disks', 'x\n')
        self.assertRaises(parse.ParseError, self.look, 0)
        self.assertIsNotNone(self.look(1).array)
        host = self.observer.host()
        self.assertEqual(['md126'], [a.name for a in host.arrays])
        self.assertEqual(1, len(host.unreadable))

    def test_what_cannot_be_read_is_an_error_and_not_gone(self) -> None:
        self.new_host()
        state = self.root / 'sys/block/md127/md/array_state'
        state.unlink()
        state.mkdir()
        self.assertRaises(reader.ReadError, self.look, 0)


class IdentityWithoutNativeMultipathTest(IdentityTest):

    native = False

    def test_a_dead_leg_of_a_shared_subsystem_is_nobodys(self) -> None:
        self.skipTest('a leg has no common device there')


class PathTest(SyntheticTest):

    def test_every_word_of_the_kernel_is_a_state(self) -> None:
        self.new_host()
        for word, state in (
                ('new', model.PathState.NEW), ('live', model.PathState.LIVE),
                ('resetting', model.PathState.RESETTING),
                ('connecting', model.PathState.CONNECTING),
                ('deleting', model.PathState.DELETING),
                ('deleting (no IO)', model.PathState.DELETING),
                ('dead', model.PathState.DEAD),
                ('transcending', model.PathState.UNKNOWN)):
            self.host.lose(0, 1, word)
            path, = self.look().paths[model.ReplicaId('r-0-1')]
            self.assertEqual(state, path.state)

    def test_the_age_of_a_state_begins_when_it_is_first_seen(self) -> None:
        self.new_host()
        replica = model.ReplicaId('r-0-1')
        self.look()
        self.clock.now_s += 7
        self.assertEqual(7.0, self.look().paths[replica][0].state_for_s)
        self.host.lose(0, 1)
        self.assertEqual(0.0, self.look().paths[replica][0].state_for_s)
        self.clock.now_s += 2
        self.assertEqual(2.0, self.look().paths[replica][0].state_for_s)

    def test_the_pulse_may_have_seen_it_earlier(self) -> None:
        self.new_host()
        replica = model.ReplicaId('r-0-1')
        self.pulse.watch(_KEY, self.host.leg(0, 1).controllers, 'md127')
        self.pulse.sample(self.clock.now_s)
        self.host.lose(0, 1)
        self.clock.now_s += 1
        self.pulse.sample(self.clock.now_s)
        self.clock.now_s += 3
        self.assertEqual(3.0, self.look().paths[replica][0].state_for_s)

    def test_a_new_controller_of_an_old_name_begins_anew(self) -> None:
        self.new_host()
        replica = model.ReplicaId('r-0-1')
        self.look()
        self.clock.now_s += 60
        at = pathlib.Path(os.path.realpath(
            self.root / f'sys/class/nvme/{self.host.leg(0, 1).controllers[0]}'
        ))
        at.rename(at.with_name('old'))
        at.mkdir()
        for file in at.with_name('old').iterdir():
            file.rename(at / file.name)
        self.assertEqual(0.0, self.look().paths[replica][0].state_for_s)

    def test_probes_are_told_while_they_are_fresh(self) -> None:
        self.new_host()
        replica = self.host.volume(0).replicas[1]
        portal = replica.portals[0]
        for result, answers, silent_for_s in (
                (probe.Result(), None, None),
                (probe.Result(answers=True, silent_for_s=0.0, age_s=0.1),
                 True, 0.0),
                (probe.Result(answers=False, silent_for_s=2.5, age_s=0.1),
                 False, 2.5),
                (probe.Result(answers=True, silent_for_s=0.0, age_s=60.0),
                 None, None)):
            path, = self.look(probes={portal: result}).paths[replica.id]
            self.assertEqual((answers, silent_for_s),
                             (path.portal_answers, path.silent_for_s))

    def test_a_stall_is_told_with_the_array(self) -> None:
        self.new_host()
        key = self.host.volume(0).id
        self.pulse.watch(key, (), 'md127')
        self.pulse.sample(self.clock.now_s)
        self.host.begin_io(0)
        for _ in range(4):
            self.pulse.sample(self.clock.now_s)
            self.clock.now_s += 1
        array = self.look().array
        assert array is not None
        self.assertEqual(3.0, array.stuck_s)

    def test_a_local_drive_is_nobodys_path(self) -> None:
        self.new_host()
        at = 'sys/class/nvme/nvme99/'
        for name, text in (('subsysnqn', 'nqn.intel'), ('state', 'live'),
                           ('address', '0000:3b:00.0'),
                           ('transport', 'pcie')):
            self.write_file(self.root / (at + name), text + '\n')
        self.assertNotIn(
            'nvme99', {p.controller for p in self.observer.host().paths})


class HostileTreeTest(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.root = self.temp_dir()
        self.host = synthetic.SyntheticHost(self.root, volumes=2, paths=2)
        self.files = sorted(
            p for p in self.root.rglob('*')
            if p.is_file() and '/sys/devices/' in str(p))

    @settings(deadline=None, max_examples=150)
    @given(st.data())
    def test_no_text_ends_a_pass_or_hides_the_other_volume(
            self, data: st.DataObject) -> None:
        file = data.draw(st.sampled_from(self.files))
        text = data.draw(st.none() | st.text(max_size=40).map(str.encode)
                         | st.binary(max_size=40) | st.just(b'9' * 9000))
        before = file.read_bytes()
        try:
            if text is None:
                file.unlink()
            else:
                file.write_bytes(text)
            self.look_at_all()
        finally:
            file.write_bytes(before)

    def look_at_all(self) -> None:
        observer = observe.Observer(self.host.tree, Clock())
        observer.host()
        understood = 0
        for number in (0, 1):
            volume = self.host.volume(number)
            for uuid in (None, self.host.array_uuid(number)):
                try:
                    found = observer.look(volume.id, volume, uuid, {})
                except parse.ParseError:
                    continue
                understood += (found.array is not None
                               and len(found.namespaces) == 2
                               and not found.foreign)
        self.assertGreaterEqual(understood, 2)
