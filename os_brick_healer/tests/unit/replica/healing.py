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
"""A volume as the healers are given it."""

import dataclasses
from typing import Any

from os_brick_healer.engine import verdict
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.replica import world

A, B, C, D = (model.ReplicaId(n) for n in 'abcd')
NOW_S = 1000.0
Phase = verdict.Phase
Prov = model.ReplicaState
One = model.ReplicaMemory


def a_request(arrived: model.ReplicaId | None = C,
              **changes: Any) -> model.Request:
    made = model.Request(
        id='q', asked_s=1.0, tries=1, known=frozenset((A, B)),
        state=(model.RequestState.ACCEPTED if arrived is None
               else model.RequestState.ARRIVED), arrived=arrived)
    return dataclasses.replace(made, **changes)


class HealCase(base.TestCase):

    def case(self, *legs: world.Leg, around: case_lib.Around | None = None,
             ones: dict[model.ReplicaId, One] | None = None,
             memory: dict[str, Any] | None = None,
             **changes: Any) -> case_lib.Case:
        return case_lib.Case(
            seen=world.seen(*(legs or (world.leg('a'), world.leg('b'))),
                            now_s=NOW_S, **changes),
            memory=model.Memory(replicas=ones or {}, **(memory or {})),
            policy=world.POLICY, around=around or case_lib.Around())
