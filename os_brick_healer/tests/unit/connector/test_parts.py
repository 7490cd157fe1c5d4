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
"""The small parts: resolving, asking, probing, writing down, starting."""

import contextlib
import dataclasses
import socket
import threading
import time
from typing import Any

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import opts, policy
from os_brick_healer.connector import (
    ask,
    context,
    guard,
    hook,
    legs,
    reach,
    records,
    resolve,
)
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.connector import fakes

UUID = '11111111-2222-4333-8444-555555555555'
LOUD = UUID.upper().replace('-', '')


def replica(n: int, state: provisioner.ReplicaState
            = provisioner.ReplicaState.AVAILABLE) -> provisioner.Replica:
    return provisioner.Replica(
        id=provisioner.ReplicaId(str(n)), nqn=f'nqn.2024-01.x:{n}',
        namespace_uuid=None, state=state,
        portals=(provisioner.Portal(address=f'10.0.0.{n}', port=4420),))


def volume(*replicas: provisioner.Replica,
           key: str = UUID) -> provisioner.Volume:
    return provisioner.Volume(
        id=provisioner.VolumeId(key), alias='v', size_bytes=None,
        replica_count=2, replicas=replicas, hosts=None)


def props(*numbers: int) -> dict[str, object]:
    return {'vol_uuid': LOUD, 'alias': 'v', 'replica_count': 2,
            'volume_replicas': [
                {'target_nqn': f'nqn.2024-01.x:{n}', 'vol_uuid': None,
                 'host_nqn': 'nqn.host',
                 'portals': [(f'10.0.0.{n}', 4420, 'tcp')]}
                for n in numbers]}


class ResolveTest(base.TestCase):
    def test_a_volume_is_found_however_its_uuid_is_written(self) -> None:
        for key in (UUID, LOUD, UUID.upper()):
            one = volume(key=key)
            self.assertIs(one, resolve.find(props(1), {one.id: one}))

    def test_the_provisioner_s_words_win(self) -> None:
        found = resolve.resolve(props(1, 2), volume(replica(1), replica(3)),
                                None, ())
        self.assertEqual(['nqn.2024-01.x:1', 'nqn.2024-01.x:3'],
                         [x.nqn for x in found.legs])
        self.assertIn('legs that are gone', found.sentence)

    def test_what_only_nova_knows_of_a_leg_is_kept(self) -> None:
        found = resolve.resolve(props(1, 2), volume(replica(1), replica(3)),
                                None, ())
        self.assertEqual({'nqn.host'}, {x.host_nqn for x in found.legs})

    def test_a_leg_without_an_id_is_completed_by_its_subsystem(self) -> None:
        passed = props(1, 2)
        passed['volume_replicas'][0]['vol_uuid'] = UUID  # type: ignore[index]
        found = resolve.resolve(passed, volume(replica(1), replica(2)),
                                None, ())
        self.assertEqual([UUID, None], [x.uuid for x in found.legs])

    def test_an_unheard_provisioner_is_said(self) -> None:
        old = legs.of_connection(props(3))
        found = resolve.resolve(props(1), None, 'it is down', old)
        self.assertFalse(found.fresh)
        self.assertIn('it is down', found.sentence)
        self.assertEqual(['nqn.2024-01.x:3', 'nqn.2024-01.x:1'],
                         [x.nqn for x in found.legs])

    def test_a_replacement_under_way_does_not_count_as_one_more_leg(
            self) -> None:
        three = dataclasses.replace(volume(replica(1)), replica_count=3)
        two = props(1) | {'replica_count': 2}
        found = resolve.resolve(two, three, None, ())
        self.assertEqual(2, found.replica_count)

    def test_an_unpublished_replica_is_no_leg(self) -> None:
        bare = provisioner.Replica(
            id=provisioner.ReplicaId('9'), nqn=None, namespace_uuid=None,
            portals=(), state=provisioner.ReplicaState.SYNCHRONIZING)
        found = resolve.resolve(props(1), volume(replica(1), bare), None, ())
        self.assertEqual(1, len(found.legs))


class AskTest(base.TestCase):
    def slow(self) -> ask.Asker:
        """A provisioner that answers when the test is over."""
        over = threading.Event()
        self.addCleanup(over.set)

        def volumes() -> ask.Volumes:
            over.wait(60)
            return {}

        return ask.Asker(volumes)

    def test_a_slow_provisioner_costs_the_deadline_and_no_more(self) -> None:
        asker = self.slow()
        began_s = time.monotonic()
        self.assertRaises(exception.ProvisionerUnreachable, asker.ask, 0.05)
        self.assertLess(time.monotonic() - began_s, base.PATIENCE_S)

    def test_garbage_from_a_plugin_never_reaches_nova(self) -> None:
        told: Any = None
        error = self.assertRaises(exception.ProvisionerNonsense,
                                  ask.Asker(lambda: told).ask, 5.0)
        self.assertIn('a bug in the plugin', str(error))

    def test_a_host_that_cannot_say_who_it_is_blames_no_plugin(self) -> None:
        def run() -> str:
            raise FileNotFoundError(2, 'No such file or directory', 'sudo')

        error = self.assertRaises(
            exception.HealerError, context.identify, self.conf(), uuid=run,
            nqn=lambda: 'nqn.2014-08.org.nvmexpress:uuid:x')
        self.assertIn("a command of os-brick's cannot be run: [Errno 2] No "
                      "such file or directory: 'sudo'", str(error))

    def conf(self) -> cfg.ConfigOpts:
        conf = cfg.ConfigOpts()
        opts.register(conf)
        conf(args=[], default_config_files=[], default_config_dirs=[])
        return conf

    def test_late_questions_do_not_pile_up(self) -> None:
        asker = self.slow()
        before = threading.active_count()
        for _ in range(3 * ask.LATE_MAX):
            self.assertRaises(exception.ProvisionerUnreachable,
                              asker.ask, 0.001)
        self.assertLessEqual(threading.active_count(),
                             before + ask.LATE_MAX)

    def test_what_a_plugin_raises_becomes_an_error_of_ours(self) -> None:
        def bug() -> ask.Volumes:
            raise KeyError('bug')

        self.assertRaises(exception.ProvisionerError,
                          ask.Asker(bug).ask, 5.0)


class ReachTest(base.TestCase):
    def test_who_listens_answers_and_who_does_not_does_not(self) -> None:
        with socket.create_server(('127.0.0.1', 0)) as server:
            port = server.getsockname()[1]
            with socket.socket() as closed:
                closed.bind(('127.0.0.1', 0))
                dead = ('127.0.0.1', str(closed.getsockname()[1]), 'tcp')
                live = ('127.0.0.1', str(port), 'tcp')
                odd = ('127.0.0.1', 'port1', 'tcp')
                self.assertEqual({live}, reach.answering(
                    (live, dead, odd), 5.0))


class RecordsTest(base.TestCase):
    def test_the_agent_s_losses_count_until_a_disconnect(self) -> None:
        wing = {'array_uuid': 'A' * 32,
                'replicas': {'x': {'lost_s': 1.0}, 'y': {'lost_s': None}}}
        known = records.merge({'events': 5}, wing)
        self.assertEqual(frozenset(('x',)), known.lost)
        self.assertEqual('a' * 32, known.array_uuid)
        known = records.merge({'events': 5, 'in_sync': ['y']}, wing)
        self.assertEqual(frozenset(), known.lost)

    def test_no_journal_is_told_and_nothing_is_raised(self) -> None:
        one = records.Records(fakes.no_journal)
        one.attach_begin('k', 'v', {})
        one.detach_done('k')
        self.assertEqual(guard.Known(), one.known('k'))
        self.assertIsNone(one.row('k'))
        self.assertIn('cannot open the journal', self.log.output)


    def test_a_journal_that_was_replaced_is_opened_anew(self) -> None:
        """Or the agent would never hear of an attach again."""
        state = self.temp_dir()
        conf = self.new_conf()
        opts.register(conf)
        conf.set_override('state_path', str(state), opts.GROUP)
        one = records.Records(lambda: context._journal(conf))
        for lost in (('', '-wal', '-shm'), ('',)):
            self.assertTrue(one.attach_begin('k', 'v', {}))
            for name in lost:
                (state / f'journal.sqlite{name}').unlink()
            self.assertIsNone(one.row('k'))
        self.assertTrue(one.attach_begin('k', 'v', {}))
        with contextlib.closing(journal_lib.Journal(
                str(state / 'journal.sqlite'))) as agents:
            self.assertEqual(1, len(agents.attachments()))


class SettingsTest(base.TestCase):
    def test_the_profile_sets_the_keep_alive_unless_it_is_set(self) -> None:
        conf = self.new_conf()
        opts.register(conf)
        self.assertEqual(policy.PROFILES['default'].keep_alive_s,
                         context.settings_of(conf).keep_alive_s)
        conf.set_override('profile', 'fast', opts.GROUP)
        self.assertEqual(policy.PROFILES['fast'].keep_alive_s,
                         context.settings_of(conf).keep_alive_s)
        conf.set_override('keep_alive_timeout', 7, opts.GROUP)
        self.assertEqual(7, context.settings_of(conf).keep_alive_s)


class HookTest(base.TestCase):
    def test_an_agent_that_cannot_start_is_no_error_of_nova(self) -> None:
        conf = self.new_conf()
        opts.register(conf)
        conf.set_override('launch', 'none', opts.GROUP)
        conf.set_override('run_path', str(self.temp_dir()), opts.GROUP)
        hook.ensure_running(object(), conf)
        hook.ensure_running(None, 'no configuration')  # type: ignore[arg-type]
        for thread in threading.enumerate():
            if thread.name == 'os-brick-healer-launch':
                thread.join(10.0)
        self.assertIn('cannot ensure', self.log.output)
