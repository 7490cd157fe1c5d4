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
"""Targets, the network, and this host's controllers.

States and delays are those measured on Linux 6.1 (see the stall table in
the docs): a closed connection is ``connecting`` at once; in silence a
controller stays ``live`` until its keep-alive runs out; reconnects are
tried once a second, or take three seconds in silence; a deletion of a live
controller in silence waits for the I/O timer (30 s).
"""

from collections.abc import Callable, Iterable
import functools
import random

from os_brick_healer.provisioner import base
from os_brick_healer.replica import model
from os_brick_healer.tests.simulation import parts, timeline

State = model.PathState
RECONNECT_S = 1.0
SYN_S = 3.0
IO_TIMEOUT_S = 30.0


class Cut:
    """Something is between this host and some portals or targets."""

    def __init__(self, how: str, portals: Iterable[base.Portal] = (),
                 nqns: Iterable[str] = ()) -> None:
        self.how = how
        self.portals = frozenset(portals)
        self.nqns = frozenset(nqns)


class Fabric:
    """The NVMe side of the host.

    :param changed: called with the NQN when I/O through it may differ.
    """

    def __init__(self, time: timeline.Timeline, rng: random.Random,
                 changed: Callable[[str], None]) -> None:
        self.time = time
        self.rng = rng
        self.changed = changed
        self.targets: dict[str, parts.Target] = {}
        self.controllers: dict[str, parts.Controller] = {}
        self.subsystems: dict[str, int] = {}     # nqn -> number, as a name
        self.cuts: list[Cut] = []
        self._by_nqn: dict[str, list[parts.Controller]] = {}
        self.lost_devices: Callable[[parts.Disk], None] = lambda _d: None

    # The network -----------

    def portal_reach(self, portal: base.Portal) -> str:
        """What a TCP handshake with a portal comes to."""
        hows = [c.how for c in self.cuts if portal in c.portals]
        if parts.SILENT in hows:
            return parts.SILENT
        return parts.CLOSED if hows else parts.UP

    def reach(self, controller: parts.Controller) -> str:
        """What NVMe over a controller's connection comes to."""
        found = self.portal_reach(controller.portal)
        target = self.targets.get(controller.nqn)
        if found == parts.UP and (
                target is None or not target.exported or any(
                    controller.nqn in c.nqns for c in self.cuts)):
            return parts.CLOSED
        return found

    def cut(self, cut: Cut) -> None:
        self.cuts.append(cut)
        self._network_changed(cut)

    def mend(self, cut: Cut) -> None:
        if cut in self.cuts:
            self.cuts.remove(cut)
            self._network_changed(cut)

    def unexport(self, nqn: str) -> None:
        """A target is taken away for good."""
        self.targets[nqn].exported = False
        self._network_changed(Cut(parts.CLOSED, nqns=(nqn,)))

    def _network_changed(self, cut: Cut) -> None:
        for one in list(self.controllers.values()):
            if one.portal in cut.portals or one.nqn in cut.nqns:
                self._reached(one)

    def _set(self, one: parts.Controller, state: State) -> None:
        if one.state is not state:
            one.state, one.since_s = state, self.time.now_s
            self.changed(one.nqn)

    def _later(self, one: parts.Controller, seconds: float,
               call: Callable[[], None]) -> None:
        """Unless something else happens to it before."""
        epoch = one.epoch

        def _call() -> None:
            if one.epoch == epoch and not one.gone:
                call()

        self.time.after(seconds, _call)

    def _reached(self, one: parts.Controller) -> None:
        """The reach of a controller may have changed."""
        reach = self.reach(one)
        if one.gone or one.delete_begun:
            return
        one.epoch += 1
        if one.state is State.LIVE:
            self._live_reached(one, reach)
        elif one.state is State.CONNECTING and reach == parts.UP:
            self._later(one, self.rng.uniform(0.05, RECONNECT_S),
                        lambda: self._set(one, State.LIVE))
        elif one.state is State.RESETTING:
            self._later(one, 0.05, lambda: self._connecting(one))
        self.changed(one.nqn)

    def _live_reached(self, one: parts.Controller, reach: str) -> None:
        if reach != parts.SILENT:
            one.silent_since_s = None
        if reach == parts.CLOSED:
            self._later(one, 0.02, lambda: self._connecting(one))
        elif reach == parts.SILENT:
            if one.silent_since_s is None:
                one.silent_since_s = self.time.now_s
                one.keep_alive_at_s = self.time.now_s + self.rng.choice(
                    (0.0, one.kato_s / 4, one.kato_s / 2))
                one.noticed_at_s = self.time.now_s + one.kato_s + (
                    self.rng.uniform(0, one.kato_s + 1))
            # A second cut in the same silence does not start it anew.
            self._later(one, one.noticed_at_s - self.time.now_s,
                        lambda: self._connecting(one))

    def _connecting(self, one: parts.Controller) -> None:
        one.epoch += 1
        one.silent_since_s = None
        self._set(one, State.CONNECTING)
        if self.reach(one) == parts.UP:
            self._later(one, self.rng.uniform(0.05, RECONNECT_S),
                        lambda: self._set(one, State.LIVE))

    # What I/O comes to -----------

    def of_nqn(self, nqn: str) -> list[parts.Controller]:
        return self._by_nqn.get(nqn, [])

    def flow(self, disk: parts.Disk, *, failfast: bool = False) -> str:
        """What a request to a disk comes to now."""
        ways = self.of_nqn(disk.nqn)
        if not ways or disk.deleted:
            return parts.ERROR
        for one in ways:
            if one.state is State.LIVE and not one.delete_begun:
                if self.reach(one) == parts.UP:
                    return parts.ERROR if disk.sick else parts.OK
                return parts.HANG
        return parts.ERROR if failfast else parts.HANG

    def connected(self, disk: parts.Disk) -> bool:
        """Whether the disk is a block device here."""
        return bool(self.of_nqn(disk.nqn)) and not disk.deleted

    def device(self, disk: parts.Disk) -> str:
        """The kernel name of a connected disk's block device."""
        number = self.subsystems[disk.nqn]
        at = self.targets[disk.nqn].disks.index(disk) + 1
        return f'nvme{number}n{at}'

    # What is done to controllers -----------

    def find(self, nqn: str, portal: base.Portal) -> (
            parts.Controller | None):
        return next((c for c in self.of_nqn(nqn) if c.portal == portal
                     and not c.delete_begun), None)

    def connect(self, nqn: str, portal: base.Portal,
                kato_s: int) -> parts.Controller | None:
        """A new controller, live; None when nobody serves it."""
        target = self.targets.get(nqn)
        there = self.find(nqn, portal)
        if there is not None:
            return there
        if (target is None or not target.exported
                or portal not in target.portals
                or self.portal_reach(portal) != parts.UP
                or any(nqn in c.nqns for c in self.cuts)):
            return None
        if nqn not in self.subsystems:
            self.subsystems[nqn] = _smallest(self.subsystems.values())
        number = _smallest(int(n[4:]) for n in self.controllers)
        one = parts.Controller(
            name=f'nvme{number}', nqn=nqn, portal=portal, kato_s=kato_s,
            state=State.LIVE, since_s=self.time.now_s)
        self.controllers[one.name] = one
        self._by_nqn.setdefault(nqn, []).append(one)
        self.changed(nqn)
        return one

    def destroy_sockets(self, portal: base.Portal) -> int:
        """SOCK_DESTROY: every connection to a portal ends."""
        count = 0
        for one in list(self.controllers.values()):
            if one.portal != portal or one.state is not State.LIVE:
                continue
            count += 1
            one.epoch += 1
            wait_s = 0.05
            silent_s = one.silent_since_s
            if silent_s is not None and one.keep_alive_at_s <= (
                    self.time.now_s):
                # A keep-alive is under way: tear-down waits for it.
                wait_s = max(0.05, one.keep_alive_at_s + one.kato_s
                             - self.time.now_s)
            self._set(one, State.RESETTING)
            self._later(one, wait_s,
                        functools.partial(self._connecting, one))
        return count

    def delete(self, one: parts.Controller) -> float:
        """Begin to delete a controller; in how many seconds it is gone."""
        if one.delete_begun or one.gone:
            return 0.0
        reach = self.reach(one)
        if one.state is State.LIVE and reach == parts.SILENT:
            wait_s = IO_TIMEOUT_S
        elif one.state is State.RESETTING:
            wait_s = one.kato_s + 1.0
        elif reach == parts.SILENT:
            wait_s = self.rng.choice((0.1, 2.5, SYN_S))
        else:
            wait_s = self.rng.uniform(0.05, 0.1)
        one.delete_begun = True
        one.epoch += 1
        self._set(one, State.DELETING)
        self.time.after(wait_s, lambda: self.remove(one))
        return wait_s

    def remove(self, one: parts.Controller) -> None:
        if one.gone:
            return
        one.gone = True
        del self.controllers[one.name]
        self._by_nqn[one.nqn].remove(one)
        if not self._by_nqn[one.nqn]:
            for disk in self.targets[one.nqn].disks:
                self.lost_devices(disk)
            del self.subsystems[one.nqn]
        self.changed(one.nqn)


def _smallest(taken: Iterable[int]) -> int:
    used = set(taken)
    return next(n for n in range(len(used) + 1) if n not in used)
