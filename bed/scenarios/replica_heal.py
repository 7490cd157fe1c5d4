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
"""A leg is lost for good, and the volume heals under a running guest."""

from bed.guest import host
from bed.guest.patient import Patient
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut


@scenario(name='leg-lost-closed', item='1', core=True, timeout_s=240)
def leg_lost_closed(stage: Stage) -> None:
    """A leg is lost for good, its connection closed: it is replaced."""
    heal(stage, Cut.CLOSED)


@scenario(name='leg-lost-silent', item='2', core=True, timeout_s=240)
def leg_lost_silent(stage: Stage) -> None:
    """A leg is lost for good, in silence: it is replaced."""
    heal(stage, Cut.SILENT)


@scenario(name='leg-lost-closed-fast', item='1', timeout_s=240)
def leg_lost_closed_fast(stage: Stage) -> None:
    """As leg-lost-closed, with the profile for the shortest stalls."""
    heal(stage, Cut.CLOSED, profile='fast')


@scenario(name='leg-lost-silent-fast', item='2', timeout_s=240)
def leg_lost_silent_fast(stage: Stage) -> None:
    """As leg-lost-silent, with the profile for the shortest stalls."""
    heal(stage, Cut.SILENT, profile='fast')


def heal(stage: Stage, how: Cut, profile: str = 'default') -> None:
    patient = Patient.admit(stage, size_mib=64, profile=profile)
    lost, kept = patient.legs
    stage.note('losing a leg for good')
    patient.lose(lost, how)
    stage.figure('stall_s', patient.writer.worst_stall_s)
    patient.becomes_whole()
    stage.wait_until('the lost replica is gone',
                     lambda: lost not in patient.legs, 60)
    patient.becomes_well()
    patient.check_replacements(1)
    patient.check_rules()
    stage.check('the lost leg is gone from the host',
                host.device_of(lost) is None)
    patient.world.prove_data(patient.attachment, patient.writer,
                             in_sync=[kept, patient.legs[-1]])
