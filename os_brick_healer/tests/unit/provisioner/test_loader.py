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
import json
import os
import pathlib
import subprocess
import sys

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.provisioner import loader
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.provisioner import worlds

ROOT = pathlib.Path(__file__).parents[4]

#: Loads the plugin argv[1], or argv[2] by its name; prints what came of it.
LOAD = '''
import json, sys
from oslo_config import cfg
from os_brick_healer.conf import opts
from os_brick_healer import exception
from os_brick_healer.provisioner import base, loader
conf = cfg.ConfigOpts()
conf(args=[], default_config_files=[], default_config_dirs=[])
opts.register(conf)
conf.set_override('provisioner', sys.argv[1], opts.GROUP)
host = base.HostIdentity(name='here', nqn='nqn.h', uuid=None)
try:
    made = loader.load(conf, host, name=(sys.argv[2:] or [None])[0])
    print(json.dumps([type(made).__name__, sorted(sys.modules)]))
except exception.ConfigError as error:
    print(json.dumps(['ConfigError', str(error)]))
'''

PLUGINS = '''
from os_brick_healer.provisioner import base, local

class Good(local.LocalProvisioner):
    pass

class Bad(local.LocalProvisioner):
    def __init__(self, conf, host):
        raise OSError('password=secret')

class Undeclared(base.Provisioner):
    def probe(self): pass

not_a_class = 7
'''


class LoaderTest(base.TestCase):
    """Entry points are of an interpreter, so each test starts its own."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = self.temp_dir()
        self.write_tree(self.directory, {
            'vendor_plugins.py': PLUGINS,
            'vendor_broken.py': 'import no_such_module\n'})
        self.install('vendor', good='vendor_plugins:Good',
                     bad='vendor_plugins:Bad',
                     number='vendor_plugins:not_a_class',
                     undeclared='vendor_plugins:Undeclared',
                     broken='vendor_broken:Any', twice='vendor_plugins:Good')

    def install(self, package: str, **points: str) -> None:
        lines = [f'{name} = {value}' for name, value in points.items()]
        self.write_tree(self.directory, {
            f'{package}-1.dist-info/METADATA':
                f'Metadata-Version: 2.1\nName: {package}\nVersion: 1\n',
            f'{package}-1.dist-info/entry_points.txt':
                '\n'.join([f'[{loader.NAMESPACE}]', *lines, ''])})

    def load(self, *names: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, '-c', LOAD, *names], check=True, timeout=60,
            stdout=subprocess.PIPE, text=True, cwd=self.directory,
            env={**os.environ, 'PYTHONPATH': f'{self.directory}:{ROOT}',
                 'XDG_CACHE_HOME': str(self.directory)})
        kind, more = json.loads(done.stdout)
        return kind, more

    def refusal(self, name: str) -> str:
        kind, sentence = self.load(name)
        self.assertEqual('ConfigError', kind)
        self.assertIn(f'provisioner plugin {name}:', sentence)
        return sentence

    def test_the_named_one_is_loaded_and_no_other_imported(self) -> None:
        kind, modules = self.load('good')
        self.assertEqual('Good', kind)
        self.assertNotIn('vendor_broken', modules)
        self.assertNotIn('requests', modules)

    def test_a_name_that_is_given_counts_and_not_the_option(self) -> None:
        self.assertEqual('Good', self.load('nowhere', 'good')[0])

    def test_one_that_is_not_there_is_named_with_those_that_are(
            self) -> None:
        sentence = self.refusal('nowhere')
        self.assertIn('bad, broken, good', sentence)
        self.assertIn('change [os_brick_healer] provisioner', sentence)

    def test_one_that_does_not_import_says_why(self) -> None:
        self.assertIn('no_such_module', self.refusal('broken'))

    def test_one_that_raises_is_named_without_what_it_says(self) -> None:
        sentence = self.refusal('bad')
        self.assertIn('OSError', sentence)
        self.assertNotIn('secret', sentence)

    def test_what_is_no_provisioner_is_refused(self) -> None:
        for name in ('number', 'undeclared'):
            self.assertIn('is not a Provisioner', self.refusal(name))

    def test_two_of_one_name_are_refused(self) -> None:
        self.install('another', twice='vendor_plugins:Bad')
        self.assertIn('more than once: vendor_plugins:Bad, '
                      'vendor_plugins:Good', self.refusal('twice'))


class HostIdentityTest(base.TestCase):
    def identity(self, conf: cfg.ConfigOpts, text: str | None,
                 nqn: str | None = None) -> provisioner.HostIdentity:
        path = self.temp_dir() / 'hostnqn'
        if text is not None:
            path.write_text(text)
        return loader.host_identity(conf, uuid=lambda: 'u-1',
                                    nqn=lambda: nqn, hostnqn_file=str(path))

    def test_the_file_names_the_host(self) -> None:
        found = self.identity(worlds.new_conf(), 'nqn.x\n')
        self.assertEqual(('nqn.x', 'u-1'), (found.nqn, found.uuid))
        self.assertTrue(found.name)

    def test_novas_host_option_wins(self) -> None:
        conf = worlds.new_conf()
        conf.register_opt(cfg.StrOpt('host', default='compute-7'))
        self.assertEqual('compute-7', self.identity(conf, 'nqn.x').name)

    def test_without_a_file_the_caller_is_asked(self) -> None:
        self.assertEqual(
            'nqn.y', self.identity(worlds.new_conf(), None, 'nqn.y').nqn)

    def test_without_an_nqn_there_is_no_identity(self) -> None:
        for text in (None, '', 'rubbish\n'):
            error = self.assertRaises(exception.ConfigError, self.identity,
                                      worlds.new_conf(), text)
            self.assertIn('nvme gen-hostnqn', str(error))
