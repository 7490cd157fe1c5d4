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
"""Three legs, of which two are lost."""

from bed.guest.patient import Patient, PATIENT_S
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut


@scenario(name='three-legs-two-lost', item='15', timeout_s=700)
def three_legs(stage: Stage) -> None:
    """Two of three legs are lost, together and in turn: all replaced."""
    patient = Patient.admit(stage, replicas=3, backends=5, grace_period='3')
    array, volume = patient.world.array, patient.attachment.volume
    stage.note('two legs are lost together')
    first, second, kept = patient.legs
    array.cut_all([first, second], Cut.CLOSED)
    stage.wait_until('MD has dropped both',
                     lambda: patient.degraded() == 2, PATIENT_S)
    patient.goes_on()
    patient.keep_stall('stall_together_s')
    replaced(patient, [first, second])
    patient.check_replacements(2)
    stage.check('the third is still there', kept in volume.legs)

    stage.note('two legs are lost one after the other')
    first, second, kept = patient.legs
    patient.lose(first, Cut.CLOSED)
    stage.wait_until('a replacement has been requested', lambda:
                     patient.world.kumoscale.count('add_replica') == 3,
                     PATIENT_S)
    patient.lose(second, Cut.SILENT)
    patient.keep_stall('stall_in_turn_s')
    replaced(patient, [first, second])
    patient.check_replacements(4)
    stage.check('the third is still there', kept in volume.legs)
    stage.check('the volume has three legs', len(volume.legs) == 3)
    patient.discharge()


def replaced(patient: Patient, lost: list[str]) -> None:
    patient.becomes_whole(300)
    patient.stage.wait_until(
        'the lost replicas are gone',
        lambda: not set(lost) & set(patient.legs), PATIENT_S)
    patient.becomes_well()
