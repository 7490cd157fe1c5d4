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

from collections.abc import Iterable, Sequence

from os_brick_healer.cli import (
    check_agent,
    check_config,
    check_files,
    check_host,
    check_mapping,
    check_provisioner,
    check_sources,
    render,
    settings,
)
from os_brick_healer.cli.finding import Finding, Host, Level

EXIT = {Level.OK: 0, Level.WARN: 1, Level.FAIL: 2}


def everything(read: settings.Configuration, *, host: Host | None = None,
               probe: check_provisioner.Probe | None = None,
               ) -> list[Finding]:
    """All findings, in the order in which to mend them.

    :param read: with an error in it, the defaults are looked at.
    """
    host, conf = host or Host(), read.conf
    return [*check_config.configuration(host, read),
            *check_host.commands(host), *check_host.kernel(host),
            *check_host.host_nqn(host),
            *check_files.lock_path(host, conf),
            *check_files.directories(host, conf),
            *check_files.journal(host, conf),
            *check_files.privilege(host, conf,
                                   check_agent.runs_as(host, conf)),
            *check_agent.hook(),
            *check_provisioner.provisioner(host, conf, probe),
            *check_mapping.mapped(host, conf),
            *check_sources.sources(conf, online=probe is not None),
            *check_agent.launch(host, conf)]


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
