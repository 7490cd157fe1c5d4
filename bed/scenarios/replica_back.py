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
"""A leg that comes back: what it missed is copied, nothing is replaced."""

import time

from bed.guest.patient import Patient, PATIENT_S
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut

MIB = 1 << 20
#: The bitmap of so large a volume has eight chunks; the guest dirties one.
SIZE_MIB, SPAN_MIB = 512, 32
LOSSES = 6
#: As the agent's options say: so many losses are free, then it waits.
FREE_LOSSES, DELAY_FIRST_S, DELAY_MAX_S = 2, 10.0, 30.0
#: Shorter than the damping: a leg that stays out for flapping is not lost.
FLAP_GRACE_S = 20


@scenario(name='blip-in-grace', item='3', core=True, timeout_s=300)
def blips(stage: Stage) -> None:
    """Legs close for 3 s, or are silent for 5 s: re-added by bitmap."""
    patient = Patient.admit(stage, size_mib=SIZE_MIB, span_mib=SPAN_MIB,
                            grace_period='120')
    before = first, second = list(patient.legs)
    blip(patient, first, Cut.CLOSED, 3)
    blip(patient, second, Cut.SILENT, 5)
    patient.check_replacements(0)
    stage.check('the same legs make up the volume', patient.legs == before)
    patient.discharge()


def blip(patient: Patient, leg: str, how: Cut, for_s: float) -> None:
    stage = patient.stage
    stage.note(f'a leg is away for {for_s:g} s ({how.value})')
    began = stage.now_s()
    patient.lose(leg, how)
    stage.wait_until('the agent calls the leg missing',
                     lambda: patient.told(leg) == ['Missing'], PATIENT_S)
    time.sleep(max(0.0, began + for_s - stage.now_s()))
    written = patient.written_bytes(leg)
    stage.note(f'it is back after {stage.now_s() - began:.1f} s')
    patient.world.array.mend(leg)
    patient.becomes_whole()
    copied_mib = (patient.written_bytes(leg) - written) / MIB
    stage.figure(f'copied_{how.value}_mib', copied_mib)
    stage.check('MD copied what the leg had missed, and far from all',
                copied_mib < SIZE_MIB / 3, copied_mib)
    stage.wait_until('the agent calls it available', lambda:
                     patient.told(leg) == ['Missing', 'Available'],
                     PATIENT_S)
    patient.becomes_well()
    patient.keep_stall(f'stall_{how.value}_s')


@scenario(name='flapping-leg', item='4', timeout_s=600)
def flapping(stage: Stage) -> None:
    """A leg is lost six times, briefly: it is damped, never replaced."""
    patient = Patient.admit(stage, grace_period=str(FLAP_GRACE_S),
                            flap_delay_max=str(DELAY_MAX_S))
    before = list(patient.legs)
    leg = before[0]
    out_s = []
    for number in range(1, LOSSES + 1):
        stage.note(f'loss {number}')
        began = stage.now_s()
        patient.lose(leg, Cut.CLOSED)
        patient.world.array.mend(leg)
        if delay_s(number):
            stage.wait_until('the agent says that it stays out',
                             lambda: patient.says('lately', 'stays out'),
                             PATIENT_S)
        patient.becomes_whole()
        patient.becomes_well()
        out_s.append(stage.now_s() - began)
        stage.check(f'it stayed out for {delay_s(number):g} s at least',
                    out_s[-1] >= delay_s(number), out_s)
    stage.figure('out_s', ', '.join(f'{each:.1f}' for each in out_s))
    stage.check('the last time took longer than the first',
                out_s[-1] > out_s[0], out_s)
    patient.check_replacements(0)
    stage.check('the same legs make up the volume', patient.legs == before)
    patient.discharge()


def delay_s(losses: int) -> float:
    """10 s after the third loss, and twice as long each time, to a cap."""
    if losses <= FREE_LOSSES:
        return 0.0
    doublings = losses - FREE_LOSSES - 1
    return min(DELAY_MAX_S, DELAY_FIRST_S * 2.0 ** doublings)
