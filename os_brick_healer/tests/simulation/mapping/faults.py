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

from os_brick_healer.tests.simulation.mapping import parts, trouble
from os_brick_healer.tests.simulation.mapping import plan as plan_lib

#: A guest that flushes each write does so for so long.
SYNCS_S = 6.0


class Faults(trouble.Servers):
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

    def _elsewhere(self, fault: plan_lib.Fault) -> None:
        """A client of another host writes, and has the lock since."""
        image = self.image(fault)
        if not image.exclusive or (image.owner is not None
                                   and image.owner.deaf_s is not None):
            return
        self.world.fault(f'a client elsewhere has the lock of '
                         f'{image.key[:8]}')
        self.world.clients += 1
        image.owner = parts.Proc(pid=0, start='0', argv=(),
                                 client=self.world.clients, image=image)

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
        """The guest writes and flushes, again and again."""
        guest = self.world.guests[self.key(fault)]
        self.world.fault(f'the guest of {guest.key[:8]} flushes each write')
        guest.syncs = True
        self.undo.append(lambda: setattr(guest, 'syncs', False))
        self.world.time.after(SYNCS_S, lambda: setattr(
            guest, 'syncs', False))

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

    def _end_in_detach(self, fault: plan_lib.Fault) -> None:
        """nova is killed once it has written down that it disconnects."""
        self.nova.doomed = 'detach_begin', 0.06 * fault.arg('pick')
        self._detach(fault)

    def _end_in_attach(self, fault: plan_lib.Fault) -> None:
        """nova is killed when the kernel has its device, and nobody has
        written down which."""
        self.nova.doomed = ('after connect' if self.image(fault).kind
                            == parts.FILE else 'before set timer', 0.0)

    def _pause(self, fault: plan_lib.Fault) -> None:
        agent = self.agent
        if agent is None or agent.dead or self.world.paused_s is not None:
            return
        self.world.fault('an operator pauses healing')
        self.world.paused_s = self.world.time.now_s
        self.for_a_while(fault, self._resume)
        agent.engine.pause('by the simulator')
        # An agent that dies of it may have written it down, or not.
        self.world.held_s = self.world.time.now_s

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
        self.danger.wanted = self.nova.doomed = None
        for device in self.world.nbd.devices.values():
            if not device.connected:
                device.timer_ms = parts.TIMER_MS
