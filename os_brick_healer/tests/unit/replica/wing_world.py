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
"""An agent's wing and loop over a host of plain files.

The observer, the pulse, the decision, the memory and the journal are the
real ones; the hands change files instead of a kernel.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
from typing import Any

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import loop, verdict
from os_brick_healer.provisioner import base as prov
from os_brick_healer.replica import laws, model, observe, probe
from os_brick_healer.replica import pulse as pulse_lib
from os_brick_healer.replica import truth as truth_lib
from os_brick_healer.replica import wing as wing_lib
from os_brick_healer.testing import synthetic
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.engine import test_loop
from os_brick_healer.tests.unit.replica import world


class Cloud(prov.Provisioner):
    """Names what the synthetic host has; replaces when it is asked."""

    guarantees = prov.Guarantees(batch=True, knows_hosts=True,
                                 idempotent_replacement=True)

    def __init__(self, host: synthetic.SyntheticHost) -> None:
        super().__init__(cfg.ConfigOpts(), prov.HostIdentity(
            name='here', nqn='nqn.here', uuid=None))
        self.synthetic = host
        self.states: dict[str, prov.ReplicaState] = {}
        self.gone: list[str] = []
        self.requests: list[str] = []
        self.down = False

    def probe(self) -> str:
        return 'a cloud'

    def volumes(self) -> Mapping[prov.VolumeId, prov.Volume]:
        if self.down:
            raise exception.ProvisionerUnreachable('cannot ask: it is down')
        return {v.id: self._with_states(v) for v in self.synthetic.volumes}

    def _with_states(self, volume: prov.Volume) -> prov.Volume:
        return dataclasses.replace(volume, replica_count=2, replicas=tuple(
            dataclasses.replace(r, state=self.states.get(r.id, r.state))
            for r in volume.replicas if r.id not in self.gone))

    def report(self, volume: prov.VolumeId, replica: prov.ReplicaId,
               state: prov.ReplicaState) -> None:
        del volume
        self.states[replica] = state

    def request_replacement(self, volume: prov.VolumeId,
                            replica: prov.ReplicaId,
                            request_id: str) -> None:
        del volume, replica
        if request_id not in self.requests:
            self.requests.append(request_id)
            self.synthetic.add_replica(0)

    def publish(self, volume: prov.VolumeId) -> None:
        """Everything is published here from the start."""

    def confirm_removal(self, volume: prov.VolumeId,
                        replica: prov.ReplicaId) -> None:
        del volume
        self.gone.append(replica)


class Prober:
    """Knows which portals are down."""

    def __init__(self) -> None:
        self.down: set[prov.Portal] = set()
        self.asked: set[prov.Portal] = set()

    def ask(self, portals: Iterable[prov.Portal]) -> None:
        self.asked |= set(portals)

    def result(self, portal: prov.Portal) -> probe.Result:
        if portal not in self.asked:
            return probe.Result()
        silent_s = 9.0 if portal in self.down else 0.0
        return probe.Result(answers=not silent_s, silent_for_s=silent_s,
                            age_s=0.0)

    def stop(self) -> None:
        """No thread."""


class Hands:
    """Does to the files what the kernel would do."""

    def __init__(self, host: synthetic.SyntheticHost, cloud: Cloud) -> None:
        self.host, self.cloud = host, cloud
        self.done: list[model.Action] = []
        self.seen: list[model.Seen] = []

    def do(self, action: model.Action,
           fresh: Callable[[], model.Seen]) -> verdict.Outcome:
        self.seen.append(fresh())
        forbidden = laws.permits(action, self.seen[-1])
        if forbidden is not None:
            return verdict.Outcome(changed=False, error=forbidden)
        self.done.append(action)
        return verdict.Outcome(changed=True,
                               detail=self._do(action) or '')

    def _do(self, action: model.Action) -> str | None:
        match action:
            case model.BreakLeg():
                for path in action.paths:
                    self.host.delete_controller(path.controller)
                self.host.fail_member(0, action.device)
                self.host.remove_member(0, action.device)
            case model.DropFaulty():
                self.host.remove_member(0, action.device)
            case model.DisconnectPaths():
                for path in action.paths:
                    self.host.delete_controller(path.controller)
            case model.ConnectReplica():
                self.host.connect(0, self._number(action.replica))
            case model.Examine():
                former = action.replica.id in ('r-0-0', 'r-0-1')
                return 'ours' if former else 'blank'
            case model.ReAdd() | model.AddSpare():
                self.host.start_recovery(0, action.device)
            case model.ReportState():
                self.cloud.report(action.volume, action.replica,
                                  action.state)
            case model.RequestReplacement():
                self.cloud.request_replacement(
                    action.volume, action.replica, action.request_id)
            case model.ConfirmRemoval():
                self.cloud.confirm_removal(action.volume, action.replica)
            case _:
                pass
        return None

    @staticmethod
    def _number(replica: prov.ReplicaId) -> int:
        return int(replica.rpartition('-')[2])


class WingCase(base.TestCase):
    """A host, a cloud, and agents that live there for a while."""

    def setUp(self) -> None:
        super().setUp()
        self.root = self.temp_dir()
        self.host = synthetic.SyntheticHost(self.root / 'host')
        self.cloud = Cloud(self.host)
        self.prober = Prober()
        self.hands = Hands(self.host, self.cloud)
        self.time = test_loop.Time()
        self.time.now_s = 1000.0
        self.start()

    def start(self) -> None:
        """A new agent on the same host."""
        pulse = pulse_lib.Pulse(self.host.tree, stuck_s=0.4)
        self.journal = journal_lib.Journal(str(self.root / 'journal'),
                                           boot_id='boot')
        self.addCleanup(self.journal.close)
        self.wing = wing_lib.ReplicaWing(
            policy=world.POLICY, host='here',
            truth=truth_lib.Truth(lambda: self.cloud, self.time),
            observer=observe.Observer(self.host.tree, self.time, pulse),
            pulse=pulse, prober=self.prober, hands=self.hands,
            journal=self.journal, clock=self.time,
            process_start=journal_lib.process_start)
        self.beats: list[Callable[[], None]] = []
        self.engine = loop.Engine(
            (self.wing,), journal=self.journal, waits=self.time,
            runs=test_loop.Hand(self.time), clock=self.time)

    def run_until(self, done: Callable[[], bool],
                  seconds: float = 400.0) -> bool:
        """Run one life of the agent; a recovery takes five seconds."""
        end_s = self.time.now_s + seconds
        filling: list[float] = []
        found: list[bool] = []

        def _beat() -> None:
            if not self.filling():
                filling.clear()
            elif not filling:
                filling.append(self.time.now_s)
            elif self.time.now_s - filling[0] > 5.0:
                self.host.finish_recovery(0)
            if done():
                found.append(True)
            if found or self.time.now_s >= end_s:
                self.engine.stop()

        self.engine.on_beat(_beat)
        self.engine.run()
        return bool(found)

    def filling(self) -> bool:
        """Whether the array is being recovered."""
        return self.host.tree.read(
            'sys/block/md127/md/sync_action') == 'recover'

    def lose(self, leg: int) -> None:
        self.host.lose(0, leg)
        self.prober.down |= set(self.host.leg(0, leg).replica.portals)

    def kinds(self) -> list[str]:
        return [type(a).__name__ for a in self.hands.done]

    def volume(self) -> dict[str, Any]:
        told = self.engine.status()['volumes']
        assert len(told) == 1
        return dict(told[0])
