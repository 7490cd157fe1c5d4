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
"""What the check finds about mapped volumes and their sources."""

from collections.abc import Sequence
import dataclasses

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.attachments import base as source_base
from os_brick_healer.cli import check_mapping, check_sources, finding, offline
from os_brick_healer.cli.finding import Finding, Level
from os_brick_healer.engine import journal
from os_brick_healer.mounter import ceph_fuse
from os_brick_healer.sysfs import nbd, reader
from os_brick_healer.tests.unit.cli import test_check

HELP = '--cookie <cookie> --reattach-timeout <sec> --try-netlink'


class Full(reader.Tree):
    """With many devices, all of them connected."""

    def listdir(self, path: str) -> tuple[str, ...]:
        return (tuple(f'nbd{n}' for n in range(3700)) if path == nbd.BLOCK
                else super().listdir(path))

    def exists(self, path: str) -> bool:
        return path.startswith(nbd.BLOCK) or super().exists(path)


class MappedTest(test_check.CheckTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.said: str | None = HELP
        self.ran: list[Sequence[str]] = []
        self.host = dataclasses.replace(self.host, run=self.run_)
        self.write_tree(self.root, {
            'sys/module/nbd/parameters/max_part': '16\n',
            'sys/module/nbd/parameters/nbds_max': '16\n',
            'etc/ceph/ceph.conf': '', 'var/log/os-brick-healer/x': ''})
        self.set(rbd_mounter='rbd-nbd', state_path='/var/lib/h')
        (self.root / 'var/lib/h').mkdir(parents=True)

    def run_(self, argv: Sequence[str]) -> str | None:
        self.ran.append(argv)
        return self.said

    def found(self, level: Level) -> list[Finding]:
        every = list(check_mapping.mapped(self.host, self.conf))
        self.worst(every)
        return [one for one in every if one.level is level]

    def the(self, level: Level) -> Finding:
        (one,) = self.found(level)
        return one

    def test_a_host_that_has_it_all_is_well(self) -> None:
        self.assertEqual([], self.found(Level.WARN) + self.found(Level.FAIL))
        self.assertEqual([('/usr/bin/rbd-nbd', '--help')] * 2, self.ran)

    def test_what_an_image_lacked_when_it_was_mapped_warns(self) -> None:
        book = journal.Journal(
            str(self.root / 'var/lib/h' / offline.JOURNAL), boot_id='b')
        for volume, lacks in ('v1', ''), ('v2', 'it lacks x'), ('v3', 'y'):
            book.attach_begin(volume, 'v', {
                'kind': check_mapping.KIND, 'mounter': 'rbd-nbd',
                'lacks': lacks}, 1, '1')
        book.close()
        self.assertEqual('v2 (and 1 more): it lacks x',
                         self.the(Level.WARN).sentence)

    def test_who_maps_nothing_needs_nothing(self) -> None:
        self.set(rbd_mounter='krbd')
        self.assertEqual([], list(check_mapping.mapped(self.host,
                                                       self.conf)))

    def test_what_the_journal_has_is_needed_whatever_is_configured(
            self) -> None:
        self.set(rbd_mounter='krbd')
        book = journal.Journal(
            str(self.root / 'var/lib/h' / offline.JOURNAL), boot_id='b')
        book.attach_begin('v', 'v', {'kind': 'mapping', 'mounter': 'nbd'},
                          1, '1')
        book.close()
        self.missing = {'nbdkit'}
        self.assertEqual('mounter nbd', self.the(Level.FAIL).subject)

    def test_who_only_mounts_needs_no_block_devices(self) -> None:
        self.set(rbd_mounter='krbd')
        book = journal.Journal(
            str(self.root / 'var/lib/h' / offline.JOURNAL), boot_id='b')
        book.attach_begin('v', 'v', {'kind': 'mapping',
                                     'mounter': 'ceph-fuse'}, 1, '1')
        book.close()
        subjects = [one.subject for one in check_mapping.mapped(
            self.host, self.conf, lambda _name: ceph_fuse.CephFuseMounter())]
        self.assertEqual(['mounter ceph-fuse', 'mapping logs'], subjects)

    def test_a_program_that_is_missing_or_too_old_fails(self) -> None:
        self.said = '--try-netlink'
        self.assertIn('--cookie, --reattach-timeout',
                      self.the(Level.FAIL).sentence)
        self.missing = {'rbd-nbd'}
        self.assertIn('not installed', self.the(Level.FAIL).sentence)
        self.missing, self.said = set(), None
        self.assertIn('how old', self.the(Level.WARN).sentence)

    def test_a_mounter_that_is_not_installed_fails(self) -> None:
        self.set(rbd_mounter='krbd')
        book = journal.Journal(
            str(self.root / 'var/lib/h' / offline.JOURNAL), boot_id='b')
        book.attach_begin('v', 'v', {'kind': 'mapping', 'mounter': 'gone'},
                          1, '1')
        book.close()
        self.assertIn('no such plugin', self.the(Level.FAIL).sentence)

    def test_without_the_clusters_configuration_it_warns(self) -> None:
        (self.root / 'etc/ceph/ceph.conf').unlink()
        self.assertIn('/etc/ceph/ceph.conf', self.the(Level.WARN).sentence)

    def test_a_kernel_without_cookies_or_the_driver_fails(self) -> None:
        self.host = dataclasses.replace(self.host, release='5.10.0-8')
        self.assertIn('cookies', self.the(Level.FAIL).sentence)
        self.host = dataclasses.replace(self.host, release='6.1.0')
        (self.root / 'sys/module/nbd').rename(self.root / 'sys/module/x')
        self.write_tree(self.root, {'lib/modules/6.1.0/modules.dep': 'a.ko'})
        self.assertIn('is not in kernel', self.the(Level.FAIL).sentence)

    def test_parameters_with_which_it_does_not_load_fail(self) -> None:
        (self.root / 'sys/module/nbd').rename(self.root / 'sys/module/x')
        self.write_tree(self.root, {
            'lib/modules/6.1.0-test/modules.dep': 'kernel/nbd.ko:',
            'etc/modprobe.d/nbd.conf':
                '# nbd\noptions nbd max_part=255 nbds_max=4097\n'})
        found = self.the(Level.FAIL)
        self.assertIn('nbds_max=4097', found.sentence)
        self.assertIn('at most 4096', str(found.hint))
        self.write_tree(self.root, {
            'etc/modprobe.d/nbd.conf': 'options nbd max_part=256\n'})
        self.assertIn('max_part=256', self.the(Level.FAIL).sentence)

    def test_devices_that_run_out_warn(self) -> None:
        self.write_tree(self.root, {
            'sys/module/nbd/parameters/max_part': '255\n'})
        self.host = dataclasses.replace(self.host,
                                        tree=Full(str(self.root)))
        self.assertIn('3700 connected, 4096 possible',
                      self.the(Level.WARN).sentence)

    def test_a_place_of_logs_must_be_roots_alone(self) -> None:
        place = self.root / 'var/log/os-brick-healer'
        place.chmod(0o777)
        self.assertIn('by anybody', self.the(Level.FAIL).sentence)
        place.chmod(0o770)
        self.assertIn('not believed', self.the(Level.FAIL).sentence)
        (place / 'x').unlink()
        place.rmdir()
        self.assertEqual([], self.found(Level.FAIL))
        place.write_text('')
        self.assertIn('no directory', self.the(Level.FAIL).sentence)

    def test_a_command_that_cannot_be_run_says_nothing(self) -> None:
        run = finding.Host().run
        self.assertEqual('a\n', run(('/bin/echo', 'a')))
        self.assertIsNone(run(('/bin/true',)))
        self.assertIsNone(run(('/no/such/program',)))


class Source(source_base.AttachmentSource):
    guarantees = source_base.Guarantees(
        authoritative=False, knows_hosts=False, knows_images=False)
    error: Exception | None = None
    closed = 0

    def probe(self) -> str:
        if self.error is not None:
            raise self.error
        return 'a source'

    def listing(self, about: frozenset[str]) -> source_base.Listing:
        return source_base.Listing(here={}, elsewhere=dict.fromkeys(
            about, ('node-7.example',)))

    def concerns(self, volume: str, mounter: str) -> bool:
        return True

    def close(self) -> None:
        type(self).closed += 1


class SourcesTest(test_check.CheckTestCase):
    def found(self, error: Exception | None = None, online: bool = True,
              **settings: object) -> list[tuple[Level, str, str]]:
        self.set(**{'attachment_sources': ['journal', 'mine'], **settings})

        def load(conf: cfg.ConfigOpts, host: str,
                 name: str) -> source_base.AttachmentSource:
            if name == 'none':
                raise exception.ConfigError('cannot load none')
            made = Source(conf, host)
            made.error = error
            return made

        found = list(check_sources.sources(self.conf, online=online,
                                           load=load))
        self.worst(found)
        return [(one.level, one.subject, one.sentence) for one in found]

    def test_the_journal_alone_needs_no_line(self) -> None:
        self.set(attachment_sources=['journal'])
        self.assertEqual([], list(check_sources.sources(self.conf,
                                                        online=True)))

    def test_a_source_is_asked_only_online(self) -> None:
        (offline_,) = self.found(exception.SourceError('no'), online=False)
        self.assertEqual((Level.OK, 'source mine'), offline_[:2])
        self.assertEqual(
            (Level.OK, 'source mine online', 'a source: 0 attachments'),
            self.found()[1])

    def test_one_that_has_volumes_on_another_host_alone_warns(self) -> None:
        state_path = str(self.temp_dir())
        book = journal.Journal(f'{state_path}/{offline.JOURNAL}',
                               boot_id='b')
        for number in range(3):
            volume = f'0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c1{number}'
            book.attach_begin(volume, 'v', {
                'kind': check_sources.KIND, 'mounter': 'rbd-nbd'}, 1, '1')
            if number < 2:      # the third is on its way
                book.attach_done(volume)
        book.close()
        found = self.found(state_path=state_path)[2]
        self.assertEqual((Level.WARN, 'source mine online'), found[:2])
        self.assertIn('attached to node-7.example, and not to this host, '
                      'and 1 more like it', found[2])

    def test_one_that_cannot_be_reached_warns(self) -> None:
        found = self.found(exception.SourceError('cannot reach it'))
        self.assertEqual((Level.WARN, 'source mine online',
                          'cannot reach it'), found[1])

    def test_one_that_does_not_load_or_has_a_bug_fails(self) -> None:
        (found,) = self.found(attachment_sources=['none'])
        self.assertIs(Level.FAIL, found[0])
        found = self.found(KeyError('password=x'))[1]
        self.assertIs(Level.FAIL, found[0])
        self.assertNotIn('password', found[2])
