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
"""The provisioner: its plugin, its settings, and what it answers."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
from importlib import metadata
import logging
import os
import warnings

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.cli import check_files, finding
from os_brick_healer.cli.finding import Finding, Host
from os_brick_healer.conf import opts
from os_brick_healer.provisioner import (
    base,
    kumoscale_conf,
    loader,
    local_file,
    local_mistakes,
)

#: Registers with the configured provisioner and asks it for the volumes of
#: this host: its sentence, and its answer. Raises HealerError.
Probe = Callable[[cfg.ConfigOpts], tuple[str, object]]

ONLINE = 'provisioner online'


def provisioner(host: Host, conf: cfg.ConfigOpts, probe: Probe | None,
                ) -> Iterator[Finding]:
    """The plugin and its settings; with ``probe`` it is asked as well."""
    yield finding.ok('host name', loader.host_name(conf))
    name = conf[opts.GROUP].provisioner
    known = metadata.entry_points(group=loader.NAMESPACE)
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
    said: list[str] = []
    match name:
        case 'local':
            yield from _local(host, conf)
        case 'kumoscale':
            yield from _kumoscale(host, conf, said)
    if probe is not None:
        yield from online(conf, probe, said)


def _kumoscale(host: Host, conf: cfg.ConfigOpts,
               said: list[str]) -> Iterator[Finding]:
    path = conf[opts.GROUP].kumoscale_config_file
    yield from check_files.readable(host, conf, 'provisioner', path)
    with _listening(said):
        try:
            kumoscale_conf.load(conf)
        except exception.HealerError as e:
            yield finding.fail('provisioner', e.sentence,
                               e.hint or 'mend that setting')
    yield from _warned(said)


def _local(host: Host, conf: cfg.ConfigOpts) -> Iterator[Finding]:
    """The file of the local provisioner, and whether it can be changed."""
    subject, path = 'local_file', conf[opts.GROUP].local_file
    real = os.path.realpath(host.tree.path(path))
    try:
        document = local_file.load(real)
        mistakes = local_mistakes.find(document)
    except exception.HealerError as e:
        yield finding.fail(subject, e.sentence, e.hint or 'mend it; the '
                           'vendor\'s guide has the format')
        return
    yield finding.ok(subject, f'{path}: {local_mistakes.counted(document)}')
    yield from check_files.replaceable(host, conf, subject, path)
    for one in mistakes:
        say = finding.fail if one.serious else finding.warn
        yield say(subject, one.sentence, one.hint)


def online(conf: cfg.ConfigOpts, probe: Probe,
           said: list[str]) -> Iterator[Finding]:
    """What the provisioner answers.

    :param said: warnings that have been told already.
    """
    heard: list[str] = []
    with _listening(heard):
        try:
            sentence, volumes = probe(conf)
            found = [finding.ok(ONLINE, sentence), *_volumes(volumes)]
        except exception.HealerError as e:
            found = [finding.fail(ONLINE, e.sentence, e.hint or _way_out(e))]
        except Exception as e:  # noqa: BLE001 - a foreign module raises all
            found = [_bug(f'{type(e).__name__}: {e}')]
    yield from _warned([one for one in heard if one not in said])
    yield from found


def _volumes(answer: object) -> Iterator[Finding]:
    """What was answered about the volumes of this host."""
    if not isinstance(answer, Mapping) or not all(
            isinstance(one, base.Volume) for one in answer.values()):
        yield _bug(f'volumes() gives {type(answer).__name__}, not Volumes '
                   'by their ids')
        return
    yield finding.ok(ONLINE, f'volumes of this host: {len(answer)}')
    for name, one in answer.items():
        if one.nonsense is not None:
            yield finding.fail(
                ONLINE, f'volume {name}: {one.nonsense}',
                'it is not healed until the provisioner says better')


def _bug(what: str) -> Finding:
    return finding.fail(ONLINE, f'a bug in the plugin: {what}',
                        'report it to who made the plugin; it may raise '
                        'nothing but ProvisionerError')


def _way_out(e: exception.HealerError) -> str:
    match e:
        case exception.ConfigError():
            return 'mend that setting'
        case exception.ProvisionerUnreachable():
            return "see its log and this host's network"
        case exception.ProvisionerNonsense():
            return 'is it a provisioner of this kind, and of what version?'
        case _:
            return "see the provisioner's log"


@contextlib.contextmanager
def _listening(heard: list[str]) -> Iterator[None]:
    """What is logged as a warning goes into a list, not to the terminal."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if not record.name.startswith('urllib3') and text not in heard:
                heard.append(text)      # urllib3's is in the error

    ear, root = Ear(logging.WARNING), logging.getLogger()
    root.addHandler(ear)
    try:
        with warnings.catch_warnings():     # urllib3's again
            warnings.simplefilter('ignore')
            yield
    finally:
        root.removeHandler(ear)


def _warned(sentences: list[str]) -> Iterator[Finding]:
    for sentence in sentences:
        yield finding.warn('provisioner', sentence,
                           "see the vendor's page in the documentation")
