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
import unittest

from os_brick_healer.tests.unit import examples

#: Loads the plugin by its name, as the agent does.
LOAD = '''
from os_brick_healer.mounter import loader
from os_brick_healer.privileged import serving
print(type(loader.load('acme')).__module__)
print(type(serving.mounter('acme')).__module__)
print(' '.join(sorted(loader.Mounters().programs())))
'''


@unittest.skipUnless(examples.EXAMPLES.is_dir(),
                     'this is not the source tree')
class VendorMounterTest(examples.ExampleTestCase):
    """The sample mounter works as one from another package would."""

    example = 'vendor-mounter'

    def test_it_is_found_and_passes_the_conformance_suite(self) -> None:
        agent, root, programs = self.run_python('-W', 'ignore', '-c',
                                                LOAD).splitlines()
        self.assertEqual(['acme_mounter.mounter'] * 2, [agent, root])
        self.assertIn('acme-nbd', programs)
        told = self.passes('acme_mounter.tests.test_conformance', 10)
        self.assertNotIn('skip', told)
