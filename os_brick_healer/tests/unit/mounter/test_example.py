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
EXAMPLE = ROOT / 'examples' / 'vendor-mounter'

#: Loads the plugin by its name, as the agent does.
LOAD = '''
from os_brick_healer.mounter import loader
from os_brick_healer.privileged import serving
print(type(loader.load('acme')).__module__)
print(type(serving.mounter('acme')).__module__)
print(' '.join(sorted(loader.Mounters().programs())))
'''


@unittest.skipUnless(EXAMPLE.is_dir(), 'this is not the source tree')
class VendorMounterTest(base.TestCase):
    """The sample mounter works as one from another package would."""

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
        agent, root, programs = self.run_python('-W', 'ignore', '-c',
                                                LOAD).splitlines()
        self.assertEqual(['acme_mounter.mounter'] * 2, [agent, root])
        self.assertIn('acme-nbd', programs)
        told = self.run_python('-W', 'ignore', '-m', 'testtools.run',
                               'acme_mounter.tests.test_conformance')
        ran = re.search(r'Ran (\d+) tests', told)
        assert ran is not None, told
        self.assertGreater(int(ran[1]), 10)
        self.assertNotIn('skip', told)
