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
"""The weather around the agent: provisioner, nova, and the host."""

import dataclasses
import functools

from os_brick_healer.tests.simulation import cloud as cloud_lib
from os_brick_healer.tests.simulation import fate
from os_brick_healer.tests.simulation import plan as plan_lib
from os_brick_healer.tests.simulation.fate import lasting, minutes_s


class Weather(fate.Fate):
    """What others do, or fail to do."""

    # The provisioner -----------

    def _down(self, fault: plan_lib.Fault) -> None:
        self.world.fault(f'the provisioner is down for '
                         f'{fault.arg("last_s"):.0f} s')
        weather = self.world.cloud.weather
        weather.down = True
        self.for_a_while(fault, lambda: setattr(weather, 'down', False))

    def _long_down(self, fault: plan_lib.Fault) -> None:
        self._down(lasting(fault, 250.0))

    def _slow(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the provisioner is slow')
        weather = self.world.cloud.weather
        weather.slow_s = 8.0 * fault.arg('pick')
        self.for_a_while(fault, lambda: setattr(weather, 'slow_s', 0.0))

    def _nonsense(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the provisioner contradicts itself')
        key, weather = self.key(fault), self.world.cloud.weather
        weather.nonsense.add(key)
        self.for_a_while(fault, lambda: weather.nonsense.discard(key))

    def _omit(self, fault: plan_lib.Fault) -> None:
        replica, weather = self.replica(fault), self.world.cloud.weather
        self.world.fault(f'the provisioner leaves out {replica.disk.id}')
        weather.omit.add(replica.disk.id)
        self.for_a_while(
            fault, lambda: weather.omit.discard(replica.disk.id))

    def _forget(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the provisioner names no volume')
        weather = self.world.cloud.weather
        weather.forget = True
        for key, array in self.world.arrays.items():
            if array.stopped:
                self.world.cloud.volumes[key].forget(self.world.time.now_s)
        self.for_a_while(fault, lambda: setattr(weather, 'forget', False))

    def _lag(self, fault: plan_lib.Fault) -> None:
        self.world.fault('the provisioner tells old news')
        weather = self.world.cloud.weather
        weather.lag_s = 10.0 * fault.arg('pick')
        self.for_a_while(fault, lambda: setattr(weather, 'lag_s', 0.0))

    def _lose(self, fault: plan_lib.Fault) -> None:
        self.world.cloud.weather.lose += 1

    def _refuse(self, fault: plan_lib.Fault) -> None:
        self.world.cloud.weather.refuse += 1 + fault.arg('count') % 3

    def _arrives(self, fault: plan_lib.Fault) -> None:
        kinds = ('small', 'foreign', 'other-array', 'in-use')
        kind = kinds[int(fault.arg('pick') * 4)]
        self.world.fault(f'the next new replica is {kind}')
        self.world.cloud.weather.arrives.append(kind)

    def _two_hosts(self, fault: plan_lib.Fault) -> None:
        volume = self.world.cloud.volumes[self.key(fault)]
        self.world.fault(f'{volume.key[:8]} is published to a second host')
        volume.hosts.add(cloud_lib.THERE)
        volume.two_hosts_s = self.world.time.now_s
        self.world.hold(volume.key, 'two hosts')

        def _one() -> None:
            self.world.free(volume.key, 'two hosts')
            volume.hosts.discard(cloud_lib.THERE)
            volume.two_hosts_s = None

        self.for_a_while(fault, _one)

    def _long_two_hosts(self, fault: plan_lib.Fault) -> None:
        self._two_hosts(lasting(fault, minutes_s(fault)))

    # nova -----------

    def _detach(self, fault: plan_lib.Fault) -> None:
        key = self.key(fault)
        self.world.fault()
        self.nova.do('detach', key)
        self.world.time.after(
            5.0 + fault.arg('last_s'), lambda: self.nova.do('attach', key))

    def _extend(self, fault: plan_lib.Fault) -> None:
        self.world.fault()
        self.nova.do('extend', self.key(fault))

    def _hold(self, fault: plan_lib.Fault) -> None:
        self.world.fault('os-brick holds its locks')
        self.nova.do('hold', self.key(fault),
                     seconds=min(40.0, fault.arg('last_s')))

    def _long_hold(self, fault: plan_lib.Fault) -> None:
        self.world.fault('os-brick holds its locks for long')
        self.nova.do('hold', self.key(fault),
                     seconds=60.0 + 60.0 * fault.arg('pick'))

    def _kill_nova(self, fault: plan_lib.Fault) -> None:
        self.world.fault('nova-compute is killed')
        self.nova.kill(min(30.0, fault.arg('last_s')))

    # The host -----------

    def _hang(self, fault: plan_lib.Fault) -> None:
        self.world.commands.hang += 1

    def _fail(self, fault: plan_lib.Fault) -> None:
        self.world.commands.fail += 1 + fault.arg('count') % 3

    def _commands_slow(self, fault: plan_lib.Fault) -> None:
        self.world.fault('commands are slow')
        commands = self.world.commands
        commands.slow_s = 5.0 * fault.arg('pick')
        self.for_a_while(fault, lambda: setattr(commands, 'slow_s', 0.0))

    def _udev(self, fault: plan_lib.Fault) -> None:
        self.world.fault('udev is slow, or not there')
        delay_s = None if fault.arg('pick') < 0.5 else 20.0
        md = self.world.md
        md.udev_delay = lambda: delay_s

        def _back() -> None:
            md.udev_delay = lambda: 0.1

        self.for_a_while(fault, _back)

    def _events(self, fault: plan_lib.Fault) -> None:
        self.world.fault('kernel events are lost')
        self.world.events_lost = True

    def _unreadable(self, fault: plan_lib.Fault) -> None:
        """The kernel says something about a volume that nobody knows."""
        key, unreadable = self.key(fault), self.world.unreadable
        self.world.fault(f'{key[:8]} cannot be read')
        self.world.hold(key, 'unreadable')
        unreadable.add(key)

        def _again() -> None:
            self.world.free(key, 'unreadable')
            unreadable.discard(key)

        self.for_a_while(fault, _again)

    def _long_unreadable(self, fault: plan_lib.Fault) -> None:
        self._unreadable(lasting(fault, 140.0 + 40.0 * fault.arg('pick')))

    def _failfast(self, fault: plan_lib.Fault) -> None:
        """The legs come back from the next attach with the flag set."""
        key = self.key(fault)
        array = self.world.arrays[key]
        self.world.fault(f'the legs of {array.name} carry the failfast flag')
        for member in array.members:
            member.disk.failfast = True
        self.nova.do('detach', key)
        self.world.time.after(10.0, lambda: self.nova.do('attach', key))
        # A minute after that there is an outage of all legs.
        self.later(100.0, functools.partial(
            self.happen, dataclasses.replace(fault, kind='all_legs')))
