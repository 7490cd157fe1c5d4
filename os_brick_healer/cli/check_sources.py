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

from collections.abc import Callable, Iterator

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.attachments import base, loader
from os_brick_healer.cli import finding
from os_brick_healer.cli.finding import Finding
from os_brick_healer.conf import opts
from os_brick_healer.provisioner import loader as provisioner_loader

JOURNAL = 'journal'
#: Makes a source by its name; may raise HealerError.
Load = Callable[[cfg.ConfigOpts, str, str], base.AttachmentSource]


def sources(conf: cfg.ConfigOpts, *, online: bool,
            load: Load = loader.load) -> Iterator[Finding]:
    """Every source that is named, but for the journal itself.

    :param online: ask them, too.
    """
    host = provisioner_loader.host_name(conf)
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
            yield from _asked(subject, source, online)
        finally:
            source.close()


def _asked(subject: str, source: base.AttachmentSource,
           online: bool) -> Iterator[Finding]:
    yield finding.ok(subject, f'of host {source.host}')
    if not online:
        return
    try:
        sentence = source.probe()
        count = len(source.listing(frozenset()).here)
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
                         f'{sentence}: {count} attachments')
