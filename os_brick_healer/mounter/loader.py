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
"""The mounters that are installed on this host."""

from collections.abc import Callable
import logging
import threading

from os_brick_healer import exception, plugins
from os_brick_healer.mounter import base

LOG = logging.getLogger(__name__)

NAMESPACE = 'os_brick_healer.mounters'

Find = Callable[[str], object]


def load(name: str, find: Find | None = None) -> base.Mounter:
    """One mounter.

    :raises ConfigError: there is none of that name, or it does not load.
    """
    plugin = _find(name) if find is None else find(name)
    if not (isinstance(plugin, type) and issubclass(plugin, base.Mounter)
            and isinstance(getattr(plugin, 'abilities', None),
                           base.Abilities)):
        raise _cannot(name, f'{plugin!r} is not a Mounter class that '
                      'declares its abilities', None)
    try:
        return plugin()
    except Exception as error:
        raise _cannot(name, f'it raises {type(error).__name__}',
                      None) from error


def _find(name: str) -> object:
    return plugins.find(NAMESPACE, name, 'the mounter that was named',
                        _cannot)


def _cannot(name: str, cause: str,
            hint: str | None) -> exception.HealerError:
    return exception.ConfigError(
        f'cannot load the mounter plugin {name}: because {cause}', hint=hint)


class Mounters:
    """Mounters by name, each loaded once. Thread-safe.

    A mounter that does not load is told once, and is as if it were not
    there: volumes of the others go on.
    """

    def __init__(self, names: Callable[[], tuple[str, ...]] = (
            lambda: plugins.installed(NAMESPACE)),
                 find: Find | None = None) -> None:
        self._names = names
        self._find = find
        self._lock = threading.Lock()
        self._known: dict[str, base.Mounter | None] = {}
        self._programs: frozenset[str] | None = None

    def get(self, name: str) -> base.Mounter | None:
        """A mounter, None: there is none of that name."""
        with self._lock:
            if name not in self._known:
                try:
                    self._known[name] = load(name, self._find)
                except exception.HealerError as e:
                    LOG.error('%s; its volumes are not healed', e)
                    self._known[name] = None
            return self._known[name]

    def abilities(self, name: str) -> base.Abilities | None:
        """What a mounter declares, None: there is none of that name."""
        found = self.get(name)
        return None if found is None else found.abilities

    def programs(self) -> frozenset[str]:
        """The commands of all that are installed."""
        if self._programs is None:
            every = (self.get(name) for name in self._names())
            self._programs = frozenset(
                one.program for one in every if one is not None)
        return self._programs
