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
"""Whatever is imported first, os-brick's factory builds our connector.

Each order runs in a process of its own, beside an os-brick into which the
hook has been put, as an installation puts it there.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import os_brick
from os_brick_healer.tests import base

HOOK = 'initiator/connectors/nvmeof_agent.py'
ROOT = pathlib.Path(__file__).parents[4]

FACTORY = '''
from os_brick.initiator import connector
built = connector.InitiatorConnector.factory(
    'NVMEOF', None, use_multipath=True, device_scan_attempts=3,
    enforce_multipath=True)
print(type(built).__name__)
'''
PROPERTIES = '''
from os_brick import privileged
privileged.default.set_client_mode(False)
from os_brick.initiator import connector
connector.get_connector_properties(
    None, '10.0.0.1', True, False, host='compute',
    execute=lambda *command, **how: ('', ''))
'''
OURS = 'HealingNVMeOFConnector'
STOCK = 'NVMeOFConnector'


OTHERS = '''
from os_brick.initiator import connector
for protocol in ('RBD', 'NBD'):
    built = connector.InitiatorConnector.factory(protocol, None)
    print(type(built).__name__, end='/')
'''


class RegistrationTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.site = self.temp_dir()
        installed = pathlib.Path(os_brick.__path__[0])
        shutil.copytree(installed, self.site / 'os_brick',
                        ignore=shutil.ignore_patterns('tests'))
        if (ROOT / 'os_brick' / HOOK).exists():
            shutil.copy(ROOT / 'os_brick' / HOOK,
                        self.site / 'os_brick' / HOOK)

    def run_python(self, script: str) -> str:
        """What the script prints last, in a new process."""
        path = [str(self.site), *(p for p in sys.path if p)]
        done = subprocess.run(
            [sys.executable, '-c', script], text=True, check=False,
            capture_output=True, timeout=60, cwd=self.site,
            env=os.environ | {'PYTHONPATH': os.pathsep.join(path)})
        self.assertEqual(0, done.returncode, done.stderr)
        self.errors = done.stderr
        return done.stdout.split()[-1]

    def test_mapped_volumes_get_connectors_of_ours(self) -> None:
        self.assertEqual('HealingRBDConnector/HealingNBDConnector/',
                         self.run_python(OTHERS))

    def test_with_a_part_of_it_missing_rbd_is_os_brick_s(self) -> None:
        first = '''
import sys
sys.modules['os_brick_healer.connector.rbd_mixin'] = None
'''
        self.assertEqual('RBDConnector/HealingNBDConnector/',
                         self.run_python(first + OTHERS))

    def test_the_factory_first(self) -> None:
        self.assertEqual(OURS, self.run_python(FACTORY))

    def test_the_connector_first(self) -> None:
        first = 'import os_brick.initiator.connectors.nvmeof\n'
        self.assertEqual(OURS, self.run_python(first + FACTORY))

    def test_the_hook_first(self) -> None:
        first = 'import os_brick.initiator.connectors.nvmeof_agent\n'
        self.assertEqual(OURS, self.run_python(first + FACTORY))

    def test_our_class_first(self) -> None:
        first = 'import os_brick_healer.connector.nvmeof\n'
        self.assertEqual(OURS, self.run_python(first + FACTORY))

    def test_the_factory_imported_again(self) -> None:
        again = '''
import importlib
from os_brick.initiator import connector
importlib.reload(connector)
'''
        self.assertEqual(OURS, self.run_python(again + FACTORY))

    def test_as_nova_does_it(self) -> None:
        self.assertEqual(OURS, self.run_python(PROPERTIES + FACTORY))

    def test_both_names_of_the_protocol_are_ours(self) -> None:
        script = '''
from os_brick.initiator import connector
print(*{connector.get_connector_mapping('x86_64')[name]
        for name in ('NVME', 'NVMEOF')})
'''
        self.assertEqual('os_brick_healer.connector.nvmeof.' + OURS,
                         self.run_python(script))

    def test_os_brick_s_own_class_stays_what_it_is(self) -> None:
        script = '''
from os_brick.initiator import connector
from os_brick.initiator.connectors import nvmeof
print(nvmeof.NVMeOFConnector.__module__)
'''
        self.assertEqual('os_brick.initiator.connectors.nvmeof',
                         self.run_python(script))

    def test_somebody_else_s_class_is_left_alone(self) -> None:
        first = '''
from os_brick.initiator import connector
from os_brick_healer.connector import registration
name = 'os_brick.initiator.connectors.fake.FakeConnector'
connector._connector_mapping_linux['NVMEOF'] = name
registration.register()
print(connector._connector_mapping_linux['NVMEOF'])
'''
        self.assertEqual('os_brick.initiator.connectors.fake.FakeConnector',
                         self.run_python(first))

    def test_without_our_package_os_brick_works_as_without_us(self) -> None:
        self.write_file(self.site / 'os_brick_healer' / '__init__.py',
                        'raise RuntimeError("half an upgrade")')
        self.assertEqual(STOCK, self.run_python(FACTORY))
        self.assertIn('half an upgrade', self.errors)

    def test_with_a_broken_mixin_os_brick_s_class_is_built(self) -> None:
        first = '''
import sys
sys.modules['os_brick_healer.connector.mixin'] = None
'''
        self.assertEqual(STOCK, self.run_python(first + FACTORY))

    def test_with_a_part_missing_os_brick_s_class_is_built(self) -> None:
        first = '''
import sys
sys.modules['os_brick_healer.connector.nvmeof'] = None
'''
        self.assertEqual(STOCK, self.run_python(first + FACTORY))

    def test_the_hook_never_raises(self) -> None:
        script = '''
import sys
from os_brick.initiator.connectors import nvmeof_agent
sys.modules['os_brick_healer.connector.hook'] = None
nvmeof_agent.NVMeOFAgent.ensure_running(object())
print('done')
'''
        self.assertEqual('done', self.run_python(script))

    def test_the_hook_keeps_nobody_waiting(self) -> None:
        script = '''
import time
from os_brick.initiator.connectors import nvmeof
from oslo_config import cfg
from os_brick_healer.conf import opts
opts.register(cfg.CONF)
cfg.CONF.set_override('launch', 'none', 'os_brick_healer')
from os_brick_healer.connector import hook
began_s = time.monotonic()
nvmeof.nvmeof_agent.NVMeOFAgent.ensure_running(object())
print(time.monotonic() - began_s)
'''
        self.assertLess(float(self.run_python(script)), base.PATIENCE_S)
