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
"""The last in-sync leg is never given up, whatever becomes of it."""

from bed.guest import host
from bed.guest.patient import flag, Patient, PATIENT_S
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut


@scenario(name='last-leg-lost', item='12', core=True, timeout_s=400)
def last_leg_lost(stage: Stage) -> None:
    """The last in-sync leg goes, too: the guest waits, and it is kept."""
    patient = Patient.admit(stage, backends=2)  # none to replace one on
    lost, last = patient.legs
    patient.lose(lost, Cut.CLOSED)
    patient.keep_stall('stall_first_leg_s')
    stage.wait_until('the agent asks in vain for a replacement', lambda:
                     patient.world.kumoscale.requests_of('add_replica'),
                     PATIENT_S)
    for how in (Cut.CLOSED, Cut.SILENT):
        stage.note(f'the last leg is lost as well ({how.value})')
        patient.world.array.cut(last, how)
        stage.wait_until(
            'the agent says that writes wait, and for which leg',
            lambda: patient.phase() == 'stalled' and patient.says(
                str(host.device_of(last)), 'nothing is given up'),
            PATIENT_S)
        stage.stays('the last leg is kept', lambda: kept(patient, last), 12,
                    every_s=0.5)
        patient.world.array.mend(last)
        patient.goes_on()
        patient.keep_stall(f'stall_last_leg_{how.value}_s')
    patient.check_replacements(0)
    patient.world.array.mend(lost)
    patient.discharge()


@scenario(name='last-leg-sick', item='12', timeout_s=400)
def last_leg_sick(stage: Stage) -> None:
    """The last in-sync leg has write errors: kept until it has a peer."""
    patient = Patient.admit(stage, backends=3)
    lost, last = patient.legs
    sick(patient, lost, last)


@scenario(name='last-leg-sick-first-slot', item='12', timeout_s=400)
def last_leg_sick_first_slot(stage: Stage) -> None:
    """As last-leg-sick, but MD puts the new leg in the sick one's slot."""
    patient = Patient.admit(stage, backends=3)
    last, lost = patient.legs
    sick(patient, lost, last)


def sick(patient: Patient, lost: str, last: str) -> None:
    stage = patient.stage
    spare = patient.world.array.backends[2].id
    patient.world.provisioner.backend_states[spare] = 'Unavailable'
    patient.lose(lost, Cut.CLOSED)
    device = str(host.device_of(last))
    stage.note('MD notes write errors of the last leg')
    for word in ('write_error', 'want_replacement'):
        flag(patient.md, device, word)
    stage.wait_until('the agent says that it is sick, and kept, and why',
                     lambda: patient.says(device, 'sick', 'kept', 'last'),
                     PATIENT_S)
    stage.stays('the last leg is kept', lambda: kept(patient, last)
                and patient.writer.flowing(10), 15, every_s=1)
    patient.world.provisioner.backend_states[spare] = 'Available'
    stage.note('a spare storage server is there now')
    stage.wait_until('another leg is in sync', lambda: any(
        patient.in_sync(leg) for leg in patient.legs if leg != last), 300)
    stage.check('the guest goes on', patient.writer.flowing(10))
    fresh = next(leg for leg in patient.legs
                 if leg != last and patient.in_sync(leg))
    patient.world.prove_data(patient.attachment, patient.writer,
                             in_sync=[fresh])


def kept(patient: Patient, leg: str) -> bool:
    return (patient.in_sync(leg) and bool(patient.controllers(leg))
            and not patient.writer.failures)
