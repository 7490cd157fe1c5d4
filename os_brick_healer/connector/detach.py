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
"""Disconnecting a replicated volume."""

from collections.abc import Callable, Mapping
import contextlib
import logging
from typing import Any

from os_brick_healer import exception
from os_brick_healer.connector import brick, flow, guard, trouble
from os_brick_healer.connector import context as context_lib
from os_brick_healer.connector import host as host_lib
from os_brick_healer.connector import legs as legs_lib
from os_brick_healer.sysfs import parse

LOG = logging.getLogger(__name__)


class Detach(flow.Flow):
    """One disconnect_volume.

    The legs are all that anybody names: nova, the journal, the provisioner
    (also those that it calls bad), and the array as it is now.
    """

    def __init__(self, connector: Any, context: context_lib.Context,
                 props: Mapping[str, Any]) -> None:
        super().__init__(connector, context, props)
        self.known = context.records.known(self.volume)
        self.after = self.known
        self._members: tuple[legs_lib.Leg, ...] = ()

    def run(self, disconnect: Callable[[dict[str, Any]], None],
            leftovers: Callable[[], None]) -> None:
        """Let go, disconnect, and leave no controller behind.

        :param leftovers: calls :meth:`leftovers` under os-brick's lock.
        """
        records = self.context.records
        records.detach_begin(self.key)
        self._release()
        resolved = self.resolve()
        self.legs = legs_lib.union(resolved.legs, resolved.bad,
                                   self.remembered(), self.legs)
        try:
            disconnect(dict(self.props) | {
                'volume_replicas': [legs_lib.to_replica(x)
                                    for x in self.legs]})
            # Replicas that came, were refused, and went: nobody else knows
            # that the kernel still tries to reach them.
            self.legs = legs_lib.union(
                self.legs, self.context.records.former(self.volume))
            leftovers()
        except BaseException:
            if self._our_array() is not None:
                records.attach_done(self.key)   # it is attached as before
            raise
        if self.after is not self.known:
            records.remember(self.volume, self.after, self._members)
        records.detach_done(self.key)

    def _release(self) -> None:
        try:
            self.context.release(self.key)
        except exception.HealerError as e:
            LOG.info('the agent was not told to let go of volume %s: %s',
                     self.volume, e)
        except Exception as e:  # noqa: BLE001 - never worth a detach
            trouble.tell('agent', f'cannot ask the agent to let go: {e}')

    def _our_array(self) -> host_lib.Array | None:
        array = self.array(self.known.array_uuid)
        if (array is not None and self.known.array_uuid is not None
                and array.uuid not in (None, self.known.array_uuid)):
            return None
        return array

    # Called under os-brick's lock --------------------------------------------

    def before_stop(self, device_path: str) -> str:
        """Make ready to stop the array; the path of what is to be stopped.

        MD writes superblocks and the bitmap when it stops. A write to a leg
        whose path is dead waits until the path is back: mdadm would hang,
        and with it every attach of this host.
        """
        array = self._our_array()
        if array is None:
            self._check_stranger(device_path)
            return device_path
        self._members = self.host.members(array)
        self.legs = legs_lib.union(self.legs, self._members)
        self.drop_dead_legs(array)
        self._note(array)
        if self.host.array_behind(device_path) == array.name:
            return device_path
        return f'/dev/{array.name}'

    def stopping(self) -> contextlib.AbstractContextManager[None]:
        """Around mdadm --stop."""
        return self.watching(self._our_array)

    def _check_stranger(self, device_path: str) -> None:
        name = self.host.array_behind(device_path)
        array = None if name is None else self.host.array(name)
        if (array is not None and self.known.array_uuid is not None
                and array.uuid not in (None, self.known.array_uuid)):
            raise self.refuse(
                f'cannot stop {device_path}: because it is array '
                f'{array.uuid}, and this volume is {self.known.array_uuid}',
                'it is left alone')

    def _note(self, array: host_lib.Array) -> None:
        """Which legs hold every write: nothing is written from here on."""
        legs = self.host.devices_of(self.legs)
        self._in_sync = {f'/dev/{name}': legs[name].key
                         for name in array.in_sync if name in legs}
        self.after = guard.Known(
            array_uuid=array.uuid or self.known.array_uuid,
            events=self.known.events,
            in_sync=frozenset(self._in_sync.values()))

    def after_stop(self) -> None:
        """The array must be gone before its legs go."""
        array = self._our_array()
        if array is not None and array.running:
            raise self.refuse(
                f'cannot disconnect volume {self.volume}: because its array '
                f'{array.name} could not be stopped',
                'something still uses it; its legs stay connected')
        if self.after.in_sync:
            self._note_events()

    def _note_events(self) -> None:
        found = []
        for path in self._in_sync:
            try:
                out, _ = self.execute('mdadm', '--examine', '--export', path)
            except Exception as e:  # noqa: BLE001 - only a memory is poorer
                LOG.warning('cannot read the events of %s: %s', path, e)
                continue
            words = parse.exported(out)
            if words.get('MD_EVENTS', '').isdigit():
                found.append(int(words['MD_EVENTS']))
        self.after = guard.Known(
            array_uuid=self.after.array_uuid, in_sync=self.after.in_sync,
            events=max(found, default=self.after.events))

    def leftovers(self) -> None:
        """Controllers of the volume that os-brick did not disconnect.

        It leaves them behind when the path is gone, when the device cannot
        be found, and when it never knew of the leg.
        """
        array = self._our_array()
        if array is not None and array.running:   # only its path was gone
            self.connector.end_raid(f'/dev/{array.name}')
        self.stop_unstarted()
        for controller in self.host.controllers_of(self.legs):
            why = host_lib.in_the_way(controller, self.legs)
            if why is not None:
                LOG.warning('%s stays connected: %s', controller.name, why)
                continue
            try:
                self.disconnect(controller)
            except (exception.HealerError,
                    brick.ProcessExecutionError) as e:
                LOG.warning('cannot disconnect %s: %s', controller.name, e)
