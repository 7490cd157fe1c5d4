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
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

from os_brick_healer.tests import base

ROOT = pathlib.Path(__file__).parents[4]
EXAMPLE = ROOT / 'examples' / 'vendor-provisioner'

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


@unittest.skipUnless(EXAMPLE.is_dir(), 'this is not the source tree')
class VendorPackageTest(base.TestCase):
    """The sample vendor package works as a vendor's package would."""

    def setUp(self) -> None:
        super().setUp()
        self.target = self.temp_dir()
        source = self.temp_dir() / 'source'  # building leaves things behind
        shutil.copytree(EXAMPLE, source)
        self.run_python('-m', 'pip', 'install', '--quiet', '--no-deps',
                        '--no-build-isolation', '--no-index',
                        '--disable-pip-version-check',
                        '--target', str(self.target), str(source))

    def run_python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], check=False, timeout=110,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=self.target, env={
                **os.environ, 'PYTHONPATH': f'{self.target}:{ROOT}',
                'XDG_CACHE_HOME': str(self.target)})
        self.assertEqual(0, done.returncode, done.stdout)
        return done.stdout

    def test_it_is_found_and_passes_the_conformance_suite(self) -> None:
        self.assertEqual('acme_healer.provisioner',
                         self.run_python('-c', LOAD).strip())
        told = self.run_python('-m', 'testtools.run',
                               'acme_healer.tests.test_conformance')
        ran = re.search(r'Ran (\d+) tests', told)
        assert ran is not None, told
        self.assertGreater(int(ran[1]), 30)
