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
"""What connect, disconnect and extend have in common."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import logging
import threading
from typing import Any

from os_brick_healer import exception
from os_brick_healer.connector import brick, resolve, trouble
from os_brick_healer.connector import context as context_lib
from os_brick_healer.connector import host as host_lib
from os_brick_healer.connector import legs as legs_lib

LOG = logging.getLogger(__name__)

Leg = legs_lib.Leg

#: While mdadm works on an array, its legs are looked at this often.
WATCH_S = 0.5


class Flow:
    """One operation of nova on one replicated volume.

    :param connector: os-brick's connector, ours as a subclass of it.
    """

    def __init__(self, connector: Any, context: context_lib.Context,
                 props: Mapping[str, Any]) -> None:
        self.connector = connector
        self.context = context
        self.settings = context.settings()
        self.host = context.host
        self.props = props
        self.volume = resolve.volume_key(props)
        self.row = context.records.row(self.volume)
        self.key = self.row.volume if self.row is not None else self.volume
        self.legs: tuple[Leg, ...] = legs_lib.of_connection(props)

    def remembered(self) -> tuple[Leg, ...]:
        """The legs that were written down for the volume."""
        kept = self.context.records.legs(self.volume)
        if self.row is None:
            return kept
        return legs_lib.union(kept, legs_lib.of_record(self.row.connection))

    def resolve(self) -> resolve.Resolved:
        """The legs as they are now; asks the provisioner, never raises."""
        volume, error = None, None
        try:
            volumes = self.context.asker.ask(self.settings.resolve_timeout_s)
            volume = resolve.find(self.props, volumes)
        except exception.HealerError as e:
            error = str(e)
            trouble.TROUBLES.add('provisioner')
        found = resolve.resolve(self.props, volume, error, self.remembered())
        if self.row is not None:
            found = dataclasses.replace(found, key=self.row.volume)
        (LOG.info if found.fresh else LOG.warning)('%s', found.sentence)
        return found

    def array(self, uuid: str | None) -> host_lib.Array | None:
        """The volume's array: by its UUID, or by a leg that it holds."""
        if uuid is not None:
            array = self.host.array_with_uuid(uuid)
            if array is not None:
                return array
        devices = tuple(self.host.devices_of(self.legs))
        arrays = self.host.arrays_on(devices)
        return arrays[0] if len(arrays) == 1 else None

    def execute(self, *command: str) -> tuple[str, str]:
        """Run a command as os-brick does, with a deadline."""
        out, err = self.connector._execute(
            *command, run_as_root=True,
            root_helper=self.connector._root_helper,
            timeout=int(self.settings.command_timeout_s))
        return out or '', err or ''

    def refuse(self, sentence: str, hint: str) -> Exception:
        """What nova gets to see."""
        return brick.refusal(f'{sentence} ({hint})')

    # Legs that die under a command ------------------------------------------

    def drop_dead_legs(self, array: host_lib.Array) -> None:
        """Delete the controllers of legs without a live path.

        MD writes superblocks and the bitmap when it is stopped or grown. A
        write to a leg whose path is dead waits until the path is back:
        mdadm would hang, and with it every attach of this host. The agent
        keeps its hands off while os-brick works, so it is done here, by the
        agent's rule: only while another in-sync leg is live.
        """
        members = set(array.members)
        legs = [(c, here) for c in self.host.controllers()
                if (here := {ns.device for ns in c.namespaces} & members)]
        live = {d for c, here in legs if c.live for d in here}
        dead = [c for c, here in legs if not here & live]
        if not dead:
            return
        if not live & set(array.in_sync):
            raise self.refuse(
                f'cannot change array {array.name}: because no leg of it '
                'can be reached, and mdadm would wait for one with every '
                'other attachment of this host behind it',
                'try again when a leg is back')
        for controller in dead:
            LOG.warning('%s is dead and is given up so that %s can be '
                        'changed', controller.name, array.name)
            self.disconnect(controller, idle=False)

    @contextlib.contextmanager
    def watching(self, find: Callable[[], host_lib.Array | None],
                 ) -> Iterator[None]:
        """While mdadm works on an array, drop a leg that dies meanwhile.

        A leg whose target has gone silent is still ``live`` until its
        keep-alive runs out: it dies, often enough, right under mdadm.
        """
        over = threading.Event()
        watcher = threading.Thread(
            target=self._watch, args=(over, find), daemon=True,
            name='os-brick-healer-watch')
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join(WATCH_S)

    def _watch(self, over: threading.Event,
               find: Callable[[], host_lib.Array | None]) -> None:
        while not over.wait(WATCH_S):
            try:
                array = find()
                if array is not None:
                    self.drop_dead_legs(array)
            except Exception as e:  # noqa: BLE001 - the edge of a thread
                LOG.info('a leg of volume %s that died stays: %s',
                         self.volume, e)

    def stop_unstarted(self) -> None:
        """Stop what udev's mdadm -I has begun to put together.

        It takes every leg that appears, or that is written to, into an
        array that waits for the rest, and so holds the leg.
        """
        devices = tuple(self.host.devices_of(self.legs))
        for array in self.host.arrays_on(devices):
            if not array.running:
                self.connector.stop_raid(f'/dev/{array.name}')

    # Controllers ------------------------------------------------------------

    def disconnect(self, controller: host_lib.Controller,
                   idle: bool = True) -> None:
        """Delete a controller, the quickest way its state allows.

        A live one is told goodbye by nvme-cli, as os-brick does. One whose
        path is dead is deleted through sysfs: nvme-cli first looks at every
        namespace, which may wait for the dead path.
        """
        if controller.live:
            self.execute('nvme', 'disconnect', '-d', f'/dev/{controller.name}')
            return
        devices = {ns.device for ns in controller.namespaces}
        device = devices.pop() if len(devices) == 1 else None
        gone = self.context.delete_controller(
            controller, device, idle, self.settings.command_timeout_s)
        if not gone:
            LOG.warning('controller %s is still being deleted by the kernel',
                        controller.name)

    def disconnected(self, name: str | None) -> bool:
        """Take a controller that os-brick picked; False: it is unknown.

        os-brick counts namespaces; whether an array holds one it does not
        ask, and that a dead path makes nvme-cli wait it does not know.
        """
        for controller in self.host.controllers_of(self.legs):
            if controller.name == name:
                why = host_lib.in_the_way(controller, self.legs)
                if why is None:
                    self.disconnect(controller)
                else:
                    LOG.info('%s stays connected: %s', name, why)
                return True
        return False
