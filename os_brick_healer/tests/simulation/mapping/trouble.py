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
"""What happens to servers and to their connections."""

from collections.abc import Callable

from os_brick_healer.tests.simulation import mishaps, process
from os_brick_healer.tests.simulation.mapping import (
    agent as agent_lib,
)
from os_brick_healer.tests.simulation.mapping import (
    nova as nova_lib,
)
from os_brick_healer.tests.simulation.mapping import (
    parts,
    processes,
)
from os_brick_healer.tests.simulation.mapping import (
    plan as plan_lib,
)
from os_brick_healer.tests.simulation.mapping import (
    world as world_lib,
)

#: Somebody else's device has this cookie.
OTHER = 'ffffffff-aaaa-4bbb-8ccc-000000000000'
#: Hung for so short a time a server is no case for anybody.
BLINK_S = 0.8
#: So long that somebody has to see to it.
LONG_S = 100.0
#: Between two deaths of what the guest asks for.
_CRASH_S = 0.4


class Common(mishaps.Mishaps):
    """What all faults have in common: whom they hit."""

    agent: agent_lib.Agent | None
    world: world_lib.World

    def __init__(self, world: world_lib.World, danger: process.Danger,
                 nova: nova_lib.Nova) -> None:
        super().__init__(danger)
        self.world = world
        self.nova = nova

    def key(self, fault: plan_lib.Fault) -> str:
        every = list(self.world.volumes)
        number: int = fault.arg('volume')
        return every[number % len(every)]

    def image(self, fault: plan_lib.Fault) -> parts.Image:
        return self.world.images[self.key(fault)]

    def server(self, fault: plan_lib.Fault) -> parts.Proc | None:
        """A server of the volume that lives, linked if there is one."""
        key = self.key(fault)
        found = self.world.processes.servers(key)
        return self.world.server(key) or next(
            (p for p in found if p.state != parts.DYING), None)


class Servers(Common):
    """What happens to servers and to their connections."""

    def _hit(self, fault: plan_lib.Fault, how: str,
             what: Callable[[parts.Proc], None]) -> None:
        proc = self.server(fault)
        if proc is None:
            return
        self.world.fault(f'process {proc.pid} of {str(proc.volume)[:8]} '
                         f'{how}')
        what(proc)

    def _kill_server(self, fault: plan_lib.Fault) -> None:
        self._hit(fault, 'is killed', self.world.processes.kill)

    def _kill_held(self, fault: plan_lib.Fault) -> None:
        self._hit(fault, 'is killed while its device is read',
                  self.world.processes.kill_held)

    def _crash_loop(self, fault: plan_lib.Fault) -> None:
        """Whoever serves dies of the same request, until that is over."""
        key, world = self.key(fault), self.world
        world.fault(f'servers of {key[:8]} die again and again for '
                    f'{fault.arg("last_s"):.0f} s')
        image = world.images[key]
        until_s = world.time.now_s + fault.arg('last_s')
        image.deadly_until_s = max(image.deadly_until_s, until_s)

        def _again() -> None:
            proc = world.server(key)
            if proc is not None:
                world.processes.kill(proc)
            if world.time.now_s < until_s:
                world.time.after(_CRASH_S, _again)

        _again()

    def _all_servers(self, fault: plan_lib.Fault) -> None:
        found = [self.world.server(k) for k in self.world.volumes]
        self.world.fault('all servers are killed')
        for proc in found:
            if proc is not None:
                self.world.processes.kill(proc)

    def _terminate(self, fault: plan_lib.Fault) -> None:
        self._hit(fault, 'is told to end', self.world.processes.terminate)

    def _stop(self, fault: plan_lib.Fault) -> None:
        self._halt(fault, 'is stopped', parts.STOPPED, fault.arg('last_s'))

    def _stuck(self, fault: plan_lib.Fault) -> None:
        self._halt(fault, 'is stuck', parts.STUCK, fault.arg('last_s'))

    def _stuck_long(self, fault: plan_lib.Fault) -> None:
        self._halt(fault, 'is stuck', parts.STUCK,
                   LONG_S * (1.0 + fault.arg('pick')))

    def _blink(self, fault: plan_lib.Fault) -> None:
        self._halt(fault, 'is stopped for a moment', parts.STOPPED,
                   BLINK_S * fault.arg('pick'))

    def _halt(self, fault: plan_lib.Fault, how: str, state: str,
              seconds: float) -> None:
        def _stop(proc: parts.Proc) -> None:
            if proc.state != parts.RUNS:
                return      # it does not run as it is
            self.world.processes.stop(proc, state)

            def _loose() -> None:
                self.world.processes.go_on(proc)

            self.undo.append(_loose)
            self.world.time.after(seconds, _loose)

        self._hit(fault, f'{how} for {seconds:.1f} s', _stop)

    def _cut(self, fault: plan_lib.Fault) -> None:
        """The connection dies, the process lives."""
        def _die(proc: parts.Proc) -> None:
            for link in proc.links:
                self.world.nbd.died(link)

        self._hit(fault, 'is cut off', _die)

    def _half(self, fault: plan_lib.Fault) -> None:
        self._next(processes.HALF)

    def _exits(self, fault: plan_lib.Fault) -> None:
        self._next(processes.EXIT)

    def _slow_start(self, fault: plan_lib.Fault) -> None:
        self._next(processes.SLOW)

    def _next(self, how: str) -> None:
        self.world.fault()
        self.world.processes.next_start.append(how)

    def _twice(self, fault: plan_lib.Fault) -> None:
        """Somebody starts a server beside the one that serves."""
        key = self.key(fault)
        proc = self.world.server(key)
        if proc is None:
            return
        self.world.fault(f'a second server of {key[:8]} is started')
        argv = tuple('attach' if w == 'map' else w for w in proc.argv)
        device = self.world.nbd.with_cookie(key)
        if '--device' not in argv and 'attach' in argv and device:
            argv = (*argv, '--device', f'/dev/{device.name}')
        other = self.world.processes.spawn(argv, key, proc.image)
        self.for_a_while(fault, lambda: self.world.processes.kill(other))

    def _late(self, fault: plan_lib.Fault) -> None:
        """The kernel takes its time to tell of a death."""
        self.world.fault('deaths are told late')
        self.world.nbd.late_s = lambda: 0.2 + 0.4 * fault.arg('pick')
        self.for_a_while(fault, self._in_time)

    def _in_time(self) -> None:
        self.world.nbd.late_s = lambda: 0.0

    def _overflow(self, fault: plan_lib.Fault) -> None:
        """So much is told that the kernel drops some, and says so."""
        if self.agent is None or self.agent.dead:
            return
        self.world.fault('the kernel drops what it has to tell')
        deaths = self.agent.deaths
        deaths.overflows = True
        self.for_a_while(fault, lambda: setattr(deaths, 'overflows', False))

    def _timer(self, fault: plan_lib.Fault) -> None:
        """Somebody gives a device another timer."""
        device = self.world.nbd.with_cookie(self.key(fault))
        if device is not None:
            self.world.fault(f'the timer of {device.name} is changed')
            self.world.volumes[self.key(fault)].tampered = True
            device.timer_ms = parts.TIMER_MS - 1

    def _taken(self, fault: plan_lib.Fault) -> None:
        """Somebody ends the device, and connects another volume to it."""
        key = self.key(fault)
        device = self.world.nbd.with_cookie(key)
        if device is None or key in self.world.locks:
            return
        self.world.fault(f'{device.name} of {key[:8]} is taken')
        self.world.volumes[key].taken = True
        self.world.guests[key].device = None
        self.world.nbd.disconnect(device.index)
        device.timer_ms = parts.TIMER_MS
        if fault.arg('pick') < 0.7:
            proc = self.world.processes.spawn(('other',), None, None)
            self.world.nbd.connect(
                parts.Link(proc=proc), size_bytes=8 * parts.MIB,
                cookie=OTHER, reattach_s=30, index=device.index)

        def _give_back() -> None:
            if device.connected and device.cookie == OTHER:
                self.world.nbd.disconnect(device.index)

        self.for_a_while(fault, _give_back)
