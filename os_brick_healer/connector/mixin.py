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
"""What makes os-brick's NVMe-oF connector heal.

os-brick's public methods take its host-wide lock inside; ours run around
them, outside the lock, and write down what is being done. What must happen
under the lock happens in the protected methods that os-brick calls there. A
protected method that is called outside of an operation of ours (os-brick's
own tests do it) behaves as os-brick's.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import contextvars
from typing import Any

from os_brick_healer.connector import attach, brick, detach, flow, grow
from os_brick_healer.connector import context as context_lib
from os_brick_healer.connector import legs as legs_lib

#: The operation that this thread is in. nova shares one connector among its
#: threads, so it cannot be an attribute.
_FLOW: contextvars.ContextVar[flow.Flow | None] = contextvars.ContextVar(
    'os_brick_healer_flow', default=None)


@contextlib.contextmanager
def _during(one: flow.Flow) -> Iterator[None]:
    token = _FLOW.set(one)
    try:
        yield
    finally:
        _FLOW.reset(token)


class HealerMixin:
    """Put it before os-brick's NVMeOFConnector (or a subclass of it).

    :cvar healer_context: what it works with; None: this process's own.
    """

    healer_context: context_lib.Context | None = None

    def _healer(self) -> context_lib.Context:
        return self.healer_context or context_lib.default()

    # Public: outside the lock ------------------------------------------------

    def connect_volume(self, connection_properties: dict[str, Any],
                       ) -> dict[str, str]:
        """Connect; a replicated volume with its legs as they are now."""
        connect = super().connect_volume  # type: ignore[misc]
        if not legs_lib.is_replicated(connection_properties):
            return connect(connection_properties)  # type: ignore[no-any-return]
        one = attach.Attach(self, self._healer(), connection_properties)
        with _during(one):
            return one.run(connect)

    def disconnect_volume(self, connection_properties: dict[str, Any],
                          device_info: Mapping[str, str] | None = None,
                          force: bool = False,
                          ignore_errors: bool = False) -> None:
        """Disconnect; a replicated volume with every leg it has now."""
        disconnect = super().disconnect_volume  # type: ignore[misc]
        within = _FLOW.get()
        if isinstance(within, attach.Attach):
            # os-brick undoes the attach of an encrypted volume; it passes
            # what it was about to return in place of the properties.
            device_info = connection_properties
            connection_properties = within.connection()
        if not legs_lib.is_replicated(connection_properties):
            disconnect(connection_properties, device_info, force,
                       ignore_errors)
            return
        one = detach.Detach(self, self._healer(), connection_properties)
        with _during(one):
            one.run(lambda props: disconnect(props, device_info, force,
                                             ignore_errors),
                    self._disconnect_leftovers)

    def extend_volume(self, connection_properties: dict[str, Any]) -> int:
        """Extend; a replicated volume once every leg has its new size."""
        extend = super().extend_volume  # type: ignore[misc]
        if not legs_lib.is_replicated(connection_properties):
            return extend(connection_properties)  # type: ignore[no-any-return]
        one = grow.Grow(self, self._healer(), connection_properties)
        with _during(one):
            return one.run(lambda: extend(connection_properties))

    # Protected: under the lock -----------------------------------------------

    def _connect_target(self, target: Any) -> str:
        one = _FLOW.get()
        if isinstance(one, attach.Attach):
            one.check_leg(target)
        return super()._connect_target(target)  # type: ignore[misc, no-any-return]

    def run_nvme_cli(self, nvme_command: Sequence[str],
                     **kwargs: Any) -> tuple[str, str]:
        """Run nvme-cli; connections get the stall parameters."""
        one = _FLOW.get()
        if isinstance(one, attach.Attach):
            nvme_command = one.nvme_command(list(nvme_command))
        return super().run_nvme_cli(  # type: ignore[misc, no-any-return]
            nvme_command, **kwargs)

    def _handle_replicated_volume(self, host_device_paths: list[str],
                                  conn_props: Any) -> str:
        one = _FLOW.get()
        if isinstance(one, attach.Attach):
            return one.assemble(host_device_paths)
        return super()._handle_replicated_volume(  # type: ignore[misc, no-any-return]
            host_device_paths, conn_props)

    def run_mdadm(self, cmd: Sequence[str], *args: Any,
                  **kwargs: Any) -> str | None:
        """Run mdadm; see the operations for what they change."""
        run = super().run_mdadm  # type: ignore[misc]
        one = _FLOW.get()
        if isinstance(one, attach.Attach) and '-C' in cmd:
            # With its error: os-brick would wait a minute for the device.
            return run(one.mdadm_command(list(cmd)), True)  # type: ignore[no-any-return]
        if isinstance(one, grow.Grow) and '--grow' in cmd:
            one.before_grow(cmd[-1])
            with one.growing(cmd[-1]):
                answer: str | None = run(cmd)
            one.after_grow(answer)
            return answer
        return run(cmd, *args, **kwargs)  # type: ignore[no-any-return]

    def end_raid(self, device_path: str) -> None:
        """Stop the array; when it returns, the array is gone."""
        one = _FLOW.get()
        if not isinstance(one, detach.Detach):
            super().end_raid(device_path)  # type: ignore[misc]
            return
        path = one.before_stop(device_path)
        with one.stopping():
            super().end_raid(path)  # type: ignore[misc]
        one.after_stop()

    def _try_disconnect_all(self, *args: Any, **kwargs: Any) -> None:
        one = _FLOW.get()
        if isinstance(one, attach.Attach):
            one.clear_away()
        super()._try_disconnect_all(*args, **kwargs)  # type: ignore[misc]

    def _try_disconnect(self, portal: Any) -> None:
        one = _FLOW.get()
        if one is not None and one.disconnected(portal.controller):
            return
        super()._try_disconnect(portal)  # type: ignore[misc]

    @brick.synchronized(  # type: ignore[untyped-decorator]
        'connect_volume', external=True)
    def _disconnect_leftovers(self) -> None:
        one = _FLOW.get()
        assert isinstance(one, detach.Detach)
        one.leftovers()
