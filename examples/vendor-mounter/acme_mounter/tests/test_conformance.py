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
"""Acme's mounter keeps what a mounter promises."""

from collections.abc import Mapping
import os
import pathlib
import sys
import sysconfig

import testtools

from acme_mounter import mounter
from os_brick_healer.mounter import base
from os_brick_healer.testing import mounters


class AcmeConformanceTest(mounters.MounterConformance, testtools.TestCase):
    """The suite, over images in a directory."""

    # pip install --target puts scripts beside the packages.
    path = os.pathsep.join((
        str(pathlib.Path(mounter.__file__).parents[1] / 'bin'),
        sysconfig.get_path('scripts'), os.path.dirname(sys.executable)))

    def make_mounter(self) -> base.Mounter:
        return mounter.AcmeMounter()

    def make_source(self, name: str) -> Mapping[str, str]:
        with (self.place / f'image-{name}').open('wb') as image:
            image.truncate(1 << 20)
        return {'store': str(self.place), 'image': f'image-{name}'}

    def test_an_image_that_is_gone_is_told(self) -> None:
        """By the words of the real process."""
        order = self.order()
        os.unlink(self.place / order.source['image'])
        with self.served(order) as child:
            self.assertEqual(1, child.wait(20))
        self.assertTrue(self.mounter.is_gone(
            order, f"acme-nbd: no image '{order.source['image']}'"))
