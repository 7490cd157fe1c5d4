# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
from os_brick_healer import assembly
from os_brick_healer.sysfs import reader
from os_brick_healer.tests import base

UUID = 'd3b07384-d9a0-4c2b-8f6e-2f0e3f1c5a11'
ROOT = '22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n'
OTHER = '23 22 254:2 / /var rw,relatime shared:2 - xfs /dev/vda2 rw\n'


class RootUuidTest(base.TestCase):

    def setUp(self) -> None:
        super().setUp()
        self.root = self.temp_dir()
        self.tree = reader.Tree(str(self.root))
        self.write('run/udev/data/b254:1',
                   f'S:disk/by-uuid/x\nE:ID_FS_UUID={UUID}\n')

    def write(self, path: str, text: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def uuid(self, mounts: str) -> str | None:
        self.write('proc/self/mountinfo', mounts)
        return assembly.root_uuid(self.tree)

    def test_it_is_the_root_file_systems(self) -> None:
        self.assertEqual(UUID, self.uuid(OTHER + ROOT))

    def test_the_topmost_of_several_mounts_counts(self) -> None:
        below = ROOT.replace('254:1', '254:9')
        self.assertEqual(UUID, self.uuid(below + ROOT))

    def test_btrfs_has_no_device_number_but_a_source(self) -> None:
        self.write('dev/vda1', '')
        self.write('sys/class/block/vda1/dev', '254:1\n')
        self.assertEqual(UUID, self.uuid(
            '22 1 0:31 /@ / rw shared:1 - btrfs /dev/vda1 rw,subvol=/@\n'))

    def test_a_source_may_be_a_link(self) -> None:
        (self.root / 'dev/mapper').mkdir(parents=True)
        (self.root / 'dev/mapper/vg-root').symlink_to('../dm-0')
        self.write('sys/class/block/dm-0/dev', '254:1\n')
        self.assertEqual(UUID, self.uuid(
            '22 1 0:31 /@ / rw shared:1 - btrfs /dev/mapper/vg-root rw\n'))

    def test_an_overlay_has_none(self) -> None:
        self.assertIsNone(self.uuid(
            '22 1 0:52 / / rw,relatime - overlay overlay rw,lowerdir=x\n'))

    def test_what_udev_never_saw_has_none(self) -> None:
        self.assertIsNone(self.uuid(ROOT.replace('254:1', '254:7')))

    def test_nonsense_is_none(self) -> None:
        for text in ('', '\n', 'a b\n', '22 1 0:31 / /\n', ' - - \n'):
            self.assertIsNone(self.uuid(text))
