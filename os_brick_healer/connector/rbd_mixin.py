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
"""What makes os-brick's RBD connector heal.

Locally attached images are mapped by rbd-nbd where ``rbd_mounter`` says so;
all else is os-brick's.
"""

from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import files, opts
from os_brick_healer.connector import brick, hook, rbd_source

MOUNTER = 'rbd-nbd'


class RbdMixin:
    """Put it before os-brick's RBDConnector (or a subclass of it).

    :cvar healer_mapper: what it works with; None: this process's own.
    :cvar healer_conf: the configuration; None: this process's own.
    """

    healer_mapper: Any = None
    healer_conf: cfg.ConfigOpts | None = None
    do_local_attach: bool

    def _mapper(self) -> Any:
        from os_brick_healer.connector import mapper  # noqa: PLC0415
        return self.healer_mapper or mapper.default()

    def _wanted(self, properties: Mapping[str, Any]) -> bool:
        """Whether this attach is one for a process."""
        if not properties.get('do_local_attach', self.do_local_attach):
            return False
        conf = self.healer_conf or files.beside(cfg.CONF)
        return bool(conf[opts.GROUP].rbd_mounter == MOUNTER)

    def connect_volume(self, connection_properties: dict[str, Any],
                       ) -> dict[str, Any]:
        """Map by rbd-nbd if that is wanted, and see to the agent."""
        connect = super().connect_volume  # type: ignore[misc]
        if not self._wanted(connection_properties):
            return connect(connection_properties)  # type: ignore[no-any-return]
        try:
            source = rbd_source.source_of(connection_properties)
            volume = rbd_source.volume_of(connection_properties)
            path = self._mapper().map(volume, source['image'], MOUNTER,
                                      source)
        except exception.HealerError as e:
            raise brick.refusal(str(e)) from e
        hook.ensure_running(self)
        return {'type': 'block', 'path': path}

    def disconnect_volume(self, connection_properties: dict[str, Any],
                          device_info: Mapping[str, Any] | None = None,
                          force: bool = False,
                          ignore_errors: bool = False) -> None:
        """Unmap what a process serves, whatever is configured now."""
        disconnect = super().disconnect_volume  # type: ignore[misc]
        volume = self._mapped(connection_properties)
        if volume is None:
            disconnect(connection_properties, device_info, force,
                       ignore_errors)
            return
        try:
            self._mapper().unmap(volume, MOUNTER,
                                 _words(connection_properties))
        except exception.HealerError as e:
            if not ignore_errors:
                raise brick.refusal(str(e)) from e

    def extend_volume(self, connection_properties: dict[str, Any]) -> Any:
        """The size that the device has, now that its image has grown."""
        volume = self._mapped(connection_properties)
        if volume is None:
            extend = super().extend_volume  # type: ignore[misc]
            return extend(connection_properties)
        try:
            return self._mapper().extend(volume)
        except exception.HealerError as e:
            raise brick.refusal(str(e)) from e

    def _mapped(self, properties: Mapping[str, Any]) -> str | None:
        """The id of a volume that a process serves here, else None."""
        if not properties.get('do_local_attach', self.do_local_attach):
            return None
        try:
            volume = rbd_source.volume_of(properties)
            return volume if self._mapper().is_mapped(volume) else None
        except exception.HealerError:
            return None


def _words(properties: Mapping[str, Any]) -> Mapping[str, object]:
    """What names the image, if its row does not: properties that could not
    be mapped with (they carry the secret) can be unmapped with."""
    try:
        return rbd_source.source_of(properties)
    except exception.HealerError:
        return {}
