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
"""What the documentation shows is run; what it names must exist."""

import argparse
from collections.abc import Iterable, Iterator
import configparser
import difflib
import json
import pathlib
import re
import shlex
import tomllib
import unittest

from bed import __main__ as bed_main
from bed import scenarios
from os_brick_healer import exception
from os_brick_healer.cli import main as cli
from os_brick_healer.conf import judge, opts, policy
from os_brick_healer.connector import trouble
from os_brick_healer.engine import verdict
from os_brick_healer.metrics import catalogue
from os_brick_healer.provisioner import base as provisioner_base
from os_brick_healer.provisioner import kumoscale_conf, local
from os_brick_healer.tests import base
from os_brick_healer.tests.unit import docs_shown as shown

ROOT, DOC = shown.ROOT, shown.DOC
OPTIONS = {opt.dest: opt for opt in opts.ALL_OPTS}
HOST = provisioner_base.HostIdentity(
    name='compute-1', nqn='nqn.2014-08.org.nvmexpress:uuid:0', uuid=None)

#: Words of others in the pages for operators: kernel, nova, mdadm, vendor.
OTHERS = frozenset((
    'admin_timeout', 'auth_type', 'auth_url', 'cert_file',
    'connection_info', 'connect_volume', 'ctrl_loss_tmo',
    'delete_controller', 'driver_volume_type', 'exec_dirs',
    'extend_volume', 'fast_io_fail_tmo', 'filters_path', 'io_timeout',
    'in_sync', 'knows_hosts', 'lock_path', 'max_part', 'nbds_max', 'prov_ip',
    'prov_port', 'rbd_blocklist_expire_seconds', 'reset_controller',
    'set_feature',
    'speed_limit_max', 'speed_limit_min', 'sync_speed_max',
    'sync_speed_min'))
#: Settings of other services that our files may show: section -> names.
BESIDE = {'DEFAULT': {'host', 'debug'}, 'oslo_concurrency': {'lock_path'},
          'os_brick': {'lock_path'}}
SYSTEMD = {'Unit', 'Service', 'Install'}


@unittest.skipUnless(DOC.exists(), 'not run from a source tree')
class SettingsTest(base.TestCase):
    def test_every_settings_file_shown_is_taken(self) -> None:
        wrong = {block.where: why for block in shown.blocks()
                 if block.sections and (why := self._refusal(block))}
        self.assertEqual({}, wrong)

    def _refusal(self, block: shown.Block) -> str | None:
        try:
            if block.language == 'toml' or any(
                    s.startswith('project.') for s in block.sections):
                tomllib.loads(block.text)
            elif 'prov_ip' in block.text:
                self._vendors(block)
            elif not block.sections <= SYSTEMD:
                self._ours(block)
                return self._unknown(block)
        except (ValueError, configparser.Error,
                exception.HealerError) as e:
            return str(e)
        return None

    def _unknown(self, block: shown.Block) -> str | None:
        parser = configparser.RawConfigParser(default_section='')
        parser.read_string(block.text)
        known = BESIDE | {opts.GROUP: set(OPTIONS)}
        for section in parser.sections():
            for name in parser[section]:
                if name not in known.get(section, ()):
                    return f'[{section}] {name} is no setting of ours'
        return None

    def _ours(self, block: shown.Block) -> None:
        path = self.write_file(self.temp_dir() / 'a.conf', block.text)
        conf = self.new_conf(path)
        opts.register(conf)
        judge.values(conf)
        policy.policy(conf)

    def _vendors(self, block: shown.Block) -> None:
        path = self.write_file(self.temp_dir() / 'vendor.conf', block.text)
        conf = self.new_conf()
        opts.register(conf)
        conf.set_override('kumoscale_config_file', str(path),
                          group=opts.GROUP)
        self.assertTrue(kumoscale_conf.load(conf).addresses)

    def test_every_volumes_file_shown_is_taken(self) -> None:
        texts = [b.text for b in shown.blocks() if b.language == 'json']
        texts += [p.read_text() for p in sorted(DOC.rglob('*.json'))]
        for text in texts:
            path = self.write_file(self.temp_dir() / 'volumes.json', text)
            conf = self.new_conf()
            opts.register(conf)
            conf.set_override('local_file', str(path), group=opts.GROUP)
            volumes = local.LocalProvisioner(conf, HOST).volumes()
            self.assertEqual(set(json.loads(text)['volumes']), set(volumes))
            self.assertEqual([], [v.nonsense for v in volumes.values()
                                  if v.nonsense is not None])


@unittest.skipUnless(DOC.exists(), 'not run from a source tree')
class CommandsTest(base.TestCase):
    def test_every_command_of_ours_parses(self) -> None:
        self._all_parse('os-brick-healer', 1, cli.parser())

    def test_every_command_of_the_bed_parses(self) -> None:
        self._all_parse('-m bed', 3, bed_main.parser())

    def _all_parse(self, what: str, skip: int,
                   parser: argparse.ArgumentParser) -> None:
        found = [(where, words) for where, words in shown.commands()
                 if what in ' '.join(words[:skip])]
        self.assertNotEqual([], found)
        wrong = {f'{where}: {shlex.join(words)}': said
                 for where, words in found
                 if (said := shown.complaint(parser, words[skip:]))}
        self.assertEqual({}, wrong)

    def test_every_scenario_named_is_there(self) -> None:
        known = {*scenarios.load(), 'NAME'}
        named_ = {word for _, words in shown.commands() if 'bed' in words[:3]
                  and words[3:4] == ['run'] for word in words[4:5]
                  if not word.startswith('-')}
        self.assertNotEqual(set(), named_)
        self.assertEqual(set(), named_ - known)

    def test_every_make_target_named_is_there(self) -> None:
        known = set(re.findall(r'^([a-z-]+):', (ROOT / 'Makefile')
                               .read_text(), re.MULTILINE))
        named_ = {word for _, words in shown.commands() if words[0] == 'make'
                  for word in words[1:] if '=' not in word}
        self.assertLessEqual({'demo', 'test', 'bench', 'docs'}, named_)
        self.assertEqual(set(), named_ - known)

    def test_every_subcommand_is_documented(self) -> None:
        page = DOC / 'cli' / 'os-brick-healer.rst'
        told = {part.split()[0] for cell in re.findall(
            r'^   \* - (``[a-z].*)$', page.read_text(), re.MULTILINE)
            for part in re.findall(r'``([^`]+)``', cell)}
        self.assertEqual(set(), set(shown.parts(cli.parser())) - told)


@unittest.skipUnless(DOC.exists(), 'not run from a source tree')
class NamesTest(base.TestCase):
    def _words(self, pages_: Iterable[pathlib.Path]) -> Iterator[
            tuple[str, str]]:
        for path in pages_:
            for text in shown.quoted(path):
                if re.fullmatch(r'[a-z]+(?:_[a-z0-9]+)+', text):
                    yield shown.named(path), text

    def test_operators_read_of_no_setting_that_is_not_there(self) -> None:
        strange = [(page, word) for page, word
                   in self._words(shown.operators_pages())
                   if word not in OPTIONS and word not in OTHERS
                   and not word.startswith('os_brick_healer_')]
        self.assertEqual([], strange)

    def test_no_setting_is_misspelt(self) -> None:
        known = {*OPTIONS, *OTHERS}
        close = [(page, word) for page, word in self._words(shown.pages())
                 if word not in known
                 and difflib.get_close_matches(word, OPTIONS, cutoff=0.88)]
        self.assertEqual([], close)

    def test_defaults_are_told_as_they_are(self) -> None:
        wrong = []
        for path in shown.pages():
            for name, value in re.findall(
                    r'``([a-z_]+)``\s\((\d+(?:\.\d+)?)(?: s)?\)',
                    path.read_text()):
                if (name in OPTIONS
                        and float(value) != OPTIONS[name].default):
                    wrong.append((shown.named(path), name, value))
        self.assertEqual([], wrong)

    def test_the_profiles_are_told_as_they_are(self) -> None:
        rows = re.findall(r'     - ([\d.]+) s\n     - ([\d.]+) s\n',
                          (DOC / 'admin' / 'tuning.rst').read_text())
        one, two = policy.PROFILES['default'], policy.PROFILES['fast']
        names = ('keep_alive_s', 'poll_s', 'stuck_s', 'probe_deadline_s',
                 'silence_s', 'break_after_s', 'idle_break_after_s')
        self.assertEqual(
            [(float(getattr(one, n)), float(getattr(two, n)))
             for n in names], [(float(a), float(b)) for a, b in rows])

    def test_metrics_named_are_published(self) -> None:
        known = {m.name for m in (*catalogue.ALL, trouble.TROUBLES)}
        told = {word for path in shown.pages() for text in shown.quoted(path)
                for word in re.findall(
                    r'^os_brick_healer_[a-z_]+(?=[{]|$)', text)}
        self.assertEqual(set(), told - known)

    def test_phases_are_explained(self) -> None:
        page = DOC / 'admin' / 'reading.rst'
        self.assertEqual([f'``{phase.value}``' for phase in verdict.Phase],
                         shown.first_cells(page, 'Phases'))
        reference = shown.quoted(DOC / 'reference' / 'index.rst')
        self.assertEqual(set(), {p.value for p in verdict.Phase}
                         - set(reference))

    def test_states_of_legs_are_explained(self) -> None:
        cells = shown.first_cells(DOC / 'admin' / 'reading.rst', 'Legs')
        self.assertEqual({f'``{s}``' for s in shown.states_of_legs()},
                         set(cells))

    def test_laws_are_explained(self) -> None:
        told = set(shown.titles(DOC / 'admin' / 'laws.rst'))
        self.assertEqual(shown.laws(), told - {'No law at all'})

    def test_every_reason_to_hold_is_explained(self) -> None:
        quotes = ' '.join(shown.emphasised(
            (DOC / 'admin' / 'laws.rst').read_text()))
        reasons = shown.reasons_to_hold()
        self.assertGreater(len(reasons), 10)
        self.assertEqual([], [reason for reason in reasons
                              if not shown.shares_words(reason, quotes)])

    def test_only_sentences_that_are_said_are_quoted(self) -> None:
        said = shown.sentences()
        text = (DOC / 'admin' / 'laws.rst').read_text()
        unsaid = [
            part for quote in shown.emphasised(text)
            for part in map(str.strip, shown.PLACEHOLDER.split(quote))
            if len(part.split()) > 2 and not shown.shares_words(part, said)]
        self.assertEqual([], unsaid)

    def test_privileged_calls_are_all_told(self) -> None:
        told = {call for cell in shown.first_cells(
            DOC / 'admin' / 'security.rst', 'What runs as root')
            for call in re.findall(r'``([^`]+)``', cell)}
        self.assertEqual(shown.entry_points(), told)

    def test_paths_of_the_repository_exist(self) -> None:
        missing = [
            (shown.named(path), text) for path in shown.pages()
            for text in shown.quoted(path)
            if re.fullmatch(r'(os_brick_healer|bed|doc/source|etc|tools'
                            r'|examples|releasenotes)/[\w./-]+', text)
            and not (ROOT / text).exists()]
        self.assertEqual([], missing)
