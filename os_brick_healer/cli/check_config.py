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
"""The configuration: what was read, and what in it nobody reads."""

from collections.abc import Iterator
import os

from os_brick_healer.cli import check_files, finding, settings
from os_brick_healer.cli.finding import Finding, Host
from os_brick_healer.conf import files, opts

SUBJECT = 'configuration'


def configuration(host: Host,
                  read: settings.Configuration) -> Iterator[Finding]:
    """The files, and what in them counts for nothing."""
    if read.error is not None:
        yield finding.fail(SUBJECT, read.error,
                           'what follows looks at the defaults')
        return
    yield _files(read)
    for name in files.named_files(read.conf)[0]:
        yield from check_files.readable(host, read.conf, SUBJECT, name)
    if read.unread is not None:
        yield finding.warn(
            SUBJECT, f'{read.unread} cannot be read by this user: what '
            'follows does without it', 'run this as root')
    for sentence in files.unknown(read.conf):
        yield finding.warn(SUBJECT, sentence, 'write it as it is in the '
                           'configuration reference, or take it away')
    yield from _log(read)
    yield from _metrics(host, read)


def _log(read: settings.Configuration) -> Iterator[Finding]:
    """nova.conf says how to log, too; the agent does without what is wrong."""
    # Not at the top: the command's other verbs do without oslo.log.
    from os_brick_healer.agent import logs  # noqa: PLC0415
    for sentence in logs.wrong(read.conf):
        yield finding.fail(SUBJECT, f'cannot be logged by: {sentence}',
                           'mend it where it stands: it may keep the agent '
                           'or its privileged helper from starting')


def _files(read: settings.Configuration) -> Finding:
    names, directories = files.named_files(read.conf)
    if names or directories:
        return finding.ok(SUBJECT, ', '.join([*names, *directories]))
    return finding.warn(SUBJECT, 'no file was found or readable',
                        'run this as root, or name one: --config-file')


def _metrics(host: Host, read: settings.Configuration) -> Iterator[Finding]:
    path = read.conf[opts.GROUP].metrics_textfile
    if not path:
        return
    if not path.endswith('.prom'):
        yield finding.warn(
            SUBJECT, f'metrics_textfile is {path}: node_exporter reads only '
            'files whose name ends in .prom', f'call it {path}.prom')
    place = os.path.dirname(path) or '/'
    try:
        found = os.stat(host.tree.path(place))
    except OSError as e:
        yield finding.warn(
            SUBJECT, f'metrics_textfile: {place} cannot be looked at: '
            f'{e.strerror}', f'make it, for the agent to write {path}')
        return
    barred = check_files.barred(host, read.conf, found,
                                check_files.WX_OTHERS)
    cut_off = check_files.cut_off(host, read.conf, place)
    if barred:
        yield finding.warn(
            SUBJECT, f'metrics_textfile: {place} cannot be written by '
            f'{", ".join(barred)}', f'chgrp {barred[0]} {place}; chmod g+rwx '
            f'{place}')
    elif cut_off is not None:
        yield finding.warn(SUBJECT, f'metrics_textfile: {cut_off[0]}',
                           cut_off[1])
