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
"""The few files that find the root drive and hand over to it.

The guest's own initrd would do as well, but it spends seconds on what a
guest with two virtio drives does not need.
"""

import pathlib
import shutil
import subprocess
import tempfile

# In the order in which they must be loaded. Debian's cloud kernel has ext4
# and the serial ports built in, but nothing of virtio.
MODULES = ('virtio_ring', 'virtio', 'virtio_pci_modern_dev',
           'virtio_pci_legacy_dev', 'virtio_pci', 'virtio_blk')

# The payload drive is a plain tar; tar stops at its end marker, so the
# drive's padding does no harm. bed.init names what becomes process 1.
INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
for m in MODULES; do
    $B insmod /modules/$m.ko
done
init=/sbin/init
for word in $($B cat /proc/cmdline); do
    case $word in
        bed.init=*) init=${word#bed.init=} ;;
        bed.probe) echo BED-PROBE-OK; $B poweroff -f ;;
    esac
done
$B mount -t devtmpfs dev /dev
tries=0
while [ ! -b /dev/vda ] || [ ! -b /dev/vdb ]; do
    tries=$((tries + 1))
    [ $tries -gt 100 ] && { echo 'bed: no drives'; $B poweroff -f; }
    $B sleep 0.1
done
$B mount -t ext4 -o noatime /dev/vda /root
$B tar -xf /dev/vdb -C /root || { echo 'bed: bad payload'; $B poweroff -f; }
$B umount /proc
$B mount --move /dev /root/dev
exec $B switch_root /root $init
""".replace('MODULES', ' '.join(MODULES))


def archive(tree: pathlib.Path, version: str) -> bytes:
    """The initramfs for a guest tree's kernel, as an uncompressed cpio."""
    busybox = shutil.which('busybox')
    if busybox is None:
        raise FileNotFoundError('cannot build the initramfs: because there '
                                'is no busybox, install busybox-static')
    with tempfile.TemporaryDirectory(prefix='obh-initramfs-') as scratch:
        top = pathlib.Path(scratch)
        for name in ('bin', 'dev', 'proc', 'root', 'modules'):
            (top / name).mkdir()
        shutil.copy(busybox, top / 'bin' / 'busybox')
        modules = tree / 'usr' / 'lib' / 'modules' / version
        for name in MODULES:
            shutil.copy(next(modules.rglob(f'{name}.ko')), top / 'modules')
        (top / 'init').write_text(INIT)
        (top / 'init').chmod(0o755)
        names = '\n'.join(['.', *(str(path.relative_to(top))
                                  for path in sorted(top.rglob('*')))])
        return subprocess.run(
            ['cpio', '--create', '--format=newc', '--quiet'],
            cwd=top, input=names.encode(), stdout=subprocess.PIPE,
            check=True, timeout=60).stdout
