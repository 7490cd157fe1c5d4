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

"""Configuration, the environment, and the figures that we write."""

from collections.abc import Iterator
import math
import os
import pathlib

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.agent import notify, verbs
from os_brick_healer.cli import check_files, finding
from os_brick_healer.conf import files, opts, policy
from os_brick_healer.metrics import counters
from os_brick_healer.tests.fuzz import law


class Environment(law.Target):
    """What systemd says through the environment."""

    name = 'environment'
    huge_bytes = 1 << 18
    words = (b'WATCHDOG_USEC=', b'WATCHDOG_PID=', b'NOTIFY_SOCKET=@', b'\n',
             b'9' * 400, b'\xd9\xa3', b'/')

    def seeds(self) -> Iterator[bytes]:
        yield b'WATCHDOG_USEC=20000000\nNOTIFY_SOCKET=@/none\n'
        yield f'WATCHDOG_PID={os.getpid()}\nWATCHDOG_USEC=1'.encode()

    def run(self, data: bytes) -> None:
        pairs = (line.partition(b'=')[::2] for line in data.split(b'\n'))
        environ = {os.fsdecode(k): os.fsdecode(v).replace('\0', '')
                   for k, v in pairs}
        if environ.get('NOTIFY_SOCKET', '').startswith('/'):
            del environ['NOTIFY_SOCKET']    # that may be somebody's
        notifier = notify.Notifier(environ)
        law.need(notifier.watchdog_s is None or (
            math.isfinite(notifier.watchdog_s) and notifier.watchdog_s > 0),
            f'{notifier.watchdog_s} s between signs of life')
        notifier.status('well')


class Config(law.Target):
    """nova's configuration files, and ours."""

    name = 'config'
    huge_bytes = 1 << 18
    words = (b'[os_brick_healer]', b'[DEFAULT]', b' = ', b'$', b'$state_path',
             b'${', b'\n', b'\n ', b'"', b"'", b'[', b'\xff', b'inf', b'nan',
             b'1e400', *(opt.dest.encode() for opt in opts.ALL_OPTS))

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._path = directory / 'ours.conf'
        self._none = directory / 'none'
        self._none.mkdir()

    def seeds(self) -> Iterator[bytes]:
        yield (b'[DEFAULT]\nhost = here\n[os_brick_healer]\nlaunch = systemd\n'
               b'grace_period = 600\ncontrol_users = root, nova\n'
               b'root_helper = sudo nova-rootwrap /etc/nova/rootwrap.conf\n'
               b'profile = fast\nbrake_ratio = 0.5\n')
        yield b'[os_brick_healer]\nheals_max=1\nstate_path = $run_path/x\n'

    def run(self, data: bytes) -> None:
        self._path.write_bytes(data)
        conf = cfg.ConfigOpts()
        args = ['--config-file', str(self._path),
                '--config-dir', str(self._none)]
        if not law.fine(lambda: files.load(conf, args, prog='fuzz'),
                        'cannot use the configuration',
                        exception.ConfigError):
            return
        chosen = law.attempt(lambda: policy.policy(conf), opts.GROUP,
                             exception.ConfigError)
        law.need(chosen is None or law.typed(chosen, type(chosen)),
                 repr(chosen))
        group = conf[opts.GROUP]
        law.fine(lambda: verbs.permitted(group.control_users), '')
        law.fine(lambda: verbs.socket_group(group.control_users), '')
        host = finding.Host(which=lambda _name: None)
        law.need(all(one.sentence for one in
                     check_files.privilege(host, conf)), 'says nothing')


class Metrics(law.Target):
    """Labels of metrics: whatever they are, a collector reads them back."""

    name = 'metrics'
    words = (b'\\', b'"', b'\n', b'{', b'}', b'\xff', b' 1', b'# ')

    def seeds(self) -> Iterator[bytes]:
        yield b'healthy'
        yield b'a "quoted" \\ label\nof two lines'

    def run(self, data: bytes) -> None:
        label = data.decode('utf-8', 'surrogateescape')
        gauge = counters.Gauge('x', 'A help.', ('a', 'b'))
        gauge.set(1.0, label, label[::-1])
        *head, line, last = counters.render((gauge,)).split('\n')
        law.need(head == ['# HELP x A help.', '# TYPE x gauge']
                 and last == '', f'{label!r} breaks the line')
        inner = line.removeprefix('x{a="').removesuffix('"} 1')
        law.need(len(line) - len(inner) == len('x{a=""} 1'), repr(line))
        line.encode()


TARGETS: tuple[type[law.Target], ...] = (Environment, Config, Metrics)
