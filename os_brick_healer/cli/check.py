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
"""Does this host have what healing needs? Looks, and changes nothing."""

from collections.abc import Iterable, Iterator, Sequence

from oslo_config import cfg

from os_brick_healer.cli import (
    check_agent,
    check_files,
    check_host,
    finding,
    render,
)
from os_brick_healer.cli.finding import Finding, Host, Level

EXIT = {Level.OK: 0, Level.WARN: 1, Level.FAIL: 2}


def everything(conf: cfg.ConfigOpts, config_error: str | None, *,
               host: Host | None = None,
               probe: check_agent.Probe | None = None) -> list[Finding]:
    """All findings, in the order in which to mend them.

    :param config_error: why the configuration could not be used; the
        defaults are looked at then.
    """
    host = host or Host()
    return [*_config(conf, config_error), *check_host.commands(host),
            *check_host.kernel(host), *check_host.host_nqn(host),
            *check_files.lock_path(host, conf),
            *check_files.directories(host, conf),
            *check_files.journal(host, conf),
            *check_files.privilege(host, conf), *check_agent.hook(),
            *check_agent.provisioner(conf, probe),
            *check_agent.launch(host, conf)]


def _config(conf: cfg.ConfigOpts, error: str | None) -> Iterator[Finding]:
    if error is not None:
        yield finding.fail('configuration', error,
                           'what follows looks at the defaults')
        return
    read = [*(conf.config_file or ()), *(conf.config_dir or ())]
    if read:
        yield finding.ok('configuration', ', '.join(read))
    else:
        yield finding.warn('configuration', 'no file was found or readable',
                           'run this as root, or name one: --config-file')


def text(findings: Iterable[Finding]) -> str:
    """One line each; below a bad one, the way out."""
    lines = []
    for one in findings:
        lines.append(f'{one.level.value:4}  {one.subject}: '
                     f'{render.safe(one.sentence)}')
        if one.hint is not None:
            lines.append(f'      -> {render.safe(one.hint)}')
    return '\n'.join(lines)


def exit_code(findings: Sequence[Finding]) -> int:
    """0 all well, 1 warnings, 2 healing will not work."""
    return max((EXIT[f.level] for f in findings), default=0)
