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
"""Growing the array of a volume that cinder has extended."""

from collections.abc import Callable, Iterator
import contextlib
import logging

from os_brick_healer.connector import brick, flow
from os_brick_healer.connector import host as host_lib

LOG = logging.getLogger(__name__)

WAIT_S = 0.2
#: Tries until every leg must show its new size.
TRIES = 50
#: Tries for the first leg to change when the new size is not known.
SETTLE_TRIES = 10


class Grow(flow.Flow):
    """One extend_volume."""

    def run(self, extend: Callable[[], int]) -> int:
        """Ask for the wanted size, write down, grow, write down."""
        self.wanted = self.resolve().size_bytes
        self.context.records.extend_begin(self.key)
        try:
            return extend()
        finally:
            self.context.records.extend_done(self.key)

    # Called under os-brick's lock --------------------------------------------

    def before_grow(self, md_path: str) -> None:
        """Every leg must have its new size, or MD grows to the smallest.

        A target need not tell its hosts that a namespace has grown (it is an
        optional event), so each controller is asked to look.
        """
        array = self._array_at(md_path)
        if array is None:
            LOG.warning('%s is grown without a look at its legs: sysfs does '
                        'not show it', md_path)
            return
        self.drop_dead_legs(array)
        array = self._array_at(md_path) or array
        before = self._sizes(array)
        self._rescan(array)
        if self.wanted is None:
            self._settle(array, before)
        for _ in range(TRIES):
            small = self._small(array)
            if not small:
                return
            self.context.sleep(WAIT_S)
        raise self.refuse(
            f'cannot grow {md_path}: because ' + '; '.join(small),
            'the array keeps its size; extend again when every leg has the '
            'new size')

    @contextlib.contextmanager
    def growing(self, md_path: str) -> Iterator[None]:
        """Around mdadm --grow."""
        with (self.watching(lambda: self._array_at(md_path)),
              self._copy_paused(md_path)):
            yield

    @contextlib.contextmanager
    def _copy_paused(self, md_path: str) -> Iterator[None]:
        """MD changes no size while it copies (md.c, update_size: EBUSY).

        It goes on from where it was, and to the new end.
        """
        array = self._array_at(md_path)
        if array is None or not self.host.copying(array.name):
            yield
            return
        device = f'/dev/{array.name}'
        LOG.info('%s copies to a new leg: that waits while it grows', device)
        self.execute('mdadm', '--action=frozen', device)
        try:
            yield
        finally:
            self._go_on(device)

    def _go_on(self, device: str) -> None:
        try:
            self.execute('mdadm', '--action=idle', device)
        except brick.ProcessExecutionError as e:
            LOG.error('cannot let MD go on with the copy to the new leg of '
                      '%s: because %s; write idle to its sync_action',
                      device, e)

    def _array_at(self, md_path: str) -> host_lib.Array | None:
        name = self.host.array_behind(md_path)
        return None if name is None else self.host.array(name)

    def _rescan(self, array: host_lib.Array) -> None:
        for controller in self.host.controllers():
            here = any(ns.device in array.members
                       for ns in controller.namespaces)
            if here and controller.live:
                self.connector.rescan(controller.name)

    def _sizes(self, array: host_lib.Array) -> dict[str, int | None]:
        return {m: self.host.size_bytes(m) for m in array.members}

    def _settle(self, array: host_lib.Array,
                before: dict[str, int | None]) -> None:
        for _ in range(SETTLE_TRIES):
            if self._sizes(array) != before:
                return
            self.context.sleep(WAIT_S)

    def _small(self, array: host_lib.Array) -> list[str]:
        sizes = self._sizes(array)
        wanted = self.wanted or max(
            (s for s in sizes.values() if s is not None), default=0)
        return [f'leg {name} has {size} bytes and {wanted} are wanted'
                for name, size in sizes.items()
                if size is None or size < wanted]

    def after_grow(self, answer: str | None) -> None:
        """os-brick's run_mdadm gives back None when mdadm failed."""
        if answer is None:
            raise self.refuse(
                f'cannot grow the array of volume {self.volume}: because '
                'mdadm refused', 'its message is in the log above')
