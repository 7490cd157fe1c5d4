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
"""os-brick's own tests of its connector, run against ours."""

import unittest

from os_brick.tests.initiator.connectors import test_nvmeof
from oslo_concurrency import lockutils
from oslo_config import cfg

from os_brick_healer import privileged
from os_brick_healer.connector import nvmeof
from os_brick_healer.tests.unit.connector import fakes


class OsBrickOwnTest(test_nvmeof.NVMeOFConnectorTestCase):
    """What os-brick promises of its connector holds for ours."""

    def setUp(self) -> None:
        # os-brick's tests leave a lock path behind and reset cfg.CONF, which
        # forgets defaults set on it; the tests that come next need both.
        self.addCleanup(
            cfg.CONF.set_default, 'thread_pool_size', privileged.THREADS,
            group=privileged.SECTION)
        self.addCleanup(lockutils.set_defaults, None)
        super().setUp()
        ours = nvmeof.HealingNVMeOFConnector
        # Cached on the class by whoever came first; os-brick's tests set it
        # on os-brick's class.
        if 'native_multipath_supported' in vars(ours):
            del ours.native_multipath_supported
        self.connector = ours(None, execute=self.fake_execute,
                              use_multipath=False)
        self.connector.healer_context = fakes.nothing()


def load_tests(loader: unittest.TestLoader, tests: unittest.TestSuite,
               pattern: str | None) -> unittest.TestSuite:
    """Only ours: the module that is imported has many more."""
    return loader.loadTestsFromTestCase(OsBrickOwnTest)
