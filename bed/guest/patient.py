# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""A volume under care: an agent that watches it, a guest that writes."""

import dataclasses
import pathlib

from bed.guest import host
from bed.guest.agent import Agent
from bed.guest.host import Attachment
from bed.guest.scenario import Stage
from bed.guest.storage import Cut
from bed.guest.world import World
from bed.guest.writer import Writer

#: An emulated CPU that others use, too, makes everything slow but right.
PATIENT_S = 120.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What most scenarios of healing begin with, and what they ask."""

    stage: Stage
    world: World
    agent: Agent
    attachment: Attachment
    writer: Writer

    @classmethod
    def admit(cls, stage: Stage, *, replicas: int = 2, backends: int = 3,
              portals: int = 1, size_mib: int = 32,
              span_mib: int | None = None, **settings: str) -> 'Patient':
        """One volume, attached as nova does it, well, and written to.

        :param span_mib: the guest writes to so much of it only
        :param settings: of the agent, by the options' names
        """
        world = World.build(stage, backends=backends, portals=portals,
                            multipath=portals > 1)
        agent = Agent.configure(world, **settings)
        agent.start()
        attachment = world.attach(size_mib=size_mib, replicas=replicas)
        stage.wait_until(
            'the agent finds all legs in sync',
            lambda: agent.phase(attachment.volume.id) == 'healthy', 60)
        writer = world.write_to(attachment, span_mib=span_mib)
        patient = cls(stage=stage, world=world, agent=agent,
                      attachment=attachment, writer=writer)
        patient.measure_anew()
        return patient

    @property
    def cast(self) -> tuple[World, Agent, Attachment, Writer]:
        """All of it, for a scenario that goes its own way from here."""
        return self.world, self.agent, self.attachment, self.writer

    @property
    def md(self) -> str:
        return self.attachment.md

    @property
    def legs(self) -> list[str]:
        """The replicas that the provisioner names now."""
        return self.attachment.volume.legs

    # What the agent says ------------------

    def phase(self) -> str | None:
        return self.agent.phase(self.attachment.volume.id)

    def sentence(self) -> str:
        return str(self.agent.volume(
            self.attachment.volume.id).get('sentence'))

    def says(self, *words: str) -> bool:
        sentence = self.sentence()
        return all(word in sentence for word in words)

    # What the host shows ------------------

    def in_sync(self, leg: str) -> bool:
        """Whether a replica is a leg that MD reads from."""
        device = host.device_of(leg)
        return device is not None and 'in_sync' in host.legs(
            self.md).get(device, '')

    def degraded(self) -> int:
        """How many legs MD lacks."""
        return int(host.md_attribute(self.md, 'degraded'))

    def controllers(self, leg: str) -> dict[str, str]:
        return host.controllers(self.world.array.nqn(leg))

    def written_bytes(self, leg: str) -> int:
        """What the replica's medium has been given, copies and all."""
        return self.world.array.written_bytes(leg)

    # What comes to pass ------------------

    def lose(self, leg: str, how: Cut | str) -> None:
        """Cuts a leg and waits until MD goes on without it."""
        before = self.degraded()
        self.world.array.cut(leg, how)
        self.stage.wait_until('MD has dropped the leg',
                              lambda: self.degraded() > before, PATIENT_S)
        self.goes_on()

    def goes_on(self, within_s: float = PATIENT_S) -> float:
        return self.stage.wait_until('the guest goes on', lambda:
                                     self.writer.flowing(1), within_s)

    def becomes_whole(self, within_s: float = PATIENT_S) -> float:
        return self.stage.wait_until('the array is whole',
                                     lambda: host.is_whole(self.md),
                                     within_s)

    def becomes_well(self) -> None:
        self.stage.wait_until('the agent says that all is well',
                              lambda: self.phase() == 'healthy', PATIENT_S)

    def measure_anew(self) -> None:
        """Stalls count from now on; there must be no error so far."""
        report = self.writer.report()
        self.stage.check('the guest has seen no I/O error',
                         not report.failures, report.failures[:3])
        self.stage.stalled(report.worst_stall_s)
        self.writer.forget_stalls()

    def keep_stall(self, name: str) -> None:
        """Records the worst stall since measure_anew()."""
        self.stage.figure(name, self.writer.worst_stall_s)
        self.measure_anew()

    # What must hold ------------------

    def told(self, leg: str) -> list[str]:
        """The states of a replica that the provisioner was told."""
        return [request.path.rpartition('/')[2]
                for request in self.world.kumoscale.requests_of(
                    'set_replica_state', leg)
                if request.answer == 'Success']

    def check_replacements(self, count: int) -> None:
        found = self.world.kumoscale.count('add_replica')
        self.stage.check(f'replacements requested: {count or "none"}',
                         found == count, found)

    def check_rules(self) -> None:
        self.stage.check('the provisioner saw no breach of its rules',
                         not self.world.provisioner.violations,
                         self.world.provisioner.violations)

    def discharge(self) -> None:
        """Whole, well, and every acknowledged write on every leg."""
        self.becomes_whole()
        self.becomes_well()
        self.check_rules()
        self.world.prove_data(self.attachment, self.writer)


def flag(md: str, device: str, word: str) -> None:
    """Sets a word of a leg's state in sysfs, as MD itself does."""
    pathlib.Path(f'/sys/block/{md}/md/dev-{device}/state').write_text(word)
