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
"""A replica with two portals is lost only when both are."""

from bed.guest import host
from bed.guest.patient import Patient, PATIENT_S
from bed.guest.scenario import scenario, Stage
from bed.guest.storage import Cut


@scenario(name='two-portals-closed', item='1', timeout_s=400)
def two_portals_closed(stage: Stage) -> None:
    """One portal of two closes: nothing is lost; then the other: it is."""
    two_portals(stage, Cut.CLOSED)


@scenario(name='two-portals-silent', item='2', timeout_s=400)
def two_portals_silent(stage: Stage) -> None:
    """One portal of two falls silent: nothing is lost; then the other."""
    two_portals(stage, Cut.SILENT)


def two_portals(stage: Stage, how: Cut) -> None:
    patient = Patient.admit(stage, portals=2)
    array = patient.world.array
    lost, kept = patient.legs
    stage.check('the leg has two paths', len(patient.controllers(lost)) == 2)
    array.cut(lost, how, portal=0)
    stage.wait_until('the kernel has lost one path', lambda: sorted(
        patient.controllers(lost).values()) == ['connecting', 'live'],
        PATIENT_S)
    patient.goes_on()
    stage.stays('no leg is given up', lambda: host.is_whole(patient.md)
                and len(patient.controllers(lost)) == 2, 12, every_s=0.5)
    patient.keep_stall('stall_one_portal_s')
    patient.check_replacements(0)
    stage.check('the provisioner was told of no loss',
                not patient.told(lost), patient.told(lost))
    stage.note('the other portal is lost as well')
    patient.lose(lost, how)
    patient.keep_stall('stall_both_portals_s')
    patient.becomes_whole(300)
    stage.wait_until('the lost replica is gone',
                     lambda: lost not in patient.legs, PATIENT_S)
    patient.check_replacements(1)
    stage.wait_until('no path to it is left',
                     lambda: not patient.controllers(lost), PATIENT_S)
    fresh = next(leg for leg in patient.legs if leg != kept)
    stage.wait_until('the replacement has two live paths', lambda: list(
        patient.controllers(fresh).values()) == ['live', 'live'], PATIENT_S)
    patient.discharge()
