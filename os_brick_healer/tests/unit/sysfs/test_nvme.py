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
import shutil

from os_brick_healer.sysfs import nvme, parse, reader
from os_brick_healer.testing import synthetic
from os_brick_healer.tests import base, captures

_HOST = 'nqn.2014-08.org.nvmexpress:uuid:5bbe0fbb-8662-4462-930d-01bee0af6168'


def _controller(number: int, leg: int, state: str = 'live',
                src_addr: str | None = '127.0.0.1') -> nvme.Controller:
    return nvme.Controller(
        name=f'nvme{number}', nqn=f'nqn.2026-11.lab:r{leg}', state=state,
        transport='tcp', host_nqn=_HOST, keep_alive_s=5, birth=None,
        address=parse.Address(traddr=f'127.0.0.{leg}', trsvcid=4420,
                              src_addr=src_addr),
        leads_to=(f'nvme{number}n1',))


def _namespace(number: int, leg: int,
               holders: tuple[str, ...] = ()) -> nvme.Namespace:
    return nvme.Namespace(
        device=f'nvme{number}n1', nqn=f'nqn.2026-11.lab:r{leg}',
        uuid=f'{leg:08}-0000-4000-8000-000000000000', nguid=None,
        size_bytes=64 * 1024 * 1024, holders=holders,
        controllers=(f'nvme{number}',))


def _unborn(found: tuple[nvme.Controller, ...],
            ) -> tuple[nvme.Controller, ...]:
    return tuple(dataclasses.replace(c, birth=None) for c in found)


class CaptureTest(base.TestCase):
    """What Linux 6.1 shows, read as a whole."""

    def tree(self, state: str) -> reader.Tree:
        return captures.unpack(state, self.temp_dir())

    def test_healthy(self) -> None:
        tree = self.tree('healthy')
        self.assertEqual((_controller(0, 1), _controller(1, 2)),
                         _unborn(nvme.controllers(tree)))
        self.assertEqual((_namespace(0, 1, ('md127',)),
                          _namespace(1, 2, ('md127',))),
                         nvme.namespaces(tree))

    def test_a_connecting_controller_leads_to_its_namespace(self) -> None:
        tree = self.tree('one-leg-connecting')
        # The address loses its src_addr with the socket.
        self.assertEqual(
            (_controller(0, 1), _controller(
                1, 2, 'connecting', src_addr=None)),
            _unborn(nvme.controllers(tree)))
        self.assertEqual((_namespace(0, 1, ('md127',)),
                          _namespace(1, 2, ('md127',))),
                         nvme.namespaces(tree))

    def test_a_subsystem_lives_on_while_md_holds_its_device(self) -> None:
        tree = self.tree('faulty-device-gone')
        self.assertEqual((_controller(0, 1),),
                         _unborn(nvme.controllers(tree)))
        self.assertEqual((_namespace(0, 1, ('md127',)),),
                         nvme.namespaces(tree))
        self.assertEqual(
            nvme.Subsystem(name='nvme-subsys1', nqn='nqn.2026-11.lab:r2',
                           controllers=(), namespaces=()),
            nvme.subsystem(tree, 'nvme-subsys1'))

    def test_two_paths_lead_to_one_device(self) -> None:
        tree = self.tree('one-path-of-two-connecting')
        leads = {c.name: (c.state, c.leads_to)
                 for c in nvme.controllers(tree)}
        self.assertEqual(
            {'nvme0': ('live', ('nvme0n1', 'nvme0n2')),
             'nvme1': ('connecting', ('nvme1n1',)),
             'nvme2': ('live', ('nvme0n1', 'nvme0n2')),
             'nvme3': ('live', ('nvme1n1',))}, leads)
        self.assertEqual(
            [('nvme0n1', ('nvme0', 'nvme2')), ('nvme0n2', ('nvme0', 'nvme2')),
             ('nvme1n1', ('nvme1', 'nvme3'))],
            [(n.device, n.controllers) for n in nvme.namespaces(tree)])

    def test_without_native_multipath_each_path_has_its_device(self) -> None:
        tree = self.tree('no-native-multipath')
        self.assertEqual(
            [('nvme0n1', 'nqn.2026-11.lab:r1', ('nvme0',), ('md127',)),
             ('nvme1n1', 'nqn.2026-11.lab:r1', ('nvme1',), ()),
             ('nvme2n1', 'nqn.2026-11.lab:r2', ('nvme2',), ('md127',)),
             ('nvme3n1', 'nqn.2026-11.lab:r2', ('nvme3',), ())],
            [(n.device, n.nqn, n.controllers, n.holders)
             for n in nvme.namespaces(tree)])


class OddTest(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.host = synthetic.SyntheticHost(self.temp_dir(), volumes=2)
        self.tree = self.host.tree

    def put(self, path: str, text: str) -> None:
        self.write_file(self.host.root / path, text)

    def test_a_uuid_of_zeros_is_none(self) -> None:
        self.put('sys/block/nvme0n1/uuid',
                 '00000000-0000-0000-0000-000000000000\n')
        self.assertIsNone(nvme.namespaces(self.tree)[0].uuid)

    def test_an_nguid_is_kept_beside_the_uuid(self) -> None:
        self.put('sys/block/nvme0n1/nguid',
                 '11111111-2222-3333-4444-555555555555\n')
        found = nvme.namespaces(self.tree)[0]
        self.assertEqual('11111111-2222-3333-4444-555555555555', found.nguid)
        self.assertEqual('00000000-0000-4000-8000-000000000000', found.uuid)

    def test_a_local_drive_is_a_controller_without_an_address(self) -> None:
        at = 'sys/class/nvme/nvme9/'
        for name, text in (('subsysnqn', 'nqn.intel'), ('state', 'live'),
                           ('address', '0000:3b:00.0'),
                           ('transport', 'pcie')):
            self.put(at + name, text + '\n')
        found = nvme.controller(self.tree, 'nvme9')
        assert found is not None
        self.assertEqual((None, None, None, 'pcie'), (
            found.address, found.host_nqn, found.keep_alive_s,
            found.transport))

    def test_a_controller_that_goes_does_not_hide_the_others(self) -> None:
        (self.host.root / 'sys/class/nvme/nvme1/state').unlink()
        self.assertEqual(['nvme0', 'nvme2', 'nvme3'],
                         [c.name for c in nvme.controllers(self.tree)])
        self.assertEqual(4, len(nvme.subsystems(self.tree)))

    def test_what_a_controller_is_is_read_once_and_its_state_each_time(
            self) -> None:
        at = self.host.root / 'sys/class/nvme/nvme1'
        known: nvme.Known = {}
        (at / 'state').write_text('connecting\n')
        self.assertEqual('connecting', self.state(known))
        self.assertEqual({}, known)     # maybe it is still being made
        (at / 'state').write_text('live\n')
        found = nvme.controller(self.tree, 'nvme1', known)
        self.assertEqual({'nvme1': found}, known)
        self.assertEqual(nvme.controller(self.tree, 'nvme1'), found)
        (at / 'state').write_text('deleting\n')
        (at / 'hostnqn').unlink()
        for entry in at.glob('nvme*'):
            entry.rename(at / 'gone')
        again = nvme.controller(self.tree, 'nvme1', known)
        assert found is not None
        assert again is not None
        self.assertEqual(('deleting', (), found.host_nqn), (
            again.state, again.leads_to, again.host_nqn))
        (at / 'state').unlink()
        self.assertIsNone(nvme.controller(self.tree, 'nvme1', known))

    def test_another_controller_of_the_same_name_is_read_anew(self) -> None:
        known: nvme.Known = {}
        before = nvme.controller(self.tree, 'nvme1', known)
        at = self.host.root / 'sys/class/nvme/nvme1'
        shutil.copytree(at, at.with_name('new'), symlinks=True)
        at.rename(at.with_name('old'))
        at.with_name('new').rename(at)
        (at / 'hostnqn').write_text('nqn.other\n')
        found = nvme.controller(self.tree, 'nvme1', known)
        assert before is not None
        assert found is not None
        self.assertNotEqual('nqn.other', before.host_nqn)
        self.assertEqual('nqn.other', found.host_nqn)

    def state(self, known: nvme.Known) -> str | None:
        found = nvme.controller(self.tree, 'nvme1', known)
        return None if found is None else found.state

    def test_a_name_that_only_begins_alike_is_another_device(self) -> None:
        backend = self.host.add_subsystem('nqn.other')
        portal = self.host.volume(0).replicas[0].portals[0]
        self.host.add_controller(backend, portal)
        for number in range(1, 12):
            self.host.add_namespace(
                backend, f'{number:08}-0000-4000-8000-00000000ffff')
        found = nvme.subsystem(self.tree, backend)
        assert found is not None
        self.assertEqual(
            {f'nvme4n{n}' for n in range(1, 12)},
            {n.device for n in found.namespaces})
        self.assertEqual(
            [11], [len(c.leads_to) for c in found.controllers])
