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
"""The sources of attachments: their plugins, settings, and answers."""

from collections.abc import Callable, Iterator, Mapping

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.attachments import base, loader
from os_brick_healer.cli import finding, offline
from os_brick_healer.cli.finding import Finding
from os_brick_healer.conf import opts
from os_brick_healer.provisioner import loader as provisioner_loader

JOURNAL = 'journal'
#: In the journal, the wing's rows (mapping.model.KIND).
KIND = 'mapping'
#: Makes a source by its name; may raise HealerError.
Load = Callable[[cfg.ConfigOpts, str, str], base.AttachmentSource]


def sources(conf: cfg.ConfigOpts, *, online: bool,
            load: Load = loader.load) -> Iterator[Finding]:
    """Every source that is named, but for the journal itself.

    :param online: ask them, too.
    """
    host = provisioner_loader.host_name(conf)
    mapped = _mapped(conf) if online else {}
    for name in conf[opts.GROUP].attachment_sources:
        if name == JOURNAL:
            continue        # its own line speaks of it
        subject = f'source {name}'
        try:
            source = load(conf, host, name)
        except exception.HealerError as e:
            yield finding.fail(subject, e.sentence, e.hint or (
                f'pip install os-brick-healer[{name}], or mend that setting'))
            continue
        try:
            yield from _asked(subject, source, online, mapped)
        finally:
            source.close()


def _mapped(conf: cfg.ConfigOpts) -> dict[str, str]:
    """Volumes that are mapped here by the journal, and their mounters."""
    rows = offline.look(conf[opts.GROUP].state_path).attachments
    return {row.volume: str(row.connection.get('mounter')) for row in rows
            if row.kind == KIND and row.state == 'attached'}


def _asked(subject: str, source: base.AttachmentSource, online: bool,
           mapped: Mapping[str, str]) -> Iterator[Finding]:
    yield finding.ok(subject, f'of host {source.host}')
    if not online:
        return
    try:
        sentence = source.probe()
        told = source.listing(frozenset(
            volume for volume, mounter in mapped.items()
            if source.concerns(volume, mounter)))
    except exception.HealerError as e:
        yield finding.warn(
            f'{subject} online', e.sentence, e.hint or 'see its log and '
            "this host's network; the journal counts meanwhile")
    except Exception as e:  # noqa: BLE001 - a foreign module may raise all
        yield finding.fail(
            f'{subject} online', 'a bug in the plugin: '
            f'{type(e).__name__}', 'report it to who made the plugin; it '
            'may raise nothing but SourceError')
    else:
        yield finding.ok(f'{subject} online',
                         f'{sentence}: {len(told.here)} attachments')
        yield from _elsewhere(subject, source, told)


def _elsewhere(subject: str, source: base.AttachmentSource,
               told: base.Listing) -> Iterator[Finding]:
    """Volumes that would not be healed (law 8)."""
    for volume, hosts in sorted(told.elsewhere.items())[:1]:
        more = len(told.elsewhere) - 1
        yield finding.warn(
            f'{subject} online', f'it has volume {volume} attached to '
            f'{", ".join(hosts)}, and not to this host'
            f'{f", and {more} more like it" if more else ""}: a process '
            'that dies is not replaced',
            'well while a guest moves; else it knows this host by another '
            f'name than {source.host}: see host of nova.conf, or '
            'kubernetes_node')
