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
"""The hook in os-brick, the provisioner's plugin, and the agent itself."""

from collections.abc import Callable, Iterator
import importlib
from importlib import metadata
import importlib.util
import warnings

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.agent import lock, record
from os_brick_healer.cli import finding
from os_brick_healer.cli.finding import Finding, Host
from os_brick_healer.conf import opts
from os_brick_healer.connector import registration

HOOK = 'os_brick.initiator.connectors.nvmeof_agent'
PLUGINS = 'os_brick_healer.provisioners'
UNIT = 'os-brick-healer.service'
UNIT_PLACES = ('/etc/systemd/system', '/run/systemd/system',
               '/usr/local/lib/systemd/system', '/usr/lib/systemd/system',
               '/lib/systemd/system')
WANTS = f'/etc/systemd/system/multi-user.target.wants/{UNIT}'

#: Asks the configured provisioner who it is; raises HealerError.
Probe = Callable[[cfg.ConfigOpts], str]


def hook() -> Iterator[Finding]:
    """What makes os-brick build our connector and start the agent."""
    try:
        with warnings.catch_warnings():     # eventlet's, where it is there
            warnings.simplefilter('ignore')
            present = importlib.util.find_spec(HOOK) is not None
            importlib.import_module(registration.MODULE)
    except ImportError as e:
        yield finding.fail('os-brick', f'cannot be imported: {e}',
                           'install os-brick into this very Python')
        return
    yield finding.ok('os-brick', metadata.version('os-brick'))
    reinstall = ('pip install --force-reinstall --no-deps os-brick-healer '
                 "into nova-compute's Python; an editable install does not "
                 'place this file')
    if not present:
        yield finding.fail(
            'hook', f'{HOOK} is not there: nothing starts the agent on '
            'connect', reinstall)
        return
    yield finding.ok('hook', HOOK)
    if registration.register():
        yield finding.ok('connector', registration.OURS)
    else:
        yield finding.fail(
            'connector', "os-brick's mapping names another class than ours",
            'is a second package replacing it, or this one half installed?')


def provisioner(conf: cfg.ConfigOpts, probe: Probe | None,
                ) -> Iterator[Finding]:
    """The plugin; with ``probe`` it is asked as well."""
    name = conf[opts.GROUP].provisioner
    known = metadata.entry_points(group=PLUGINS)
    if name not in known.names:
        yield finding.fail(
            'provisioner', f'there is no plugin {name!r}; there are: '
            + (', '.join(sorted(known.names)) or 'none'),
            'install the package that brings it')
        return
    try:
        known[name].load()
    except Exception as e:  # noqa: BLE001 - a foreign module may raise all
        yield finding.fail(
            'provisioner', f'plugin {name} cannot be loaded: '
            f'{type(e).__name__}: {e}', 'mend or reinstall it')
        return
    yield finding.ok('provisioner', f'plugin {name}')
    if conf[opts.GROUP].kumoscale_insecure:
        yield finding.warn(
            'provisioner', 'its certificate is not verified '
            '(kumoscale_insecure)', 'set kumoscale_ca_file instead')
    if probe is not None:
        yield _probe(conf, probe)


def _probe(conf: cfg.ConfigOpts, probe: Probe) -> Finding:
    try:
        return finding.ok('provisioner online', probe(conf))
    except exception.HealerError as e:
        return finding.fail('provisioner online', e.sentence,
                            e.hint or 'see its log and this host\'s network')
    except Exception as e:  # noqa: BLE001 - a foreign module may raise all
        return finding.fail('provisioner online', f'{type(e).__name__}: {e}',
                            'a plugin raises only ProvisionerError')


def launch(host: Host, conf: cfg.ConfigOpts) -> Iterator[Finding]:
    """How the agent comes to run, and whether it does."""
    match conf[opts.GROUP].launch:
        case 'systemd':
            yield from _unit(host)
        case 'process':
            if host.which('systemd-run') is None:
                yield finding.warn(
                    'launch', 'process, without systemd-run: the agent stays '
                    "in nova-compute's control group",
                    'KillMode=process for nova-compute')
            else:
                yield finding.ok('launch', 'process, by systemd-run')
        case 'thread':
            yield finding.warn(
                'launch', 'thread: while nova-compute is down, nothing heals',
                'launch = systemd')
        case mode:
            yield finding.warn(
                'launch', f'{mode}: a connector never starts the agent',
                'launch = systemd, or see to it yourself')
    yield _running(conf)


def _unit(host: Host) -> Iterator[Finding]:
    found = [f'{place}/{UNIT}' for place in UNIT_PLACES
             if host.tree.exists(f'{place}/{UNIT}')]
    if not found:
        yield finding.fail(
            'systemd unit', f'{UNIT} is not installed', 'copy it to '
            '/etc/systemd/system, then systemctl daemon-reload')
        return
    yield finding.ok('systemd unit', found[0])
    if host.tree.readlink(WANTS) is None:
        yield finding.warn(
            'at boot', 'the agent is not started: guests that are resumed '
            'have none before the next connect',
            f'systemctl enable {UNIT}')
    else:
        yield finding.ok('at boot', 'the agent is started')


def _running(conf: cfg.ConfigOpts) -> Finding:
    group = conf[opts.GROUP]
    try:
        holder = lock.holder(group.run_path)
    except exception.HealerError as e:
        return finding.warn('agent', e.sentence, e.hint or 'run as root')
    if holder is not None:
        return finding.ok('agent', f'{holder} runs')
    last = record.read(group.state_path)
    return finding.warn(
        'agent', 'does not run' if last is None else
        f'does not run; {last.failures} attempts failed, the last: '
        f'{last.error}', f'systemctl start {UNIT}')
