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
"""The wing while it cannot look at a volume."""

from collections.abc import Callable
from typing import Any

from os_brick_healer import exception
from os_brick_healer.provisioner import base as prov
from os_brick_healer.replica import model, observe
from os_brick_healer.testing import synthetic
from os_brick_healer.tests.unit.replica import wing_world


class UnreadTest(wing_world.WingCase):
    def start(self) -> None:
        """A new agent; it cannot look at those in ``unreadable``."""
        super().start()
        self.unreadable = set[str]()
        read = self.wing._observer.look

        def look(key: prov.VolumeId, *rest: Any) -> observe.Observation:
            if key in self.unreadable:
                raise exception.HealerError('cannot read it')
            return read(key, *rest)

        self.wing._observer.look = look  # type: ignore[assignment]

    def run_through(self, due: dict[float, Callable[[], None]],
                    done: Callable[[], bool]) -> bool:
        """Run one life of the agent, until all this has happened."""
        began_s = self.time.now_s

        def _done() -> bool:
            for at_s in [s for s in due if s <= self.time.now_s - began_s]:
                due.pop(at_s)()
            return done()

        return self.run_until(_done, 200.0) and not due

    def test_it_is_not_robbed_for_another(self) -> None:
        """Each has a leg behind the same controller, which dies."""
        self.host = synthetic.SyntheticHost(self.root / 'shared', volumes=2,
                                            backends=2)
        self.cloud = wing_world.Cloud(self.host)
        self.hands = wing_world.Hands(self.host, self.cloud)
        self.start()

        def lose() -> None:
            self.unreadable.add(self.host.volume(1).id)
            self.lose(0)

        self.prober.asked = {p for volume in self.host.volumes
                             for r in volume.replicas for p in r.portals}
        self.assertTrue(self.run_through(
            {3.0: lose, 60.0: self.unreadable.clear},
            lambda: 'BreakLeg' in self.kinds()))
        # And the hands know whom to probe for the other one's sake.
        left = frozenset(self.host.leg(1, 1).replica.portals)
        self.assertIn((left,), self.hands.seen[-1].relied_on.values())

    def test_who_is_taken_away_meanwhile_is_disconnected(self) -> None:
        """An agent without memory has only heard of it."""
        self.host.connect(0, self.host.add_replica(0))
        self.unreadable.add(self.host.volume(0).id)
        self.assertTrue(self.run_through(
            {20.0: lambda: self.cloud.gone.append('r-0-2'),
             30.0: self.unreadable.clear},
            lambda: 'DisconnectPaths' in self.kinds()), self.kinds())
        self.assertEqual(['r-0-2'], [
            action.replica for action in self.hands.done
            if isinstance(action, model.DisconnectPaths)])
        self.assertIn('r-0-2', self.hands.seen[-1].former)
