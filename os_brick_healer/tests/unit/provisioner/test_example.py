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
from oslo_config import cfg
from os_brick_healer.conf import opts
from os_brick_healer.provisioner import base, loader
conf = cfg.ConfigOpts()
conf(args=[], default_config_files=[], default_config_dirs=[])
opts.register(conf)
conf.set_override('provisioner', 'acme', opts.GROUP)
print(type(loader.load(conf, base.HostIdentity(
    name='here', nqn='nqn.h', uuid=None))).__module__)
'''


@unittest.skipUnless(examples.EXAMPLES.is_dir(),
                     'this is not the source tree')
class VendorPackageTest(examples.ExampleTestCase):
    """The sample vendor package works as a vendor's package would."""

    example = 'vendor-provisioner'

    def test_it_is_found_and_passes_the_conformance_suite(self) -> None:
        self.assertEqual('acme_healer.provisioner',
                         self.run_python('-c', LOAD).strip())
        self.passes('acme_healer.tests.test_conformance', 30)
