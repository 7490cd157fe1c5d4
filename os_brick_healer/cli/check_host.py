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
"""Commands and kernel: what the host itself must bring."""

from collections.abc import Iterator
import re

from os_brick_healer.cli import finding
from os_brick_healer.cli.finding import Finding, Host

COMMANDS = {
    'mdadm': 'it adds and removes legs',
    'nvme': 'it connects replicas (package nvme-cli)',
    'wipefs': 'it tells foreign data on a new leg (package util-linux)',
    'privsep-helper': 'it starts the privileged process (oslo.privsep)',
}
#: Kernel modules: name -> what it is for.
MODULES = {
    'raid1': 'arrays of replicated volumes',
    'nvme_tcp': 'replicas over TCP',
}
#: The same; without it a silent leg costs the guest some seconds more.
WANTED = {
    'tcp_diag': 'ending silent connections at once',
}
MODULES_BYTES_MAX = 16777216
HOST_NQN = '/etc/nvme/hostnqn'


def commands(host: Host) -> Iterator[Finding]:
    """The programs that actions run."""
    for name, use in COMMANDS.items():
        where = host.which(name)
        if where is not None:
            yield finding.ok(f'command {name}', where)
        else:
            yield finding.fail(
                f'command {name}', f'is not installed, and {use}',
                f'install it into {finding.SEARCH_PATH}')


def kernel(host: Host) -> Iterator[Finding]:
    """md raid1, nvme-tcp, sock_diag, and native multipath."""
    for name, use in (MODULES | WANTED).items():
        yield module(host, name, use, needed=name in MODULES)
    yield _multipath(host)


def module(host: Host, name: str, use: str, *, needed: bool) -> Finding:
    """Whether the kernel has a module, or can load it."""
    subject = f'kernel {name}'
    if host.tree.exists(f'/sys/module/{name}'):
        return finding.ok(subject, 'is loaded')
    if name == 'raid1' and '[raid1]' in (
            host.tree.first_line('/proc/mdstat') or ''):
        return finding.ok(subject, 'is built in')
    listed = ''.join(
        host.tree.read(f'/lib/modules/{host.release}/{part}',
                       MODULES_BYTES_MAX) or ''
        for part in ('modules.dep', 'modules.builtin'))
    # A module's file may be written with - where its name has _.
    pattern = name.replace('_', '[-_]')
    if re.search(rf'(^|/){pattern}\.ko', listed, re.MULTILINE):
        return finding.ok(subject, 'can be loaded')
    if not listed:
        return finding.warn(
            subject, 'cannot be told: there is no list of modules for '
            f'kernel {host.release}',
            f'modprobe {name}; it is needed for {use}')
    say = finding.fail if needed else finding.warn
    return say(
        subject, f'is not in kernel {host.release}, and needed for {use}',
        "install the kernel's full package of modules")


def _multipath(host: Host) -> Finding:
    subject = 'kernel nvme multipath'
    value = host.tree.read('/sys/module/nvme_core/parameters/multipath')
    match value:
        case 'Y':
            return finding.ok(subject, 'is on')
        case 'N':
            return finding.warn(
                subject, 'is off: each path of a replica with several '
                'portals is a device of its own',
                'nvme_core.multipath=Y on the kernel command line, unless '
                'every replica has one portal')
        case None:
            return finding.warn(
                subject, 'cannot be told: nvme_core is not loaded',
                'modprobe nvme-tcp and check again')
        case _:
            return finding.warn(subject, f'says {value!r}', 'expected Y or N')


def host_nqn(host: Host) -> Iterator[Finding]:
    """The name under which this host connects and is published to."""
    nqn = host.tree.read(HOST_NQN)
    if nqn and nqn.startswith('nqn.'):
        yield finding.ok('host NQN', nqn)
    else:
        yield finding.fail(
            'host NQN', f'{HOST_NQN} holds none: until os-brick makes one '
            'up, when nova-compute starts, the agent cannot say who it is',
            f'nvme gen-hostnqn > {HOST_NQN}')
