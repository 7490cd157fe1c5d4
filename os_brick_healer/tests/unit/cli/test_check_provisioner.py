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
"""Laws of the check of the provisioner and of what was configured."""

from collections.abc import Mapping
import dataclasses
import json
import logging
from typing import Any

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.cli import (
    check_config,
    check_provisioner,
    finding,
    settings,
)
from os_brick_healer.cli.finding import Finding, Level
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.tests.unit.cli import test_check
from os_brick_healer.tests.unit.provisioner import worlds

LOG = logging.getLogger('some.plugin')
NOBODY = 'nobody-here'


class ProvisionerTestCase(test_check.CheckTestCase):
    def found(self, **settings_: object) -> list[Finding]:
        self.set(**settings_)
        return list(check_provisioner.provisioner(
            self.host, self.conf, None))

    def bad(self, found: list[Finding]) -> list[tuple[Level, str]]:
        self.worst(found)       # each bad one has a way out
        return [(f.level, f.sentence) for f in found
                if f.level is not Level.OK]


class PluginTest(ProvisionerTestCase):
    def test_a_plugin_that_is_not_there_is_named(self) -> None:
        (level, sentence), = self.bad(self.found(provisioner='no-such'))
        self.assertIs(Level.FAIL, level)
        self.assertIn("'no-such'", sentence)

    def test_the_name_of_this_host_is_told(self) -> None:
        self.conf.register_opt(cfg.StrOpt('host'))
        self.conf.set_override('host', 'compute-7')
        told = {f.subject: f.sentence
                for f in self.found(provisioner='no-such')}
        self.assertEqual('compute-7', told['host name'])


class LocalTest(ProvisionerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.place = self.root / 'var/lib/x'
        self.place.mkdir(parents=True)
        self.path = self.place / 'volumes.json'
        self.document: dict[str, Any] = {
            'format': 1, 'volumes': {'v': {
                'replica_count': 2, 'replicas': [
                    worlds.a_replica(), worlds.a_replica()]}},
            'spares': [worlds.a_replica(size_bytes=5)]}

    def check_it(self) -> list[Finding]:
        self.path.write_text(json.dumps(self.document))
        return self.found(provisioner='local', control_users=[
            self.me.pw_name], local_file='/var/lib/x/volumes.json')

    def test_what_is_in_a_good_file_is_counted(self) -> None:
        found = self.check_it()
        self.assertEqual([], self.bad(found))
        self.assertIn('volumes: 1, spare replicas: 1', found[-1].sentence)

    def test_a_file_that_is_not_there_fails(self) -> None:
        found = self.found(provisioner='local', local_file='/gone.json')
        self.assertEqual([Level.FAIL], [level for level, _ in
                                        self.bad(found)])

    def test_a_file_that_the_agent_may_not_change_fails(self) -> None:
        self.host = finding.Host(
            tree=self.host.tree, user={NOBODY: self._somebody()}.get)
        self.path.write_text(json.dumps(self.document))
        self.path.chmod(0o644)
        lock = self.place / 'volumes.json.lock'
        lock.touch(0o600)
        bad = self.bad(self.found(
            provisioner='local', control_users=[NOBODY],
            local_file='/var/lib/x/volumes.json'))
        self.assertEqual(
            [(Level.FAIL, f'{path} cannot be written by {NOBODY}')
             for path in ('/var/lib/x', '/var/lib/x/volumes.json.lock')], bad)
        self.path.chmod(0o600)
        bad = self.bad(self.found())
        self.assertIn('volumes.json cannot be read by', bad[0][1])

    def test_a_file_that_nobody_could_change_fails(self) -> None:
        self.host = dataclasses.replace(
            self.host, read_only=lambda _: True)
        self.assertEqual(
            [(Level.FAIL, '/var/lib/x/volumes.json is on a file system that '
              'is read-only')], self.bad(self.check_it()))

    def test_mistakes_in_it_are_told(self) -> None:
        self.document['volumes']['v']['replicas'][0]['state'] = 'Available'
        self.document['spare'] = []
        bad = dict.fromkeys(level for level, _ in self.bad(self.check_it()))
        self.assertEqual({Level.WARN, Level.FAIL}, set(bad) | {Level.WARN})


class KumoScaleTest(ProvisionerTestCase):
    def check_it(self, text: str) -> list[tuple[Level, str]]:
        path = self.write_file(self.temp_dir() / 'ks.conf', text)
        path.chmod(0o640)
        return self.bad(self.found(
            provisioner='kumoscale', kumoscale_config_file=str(path)))

    def test_settings_are_judged_without_asking_anybody(self) -> None:
        (level, sentence), = self.check_it(
            '[DEFAULT]\nprov_ip = ::1\ntoken = x\nprov_port = abc\n')
        self.assertIs(Level.FAIL, level)
        self.assertIn('prov_port', sentence)

    def test_what_the_plugin_warns_of_is_a_line_of_the_check(self) -> None:
        said = self.check_it('[DEFAULT]\nprov_ip = ::1\ninsecure = true\n')
        self.assertEqual([Level.WARN, Level.WARN], [lvl for lvl, _ in said])
        self.assertIn('NOT verified', said[0][1])


class OnlineTest(ProvisionerTestCase):
    def ask(self, answer: object, *, warns: str = '') -> list[Finding]:
        def probe(_: cfg.ConfigOpts) -> tuple[str, object]:
            if warns:
                LOG.warning('%s', warns)
            if isinstance(answer, Exception):
                raise answer
            return 'version 9', answer

        return list(check_provisioner.online(self.conf, probe, ['old']))

    def test_what_it_says_is_told(self) -> None:
        found = self.ask({})
        self.assertEqual(['version 9', 'volumes of this host: 0'],
                         [f.sentence for f in found])

    def test_whoever_is_at_fault_is_where_the_way_out_leads(self) -> None:
        for error, hint in (
                (exception.ProvisionerUnreachable('cannot: x', hint='wait'),
                 'wait'),
                (exception.ProvisionerUnreachable('cannot: x'), 'network'),
                (exception.ConfigError('cannot: x'), 'that setting'),
                (exception.ProvisionerRefused('cannot: x'), 'log')):
            found, = self.ask(error)
            self.assertIs(Level.FAIL, found.level)
            self.assertIn(hint, found.hint or '')
            self.assertEqual('network' in hint, 'network' in (
                found.hint or ''))

    def test_an_answer_that_no_plugin_may_give_is_a_bug_in_it(self) -> None:
        wrong: list[object] = [None, 5, ['v'], {'v': {}},
                               ZeroDivisionError('x')]
        for answer in wrong:
            self.assertIn('a bug in the plugin',
                          self.ask(answer)[-1].sentence)

    def test_each_volume_that_is_not_understood_is_named(self) -> None:
        name = provisioner.VolumeId('v-1')
        answer: Mapping[provisioner.VolumeId, provisioner.Volume] = {
            name: provisioner.Volume(
                id=name, alias='', size_bytes=None, replica_count=0,
                replicas=(), hosts=None, nonsense='the port is odd')}
        bad = self.bad(self.ask(answer))
        self.assertEqual([(Level.FAIL, 'volume v-1: the port is odd')], bad)

    def test_a_warning_is_a_line_once(self) -> None:
        self.assertEqual([(Level.WARN, 'new')],
                         self.bad(self.ask({}, warns='new')))
        self.assertEqual([], self.bad(self.ask({}, warns='old')))


class ConfigurationTest(test_check.CheckTestCase):
    def found(self, text: str, **more: Any) -> list[Finding]:
        path = self.write_file(self.root / 'a.conf', text)
        path.chmod(0o600)
        read = settings.read([str(path)], [], whole=True)
        host = finding.Host(user={'nova': self._somebody(),
                                  self.me.pw_name: self.me}.get)
        return list(check_config.configuration(host, settings.Configuration(
            conf=read.conf, error=read.error, **more)))

    def test_a_good_one_is_one_line(self) -> None:
        self.assertEqual([Level.OK], [f.level for f in self.found(
            '[os_brick_healer]\ncontrol_users = root\n'
            f'metrics_textfile = {self.root}/y.prom\n')])

    def test_a_file_that_the_agent_may_not_read_fails(self) -> None:
        found = self.found('[os_brick_healer]\ncontrol_users = nova\n')[1]
        self.assertIs(Level.FAIL, found.level)
        self.assertIn('a.conf cannot be read by nova', found.sentence)

    def test_metrics_that_nobody_can_write_warn(self) -> None:
        self.root.chmod(0o700)
        for place, users, told in (
                ('/nonexistent', 'root', 'No such file'),
                (str(self.root), 'nova', 'cannot be written by nova')):
            found = self.found(
                f'[os_brick_healer]\ncontrol_users = {users}\n'
                f'metrics_textfile = {place}/y.prom\n')[-1]
            self.assertIs(Level.WARN, found.level)
            self.assertIn(told, found.sentence)

    def test_metrics_that_could_not_get_there_warn(self) -> None:
        self.root.chmod(0o700)
        place = self.root / 'open'
        place.mkdir()
        place.chmod(0o1777)
        _, found = self.found(
            '[os_brick_healer]\ncontrol_users = nova\n'
            f'metrics_textfile = {place}/y.prom\n')[-2:]
        self.assertIs(Level.WARN, found.level)
        self.assertIn(f'{place} cannot be reached by nova', found.sentence)

    def test_what_nobody_reads_warns(self) -> None:
        for text, told in (
                ('[os_brick_healer]\ngrace_perid = 5\n', 'grace_period'),
                ('[os_brick_healr]\n', '[os_brick_healer]'),
                (f'[os_brick_healer]\nmetrics_textfile = {self.root}/x\n',
                 '.prom')):
            _, warned = self.found(
                f'{text}[os_brick_healer]\ncontrol_users = root\n')
            self.assertIs(Level.WARN, warned.level)
            self.assertIn(told, warned.sentence)

    def test_what_this_user_may_not_read_warns(self) -> None:
        _, warned = self.found(
            '[os_brick_healer]\ncontrol_users = root\n',
            unread='/etc/nova/nova.conf')
        self.assertIn('/etc/nova/nova.conf cannot be read',
                      warned.sentence)
