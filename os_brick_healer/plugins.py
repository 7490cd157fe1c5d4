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
"""Plugins by their entry points; the one place that knows stevedore."""

from collections.abc import Callable
from importlib import metadata

from stevedore import driver
from stevedore import exception as stevedore_exception

from os_brick_healer import exception

#: Makes the error of a plugin: its name, why, and a hint.
Cannot = Callable[[str, str, str | None], exception.HealerError]


def installed(namespace: str) -> tuple[str, ...]:
    """The names of all plugins; none of them is imported."""
    return tuple(sorted(
        {point.name for point in metadata.entry_points(group=namespace)}))


def find(namespace: str, name: str, option: str, cannot: Cannot) -> object:
    """What a plugin's entry point leads to.

    :param option: where the operator chose it, for the hint.
    :raises HealerError: as ``cannot`` makes it.
    """
    try:
        return driver.DriverManager(
            namespace, name, on_load_failure_callback=_raise,
            warn_on_missing_entrypoint=False).driver
    except stevedore_exception.MultipleMatches:
        found = metadata.entry_points(group=namespace, name=name)
        raise cannot(name, 'it is installed more than once: ' + ', '.join(
            sorted(point.value for point in found)),
            'uninstall all but one') from None
    except stevedore_exception.NoMatches:
        raise cannot(
            name, 'no such plugin is installed (there are: '
            f'{", ".join(installed(namespace)) or "none"})',
            'install the vendor\'s package beside os-brick-healer, or '
            f'change {option}') from None
    except Exception as error:
        raise cannot(
            name, f'its import fails with {type(error).__name__}: {error}',
            'reinstall the package it comes from') from error


def _raise(_manager: object, _point: object, error: BaseException) -> None:
    raise error
