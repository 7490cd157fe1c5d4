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
"""What goes wrong between the agent and KumoScale."""

from os_brick_healer.tests.simulation import fate
from os_brick_healer.tests.simulation import plan as plan_lib
from os_brick_healer.tests.simulation.http import wire

_AIMS = ('request', 'confirm', 'request', 'mark', 'volume', 'hosts')
_DOWN = ('silent', 'refused', '503', '502', 'reset', '401')


class HttpWeather(fate.Fate):
    """What others do to a request, or to its answer."""

    @property
    def _peer(self) -> wire.Peer:
        assert self.world.peer is not None, 'a world without a wire'
        return self.world.peer

    def _mishap(self, fault: plan_lib.Fault) -> None:
        """One answer, or one question, does not come as it was sent."""
        every = wire.MISHAPS
        self._peer.trouble.mishaps.append(
            ('', every[int(fault.arg('pick') * len(every))]))

    def _mishaps(self, fault: plan_lib.Fault) -> None:
        """The same happens a few times in a row."""
        for _ in range(2 + fault.arg('count')):
            self._mishap(fault)

    def _aimed(self, fault: plan_lib.Fault) -> None:
        """It happens to one kind of request, whenever that comes."""
        which = _AIMS[fault.arg('backend') % len(_AIMS)]
        every = wire.MISHAPS if which in ('volume', 'hosts') else (
            *wire.OF_CHANGES, *wire.OF_CHANGES, *wire.MISHAPS)
        self._peer.trouble.mishaps.append(
            (which, every[int(fault.arg('pick') * len(every))]))

    def _wire_down(self, fault: plan_lib.Fault) -> None:
        """Nobody answers, in one way or another."""
        self._is_down(fault, _DOWN[int(fault.arg('pick') * len(_DOWN))])

    def _is_down(self, fault: plan_lib.Fault, how: str) -> None:
        weather, trouble = self.world.cloud.weather, self._peer.trouble
        self.world.fault(f'KumoScale is down ({how}) for '
                         f'{fault.arg("last_s"):.0f} s')
        weather.down, trouble.down = True, how
        self.for_a_while(fault, lambda: setattr(weather, 'down', False))

    def _denied(self, fault: plan_lib.Fault) -> None:
        """The token is not believed for a while."""
        self._is_down(fault, '401')

    def _renewed(self, fault: plan_lib.Fault) -> None:
        """The token is another one; the operator hears of it later."""
        peer, weather = self._peer, self.world.cloud.weather
        number = int(peer.token.rpartition('-')[2]) + 1
        self.world.fault('the token is renewed')
        peer.token = f'token-{number}'
        weather.down, peer.trouble.down = True, '401'

        def _written() -> None:
            weather.down, peer.written = False, peer.token
            if self.agent is not None and not self.agent.dead:
                self.agent.truth.close()    # as a reload does
            self.world.tell('the operator has written the new token')

        self.for_a_while(fault, _written)

    def _one_dead(self, fault: plan_lib.Fault) -> None:
        """One of the addresses, in one way or another."""
        how = _DOWN[int(fault.arg('pick') * len(_DOWN))]
        address = wire.ADDRESSES[fault.arg('backend') % 2]
        dead = self._peer.trouble.dead
        self.world.fault(f'KumoScale at {address} is dead ({how})')
        dead[address] = how

        def _back() -> None:
            dead.pop(address, None)

        self.for_a_while(fault, _back)

    def _two_minds(self, fault: plan_lib.Fault) -> None:
        """One of the addresses tells old news, and the other is dead."""
        at = fault.arg('backend') % 2
        old, dead = wire.ADDRESSES[at], wire.ADDRESSES[1 - at]
        trouble = self._peer.trouble
        self.world.fault(f'KumoScale at {dead} is dead, and the one at {old} '
                         'tells old news')
        trouble.dead[dead] = 'refused'
        trouble.lag_s[old] = 15.0 * fault.arg('pick')

        def _one() -> None:
            trouble.dead.pop(dead, None)
            trouble.lag_s.pop(old, None)

        self.for_a_while(fault, _one)

    def calm_wire(self) -> None:
        """All that is still to come does not."""
        if self.world.peer is not None:
            self.world.peer.trouble = wire.Trouble()
