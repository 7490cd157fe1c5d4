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
"""The sources of attachments that the operator named."""

from collections.abc import Callable

from oslo_config import cfg

from os_brick_healer import exception, plugins
from os_brick_healer.attachments import base
from os_brick_healer.conf import opts

NAMESPACE = 'os_brick_healer.attachments'

Find = Callable[[str], object]


def load(conf: cfg.ConfigOpts, host: str, name: str,
         find: Find | None = None) -> base.AttachmentSource:
    """One source.

    :param host: what nova calls this host.
    :raises ConfigError: there is none of that name, or it does not load.
    """
    plugin = _find(name) if find is None else find(name)
    if not (isinstance(plugin, type)
            and issubclass(plugin, base.AttachmentSource)
            and isinstance(getattr(plugin, 'guarantees', None),
                           base.Guarantees)):
        raise _cannot(name, f'{plugin!r} is not an AttachmentSource class '
                      'that declares its guarantees', None)
    try:
        return plugin(conf, host)
    except exception.HealerError:
        raise
    except Exception as error:
        # Its text may hold anything, a password for one.
        raise _cannot(name, f'it raises {type(error).__name__}',
                      None) from error


def installed() -> tuple[str, ...]:
    """The names of all sources; none of them is imported."""
    return plugins.installed(NAMESPACE)


def _find(name: str) -> object:
    return plugins.find(NAMESPACE, name,
                        f'[{opts.GROUP}] attachment_sources', _cannot)


def _cannot(name: str, cause: str, hint: str | None,
            ) -> exception.ConfigError:
    return exception.ConfigError(
        f'cannot load the attachment source {name}: because {cause}',
        hint=hint)
