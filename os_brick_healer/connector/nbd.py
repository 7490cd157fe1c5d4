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
"""os-brick's factory builds this for protocol ``NBD``, which it lacks.

Connection properties: ``volume_id``; ``source``, in the words of the mounter
(``{'file': '/srv/volumes/a.img'}``); ``mounter``, ``nbd`` without it.
"""

from collections.abc import Mapping
from typing import Any

from os_brick_healer import exception
from os_brick_healer.connector import brick, hook, mapper

DEFAULT_MOUNTER = 'nbd'


class HealingNBDConnector(brick.BaseLinuxConnector):  # type: ignore[misc]
    """Volumes that a userspace process serves as a network block device."""

    #: What it works with; None: this process's own.
    healer_mapper: mapper.Mapper | None = None

    def _mapper(self) -> mapper.Mapper:
        return self.healer_mapper or mapper.default()

    @staticmethod
    def get_connector_properties(*_args: Any, **_kwargs: Any,
                                 ) -> dict[str, Any]:
        """Nothing is needed of the host to map by a process."""
        return {}

    def connect_volume(self, connection_properties: Mapping[str, Any],
                       ) -> dict[str, str]:
        """Map, and see to it that the agent runs."""
        volume = str(connection_properties['volume_id'])
        try:
            path = self._mapper().map(
                volume, str(connection_properties.get('alias') or volume),
                _mounter(connection_properties),
                mapper.source_of(connection_properties))
        except exception.HealerError as e:
            raise brick.refusal(str(e)) from e
        hook.ensure_running(self)
        return {'type': 'block', 'path': path}

    def disconnect_volume(self, connection_properties: Mapping[str, Any],
                          device_info: Mapping[str, str] | None = None,
                          force: bool = False,
                          ignore_errors: bool = False) -> None:
        """Unmap, by the device that is written down."""
        del device_info, force
        try:
            self._mapper().unmap(
                str(connection_properties['volume_id']),
                _mounter(connection_properties),
                mapper.source_of(connection_properties))
        except exception.HealerError as e:
            if not ignore_errors:
                raise brick.refusal(str(e)) from e

    def get_volume_paths(self, connection_properties: Mapping[str, Any],
                         ) -> list[str]:
        """The device of a volume, if it is mapped."""
        found = self._mapper().path(str(connection_properties['volume_id']))
        return [] if found is None else [found]

    def get_search_path(self) -> str:
        """Where devices are."""
        return '/dev'

    def get_all_available_volumes(self, connection_properties: Any = None,
                                  ) -> list[str]:
        """Nobody can tell what could be mapped."""
        del connection_properties
        return []

    def check_valid_device(self, path: str, run_as_root: bool = True,
                           ) -> bool:
        """Whether it is a device of a mapped volume."""
        del run_as_root
        return self._mapper().is_device(path)

    def extend_volume(self, connection_properties: Mapping[str, Any]) -> int:
        """The size that the device has now."""
        try:
            return self._mapper().size_bytes(
                str(connection_properties['volume_id']))
        except exception.HealerError as e:
            raise brick.refusal(str(e)) from e


def _mounter(properties: Mapping[str, Any]) -> str:
    return str(properties.get('mounter') or DEFAULT_MOUNTER)
