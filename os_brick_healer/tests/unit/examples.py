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
"""The samples of plugins, installed as packages of others would be."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

from os_brick_healer.tests import base

ROOT = pathlib.Path(__file__).parents[3]
EXAMPLES = ROOT / 'examples'


class ExampleTestCase(base.TestCase):
    """One sample, in a directory of its own. :cvar example: its name."""

    example: str

    def setUp(self) -> None:
        super().setUp()
        self.target = self.temp_dir()
        source = self.temp_dir() / 'source'  # building leaves things behind
        shutil.copytree(EXAMPLES / self.example, source)
        self.run_python('-m', 'pip', 'install', '--quiet', '--no-deps',
                        '--no-build-isolation', '--no-index',
                        '--disable-pip-version-check',
                        '--target', str(self.target), str(source))

    def run_python(self, *arguments: str) -> str:
        """What Python says with the sample installed; it must succeed."""
        done = subprocess.run(
            [sys.executable, *arguments], check=False, timeout=110,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=self.target, env={
                **os.environ, 'PYTHONPATH': f'{self.target}:{ROOT}',
                'XDG_CACHE_HOME': str(self.target)})
        self.assertEqual(0, done.returncode, done.stdout)
        return done.stdout

    def passes(self, module: str, more_than: int) -> str:
        """Run a suite that comes with it; what it says."""
        told = self.run_python('-W', 'ignore', '-m', 'testtools.run', module)
        ran = re.search(r'Ran (\d+) tests', told)
        assert ran is not None, told
        self.assertGreater(int(ran[1]), more_than)
        return told
