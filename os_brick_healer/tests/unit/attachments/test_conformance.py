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
"""Our own sources pass the suite; and what is theirs alone."""

import os

from os_brick_healer import exception
from os_brick_healer.attachments import base as source_base
from os_brick_healer.attachments import cinder, kubernetes, loader
from os_brick_healer.attachments import journal as journal_source
from os_brick_healer.testing import attachments
from os_brick_healer.testing.attachments import HERE, THERE
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.attachments import worlds


class JournalConformanceTest(attachments.SourceConformance, base.TestCase):
    def make_world(self) -> worlds.JournalWorld:
        return worlds.JournalWorld(self.temp_dir())


class KubernetesConformanceTest(attachments.SourceConformance,
                                base.TestCase):
    world: worlds.KubernetesWorld

    def make_world(self) -> worlds.KubernetesWorld:
        return worlds.KubernetesWorld(self.temp_dir())

    def test_it_chooses_as_ceph_csi_chooses(self) -> None:
        kept = self.world.attach(HERE)
        for change in ('phase', 'mounter', 'deleted', 'driver', 'gone',
                       'inline'):
            handle = self.world.attach(HERE)
            name = self.world.name_of(handle)
            volume, one = (self.world.volumes[name],
                           self.world.attachments[-1])
            match change:
                case 'phase':
                    volume['status']['phase'] = 'Released'
                case 'mounter':
                    del volume['spec']['csi']['volumeAttributes']['mounter']
                case 'deleted':
                    volume['metadata']['deletionTimestamp'] = 'now'
                case 'driver':
                    one['spec']['attacher'] = 'cephfs.csi.ceph.com'
                case 'gone':
                    del self.world.volumes[name]
                case 'inline':
                    one['spec']['source'] = {'inlineVolumeSpec': {}}
        self.assertEqual([kept], list(self.here()))

    def test_one_that_is_about_to_be_detached_is_changing(self) -> None:
        self.world.attach(HERE)
        self.world.attachments[0]['metadata']['deletionTimestamp'] = 'now'
        (found,) = self.here().values()
        self.assertIs(source_base.State.CHANGING, found.state)

    def test_more_than_one_host_can_have_is_nonsense(self) -> None:
        for _ in range(3):
            self.world.attach(HERE)
        self.source.attachments_max = 2
        error = self.fails(self.here)
        self.assertIn('3 attachments of one host', str(error))

    def test_a_token_that_was_renewed_is_the_one_that_is_sent(self) -> None:
        self.world.attach(HERE)
        self.world.token = 'the-next-one'
        self.fails(self.source.probe)
        (self.world.directory / 'token').write_text('the-next-one')
        self.assertEqual(1, len(self.here()))

    def test_a_token_that_cannot_be_read_is_no_question_without(
            self) -> None:
        for text in ('', 'two\nlines', None):
            path = self.world.directory / 'token'
            path.unlink() if text is None else path.write_text(text)
            before = len(self.world.server.asked)
            error = self.fails(self.source.probe)
            self.assertIn('kubernetes_token_file', str(error))
            self.assertEqual(before, len(self.world.server.asked))

    def test_a_redirect_is_not_followed(self) -> None:
        def answer(_method: str, _asked: object) -> tuple[
                int, dict[str, str], object]:
            return 302, {'Location': self.world.server.url + '/x'}, {}

        self.world.server._answer = answer
        self.assertIn('redirects', str(self.fails(self.source.probe)))
        self.assertEqual(1, len(self.world.server.asked))

    def test_what_has_no_end_is_nonsense(self) -> None:
        def answer(_method: str, _asked: object) -> tuple[
                int, dict[str, str], object]:
            return 200, {}, {'items': [], 'metadata': {'continue': '1'}}

        self.world.server._answer = answer
        vars(self.source)['pages_max'] = 5
        self.assertIn('no end', str(self.fails(self.here)))

    def test_without_tls_it_is_not_asked(self) -> None:
        for url in ('http://127.0.0.1:1', 'https://', 'https://h/path'):
            conf = self.world.conf(kubernetes_url=url)
            self.assertRaises(exception.ConfigError,
                              kubernetes.KubernetesSource, conf, HERE)
        conf = self.world.conf(
            kubernetes_ca_file=str(self.world.directory / 'none'))
        self.assertRaises(exception.ConfigError,
                          kubernetes.KubernetesSource, conf, HERE)

    def test_a_node_may_have_another_name_than_the_host(self) -> None:
        volume = self.world.attach('node-7')
        source = kubernetes.KubernetesSource(
            self.world.conf(kubernetes_node='node-7'), HERE)
        self.assertEqual([volume], list(source.listing(frozenset()).here))


class CinderConformanceTest(attachments.SourceConformance, base.TestCase):
    world: worlds.CinderWorld

    def make_world(self) -> worlds.CinderWorld:
        return worlds.CinderWorld(self.temp_dir())

    def test_other_kinds_of_volumes_are_not_listed(self) -> None:
        self.world.attach(HERE)
        self.world.kind = 'iscsi'
        self.assertEqual({}, self.here())

    def test_who_is_not_shown_hosts_is_told_that_and_no_list(self) -> None:
        self.world.attach(HERE)
        self.world.admin = False
        self.assertIn('host_name', str(self.fails(self.here)))

    def test_a_volume_whose_host_is_not_known_is_nowhere(self) -> None:
        volume, other = self.world.attach(HERE), self.world.attach(THERE)
        del other
        self.world.move(volume, THERE)
        self.world.attach('', volume=volume)
        told = self.source.listing(frozenset((volume,)))
        self.assertEqual({}, dict(told.elsewhere))

    def test_a_live_migration_to_this_host_is_not_elsewhere(self) -> None:
        volume = self.world.attach(THERE)
        self.world.attach(HERE, volume=volume, changing=True)
        told = self.source.listing(frozenset((volume,)))
        self.assertEqual(({}, {}), (dict(told.here), dict(told.elsewhere)))

    def test_a_live_migration_from_this_host_is_here(self) -> None:
        volume = self.world.attach(HERE)
        self.world.attach(THERE, volume=volume)
        told = self.source.listing(frozenset((volume,)))
        self.assertEqual(([volume], {}),
                         (list(told.here), dict(told.elsewhere)))

    def test_more_than_one_host_can_have_is_nonsense(self) -> None:
        for _ in range(3):
            self.world.attach(HERE)
        self.source.attachments_max = 2
        asked = len(self.world.server.asked)
        error = self.fails(self.here)
        self.assertIn('3 attachments of one host', str(error))
        self.assertNotIn('/attachments/', str(
            self.world.server.asked[asked:]))

    def test_an_image_is_asked_for_once(self) -> None:
        self.world.attach(HERE)
        self.here()
        before = len(self.world.server.asked)
        self.here()
        self.assertEqual(2, len(self.world.server.asked) - before)

    def test_nothing_secret_is_kept_or_logged(self) -> None:
        self.world.attach(HERE)
        told = repr(self.here()) + repr(vars(self.source)['_images'])
        self.assert_no_secret(told)
        self.assert_no_secret(self.log.output)

    def test_an_endpoint_without_tls_is_not_asked_unless_it_may_be(
            self) -> None:
        self.world.catalogue = 'http://127.0.0.1:1'
        error = self.fails(self.source.probe)
        self.assertIn('cinder_allow_http', str(error))
        allowed = cinder.CinderSource(
            self.world.conf(cinder_allow_http=True), HERE)
        self.assertNotIn('TLS', str(self.fails(allowed.probe)))

    def test_no_password_goes_where_nobody_is_verified(self) -> None:
        self.world.conf()
        text = (self.world.directory / 'nova.conf').read_text()
        for unsafe in (text.replace('auth_url = https', 'auth_url = http'),
                       f'{text}insecure = true\n'):
            path = self.write_file(self.world.directory / 'n.conf', unsafe)
            error = self.assertRaises(
                exception.ConfigError, cinder.CinderSource,
                worlds.new_conf(path), HERE)
            self.assertIn('cinder_allow_http',
                          str(getattr(error, 'hint', None)))
            cinder.CinderSource(worlds.new_conf(
                path, cinder_allow_http=True), HERE)

    def test_a_section_that_does_not_tell_who_asks_is_said(self) -> None:
        conf = self.world.conf(cinder_auth_section='nobody')
        error = self.assertRaises(exception.ConfigError,
                                  cinder.CinderSource, conf, HERE)
        self.assertIn('[nobody]', str(error))

    def test_a_password_that_is_wrong_is_denied_access(self) -> None:
        self.world.conf()
        text = (self.world.directory / 'nova.conf').read_text()
        path = self.write_file(self.world.directory / 'n.conf',
                               text.replace(worlds.PASSWORD, 'guess'))
        source = cinder.CinderSource(worlds.new_conf(path), HERE)
        error = self.fails(source.probe)
        self.assertIn('denied', str(error))


class LoaderTest(base.TestCase):
    def load(self, plugin: object) -> source_base.AttachmentSource:
        conf = worlds.new_conf(state_path=str(self.temp_dir()))
        return loader.load(conf, HERE, 'mine', lambda _name: plugin)

    def test_a_source_gets_the_configuration_and_the_host(self) -> None:
        found = self.load(journal_source.JournalSource)
        self.assertEqual(HERE, found.host)

    def test_what_is_no_source_is_said_to_be_none(self) -> None:
        class Bare(journal_source.JournalSource):
            guarantees = None  # type: ignore[assignment]

        class Raises(journal_source.JournalSource):
            def __init__(self, *_args: object) -> None:
                raise OSError('password=x')

        for plugin in (7, object, Bare, Raises):
            error = self.assertRaises(exception.ConfigError, self.load,
                                      plugin)
            self.assertNotIn('password', str(error))

    def test_one_that_is_not_installed_is_told_with_those_that_are(
            self) -> None:
        error = self.assertRaises(
            exception.ConfigError, loader.load, worlds.new_conf(), HERE,
            f'none-{os.getpid()}')
        self.assertIn('attachment_sources', str(error))
