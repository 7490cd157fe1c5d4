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
"""What the provisioner is told: who is stale, good, or to be shown. Pure."""

from os_brick_healer.engine import verdict
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model, saying

Phase = verdict.Phase


def report_lost(case: case_lib.Case) -> model.Verdict | None:
    """A leg that was thrown out is stale: nobody may read it from now on."""
    # One whose report was not heard may be on its way back by now.
    unheard = [x for x in case.legs if x.filling
               and x.memory.reported is model.ReplicaState.MISSING]
    for leg in (*case.outside, *unheard):
        if (leg.memory.belongs
                and due(case, leg, model.ReplicaState.MISSING)
                and leg.replica.state in (model.ReplicaState.AVAILABLE,
                                          model.ReplicaState.UNKNOWN)):
            return report(case, leg, model.ReplicaState.MISSING,
                          f'{leg.name} is not in sync in '
                          f'{saying.array(case).name}: tell the provisioner '
                          f'that it is stale')
    return None


def report_back(case: case_lib.Case) -> model.Verdict | None:
    """A leg that is in sync is good again, or good for the first time."""
    for leg in case.in_sync:
        if (leg.replica.state in (model.ReplicaState.MISSING,
                                  model.ReplicaState.SYNCHRONIZING)
                and due(case, leg, model.ReplicaState.AVAILABLE)):
            return report(case, leg, model.ReplicaState.AVAILABLE,
                          f'{leg.name} of {saying.array(case).name} is in '
                          f'sync: tell the provisioner that it is good')
    return None


def due(case: case_lib.Case, leg: case_lib.Leg,
        state: model.ReplicaState) -> bool:
    """Tell it once; again only if it stays unheard for a while."""
    return (leg.memory.reported is not state
            or leg.memory.report_next_s <= case.now_s)


def report(case: case_lib.Case, leg: case_lib.Leg,
           state: model.ReplicaState, sentence: str) -> model.Verdict:
    """The verdict that tells it."""
    return saying.say(
        case, Phase.HEALING, sentence, law=saying.LAW_TELL,
        action=model.ReportState(
            volume=case.seen.key, law=saying.LAW_TELL, replica=leg.id,
            state=state))


def publish(case: case_lib.Case, leg: case_lib.Leg) -> model.Verdict | None:
    """Have a new replica published to this host."""
    if leg.memory.publish_next_s > case.now_s:
        return None                  # the provisioner's words are to come
    return saying.say(
        case, Phase.HEALING,
        f'{leg.name} is new: have it published to this host',
        law=saying.LAW_NAMED_NOW,
        action=model.Publish(volume=case.seen.key, replica=leg.id,
                             law=saying.LAW_NAMED_NOW))


def publish_hidden(case: case_lib.Case) -> model.Verdict | None:
    """What nobody knows behind a dead controller keeps that from going.

    It may be a new replica: as long as it is not published, the provisioner
    does not say which namespace it is.
    """
    if not case.seen.endangered:
        return None
    hidden = [x for x in case.legs if None in (
        x.replica.nqn, x.replica.namespace_uuid)
        and x.replica.state is not model.ReplicaState.TERMINATING
        and saying.due(case, x)]
    return next((found for x in hidden
                 if (found := publish(case, x)) is not None), None)
