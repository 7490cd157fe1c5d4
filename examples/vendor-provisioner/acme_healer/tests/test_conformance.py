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
"""Our plugin, held to the contract."""

import contextlib

from oslo_config import cfg
import testtools

from acme_healer import provisioner
from acme_healer.tests import simulator
from os_brick_healer.provisioner import base
from os_brick_healer.testing import conformance


class AcmeWorld(conformance.World):
    deadline_s = 5.0
    secrets = (simulator.TOKEN,)
    troubles = frozenset((
        conformance.Trouble.DOWN, conformance.Trouble.SLOW,
        conformance.Trouble.ERROR, conformance.Trouble.GARBAGE,
        conformance.Trouble.DENIED))

    def __init__(self):
        self.storage = simulator.Storage()

    def close(self):
        self.storage.stop()

    def make_provisioner(self, host):
        conf = cfg.ConfigOpts()
        conf(args=[], default_config_files=[], default_config_dirs=[])
        conf.register_opts(provisioner.OPTS, provisioner.GROUP)
        url = f'http://127.0.0.1:{self.storage.port}'
        for name, value in (('url', url), ('token', simulator.TOKEN),
                            ('timeout', 1.0)):
            conf.set_override(name, value, provisioner.GROUP)
        return provisioner.AcmeProvisioner(conf, host)

    def create_volume(self, hosts, *, replicas=2):
        return base.VolumeId(self.storage.create(
            [host.name for host in hosts], replicas))

    def delete_volume(self, volume):
        del self.storage.volumes[volume]

    @contextlib.contextmanager
    def trouble(self, kind):
        if kind is conformance.Trouble.DOWN:
            self.storage.stop()
        else:
            self.storage.trouble = kind.name.lower()
        try:
            yield
        finally:
            self.storage.trouble = None
            if kind is conformance.Trouble.DOWN:
                self.storage.start()

    @contextlib.contextmanager
    def lost_answer(self):
        self.storage.lose_answers = True
        try:
            yield
        finally:
            self.storage.lose_answers = False

    def requests(self):
        return self.storage.requests


class AcmeConformanceTest(conformance.ProvisionerConformance,
                          testtools.TestCase):
    def make_world(self):
        return AcmeWorld()
