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
"""Laws of the wall itself: a real privsep helper, without privileges."""

import json
import os
import subprocess
import sys
import textwrap
from typing import Any
import uuid

from os_brick_healer import privileged
from os_brick_healer.privileged import logs, md, nbd, nvme, unit
from os_brick_healer.tests import base

CLIENT = textwrap.dedent('''
    import json, os, signal, sys, time, types
    from oslo_config import cfg
    from oslo_privsep import priv_context
    from os_brick_healer import exception, privileged
    from os_brick_healer.privileged import md, nvme, unit
    cfg.CONF(args=["--config-file", sys.argv[1]], project="test")
    priv_context.init(root_helper=privileged._prefix(""))
    if "broken" in sys.argv:
        cfg.CONF.set_override("helper_command", "/bin/false",
                              group=privileged.SECTION)

    def kill_helper():
        mark = ("HEALER_TEST=" + os.environ["HEALER_TEST"]).encode()
        for entry in os.listdir("/proc"):
            if entry.isdecimal() and int(entry) != os.getpid():
                try:
                    with open(f"/proc/{entry}/environ", "rb") as file:
                        ours = mark in file.read().split(b"\\0")
                except OSError:
                    continue
                if ours:
                    os.kill(int(entry), signal.SIGKILL)
        while privileged.context.channel.running:
            time.sleep(0.01)

    if "late" in sys.argv:
        # What the caller calls now is long past for the helper.
        privileged.time = types.SimpleNamespace(
            monotonic=lambda: time.monotonic() - 1e6)

    said = []
    for call in (
            lambda: md.remove(array="md127p1", array_uuid="x", device="y",
                              timeout_s=1.0),
            lambda: md.remove(array="md9999", array_uuid="6a41b2c7-0d3e-4f5a"
                              "-9b8c-7d6e5f4a3b2c", device="nvme9999n1",
                              timeout_s=1.0),
            lambda: nvme.delete_controller(
                controller="nvme99999", nqn="nqn.x", address="10.0.0.1",
                port=1, device=None, idle=True, timeout_s=1.0)):
        try:
            said.append(["ok", call()])
        except exception.HealerError as error:
            said.append([type(error).__name__, str(error),
                         error.transient])
        if "killed" in sys.argv:
            kill_helper()
    print(json.dumps(said))
''')


class TestWall(base.TestCase):

    def ask(self, *more: str) -> list[Any]:
        conf = self.write_file(
            self.temp_dir() / 'test.conf',
            f'[{privileged.SECTION}]\ncapabilities =\n')
        client = self.write_file(self.temp_dir() / 'client.py', CLIENT)
        path = os.path.dirname(sys.executable)
        env = {**os.environ, 'HEALER_TEST': str(uuid.uuid4()),
               'PATH': f'{path}:{os.environ["PATH"]}'}
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', str(client), str(conf), *more],
            capture_output=True, text=True, timeout=60, env=env, check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        said: list[Any] = json.loads(done.stdout)
        return said

    def test_values_and_errors_cross_it_in_their_own_classes(self) -> None:
        if os.geteuid() != 0:
            self.skipTest('the prefix without sudo is for root')
        grammar, gone, deleted = self.ask()
        self.assertEqual('NotOurs', grammar[0])
        self.assertIn("'md127p1'", grammar[1])
        self.assertFalse(grammar[2])
        self.assertEqual('NotOurs', gone[0])
        self.assertEqual(['ok', True], deleted)

    def test_a_helper_that_was_killed_is_started_again(self) -> None:
        if os.geteuid() != 0:
            self.skipTest('the prefix without sudo is for root')
        self.assertEqual(['NotOurs', 'NotOurs', 'ok'],
                         [one[0] for one in self.ask('killed')])

    def test_what_nobody_waits_for_any_more_is_not_begun(self) -> None:
        if os.geteuid() != 0:
            self.skipTest('the prefix without sudo is for root')
        for name, sentence, transient in self.ask('late'):
            self.assertEqual('CommandError', name)
            self.assertIn('nobody waits for it any more', sentence)
            self.assertTrue(transient)

    def test_a_helper_that_cannot_start_is_a_transient_error(self) -> None:
        for name, sentence, transient in self.ask('broken'):
            self.assertEqual('CommandError', name)
            self.assertIn('rootwrap', sentence)
            self.assertTrue(transient)


class TestEntryPoints(base.TestCase):

    def test_nothing_else_is_offered(self) -> None:
        """Whoever adds an entry point adds it here, and thinks twice."""
        offered = {name for module in (logs, md, nbd, nvme, unit)
                   for name, value in vars(module).items()
                   if privileged.context.is_entrypoint(value)}
        self.assertEqual(
            {'clear_failfast', 'remove', 're_add', 'add_spare', 'examine',
             'signatures', 'connect', 'delete_controller', 'cut',
             'set_attribute', 'warm_up', 'rescan', 'start_service',
             'start_transient', 'prepare', 'start', 'kill', 'last_words',
             'answers', 'reconnect', 'disconnect', 'set_timer',
             'flows', 'fence', 'hang_up', 'missing', 'lacks', 'grow',
             'tidy_logs'},
            offered)

    def test_stuck_threads_do_not_starve_the_one_that_frees_them(self) -> None:
        self.assertGreaterEqual(privileged.context.conf.thread_pool_size, 16)
