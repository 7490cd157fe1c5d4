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
"""Every leg is lost at once: the guest waits, and nothing else happens."""

import contextlib
import pathlib
import signal
import time

from bed.guest import host
from bed.guest.patient import flag, Patient, PATIENT_S
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut


@scenario(name='all-legs-closed-5s', item='5', core=True, timeout_s=400)
def closed_5s(stage: Stage) -> None:
    """All legs close for 5 s; both come back, or only the one or other."""
    outages(stage, Cut.CLOSED, 5)


@scenario(name='all-legs-silent-5s', item='5', timeout_s=500)
def silent_5s(stage: Stage) -> None:
    """All legs are silent for 5 s; then both, or only the one or other."""
    outages(stage, Cut.SILENT, 5)


@scenario(name='all-legs-closed-60s', item='5', timeout_s=700)
def closed_60s(stage: Stage) -> None:
    """All legs close for 60 s; both come back, or only the one or other."""
    outages(stage, Cut.CLOSED, 60)


@scenario(name='all-legs-silent-60s', item='5', timeout_s=800)
def silent_60s(stage: Stage) -> None:
    """All legs are silent for 60 s; then both, or only the one or other."""
    outages(stage, Cut.SILENT, 60)


@scenario(name='all-legs-silent-failfast', item='5', timeout_s=400)
def silent_failfast(stage: Stage) -> None:
    """All legs are silent, and one has MD's failfast flag: a queue."""
    patient = Patient.admit(stage, grace_period='600')
    before = list(patient.legs)
    process = patient.agent.process
    assert process is not None
    stage.note('the flag is set behind the back of an agent that is stopped')
    process.send_signal(signal.SIGSTOP)
    flagged = host.device_of(before[0])
    assert flagged is not None
    flag(patient.md, flagged, 'failfast')
    patient.world.array.cut_all(before, Cut.SILENT)
    process.send_signal(signal.SIGCONT)
    # MD may throw that leg out before the flag is cleared, and tells of it
    # while it waits for the other: who read all of mdstat now would, too.
    stage.wait_until('the agent says that all I/O waits',
                     lambda: patient.phase() == 'stalled', PATIENT_S)
    stage.stays('no error comes, and the agent looks on', lambda: (
        not patient.writer.failures and patient.phase() == 'stalled'
        and not any('md_' in at for at in stacks(process.pid))
        and host.md_attribute(patient.md, 'array_state') != 'broken'),
        30, every_s=0.5)
    for leg in before:
        patient.world.array.mend(leg)
    patient.goes_on()
    patient.becomes_whole()
    stage.wait_until('no leg has the flag any more', lambda: not any(
        'failfast' in state for state in host.legs(patient.md).values()),
        PATIENT_S)
    patient.check_replacements(0)
    stage.check('the same legs make up the volume', patient.legs == before)
    patient.discharge()


def stacks(pid: int) -> list[str]:
    """Where in the kernel the threads of a process are."""
    found = []
    for task in pathlib.Path(f'/proc/{pid}/task').iterdir():
        with contextlib.suppress(OSError):
            found.append((task / 'stack').read_text())
    return found


def outages(stage: Stage, how: Cut, for_s: float) -> None:
    patient = Patient.admit(stage, grace_period='600')
    first, second = before = list(patient.legs)
    for who, back in (('both', before), ('the first', [first]),
                      ('the second', [second])):
        stage.note(f'all legs are lost ({how.value}); {who} will be back')
        outage(patient, how, for_s, back)
        patient.keep_stall(f'stall_{who.split()[-1]}_back_s')
    patient.check_replacements(0)
    stage.check('the same legs make up the volume', patient.legs == before)
    patient.discharge()


def outage(patient: Patient, how: Cut, for_s: float,
           back: list[str]) -> None:
    stage, array = patient.stage, patient.world.array
    array.cut_all(patient.legs, how)
    began = stage.now_s()
    stage.wait_until('the agent says that all I/O waits',
                     lambda: patient.phase() == 'stalled', PATIENT_S)
    stage.stays('no leg is given up and no error comes',
                lambda: sound(patient),
                max(1.0, began + for_s - stage.now_s()), every_s=0.5)
    away = [leg for leg in patient.legs if leg not in back]
    for leg in back:
        array.mend(leg)
    patient.goes_on()
    if away:
        stage.wait_until('MD runs on the leg that is back',
                         lambda: patient.degraded() == 1, PATIENT_S)
        stage.check('that leg is in sync', patient.in_sync(back[0]))
        patient.goes_on(20)
        time.sleep(2)  # the leg that is away misses some writes
        for leg in away:
            array.mend(leg)
    patient.becomes_whole()
    patient.becomes_well()


def sound(patient: Patient) -> bool:
    return (patient.degraded() == 0 and not patient.writer.failures
            and host.md_attribute(patient.md, 'array_state') != 'broken'
            and all(patient.in_sync(leg) for leg in patient.legs))
