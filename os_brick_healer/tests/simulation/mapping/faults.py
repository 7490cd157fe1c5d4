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
"""Makes the faults of a plan happen, and takes them back in the end."""

from collections.abc import Callable

from os_brick_healer.tests.simulation import process
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


class Common:
    """What all faults have in common: whom they hit, and how they end.

    :ivar agent: the agent that lives now, None while there is none.
    :ivar tear: the journal is damaged while the agent is dead next.
    """

    def __init__(self, world: world_lib.World, danger: process.Danger,
                 nova: nova_lib.Nova) -> None:
        self.world = world
        self.danger = danger
        self.nova = nova
        self.agent: agent_lib.Agent | None = None
        self.wall_offset_s = 0.0
        self.tear = False
        self.over = False
        self.undo: list[Callable[[], None]] = []

    def happen(self, fault: plan_lib.Fault) -> None:
        """One fault, now."""
        getattr(self, f'_{fault.kind}')(fault)

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

    def for_a_while(self, fault: plan_lib.Fault,
                    undo: Callable[[], None]) -> None:
        """Have it taken back in time, or when all faults are."""
        self.undo.append(undo)
        self.world.time.after(fault.arg('last_s'), undo)


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

    def _blink(self, fault: plan_lib.Fault) -> None:
        self._halt(fault, 'is stopped for a moment', parts.STOPPED,
                   BLINK_S * fault.arg('pick'))

    def _halt(self, fault: plan_lib.Fault, how: str, state: str,
              seconds: float) -> None:
        def _stop(proc: parts.Proc) -> None:
            self.world.processes.stop(proc, state)

            def _loose() -> None:
                self.world.processes.go_on(proc)

            self.undo.append(_loose)
            self.world.time.after(seconds, _loose)

        self._hit(fault, f'{how} for {seconds:.1f} s', _stop)

    def _cut(self, fault: plan_lib.Fault) -> None:
        """The connection dies, the process lives."""
        self._hit(fault, 'is cut off', lambda proc: [
            self.world.nbd.died(link) for link in proc.links] and None)

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
        self.world.nbd.late_s = lambda: 0.2 * fault.arg('pick')
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


class Faults(Servers):
    """All that can go wrong."""

    # Storage -----------

    def _slow(self, fault: plan_lib.Fault) -> None:
        image = self.image(fault)
        image.slow_until_s = max(image.slow_until_s, self.world.time.now_s
                                 + fault.arg('last_s'))
        self.world.fault(f'the storage of {image.key[:8]} is slow for '
                         f'{fault.arg("last_s"):.1f} s')
        self.undo.append(lambda: setattr(image, 'slow_until_s', 0.0))

    def _monitors(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the monitors are down')
        self.world.storage.monitors = False
        self.for_a_while(fault, lambda: setattr(
            self.world.storage, 'monitors', True))

    def _gone(self, fault: plan_lib.Fault) -> None:
        image = self.image(fault)
        self.world.fault(f'the data of {image.key[:8]} is away')
        image.exists = False
        self.for_a_while(fault, lambda: setattr(image, 'exists', True))

    def _grown(self, fault: plan_lib.Fault) -> None:
        image = self.image(fault)
        self.world.fault(f'{image.key[:8]} has grown')
        image.size_bytes += 64 * parts.MIB

    def _shrunk(self, fault: plan_lib.Fault) -> None:
        image = self.image(fault)
        if image.kind != parts.FILE:
            return
        before = image.size_bytes
        self.world.fault(f'{image.key[:8]} has shrunk')
        image.size_bytes = 32 * parts.MIB
        self.for_a_while(fault, lambda: setattr(
            image, 'size_bytes', max(before, image.size_bytes)))

    def _flush(self, fault: plan_lib.Fault) -> None:
        """The guest does nothing but flush for a while."""
        guest = self.world.guests[self.key(fault)]
        self.world.fault(f'the guest of {guest.key[:8]} flushes only')
        guest.only = parts.FLUSH
        self.undo.append(lambda: setattr(guest, 'only', None))
        self.world.time.after(60.0 + fault.arg('last_s'), lambda: setattr(
            guest, 'only', None))

    # nova and the operator -----------

    def _detach(self, fault: plan_lib.Fault) -> None:
        key = self.key(fault)
        if not self.world.volumes[key].attached:
            return
        self.world.fault()
        self.nova.do('detach', key)
        self.for_a_while(fault, self.nova.settle)
        self.world.time.after(fault.arg('last_s') + 1.0, lambda: (
            None if self.over else self.nova.do('attach', key)))

    def _attach(self, fault: plan_lib.Fault) -> None:
        """nova attaches what is attached already."""
        self.world.fault()
        self.nova.do('attach', self.key(fault))

    def _kill_nova(self, fault: plan_lib.Fault) -> None:
        self.world.fault('nova-compute is killed')
        self.nova.kill(min(fault.arg('last_s'), 10.0))

    def _pause(self, fault: plan_lib.Fault) -> None:
        agent = self.agent
        if agent is None or agent.dead or self.world.paused_s is not None:
            return
        self.world.fault('an operator pauses healing')
        self.world.paused_s = self.world.held_s = self.world.time.now_s
        self.for_a_while(fault, self._resume)
        agent.engine.pause('by the simulator')

    def _resume(self) -> None:
        agent = self.agent
        if self.world.paused_s is None:
            return
        if agent is None or agent.dead:
            self.world.time.after(1.0, self._resume)
            return
        self.world.tell('an operator resumes healing')
        self.world.held_s = None
        if agent.engine.resume() is None:
            self.world.paused_s = None
        else:       # it will not outlive the agent: said once more
            self.world.time.after(1.0, self._resume)

    # The agent -----------

    def _kill(self, fault: plan_lib.Fault) -> None:
        if self.agent is not None and not self.agent.dead:
            self.agent._die('by an operator')

    def _kill_in(self, fault: plan_lib.Fault) -> None:
        self.danger.armed = fault.arg('count')

    def _kill_at_start(self, fault: plan_lib.Fault) -> None:
        """The agent is to be killed when it has started a server."""
        self.danger.wanted = ('after start', 'before start', 'after kill',
                              'after reconnect', 'after flows')[
                                  int(fault.arg('pick') * 5)]
        self.for_a_while(fault, lambda: setattr(
            self.danger, 'wanted', None))

    def _freeze(self, fault: plan_lib.Fault) -> None:
        if self.agent is None or self.agent.dead:
            return
        seconds = min(fault.arg('last_s'), 30.0)
        self.world.fault(f'the agent does not run for {seconds:.1f} s')
        until_s = self.world.time.now_s + seconds
        self.agent.frozen_until_s = until_s
        self._excuse(until_s + 5.0)

    def _excuse(self, until_s: float) -> None:
        court = self.world.court
        court.excused_until_s = max(court.excused_until_s, until_s)

    def _full(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the disk of the journal is full')
        self.danger.full = True
        self.for_a_while(fault, lambda: setattr(self.danger, 'full', False))

    def _torn(self, fault: plan_lib.Fault) -> None:
        """The agent dies, and its last writes do not reach the disk."""
        if self.agent is None or self.agent.dead:
            return
        self.danger.wanted = 'in a write of the journal'

    def _wall(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the wall clock jumps')
        self.wall_offset_s += (fault.arg('pick') - 0.5) * 7200.0

    # The privileged side -----------

    def _fail(self, fault: plan_lib.Fault) -> None:
        self.world.host.fail += 1
        self.for_a_while(fault, lambda: setattr(self.world.host, 'fail', 0))

    def _hang(self, fault: plan_lib.Fault) -> None:
        self.world.host.hang += 1
        self.for_a_while(fault, lambda: setattr(self.world.host, 'hang', 0))

    def _calls_slow(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the privileged side is slow')
        self.world.host.slow_s = 2.0 * fault.arg('pick')
        self.for_a_while(fault, lambda: setattr(
            self.world.host, 'slow_s', 0.0))

    def end(self) -> None:
        """The safety phase is over: all is mended that can be mended."""
        self.world.tell('--- no more faults from here on ---')
        self.over = True
        for undo in self.undo:
            undo()
        self.world.processes.next_start.clear()
        self.danger.armed, self.danger.full = None, False
        self.danger.wanted = None
        for device in self.world.nbd.devices.values():
            if not device.connected:
                device.timer_ms = parts.TIMER_MS
