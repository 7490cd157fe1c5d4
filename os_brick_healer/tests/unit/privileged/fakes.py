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
"""A host in a directory: sysfs as files, mdadm, nvme and ss as functions.

Written from listings of Linux 6.1 with native multipath.
"""

from collections.abc import Callable, Sequence
import pathlib

from os_brick_healer.privileged import command, tree

ARRAY_UUID = '6a41b2c7-0d3e-4f5a-9b8c-7d6e5f4a3b2c'
OTHER_UUID = '11111111-2222-4333-8444-555555555555'
HOST_NQN = 'nqn.2014-08.org.nvmexpress:uuid:host'
SECTORS = 1 << 20
COMPONENT_KIB = 500000


def nqn(index: int) -> str:
    return f'nqn.2024-01.example:leg{index}'


def namespace_uuid(index: int) -> str:
    return f'0000000{index}-aaaa-4bbb-8ccc-000000000000'


def address(index: int) -> str:
    return f'10.0.0.{index}'


class Host:
    """Legs nvme1n1, nvme2n1, ...; arrays of them; each command's effect."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.tree = tree.Tree(str(root))
        self.superblocks: dict[str, dict[str, str]] = {}
        self.foreign: dict[str, tuple[str, ...]] = {}
        self.ran: list[tuple[str, ...]] = []
        self.on_nvme: Callable[[Sequence[str]], command.Result] | None = None
        self.refuse_readd = False

    def write(self, path: str, text: str) -> None:
        target = self.root / path.lstrip('/')
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def text(self, path: str) -> str:
        return (self.root / path.lstrip('/')).read_text()

    def leg(self, index: int, state: str = 'live', *,
            sectors: int = SECTORS) -> str:
        """A connected replica; its device's name."""
        device = f'nvme{index}n1'
        self.controller(index, index, state)
        block = f'/sys/block/{device}'
        self.write(f'{block}/uuid', namespace_uuid(index) + '\n')
        self.write(f'{block}/size', f'{sectors}\n')
        self.write(f'{block}/device/subsysnqn', nqn(index) + '\n')
        (self.root / f'sys/block/{device}/holders').mkdir()
        self.write(f'/dev/{device}', '')
        return device

    def controller(self, number: int, index: int, state: str = 'live'
                   ) -> str:
        base = f'/sys/class/nvme/nvme{number}'
        for name, text in (
                ('subsysnqn', nqn(index)), ('state', state),
                ('transport', 'tcp'), ('hostnqn', HOST_NQN),
                ('address', f'traddr={address(number)},trsvcid=4420'),
                ('delete_controller', ''), ('reset_controller', ''),
                ('rescan_controller', ''), ('fast_io_fail_tmo', 'off'),
                ('reconnect_delay', '10'), ('ctrl_loss_tmo', 'off')):
            self.write(f'{base}/{name}', text + '\n' if text else '')
        (self.root / f'sys/class/nvme/nvme{number}/nvme{index}c{number}n1'
         ).mkdir()
        return f'nvme{number}'

    def array(self, name: str, members: dict[str, str],
              uuid: str = ARRAY_UUID) -> None:
        """An array of members and their state words."""
        base = f'/sys/block/{name}/md'
        self.write(f'{base}/uuid', uuid + '\n')
        self.write(f'{base}/component_size', f'{COMPONENT_KIB}\n')
        for device, words in members.items():
            self.member(name, device, words)
            self.superblocks[device] = {'MD_UUID': uuid.replace('-', ':'),
                                        'MD_EVENTS': '40'}

    def member(self, name: str, device: str, words: str) -> None:
        base = f'/sys/block/{name}/md/dev-{device}'
        self.write(f'{base}/state', words + '\n')
        self.write(f'{base}/offset', '2048\n')
        self.write(f'/sys/block/{device}/holders/{name}', '')

    def run(self, argv: Sequence[str], timeout_s: float) -> command.Result:
        assert timeout_s > 0
        assert argv[0] in command.PROGRAMS, argv
        self.ran.append(tuple(argv))
        match argv:
            case ['mdadm', '--examine', '--export', path]:
                return self._examine(path.removeprefix('/dev/'))
            case ['wipefs', '--no-act', '--json', path]:
                return self._wipefs(path.removeprefix('/dev/'))
            case ['mdadm', '--manage', array, how, path]:
                return self._add(array.removeprefix('/dev/'), how,
                                 path.removeprefix('/dev/'))
            case ['nvme', 'connect', *_rest] if self.on_nvme is not None:
                return self.on_nvme(argv)
            case ['ss', *_rest]:
                return result(out='ESTAB 0 0 a b\nESTAB 0 0 a b\n')
        raise AssertionError(argv)

    def _examine(self, device: str) -> command.Result:
        found = self.superblocks.get(device)
        if found is None:
            return result(1, err='mdadm: No md superblock detected on '
                                 f'/dev/{device}.\n')
        return result(out=''.join(f'{k}={v}\n' for k, v in found.items()))

    def _wipefs(self, device: str) -> command.Result:
        kinds = self.foreign.get(device, ())
        rows = ','.join(f'{{"device":"{device}","offset":"0x0",'
                        f'"type":"{kind}"}}' for kind in kinds)
        return result(out=f'{{"signatures": [{rows}]}}' if rows else '')

    def _add(self, array: str, how: str, device: str) -> command.Result:
        if how == '--re-add' and self.refuse_readd:
            return result(1, err=f'mdadm: --re-add for /dev/{device} to '
                                 f'/dev/{array} is not possible\n')
        self.member(array, device, 'spare,failfast')
        return result()


def result(code: int = 0, out: str = '', err: str = '') -> command.Result:
    return command.Result(code=code, out=out, err=err)


def free(path: str, timeout_s: float) -> None:
    """An exclusive open that works."""
