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
import pathlib
import stat

from os_brick_healer import exception
from os_brick_healer.provisioner import kumoscale_conf
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.provisioner import worlds

TOKEN = 'a%b-the-secret'


class KumoScaleConfTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.temp_dir() / 'provisioner.conf'

    def load(self, text: str, **overrides: object) -> kumoscale_conf.Access:
        self.path.write_text(text)
        self.path.chmod(0o640)
        return kumoscale_conf.load(worlds.new_conf(
            kumoscale_config_file=str(self.path), **overrides))

    def error(self, text: str) -> str:
        error = self.assertRaises(exception.ConfigError, self.load, text)
        self.assertIn(str(self.path), str(error))
        self.assertNotIn('secret', f'{error} {error.__context__!r}')
        return str(error)

    def test_the_vendors_own_file_is_enough(self) -> None:
        found = self.load('[DEFAULT]\nprov_ip = 192.0.2.7\n'
                          'prov_port = 30100\n'
                          'cert_file = /etc/kioxia/ssdtoolbox.pem\n'
                          f'token = {TOKEN}\n')
        self.assertEqual(
            (('192.0.2.7',), 30100, '/etc/kioxia/ssdtoolbox.pem', TOKEN),
            (found.addresses, found.port, found.cert_file, found.token))
        self.assertEqual((False, None, None),
                         (found.insecure, found.tenant, found.ca_file))
        self.assertEqual('', self.log.output)

    def test_our_additions_are_read(self) -> None:
        found = self.load(
            '[DEFAULT]\nprov_ip = 192.0.2.7, [fd00::1] ,ks.example.org\n'
            'ca_file = /ca\nserver_name = ks\ntenant = t-1\n'
            'insecure = yes\n')
        self.assertEqual(('192.0.2.7', 'fd00::1', 'ks.example.org'),
                         found.addresses)
        self.assertEqual(('/ca', 'ks', 't-1', True, 8090), (
            found.ca_file, found.server_name, found.tenant, found.insecure,
            found.port))

    def test_our_own_options_win(self) -> None:
        found = self.load(
            '[DEFAULT]\nprov_ip = 192.0.2.7\nca_file = /ca\ntenant = t-1\n',
            kumoscale_ca_file='/other', kumoscale_tenant='t-2',
            kumoscale_insecure=True)
        self.assertEqual(('/other', 't-2', True), (
            found.ca_file, found.tenant, found.insecure))

    def test_what_is_wrong_is_named_without_the_secret(self) -> None:
        for text, cause in (
                ('', 'prov_ip'),
                ('token = secret\n', 'line 1'),
                ('[DEFAULT]\nprov_ip\nsecret', 'line 2'),
                ('[DEFAULT]\nprov_ip = 1.2.3.4\nprov_ip = secret', 'line 3'),
                ('[DEFAULT]\nprov_ip = 1.2.3.4; secret', 'prov_ip'),
                ('[DEFAULT]\nprov_ip = 1.2.3.4,', 'prov_ip'),
                ('[DEFAULT]\nprov_ip = -x', 'prov_ip'),
                ('[DEFAULT]\nprov_ip = 1.2.3.4\nprov_port = x', 'prov_port'),
                ('[DEFAULT]\nprov_ip = 1.2.3.4\nprov_port = 0', 'prov_port'),
                ('[DEFAULT]\nprov_ip = 1.2.3.4\ntoken = secret\n two',
                 'token'),
                ('[DEFAULT]\nprov_ip = 1.2.3.4\ntoken = secr\u00e9t',
                 'token'),
                ('[DEFAULT]\nprov_ip = 1.2.3.4\ninsecure = secret',
                 'insecure'),
                ('[DEFAULT]\nprov_ip = 1.2.3.4\ntenant = ../secret',
                 'tenant'),
                ('[DEFAULT]\nprov_ip = 1.2.3.4\nclient_secret = x',
                 'OpenID'),
                ('#' * 70000, 'longer')):
            self.assertIn(cause, self.error(text))

    def test_a_wrong_setting_comes_with_its_way_out(self) -> None:
        for line in ('prov_port = abc', 'token = a b', 'insecure = maybe',
                     'tenant = a/b'):
            self.path.write_text(f'[DEFAULT]\nprov_ip = ::1\n{line}\n')
            error = self.assertRaises(
                exception.ConfigError, kumoscale_conf.load, worlds.new_conf(
                    kumoscale_config_file=str(self.path)))
            self.assertIsNotNone(error.hint, line)

    def test_a_file_that_is_not_there_says_what_to_do(self) -> None:
        error = self.assertRaises(
            exception.ConfigError, kumoscale_conf.load, worlds.new_conf(
                kumoscale_config_file='/nonexistent/provisioner.conf'))
        self.assertIn('does not exist (write prov_ip', str(error))

    def test_a_file_that_everybody_can_read_is_warned_of(self) -> None:
        self.load('[DEFAULT]\nprov_ip = 1.2.3.4\ntoken = secret\n')
        self.assertNotIn('every user', self.log.output)
        self.path.chmod(self.path.stat().st_mode | stat.S_IROTH)
        kumoscale_conf.load(worlds.new_conf(
            kumoscale_config_file=str(self.path)))
        self.assertIn('every user', self.log.output)
        self.assertNotIn('secret', self.log.output)

    def test_not_verifying_is_warned_of(self) -> None:
        self.load('[DEFAULT]\nprov_ip = 1.2.3.4\ninsecure = 1\n')
        self.assertIn('NOT verified', self.log.output)

    def test_its_text_shows_no_token(self) -> None:
        found = self.load(f'[DEFAULT]\nprov_ip = ::1\ntoken = {TOKEN}\n')
        self.assertEqual(TOKEN, found.token)
        self.assertNotIn(TOKEN, repr(found))

    def test_a_directory_is_not_a_file(self) -> None:
        error = self.assertRaises(
            exception.ConfigError, kumoscale_conf.load, worlds.new_conf(
                kumoscale_config_file=str(pathlib.Path('/'))))
        self.assertIn('because it is a directory', str(error))
