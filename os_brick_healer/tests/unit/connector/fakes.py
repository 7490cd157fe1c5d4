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
"""A world for connectors in which nothing is real."""

from collections.abc import Callable, Mapping
import pathlib
import tempfile

from os_brick_healer import exception
from os_brick_healer.connector import ask, context, host, records
from os_brick_healer.engine import journal
from os_brick_healer.provisioner import base
from os_brick_healer.sysfs import reader

DEFAULTS = context.Settings()


def unreachable() -> Mapping[base.VolumeId, base.Volume]:
    raise exception.ProvisionerUnreachable(
        'cannot ask the provisioner: because this is a test')


def no_journal() -> journal.Journal:
    raise exception.JournalError('cannot open the journal: because this is '
                                 'a test')


def build(root: str, *,
          volumes: Callable[[], ask.Volumes] = unreachable,
          open_journal: Callable[[], journal.Journal] = no_journal,
          settings: context.Settings = DEFAULTS,
          **changes: object) -> context.Context:
    """A context over a directory that stands for /."""
    parts: dict[str, object] = {
        'settings': lambda: settings,
        'records': records.Records(open_journal),
        'asker': ask.Asker(volumes),
        'release': lambda key: None,
        'host': host.Host(reader.Tree(root)),
        'delete_controller': lambda *a: True,
        'clear_failfast': lambda *a: True,
        'set_reconnect_delay': lambda *a: True,
        'answering': lambda portals, timeout_s: portals,
        'background': lambda what: what(),
        'sleep': lambda seconds: None,
    }
    return context.Context(**(parts | changes))  # type: ignore[arg-type]


def nothing() -> context.Context:
    """No provisioner, no journal, no agent, and an empty host."""
    return build(str(pathlib.Path(tempfile.gettempdir()) / 'nothing'))
